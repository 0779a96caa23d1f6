import { resolve } from 'node:path'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type FinishedSummary, type Invocation } from '../command.ts'
import { counted, formatDate, shortId } from '../format.ts'
import { formatTable } from '../table.ts'

interface Options {
  readonly dryRun: boolean
}

interface Backup {
  readonly name: string
  readonly time: string
  readonly reason: string | null
  readonly state: 'imported' | 'new' | 'present' | 'same' | 'refused'
  readonly snapshot_id: string | null
  readonly errors: number
}

export const importCommand: CommandModule = {
  name: 'import',
  register(program, context) {
    addCommand(program, {
      usage: 'import <dir>',
      topic: 'protect',
      summary: 'make snapshots of backups that were made by hand',
      description:
        'Takes folders as scripts with tar, sqlite3 and gpg leave them: YYYYMMDD and manual_YYYYMMDD_HHMMSS, also below weekly, monthly and yearly, with NAME.tar.gz, NAME.db.backup, secrets.tar.gz.gpg, the process manager’s file, the unit, nginx-SITE.conf, MANIFEST.txt and REASON.txt. Each becomes a snapshot with its own date, server and reason; files lie at the paths where the config says that the application is.\n\n' +
        'Sealed secrets stay sealed. Databases come from their NAME.backup, not from the copy of the live file in the archive, and are opened and checked. What is missing or damaged is reported, and the rest imported (exit code 3). A second import of the same content adds nothing. The folders are only read.\n\n' +
        'With --json: finding objects and a summary with dry_run and backups (name, time, reason, state, snapshot_id, errors).',
      arguments: { dir: 'the folder in which the backups lie, or one of them' },
      examples: [
        { run: 'holdfast import /opt/backups/my-app --dry-run', does: 'What there is' },
        { run: 'holdfast import /opt/backups/my-app', does: 'All of it' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
      .option('--dry-run', 'show what would be imported, and change nothing', false)
      .action(context.action<Options>(importFrom))
  },
}

async function importFrom(invocation: Invocation<Options>): Promise<Outcome> {
  const { io, operands, options, signal } = invocation
  const [{ importFolders }, { repositoryAccess, requireConfig }] = await Promise.all([
    import('../../operations/interop/import-folders.ts'),
    import('../repository-access.ts'),
  ])
  const config = await requireConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const { outcome } = await importFolders(config, access, {
    directory: resolve(io.cwd, operands[0]!),
    dryRun: options.dryRun,
    observe: invocation.observe({ config: options.dryRun ? undefined : config, access, summarise }),
    signal,
  })
  return outcome
}

const COLUMNS = ['Folder', 'Time', 'Result', 'Snapshot', 'Reason'].map((title) => ({ title }))

const STATES: Readonly<Record<Backup['state'], string>> = {
  imported: 'imported',
  new: 'would be imported',
  present: 'there already',
  same: 'the same as another',
  refused: 'NOT imported',
}

function summarise(summary: FinishedSummary): string[] {
  const { backups } = summary as unknown as { backups: readonly Backup[] }
  const rows = backups.map(({ name, time, reason, state, snapshot_id, errors }) => [
    name,
    formatDate(new Date(time)),
    `${STATES[state]}${errors > 0 ? `, ${counted(errors, 'error')}` : ''}`,
    snapshot_id === null ? '' : shortId(snapshot_id),
    reason ?? '',
  ])
  const count = (wanted: Backup['state']) => backups.filter(({ state }) => state === wanted).length
  return [
    ...(rows.length === 0 ? [] : [formatTable(COLUMNS, rows)]),
    `${counted(backups.length, 'backup')}: ${count('imported') + count('new')} ${count('new') > 0 ? 'would be imported' : 'imported'}, ${count('present') + count('same')} there already, ${count('refused')} not imported`,
  ]
}
