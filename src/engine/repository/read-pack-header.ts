import { EngineError } from '../error.ts'
import { type MasterKey, SEAL_OVERHEAD, unseal } from '../format/master-key.ts'
import { MAX_SEALED_HEADER, type PackedBlob, parsePackHeader } from '../format/pack-header.ts'

const LENGTH_SIZE = 4

/** The bytes of a pack, wherever they come from. */
export interface PackContent {
  /** In bytes. */
  readonly size: number
  /** Rejects with `TRUNCATED` beyond the end. */
  read(offset: number, length: number): Promise<Buffer>
}

/** Of a header of 15 blobs, which is what is fetched at first; as in restic. */
const FIRST_FETCH = 651

/**
 * The blobs that a pack itself says it holds, in one or two reads. Rejects with `CORRUPT` or `UNAUTHENTIC` when its end is no header
 * of this repository, also when the blobs and the header do not fill the file.
 */
export async function readPackHeader(key: MasterKey, { size, read }: PackContent): Promise<PackedBlob[]> {
  if (size < LENGTH_SIZE) throw noHeader(`it has ${size} bytes, too few for a header`)
  const end = await read(size - Math.min(size, FIRST_FETCH), Math.min(size, FIRST_FETCH))
  const length = end.readUInt32LE(end.length - LENGTH_SIZE)
  const longest = Math.min(size - LENGTH_SIZE, MAX_SEALED_HEADER)
  if (length < SEAL_OVERHEAD || length > longest) {
    throw noHeader(`its header claims ${length} bytes, expected ${SEAL_OVERHEAD} to ${longest}`)
  }
  const start = size - LENGTH_SIZE - length
  const isFetched = length + LENGTH_SIZE <= end.length
  const sealed = isFetched ? end.subarray(end.length - LENGTH_SIZE - length, -LENGTH_SIZE) : await read(start, length)
  const blobs = parsePackHeader(unseal(key, sealed))
  const last = blobs.at(-1)!
  if (last.offset + last.length !== start) {
    throw noHeader(`its header lists blobs of ${last.offset + last.length} bytes, before it there are ${start}`)
  }
  return blobs
}

function noHeader(found: string): EngineError {
  return new EngineError('CORRUPT', found)
}
