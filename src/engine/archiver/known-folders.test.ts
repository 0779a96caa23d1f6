import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type IndexId, type SnapshotId } from '../format/id.ts'
import { type KnownFolder, KnownFolders, parseKnownFolders } from './known-folders.ts'

const id = <K extends string>(text: string) => hashId(Buffer.from(text)) as unknown as K
const SNAPSHOT = id<SnapshotId>('snapshot')
const REQUEST = Buffer.from(id<string>('request'), 'hex')
const KEY = { snapshot: SNAPSHOT, request: REQUEST }
const INDEXES = [id<IndexId>('index 1'), id<IndexId>('index 2')]

function sample(folders: readonly (readonly [string, KnownFolder])[] = []): KnownFolders {
  const known = new KnownFolders(1_790_000_000)
  for (const [name, folder] of folders) known.add(fingerprint(name), folder)
  return known
}

function fingerprint(name: string): string {
  return Buffer.from(id<string>(name), 'hex').toString('latin1')
}

test('what is noted of folders is read again as it was', () => {
  const tree = fc.string().map((text) => id<BlobId>(text))
  const folder = fc.record({ tree, files: fc.maxSafeNat(), bytes: fc.maxSafeNat() })
  fc.assert(
    fc.property(fc.uniqueArray(fc.tuple(fc.string(), folder), { selector: ([name]) => name }), (folders) => {
      const noted = sample(folders)
      const known = parseKnownFolders(noted.encode(KEY, INDEXES), KEY, new Set(INDEXES))!
      assert.equal(known.trustedBefore, noted.trustedBefore)
      assert.equal(known.size, folders.length)
      for (const [name, expected] of folders) assert.deepEqual(known.find(fingerprint(name)), { ...expected })
      assert.equal(known.find(fingerprint('another\0')), undefined)
    }),
  )
})

test('a note of what could not be seen whole trusts nothing, once it was written and read again', () => {
  const noted = sample()
  assert.equal(noted.trustedBefore, 1_790_000_000 - 2)
  noted.distrust()
  assert.ok(noted.trustedBefore < 0)
  assert.ok(parseKnownFolders(noted.encode(KEY, INDEXES), KEY, new Set(INDEXES))!.trustedBefore < 0)
})

test('a note is good for no other snapshot, no other request, and not after an index file has gone', () => {
  const bytes = sample([['a', { tree: id<BlobId>('tree'), files: 1, bytes: 2 }]]).encode(KEY, INDEXES)
  const more = new Set([...INDEXES, id<IndexId>('index 3')])
  assert.equal(parseKnownFolders(bytes, KEY, more)?.size, 1)
  assert.equal(parseKnownFolders(bytes, { ...KEY, snapshot: id<SnapshotId>('another') }, more), undefined)
  assert.equal(parseKnownFolders(bytes, { ...KEY, request: Buffer.alloc(32) }, more), undefined)
  for (const gone of INDEXES) {
    const left = new Set(more)
    left.delete(gone)
    assert.equal(parseKnownFolders(bytes, KEY, left), undefined)
  }
})

test('a note that is cut short or altered is refused, or good for nothing else than what it says', () => {
  const folders = ['a', 'b', 'c'].map((name) => [name, { tree: id<BlobId>(name), files: 3, bytes: 4 }] as const)
  const bytes = sample(folders).encode(KEY, INDEXES)
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => parseKnownFolders(bytes.subarray(0, length), KEY, new Set(INDEXES)), { code: 'CORRUPT' })
  }
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const altered = Buffer.from(bytes)
      altered[at]! ^= flip
      try {
        assert.ok((parseKnownFolders(altered, KEY, new Set(INDEXES))?.size ?? 0) <= folders.length)
      } catch (error) {
        if (!(error instanceof EngineError && error.code === 'CORRUPT')) throw error
      }
    }),
  )
  // A count that promises more than there is must not be believed before it is held against the length.
  const endless = Buffer.from(bytes)
  endless.writeUInt32LE(0xffffffff, 8 + 32 + 32 + 8)
  assert.throws(() => parseKnownFolders(endless, KEY, new Set(INDEXES)), { code: 'CORRUPT' })
})
