import { createHash } from 'node:crypto'
import { EngineError } from '../error.ts'
import { type BlobId, hashId } from '../format/id.ts'
import { SEAL_OVERHEAD } from '../format/master-key.ts'
import { plaintextLength } from '../format/pack-header.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { BlobMap } from './blob-map.ts'
import type { IndexedRepository } from './repository.ts'
import { findUsedBlobs } from './used-blobs.ts'
import { pathIn, walkPaths } from './walk-paths.ts'
import { walkTrees } from './walk-trees.ts'

// What restic's `stats` counts, one function a mode. Snapshots share most of their trees: none is read more often than it must be.

export interface CountOptions {
  readonly signal?: AbortSignal | undefined
  /** Trees that have been read. */
  readonly onTrees?: (trees: number) => void
}

export interface FileCount {
  /** Entries of all types. */
  readonly files: number
  readonly bytes: number
}

/**
 * What restoring every one of the trees would write: each file each time, hard links of one tree once. Folders without hard links
 * are counted once and remembered.
 */
export async function countRestoreSize(
  repository: IndexedRepository,
  roots: readonly BlobId[],
  options: CountOptions = {},
): Promise<FileCount> {
  const known = new BlobMap()
  const counts: FileCount[] = []
  const total = { files: 0, bytes: 0 }
  let trees = 0
  for (const root of roots) {
    const links = new Set<string>()
    const state = { files: 0, bytes: 0, isAlike: true }
    const counted = known.get('tree', root)
    if (counted !== undefined) add(state, counts[counted]!)
    else {
      await walkPaths(
        repository,
        root,
        state,
        {
          node(node, { state: folder }) {
            folder.files += 1
            folder.bytes += bytesOf(node, links, folder)
            const same = node.subtree === undefined ? undefined : known.get('tree', node.subtree)
            if (same === undefined) return { state: { files: 0, bytes: 0, isAlike: true } }
            add(folder, counts[same]!)
            return undefined
          },
          leave({ tree, parent, state: folder }) {
            options.onTrees?.(++trees)
            if (folder.isAlike) known.set('tree', tree, counts.push({ files: folder.files, bytes: folder.bytes }) - 1)
            if (!parent) return
            add(parent.state, folder)
            parent.state.isAlike &&= folder.isAlike
          },
        },
        options.signal,
      )
    }
    add(total, state)
  }
  return total
}

interface FolderCount {
  files: number
  bytes: number
  /** It counts the same wherever it is met: no hard link in it that may have been counted elsewhere. */
  isAlike: boolean
}

function add(to: { files: number; bytes: number }, count: FileCount): void {
  to.files += count.files
  to.bytes += count.bytes
}

function bytesOf(node: TreeNode, links: Set<string>, folder: FolderCount): number {
  if (node.links === 1 || node.type === 'dir' || node.inode === 0n) return node.size
  folder.isAlike = false
  const key = `${node.deviceId}:${node.inode}`
  if (links.has(key)) return 0
  links.add(key)
  return node.size
}

/** Files with the same content count once, wherever they are. As in restic, all that has no content is one of them. */
export async function countByContents(
  repository: IndexedRepository,
  roots: readonly BlobId[],
  options: CountOptions = {},
): Promise<FileCount> {
  const contents = new BlobMap()
  const total = { files: 0, bytes: 0 }
  let trees = 0
  const visit = (_: BlobId, nodes: readonly TreeNode[]) => {
    options.onTrees?.(++trees)
    for (const node of nodes) {
      if (contents.add('data', contentsId(node))) add(total, { files: 1, bytes: node.size })
    }
  }
  await walkTrees(repository, roots, new BlobMap(), visit, options.signal)
  return total
}

/** Stands for the content as a whole. Never that of a blob, but of the same form, and so in the same compact table. */
function contentsId({ content = [] }: TreeNode): BlobId {
  const hash = createHash('sha256')
  for (const id of content) hash.update(id, 'hex')
  return hash.digest('hex') as BlobId
}

export interface ReferenceCount extends FileCount {
  /** References to blobs: of each path to each of its blobs, once. */
  readonly blobs: number
}

/** Of files with different contents: the paths that they have, and the blobs that each of these needs. */
export async function countBlobsPerFile(
  repository: IndexedRepository,
  roots: readonly BlobId[],
  options: CountOptions = {},
): Promise<ReferenceCount> {
  const trees = new BlobMap()
  const contents = new BlobMap()
  const paths = new BlobMap()
  const references = new BlobMap()
  const total = { files: 0, bytes: 0, blobs: 0 }
  for (const root of roots) {
    if (!trees.add('tree', root)) continue
    await walkPaths(
      repository,
      root,
      undefined,
      {
        node(node, folder) {
          // The contents of a folder that was met before have been counted.
          if (node.subtree !== undefined) return trees.add('tree', node.subtree) ? { state: undefined } : undefined
          if (!node.content?.length || !contents.add('data', contentsId(node))) return undefined
          const path = pathIn(folder, node.name)
          if (paths.add('data', hashId(path))) total.files += 1
          for (const id of node.content) {
            if (!references.add('data', hashId(Buffer.concat([Buffer.from(id, 'hex'), path])))) continue
            total.bytes += plaintextLength(locate(repository, 'data', id))
            total.blobs += 1
          }
          return undefined
        },
        leave: () => options.onTrees?.(trees.size),
      },
      options.signal,
    )
  }
  return total
}

export interface RawCount {
  readonly blobs: number
  /** As stored: sealed, without headers of packs. */
  readonly bytes: number
  /** The same if nothing were compressed. */
  readonly uncompressedBytes: number
  readonly compressed: { readonly bytes: number; readonly uncompressedBytes: number }
}

/** The blobs that the trees need, each once. */
export async function countRawData(
  repository: IndexedRepository,
  roots: readonly BlobId[],
  options: CountOptions = {},
): Promise<RawCount> {
  const total = { blobs: 0, bytes: 0, uncompressedBytes: 0, compressed: { bytes: 0, uncompressedBytes: 0 } }
  for (const { type, id } of (await findUsedBlobs(repository, roots, options)).blobs()) {
    const location = locate(repository, type, id)
    const uncompressed = plaintextLength(location) + SEAL_OVERHEAD
    total.blobs += 1
    total.bytes += location.length
    total.uncompressedBytes += uncompressed
    if (location.uncompressedLength === undefined) continue
    total.compressed.bytes += location.length
    total.compressed.uncompressedBytes += uncompressed
  }
  return total
}

function locate(repository: IndexedRepository, type: 'data' | 'tree', id: BlobId) {
  const location = repository.index.find(type, id)
  if (location) return location
  throw new EngineError('NOT_FOUND', `Cannot count ${type} blob ${id}: no index names it`, {
    facts: { blob: id, type },
    hint: 'Run `holdfast check` to learn what else is missing',
  })
}
