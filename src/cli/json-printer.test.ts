import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeIo } from '../../test/support/fake-io.ts'
import { printJsonEvents } from './json-printer.ts'
import { createScreen } from './screen.ts'

test('each event is one line with a message_type; status at most once a second', () => {
  const io = fakeIo()
  const observe = printJsonEvents(io, createScreen(io, { json: true, quiet: false }))
  observe({ type: 'started', at: io.now(), operation: 'backup', subject: 'app' })
  observe({ type: 'phase', phase: 'archive' })
  for (let i = 1; i <= 30; i++) {
    io.advance(100)
    observe({
      type: 'progress',
      phase: 'archive',
      done: { files: i, bytes: i * 10 },
      total: { files: 40, bytes: 400 },
      current: '/a\n',
    })
  }
  observe({ type: 'finding', finding: { severity: 'note', code: 'x', message: 'm' } })
  observe({
    type: 'finished',
    at: io.now(),
    operation: 'backup',
    outcome: 'succeeded',
    milliseconds: 3000,
    summary: { snapshot_id: 'ab', message_type: 'forged', outcome: 'forged', data_added: 5n },
  })
  const messages = io.messages()
  assert.deepEqual(
    messages.map(({ message_type }) => message_type),
    ['started', 'phase', 'status', 'status', 'status', 'status', 'finding', 'summary'],
  )
  assert.deepEqual(messages[0], {
    message_type: 'started',
    time: '2026-11-01T02:00:00.000Z',
    operation: 'backup',
    subject: 'app',
  })
  assert.deepEqual(messages[5], {
    message_type: 'status',
    phase: 'archive',
    seconds_elapsed: 3,
    percent_done: 0.75,
    files_done: 30,
    bytes_done: 300,
    total_files: 40,
    total_bytes: 400,
    current_files: ['/a\n'],
  })
  assert.deepEqual(messages[7], {
    snapshot_id: 'ab',
    message_type: 'summary',
    data_added: 5,
    operation: 'backup',
    outcome: 'succeeded',
    time: '2026-11-01T02:00:03.000Z',
    total_duration: 3,
  })
  assert.equal(io.err(), '')
})
