import { closeSync, constants, openSync, readSync } from 'node:fs'
import { type BlobId, hashId } from '../format/id.ts'
import { errnoOf } from '../os/errno.ts'

/** One blob of a file, as it was written. */
export interface WrittenBlob {
  readonly id: BlobId
  readonly length: number
}

/**
 * Reads a file again and holds it against the hashes of its blobs: where it differs, or undefined. `onBlob` is awaited
 * after each blob. Throws the system's own error when the file cannot be read.
 */
export async function contentDefect(
  path: Buffer,
  blobs: readonly WrittenBlob[],
  onBlob: (bytes: number) => Promise<void>,
): Promise<string | undefined> {
  const fd = openForVerification(path)
  try {
    const buffer = Buffer.allocUnsafe(blobs.reduce((longest, { length }) => Math.max(longest, length), 1))
    let position = 0
    for (const { id, length } of blobs) {
      const bytes = buffer.subarray(0, length)
      if (readFully(fd, bytes, position) !== length || hashId<BlobId>(bytes) !== id) {
        return `bytes ${position} to ${position + length} differ`
      }
      position += length
      await onBlob(length)
    }
    return readSync(fd, buffer, 0, 1, position) === 0 ? undefined : `it is longer than ${position} bytes`
  } finally {
    closeSync(fd)
  }
}

/** Leaves the access time, which was just restored, as it is; only the owner may. */
function openForVerification(path: Buffer): number {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW
  try {
    return openSync(path, flags | constants.O_NOATIME)
  } catch (error) {
    if (errnoOf(error) !== 'EPERM') throw error
    return openSync(path, flags)
  }
}

/** Bytes read: fewer than asked for only where the file ends. */
function readFully(fd: number, into: Buffer, position: number): number {
  let count = 0
  while (count < into.length) {
    const read = readSync(fd, into, count, into.length - count, position + count)
    if (read === 0) break
    count += read
  }
  return count
}
