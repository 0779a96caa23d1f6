import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type BlobId, hashId, type PackId } from '../format/id.ts'
import { type BlobType, type PackedBlob, packHeaderSize, plaintextLength } from '../format/pack-header.ts'
import { BlobIndex, type BlobLocation } from './blob-index.ts'
import { KnownBlobs } from './known-blobs.ts'

const blobId = (seed: number | string) => hashId<BlobId>(Buffer.from(`blob ${seed}`))
const packId = (seed: number | string) => hashId<PackId>(Buffer.from(`pack ${seed}`))

const packed = (id: BlobId, changes: Partial<PackedBlob> = {}): PackedBlob => ({
  type: 'data',
  id,
  offset: 0,
  length: 100,
  uncompressedLength: 200,
  ...changes,
})

/** IDs that begin alike, so that they meet in the table. */
const crowdedId = (seed: number) => `00000000${blobId(seed).slice(8)}` as BlobId

const blobs = fc.array(
  fc.record(
    {
      type: fc.constantFrom<BlobType>('data', 'tree'),
      id: fc.integer({ min: 0, max: 40 }).map((seed) => (seed % 2 === 0 ? blobId(seed) : crowdedId(seed))),
      offset: fc.nat(0xffff_ffff),
      length: fc.integer({ min: 32, max: 0xffff_ffff }),
      uncompressedLength: fc.option(fc.integer({ min: 1, max: 0xffff_ffff }), { nil: undefined }),
    },
    { noNullPrototype: true },
  ),
  { maxLength: 12 },
)

test('it finds what a map of everything finds, duplicates in the same order', () => {
  const packs = fc.array(fc.record({ pack: fc.nat(15).map(packId), blobs }, { noNullPrototype: true }), {
    maxLength: 20,
  })
  fc.assert(
    fc.property(packs, (added) => {
      const index = new BlobIndex()
      const listed = new Map<PackId, PackedBlob[]>()
      const copies = new Map<string, BlobLocation[]>()
      for (const { pack, blobs } of added) {
        index.addPack(pack, blobs)
        const known = listed.get(pack)
        const fresh = known ? blobs.filter((blob) => !known.some((old) => isSame(old, blob))) : blobs
        listed.set(pack, [...(known ?? []), ...fresh])
        for (const blob of fresh) {
          const key = blob.type + blob.id
          copies.set(key, [...(copies.get(key) ?? []), { pack, ...blob }])
        }
      }
      const known = new KnownBlobs(index.knownBlobs().memory)
      const hasKnown = (type: BlobType, id: BlobId) => known.has(type, Buffer.from(`00${id}`, 'hex'), 1)
      for (let seed = 0; seed <= 40; seed++) {
        for (const id of [blobId(seed), crowdedId(seed)]) {
          for (const type of ['data', 'tree'] as const) assert.equal(hasKnown(type, id), index.has(type, id))
        }
      }
      index.addPack(packId('later'), [packed(blobId('later'))])
      assert.equal(hasKnown('data', blobId('later')), false)
      listed.set(packId('later'), [packed(blobId('later'))])
      copies.set(`data${blobId('later')}`, [{ pack: packId('later'), ...packed(blobId('later')) }])
      assert.equal(index.packCount, listed.size)
      assert.equal(index.blobCount, [...copies.values()].flat().length)
      assert.deepEqual(
        [...index.packs()],
        [...listed].map(([id, blobs]) => ({ id, blobs })),
      )
      assert.deepEqual(
        [...index.packSizes()],
        [...listed].map(([id, blobs]) => ({
          id,
          blobs: blobs.length,
          bytes: blobs.reduce((sum, { length }) => sum + length, packHeaderSize(blobs)),
        })),
      )
      for (let seed = 0; seed <= 41; seed++) {
        for (const id of [blobId(seed), crowdedId(seed)]) {
          for (const type of ['data', 'tree'] as const) {
            const expected = copies.get(type + id) ?? []
            assert.deepEqual(index.findAll(type, id), expected)
            assert.deepEqual(index.find(type, id), expected[0])
            assert.equal(index.has(type, id), expected.length > 0)
            assert.equal(index.hasAt(type, Buffer.from(`["${id}"]`), 2), expected.length > 0)
            const length = index.plaintextLengthAt(type, Buffer.from(`["${id}"]`), 2)
            assert.equal(length, expected[0] && plaintextLength(expected[0]))
          }
        }
      }
      for (let seed = 0; seed <= 16; seed++) {
        assert.deepEqual(index.packBlobs(packId(seed)), listed.get(packId(seed)))
        assert.equal(index.hasPack(packId(seed)), listed.has(packId(seed)))
      }
    }),
  )
})

function isSame(a: PackedBlob, b: PackedBlob): boolean {
  return (['type', 'id', 'offset', 'length', 'uncompressedLength'] as const).every((key) => a[key] === b[key])
}

test('the same bytes as data and as a tree are two blobs', () => {
  const index = new BlobIndex()
  index.addPack(packId(1), [packed(blobId(1), { type: 'tree' })])
  assert.equal(index.has('tree', blobId(1)), true)
  assert.equal(index.has('data', blobId(1)), false)
  index.addPack(packId(2), [packed(blobId(1))])
  assert.equal(index.find('data', blobId(1))?.pack, packId(2))
  assert.equal(index.find('tree', blobId(1))?.pack, packId(1))
})

test('it keeps everything while it grows far beyond where it began', () => {
  const index = new BlobIndex()
  const size = 500
  const entry = (pack: number, at: number) =>
    packed(blobId(`${pack} ${at}`), { offset: at * 7, length: 32 + at, uncompressedLength: at % 3 ? at : undefined })
  for (let pack = 0; pack < 60; pack++) {
    index.addPack(
      packId(pack),
      Array.from({ length: size }, (_, at) => entry(pack, at)),
    )
  }
  assert.equal(index.blobCount, 60 * size)
  for (let pack = 0; pack < 60; pack += 7) {
    for (let at = 0; at < size; at += 3) {
      const { id, ...rest } = entry(pack, at)
      assert.deepEqual(index.find('data', id), { pack: packId(pack), id, ...rest })
    }
  }
  assert.equal(index.find('data', blobId('not there')), undefined)
})

test('one pack may hold more blobs than the index had room for', () => {
  const index = new BlobIndex()
  index.addPack(
    packId(0),
    Array.from({ length: 5000 }, (_, at) => packed(blobId(at), { offset: at })),
  )
  assert.equal(index.find('data', blobId(4999))?.offset, 4999)
  assert.equal(index.packBlobs(packId(0))?.length, 5000)
})

test('a pack that is listed again is there once', () => {
  const index = new BlobIndex()
  const blobs = [packed(blobId(1)), packed(blobId(2), { offset: 100 })]
  index.addPack(packId(1), blobs)
  index.addPack(packId(1), [...blobs].reverse())
  assert.equal(index.blobCount, 2)
  assert.deepEqual(index.packBlobs(packId(1)), blobs)
})

test('of a pack that two index files list differently every blob can be found', () => {
  const index = new BlobIndex()
  const [a, b, c] = [packed(blobId('a')), packed(blobId('b'), { offset: 100 }), packed(blobId('c'), { offset: 200 })]
  index.addPack(packId(1), [a])
  index.addPack(packId(2), [c])
  index.addPack(packId(1), [a, b])
  assert.equal(index.packCount, 2)
  assert.equal(index.find('data', b.id)?.pack, packId(1))
  assert.deepEqual(index.packBlobs(packId(1)), [a, b])
  assert.deepEqual(index.packBlobs(packId(2)), [c])
})

test('a blob that one pack holds twice is found twice', () => {
  const index = new BlobIndex()
  index.addPack(packId(1), [packed(blobId(1)), packed(blobId(1), { offset: 100 })])
  assert.deepEqual(
    index.findAll('data', blobId(1)).map(({ offset }) => offset),
    [0, 100],
  )
})

test('a pack without blobs is known, and finds nothing', () => {
  const index = new BlobIndex()
  index.addPack(packId(1), [])
  assert.equal(index.hasPack(packId(1)), true)
  assert.deepEqual(index.packBlobs(packId(1)), [])
  assert.equal(index.blobCount, 0)
})
