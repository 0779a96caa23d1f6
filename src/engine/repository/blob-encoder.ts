import { type BlobId, hashId } from '../format/id.ts'
import { SEAL_OVERHEAD } from '../format/master-key.ts'
import type { BlobType } from '../format/pack-header.ts'
import { DEFAULT_LEVEL } from '../format/zstd.ts'
import { copyBytes } from '../kernels/copy-bytes.ts'
import { createKernels, type Kernels, type Region } from '../kernels/kernels.ts'
import {
  type BatchOpener,
  createBatchOpener,
  createSealer,
  OPENER_MEMORY,
  SEALER_MEMORY,
  type Sealer,
} from '../kernels/seals.ts'
import { compressBound, createZstdContext, type ZstdContext } from '../kernels/zstd-context.ts'
import { doesNotDecode, encodeBlob, type SealedBlob } from './blob-codec.ts'
import type { Repository } from './repository.ts'

/** Longer blobs are rare where they are not cut by the chunker: they are not worth memory that is kept. */
const LONGEST = 256 * 1024
const ROOM = compressBound(LONGEST) + SEAL_OVERHEAD
const IV_SIZE = 16

/** Getting kernels and contexts ready takes as long as encoding this many blobs without. */
const BLOBS_WITHOUT_KERNELS = 8

/** What encodes many small blobs, in one memory. */
interface Encoding {
  readonly kernels: Kernels
  readonly zstd: ZstdContext
  readonly sealer: Sealer
  readonly opener: BatchOpener
  readonly sealed: Region
  readonly openedAgain: Region
  readonly readBack: Region
}

/**
 * `encodeBlob` for who stores many small blobs, one after the other: what a compressor, ciphers and authenticators need to be set up
 * with takes longer than their work. Each blob is opened again all the same.
 */
export class BlobEncoder {
  readonly #repository: Repository
  #encoded = 0
  #encoding: Encoding | undefined

  constructor(repository: Repository) {
    this.#repository = repository
  }

  /** As `encodeBlob`, but the bytes are lent: the next call may overwrite them. */
  encode(type: BlobType, id: BlobId, plaintext: Buffer): SealedBlob {
    const { masterKey, config } = this.#repository
    if (plaintext.length > LONGEST || this.#encoded < BLOBS_WITHOUT_KERNELS) {
      this.#encoded += 1
      return encodeBlob(masterKey, config.version, type, id, plaintext)
    }
    this.#encoding ??= this.#getReady()
    const { kernels, zstd, sealer, sealed } = this.#encoding
    const { memory } = kernels
    const compressed = config.version === 2 && plaintext.length > 0
    const start = sealed.offset + IV_SIZE
    const length = compressed
      ? zstd.compress(plaintext, memory.subarray(start, start + compressBound(plaintext.length)))
      : plaintext.copy(memory, start)
    const bytes = memory.subarray(sealed.offset, sealer.seal(sealed.offset, length))
    const uncompressedLength = compressed ? plaintext.length : undefined
    try {
      if (this.#isGood(this.#encoding, id, bytes, uncompressedLength)) return { type, id, bytes, uncompressedLength }
    } catch (cause) {
      throw doesNotDecode(type, id, cause)
    }
    throw doesNotDecode(type, id)
  }

  #isGood(
    { kernels, zstd, opener, openedAgain, readBack }: Encoding,
    id: BlobId,
    bytes: Buffer,
    uncompressedLength: number | undefined,
  ): boolean {
    copyBytes(bytes, openedAgain.bytes)
    const { offset } = openedAgain
    if (opener.open([{ offset, length: bytes.length }]).length > 0) return false
    const stored = kernels.memory.subarray(offset + IV_SIZE, offset + IV_SIZE + bytes.length - SEAL_OVERHEAD)
    if (uncompressedLength === undefined) return hashId(stored) === id
    const plaintext = readBack.bytes.subarray(0, uncompressedLength)
    return zstd.decompress(stored, plaintext) && hashId(plaintext) === id
  }

  #getReady(): Encoding {
    const { masterKey } = this.#repository
    const kernels = createKernels({ memoryBytes: 3 * (ROOM + 4096) + SEALER_MEMORY + OPENER_MEMORY + 4096 })
    return {
      kernels,
      zstd: createZstdContext({ level: DEFAULT_LEVEL }),
      sealer: createSealer(kernels, masterKey),
      opener: createBatchOpener(kernels, masterKey),
      sealed: kernels.region('sealed blob', ROOM),
      openedAgain: kernels.region('blob to open again', ROOM),
      readBack: kernels.region('blob read back', LONGEST),
    }
  }
}
