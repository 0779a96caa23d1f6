import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BlobId, hashId } from '../format/id.ts'
import type { PackedBlob } from '../format/pack-header.ts'
import { sameBlobs } from './same-blobs.ts'

const blob = (changes: Partial<PackedBlob> = {}): PackedBlob => ({
  type: 'data',
  id: hashId<BlobId>(Buffer.from('blob')),
  offset: 0,
  length: 100,
  uncompressedLength: 200,
  ...changes,
})

test('lists that differ only in their order are the same', () => {
  const [first, second, third] = [blob(), blob({ offset: 100 }), blob({ offset: 20 })]
  assert.equal(sameBlobs([first, second, third], [third, first, second]), true)
  assert.equal(sameBlobs([], []), true)
})

test('any difference in any member is one', () => {
  const others: Partial<PackedBlob>[] = [
    { type: 'tree' },
    { id: hashId<BlobId>(Buffer.from('other')) },
    { offset: 1 },
    { length: 101 },
    { uncompressedLength: 201 },
    { uncompressedLength: undefined },
  ]
  for (const change of others) {
    assert.equal(sameBlobs([blob(), blob({ offset: 200 })], [blob(change), blob({ offset: 200 })]), false)
  }
  assert.equal(sameBlobs([blob()], [blob(), blob()]), false)
  assert.equal(sameBlobs([blob(), blob({ offset: 5 })], [blob(), blob()]), false)
})

test('two entries for one place are compared whatever their order', () => {
  const [data, tree] = [blob(), blob({ type: 'tree' })]
  assert.equal(sameBlobs([data, tree], [tree, data]), true)
})
