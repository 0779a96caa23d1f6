import type { FoundFile } from '../../operations/browse/find-files.ts'
import type { FoundObject } from '../../operations/browse/find-objects.ts'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, collect, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { formatDate, shortId } from '../format.ts'
import { parseAt, parseTime } from '../moment.ts'
import {
  addSnapshotFilterOptions,
  refuseFilteredIds,
  type SnapshotFilterOptions,
  snapshotFilter,
} from '../snapshot-filter-options.ts'
import { escapeName } from '../terminal-text.ts'
import { unreadable } from '../unreadable.ts'

interface Options extends SnapshotFilterOptions {
  readonly ignoreCase: boolean
  readonly long: boolean
  readonly humanReadable: boolean
  readonly newest?: bigint
  readonly oldest?: bigint
  readonly snapshot: readonly string[]
  readonly blob: boolean
  readonly tree: boolean
  readonly pack: boolean
  readonly showPackId: boolean
  readonly reverse: boolean
}

export const findCommand: CommandModule = {
  name: 'find',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'find <pattern...>',
      topic: 'look',
      summary: 'look for files in the snapshots by name or path',
      description:
        'A pattern is a name, or a path from some folder on, or with a slash at its beginning the whole path. In it * stands for any characters, ? for one, [a-z] for one of a set, ** for any number of folders. Quote it, or the shell replaces it. What lies in a folder that fits is found as well. The newest snapshot comes first.\n\n' +
        'With --blob, --tree or --pack the patterns are IDs or their beginnings, and what uses them is found: what is lost when a pack is damaged. What cannot be read is reported, and the exit code is 3.\n\n' +
        'With --json, as restic: one array, of files an object a snapshot with matches, hits and snapshot, of IDs an object each with object_type, id, path, parent_tree, snapshot, time, and with --show-pack-id packs.',
      arguments: { pattern: 'name or path with wildcards; with --blob, --tree and --pack an ID' },
      examples: [
        { run: 'holdfast find bot.json', does: 'Every snapshot that has the file, with its path' },
        { run: "holdfast find -l --oldest 2026-11-01 '/opt/app/data/**/*.db'", does: 'Databases changed since a day' },
        { run: 'holdfast find --pack 7c1d4f20', does: 'What needs a damaged pack' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
      .option('-i, --ignore-case', 'upper and lower case are the same', false)
      .option('-l, --long', 'with mode, owner, size and time', false)
      .option('--human-readable', 'sizes as in 12.3 MiB', false)
      .option('-N, --newest <date>', 'only what was modified at or before this, as in 2026-11-01', parseAt)
      .option('-O, --oldest <date>', 'only what was modified at or after this', parseTime)
      .option('-s, --snapshot <id>', 'only in this snapshot (repeatable)', collect, [])
      .option('--blob', 'the patterns are IDs of data blobs', false)
      .option('--tree', 'the patterns are IDs of trees', false)
      .option('--pack', 'the patterns are IDs of packs', false)
      .option('--show-pack-id', 'with the packs that hold the blobs or trees', false)
      .option('-R, --reverse', 'the oldest snapshot first', false)
    addSnapshotFilterOptions(command).action(context.action<Options>(find))
  },
}

async function find(invocation: Invocation<Options>): Promise<Outcome> {
  const { operands, options, signal } = invocation
  const kinds = (['blob', 'tree', 'pack'] as const).filter((kind) => options[kind])
  if (kinds.length > 1) throw new CliError('USAGE', `Cannot look for ${kinds.join(' and ')} at once: give one of them`)
  refuseFilteredIds(options.snapshot, options)
  const { findRepositoryConfig, repositoryAccess } = await import('../repository-access.ts')
  const access = await repositoryAccess(invocation, await findRepositoryConfig(invocation))
  let outcome: Outcome = 'succeeded'
  const search = {
    names: options.snapshot,
    filter: snapshotFilter(options),
    reverse: options.reverse,
    signal,
    onUnreadable(message: string) {
      outcome = 'incomplete'
      invocation.complain(unreadable(message))
    },
  }
  const [kind] = kinds
  if (kind === undefined) {
    const { findFiles } = await import('../../operations/browse/find-files.ts')
    const { ignoreCase, oldest, newest } = options
    const print = await filePrinter(invocation)
    await findFiles(access, { ...search, patterns: operands, ignoreCase, oldest, newest }, print.found)
    print.end()
  } else {
    const { findObjects } = await import('../../operations/browse/find-objects.ts')
    const print = await objectPrinter(invocation)
    await findObjects(access, { ...search, kind, ids: operands }, print.found)
    print.end()
  }
  return outcome
}

interface Printer<Found> {
  found(found: Found): void
  end(): void
}

async function filePrinter({ globals, io, options, screen }: Invocation<Options>): Promise<Printer<FoundFile>> {
  const [{ fileLine, foundJson }, { jsonText }, { dateOf }] = await Promise.all([
    import('../file-text.ts'),
    import('../json-text.ts'),
    import('../snapshot-json.ts'),
  ])
  let current: FoundFile['stored'] | undefined
  let hits = 0
  if (!globals.json) {
    return {
      found({ stored, path, node }) {
        if (stored !== current) {
          if (current) screen.say('')
          current = stored
          const when = formatDate(dateOf(stored.snapshot.time))
          screen.say(`Found matching entries in snapshot ${shortId(stored.id)} from ${when}`)
        }
        screen.print(fileLine(path, node, options))
      },
      end() {
        if (!current) screen.say('Nothing found')
      },
    }
  }
  // An array that is written while it comes into being: there may be millions of files in it.
  const close = () => (current ? `],"hits":${hits},"snapshot":"${current.id}"}` : '')
  return {
    found({ stored, path, node }) {
      let before = ','
      if (stored !== current) {
        before = `${current ? `${close()},` : '['}{"matches":[`
        current = stored
        hits = 0
      }
      hits += 1
      io.stdout.write(before + jsonText(foundJson(path, node)))
    },
    end() {
      io.stdout.write(current ? `${close()}]\n` : '[]\n')
    },
  }
}

async function objectPrinter({ globals, io, options, screen }: Invocation<Options>): Promise<Printer<FoundObject>> {
  const [{ formatTimestamp }, { jsonText }, { dateOf }] = await Promise.all([
    import('../../engine/format/timestamp.ts'),
    import('../json-text.ts'),
    import('../snapshot-json.ts'),
  ])
  let count = 0
  if (!globals.json) {
    return {
      found({ stored, type, id, path, parentTree, packs }) {
        count += 1
        const lines = [
          `Found ${type} ${id}`,
          ` ... ${type === 'blob' ? 'in file' : 'path'} ${escapeName(path)}`,
          ...(parentTree === undefined ? [] : [`     (tree ${parentTree})`]),
          ` ... in snapshot ${shortId(stored.id)} (${formatDate(dateOf(stored.snapshot.time))})`,
          ...(options.showPackId ? packs.map((pack) => ` ... in pack ${pack}`) : []),
        ]
        screen.print(lines.join('\n'))
      },
      end() {
        if (count === 0) screen.say('Nothing found')
      },
    }
  }
  return {
    found({ stored, type, id, path, parentTree, packs }) {
      const object = {
        object_type: type,
        id,
        path: path.toString(),
        parent_tree: parentTree,
        snapshot: stored.id,
        time: formatTimestamp(stored.snapshot.time),
        packs: options.showPackId ? packs : undefined,
      }
      io.stdout.write(`${count === 0 ? '[' : ','}${jsonText(object)}`)
      count += 1
    },
    end() {
      io.stdout.write(count === 0 ? '[]\n' : ']\n')
    },
  }
}
