import type { DiffSide } from '../../operations/browse/diff-snapshots.ts'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { counted, formatBytes, shortId } from '../format.ts'
import { snapshotChoice, splitSubfolder } from '../snapshot-options.ts'
import { escapeName } from '../terminal-text.ts'
import { unreadable } from '../unreadable.ts'

interface Options {
  readonly metadata: boolean
}

export const diffCommand: CommandModule = {
  name: 'diff',
  register(program, context) {
    addCommand(program, {
      usage: 'diff <snapshot> <other>',
      topic: 'look',
      summary: 'show what changed from one snapshot to another',
      description:
        'A letter for each entry: + it was added, - removed, M its content changed, T it became something else (a file a link, say), U only its metadata changed (shown with --metadata). M? says that the content changed and nothing else did, not even a time: the disk of the source may be losing bits. Below it, counts, and the data that is new in the second snapshot or that only the first one has.\n\n' +
        'With --json, as restic: a change a line with path and modifier, then statistics with source_snapshot, target_snapshot, changed_files, and added and removed, each with files, dirs, others, data_blobs, tree_blobs, bytes.',
      arguments: {
        snapshot: 'latest, or the beginning of an ID; either with :/folder',
        other: 'the one to compare it with',
      },
      examples: [
        { run: 'holdfast diff 40244c04 latest', does: 'What happened since a snapshot' },
        { run: 'holdfast diff 40244c04:/etc 9d34fb12:/etc', does: 'In one folder' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
      .option('--metadata', 'also what changed in its metadata only', false)
      .action(context.action<Options>(diff))
  },
}

async function diff(invocation: Invocation<Options>): Promise<Outcome> {
  const { globals, operands, options, screen, signal, style } = invocation
  const [{ diffSnapshots }, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
    import('../../operations/browse/diff-snapshots.ts'),
    import('../repository-access.ts'),
  ])
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const side = async (text: string): Promise<DiffSide> => {
    const { name, subfolder } = splitSubfolder(text)
    return { choice: await snapshotChoice(name, { host: [], tag: [] }, config), subfolder }
  }
  const [source = '', target = ''] = operands
  const difference = await diffSnapshots(access, {
    before: await side(source),
    after: await side(target),
    metadata: options.metadata,
    signal,
    onStart(before, after) {
      if (!globals.json) screen.say(style.dim(`comparing snapshot ${shortId(before)} to ${shortId(after)}:`))
    },
    onChange({ path, modifier }) {
      if (globals.quiet) return
      if (globals.json) screen.json({ message_type: 'change', path: path.toString(), modifier })
      else screen.print(`${modifier.padEnd(4)} ${escapeName(path)}`)
    },
    onUnreadable: (message) => invocation.complain(unreadable(message)),
  })
  const { added, removed, changedFiles, problems } = difference
  if (globals.json) {
    const counts = ({ files, dirs, others, dataBlobs, treeBlobs, bytes }: typeof added) => ({
      files,
      dirs,
      others,
      data_blobs: dataBlobs,
      tree_blobs: treeBlobs,
      bytes,
    })
    screen.json({
      message_type: 'statistics',
      source_snapshot: source,
      target_snapshot: target,
      changed_files: changedFiles,
      added: counts(added),
      removed: counts(removed),
    })
  } else {
    screen.print(
      [
        ...(globals.quiet ? [] : ['']),
        `Files:    ${added.files} new, ${removed.files} removed, ${changedFiles} changed`,
        `Folders:  ${added.dirs} new, ${removed.dirs} removed`,
        `Others:   ${added.others} new, ${removed.others} removed`,
        `Added:    ${formatBytes(added.bytes)} in ${blobs(added)}`,
        `Removed:  ${formatBytes(removed.bytes)} in ${blobs(removed)}`,
      ].join('\n'),
    )
  }
  return problems > 0 ? 'incomplete' : 'succeeded'
}

function blobs({ dataBlobs, treeBlobs }: { readonly dataBlobs: number; readonly treeBlobs: number }): string {
  return `${counted(dataBlobs, 'data blob')} and ${counted(treeBlobs, 'tree')}`
}
