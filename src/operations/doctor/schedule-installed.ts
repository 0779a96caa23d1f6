import { access, readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { lastDue } from '../../application/config/cron.ts'
import { after } from '../../application/config/duration.ts'
import { hasProgram } from '../../application/host/requirements.ts'
import { readJournal } from '../../application/journal/journal.ts'
import { runProgram } from '../../application/program.ts'
import { CodedError } from '../../engine/error.ts'
import { journalOf } from '../journal/journal-of.ts'
import { command, type DoctorCheck, type DoctorContext, type Found, holdfast, word } from './doctor-check.ts'

/** Cron and timers start a job within seconds, or after a random delay of some minutes. */
const PATIENCE_MS = 3_600_000

/** What the schedule says is started by itself, as root where only root can read everything, and was so lately. */
export const scheduleInstalled: DoctorCheck<'schedule'> = {
  name: 'schedule',
  title: 'Backups start by themselves, and did so on time',
  async run(context) {
    const { backup, verify } = context.config.schedule
    const wanted = Object.entries({ backup, verify }).flatMap(([verb, cron]) =>
      cron === undefined ? [] : [{ verb, cron }],
    )
    if (wanted.length === 0) return []
    const entries = await scheduledCommands(context)
    const found: Found<'schedule'>[] = []
    for (const { verb, cron } of wanted) {
      const own = entries.filter(({ text }) => runs(verb, context, text))
      if (own.length === 0) found.push(missing(verb, cron, context))
      else found.push(...(await stoppedFindings(verb, own, context)))
    }
    return [...found, ...(found.length === 0 ? lateFindings(context) : [])]
  },
}

function missing(verb: string, cron: string, context: DoctorContext): Found<'schedule'> {
  const line = `${cron} ${holdfast(context, `${verb} --quiet`)}`
  return {
    severity: 'warning',
    code: 'schedule-missing',
    message: `Nothing starts \`holdfast ${verb}\` by itself: no crontab and no timer names ${context.config.file}`,
    remedy: command(`(crontab -l 2>/dev/null; echo ${word(line)}) | crontab -`),
  }
}

interface Scheduled {
  readonly by: 'cron' | 'timer'
  /** Name of the unit. */
  readonly timer?: string
  readonly text: string
}

/** A line that runs the verb on this config; one that names none finds it in the folder that it changes to. */
function runs(verb: string, { config }: DoctorContext, text: string): boolean {
  if (!new RegExp(`holdfast\\b.*\\b${verb}\\b`, 's').test(text)) return false
  return (
    text.includes(config.file) ||
    (!text.includes('--config') && text.includes(config.root)) ||
    !/--config|HOLDFAST_CONFIG/.test(text)
  )
}

/** An entry alone starts nothing: a timer must be enabled, and for a crontab cron must run. */
async function stoppedFindings(
  verb: string,
  entries: readonly Scheduled[],
  { hostRoot, env }: DoctorContext,
): Promise<Found<'schedule'>[]> {
  const severity = 'error'
  const code = 'schedule-stopped'
  const [first] = entries
  for (const { by, timer } of entries) {
    if (by === 'cron' ? (await cronRuns(hostRoot)) !== false : await isEnabled(String(timer), hostRoot)) return []
  }
  if (first?.timer !== undefined) {
    const message = `${first.timer} would start \`holdfast ${verb}\`, but is not enabled`
    return [{ severity, code, message, remedy: command(`systemctl enable --now ${word(first.timer)}`) }]
  }
  const message = `A crontab names \`holdfast ${verb}\`, but cron does not run on this machine`
  const isRedHat = await exists(join(hostRoot, 'usr/lib/systemd/system/crond.service'))
  const service = isRedHat ? 'crond' : 'cron'
  const remedy = (await hasProgram('systemctl', env.PATH))
    ? `systemctl enable --now ${service}`
    : `service ${service} start`
  return [{ severity, code, message, remedy: command(remedy) }]
}

/** Undefined where it cannot be seen: of a system that does not run, or where others' processes are hidden. */
async function cronRuns(hostRoot: string): Promise<boolean | undefined> {
  const processes = join(hostRoot, 'proc')
  const nameOf = (pid: string) => readFile(join(processes, pid, 'comm'), 'utf8').catch(() => undefined)
  if ((await nameOf('1')) === undefined) return undefined
  const pids = (await namesIn(processes)).filter((name) => /^\d+$/.test(name))
  const names = await Promise.all(pids.map(nameOf))
  return names.some((name) => CRON_DAEMONS.includes(name?.trim() ?? ''))
}

const CRON_DAEMONS = ['cron', 'crond', 'fcron', 'supercronic']

/** Enabling links it into a folder such as `timers.target.wants`. */
async function isEnabled(timer: string, hostRoot: string): Promise<boolean> {
  const folder = join(hostRoot, 'etc/systemd/system')
  const wants = (await namesIn(folder)).filter((name) => /\.(wants|requires)$/.test(name))
  const linked = await Promise.all(wants.map((name) => namesIn(join(folder, name))))
  return linked.flat().includes(timer)
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

async function scheduledCommands({ hostRoot, signal }: DoctorContext): Promise<Scheduled[]> {
  const found: Scheduled[] = []
  const add = async (path: string) => {
    const text = await readFile(path, 'utf8').catch(() => '') // not there, or closed to us
    for (const line of text.split('\n')) if (!line.trimStart().startsWith('#')) found.push({ by: 'cron', text: line })
  }
  if (hostRoot === '/' && (await hasProgram('crontab'))) {
    const { stdout, exitCode } = await runProgram('crontab', ['-l'], { signal })
    const lines = exitCode === 0 ? stdout.toString().split('\n') : [] // "no crontab for root"
    for (const text of lines) if (!text.trimStart().startsWith('#')) found.push({ by: 'cron', text })
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
      found.push({ by: 'timer', timer: name, text })
    }
  }
  return found
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => [])
}

/** Cron says nothing when it does not run. */
function lateFindings(context: DoctorContext): Found<'schedule'>[] {
  const { config, now } = context
  const { last, lastGood } = lastBackups(config)
  if (last === undefined) return []
  const common = { severity: 'error', code: 'backup-late', remedy: command(holdfast(context, 'backup')) } as const
  const due = dueSince(context)
  if (due !== undefined && last.getTime() < due.getTime() - CLOCK_TICK_MS) {
    const message = `The backup of ${due.toISOString()} has not begun: the last one did at ${last.toISOString()}`
    const hint = 'See what cron or the timer says: `journalctl -u cron`, `systemctl list-timers`'
    return [{ ...common, message, hint }]
  }
  const { rpo } = config.objectives
  if (rpo === undefined || lastGood === undefined || after(lastGood, rpo) > now()) return []
  const message = `The backup is scheduled, and the last one that ended well began at ${lastGood.toISOString()}, longer ago than ${rpo.text}`
  const hint = `\`${holdfast(context, 'history')}\` and ${config.log} say what became of the runs since`
  return [{ ...common, message, hint }]
}

/** Noted times of a start may be a little before the minute that it was for. */
const CLOCK_TICK_MS = 60_000

/**
 * When the last backup should have begun. Cron goes by the time of the machine, whatever zone the config names: the earlier of
 * both counts.
 */
function dueSince({ config: { schedule }, now }: DoctorContext): Date | undefined {
  if (schedule.backup === undefined) return undefined
  const cron = schedule.backup
  const before = new Date(now().getTime() - PATIENCE_MS)
  const zones = [schedule.timezone, Intl.DateTimeFormat().resolvedOptions().timeZone]
  const times = zones.flatMap((zone) => lastDue(cron, zone, before) ?? [])
  return times.toSorted((a, b) => a.getTime() - b.getTime())[0]
}

function lastBackups(config: DoctorContext['config']): { readonly last?: Date; readonly lastGood?: Date } {
  try {
    using journal = readJournal(journalOf(config))
    const [last] = journal?.runs({ operation: 'backup', limit: 1 }) ?? []
    const [good] = journal?.runs({ operation: 'backup', state: ['succeeded', 'incomplete'], limit: 1 }) ?? []
    return { ...(last && { last: last.started }), ...(good && { lastGood: good.started }) }
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return {} // the check of the journal says so
  }
}
