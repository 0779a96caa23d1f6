import type { BlobId, SnapshotId } from '../../src/engine/format/id.ts'
import { readTree } from '../../src/engine/repository/read-blob.ts'
import type { IndexedRepository } from '../../src/engine/repository/repository.ts'
import { readSnapshot } from '../../src/engine/repository/snapshots.ts'
import { SELF } from '../../src/operations/manifest.ts'
import { findNode } from '../../src/operations/snapshot-files.ts'

/** What a snapshot holds below a folder, without its description of itself: relative paths in order, folders with a slash. */
export async function pathsIn(repository: IndexedRepository, snapshot: SnapshotId, below = '/'): Promise<string[]> {
  const { tree } = await readSnapshot(repository, snapshot)
  const start = below === '/' ? tree : (await findNode(repository, tree, below))?.subtree
  const found: string[] = []
  const visit = async (id: BlobId, prefix: string): Promise<void> => {
    for (const { name, subtree } of await readTree(repository, id)) {
      const path = prefix + name
      if (path === SELF) continue
      found.push(subtree === undefined ? path : `${path}/`)
      if (subtree !== undefined) await visit(subtree, `${path}/`)
    }
  }
  if (start !== undefined) await visit(start, '')
  return found
}
