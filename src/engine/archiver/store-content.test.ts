import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { collectingSink } from '../../../test/equipment/collecting-sink.ts'
import { randomBytes } from '../../../test/equipment/random-bytes.ts'
import { POLYNOMIAL } from '../../../test/equipment/test-repository.ts'
import { hashId } from '../format/id.ts'
import { createChunker, MAX_CHUNK, MIN_CHUNK } from '../kernels/chunker.ts'
import { ContentStore } from './store-content.ts'

const chunker = createChunker(POLYNOMIAL)

/** A stream that hands out pieces of these sizes in turn. */
function reader(bytes: Buffer, pieces: readonly number[]): (into: Buffer) => number {
  let position = 0
  let turn = 0
  return (into) => {
    const count = Math.min(pieces[turn++ % pieces.length]!, into.length, bytes.length - position)
    bytes.copy(into, 0, position, position + count)
    position += count
    return count
  }
}

/** Cut with all of the bytes at hand. */
function chunksOf(bytes: Buffer): Buffer[] {
  const chunks: Buffer[] = []
  for (let start = 0; start < bytes.length; ) {
    const length = chunker.nextLength(bytes, start, bytes.length, true)
    chunks.push(bytes.subarray(start, start + length))
    start += length
  }
  return chunks
}

describe('ContentStore', () => {
  for (const [what, bytes] of [
    ['nothing', Buffer.alloc(0)],
    ['one byte', Buffer.alloc(1)],
    ['the shortest chunk', randomBytes(MIN_CHUNK, 1)],
    ['one byte more than the shortest chunk', randomBytes(MIN_CHUNK + 1, 2)],
    ['one byte less than the longest chunk', Buffer.alloc(MAX_CHUNK - 1, 'x')],
    ['the longest chunk', Buffer.alloc(MAX_CHUNK, 'x')],
    ['two of the longest chunks and a byte', Buffer.alloc(2 * MAX_CHUNK + 1, 'x')],
    ['more than its buffer, with many cuts', randomBytes(3 * MAX_CHUNK + 12345, 3)],
  ] as const) {
    it(`cuts ${what} in the same places however the bytes come`, async () => {
      const expected = chunksOf(bytes).map((chunk) => hashId(chunk))
      const sink = collectingSink()
      const store = new ContentStore(sink, chunker)
      for (const pieces of [[Number.POSITIVE_INFINITY], [65_536], [1_000_003, 17, MAX_CHUNK]]) {
        const told: number[] = []
        const { content, size } = await store.store(reader(bytes, pieces), (count) => told.push(count))
        assert.deepEqual(content, expected)
        assert.equal(size, bytes.length)
        assert.equal(
          told.reduce((sum, count) => sum + count, 0),
          bytes.length,
        )
        assert.equal(told.length, expected.length)
      }
      assert.ok(Buffer.concat(expected.map((id) => sink.blob('data', id as never))).equals(bytes))
    })
  }

  it('waits for the sink before it uses its buffer again', async () => {
    const bytes = randomBytes(2 * MAX_CHUNK + 1, 'slow')
    const sink = collectingSink()
    const slow = {
      async save(type: 'data' | 'tree', plaintext: Buffer) {
        await new Promise((resolve) => setTimeout(resolve, 5))
        return sink.save(type, plaintext)
      },
    }
    const { content } = await new ContentStore(slow, chunker).store(reader(bytes, [MAX_CHUNK]))
    assert.ok(Buffer.concat(content.map((id) => sink.blob('data', id))).equals(bytes))
  })

  it('is good for the next stream after one that failed', async () => {
    const store = new ContentStore(collectingSink(), chunker)
    let calls = 0
    const failing = async (into: Buffer) => {
      if (calls++ > 0) throw new Error('the line is cut')
      return into.fill('x').length
    }
    await assert.rejects(store.store(failing), /the line is cut/)
    const { content, size } = await store.store(reader(Buffer.from('next'), [1]))
    assert.deepEqual({ content, size }, { content: [hashId(Buffer.from('next'))], size: 4 })
  })

  it('passes on what the sink throws', async () => {
    const failing = { save: () => Promise.reject(new Error('no room')) }
    await assert.rejects(new ContentStore(failing, chunker).store(reader(Buffer.from('x'), [1])), /no room/)
  })
})
