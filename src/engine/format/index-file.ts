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

/** The JSON of an index file; unlike the other files it ends with a line feed. */
export function encodeIndexFile(packs: readonly PackIndex[]): Buffer {
  const pieces = packs.map(({ id, blobs }) => `{"id":"${id}","blobs":[${blobs.map(encodeBlob).join(',')}]}`)
  return Buffer.from(`{"packs":[${pieces.join(',')}]}\n`, 'utf8')
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
