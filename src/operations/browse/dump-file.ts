import { type RepositoryAccess, withRepository } from '../access.ts'
import { OperationError } from '../error.ts'
import { chooseSnapshot, type SnapshotChoice } from '../restore/snapshot-choice.ts'
import { findNode, readContent } from '../snapshot-files.ts'
import { noPath } from './find-folder.ts'

/** Writes the content of one file of a snapshot; every byte is held against its hash before it is written. */
export async function dumpFile(
  access: RepositoryAccess,
  options: { readonly choice: SnapshotChoice; readonly path: string; readonly signal: AbortSignal },
  write: (bytes: Buffer) => Promise<void>,
): Promise<{ readonly bytes: number }> {
  const { choice, path, signal } = options
  return withRepository(access, { lock: 'shared', signal }, async (plain) => {
    const { repository, stored } = await chooseSnapshot(plain, choice, signal)
    const node = await findNode(repository, stored.snapshot.tree, path, signal)
    if (!node) throw noPath(path, stored)
    if (node.type !== 'file') {
      throw new OperationError('USAGE', `Cannot dump ${path}: it is a ${node.type}, not a file`, {
        facts: { path, type: node.type },
        hint: node.type === 'dir' ? 'Restore it to a folder with `holdfast restore --path … --target DIR`' : undefined,
      })
    }
    let bytes = 0
    for await (const piece of readContent(repository, node, signal)) {
      await write(piece)
      bytes += piece.length
    }
    return { bytes }
  })
}
