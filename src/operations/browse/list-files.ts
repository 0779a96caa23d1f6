import type { BlobId } from '../../engine/format/id.ts'
import type { TreeNode } from '../../engine/format/tree.ts'
import { readTree } from '../../engine/repository/read-blob.ts'
import type { IndexedRepository } from '../../engine/repository/repository.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { OperationError } from '../error.ts'
import { chooseSnapshot, type SnapshotChoice } from '../restore/snapshot-choice.ts'
import { findNode, pathParts } from '../snapshot-files.ts'

export interface ListedFile {
  /** Absolute in the snapshot, raw bytes. */
  readonly path: Buffer
  readonly node: TreeNode
}

export interface ListFilesOptions {
  readonly choice: SnapshotChoice
  /** Only what lies at or below these; by default everything. */
  readonly paths?: readonly string[]
  /** Go into the folders below `paths`; without paths everything is listed, as restic does. */
  readonly recursive?: boolean
  readonly signal: AbortSignal
}

/** Lists a snapshot in the order of a depth-first walk; `onFile` is called as entries are found, so memory stays bounded. */
export async function listFiles(
  access: RepositoryAccess,
  options: ListFilesOptions,
  onSnapshot: (stored: StoredSnapshot) => void,
  onFile: (file: ListedFile) => void,
): Promise<void> {
  const { choice, paths = [], signal } = options
  await withRepository(access, { lock: 'shared', signal }, async (plain) => {
    const { repository, stored } = await chooseSnapshot(plain, choice, signal)
    onSnapshot(stored)
    const root = stored.snapshot.tree
    if (paths.length === 0) return walk(repository, root, Buffer.from('/'), true, onFile, signal)
    for (const path of paths) {
      const parts = pathParts(path)
      if (parts.length === 0) {
        await walk(repository, root, Buffer.from('/'), options.recursive ?? false, onFile, signal)
        continue
      }
      const node = await findNode(repository, root, path, signal)
      if (!node) throw noPath(path, stored)
      const absolute = Buffer.concat(parts.flatMap((part) => [Buffer.from('/'), part]))
      onFile({ path: absolute, node })
      if (node.subtree)
        await walk(
          repository,
          node.subtree,
          Buffer.concat([absolute, Buffer.from('/')]),
          options.recursive ?? false,
          onFile,
          signal,
        )
    }
  })
}

export function noPath(path: string, { id }: StoredSnapshot): OperationError {
  return new OperationError('NO_PATH', `No ${path} in snapshot ${id.slice(0, 8)}`, {
    facts: { path, snapshot: id },
    hint: `See what it holds with \`holdfast ls ${id.slice(0, 8)}\``,
  })
}

async function walk(
  repository: IndexedRepository,
  tree: BlobId,
  prefix: Buffer,
  recursive: boolean,
  onFile: (file: ListedFile) => void,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted()
  for (const node of await readTree(repository, tree, signal)) {
    const path = Buffer.concat([prefix, node.name])
    onFile({ path, node })
    if (recursive && node.subtree)
      await walk(repository, node.subtree, Buffer.concat([path, Buffer.from('/')]), true, onFile, signal)
  }
}
