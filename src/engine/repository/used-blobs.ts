import type { BlobId } from '../format/id.ts'
import { BlobMap } from './blob-map.ts'
import type { IndexedRepository } from './repository.ts'
import { walkTrees } from './walk-trees.ts'

/**
 * Every tree and data blob that the roots need, each with the value 0. All trees have been read; that there is a blob of data is
 * not known yet. Rejects at the first tree that cannot be read: what it holds would count as unused.
 */
export async function findUsedBlobs(
  repository: IndexedRepository,
  roots: Iterable<BlobId>,
  options: { readonly signal?: AbortSignal | undefined; readonly onTrees?: (trees: number) => void } = {},
): Promise<BlobMap> {
  const used = new BlobMap()
  let trees = 0
  await walkTrees(
    repository,
    roots,
    used,
    (_, nodes) => {
      for (const { content } of nodes) for (const id of content ?? []) used.add('data', id)
      trees += 1
      options.onTrees?.(trees)
    },
    options.signal,
  )
  return used
}
