import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeIo } from '../../test/support/fake-io.ts'
import type { OperationEvent } from '../operations/event.ts'
import { printEvents } from './event-printer.ts'
import { createScreen } from './screen.ts'

const at = new Date('2026-11-01T02:00:00Z')
const events: OperationEvent[] = [
  { type: 'started', at, operation: 'backup', subject: 'devrel-integration' },
  { type: 'phase', phase: 'capture', component: 'data' },
  { type: 'progress', phase: 'capture', done: { files: 1, bytes: 1 } },
  {
    type: 'finding',
    finding: {
      severity: 'error',
      code: 'database-corrupt',
      component: 'data',
      path: '/srv/auth.db',
      message: 'integrity check failed',
      hint: 'Restore it from an older snapshot',
    },
  },
  {
    type: 'finding',
    finding: { severity: 'warning', code: 'size', message: 'Snapshot is 30% smaller than the last ones' },
  },
  { type: 'finding', finding: { severity: 'note', code: 'x', message: 'for the record' } },
  {
    type: 'finished',
    at,
    operation: 'backup',
    outcome: 'incomplete',
    milliseconds: 3400,
    summary: { snapshot_id: 'ab' },
  },
]

function print(options: { quiet?: boolean; verbose?: number }) {
  const io = fakeIo()
  const screen = createScreen(io, { json: false, quiet: options.quiet ?? false })
  const observe = printEvents(io, screen, {
    verbose: options.verbose ?? 0,
    summarise: (summary) => [`snapshot ${summary.snapshot_id}`],
  })
  for (const event of events) observe(event)
  return io
}

test('findings go to standard error, the course of things to standard output', () => {
  const io = print({})
  assert.equal(io.out(), 'backup devrel-integration\nsnapshot ab\nbackup incomplete after 3.4 s: 1 error, 1 warning\n')
  assert.equal(
    io.err(),
    'error: [data] /srv/auth.db: integrity check failed\n  hint: Restore it from an older snapshot\n' +
      'warning: Snapshot is 30% smaller than the last ones\n',
  )
})

test('verbose adds phases and notes', () => {
  assert.match(print({ verbose: 1 }).out(), /^capture data\nnote: for the record$/m)
})

test('quiet leaves errors and warnings', () => {
  const io = print({ quiet: true })
  assert.equal(io.out(), '')
  assert.match(io.err(), /^error: .*\n {2}hint: .*\nwarning: .*\n$/)
})

test('a name with a line break cannot pass for a finding of its own', () => {
  const io = fakeIo()
  const observe = printEvents(io, createScreen(io, { json: false, quiet: false }), { verbose: 0 })
  observe({
    type: 'finding',
    finding: { severity: 'warning', code: 'x', path: '/a\nerror: b', message: 'odd\nerror: fake\x1b[2J' },
  })
  assert.equal(io.err(), 'warning: /a\\nerror: b: odd\n  error: fake\\x1b[2J\n')
})

test('an operation that threw gets no summary: the error is printed by itself', () => {
  const io = fakeIo()
  using screen = createScreen(io, { json: false, quiet: false })
  const observe = printEvents(io, screen, { verbose: 0, summarise: () => assert.fail('there is nothing to summarise') })
  observe({
    type: 'finished',
    at: new Date(),
    operation: 'backup',
    outcome: 'failed',
    milliseconds: 5,
    summary: { error: 'Wrong password', error_code: 'WRONG_PASSWORD' },
  })
  assert.equal(io.out(), '')
})
