import assert from 'node:assert/strict'
import { test } from 'node:test'
import { combine, type OperationEvent, sayAfter } from './event.ts'

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

test('events are held back until it is time, in their order, and for ever when that never comes', async () => {
  const seen: string[] = []
  const observe = (e: OperationEvent) => void seen.push(e.type === 'phase' ? e.phase : e.type)
  const phase = (name: string): OperationEvent => ({ type: 'phase', phase: name })
  const ready = Promise.withResolvers<void>()
  const { say, flush } = sayAfter(ready.promise, observe)
  say(phase('a'))
  say(phase('b'))
  assert.deepEqual(seen, [])
  ready.resolve()
  await ready.promise
  say(phase('c'))
  assert.deepEqual(seen, ['a', 'b', 'c'])
  flush()
  assert.deepEqual(seen, ['a', 'b', 'c'])

  const never = Promise.reject(new Error('locked'))
  const late = sayAfter(never, observe)
  await never.catch(() => {})
  late.say(phase('d'))
  assert.deepEqual(seen, ['a', 'b', 'c'])
})
