import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type PackId } from './id.ts'
import { encodeIndexFile, type PackIndex, parseIndexFile } from './index-file.ts'
import { columnsToPacks, scanIndexFile } from './scan-index-file.ts'

const PLAIN = { noNullPrototype: true }
const packs: fc.Arbitrary<readonly PackIndex[]> = fc.array(
  fc.record(
    {
      id: fc.nat().map((seed) => hashId<PackId>(Buffer.from(String(seed)))),
      blobs: fc.array(
        fc.record(
          {
            type: fc.constantFrom('data', 'tree'),
            id: fc.nat().map((seed) => hashId<BlobId>(Buffer.from(String(seed)))),
            offset: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff_ffff })),
            length: fc.integer({ min: 32, max: 0xffff_ffff }),
            uncompressedLength: fc.option(fc.integer({ min: 1, max: 0xffff_ffff }), { nil: undefined }),
          },
          PLAIN,
        ),
        { maxLength: 5 },
      ),
    },
    PLAIN,
  ),
  { maxLength: 5 },
)

test('an index file as it is written is scanned to what the plain parser makes of it', () => {
  fc.assert(
    fc.property(packs, (written) => {
      const columns = scanIndexFile(encodeIndexFile(written), 2)
      assert.ok(columns)
      assert.deepEqual(columnsToPacks(columns), parseIndexFile(encodeIndexFile(written), 2))
    }),
  )
})

test('with flipped, inserted and lost bytes it is scanned to the same as the plain parser makes of it, or left to that', () => {
  let scanned = 0
  fc.assert(
    fc.property(
      packs.filter((written) => written.length > 0),
      fc.nat(),
      fc.constantFrom('flip', 'insert', 'lose'),
      fc.integer({ min: 0x20, max: 0x7e }),
      fc.constantFrom(1, 2),
      (written, place, damage, byte, version) => {
        const json = encodeIndexFile(written)
        const at = place % json.length
        const after = damage === 'insert' ? at : at + 1
        const damaged = Buffer.concat([
          json.subarray(0, at),
          damage === 'lose' ? Buffer.alloc(0) : Buffer.of(byte),
          json.subarray(after),
        ])
        const columns = scanIndexFile(damaged, version)
        if (columns === undefined) return
        scanned++
        assert.deepEqual(columnsToPacks(columns), parseIndexFile(damaged, version))
      },
    ),
    { numRuns: 3000 },
  )
  assert.ok(scanned > 0)
})

test('bytes that are no index file are left to the plain parser', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.equal(scanIndexFile(Buffer.from(bytes), 2), undefined)
    }),
  )
  for (const other of ['{"packs":null}\n', '{"packs":[]}', '{ "packs":[]}\n', '{"packs":[],"x":1}\n']) {
    assert.equal(scanIndexFile(Buffer.from(other), 2), undefined)
    assert.deepEqual(parseIndexFile(Buffer.from(other), 2), [])
  }
})

test('a compressed blob in version 1 is left to the plain parser, which refuses it', () => {
  const json = encodeIndexFile([
    {
      id: 'a'.repeat(64) as PackId,
      blobs: [{ type: 'data', id: 'b'.repeat(64) as BlobId, offset: 0, length: 50, uncompressedLength: 20 }],
    },
  ])
  assert.ok(scanIndexFile(json, 2))
  assert.equal(scanIndexFile(json, 1), undefined)
  assert.throws(
    () => parseIndexFile(json, 1),
    (error) => error instanceof EngineError && error.code === 'CORRUPT',
  )
})
