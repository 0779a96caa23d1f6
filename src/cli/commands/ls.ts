import type { ListedFile } from '../../operations/browse/list-files.ts'
import { addCommand, type CommandModule, collect, type Invocation } from '../command.ts'
import { formatDate, shortId } from '../format.ts'
import {
  addSnapshotOptions,
  SNAPSHOT_ARGUMENT,
  type SnapshotOptions,
  snapshotChoice,
  splitOperands,
} from '../snapshot-options.ts'
import { escapeName, escapeText } from '../terminal-text.ts'

interface Options extends SnapshotOptions {
  readonly long?: boolean
  readonly recursive?: boolean
}

export const lsCommand: CommandModule = {
  name: 'ls',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'ls [snapshot] [path...]',
      topic: 'look',
      summary: 'list what is in a snapshot',
      description:
        'Without a path everything is listed. With one: what it names, and what lies directly in it.\n\n' +
        'With --json, as restic: first the snapshot, then one object a line with name, type, path, uid, gid, size, mode, permissions, mtime, atime, ctime, inode. Their message_type is snapshot and node.',
      arguments: { snapshot: SNAPSHOT_ARGUMENT, path: 'absolute paths in the snapshot' },
      examples: [
        { run: 'holdfast ls', does: 'Everything in the latest snapshot' },
        { run: 'holdfast ls --at 2026-11-01 -l /opt/app/data', does: 'A folder as it was on a day' },
      ],
      exits: ['no-repository', 'locked', 'wrong-password'],
    })
    addSnapshotOptions(command)
      .option('--path <path>', 'only snapshots that name this path count as the latest (repeatable)', collect, [])
      .option('-l, --long', 'with mode, owner, size and time')
      .option('--recursive', 'go into the folders below the paths')
      .action(context.action<Options>(list))
  },
}

async function list(invocation: Invocation<Options>): Promise<void> {
  const { globals, options, screen, signal, style } = invocation
  const [{ listFiles }, { findRepositoryConfig, repositoryAccess }, { dateOf, snapshotJson }, modes, timestamps] =
    await Promise.all([
      import('../../operations/browse/list-files.ts'),
      import('../repository-access.ts'),
      import('../snapshot-json.ts'),
      import('../mode-text.ts'),
      import('../../engine/format/timestamp.ts'),
    ])
  const { name, paths } = splitOperands(invocation.operands)
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const choice = await snapshotChoice(name, options, config)

  const nodeJson = ({ path, node }: ListedFile) => ({
    name: node.name.toString(),
    type: node.type,
    path: path.toString(),
    uid: node.uid,
    gid: node.gid,
    size: node.type === 'file' ? node.size : undefined,
    mode: node.mode,
    permissions: modes.goModeText(node.mode),
    mtime: timestamps.formatTimestamp(node.mtime),
    atime: timestamps.formatTimestamp(node.atime),
    ctime: timestamps.formatTimestamp(node.ctime),
    inode: node.inode,
    message_type: 'node' as const,
    struct_type: 'node',
  })
  const longLine = ({ path, node }: ListedFile) => {
    const owner = `${escapeText(node.user || String(node.uid))} ${escapeText(node.group || String(node.gid))}`
    const to = node.linkTarget === undefined ? '' : ` -> ${escapeName(node.linkTarget)}`
    const size = String(node.type === 'file' ? node.size : 0)
    const time = formatDate(dateOf(node.mtime))
    return `${modes.modeText(node.type, node.mode)}  ${owner.padEnd(12)}  ${size.padStart(10)}  ${time}  ${escapeName(path)}${to}`
  }

  await listFiles(
    access,
    { choice, paths, recursive: options.recursive ?? false, signal },
    ({ id, snapshot }) => {
      if (globals.json) {
        screen.json({ ...snapshotJson(id, snapshot), message_type: 'snapshot', struct_type: 'snapshot' })
      } else {
        const when = formatDate(dateOf(snapshot.time))
        screen.say(style.dim(`snapshot ${shortId(id)} of ${when}, host ${escapeText(snapshot.hostname)}:`))
      }
    },
    (file) => {
      if (globals.json) screen.json(nodeJson(file))
      else screen.print(options.long ? longLine(file) : escapeName(file.path))
    },
  )
}
