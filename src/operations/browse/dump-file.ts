import { nameDefect } from '../../engine/format/node-name.ts'
import { dumpFolder } from '../../engine/restorer/dump/dump-folder.ts'
import { tarArchive } from '../../engine/restorer/dump/tar-archive.ts'
import { zipArchive } from '../../engine/restorer/dump/zip-archive.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { OperationError } from '../error.ts'
import { chooseSnapshot, type SnapshotChoice } from '../restore/snapshot-choice.ts'
import { findNode, pathParts, readContent } from '../snapshot-files.ts'
import { findFolder, noPath } from './find-folder.ts'

export interface DumpFileOptions {
  readonly choice: SnapshotChoice
  /** Restic's `SNAPSHOT:/folder`: the path is one in this folder. */
  readonly subfolder?: string | undefined
  /** Of a file, whose content is written; or of a folder, of which an archive is. */
  readonly path: string
  readonly archive?: 'tar' | 'zip'
  /** Before the first byte of an archive. What it throws ends the dump. */
  readonly onArchive?: () => void
  /** Of what is left out of an archive. */
  readonly onLeftOut?: (message: string) => void
  readonly signal: AbortSignal
}

/** Writes the content of one file of a snapshot, or a folder as an archive; every byte is held against its hash before it is written. */
export async function dumpFile(
  access: RepositoryAccess,
  options: DumpFileOptions,
  write: (bytes: Buffer) => Promise<void>,
): Promise<{ readonly bytes: number; readonly leftOut: number }> {
  const { choice, subfolder, path, archive = 'tar', onArchive, onLeftOut } = options
  return withRepository(access, { lock: 'shared', signal: options.signal }, async (plain, lockSignal) => {
    const signal = lockSignal ?? options.signal
    const { repository, stored } = await chooseSnapshot(plain, choice, signal)
    const root = await findFolder(repository, stored, subfolder, signal)
    const parts = pathParts(path)
    const node = await findNode(repository, root, path, signal)
    if (!node && parts.length > 0) throw noPath(path, stored)
    let bytes = 0
    let leftOut = 0
    const counted = async (piece: Buffer) => {
      await write(piece)
      bytes += piece.length
    }
    if (node?.type === 'file') {
      for await (const piece of readContent(repository, node, signal)) await counted(piece)
      return { bytes, leftOut }
    }
    const tree = node === undefined ? root : node.subtree
    if (tree === undefined || parts.some(nameDefect)) {
      throw new OperationError('USAGE', `Cannot dump ${path}: it is a ${node?.type}, not a file or a folder`, {
        facts: { path, type: node?.type },
      })
    }
    onArchive?.()
    await dumpFolder(repository, tree, archive === 'tar' ? tarArchive(counted) : zipArchive(counted), {
      prefix: parts,
      onLeftOut(place, reason) {
        leftOut += 1
        onLeftOut?.(`${place} is not in the archive: ${reason}`)
      },
      signal,
    })
    return { bytes, leftOut }
  })
}
