import type { BlobId, PackId } from '../format/id.ts'
import type { PackedBlob } from '../format/pack-header.ts'
import { parseTree } from '../format/tree.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { decodeBlob } from './blob-codec.ts'
import type { BlobMap } from './blob-map.ts'
import { isDamage } from './file-problem.ts'
import { readTree } from './read-blob.ts'
import { readSealedBlobs } from './read-sealed-blobs.ts'
import type { IndexedRepository } from './repository.ts'

/** Trees that are fetched together: enough for most of a pack, few enough for their nodes to fit into memory. */
const BATCH = 256

/**
 * Reads every tree below the roots once, and not those that `seen` has already; notes them there. The order is that of the packs:
 * it has nothing to do with paths. Rejects at the first tree that cannot be read, as `readTree` does.
 */
export async function walkTrees(
  repository: IndexedRepository,
  roots: Iterable<BlobId>,
  seen: BlobMap,
  visit: (tree: BlobId, nodes: readonly TreeNode[]) => void,
  signal?: AbortSignal,
): Promise<void> {
  const todo: BlobId[] = []
  const enqueue = (tree: BlobId) => {
    if (seen.add('tree', tree)) todo.push(tree)
  }
  for (const root of roots) enqueue(root)
  while (todo.length > 0) {
    // From the end, which keeps what is still to do short, as going down first does.
    for await (const [tree, nodes] of readTrees(repository, todo.splice(-BATCH), signal)) {
      visit(tree, nodes)
      for (const node of nodes) if (node.type === 'dir' && node.subtree !== undefined) enqueue(node.subtree)
    }
  }
}

async function* readTrees(
  repository: IndexedRepository,
  trees: readonly BlobId[],
  signal: AbortSignal | undefined,
): AsyncGenerator<[BlobId, TreeNode[]]> {
  const parts = new Map<PackId, PackedBlob[]>()
  for (const id of trees) {
    const location = repository.index.find('tree', id)
    if (location === undefined) {
      await readTree(repository, id, signal) // rejects with what there is to say
      continue
    }
    const blobs = parts.get(location.pack)
    if (blobs) blobs.push(location)
    else parts.set(location.pack, [location])
  }
  const wanted = [...parts].map(([pack, blobs]) => ({ pack, blobs }))
  for await (const reading of readSealedBlobs(repository, wanted, signal)) {
    const { blob } = reading
    yield [
      blob.id,
      'sealed' in reading
        ? await parse(repository, blob, reading.sealed, signal)
        : await readTree(repository, blob.id, signal),
    ]
  }
}

async function parse(
  repository: IndexedRepository,
  blob: PackedBlob,
  sealed: Buffer,
  signal: AbortSignal | undefined,
): Promise<TreeNode[]> {
  try {
    return parseTree(decodeBlob(repository.masterKey, blob, sealed))
  } catch (error) {
    if (!isDamage(error)) throw error
    return readTree(repository, blob.id, signal) // there may be another copy; if not, it says what is wrong
  }
}
