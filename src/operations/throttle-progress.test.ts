import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OperationEvent } from './event.ts'
import { throttleProgress } from './throttle-progress.ts'

const progress = (files: number): OperationEvent => ({ type: 'progress', phase: 'archive', done: { files, bytes: 0 } })

function recorder() {
  let time = 0
  const seen: OperationEvent[] = []
  const observe = throttleProgress(
    (event) => seen.push(event),
    100,
    () => time,
  )
  return {
    seen,
    at(milliseconds: number, event: OperationEvent) {
      time = milliseconds
      observe(event)
    },
  }
}

test('progress comes at most once in the interval, everything else at once', () => {
  const { seen, at } = recorder()
  at(0, { type: 'phase', phase: 'archive' })
  at(0, progress(1))
  at(50, progress(2))
  at(99, progress(3))
  at(100, progress(4))
  at(120, { type: 'finding', finding: { severity: 'note', code: 'x', message: 'x' } })
  assert.deepEqual(
    seen.map((event) => (event.type === 'progress' ? event.done.files : event.type)),
    ['phase', 1, 4, 'finding'],
  )
})

test('the last numbers of a phase are not lost', () => {
  const { seen, at } = recorder()
  at(0, progress(1))
  at(10, progress(2))
  at(20, progress(3))
  at(30, { type: 'phase', phase: 'publish' })
  at(31, progress(1))
  assert.deepEqual(
    seen.map((event) => (event.type === 'progress' ? event.done.files : event.type)),
    [1, 3, 'phase', 1],
  )
})
