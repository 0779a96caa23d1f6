import assert from 'node:assert/strict'
import { it } from 'node:test'
import fc from 'fast-check'
import { type BlobId, hashId } from '../format/id.ts'
import type { BlobType } from '../format/pack-header.ts'
import { BlobMap } from './blob-map.ts'

it('answers as a Map would, whatever is set in whatever order', () => {
  const step = fc.tuple(
    fc.constantFrom<BlobType>('data', 'tree'),
    fc.integer({ min: 0, max: 3000 }),
    fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 4000, size: 'max' }), (steps) => {
      const map = new BlobMap()
      const model = new Map<string, number>()
      for (const [type, number, value] of steps) {
        const id = hashId<BlobId>(Buffer.from(String(number)))
        assert.equal(map.get(type, id), model.get(type + id))
        map.set(type, id, value)
        model.set(type + id, value)
      }
      assert.equal(map.size, model.size)
      assert.deepEqual(new Map([...map.blobs()].map(({ type, id }) => [type + id, map.get(type, id)])), model)
    }),
    { numRuns: 10 },
  )
})

it('adds a blob once, and tells data from trees', () => {
  const map = new BlobMap()
  const id = hashId<BlobId>(Buffer.from('same'))
  assert.deepEqual(
    [map.add('data', id), map.add('data', id), map.has('tree', id), map.add('tree', id)],
    [true, false, false, true],
  )
})
