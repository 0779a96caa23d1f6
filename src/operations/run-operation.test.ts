import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OperationError } from './error.ts'
import type { OperationEvent } from './event.ts'
import { runOperation } from './run-operation.ts'

function frame(signal = new AbortController().signal) {
  const events: OperationEvent[] = []
  return {
    events,
    frame: { operation: 'work', subject: 'shop', observe: (event: OperationEvent) => void events.push(event), signal },
  }
}

test('an operation is framed by its beginning and its end, with the facts of its report', async () => {
  for (const [outcome, told] of [
    ['succeeded', 'succeeded'],
    ['incomplete', 'incomplete'],
    ['failed', 'failed'],
    ['declined', 'interrupted'],
  ] as const) {
    const { events, frame: options } = frame()
    await runOperation(
      options,
      async () => ({ outcome, count: 3 }),
      ({ count }) => ({ count }),
    )
    const [started, finished] = events
    assert.deepEqual([started?.type, events.length], ['started', 2])
    assert.ok(finished?.type === 'finished')
    assert.deepEqual([finished.outcome, finished.summary], [told, { count: 3 }])
  }
})

test('what it throws ends it too, and is thrown on', async () => {
  const { events, frame: options } = frame()
  const error = new OperationError('NOTHING', 'There is nothing')
  await assert.rejects(
    runOperation(
      options,
      async () => {
        throw error
      },
      () => ({}),
    ),
    (caught) => caught === error,
  )
  const finished = events.at(-1)
  assert.ok(finished?.type === 'finished')
  assert.equal(finished.outcome, 'failed')
  assert.deepEqual(finished.summary, { error: 'There is nothing', error_code: 'NOTHING' })
})

test('an operation that was told to stop ends as interrupted', async () => {
  const { events, frame: options } = frame(AbortSignal.abort(new Error('stop')))
  await assert.rejects(
    runOperation(
      options,
      async () => {
        options.signal.throwIfAborted()
        return { outcome: 'succeeded' }
      },
      () => ({}),
    ),
  )
  const finished = events.at(-1)
  assert.equal(finished?.type === 'finished' && finished.outcome, 'interrupted')
})
