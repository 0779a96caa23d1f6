import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ChunkFinder, FINGERPRINT_KEY, KnownChunks, MOST_CHUNKS } from './known-chunks.ts'

const KEY = Buffer.alloc(FINGERPRINT_KEY, 7)

/** As a thread notes them: `chunks` by their IDs. */
function noted(known: KnownChunks, chunks: ReadonlyMap<string, Uint8Array>): void {
  const finder = new ChunkFinder(known.setUp)
  for (const [id, chunk] of chunks) finder.note(finder.fingerprintOf(chunk), Buffer.from(id, 'hex'), 0)
  const taken = finder.take()
  if (taken) known.add(taken)
  assert.equal(finder.take(), undefined, 'it was taken')
}

function found(known: KnownChunks, chunk: Uint8Array): string | undefined {
  const finder = new ChunkFinder(known.setUp)
  const ids = Buffer.alloc(96, 0xee)
  const isFound = finder.find(finder.fingerprintOf(chunk), ids, 32)
  assert.ok(ids.subarray(0, 32).every((byte) => byte === 0xee) && ids.subarray(64).every((byte) => byte === 0xee))
  return isFound ? ids.toString('hex', 32, 64) : undefined
}

const ids = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'))
const byId = fc
  .uniqueArray(fc.tuple(ids, fc.uint8Array({ maxLength: 100 })), { selector: ([, chunk]) => chunk.join() })
  .map((chunks) => new Map(chunks))

test('a chunk that was noted is found in the next backup, and the one after, and no other one', () => {
  fc.assert(
    fc.property(byId, byId, fc.uint8Array({ minLength: 101, maxLength: 120 }), (first, second, another) => {
      let known = KnownChunks.none(KEY)
      const expected = new Map<string, string>()
      for (const chunks of [first, second]) {
        noted(known, chunks)
        for (const [id, chunk] of chunks) expected.set(chunk.join(), id)
        const note = known.encode()
        assert.equal(note === undefined, chunks.size === 0)
        if (note) known = KnownChunks.parse(KEY, note)
        for (const chunk of [...first.values(), ...second.values(), another]) {
          assert.equal(found(known, chunk), expected.get(chunk.join()))
        }
      }
    }),
  )
})

test('chunks that differ in any bit, or in their length alone, have different fingerprints', () => {
  const finder = new ChunkFinder(KnownChunks.none(KEY).setUp)
  const chunk = Buffer.alloc(1000, 'chunk')
  const fingerprints = new Set([finder.fingerprintOf(chunk).toString('hex')])
  for (let at = 0; at < chunk.length; at++) {
    for (const flip of [1, 0x80]) {
      chunk[at]! ^= flip
      fingerprints.add(finder.fingerprintOf(chunk).toString('hex'))
      chunk[at]! ^= flip
    }
  }
  assert.equal(fingerprints.size, 2001)
  const zeros = Buffer.alloc(100)
  const ofZeros = new Set(Array.from(zeros, (_, length) => finder.fingerprintOf(zeros.subarray(0, length)).toString()))
  assert.equal(ofZeros.size, 100)
})

test('a fingerprint is that of its key, and says nothing to who has another one', () => {
  const known = KnownChunks.none(KEY)
  const chunk = Buffer.from('a chunk')
  noted(known, new Map([['ab'.repeat(32), chunk]]))
  assert.equal(found(KnownChunks.parse(KEY, known.encode()!), chunk), 'ab'.repeat(32))
  assert.equal(found(KnownChunks.parse(Buffer.alloc(FINGERPRINT_KEY, 8), known.encode()!), chunk), undefined)
})

test('of very many chunks those stay that were noted last', () => {
  const entry = (number: number) => {
    const bytes = Buffer.alloc(48)
    bytes.writeUInt32LE(number, 0)
    bytes.writeUInt32LE(number, 16)
    return bytes
  }
  const range = (from: number, to: number) =>
    Buffer.concat(Array.from({ length: to - from }, (_, i) => entry(from + i)))
  const first = KnownChunks.none(KEY)
  first.add(range(0, MOST_CHUNKS + 100))
  const note = first.encode()!
  assert.equal(note.length, 8 + 48 * MOST_CHUNKS)
  const second = KnownChunks.parse(KEY, note)
  second.add(range(MOST_CHUNKS, MOST_CHUNKS + 10))
  const next = second.encode()!
  assert.equal(next.length, note.length)
  const numbers = new Set(Array.from({ length: MOST_CHUNKS }, (_, i) => next.readUInt32LE(8 + 48 * i)))
  assert.equal(numbers.size, MOST_CHUNKS)
  for (const number of [0, MOST_CHUNKS - 11, MOST_CHUNKS, MOST_CHUNKS + 9]) assert.ok(numbers.has(number), `${number}`)
  for (const number of [MOST_CHUNKS - 10, MOST_CHUNKS - 1]) assert.ok(!numbers.has(number), `${number}`)
})

test('what is cut short, or no such note, is refused', () => {
  const known = KnownChunks.none(KEY)
  noted(known, new Map([['cd'.repeat(32), Buffer.from('a chunk')]]))
  const note = known.encode()!
  for (let length = 0; length < note.length; length++) {
    if (length === 8) continue // nothing is noted
    assert.throws(() => KnownChunks.parse(KEY, note.subarray(0, length)), { code: 'CORRUPT' }, `${length}`)
  }
  const another = Buffer.from(note)
  another[7]! ^= 1
  assert.throws(() => KnownChunks.parse(KEY, another), { code: 'CORRUPT' })
})
