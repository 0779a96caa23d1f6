import { constants } from 'node:buffer'
import { EngineError } from '../error.ts'
import type { RepositoryVersion } from './repository-config.ts'
import { compress, decompress } from './zstd.ts'

// The plaintext of an index, a snapshot or a lock:
//
//   version 1   JSON
//   version 2   02, then JSON as a zstd stream; or JSON, recognised by `{` or `[` as the very first byte,
//               in a repository that was upgraded from version 1

/** The first byte of compressed JSON. */
export const COMPRESSED_JSON = 0x02

/** JSON longer than this could not become a string in order to be parsed, so it is not even decompressed. */
const MAX_JSON = constants.MAX_STRING_LENGTH

/** Of the lists of IDs that indexes are, more effort finds chance matches that cost room: level 3 gives 8 % more bytes. */
const LEVEL = 1

export function encodeUnpacked(version: RepositoryVersion, json: Buffer): Buffer {
  return version === 1 ? json : Buffer.concat([Buffer.of(COMPRESSED_JSON), compress(json, LEVEL)])
}

/** The JSON in the plaintext. Where there was nothing to decompress, it is the plaintext's own memory. */
export function decodeUnpacked(version: RepositoryVersion, plaintext: Buffer): Buffer {
  const first = plaintext[0]
  if (first === 0x7b || first === 0x5b) return plaintext
  if (version === 2 && first === COMPRESSED_JSON) return decompress(plaintext.subarray(1), MAX_JSON)
  const found = first === undefined ? 'it is empty' : `it starts with byte 0x${first.toString(16).padStart(2, '0')}`
  throw new EngineError(
    'CORRUPT',
    `Cannot read a file of a version ${version} repository: ${found}, expected ${version === 1 ? 'JSON' : 'JSON or 0x02'}`,
    { facts: { what: 'unpacked file', where: 0 } },
  )
}
