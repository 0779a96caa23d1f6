import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { EngineError } from '../error.ts'
import { type BlobId, hashId } from './id.ts'
import { parseIndexFile } from './index-file.ts'
import { unseal } from './master-key.ts'
import {
  encodePackHeader,
  MAX_PACK_BLOBS,
  MAX_SEALED_HEADER,
  type PackedBlob,
  packHeaderSize,
  parsePackHeader,
} from './pack-header.ts'
import { ResticRepository, withoutRestic } from './restic.test-oracle.ts'

const ID = 'c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2' as BlobId

const blobs: fc.Arbitrary<readonly PackedBlob[]> = fc
  .array(
    fc.record({
      type: fc.constantFrom('data', 'tree'),
      id: fc.nat().map((seed) => hashId<BlobId>(Buffer.from(String(seed)))),
      length: fc.integer({ min: 32, max: 100_000_000 }),
      uncompressedLength: fc.option(fc.integer({ min: 1, max: 0xffff_ffff }), { nil: undefined }),
    }),
    { minLength: 1, maxLength: 30 },
  )
  .map((entries) => {
    let end = 0
    return entries.map(({ type, id, length, uncompressedLength }) => {
      const offset = end
      end += length
      return { type, id, offset, length, uncompressedLength }
    })
  })

test('an entry of each type lies where the format says', () => {
  const header = encodePackHeader([
    { type: 'data', id: ID, offset: 0, length: 0x01020304, uncompressedLength: undefined },
    { type: 'tree', id: ID, offset: 0x01020304, length: 32, uncompressedLength: undefined },
    { type: 'data', id: ID, offset: 0x01020324, length: 33, uncompressedLength: 0xfffefdfc },
    { type: 'tree', id: ID, offset: 0x01020345, length: 34, uncompressedLength: 1 },
  ])
  const entries = [`0004030201${ID}`, `0120000000${ID}`, `0221000000fcfdfeff${ID}`, `032200000001000000${ID}`]
  assert.equal(header.toString('hex'), entries.join(''))
})

test('every header reads as it was written, and takes the room that was foretold', () => {
  fc.assert(
    fc.property(blobs, (blobs) => {
      const header = encodePackHeader(blobs)
      assert.deepEqual(parsePackHeader(header), blobs)
      assert.equal(packHeaderSize(blobs), header.length + 32 + 4)
    }),
  )
})

test('the header of a pack without blobs takes 36 bytes, and is neither written nor read', () => {
  assert.equal(packHeaderSize([]), 36)
  assert.throws(() => encodePackHeader([]), RangeError)
  assert.throws(() => parsePackHeader(Buffer.alloc(0)), { name: 'EngineError', code: 'CORRUPT' })
})

test('a compressed blob of no plaintext counts as one that is stored as it is', () => {
  const [blob] = parsePackHeader(Buffer.from(`022100000000000000${ID}`, 'hex'))
  assert.deepEqual(blob, { type: 'data', id: ID, offset: 0, length: 33, uncompressedLength: undefined })
})

const packOf = (count: number): PackedBlob[] =>
  Array.from({ length: count }, (_, index) => ({
    type: 'data',
    id: ID,
    offset: index * 40,
    length: 40,
    uncompressedLength: 50,
  }))

test('as many blobs as fit into a header of 16 MiB are written and read, and not one more', () => {
  assert.equal(MAX_PACK_BLOBS, 409_199)
  const full = encodePackHeader(packOf(MAX_PACK_BLOBS))
  assert.ok(full.length + 32 <= MAX_SEALED_HEADER)
  assert.equal(parsePackHeader(full).length, MAX_PACK_BLOBS)
  assert.throws(() => encodePackHeader(packOf(MAX_PACK_BLOBS + 1)), RangeError)
  assert.throws(() => parsePackHeader(Buffer.concat([full, full.subarray(0, 41)])), {
    name: 'EngineError',
    code: 'CORRUPT',
  })
})

test('blobs that leave a gap, overlap or reach beyond 4 GiB are not written', () => {
  const blob = (offset: number, length: number): PackedBlob => ({
    type: 'data',
    id: ID,
    offset,
    length,
    uncompressedLength: undefined,
  })
  for (const blobs of [
    [blob(1, 40)],
    [blob(0, 40), blob(41, 40)],
    [blob(0, 40), blob(39, 40)],
    [blob(0, 31)],
    [blob(0, 2 ** 32)],
    [blob(0, 2 ** 31), blob(2 ** 31, 2 ** 31)],
  ]) {
    assert.throws(() => encodePackHeader(blobs), RangeError)
  }
})

for (const [what, where, hex] of [
  ['an entry cut off', 'byte 37', `0021000000${ID}0021000000`],
  ['a compressed entry cut off', 'byte 0', `0221000000${ID}`],
  ['an unknown type', 'byte 0', `0421000000${ID}`],
  ['a blob shorter than sealing makes any', 'byte 0', `001f000000${ID}`],
  ['blobs beyond 4 GiB', 'byte 37', `00ffffffff${ID}0021000000${ID}`],
] as const) {
  test(`${what} is CORRUPT`, () => {
    assert.throws(
      () => parsePackHeader(Buffer.from(hex, 'hex')),
      (error) => error instanceof EngineError && error.code === 'CORRUPT' && error.facts.where === where,
    )
  })
}

test('any bytes are either a header or CORRUPT', () => {
  const likely = blobs.map(encodePackHeader)
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), likely), fc.nat(), fc.nat(255), (source, at, byte) => {
      const bytes = Buffer.from(source)
      if (bytes.length > 0) bytes[at % bytes.length] = byte
      try {
        assert.ok(parsePackHeader(bytes).length <= bytes.length / 37)
      } catch (error) {
        assert.ok(error instanceof EngineError && error.code === 'CORRUPT', String(error))
      }
    }),
    { numRuns: 500 },
  )
})

describe('packs that restic has written', { skip: withoutRestic }, () => {
  for (const version of [1, 2] as const) {
    test(`in version ${version} have a header that is written the same, and says what the index says`, async () => {
      using repository = await ResticRepository.make(version)
      repository.run(['backup', '--stdin'], { input: 'one' })
      repository.run(['backup', 'pack-header.ts', 'pack-header.test.ts'], { cwd: import.meta.dirname })
      const indexed = new Map(
        [...repository.unpackedFiles('index').values()]
          .flatMap((json) => parseIndexFile(json, version))
          .map(({ id, blobs }) => [id as string, blobs]),
      )
      const packs = repository.packs()
      assert.ok(packs.size >= 4)
      for (const [id, pack] of packs) {
        const sealedLength = pack.readUInt32LE(pack.length - 4)
        const header = unseal(repository.masterKey, pack.subarray(pack.length - 4 - sealedLength, pack.length - 4))
        const blobs = parsePackHeader(header)
        assert.deepEqual(encodePackHeader(blobs), header)
        assert.equal(packHeaderSize(blobs), sealedLength + 4)
        assert.deepEqual(
          blobs,
          indexed.get(id)!.toSorted((a, b) => a.offset - b.offset),
        )
        assert.equal(
          blobs.every(({ uncompressedLength }) => uncompressedLength !== undefined),
          version === 2,
        )
      }
    })
  }
})
