import { Option } from 'commander'
import type { FileListener } from '../../operations/browse/list-files.ts'
import type { FileOrder } from '../../operations/browse/sort-files.ts'
import { addCommand, type CommandModule, collect, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { formatDate, shortId } from '../format.ts'
import {
  addSnapshotOptions,
  type SnapshotOptions,
  SUBFOLDER_ARGUMENT,
  snapshotChoice,
  splitOperands,
  splitSubfolder,
} from '../snapshot-options.ts'
import { escapeText } from '../terminal-text.ts'

interface Options extends SnapshotOptions {
  readonly long: boolean
  readonly recursive: boolean
  readonly humanReadable: boolean
  readonly ncdu: boolean
  readonly sort: FileOrder
  readonly reverse: boolean
}

const ORDERS: readonly FileOrder[] = ['name', 'size', 'time', 'mtime', 'atime', 'ctime', 'extension']

export const lsCommand: CommandModule = {
  name: 'ls',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'ls [snapshot] [path...]',
      topic: 'look',
      summary: 'list what is in a snapshot',
      description:
        'Without a path everything is listed. With one: what it names, and what lies directly in it. Of SNAPSHOT:/folder what is in the folder, with paths that begin there.\n\n' +
        'With --json, as restic: first the snapshot, then one object a line with name, type, path, uid, gid, size, mode, permissions, mtime, atime, ctime, inode. Their message_type is snapshot and node.',
      arguments: { snapshot: SUBFOLDER_ARGUMENT, path: 'absolute paths in the snapshot' },
      examples: [
        { run: 'holdfast ls', does: 'Everything in the latest snapshot' },
        { run: 'holdfast ls --at 2026-11-01 -l /opt/app/data', does: 'A folder as it was on a day' },
        { run: 'holdfast ls -l --human-readable --sort size --reverse', does: 'The largest files first' },
        { run: 'holdfast ls --ncdu | ncdu -f -', does: 'Look around in it with ncdu' },
      ],
      exits: ['no-repository', 'locked', 'wrong-password'],
    })
    addSnapshotOptions(command)
      .option('--path <path>', 'only snapshots that name this path count as the latest (repeatable)', collect, [])
      .option('-l, --long', 'with mode, owner, size and time', false)
      .option('--human-readable', 'sizes as in 12.3 MiB', false)
      .option('--recursive', 'go into the folders below the paths', false)
      .addOption(new Option('-s, --sort <by>', 'in this order').choices(ORDERS).default('name'))
      .option('--reverse', 'the other way round', false)
      .option('--ncdu', 'in the format that ncdu reads', false)
      .action(context.action<Options>(list))
  },
}

async function list(invocation: Invocation<Options>): Promise<void> {
  const { globals, options, signal } = invocation
  const { sort, reverse, recursive } = options
  if (options.ncdu && (globals.json || sort !== 'name' || reverse)) {
    throw new CliError('USAGE', 'Cannot use --ncdu together with --json, --sort or --reverse')
  }
  const [{ listFiles }, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
    import('../../operations/browse/list-files.ts'),
    import('../repository-access.ts'),
  ])
  const { name: operand, paths } = splitOperands(invocation.operands)
  const { name, subfolder } = splitSubfolder(operand)
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const choice = await snapshotChoice(name, options, config)
  const printer = options.ncdu ? await ncduPrinter(invocation) : await linePrinter(invocation)
  await listFiles(access, { choice, subfolder, paths, recursive, sort, reverse, signal }, printer)
  printer.end?.()
}

interface Printer extends FileListener {
  end?(): void
}

async function linePrinter({ globals, options, screen, style }: Invocation<Options>): Promise<Printer> {
  const [{ fileLine, listedJson }, { dateOf, snapshotJson }] = await Promise.all([
    import('../file-text.ts'),
    import('../snapshot-json.ts'),
  ])
  return {
    snapshot({ id, snapshot }) {
      if (globals.json) {
        screen.json({ ...snapshotJson(id, snapshot), message_type: 'snapshot', struct_type: 'snapshot' })
      } else {
        const when = formatDate(dateOf(snapshot.time))
        screen.say(style.dim(`snapshot ${shortId(id)} of ${when}, host ${escapeText(snapshot.hostname)}:`))
      }
    },
    file({ path, node }) {
      if (globals.json) screen.json({ ...listedJson(path, node), message_type: 'node', struct_type: 'node' })
      else screen.print(fileLine(path, node, options))
    },
  }
}

/** Nested lists, each begun by the folder whose content follows, as ncdu exports them (its format 1.2). */
async function ncduPrinter({ io }: Invocation<Options>): Promise<Printer> {
  const [{ ncduJson }, { jsonText }, { snapshotJson }] = await Promise.all([
    import('../file-text.ts'),
    import('../json-text.ts'),
    import('../snapshot-json.ts'),
  ])
  let depth = 1
  const entry: FileListener['file'] = ({ node }) => {
    io.stdout.write(`,\n${'  '.repeat(depth)}${node.type === 'dir' ? '[' : ''}${jsonText(ncduJson(node))}`)
    if (node.type === 'dir') depth += 1
  }
  return {
    snapshot({ id, snapshot }) {
      io.stdout.write(`[1, 2, ${jsonText(snapshotJson(id, snapshot))}, [{"name":"/"}`)
    },
    file: entry,
    passed: entry,
    leave() {
      depth -= 1
      io.stdout.write(']')
    },
    end() {
      io.stdout.write('\n]\n]\n')
    },
  }
}
