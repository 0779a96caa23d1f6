import { mapConcurrent } from '../../concurrency.ts'
import type { BlobId } from '../../format/id.ts'
import { nameDefect } from '../../format/node-name.ts'
import { plaintextLength } from '../../format/pack-header.ts'
import type { TreeNode } from '../../format/tree-node.ts'
import { isFileProblem } from '../../repository/file-problem.ts'
import { readBlob } from '../../repository/read-blob.ts'
import type { IndexedRepository } from '../../repository/repository.ts'
import { pathIn, walkPaths } from '../../repository/walk-paths.ts'
import type { ArchiveSink } from './archive-sink.ts'

/** Blobs of a file under way at once. */
const READERS = 4

/** A file up to this size is read as a whole before it is announced: one that is damaged can then be left out. */
const READ_FIRST = 16 * 1024 * 1024

export interface DumpOptions {
  /** Where the folder lies: the names of members begin so. Empty for what is to lie at the top. */
  readonly prefix: readonly Buffer[]
  /** Of what is left out: it cannot be read, or is nothing that an honest program stores. */
  readonly onLeftOut: (path: Buffer, reason: string) => void
  readonly signal?: AbortSignal | undefined
}

/**
 * Writes what is in a folder, not the folder itself, into an archive. Memory is that of a file of 16 MiB, of the folders on the
 * way, and of the names of hard links that have not all been met.
 *
 * No member can lead out of where the archive is unpacked: names with slashes, NUL, `.` and `..` are left out, and the second of one
 * name, which could pass through a link of the first. Rejects when a large file turns out to be damaged after its beginning is
 * written: the archive is not whole then.
 */
export async function dumpFolder(
  repository: IndexedRepository,
  tree: BlobId,
  archive: ArchiveSink,
  options: DumpOptions,
): Promise<void> {
  const { prefix, onLeftOut, signal } = options
  const links = new HardLinks()
  await walkPaths<{ readonly names: Set<string> }>(
    repository,
    tree,
    { names: new Set() },
    {
      async node(node, folder) {
        const path = pathIn(folder, node.name)
        const leaveOut = (reason: string): undefined => void onLeftOut(path, reason)
        const defect = nodeDefect(node) ?? (folder.state.names.has(node.name.toString('latin1')) ? TWICE : undefined)
        if (defect !== undefined) return leaveOut(defect)
        folder.state.names.add(node.name.toString('latin1'))
        if (!archive.types.has(node.type)) return undefined
        const name = Buffer.concat([...prefix.flatMap((part) => [part, SLASH]), path.subarray(1)])
        if (name.length > archive.longestName) return leaveOut('its path is too long for the archive')
        if (node.type !== 'file') {
          const size = node.type === 'symlink' && !archive.hasLinks ? node.linkTarget!.length : 0
          await archive.add({ name, node, size, linkTo: undefined }, nothing())
          return node.type === 'dir' ? { state: { names: new Set<string>() } } : undefined
        }
        const linkTo = archive.hasLinks ? links.earlier(node) : undefined
        if (linkTo !== undefined) {
          await archive.add({ name, node, size: 0, linkTo }, nothing())
          return undefined
        }
        const size = sizeOf(repository, node)
        if (size === undefined) return leaveOut('its content is missing in part')
        const content = contentOf(repository, node, signal)
        let pieces: AsyncIterable<Buffer> = content
        try {
          if (size <= READ_FIRST) pieces = replay(await gather(content))
        } catch (error) {
          if (!isFileProblem(error)) throw error
          return leaveOut(error.message)
        }
        await archive.add({ name, node, size, linkTo: undefined }, pieces)
        links.note(node, name)
        return undefined
      },
      unreadable: (folder, error) => onLeftOut(pathIn(folder), error.message),
    },
    signal,
  )
  await archive.end()
}

const SLASH = Buffer.from('/')
const TWICE = 'its folder lists it twice'

function nodeDefect(node: TreeNode): string | undefined {
  const defect = nameDefect(node.name)
  if (defect !== undefined) return defect
  if (node.type === 'dir' && node.subtree === undefined) return 'it is a folder without a tree'
  if (node.type !== 'symlink') return undefined
  if (node.linkTarget === undefined) return 'it is a symbolic link to nothing'
  return node.linkTarget.includes(0) ? 'its target holds a NUL byte' : undefined
}

/** As the index says; what the node says proves nothing. Undefined where a blob is in no index. */
function sizeOf(repository: IndexedRepository, { content = [] }: TreeNode): number | undefined {
  let size = 0
  for (const id of content) {
    const location = repository.index.find('data', id)
    if (location === undefined) return undefined
    size += plaintextLength(location)
  }
  return size
}

function contentOf(
  repository: IndexedRepository,
  { content = [] }: TreeNode,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  return mapConcurrent(content, READERS, (id) => readBlob(repository, 'data', id, signal))
}

async function gather(pieces: AsyncIterable<Buffer>): Promise<Buffer[]> {
  const all: Buffer[] = []
  for await (const piece of pieces) all.push(piece)
  return all
}

async function* replay(pieces: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* pieces
}

async function* nothing(): AsyncGenerator<Buffer> {}

/** Files that have several names, as far as names are still to come. */
class HardLinks {
  readonly #files = new Map<string, { readonly name: Buffer; readonly content: string; left: number }>()

  /** The name under which the same file has been written; not where the content differs, whatever the inode says. */
  earlier(node: TreeNode): Buffer | undefined {
    const key = keyOf(node)
    const file = key === undefined ? undefined : this.#files.get(key)
    if (key === undefined || file === undefined || file.content !== contentKey(node)) return undefined
    file.left -= 1
    if (file.left <= 0) this.#files.delete(key)
    return file.name
  }

  note(node: TreeNode, name: Buffer): void {
    const key = keyOf(node)
    if (key !== undefined && !this.#files.has(key)) {
      this.#files.set(key, { name, content: contentKey(node), left: node.links - 1 })
    }
  }
}

function keyOf({ links, inode, deviceId }: TreeNode): string | undefined {
  return links > 1 && inode !== 0n ? `${deviceId}:${inode}` : undefined
}

function contentKey({ content = [] }: TreeNode): string {
  return content.join()
}
