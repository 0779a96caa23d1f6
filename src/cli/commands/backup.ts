import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, collect, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { parseTime } from '../moment.ts'
import { collectList } from '../snapshot-options.ts'
import { escapeText } from '../terminal-text.ts'

interface Options {
  readonly component: readonly string[]
  readonly reason?: string
  readonly tag: readonly string[]
  readonly dryRun: boolean
  readonly force: boolean
  readonly hostRoot?: string
  readonly exclude: readonly string[]
  readonly excludeFile: readonly string[]
  readonly filesFromVerbatim: readonly string[]
  readonly host?: string
  readonly parent?: string
  readonly time?: bigint
}

const APPLICATION = 'Of an application'
const PATHS = 'Of paths'

export const backupCommand: CommandModule = {
  name: 'backup',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'backup [path...]',
      topic: 'protect',
      summary: 'back up the application, or paths',
      description:
        'Without paths: the application that the config file describes. Databases are copied consistently while they are in use, secrets are sealed, and the snapshot is inspected afterwards. What cannot be backed up is reported, the rest is stored, and the exit code is 3.\n\n' +
        'With paths and --repo: files and folders as they lie there, as restic does it. Nothing is sealed then, and databases are not treated in any special way.\n\n' +
        "With --json: status and finding objects, then a summary with restic's keys (snapshot_id, files_new, data_added, total_bytes_processed…) and outcome; of an application also components, databases, secrets_sealed. With --dry-run of an application: one plan object.",
      arguments: { path: 'files and folders; only with --repo' },
      examples: [
        { run: 'holdfast backup', does: 'In the folder of a protected application' },
        { run: 'holdfast backup --component data --reason "before the migration"', does: 'A part of it, and why' },
        { run: 'holdfast backup --dry-run', does: 'What would be stored' },
        { run: 'holdfast -r /srv/backup backup /etc /home -e "*.tmp" --tag nightly', does: 'Paths, without a config' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
    command
      .option('--tag <tags>', 'tags for the snapshot, with commas (repeatable)', collectList, [])
      .option('-n, --dry-run', 'find out what would be stored, and store nothing', false)
      .option('-f, --force', 'read every file again, whatever the last snapshot holds', false)
    command.optionsGroup(APPLICATION)
    command
      .option('--component <names>', 'only these components, with commas (repeatable)', collectList, [])
      .option('--reason <text>', 'why, for the manifest of the snapshot')
      .option('--host-root <dir>', "where the host's own files begin: the root of a mounted system (default: /)")
    command.optionsGroup(PATHS)
    command
      .option('-e, --exclude <pattern>', 'leave out what fits, in the syntax of .gitignore (repeatable)', collect, [])
      .option('--exclude-file <file>', 'patterns from a file, one a line (repeatable)', collect, [])
      .option('--files-from-verbatim <file>', 'more paths from a file, one a line (repeatable)', collect, [])
      .option('-H, --host <host>', 'name this host in the snapshot')
      .option('--parent <snapshot>', 'compare with this snapshot instead of the last of the same host and paths')
      .option('--time <time>', 'when the snapshot was made, as in "2026-11-01 14:30:00"', parseTime)
      .action(context.action<Options>(backup))
  },
}

async function backup(invocation: Invocation<Options>): Promise<Outcome> {
  const { operands, options } = invocation
  return operands.length > 0 || options.filesFromVerbatim.length > 0
    ? backupThePaths(invocation)
    : backupTheApplication(invocation)
}

function widthOf({ io }: Invocation<unknown>): number | undefined {
  return io.isTerminal('stdout') ? io.columns() : undefined
}

async function backupTheApplication(invocation: Invocation<Options>): Promise<Outcome> {
  const { globals, options, screen, signal, style } = invocation
  refuse(
    invocation,
    ['exclude', 'excludeFile', 'host', 'parent', 'time'],
    'only goes with paths: the config file says it',
  )
  const [{ requireConfig, repositoryAccess }, { backupLines, planJson, planLines }] = await Promise.all([
    import('../repository-access.ts'),
    import('../backup-text.ts'),
  ])
  const config = await requireConfig(invocation).catch((error: unknown) => {
    if (!(error instanceof CliError) || error.code !== 'NO_CONFIG' || globals.repo === undefined) throw error
    throw new CliError('USAGE', 'Cannot tell what to back up: there are neither paths nor a config file', {
      hint: 'Name the paths, or --config for an application',
      cause: error,
    })
  })
  const access = await repositoryAccess(invocation, config)
  const { component, force, hostRoot } = options
  const place = hostRoot === undefined ? {} : { hostRoot: absolute(invocation, hostRoot) }
  if (options.dryRun) {
    const { planBackup } = await import('../../operations/backup/plan-backup.ts')
    const observe = invocation.observe()
    const plan = await planBackup(config, access, { components: component, force, ...place, observe, signal })
    screen.live(undefined)
    if (globals.json) screen.json(planJson(plan))
    else screen.print(planLines(plan, { style, width: widthOf(invocation) }).join('\n'))
    return plan.findings.some(({ severity }) => severity === 'error') ? 'incomplete' : 'succeeded'
  }
  const { backupApplication } = await import('../../operations/backup/backup-application.ts')
  const { outcome } = await backupApplication(config, access, {
    components: component,
    reason: options.reason,
    tags: options.tag,
    force,
    ...place,
    observe: invocation.observe({
      config,
      access,
      summarise: (summary) => backupLines(summary, { style, width: widthOf(invocation) }),
    }),
    signal,
  })
  return outcome
}

async function backupThePaths(invocation: Invocation<Options>): Promise<Outcome> {
  const { operands, options, signal, style } = invocation
  refuse(invocation, ['component', 'reason', 'hostRoot'], 'only goes with a config file, without paths')
  const { findRepositoryConfig, repositoryAccess } = await import('../repository-access.ts')
  const config = await findRepositoryConfig(invocation)
  if (config !== undefined) {
    // Its secrets would enter the repository unsealed.
    throw new CliError(
      'USAGE',
      `Cannot back up ${escapeText(operands[0] ?? 'paths')}: ${config.file} says what is backed up`,
      {
        hint: 'Name a part of it with --component; or name a repository with --repo to back up paths as they lie there',
      },
    )
  }
  const paths = [...operands, ...(await linesOf(invocation, options.filesFromVerbatim))]
  const exclude = [...options.exclude, ...(await patternsOf(invocation, options.excludeFile))].map(anywhere)
  const { openAhead } = await import('../../operations/access.ts')
  const access = await openAhead(await repositoryAccess(invocation, undefined), signal)
  const [{ backupPaths }, { backupLines }, { localTimestamp }] = await Promise.all([
    import('../../operations/backup/backup-paths.ts'),
    import('../backup-text.ts'),
    import('../../engine/format/timestamp.ts'),
  ])
  const { outcome } = await backupPaths(access, {
    paths,
    exclude,
    tags: options.tag,
    host: options.host,
    parent: options.parent,
    force: options.force,
    dryRun: options.dryRun,
    time: options.time === undefined ? undefined : localTimestamp(options.time),
    observe: invocation.observe({
      summarise: (summary) => backupLines(summary, { style, width: widthOf(invocation) }),
    }),
    signal,
  })
  return outcome
}

/** Options that would be passed over in silence. */
function refuse({ options }: Invocation<Options>, names: readonly (keyof Options)[], why: string): void {
  for (const name of names) {
    const value = options[name]
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue
    const written = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    throw new CliError('USAGE', `Cannot use --${written}: it ${why}`)
  }
}

/** In restic a pattern without a slash in front fits at any depth, also one with a slash in its middle. */
function anywhere(pattern: string): string {
  const [, not = '', rest = ''] = /^(!?)(.*)$/s.exec(pattern) ?? []
  return /^\/|^\*\*\//.test(rest) || !rest.slice(0, -1).includes('/') ? pattern : `${not}**/${rest}`
}

function absolute({ io }: Invocation<Options>, path: string): string {
  return resolve(io.cwd, path)
}

async function linesOf(invocation: Invocation<Options>, files: readonly string[]): Promise<string[]> {
  const lines: string[] = []
  for (const file of files) {
    const path = absolute(invocation, file)
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      const why = error.code === 'ENOENT' ? 'there is no such file' : error.message
      throw new CliError('USAGE', `Cannot read ${escapeText(path)}: ${why}`, { cause: error, facts: { path } })
    })
    lines.push(...text.split('\n').filter((line) => line !== ''))
  }
  return lines
}

async function patternsOf(invocation: Invocation<Options>, files: readonly string[]): Promise<string[]> {
  return (await linesOf(invocation, files))
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
}
