import { EngineError } from '../error.ts'
import { type BlobId, hashId } from '../format/id.ts'
import { type MasterKey, seal, unseal } from '../format/master-key.ts'
import { type BlobType, type PackedBlob, plaintextLength } from '../format/pack-header.ts'
import type { RepositoryVersion } from '../format/repository-config.ts'
import { compress, DEFAULT_LEVEL, decompress } from '../format/zstd.ts'
import { compressBound, createZstdContext, type ZstdContext } from '../kernels/zstd-context.ts'

/** A blob as it lies in a pack, but for its place there. */
export interface SealedBlob {
  readonly type: BlobType
  readonly id: BlobId
  readonly bytes: Buffer
  /** Undefined when it is stored as it is. */
  readonly uncompressedLength: number | undefined
}

/** Results are lent: the next call of either function may overwrite them. */
export interface BlobCompressor {
  compress(plaintext: Buffer): Buffer
  /** As `decompress` of the format. */
  decompress(compressed: Buffer, maxOutput: number): Buffer
}

/** Longer blobs are rare where they are not cut by the chunker: they are not worth memory that is kept. */
const KEPT_ROOM = 256 * 1024

/** For who compresses many small blobs: setting up libzstd anew for each takes longer than the compression. */
export function blobCompressor(): BlobCompressor {
  let context: ZstdContext | undefined
  let room: Buffer | undefined
  let checkRoom: Buffer | undefined
  return {
    compress(plaintext) {
      if (compressBound(plaintext.length) > KEPT_ROOM) return compress(plaintext)
      context ??= createZstdContext({ level: DEFAULT_LEVEL })
      room ??= Buffer.allocUnsafeSlow(KEPT_ROOM)
      return room.subarray(0, context.compress(plaintext, room))
    },
    decompress(compressed, maxOutput) {
      if (maxOutput > KEPT_ROOM) return decompress(compressed, maxOutput)
      context ??= createZstdContext({ level: DEFAULT_LEVEL })
      checkRoom ??= Buffer.allocUnsafeSlow(KEPT_ROOM)
      const plaintext = checkRoom.subarray(0, maxOutput)
      return context.decompress(compressed, plaintext) ? plaintext : decompress(compressed, maxOutput)
    },
  }
}

/**
 * Compresses (version 2; always, as restic does, but for empty blobs) and seals a blob, then opens it again: a bit that
 * flipped in memory or a miscompiled kernel must not get into a repository under a hash that promises the opposite.
 * The result shares no memory with the plaintext. Throws `SELF_CHECK`, also when `id` is not the plaintext's hash.
 */
export function encodeBlob(
  key: MasterKey,
  version: RepositoryVersion,
  type: BlobType,
  id: BlobId,
  plaintext: Buffer,
  zstd: BlobCompressor = { compress, decompress },
): SealedBlob {
  const compressed = version === 2 && plaintext.length > 0
  const bytes = seal(key, compressed ? zstd.compress(plaintext) : plaintext)
  const uncompressedLength = compressed ? plaintext.length : undefined
  try {
    decodeBlob(key, { type, id, offset: 0, length: bytes.length, uncompressedLength }, bytes, zstd)
  } catch (cause) {
    throw new EngineError('SELF_CHECK', `Cannot store ${type} blob ${id}: it does not decode to what was encoded`, {
      facts: { blob: id },
      hint: 'The memory or processor of this machine is likely faulty: test it before the next backup',
      cause,
    })
  }
  return { type, id, bytes, uncompressedLength }
}

/** Opens a sealed blob and holds it against its length and hash. Throws `UNAUTHENTIC` or `CORRUPT`. */
export function decodeBlob(
  key: MasterKey,
  entry: PackedBlob,
  sealed: Buffer,
  zstd: Pick<BlobCompressor, 'decompress'> = { decompress },
): Buffer {
  const stored = unseal(key, sealed)
  const plaintext = entry.uncompressedLength === undefined ? stored : zstd.decompress(stored, entry.uncompressedLength)
  const expected = plaintextLength(entry)
  if (plaintext.length !== expected) {
    throw notWhatItIs(entry, `it has ${plaintext.length} bytes, expected ${expected}`)
  }
  if (hashId(plaintext) !== entry.id) throw notWhatItIs(entry, 'its content does not match its hash')
  return plaintext
}

function notWhatItIs({ type, id }: PackedBlob, found: string): EngineError {
  return new EngineError('CORRUPT', `Cannot read ${type} blob ${id}: ${found}`, { facts: { blob: id, type } })
}
