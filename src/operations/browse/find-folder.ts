import type { BlobId } from '../../engine/format/id.ts'
import type { IndexedRepository } from '../../engine/repository/repository.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { OperationError } from '../error.ts'
import { findNode, pathParts } from '../snapshot-files.ts'

/** The tree of a folder of a snapshot, of the whole snapshot for `/` and undefined. Rejects with `NO_PATH`, and `USAGE` for what is no folder. */
export async function findFolder(
  repository: IndexedRepository,
  stored: StoredSnapshot,
  path: string | undefined,
  signal?: AbortSignal,
): Promise<BlobId> {
  if (path === undefined || pathParts(path).length === 0) return stored.snapshot.tree
  const node = await findNode(repository, stored.snapshot.tree, path, signal)
  if (!node) throw noPath(path, stored)
  if (node.subtree !== undefined) return node.subtree
  throw new OperationError('USAGE', `Cannot look into ${path}: it is a ${node.type}, not a folder`, {
    facts: { path, type: node.type },
  })
}

export function noPath(path: string, { id }: StoredSnapshot): OperationError {
  return new OperationError('NO_PATH', `No ${path} in snapshot ${id.slice(0, 8)}`, {
    facts: { path, snapshot: id },
    hint: `See what it holds with \`holdfast ls ${id.slice(0, 8)}\``,
  })
}
