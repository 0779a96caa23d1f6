import type { BlobId, PackId } from './id.ts'
import { parseJson } from './json.ts'
import { asObject, idField, type JsonObject, listField, type Place, unexpected, unsignedField } from './json-fields.ts'
import { MAX_BLOB_LENGTH, MIN_BLOB_LENGTH, type PackedBlob } from './pack-header.ts'

/** What an index file says about a pack: all of its blobs, in any order. */
export interface PackIndex {
  readonly id: PackId
  readonly blobs: readonly PackedBlob[]
}

const WHAT = 'index'

/** What the JSON of a file, of a pack and of a blob takes at most, but for what is in it: IDs are 64 digits, numbers at most 10. */
const FILE_ROOM = 32
const PACK_ROOM = 128
const BLOB_ROOM = 192

/** The JSON of an index file; unlike the other files it ends with a line feed. */
export function encodeIndexFile(packs: readonly PackIndex[]): Buffer {
  // Pack by pack, or the texts of tens of thousands of blobs are there three times over before they are bytes.
  const room = packs.reduce((sum, { blobs }) => sum + PACK_ROOM + BLOB_ROOM * blobs.length, FILE_ROOM)
  const json = Buffer.allocUnsafeSlow(room)
  let at = json.write('{"packs":[')
  for (const [i, { id, blobs }] of packs.entries()) {
    let text = `${i > 0 ? ',' : ''}{"id":"${id}","blobs":[`
    for (const [j, blob] of blobs.entries()) text += `${j > 0 ? ',' : ''}${encodeBlob(blob)}`
    at += json.write(`${text}]}`, at, 'latin1')
  }
  at += json.write(']}\n', at)
  return json.subarray(0, at)
}

function encodeBlob({ id, type, offset, length, uncompressedLength }: PackedBlob): string {
  const uncompressed = uncompressedLength ? `,"uncompressed_length":${uncompressedLength}` : ''
  return `{"id":"${id}","type":"${type}","offset":${offset},"length":${length}${uncompressed}}`
}

/**
 * Reads the JSON of an index file of a repository of that version. Packs that rustic has marked for deletion are not listed, as for
 * restic; that a pack or blob is listed twice is no error here. Throws `CORRUPT`, also for a compressed blob in version 1.
 */
export function parseIndexFile(bytes: Buffer, version: 1 | 2): PackIndex[] {
  const root = asObject(parseJson(bytes, WHAT), { what: WHAT })
  const packs = listField(root, 'packs', { what: WHAT }) ?? []
  return packs.map((value, index) => {
    const place: Place = { what: WHAT, list: 'packs', index }
    const pack = asObject(value, place)
    const id = idField<PackId>(pack, 'id', place)
    if (id === undefined) throw unexpected(place, 'id', id, '64 hex digits')
    const list = `packs[${index}].blobs`
    const blobs = listField(pack, 'blobs', place) ?? []
    return { id, blobs: blobs.map((blob, at) => parseBlob(blob, { what: WHAT, list, index: at }, version)) }
  })
}

function parseBlob(value: unknown, place: Place, version: 1 | 2): PackedBlob {
  const blob = asObject(value, place)
  const id = idField<BlobId>(blob, 'id', place)
  if (id === undefined) throw unexpected(place, 'id', id, '64 hex digits')
  const { type } = blob
  if (type !== 'data' && type !== 'tree') throw unexpected(place, 'type', type, '"data" or "tree"')
  const offset = unsignedField(blob, 'offset', place, MAX_BLOB_LENGTH)
  const length = parseLength(blob, place)
  const uncompressedLength = unsignedField(blob, 'uncompressed_length', place, MAX_BLOB_LENGTH) || undefined
  if (version === 1 && uncompressedLength !== undefined) {
    throw unexpected(
      place,
      'uncompressed_length',
      uncompressedLength,
      'no compressed blob in a repository of version 1',
    )
  }
  return { type, id, offset, length, uncompressedLength }
}

function parseLength(blob: JsonObject, place: Place): number {
  const length = unsignedField(blob, 'length', place, MAX_BLOB_LENGTH)
  if (length < MIN_BLOB_LENGTH) throw unexpected(place, 'length', length, `at least ${MIN_BLOB_LENGTH}`)
  return length
}
