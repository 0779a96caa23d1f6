import { closeSync, constants, openSync, readSync } from 'node:fs'
import { EngineError, type EngineErrorCode } from '../error.ts'
import { type BlobId, hashId } from '../format/id.ts'
import { describeErrno, errnoOf } from '../os/errno.ts'
import { systemErrno } from './system-errno.ts'
import { createTemporary } from './temporary-file.ts'
import { writeSparsely } from './write-sparsely.ts'

/** What a file should hold, blob after blob. */
export interface ExpectedContent {
  readonly path: Uint8Array
  /** 32 bytes for each blob. */
  readonly ids: Uint8Array
  readonly lengths: Uint32Array
}

/**
 * Reads a file again and holds it against the hashes of its blobs: where it differs, or why it cannot be read, or undefined. Yields
 * the length of each blob that is right.
 */
export function* contentDefect(expected: ExpectedContent): Generator<number, string | undefined> {
  try {
    using file = new ReadFile(expected)
    for (const [blob, length] of expected.lengths.entries()) {
      if (file.blob(blob) === undefined) return `bytes ${file.position} to ${file.position + length} differ`
      file.position += length
      yield length
    }
    return file.goesOn() ? `it is longer than ${file.position} bytes` : undefined
  } catch (error) {
    const errno = systemErrno(error)
    if (errno === undefined) throw error
    return describeErrno(errno)
  }
}

export interface KeptContent {
  /**
   * `right`: the file is what it should be; `partly`: some blobs are right, and were written to the temporary file; `different`:
   * nothing is, or it cannot be read.
   */
  readonly state: 'right' | 'partly' | 'different'
  /** By blob, 1: it is in the temporary file. */
  readonly kept: Uint8Array
  /** The temporary file cannot be written. */
  readonly failure?: { readonly code: EngineErrorCode; readonly message: string; readonly errno: string | undefined }
}

/**
 * Compares a file with what it should hold. Unless it is right as a whole, what is right of it goes to a new file, held against the
 * hashes as it is written: somebody may be writing to the old one.
 */
export function keepContent(expected: ExpectedContent, temporary: Uint8Array): KeptContent {
  const count = expected.lengths.length
  const kept = new Uint8Array(count)
  let file: ReadFile
  try {
    file = new ReadFile(expected)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return { state: 'different', kept }
  }
  using _ = file
  try {
    for (let blob = 0; blob < count; blob++) {
      kept[blob] = file.blob(blob) === undefined ? 0 : 1
      file.position += expected.lengths[blob]!
    }
    const right = kept.reduce((sum, one) => sum + one, 0)
    if (right === count && !file.goesOn()) return { state: 'right', kept }
    if (right === 0) return { state: 'different', kept }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return { state: 'different', kept: new Uint8Array(count) }
  }
  try {
    const fd = createTemporary(Buffer.from(temporary))
    try {
      file.position = 0
      for (let blob = 0; blob < count; blob++) {
        const bytes = kept[blob] === 1 ? file.blob(blob) : undefined
        if (bytes === undefined) kept[blob] = 0
        else writeSparsely(fd, bytes, file.position)
        file.position += expected.lengths[blob]!
      }
    } finally {
      closeSync(fd)
    }
    return { state: 'partly', kept }
  } catch (error) {
    const errno = systemErrno(error)
    if (errno === undefined) throw error
    const code = error instanceof EngineError ? error.code : 'SYSTEM'
    return { state: 'different', kept, failure: { code, message: (error as Error).message, errno } }
  }
}

class ReadFile implements Disposable {
  position = 0
  readonly #fd: number
  readonly #ids: Buffer
  readonly #lengths: Uint32Array
  readonly #buffer: Buffer

  constructor({ path, ids, lengths }: ExpectedContent) {
    this.#fd = openForComparison(Buffer.from(path))
    this.#ids = Buffer.from(ids.buffer, ids.byteOffset, ids.length)
    this.#lengths = lengths
    this.#buffer = Buffer.allocUnsafe(lengths.reduce((longest, length) => Math.max(longest, length), 1))
  }

  /** The bytes at the position where they are those of the blob; lent until the next call. */
  blob(blob: number): Buffer | undefined {
    const bytes = this.#buffer.subarray(0, this.#lengths[blob]!)
    if (readFully(this.#fd, bytes, this.position) !== bytes.length) return undefined
    return hashId<BlobId>(bytes) === this.#ids.toString('hex', 32 * blob, 32 * (blob + 1)) ? bytes : undefined
  }

  goesOn(): boolean {
    return readSync(this.#fd, this.#buffer, 0, 1, this.position) > 0
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
  }
}

/** Leaves the access time, which was just restored, as it is; only the owner may. Waits for nobody at the other end of a pipe. */
function openForComparison(path: Buffer): number {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
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
