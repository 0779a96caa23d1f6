import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { openJournal, readJournal } from '../../application/journal/journal.ts'
import type { OperationEvent } from '../event.ts'
import { type RecordOptions, recordEvents } from './record-events.ts'

const SNAPSHOT = 'ab'.repeat(32)

const STARTED: OperationEvent = { type: 'started', at: new Date(), operation: 'backup', subject: 'shop' }

function finished(changes: Partial<Extract<OperationEvent, { type: 'finished' }>> = {}): OperationEvent {
  return {
    type: 'finished',
    at: new Date(),
    operation: 'backup',
    outcome: 'succeeded',
    milliseconds: 42,
    summary: { files_new: 3 },
    ...changes,
  }
}

const SAVED: OperationEvent = {
  type: 'snapshot',
  news: {
    kind: 'saved',
    record: {
      id: SNAPSHOT,
      time: new Date(1000),
      host: 'web1',
      whole: true,
      outcome: 'succeeded',
      added: 1,
      copies: [{ component: 'data', kind: 'files', files: 1, bytes: 1, outcome: 'succeeded' }],
    },
  },
}
const PROVEN: OperationEvent = {
  type: 'snapshot',
  news: { kind: 'proven', snapshot: SNAPSHOT, level: 'checked', at: new Date(2000), evidence: { operation: 'backup' } },
}

function recorder(path: string, options: Partial<RecordOptions> = {}) {
  const warnings: string[] = []
  const recorder = recordEvents(path, { ownRepository: true, warn: (message) => warnings.push(message), ...options })
  return Object.assign(recorder, { warnings })
}

test('what an operation reports is in the journal: phases and steps with their times, findings, outcome, snapshots', () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  let now = 0
  using record = recorder(path, { now: () => now })
  const say = (event: OperationEvent, took = 10) => {
    record.observe(event)
    now += took
  }
  say(STARTED)
  say({ type: 'phase', phase: 'capture', component: 'data' }, 100)
  say({ type: 'progress', phase: 'capture', done: { files: 1, bytes: 1 } })
  say({ type: 'finding', finding: { severity: 'warning', code: 'size-unusual', message: 'less' } }, 200)
  const step = { type: 'step', step: 'fetch', title: 'Fetch' } as const
  say({ ...step, state: 'begun' })
  say({ ...step, state: 'done', milliseconds: 77, result: '5 bytes' })
  say({ type: 'phase', phase: 'verify' }, 300)
  say(SAVED)
  say(PROVEN)
  say(finished())
  assert.deepEqual(record.warnings, [])
  using journal = readJournal(path)
  const [run] = journal!.runs()
  assert.deepEqual([run?.operation, run?.state, run?.milliseconds, run?.warnings], ['backup', 'succeeded', 42, 1])
  assert.deepEqual(
    journal!
      .steps(run!.id)
      .map(({ name, component, outcome, milliseconds, facts }) => [name, component, outcome, milliseconds, facts]),
    [
      ['capture', 'data', 'succeeded', 310, {}],
      ['fetch', undefined, 'succeeded', 77, { title: 'Fetch', result: '5 bytes' }],
      ['verify', undefined, 'succeeded', 320, {}],
    ],
  )
  assert.equal(journal!.findings(run!.id).length, 1)
  assert.equal(journal!.lastGood('data')?.proof?.level, 'checked')
})

test('a step is on disk before it begins, and one that was done before or is taken back says so', () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  using record = recorder(path, { now: () => 0 })
  const step = { type: 'step', step: 'fetch', title: 'Fetch' } as const
  const inJournal = () => {
    using journal = readJournal(path)
    return journal!.steps(journal!.runs()[0]!.id).map(({ name, outcome, facts }) => [name, outcome, facts.result])
  }
  record.observe(STARTED)
  record.observe({ ...step, step: 'unseal', state: 'skipped', result: 'before', milliseconds: 0 })
  record.observe({ ...step, state: 'begun' })
  const skipped = ['unseal', 'skipped', 'before']
  assert.deepEqual(inJournal(), [skipped, ['fetch', undefined, undefined]])
  record.observe({ ...step, state: 'failed', result: 'no disk', milliseconds: 5 })
  record.observe({ ...step, state: 'undone', result: 'put back', milliseconds: 5 })
  assert.deepEqual(inJournal(), [skipped, ['fetch', 'failed', 'no disk'], ['fetch', 'undone', 'put back']])
})

test('an operation that failed or was interrupted is in the journal with what it said', () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  using record = recorder(path)
  for (const outcome of ['failed', 'interrupted'] as const) {
    record.observe(STARTED)
    record.observe({ type: 'phase', phase: 'archive' })
    record.observe(finished({ outcome, summary: { error: 'no space', error_code: 'NO_SPACE' } }))
  }
  using journal = readJournal(path)
  assert.deepEqual(
    journal!.runs().map(({ id, state, summary }) => [state, summary.error, journal!.steps(id)[0]?.outcome]),
    [
      ['interrupted', 'no space', 'interrupted'],
      ['failed', 'no space', 'failed'],
    ],
  )
})

test('what was only planned or declined is not in the journal', () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  using record = recorder(path)
  for (const summary of [{ dry_run: true }, { declined: true }]) {
    record.observe(STARTED)
    record.observe(finished({ summary }))
  }
  using journal = readJournal(path)
  assert.deepEqual(journal!.runs(), [])
})

test('snapshots of another repository than that of the config are not taken for its own', () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  using record = recorder(path, { ownRepository: false })
  for (const event of [STARTED, SAVED, PROVEN, finished()]) record.observe(event)
  using journal = readJournal(path)
  assert.equal(journal!.runs().length, 1)
  assert.deepEqual([journal!.snapshots(), journal!.proof(SNAPSHOT)], [[], undefined])
})

test('an operation inside of another one is a step of it', () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  using record = recorder(path)
  for (const event of [
    { ...STARTED, operation: 'drill' },
    { ...STARTED, operation: 'restore' },
    finished({ operation: 'restore', outcome: 'incomplete' }),
    finished({ operation: 'drill' }),
  ])
    record.observe(event as OperationEvent)
  using journal = readJournal(path)
  const runs = journal!.runs()
  assert.deepEqual(
    runs.map(({ operation }) => operation),
    ['drill'],
  )
  assert.deepEqual(
    journal!.steps(runs[0]!.id).map(({ name, outcome, milliseconds }) => [name, outcome, milliseconds]),
    [['restore', 'succeeded', 42]],
  )
})

test('a journal that cannot be written is one warning, and the operation goes on', () => {
  using folder = temporaryFolder()
  writeFileSync(join(folder.path, 'file'), '')
  using record = recorder(join(folder.path, 'file', 'journal.db'))
  for (const event of [STARTED, SAVED, PROVEN, finished(), STARTED, finished()]) record.observe(event)
  assert.equal(record.warnings.length, 1)
  assert.match(record.warnings[0]!, /^Not in the journal: Cannot write the journal .*EEXIST/)
})

test('a journal that was locked when the operation began has all of it once it is free', () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  openJournal(path)[Symbol.dispose]()
  const other = new DatabaseSync(path)
  other.exec('BEGIN IMMEDIATE')
  using record = recorder(path)
  record.observe(STARTED)
  assert.equal(record.warnings.length, 1)
  other.exec('COMMIT')
  other.close()
  for (const event of [SAVED, PROVEN, finished()]) record.observe(event)
  using journal = readJournal(path)
  assert.deepEqual(
    journal!.runs().map(({ operation, state }) => [operation, state]),
    [['backup', 'succeeded']],
  )
  assert.equal(journal!.proof(SNAPSHOT)?.level, 'checked')
})

test('a journal that is damaged while an operation runs is set aside, and the run is in the new one', () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'state', 'journal.db')
  mkdirSync(join(folder.path, 'state'))
  using record = recorder(path, { now: () => 0 })
  record.observe(STARTED)
  record[Symbol.dispose]()
  writeFileSync(path, 'x'.repeat(10_000))
  for (const event of [SAVED, PROVEN, finished()]) record.observe(event)
  assert.equal(record.warnings.length, 1)
  assert.match(record.warnings[0]!, /is damaged: .* it is now .*journal\.db\.damaged-/)
  using journal = readJournal(path)
  assert.deepEqual(
    journal!.runs().map(({ operation, subject, state }) => [operation, subject, state]),
    [['backup', 'shop', 'succeeded']],
  )
  assert.ok(readdirSync(join(folder.path, 'state')).some((name) => name.includes('damaged')))
})
