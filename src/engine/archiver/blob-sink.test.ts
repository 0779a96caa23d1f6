import assert from 'node:assert/strict'
import { it } from 'node:test'
import { hashId, idAt } from '../format/id.ts'
import { discardingSink } from './blob-sink.ts'

it('counts each blob that a backup would add once, and none that is there', async () => {
  const present = hashId(Buffer.from('present'))
  const sink = discardingSink({
    has: (type, id) => type === 'data' && id === present,
    hasAt: (type, text, at) => type === 'data' && idAt(text, at) === present,
  })
  for (const content of ['present', 'new', 'new', 'newer']) await sink.save('data', Buffer.from(content))
  // The same bytes as data and as a tree are two blobs.
  assert.equal((await sink.save('tree', Buffer.from('present'))).isNew, true)
  assert.equal((await sink.save('tree', Buffer.from('present'))).isNew, false)
  assert.deepEqual(sink.totals, { dataBlobs: 2, treeBlobs: 1, added: 15, addedPacked: 0 })
})

it('has what it was given, as a repository would: a later file with the same content is no longer new', async () => {
  const sink = discardingSink({ has: () => false, hasAt: () => false })
  const { id, isNew } = await sink.save('data', Buffer.from('x'))
  assert.deepEqual([isNew, sink.has('data', id), sink.has('tree', id)], [true, true, false])
  const text = Buffer.from(`"${id}"`)
  assert.deepEqual([sink.hasAt('data', text, 1), sink.hasAt('tree', text, 1)], [true, false])
})
