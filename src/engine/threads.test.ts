import assert from 'node:assert/strict'
import { test } from 'node:test'
import { JobThreads } from './threads.ts'

const PROGRAM = new URL('./threads.test-fixture.ts', import.meta.url)

function slowThreads(count: number) {
  const setUp = new SharedArrayBuffer(12)
  const counts = new Int32Array(setUp)
  const threads = new JobThreads<number, number>({ program: PROGRAM, setUp, count })
  return { threads, begun: () => counts[0]!, ended: () => counts[2]! }
}

test('jobs are answered by whoever has least to do', async () => {
  const { threads, ended } = slowThreads(2)
  await using _ = threads
  assert.deepEqual(await Promise.all([1, 2, 3, 4].map((job) => threads.run(job))), [1, 2, 3, 4])
  assert.equal(ended(), 4)
})

test('threads that are ended finish what they have begun, and begin nothing that waits', async () => {
  const { threads, begun, ended } = slowThreads(1)
  await threads.run(0)
  const waiting = Array.from({ length: 20 }, () => threads.run(300))
  const outcomes = Promise.allSettled(waiting)
  while (begun() < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  await threads[Symbol.asyncDispose]()
  assert.equal(begun(), ended())
  assert.ok(begun() <= 3, `${begun()} were begun`)
  for (const outcome of await outcomes)
    assert.equal(outcome.status === 'rejected' && outcome.reason.code, 'INTERRUPTED')
  await assert.rejects(threads.run(1), { code: 'INTERRUPTED' })
})

test('threads that are ended while they start leave nothing running', async () => {
  for (const milliseconds of [0, 20, 60, 120]) {
    const { threads, begun, ended } = slowThreads(2)
    threads.run(1).catch(() => {})
    await new Promise((resolve) => setTimeout(resolve, milliseconds))
    await threads[Symbol.asyncDispose]()
    assert.equal(begun(), ended())
  }
})
