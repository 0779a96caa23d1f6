import assert from 'node:assert/strict'
import { test } from 'node:test'
import { combine, type OperationEvent } from './event.ts'

const event: OperationEvent = { type: 'phase', phase: 'survey' }

test('every observer sees every event, in the order given', () => {
  const seen: string[] = []
  combine(
    (e) => seen.push(`a ${e.type}`),
    (e) => seen.push(`b ${e.type}`),
  )(event)
  assert.deepEqual(seen, ['a phase', 'b phase'])
})

test('an observer that throws does not blind the others, and its error is thrown on', () => {
  const seen: string[] = []
  const observe = combine(
    () => {
      throw new Error('first')
    },
    () => seen.push('second'),
    () => {
      throw new Error('third')
    },
  )
  assert.throws(() => observe(event), { message: 'first' })
  assert.deepEqual(seen, ['second'])
})
