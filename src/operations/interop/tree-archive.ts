import { posix } from 'node:path'
import { createGzip } from 'node:zlib'
import type { Finding } from '../../application/finding.ts'
import { throughTransform } from '../../application/sources/byte-stream.ts'
import { packTar, type TarEntry } from '../../application/sources/tar.ts'
import { EngineError } from '../../engine/error.ts'
import { permissions } from '../../engine/format/mode.ts'
import { nameDefect } from '../../engine/format/node-name.ts'
import type { TreeNode } from '../../engine/format/tree.ts'
import { readTree } from '../../engine/repository/read-blob.ts'
import type { IndexedRepository } from '../../engine/repository/repository.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { findNode, readContent } from '../snapshot-files.ts'

export interface TreeArchiveOptions {
  /** Absolute paths in the snapshot; of a folder all that is in it. */
  readonly paths: readonly string[]
  /** The folder that names are relative to: where the archive is to be unpacked. Every path lies in it. */
  readonly base: string
  /** Absolute paths that stay out, with what is below them. */
  readonly omitted?: ReadonlySet<string>
  /** Hears of what tar cannot hold and of what is damaged; it stays out, whole. */
  readonly onFinding: (finding: Finding) => void
  readonly signal: AbortSignal
}

/** A tar.gz of paths of a snapshot, which plain `tar -xz` opens. Folders come before what is in them. */
export function treeArchive(
  chosen: Pick<ChosenSnapshot, 'repository' | 'stored'>,
  options: TreeArchiveOptions,
): AsyncIterable<Buffer> {
  return throughTransform(packTar(entriesOf(chosen, options)), createGzip(), options.signal)
}

type Entry = readonly [entry: TarEntry, content: AsyncIterable<Uint8Array> | undefined]

async function* entriesOf(
  { repository, stored }: Pick<ChosenSnapshot, 'repository' | 'stored'>,
  options: TreeArchiveOptions,
): AsyncGenerator<Entry> {
  const { paths, base, omitted, onFinding, signal } = options
  const skipped = base === '/' ? 1 : Buffer.byteLength(base) + 1
  const leave = (code: string, path: Buffer, why: string, hint?: string) =>
    onFinding({
      severity: 'error',
      code,
      path: path.toString(),
      message: `${path} is not exported: ${why}`,
      ...(hint === undefined ? {} : { hint }),
    })

  async function* visit(node: TreeNode, path: Buffer): AsyncGenerator<Entry> {
    signal.throwIfAborted()
    if (omitted?.has(path.toString())) return
    const defect = nameDefect(node.name)
    if (defect !== undefined) return leave('entry-refused', path, defect)
    const name = path.subarray(skipped)
    switch (node.type) {
      case 'dir': {
        yield [entryOf(node, name, 'directory', 0), undefined]
        const children = await intact(() => childrenOf(repository, node, signal), path)
        for (const child of children ?? []) yield* visit(child, Buffer.concat([path, SLASH, child.name]))
        return
      }
      case 'symlink':
        yield [entryOf(node, name, 'symlink', 0), undefined]
        return
      case 'file': {
        // The size stands before the content in a tar: it is read once to know that all of it is there.
        const size = await intact(() => lengthOf(repository, node, signal), path)
        if (size !== undefined) yield [entryOf(node, name, 'file', size), readContent(repository, node, signal)]
        return
      }
      default:
        leave(
          'not-exported',
          path,
          `a ${node.type} has no place in such an archive`,
          'Restore it with `restore --target`',
        )
    }
  }

  async function intact<T>(read: () => Promise<T>, path: Buffer): Promise<T | undefined> {
    try {
      return await read()
    } catch (error) {
      if (!(error instanceof EngineError) || !DAMAGE.has(error.code)) throw error
      leave('file-not-restored', path, error.message, 'Run `holdfast check --read-data`; an older snapshot may hold it')
      return undefined
    }
  }

  for (const path of paths) {
    const node = await findNode(repository, stored.snapshot.tree, path, signal)
    if (node !== undefined) yield* visit(node, Buffer.from(posix.resolve('/', path)))
    else if (path === '/') {
      for (const child of await readTree(repository, stored.snapshot.tree, signal)) {
        yield* visit(child, Buffer.concat([SLASH, child.name]))
      }
    }
  }
}

const SLASH = Buffer.from('/')
const DAMAGE: ReadonlySet<string> = new Set(['CORRUPT', 'NOT_FOUND', 'UNAUTHENTIC', 'TRUNCATED', 'HOSTILE'])

async function childrenOf(repository: IndexedRepository, node: TreeNode, signal: AbortSignal): Promise<TreeNode[]> {
  if (node.subtree === undefined) throw new EngineError('CORRUPT', 'it names no tree')
  return readTree(repository, node.subtree, signal)
}

async function lengthOf(repository: IndexedRepository, node: TreeNode, signal: AbortSignal): Promise<number> {
  let bytes = 0
  for await (const piece of readContent(repository, node, signal)) bytes += piece.length
  if (node.content === undefined) throw new EngineError('CORRUPT', 'it says nothing of its content')
  return bytes
}

function entryOf(node: TreeNode, name: Buffer, type: TarEntry['type'], size: number): TarEntry {
  const { mode, uid, gid, user, group, mtime, linkTarget } = node
  return {
    name,
    type,
    mode: permissions(mode),
    uid,
    gid,
    user,
    group,
    mtimeNs: mtime.ns,
    size,
    linkTarget: type === 'symlink' ? (linkTarget ?? Buffer.alloc(0)) : undefined,
  }
}
