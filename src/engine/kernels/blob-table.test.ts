import assert from 'node:assert/strict'
import { hash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { type BlobTable, createBlobTable, openBlobTable } from './blob-table.ts'

function digestOf(number: number): Buffer {
  return hash('sha256', String(number), 'buffer')
}

test('the first claim of a digest gets a slot, later ones and searches find it', () => {
  const table = createBlobTable(1000)
  const slots = new Set<number>()
  for (let i = 0; i < 1000; i++) {
    const digest = digestOf(i)
    assert.equal(table.find(digest), -1)
    const slot = -1 - table.claim(digest)
    assert.ok(slot >= 0)
    assert.equal(table.claim(digest), slot)
    assert.equal(table.find(digest), slot)
    assert.deepEqual(table.digest(slot), digest)
    slots.add(slot)
  }
  assert.equal(slots.size, 1000)
  assert.equal(table.find(digestOf(1000)), -1)
})

test('a table does what a map does when it was made far too small, level by level', () => {
  const table = createBlobTable(0, 100_000)
  const model = new Map<number, number>()
  for (let i = 0; i < 60_000; i++) {
    const number = (i * 7919) % 45_000
    const digest = digestOf(number)
    const answer = table.claim(digest)
    const known = model.get(number)
    if (known === undefined) {
      assert.ok(answer < 0)
      model.set(number, -1 - answer)
    } else assert.equal(answer, known)
  }
  assert.equal(new Set(model.values()).size, 45_000)
})

test('digests that differ in one bit only, or are all the same but for the end, are told apart', () => {
  const table = createBlobTable(10_000)
  const claimed = new Set<number>()
  const digest = Buffer.alloc(32)
  claimed.add(table.claim(digest))
  for (let bit = 0; bit < 256; bit++) {
    digest[bit >> 3]! ^= 1 << (bit & 7)
    const answer = table.claim(digest)
    assert.ok(answer < 0, `bit ${bit}`)
    claimed.add(answer)
    digest[bit >> 3]! ^= 1 << (bit & 7)
  }
  assert.equal(claimed.size, 257)
  assert.ok(table.find(Buffer.alloc(32)) >= 0)
})

test('values are kept with their slot, unsigned, and seen through every table of the buffer', () => {
  const table = createBlobTable(10)
  const slot = -1 - table.claim(digestOf(1))
  const other = -1 - table.claim(digestOf(2))
  for (let index = 0; index < 8; index++) assert.equal(table.value(slot, index), 0)
  for (let index = 0; index < 8; index++) table.setValue(slot, index, 0xffffffff - index)
  const again = openBlobTable(table.buffer)
  for (let index = 0; index < 8; index++) {
    assert.equal(again.value(slot, index), 0xffffffff - index)
    assert.equal(again.value(other, index), 0)
  }
  assert.deepEqual(again.digest(slot), digestOf(1))
  assert.throws(() => table.value(slot, 8), RangeError)
  assert.throws(() => table.value(-1, 0), RangeError)
  assert.throws(() => table.setValue(2 ** 30, 0, 1), RangeError)
})

test('a digest may lie anywhere in what is given, but must lie in it', () => {
  const table = createBlobTable(10)
  const bytes = randomBytes(100)
  const slot = -1 - table.claim(bytes, 33)
  assert.equal(table.find(bytes.subarray(33)), slot)
  assert.deepEqual(table.digest(slot), Buffer.from(bytes.subarray(33, 65)))
  assert.throws(() => table.claim(bytes, 69), RangeError)
  assert.throws(() => table.claim(bytes, -1), RangeError)
})

test('a full table says so, and still finds what it has', () => {
  const table = createBlobTable(100, 100)
  let i = 0
  assert.throws(
    () => {
      for (; ; i++) table.claim(digestOf(i))
    },
    { code: 'SYSTEM' },
  )
  assert.ok(i > 700, `${i} of 1024 slots were used`)
  for (let known = 0; known < i; known++) assert.ok(table.find(digestOf(known)) >= 0)
})

test('sizes that no table can have are refused', () => {
  for (const [expected, limit] of [[-1], [Number.NaN], [10, 5], [1, 2 ** 28]] as const) {
    assert.throws(() => createBlobTable(expected, limit), RangeError)
  }
})

test('whoever waits for a thread that ended in the middle of a claim is told', (t) => {
  const table = createBlobTable(10)
  const digest = digestOf(3)
  const slot = -1 - table.claim(digest)
  // What it looks like after the claim and before the digest is there.
  const tags = new Int32Array(table.buffer)
  tags[16 + slot]! &= ~1
  t.mock.method(Atomics, 'wait', () => 'timed-out')
  assert.throws(() => table.claim(digest), { code: 'SYSTEM' })
  assert.throws(() => table.find(digest), { code: 'SYSTEM' })
})

async function claimInThreads(table: BlobTable, digests: Uint8Array, threads: number) {
  const gate = new SharedArrayBuffer(4)
  return Promise.all(
    Array.from({ length: threads }, (_, thread) => {
      const worker = new Worker(new URL('./blob-table.test-fixture.ts', import.meta.url), {
        workerData: { table: table.buffer, gate, digests, thread, threads },
      })
      return new Promise<{ claimed: number; slots: Int32Array }>((resolve, reject) => {
        worker.once('message', resolve)
        worker.once('error', reject)
      })
    }),
  )
}

for (const expected of [30_000, 0]) {
  test(`threads agree on who claimed what, in a table for ${expected}`, async () => {
    const count = 30_000
    const digests = new Uint8Array(32 * count)
    for (let i = 0; i < count; i++) digests.set(digestOf(i), 32 * i)
    for (let round = 0; round < 3; round++) {
      const table = createBlobTable(expected, 100_000)
      const answers = await claimInThreads(table, digests, 4)
      assert.equal(
        answers.reduce((sum, { claimed }) => sum + claimed, 0),
        count,
        'each digest was given to one thread',
      )
      const [first] = answers
      for (const { slots } of answers) assert.deepEqual(slots, first!.slots)
      assert.equal(new Set(first!.slots).size, count)
      const owned = new Int32Array(5)
      for (let i = 0; i < count; i++) {
        const slot = first!.slots[i]!
        assert.equal(table.value(slot, 7), i)
        owned[table.value(slot, 0)]!++
      }
      assert.deepEqual(
        [...owned.subarray(1)],
        answers.map(({ claimed }) => claimed),
      )
    }
  })
}
