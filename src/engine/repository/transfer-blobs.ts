import type { PackedBlob } from '../format/pack-header.ts'
import { decodeBlob, encodeBlob, type SealedBlob } from './blob-codec.ts'
import type { BlobWriter } from './blob-writer.ts'
import { isDamage } from './file-problem.ts'
import { readBlob } from './read-blob.ts'
import { type PackPart, readSealedBlobs } from './read-sealed-blobs.ts'
import type { IndexedRepository, Repository } from './repository.ts'
import { resealBlob } from './reseal-blob.ts'

export interface TransferOptions {
  /** Store blobs that the destination has already: the copies that it has are about to be removed. */
  readonly again?: boolean
  /** Blobs of data that are stored raw are compressed, where the destination can. Trees always are. */
  readonly compress?: boolean
  readonly onBlob?: (blob: PackedBlob) => void
  readonly signal?: AbortSignal | undefined
}

/**
 * Puts blobs of packs into new packs of the same or another repository. What is compressed stays compressed as it is, and what is
 * sealed under the key of the destination stays sealed as it is: the same bytes under the same nonce tell nobody more in two
 * places than in one, and a blob that is moved as a whole cannot be put together wrongly. But each is opened, decompressed and
 * held against its hash before it counts as stored. Where a copy is damaged the others are tried; rejects when none is intact.
 */
export async function transferBlobs(
  source: IndexedRepository,
  parts: Iterable<PackPart>,
  destination: Repository,
  writer: BlobWriter,
  options: TransferOptions = {},
): Promise<void> {
  const { again = false, compress = false, onBlob, signal } = options
  for await (const reading of readSealedBlobs(source, parts, signal)) {
    const { blob } = reading
    const sealed = 'sealed' in reading ? sealFor(source, blob, reading.sealed, destination, compress) : undefined
    await writer.saveSealed(sealed ?? (await sealFromAnyCopy(source, blob, destination, signal)), { again })
    onBlob?.(blob)
  }
}

/** Undefined when the bytes are not the blob. Shares no memory with them. */
function sealFor(
  source: Repository,
  blob: PackedBlob,
  sealed: Buffer,
  destination: Repository,
  compress: boolean,
): SealedBlob | undefined {
  const { type, id, uncompressedLength } = blob
  const toCompress =
    destination.config.version === 2 && uncompressedLength === undefined && (compress || type === 'tree')
  const toDecompress = destination.config.version === 1 && uncompressedLength !== undefined
  try {
    if (toCompress || toDecompress) {
      return encodeBlob(
        destination.masterKey,
        destination.config.version,
        type,
        id,
        decodeBlob(source.masterKey, blob, sealed),
      )
    }
    return resealBlob(source.masterKey, blob, sealed, destination.masterKey)
  } catch (error) {
    if (!isDamage(error)) throw error
    return undefined
  }
}

async function sealFromAnyCopy(
  source: IndexedRepository,
  { type, id }: PackedBlob,
  { masterKey, config }: Repository,
  signal: AbortSignal | undefined,
): Promise<SealedBlob> {
  return encodeBlob(masterKey, config.version, type, id, await readBlob(source, type, id, signal))
}
