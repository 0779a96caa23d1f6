import { readdir, readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { basename, join } from 'node:path'
import { after } from '../../application/config/duration.ts'
import { hasProgram } from '../../application/host/requirements.ts'
import { readJournal } from '../../application/journal/journal.ts'
import { runProgram } from '../../application/program.ts'
import { CodedError } from '../../engine/error.ts'
import { journalOf } from '../journal/journal-of.ts'
import { command, type DoctorCheck, type DoctorContext, type DoctorFinding, holdfast, word } from './doctor-check.ts'

/** Something starts the backup by itself, as root where only root can read everything, and it did so lately. */
export const scheduleInstalled: DoctorCheck = {
  name: 'schedule',
  title: 'The backup is started by itself, and was on time',
  async run(context) {
    const { config } = context
    const cron = config.schedule.backup
    if (cron === undefined) return []
    const entries = await scheduledCommands(context)
    const own = entries.filter(({ text }) => runsBackupOf(context, text))
    if (own.length === 0) {
      const line = `${cron} ${holdfast(context, 'backup --quiet')}`
      return [
        {
          severity: 'warning',
          code: 'schedule-missing',
          message: `Nothing starts \`holdfast backup\` by itself: no crontab and no timer names ${config.file}`,
          remedy: command(`(crontab -l 2>/dev/null; echo ${word(line)}) | crontab -`),
        },
      ]
    }
    return lateFindings(context)
  },
}

interface Scheduled {
  readonly from: string
  readonly text: string
}

/** A line that runs the backup of this config; one that names none finds it in the folder that it changes to. */
function runsBackupOf({ config }: DoctorContext, text: string): boolean {
  if (!/holdfast\b.*\bbackup\b/s.test(text)) return false
  return (
    text.includes(config.file) ||
    (!text.includes('--config') && text.includes(config.root)) ||
    !/--config|HOLDFAST_CONFIG/.test(text)
  )
}

async function scheduledCommands({ hostRoot, signal }: DoctorContext): Promise<Scheduled[]> {
  const found: Scheduled[] = []
  const add = async (path: string) => {
    const text = await readFile(path, 'utf8').catch(() => '') // not there, or closed to us
    for (const line of text.split('\n')) if (!line.trimStart().startsWith('#')) found.push({ from: path, text: line })
  }
  if (hostRoot === '/' && (await hasProgram('crontab'))) {
    const { stdout, exitCode } = await runProgram('crontab', ['-l'], { signal })
    const lines = exitCode === 0 ? stdout.toString().split('\n') : [] // "no crontab for root"
    for (const text of lines)
      if (!text.trimStart().startsWith('#')) found.push({ from: `crontab of ${userInfo().username}`, text })
  }
  await add(join(hostRoot, 'etc/crontab'))
  for (const folder of [
    'etc/cron.d',
    'etc/cron.daily',
    'etc/cron.hourly',
    'etc/cron.weekly',
    'var/spool/cron/crontabs',
  ])
    for (const name of await namesIn(join(hostRoot, folder))) await add(join(hostRoot, folder, name))
  for (const folder of ['etc/systemd/system', 'usr/lib/systemd/system', 'usr/local/lib/systemd/system']) {
    const names = await namesIn(join(hostRoot, folder))
    for (const name of names.filter((name) => name.endsWith('.timer'))) {
      const unit = `${basename(name, '.timer')}.service`
      const text = await readFile(join(hostRoot, folder, unit), 'utf8').catch(() => '')
      found.push({ from: join(hostRoot, folder, name), text })
    }
  }
  return found
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => [])
}

/** Cron says nothing when it does not run. */
function lateFindings(context: DoctorContext): Omit<DoctorFinding, 'check'>[] {
  const { config, now } = context
  const { rpo } = config.objectives
  if (rpo === undefined) return []
  const last = lastBackup(config)
  if (last === undefined || after(last, rpo) > now) return []
  return [
    {
      severity: 'error',
      code: 'backup-late',
      message: `The backup is scheduled, and the last one that ended well began at ${last.toISOString()}, longer ago than ${rpo.text}`,
      hint: `\`${holdfast(context, 'history')}\` and ${config.log} say what became of the runs since`,
      remedy: command(holdfast(context, 'backup')),
    },
  ]
}

function lastBackup(config: DoctorContext['config']): Date | undefined {
  try {
    using journal = readJournal(journalOf(config))
    return journal?.runs({ operation: 'backup', state: ['succeeded', 'incomplete'], limit: 1 })[0]?.started
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return undefined // the check of the journal says so
  }
}
