import { InvalidArgumentError } from 'commander'
import type { ListedSnapshot } from '../../operations/browse/list-snapshots.ts'
import { addCommand, type CommandModule, collect, type Invocation } from '../command.ts'
import { counted, formatBytes, formatDate, shortId } from '../format.ts'
import { collectTags } from '../snapshot-options.ts'
import type { Column } from '../table.ts'
import { escapeJson } from '../terminal-text.ts'

interface Options {
  readonly host: readonly string[]
  readonly tag: readonly (readonly string[])[]
  readonly path: readonly string[]
  readonly latest?: number
  readonly long: boolean
}

export const snapshotsCommand: CommandModule = {
  name: 'snapshots',
  register(program, context) {
    addCommand(program, {
      usage: 'snapshots',
      topic: 'look',
      summary: 'list the snapshots of a repository',
      description:
        'Oldest first, times in the zone of this machine. A snapshot that cannot be read is reported, and the exit code is 3.\n\n' +
        "With --json: one array of objects with restic's keys (time, parent, tree, paths, hostname, username, uid, gid, tags, program_version, summary, id, short_id); what cannot be read is on standard error.",
      examples: [
        { run: 'holdfast snapshots', does: 'In the folder of an application' },
        {
          run: 'holdfast -r /srv/backup snapshots --tag app:shop --latest 3',
          does: 'The last three of one application',
        },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
      .option('-H, --host <host>', 'only those of this host (repeatable)', collect, [])
      .option('--tag <tag>', 'only those with this tag, or all of a comma list (repeatable)', collectTags, [])
      .option('--path <path>', 'only those that name this path (repeatable)', collect, [])
      .option('--latest <n>', 'only the last n of each host and set of paths', parseCount)
      .option('-l, --long', 'with outcome and reason, read from each snapshot, instead of paths', false)
      .action(context.action<Options>(showSnapshots))
  },
}

function parseCount(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Expected a whole number from 1 on')
}

async function showSnapshots(invocation: Invocation<Options>): Promise<'succeeded' | 'incomplete'> {
  const { globals, io, options, screen, signal } = invocation
  const [{ listSnapshots }, { findRepositoryConfig, repositoryAccess }, { snapshotJson }] = await Promise.all([
    import('../../operations/browse/list-snapshots.ts'),
    import('../repository-access.ts'),
    import('../snapshot-json.ts'),
  ])
  const access = await repositoryAccess(invocation, await findRepositoryConfig(invocation))
  const { snapshots: all, unreadable } = await listSnapshots(access, {
    filter: { hosts: options.host, tags: options.tag, paths: options.path },
    manifests: options.long,
    signal,
  })
  const snapshots = options.latest === undefined ? all : lastOfEach(all, options.latest)

  if (globals.json) {
    // One document for programs that know restic's: findings go elsewhere.
    for (const { id, error } of unreadable) {
      const finding = { severity: 'error', code: 'snapshot-unreadable', message: error.message, snapshot: id }
      io.stderr.write(`${escapeJson(JSON.stringify({ message_type: 'finding', ...finding }))}\n`)
    }
    const objects = snapshots.map(({ id, snapshot }) => snapshotJson(id, snapshot))
    io.stdout.write(`${escapeJson(JSON.stringify(objects))}\n`)
    return unreadable.length > 0 ? 'incomplete' : 'succeeded'
  }

  for (const { error } of unreadable) invocation.warn(error.message, 'Run holdfast check to see what else is damaged')
  if (snapshots.length === 0) {
    screen.say(all.length === 0 && unreadable.length === 0 ? 'No snapshots' : 'No snapshots that can be read')
  } else {
    const { formatTable } = await import('../table.ts')
    const width = io.isTerminal('stdout') ? io.columns() : undefined
    const columns = COLUMNS.filter(({ title }) => !options.long || title !== 'Paths').filter(
      ({ value, always }) => always || snapshots.some((listed) => value(listed, width) !== ''),
    )
    const rows = snapshots.map((listed) => columns.map(({ value }) => value(listed, width)))
    screen.print(formatTable(columns, rows, { width, style: invocation.style }))
    screen.say(invocation.style.dim(counted(snapshots.length, 'snapshot')))
  }
  return unreadable.length > 0 ? 'incomplete' : 'succeeded'
}

const APP = 'app:'

interface SnapshotColumn extends Column {
  readonly always?: boolean
  /** With a width, of the terminal, it is as short as it can be. */
  readonly value: (listed: ListedSnapshot, width: number | undefined) => string
}

/** Those without a value are left out, unless they are always there. */
const COLUMNS: readonly SnapshotColumn[] = [
  { title: 'ID', always: true, value: ({ id }) => shortId(id) },
  {
    title: 'Time',
    always: true,
    value: ({ snapshot }) => formatDate(new Date(Number(snapshot.time.ns / 1_000_000n))),
  },
  { title: 'Host', always: true, cut: 'end', value: ({ snapshot }) => snapshot.hostname },
  {
    title: 'App',
    cut: 'end',
    value: ({ snapshot }) => snapshot.tags.find((tag) => tag.startsWith(APP))?.slice(APP.length) ?? '',
  },
  {
    title: 'Tags',
    cut: 'end',
    value: ({ snapshot }) => snapshot.tags.filter((tag) => !tag.startsWith(APP)).join(', '),
  },
  {
    title: 'Outcome',
    value: ({ manifest }) => (manifest?.outcome === 'succeeded' ? 'complete' : (manifest?.outcome ?? '')),
  },
  { title: 'Reason', cut: 'end', value: ({ manifest }) => manifest?.reason ?? '' },
  {
    title: 'Paths',
    always: true,
    cut: 'middle',
    value: ({ snapshot: { paths } }, width) =>
      width !== undefined && paths.length > 1 ? `${paths[0]} +${paths.length - 1}` : paths.join(', '),
  },
  {
    title: 'Size',
    align: 'right',
    always: true,
    value: ({ snapshot: { summary } }) => (summary === undefined ? '' : formatBytes(summary.totalBytesProcessed)),
  },
]

interface Listed {
  readonly snapshot: { readonly hostname: string; readonly paths: readonly string[] }
}

/** Grouped as restic groups them: by host and paths, in whatever order the paths stand. */
function lastOfEach<S extends Listed>(snapshots: readonly S[], count: number): readonly S[] {
  const groups = Map.groupBy(snapshots, ({ snapshot }) =>
    JSON.stringify([snapshot.hostname, [...snapshot.paths].sort()]),
  )
  const kept = new Set([...groups.values()].flatMap((group) => group.slice(-count)))
  return snapshots.filter((snapshot) => kept.has(snapshot))
}
