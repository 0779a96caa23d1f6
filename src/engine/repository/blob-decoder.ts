import { EngineError } from '../error.ts'
import { type MasterKey, SEAL_OVERHEAD } from '../format/master-key.ts'
import { decompress } from '../format/zstd.ts'
import { MAX_CHUNK } from '../kernels/chunker.ts'
import { createKernels, type Region } from '../kernels/kernels.ts'
import { createBatchOpener, OPENER_MEMORY, type SealedPlace } from '../kernels/seals.ts'
import { compressBound, createZstdContext } from '../kernels/zstd-context.ts'

/** Of what the archiver and restic make of files; only foreign programs write longer blobs, which are read one by one elsewhere. */
export const LONGEST_SEALED = compressBound(MAX_CHUNK) + SEAL_OVERHEAD

const IV_SIZE = 16

/** Opens many blobs in one memory, with kernels and contexts that are kept. For one thread. */
export class BlobDecoder {
  /** For sealed blobs, as they lie in a pack. */
  readonly input: Region
  /** All memory: the places of blobs are offsets into it. */
  readonly memory: Buffer
  readonly #output: Region
  readonly #opener
  readonly #zstd = createZstdContext()

  constructor(key: MasterKey) {
    const kernels = createKernels({ memoryBytes: OPENER_MEMORY + LONGEST_SEALED + MAX_CHUNK + 4 * 4096 })
    this.memory = kernels.memory
    this.input = kernels.region('sealed blobs', LONGEST_SEALED)
    this.#output = kernels.region('plaintext', MAX_CHUNK)
    this.#opener = createBatchOpener(kernels, key)
  }

  /** Authenticates and decrypts blobs of `input` where they are. Returns the indexes of those that are not authentic. */
  open(places: readonly SealedPlace[]): number[] {
    return this.#opener.open(places)
  }

  /**
   * The plaintext of a blob that was opened; not held against its hash yet. Lent until the next call. Throws `CORRUPT` when it does
   * not decompress, or not to the length that is claimed.
   */
  plaintext({ offset, length }: SealedPlace, uncompressedLength: number | undefined): Buffer {
    const stored = this.memory.subarray(offset + IV_SIZE, offset + length - (SEAL_OVERHEAD - IV_SIZE))
    if (uncompressedLength === undefined) return stored
    let plaintext: Buffer
    if (uncompressedLength <= this.#output.length) {
      plaintext = this.#output.bytes.subarray(0, uncompressedLength)
      if (this.#zstd.decompress(stored, plaintext)) return plaintext
    }
    // Frames that other writers make: several in a row, or without their length.
    plaintext = decompress(stored, uncompressedLength)
    if (plaintext.length === uncompressedLength) return plaintext
    throw new EngineError('CORRUPT', `it has ${plaintext.length} bytes, expected ${uncompressedLength}`)
  }
}
