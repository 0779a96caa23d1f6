import { EngineError } from '../error.ts'
import type { BlobId } from './id.ts'
import { SEAL_OVERHEAD } from './master-key.ts'

// The header of a pack is a list of entries, one per blob and in their order, sealed, and followed by its length:
//
//   sealed blob 1 ‖ … ‖ sealed blob n ‖ sealed header ‖ length of the sealed header (4)
//
// One entry; integers are little-endian. Offsets are not stored: the blobs lie end to end, the first at 0.
//
//   offset  size  field
//        0     1  0 data, 1 tree, 2 compressed data, 3 compressed tree
//        1     4  length of the sealed blob
//        5     4  length of the plaintext, types 2 and 3 only
//   5 or 9    32  SHA-256 of the plaintext

export type BlobType = 'data' | 'tree'

/** Where a blob lies in its pack. */
export interface PackedBlob {
  readonly type: BlobType
  readonly id: BlobId
  readonly offset: number
  /** Bytes in the pack: compressed where it is, and sealed. */
  readonly length: number
  /** Bytes of the plaintext of a compressed blob; `undefined` for one that is stored as it is. */
  readonly uncompressedLength: number | undefined
}

const LENGTH_SIZE = 4
const RAW_ENTRY_SIZE = 37
const COMPRESSED_ENTRY_SIZE = 41
const ID_SIZE = 32
const COMPRESSED = 2

/** restic reads no longer header than 16 MiB, sealed. */
export const MAX_SEALED_HEADER = 16 * 1024 * 1024
/** So many blobs fit into any pack, compressed or not. */
export const MAX_PACK_BLOBS = Math.floor((MAX_SEALED_HEADER - SEAL_OVERHEAD) / COMPRESSED_ENTRY_SIZE)
/** Sealed blobs, and offsets in packs, are shorter than 4 GiB. */
export const MAX_BLOB_LENGTH = 0xffff_ffff
/** A sealed blob is never shorter: that is what sealing makes of nothing. */
export const MIN_BLOB_LENGTH = SEAL_OVERHEAD

/** Bytes of the blob itself, as the header or the index claims them. */
export function plaintextLength(blob: PackedBlob): number {
  return blob.uncompressedLength ?? blob.length - SEAL_OVERHEAD
}

/** Bytes at the end of a pack that are not blobs: the sealed header and the length after it. */
export function packHeaderSize(blobs: readonly PackedBlob[]): number {
  return SEAL_OVERHEAD + LENGTH_SIZE + entriesSize(blobs)
}

/** As `packHeaderSize`, of so many blobs, and how many of them are compressed to something. */
export function headerSizeOf(blobs: number, compressed: number): number {
  return SEAL_OVERHEAD + LENGTH_SIZE + RAW_ENTRY_SIZE * blobs + (COMPRESSED_ENTRY_SIZE - RAW_ENTRY_SIZE) * compressed
}

function entriesSize(blobs: readonly PackedBlob[]): number {
  return blobs.reduce((size, blob) => size + (isCompressed(blob) ? COMPRESSED_ENTRY_SIZE : RAW_ENTRY_SIZE), 0)
}

/** A compressed blob of no plaintext is no such thing: restic takes the entry for that of a raw one. */
function isCompressed(blob: PackedBlob): boolean {
  return (blob.uncompressedLength ?? 0) > 0
}

/**
 * The plaintext of the header. The blobs must lie end to end from 0 and keep within the limits of the format; anything else is the
 * caller's mistake and throws a `RangeError`.
 */
export function encodePackHeader(blobs: readonly PackedBlob[]): Buffer {
  const header = Buffer.alloc(entriesSize(blobs))
  if (blobs.length === 0 || header.length + SEAL_OVERHEAD > MAX_SEALED_HEADER) {
    throw new RangeError(`Cannot encode pack header: ${blobs.length} blobs, expected 1 to ${MAX_PACK_BLOBS}`)
  }
  let at = 0
  let offset = 0
  for (const blob of blobs) {
    if (blob.offset !== offset)
      throw new RangeError(`Cannot encode pack header: blob ${blob.id} is at ${blob.offset}, expected ${offset}`)
    if (blob.length < MIN_BLOB_LENGTH || offset + blob.length > MAX_BLOB_LENGTH) {
      throw new RangeError(`Cannot encode pack header: blob ${blob.id} at ${offset} has ${blob.length} bytes`)
    }
    const compressed = isCompressed(blob)
    at = header.writeUInt8((blob.type === 'tree' ? 1 : 0) + (compressed ? COMPRESSED : 0), at)
    at = header.writeUInt32LE(blob.length, at)
    if (compressed) at = header.writeUInt32LE(blob.uncompressedLength!, at)
    at += header.write(blob.id, at, 'hex')
    offset += blob.length
  }
  return header
}

/** The blobs that the plaintext of a header lists, with their offsets. Throws `CORRUPT`. */
export function parsePackHeader(plaintext: Buffer): PackedBlob[] {
  if (plaintext.length + SEAL_OVERHEAD > MAX_SEALED_HEADER) {
    throw corrupt(`it has ${plaintext.length} bytes, expected at most ${MAX_SEALED_HEADER - SEAL_OVERHEAD}`, 0)
  }
  const blobs: PackedBlob[] = []
  let at = 0
  let offset = 0
  while (at < plaintext.length) {
    const kind = plaintext[at]!
    if (kind > 3) throw corrupt(`entry ${blobs.length} is of type ${kind}, expected 0 to 3`, at)
    const compressed = kind >= COMPRESSED
    const end = at + (compressed ? COMPRESSED_ENTRY_SIZE : RAW_ENTRY_SIZE)
    if (end > plaintext.length)
      throw corrupt(`entry ${blobs.length} ends at ${end}, the header at ${plaintext.length}`, at)
    const length = plaintext.readUInt32LE(at + 1)
    if (length < MIN_BLOB_LENGTH || offset + length > MAX_BLOB_LENGTH) {
      throw corrupt(
        `blob ${blobs.length} claims ${length} bytes at ${offset}, expected at least ${MIN_BLOB_LENGTH}, ending below 4 GiB`,
        at,
      )
    }
    const uncompressed = compressed ? plaintext.readUInt32LE(at + 5) : 0
    blobs.push({
      type: kind % COMPRESSED === 1 ? 'tree' : 'data',
      id: plaintext.toString('hex', end - ID_SIZE, end) as BlobId,
      offset,
      length,
      uncompressedLength: uncompressed > 0 ? uncompressed : undefined,
    })
    offset += length
    at = end
  }
  if (blobs.length === 0) throw corrupt('it lists no blob', 0)
  return blobs
}

function corrupt(reason: string, at: number): EngineError {
  return new EngineError('CORRUPT', `Cannot read pack header: ${reason}`, {
    facts: { what: 'pack header', where: `byte ${at}` },
  })
}
