import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { text } from 'node:stream/consumers'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { asNobody } from '../../../test/equipment/as-nobody.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { type Journal, openJournal, readJournal } from './journal.ts'
import type { SnapshotRecord } from './journal-record.ts'

const WRITER = fileURLToPath(new URL('journal-writer.test-fixture.ts', import.meta.url))
const DAY = 86_400_000

function snapshot(id: string, time: number, changes: Partial<SnapshotRecord> = {}): SnapshotRecord {
  const copies = [
    { component: 'data', kind: 'files', files: 3, bytes: 300, outcome: 'succeeded' },
    { component: 'config', kind: 'files', files: 1, bytes: 10, outcome: 'succeeded' },
  ] as const
  const id64 = id.padEnd(64, '0')
  return {
    id: id64,
    time: new Date(time),
    host: 'web1',
    whole: true,
    outcome: 'succeeded',
    added: 5,
    copies,
    ...changes,
  }
}

test('a run is found again as it was written, with its steps, findings and outcome', () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'state', 'journal.db')
  {
    using journal = openJournal(path)
    const run = journal.begin('backup', 'shop', { reason: 'test' })
    const step = run.step('archive', { component: 'data', facts: { files: 3 } })
    assert.equal(journal.run(run.id)?.state, 'running')
    assert.equal(journal.steps(run.id)[0]?.outcome, undefined)
    step.finish('succeeded', { bytes: 5 })
    run.find({ severity: 'error', code: 'missing', message: 'gone', component: 'data', path: '/x', hint: 'look' })
    run.find({ severity: 'warning', code: 'size-unusual', message: 'less' })
    run.find({ severity: 'note', code: 'file-vanished', message: 'fine' })
    run.finish('incomplete', { files: 3 }, { milliseconds: 1234 })
  }
  using journal = readJournal(path)
  const [run] = journal!.runs()
  assert.match(run!.id, /^[0-9a-z]{8}$/)
  assert.deepEqual(
    [run!.operation, run!.subject, run!.state, run!.milliseconds, run!.errors, run!.warnings, run!.facts, run!.summary],
    ['backup', 'shop', 'incomplete', 1234, 1, 1, { reason: 'test' }, { files: 3 }],
  )
  const [step] = journal!.steps(run!.id)
  assert.deepEqual([step!.name, step!.component, step!.outcome], ['archive', 'data', 'succeeded'])
  assert.deepEqual(step!.facts, { files: 3, bytes: 5 })
  assert.deepEqual(
    journal!.findings(run!.id).map(({ at: _, ...finding }) => finding),
    [
      { severity: 'error', code: 'missing', message: 'gone', component: 'data', path: '/x', hint: 'look' },
      { severity: 'warning', code: 'size-unusual', message: 'less' },
      { severity: 'note', code: 'file-vanished', message: 'fine' },
    ],
  )
})

test('only its owner can read the journal, whatever the umask', () => {
  using folder = temporaryFolder()
  const before = process.umask(0)
  try {
    using journal = openJournal(join(folder.path, 'state', 'journal.db'))
    journal.begin('backup', 'shop')
    assert.equal(statSync(join(folder.path, 'state')).mode & 0o777, 0o700)
    const names = readdirSync(join(folder.path, 'state'))
    assert.ok(names.includes('journal.db-wal'))
    for (const name of names) assert.equal(statSync(join(folder.path, 'state', name)).mode & 0o777, 0o600, name)
  } finally {
    process.umask(before)
  }
})

test('runs are listed newest first, by operation, outcome, time and number', () => {
  using folder = temporaryFolder()
  using journal = openJournal(join(folder.path, 'journal.db'))
  const at = (day: number) => new Date(1_800_000_000_000 + day * DAY)
  for (const [day, operation, outcome] of [
    [1, 'backup', 'succeeded'],
    [2, 'verify', 'failed'],
    [3, 'backup', 'incomplete'],
    [4, 'drill', 'succeeded'],
    [5, 'backup', 'succeeded'],
  ] as const)
    journal.begin(operation, 'shop', { day }, at(day)).finish(outcome)
  const days = (...filter: Parameters<Journal['runs']>) => journal.runs(...filter).map(({ facts }) => facts.day)
  assert.deepEqual(days(), [5, 4, 3, 2, 1])
  assert.deepEqual(days({ limit: 2 }), [5, 4])
  assert.deepEqual(days({ operation: 'backup', limit: 2 }), [5, 3])
  assert.deepEqual(days({ operation: ['verify', 'drill'] }), [4, 2])
  assert.deepEqual(days({ state: ['failed', 'incomplete'] }), [3, 2])
  assert.deepEqual(days({ since: at(2), before: at(4) }), [3, 2])
})

test('two runs of the same millisecond are two runs', () => {
  using folder = temporaryFolder()
  using journal = openJournal(join(folder.path, 'journal.db'))
  const at = new Date()
  const ids = [1, 2, 3].map(() => journal.begin('backup', 'shop', {}, at).id)
  assert.equal(new Set(ids).size, 3)
})

test('a run whose process was killed is an interrupted one, and shows where it stopped', async () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  const source = `
    import { openJournal } from ${JSON.stringify(new URL('journal.ts', import.meta.url).href)}
    const run = openJournal(${JSON.stringify(path)}).begin('recover', 'shop', { target: '/' })
    run.step('fetch').finish('succeeded', { bytes: 7 })
    run.step('unseal')
    process.kill(process.pid, 'SIGKILL')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  await new Promise((resolve) => child.once('exit', resolve))
  using journal = openJournal(path)
  const [killed] = journal.runs({ operation: 'recover', state: 'interrupted' })
  assert.deepEqual([killed?.finished, killed?.facts], [undefined, { target: '/' }])
  assert.deepEqual(
    journal.steps(killed!.id).map(({ name, outcome, facts }) => [name, outcome, facts]),
    [
      ['fetch', 'succeeded', { bytes: 7 }],
      ['unseal', undefined, {}],
    ],
  )
})

test('the last good copy of a component is the newest whole one of a snapshot that is there and not damaged', () => {
  using folder = temporaryFolder()
  using journal = openJournal(join(folder.path, 'journal.db'))
  assert.equal(journal.lastGood('data'), undefined)
  const torn = [{ component: 'data', kind: 'files', files: 1, bytes: 1, outcome: 'incomplete' }] as const
  const records = [
    snapshot('aa', 1 * DAY),
    snapshot('bb', 2 * DAY),
    snapshot('cc', 3 * DAY, { outcome: 'incomplete', copies: torn }),
    snapshot('dd', 4 * DAY, { whole: false, copies: [snapshot('', 0).copies[1]!] }),
  ]
  for (const record of records) journal.saveSnapshot(record)
  const [aa, bb, , dd] = records.map(({ id }) => id) as [string, string, string, string]
  assert.equal(journal.lastGood('data')?.snapshot, bb)
  assert.equal(journal.lastGood('config')?.snapshot, dd)
  journal.setDamage(bb, new Date(5 * DAY), { operation: 'verify' })
  assert.equal(journal.lastGood('data')?.snapshot, aa)
  journal.setProof(bb, 'checked', new Date(4 * DAY))
  assert.equal(journal.lastGood('data')?.snapshot, aa, 'an older proof does not outweigh the damage')
  journal.setProof(bb, 'checked', new Date(6 * DAY))
  assert.equal(journal.lastGood('data')?.snapshot, bb)
  journal.forgetSnapshots([bb])
  assert.equal(journal.lastGood('data')?.snapshot, aa)
  assert.deepEqual(
    journal.snapshots().map(({ id }) => id.slice(0, 2)),
    ['aa', 'cc', 'dd'],
  )
})

test('the proof of a snapshot is the strongest of those that were given, each as it was given last', () => {
  using folder = temporaryFolder()
  using journal = openJournal(join(folder.path, 'journal.db'))
  const id = 'aa'.padEnd(64, '0')
  assert.equal(journal.proof(id), undefined)
  journal.setProof(id, 'opened', new Date(2000), { databases: 1 })
  journal.setProof(id, 'checked', new Date(3000))
  assert.deepEqual(journal.proof(id), { snapshot: id, level: 'opened', at: new Date(2000), evidence: { databases: 1 } })
  journal.setProof(id, 'opened', new Date(1000), { databases: 9 })
  assert.deepEqual(journal.proof(id)?.evidence, { databases: 1 })
  assert.deepEqual(
    journal.proofs(id).map(({ level }) => level),
    ['checked', 'opened'],
  )
  const other = 'bb'.padEnd(64, '0')
  journal.saveSnapshot(snapshot('aa', 1))
  journal.renameSnapshot(id, other)
  assert.equal(journal.proof(other)?.level, 'opened')
  assert.equal(journal.lastGood('data')?.snapshot, other)
})

test('several processes write into one journal at the same time, and nothing of any is lost', async () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  const outputs = await Promise.all(
    [1, 2, 3].map(async () => {
      const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', WRITER, path, '20'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      return text(child.stdout)
    }),
  )
  const written = outputs.flatMap((output) => output.trim().split('\n'))
  assert.equal(new Set(written).size, 60)
  using journal = readJournal(path)
  assert.deepEqual(new Set(journal!.runs().map(({ id }) => id)), new Set(written))
  assert.ok(journal!.runs().every(({ id, state }) => state === 'succeeded' && journal!.steps(id).length === 1))
})

const DAMAGES: Readonly<Record<string, (path: string) => void>> = {
  'is no database': (path) => writeFileSync(path, 'not a database, whatever its name says '.repeat(100)),
  'has a torn page': (path) => {
    const bytes = readFileSync(path)
    bytes.fill(0xff, 4096, 3 * 4096)
    writeFileSync(path, bytes)
  },
  'is cut off': (path) => truncateSync(path, 6000),
}

for (const [what, damage] of Object.entries(DAMAGES)) {
  test(`a journal that ${what} is set aside and a new one begun`, () => {
    using folder = temporaryFolder()
    const path = join(folder.path, 'journal.db')
    {
      using journal = openJournal(path)
      for (let i = 0; i < 50; i++) journal.begin('backup', 'x'.repeat(200)).finish('succeeded')
    }
    damage(path)
    assert.throws(() => readJournal(path), { code: 'JOURNAL_DAMAGED', message: /is damaged/ })
    const damaged = readFileSync(path)
    const asides: string[] = []
    using journal = openJournal(path, { onSetAside: (_, aside) => asides.push(aside) })
    assert.deepEqual(journal.runs(), [])
    assert.equal(journal.lacksPast, true)
    journal.begin('backup', 'shop').finish('succeeded')
    assert.equal(asides.length, 1)
    assert.match(asides[0]!, /journal\.db\.damaged-\d{8}-\d{6}$/)
    assert.deepEqual(readFileSync(asides[0]!), damaged)
  })
}

test('an empty file is a new journal', () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  writeFileSync(path, '')
  using journal = openJournal(path, { onSetAside: () => assert.fail() })
  assert.deepEqual(journal.runs(), [])
})

test('a journal that a later version wrote is left alone', () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  openJournal(path)[Symbol.dispose]()
  const later = new DatabaseSync(path)
  later.exec('PRAGMA user_version = 99')
  later.close()
  for (const open of [openJournal, readJournal])
    assert.throws(() => open(path), { code: 'JOURNAL', message: /later Holdfast|version 99/ })
  assert.ok(readdirSync(folder.path).every((name) => !name.includes('damaged')))
})

test('a journal that is locked, or in a folder that cannot be written to, is an error with a hint', {
  skip: process.getuid?.() !== 0 && 'needs root',
}, async () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  openJournal(path)[Symbol.dispose]()
  {
    const other = new DatabaseSync(path)
    other.exec('PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE')
    assert.throws(
      () => openJournal(path),
      (error: { code: string; hint: string; facts: { busy: boolean } }) => {
        assert.deepEqual([error.code, error.facts.busy], ['JOURNAL', true])
        assert.match(error.hint, /Another process/)
        return true
      },
    )
    other.close()
  }
  chmodSync(folder.path, 0o755)
  await asNobody(async () => {
    assert.throws(() => openJournal(path), { code: 'JOURNAL' })
    assert.throws(() => openJournal(join(folder.path, 'state', 'journal.db')), { code: 'JOURNAL' })
  })
})

test('a journal on read-only media can be read', { skip: process.getuid?.() !== 0 && 'needs root' }, async () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'media', 'journal.db')
  {
    using journal = openJournal(path)
    journal.begin('backup', 'shop').finish('succeeded')
  }
  chmodSync(path, 0o444)
  chmodSync(join(folder.path, 'media'), 0o555)
  chmodSync(folder.path, 0o755)
  await asNobody(async () => {
    using journal = readJournal(path)
    assert.equal(journal?.runs().length, 1)
  })
  assert.deepEqual(readdirSync(join(folder.path, 'media')), ['journal.db'])
  chmodSync(join(folder.path, 'media'), 0o755)
})

test('there is no journal to read where none was written', () => {
  using folder = temporaryFolder()
  assert.equal(readJournal(join(folder.path, 'no', 'journal.db')), undefined)
})

test('a copy holds what was there at one moment, also while others write, and is one file', async () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  using journal = openJournal(path)
  journal.begin('backup', 'first').finish('succeeded')
  mkdirSync(join(folder.path, 'out'))
  const copy = join(folder.path, 'out', 'copy.db')
  await journal.copyTo(copy)
  journal.begin('backup', 'second').finish('succeeded')
  assert.deepEqual(readdirSync(join(folder.path, 'out')), ['copy.db'])
  assert.equal(statSync(copy).mode & 0o777, 0o600)
  using read = readJournal(copy)
  assert.deepEqual(
    read!.runs().map(({ subject }) => subject),
    ['first'],
  )
})

test('most pages of the journal stay as they were when a run is added', async () => {
  using folder = temporaryFolder()
  const path = join(folder.path, 'journal.db')
  using journal = openJournal(path)
  const write = (number: number) => {
    const at = new Date(1_800_000_000_000 + number * DAY)
    const run = journal.begin('backup', 'shop', {}, at)
    for (const name of ['capture', 'archive', 'seal', 'publish', 'verify']) run.step(name, { at }).finish('succeeded')
    journal.saveSnapshot(snapshot(number.toString(16).padStart(8, '0'), at.getTime()))
    journal.setProof(snapshot(number.toString(16).padStart(8, '0'), 0).id, 'checked', at)
    run.finish('succeeded', { data_added: number, files_new: 3 })
  }
  journal.transaction(() => {
    for (let number = 0; number < 300; number++) write(number)
  })
  await journal.copyTo(join(folder.path, 'before'))
  write(300)
  await journal.copyTo(join(folder.path, 'after'))
  const pages = (name: string) => {
    const bytes = readFileSync(join(folder.path, name))
    return Array.from({ length: bytes.length / 4096 }, (_, page) =>
      bytes.toString('hex', page * 4096, (page + 1) * 4096),
    )
  }
  const before = new Set(pages('before'))
  const changed = pages('after').filter((page) => !before.has(page))
  assert.ok(before.size > 60, `${before.size} pages`)
  assert.ok(changed.length <= 20, `${changed.length} of ${before.size} pages changed`)
})

test('what succeeded long ago loses its details, routine of years ago is dropped, a drill stays', () => {
  using folder = temporaryFolder()
  let now = new Date(1_800_000_000_000)
  using journal = openJournal(join(folder.path, 'journal.db'), { now: () => now })
  for (const [operation, outcome] of [
    ['backup', 'succeeded'],
    ['backup', 'failed'],
    ['drill', 'succeeded'],
  ] as const) {
    const run = journal.begin(operation, 'shop')
    run.step('work').finish(outcome)
    run.finish(outcome)
  }
  const state = () => journal.runs().map(({ id, operation, state }) => [operation, state, journal.steps(id).length])
  now = new Date(now.getTime() + 100 * DAY)
  journal.tidy()
  assert.deepEqual(state(), [
    ['drill', 'succeeded', 0],
    ['backup', 'failed', 1],
    ['backup', 'succeeded', 0],
  ])
  now = new Date(now.getTime() + 700 * DAY)
  journal.tidy()
  assert.deepEqual(state(), [['drill', 'succeeded', 0]])
})

test('of endless findings a thousand are kept, and all are counted', () => {
  using folder = temporaryFolder()
  using journal = openJournal(join(folder.path, 'journal.db'))
  const run = journal.begin('check', 'shop')
  journal.transaction(() => {
    for (let i = 0; i < 1500; i++) run.find({ severity: 'error', code: 'pack-missing', message: `${i}` })
  })
  run.finish('failed')
  assert.equal(journal.runs()[0]?.errors, 1500)
  assert.equal(journal.findings(run.id).length, 1000)
})

test('runs, steps and findings of another journal are taken over once', () => {
  using folder = temporaryFolder()
  using other = openJournal(join(folder.path, 'other.db'))
  const run = other.begin('drill', 'shop', { snapshot: 'aa' })
  run.step('restore').finish('succeeded')
  run.find({ severity: 'note', code: 'x', message: 'y' })
  run.finish('succeeded', { total: 1 })
  using journal = openJournal(join(folder.path, 'journal.db'))
  for (let i = 0; i < 2; i++)
    for (const record of other.runs()) journal.adoptRun(record, other.steps(record.id), other.findings(record.id))
  assert.deepEqual(journal.runs(), other.runs())
  assert.deepEqual(journal.steps(run.id), other.steps(run.id))
  assert.deepEqual(journal.findings(run.id), other.findings(run.id))
})
