import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type PackId } from './id.ts'
import { encodeIndexFile, type PackIndex, parseIndexFile } from './index-file.ts'
import { IndexScanner } from './index-scanner.ts'
import type { PackedBlob } from './pack-header.ts'
import { columnsToPacks, type IndexColumns, scanIndexFile } from './scan-index-file.ts'
import { encodeUnpacked } from './unpacked.ts'

/** Each in memory that was in use before: what it left there must not be taken for a part of the next file. */
const scanners = { 'relaxed-simd': new IndexScanner('relaxed-simd'), simd: new IndexScanner('simd') }

/** All ways to scan, which must agree. */
function scanned(json: Buffer, version: 1 | 2): IndexColumns | undefined {
  const columns = scanIndexFile(json, version)
  const packs = columns && columnsToPacks(columns)
  for (const [name, scanner] of Object.entries(scanners)) {
    const found = scanner.scan(encodeUnpacked(version, json), version)
    assert.deepEqual(found && columnsToPacks(found), packs, name)
    if (!columns || !found) continue
    const { count } = columns
    assert.equal(found.count, count)
    assert.deepEqual([...found.kinds.subarray(0, count)], [...columns.kinds.subarray(0, count)], name)
  }
  return columns
}

const PLAIN = { noNullPrototype: true }
const indexes: fc.Arbitrary<readonly PackIndex[]> = fc.array(
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
    fc.property(indexes, (written) => {
      const columns = scanned(encodeIndexFile(written), 2)
      assert.ok(columns)
      assert.deepEqual(columnsToPacks(columns), parseIndexFile(encodeIndexFile(written), 2))
    }),
  )
})

test('with flipped, inserted and lost bytes it is scanned to the same as the plain parser makes of it, or left to that', () => {
  let accepted = 0
  fc.assert(
    fc.property(
      indexes.filter((written) => written.length > 0),
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
        const columns = scanned(damaged, version)
        if (columns === undefined) return
        accepted++
        assert.deepEqual(columnsToPacks(columns), parseIndexFile(damaged, version))
      },
    ),
    { numRuns: 3000 },
  )
  assert.ok(accepted > 0)
})

test('bytes that are no index file are left to the plain parser', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.equal(scanned(Buffer.from(bytes), 2), undefined)
    }),
  )
  for (const other of ['{"packs":null}\n', '{"packs":[]}', '{ "packs":[]}\n', '{"packs":[],"x":1}\n']) {
    assert.equal(scanned(Buffer.from(other), 2), undefined)
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
  assert.ok(scanned(json, 2))
  assert.equal(scanned(json, 1), undefined)
  assert.throws(
    () => parseIndexFile(json, 1),
    (error) => error instanceof EngineError && error.code === 'CORRUPT',
  )
})

test('numbers that no writer writes are left to the plain parser by every scanner', () => {
  const written = encodeIndexFile([
    {
      id: 'a'.repeat(64) as PackId,
      blobs: [{ type: 'tree', id: 'b'.repeat(64) as BlobId, offset: 7, length: 50, uncompressedLength: undefined }],
    },
  ]).toString()
  assert.ok(scanned(Buffer.from(written), 2))
  for (const number of [
    '',
    '-1',
    '07',
    '00',
    '7.0',
    '4294967296',
    '99999999999',
    '0'.repeat(300),
    '1'.repeat(300),
    '1e3',
  ]) {
    for (const field of ['"offset":7', '"length":50']) {
      const changed = written.replace(field, `${field.slice(0, 9)}${number}`)
      assert.equal(scanned(Buffer.from(changed), 2), undefined, changed)
    }
  }
  for (const number of ['0', '31', '32', '4294967295']) {
    const changed = written.replace('"length":50', `"length":${number}`)
    assert.equal(scanned(Buffer.from(changed), 2) !== undefined, Number(number) >= 32)
  }
})

test('an index file that was cut off is left to the plain parser, wherever that was', () => {
  const json = encodeIndexFile([
    { id: 'a'.repeat(64) as PackId, blobs: blobs(3) },
    { id: 'c'.repeat(64) as PackId, blobs: blobs(2) },
  ])
  for (let length = 0; length < json.length; length++) {
    assert.ok(scanned(json, 2)) // so that its end is still there
    assert.equal(scanned(json.subarray(0, length), 2), undefined, `${length} of ${json.length} bytes`)
  }
})

test('what a scanner lent is right until it scans the next file, also when that needs more memory', () => {
  const scanner = new IndexScanner()
  for (const count of [1, 20_000, 10, 0, 60_000]) {
    const written = [{ id: 'a'.repeat(64) as PackId, blobs: blobs(count) }]
    const columns = scanner.scan(encodeUnpacked(2, encodeIndexFile(written)), 2)
    assert.deepEqual(columnsToPacks(columns!), written)
  }
  scanner.close()
  assert.deepEqual(columnsToPacks(scanner.scan(encodeUnpacked(1, encodeIndexFile([])), 1)!), [])
})

test('a scanner leaves a damaged or an unusual frame to the plain decoder, and goes on', () => {
  const scanner = new IndexScanner()
  const good = encodeUnpacked(2, encodeIndexFile([{ id: 'a'.repeat(64) as PackId, blobs: blobs(500) }]))
  const altered = Buffer.from(good)
  altered.fill(0xff, 200, 400)
  const twoFrames = Buffer.concat([good, good.subarray(1)])
  for (const other of [altered, good.subarray(0, -1), twoFrames, Buffer.of(2), Buffer.alloc(0), good.subarray(1)]) {
    assert.equal(scanner.scan(other, 2), undefined)
    assert.equal(scanner.scan(good, 2)?.count, 500)
  }
  assert.equal(scanner.scan(good, 1), undefined)
})

test('without WebAssembly all is left to the plain parser', () => {
  assert.equal(new IndexScanner('plain').scan(encodeUnpacked(2, encodeIndexFile([])), 2), undefined)
})

function blobs(count: number): PackedBlob[] {
  return Array.from({ length: count }, (_, i) => ({
    type: i % 7 === 0 ? 'tree' : 'data',
    id: hashId<BlobId>(Buffer.from(String(i))),
    offset: i * 100,
    length: 32 + i,
    uncompressedLength: i % 3 === 0 ? undefined : i,
  }))
}
