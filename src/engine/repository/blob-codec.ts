import { EngineError } from '../error.ts'
import { type BlobId, hashId } from '../format/id.ts'
import { type MasterKey, seal, unseal } from '../format/master-key.ts'
import { type BlobType, type PackedBlob, plaintextLength } from '../format/pack-header.ts'
import type { RepositoryVersion } from '../format/repository-config.ts'
import { compress, decompress } from '../format/zstd.ts'

/** A blob as it lies in a pack, but for its place there. */
export interface SealedBlob {
  readonly type: BlobType
  readonly id: BlobId
  readonly bytes: Buffer
  /** Undefined when it is stored as it is. */
  readonly uncompressedLength: number | undefined
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
): SealedBlob {
  const compressed = version === 2 && plaintext.length > 0
  const bytes = seal(key, compressed ? compress(plaintext) : plaintext)
  const uncompressedLength = compressed ? plaintext.length : undefined
  try {
    decodeBlob(key, { type, id, offset: 0, length: bytes.length, uncompressedLength }, bytes)
  } catch (cause) {
    throw doesNotDecode(type, id, cause)
  }
  return { type, id, bytes, uncompressedLength }
}

/** The `SELF_CHECK` of a blob that does not come back as it was. */
export function doesNotDecode(type: BlobType, id: BlobId, cause?: unknown): EngineError {
  return new EngineError('SELF_CHECK', `Cannot store ${type} blob ${id}: it does not decode to what was encoded`, {
    facts: { blob: id },
    hint: 'The memory or processor of this machine is likely faulty: test it before the next backup',
    cause,
  })
}

/** Opens a sealed blob and holds it against its length and hash. Throws `UNAUTHENTIC` or `CORRUPT`. */
export function decodeBlob(key: MasterKey, entry: PackedBlob, sealed: Buffer): Buffer {
  const stored = unseal(key, sealed)
  const plaintext = entry.uncompressedLength === undefined ? stored : decompress(stored, entry.uncompressedLength)
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
