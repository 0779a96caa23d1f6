import { InvalidArgumentError } from 'commander'
import type { ListedSnapshot } from '../../operations/browse/list-snapshots.ts'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { counted, formatBytes, formatDate, shortId } from '../format.ts'
import { optionValue } from '../option-value.ts'
import {
  addSnapshotFilterOptions,
  refuseFilteredIds,
  type SnapshotFilterOptions,
  snapshotFilter,
} from '../snapshot-filter-options.ts'
import type { Column } from '../table.ts'

interface Options extends SnapshotFilterOptions {
  readonly latest?: number
  readonly groupBy?: string
  readonly compact: boolean
  readonly long: boolean
}

export const snapshotsCommand: CommandModule = {
  name: 'snapshots',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'snapshots [snapshot...]',
      topic: 'look',
      summary: 'list the snapshots of a repository',
      description:
        'Oldest first, times in the zone of this machine. A snapshot that cannot be read is reported, and the exit code is 3.\n\n' +
        "With --json: one array of objects with restic's keys (time, parent, tree, paths, hostname, username, uid, gid, tags, program_version, summary, id, short_id); what cannot be read is on standard error. With --group-by an object a group, with group_key (hostname, paths, tags) and snapshots.",
      arguments: { snapshot: 'only these: the beginning of an ID, or latest' },
      examples: [
        { run: 'holdfast snapshots', does: 'In the folder of an application' },
        {
          run: 'holdfast -r /srv/backup snapshots --tag app:shop --latest 3',
          does: 'The last three of one application',
        },
        { run: 'holdfast snapshots --group-by host --compact', does: 'A short table for each host' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
    addSnapshotFilterOptions(command)
      .option('--latest <n>', 'only the last n of each group; ungrouped of each host and set of paths', parseCount)
      .option('-g, --group-by <names>', 'a table for each: host, paths, tags or some of them with commas')
      .option('-c, --compact', 'without paths', false)
      .option('-l, --long', 'with outcome and reason, read from each snapshot, instead of paths', false)
      .action(context.action<Options>(showSnapshots))
  },
}

function parseCount(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Expected a whole number from 1 on')
}

async function showSnapshots(invocation: Invocation<Options>): Promise<Outcome> {
  const { globals, io, operands, options, screen, signal, style } = invocation
  refuseFilteredIds(operands, options)
  const [{ listSnapshots }, { findRepositoryConfig, repositoryAccess }, groups] = await Promise.all([
    import('../../operations/browse/list-snapshots.ts'),
    import('../repository-access.ts'),
    import('../../engine/repository/snapshot-groups.ts'),
  ])
  const { DEFAULT_GROUPING, groupSnapshots, parseGrouping } = groups
  const grouping = optionValue('--group-by', options.groupBy, parseGrouping, 'host, paths, tags or some of them')
  const access = await repositoryAccess(invocation, await findRepositoryConfig(invocation))
  const { snapshots: all, unreadable } = await listSnapshots(access, {
    names: operands,
    filter: snapshotFilter(options),
    manifests: options.long,
    signal,
  })
  const outcome = unreadable.length > 0 ? 'incomplete' : 'succeeded'
  const last = <S>(snapshots: readonly S[]) =>
    options.latest === undefined ? snapshots : snapshots.slice(-options.latest)

  // With --json one document for programs that know restic's: findings go elsewhere.
  for (const { id, error } of unreadable) {
    const finding = { severity: 'error', code: 'snapshot-unreadable', message: error.message } as const
    if (globals.json) invocation.complain(finding, { snapshot: id })
    else invocation.warn(error.message, 'Run holdfast check to see what else is damaged')
  }
  const grouped =
    grouping && groupSnapshots(all, grouping).map((group) => ({ ...group, snapshots: last(group.snapshots) }))
  const kept = new Set(groupSnapshots(all, DEFAULT_GROUPING).flatMap(({ snapshots }) => last(snapshots)))
  const shown = all.filter((listed) => kept.has(listed))

  if (globals.json) {
    const [{ snapshotJson }, { jsonText }] = await Promise.all([
      import('../snapshot-json.ts'),
      import('../json-text.ts'),
    ])
    const objects = (snapshots: readonly ListedSnapshot[]) =>
      snapshots.map(({ id, snapshot }) => snapshotJson(id, snapshot))
    const document =
      grouped === undefined
        ? objects(shown)
        : grouped.map(({ host, paths, tags, snapshots }) => ({
            group_key: {
              hostname: host,
              paths: grouping?.paths ? paths : null,
              tags: grouping?.tags && tags.length > 0 ? tags : null,
            },
            snapshots: objects(snapshots),
          }))
    io.stdout.write(`${jsonText(document)}\n`)
    return outcome
  }

  if (all.length === 0) screen.say(unreadable.length === 0 ? 'No snapshots' : 'No snapshots that can be read')
  const tables = grouped ?? (all.length === 0 ? [] : [{ host: '', paths: [], tags: [], snapshots: shown }])
  const { formatTable } = await import('../table.ts')
  const { escapeText } = await import('../terminal-text.ts')
  const width = io.isTerminal('stdout') ? io.columns() : undefined
  for (const [at, { host, paths, tags, snapshots }] of tables.entries()) {
    const common = [
      ...(host === '' ? [] : [`host ${host}`]),
      ...(tags.length === 0 ? [] : [`tags ${tags.join(', ')}`]),
      ...(paths.length === 0 ? [] : [`paths ${paths.join(', ')}`]),
    ].join(', ')
    if (at > 0) screen.print('')
    if (common !== '') screen.print(style.bold(`Snapshots of ${escapeText(common)}`))
    const columns = COLUMNS.filter(({ title }) => title !== 'Paths' || !(options.long || options.compact)).filter(
      ({ value, always }) => always || snapshots.some((listed) => value(listed, width) !== ''),
    )
    const rows = snapshots.map((listed) => columns.map(({ value }) => value(listed, width)))
    screen.print(formatTable(columns, rows, { width, style }))
    screen.say(style.dim(counted(snapshots.length, 'snapshot')))
  }
  return outcome
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
