import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, test } from 'node:test'
import type { TableComparison } from './compare-tables.ts'
import { type DatabaseTrouble, diagnoseDatabase } from './diagnose-database.ts'
import { type RecoveredDatabase, recoverDatabase } from './recover-database.ts'
import { latin1, openSqliteProcess } from './sqlite-process.ts'

const base = mkdtempSync(join(tmpdir(), 'holdfast-recover-'))
after(() => rmSync(base, { recursive: true, force: true }))

const { signal } = new AbortController()
const PAGE = 4096
const healthy = join(base, 'healthy.db')
const snapshot = join(base, 'snapshot.db')
/** Root pages by name. */
const roots: Record<string, number> = {}

before(() => {
  const database = new DatabaseSync(healthy)
  database.exec(`
    CREATE TABLE events (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
    CREATE INDEX events_text ON events (text);
    CREATE TABLE users (name TEXT PRIMARY KEY, mail TEXT) WITHOUT ROWID;
    CREATE TABLE scratch (filler BLOB);
    CREATE VIEW long_events AS SELECT * FROM events WHERE length(text) > 100;
  `)
  const add = (from: number, to: number) => {
    database.exec('BEGIN')
    const insert = database.prepare('INSERT INTO events VALUES (?, ?)')
    for (let id = from; id <= to; id++) insert.run(id, `event ${id} ${'x'.repeat(100)}`)
    database.exec('COMMIT')
  }
  add(1, 3000)
  const user = database.prepare('INSERT INTO users VALUES (?, ?)')
  for (let i = 0; i < 50; i++) user.run(`user${i}`, `user${i}@example.com`)
  copyFileSync(healthy, snapshot)
  add(3001, 3100)
  database.exec('INSERT INTO scratch VALUES (zeroblob(200000)); DELETE FROM scratch')
  for (const { name, rootpage } of database.prepare('SELECT name, rootpage FROM sqlite_schema').all()) {
    roots[String(name)] = Number(rootpage)
  }
  database.close()
})

interface Outcome {
  readonly trouble: DatabaseTrouble
  readonly seen: string
  readonly recovered: RecoveredDatabase | undefined
  readonly events: TableComparison | undefined
  readonly users: TableComparison | undefined
}

/** Debian's sqlite3 is built without what `.recover` needs. */
const canRecover = () =>
  spawnSync('sqlite3', [healthy, '.recover'], { encoding: 'utf8' }).stdout?.includes('INSERT') === true

let cases = 0

/** Damages a copy of the healthy database, then diagnoses and recovers it. The damaged file must not change. */
async function outcomeOf(damage: (bytes: Buffer) => Buffer, program?: string): Promise<Outcome> {
  const folder = mkdtempSync(join(base, `case-${cases++}-`))
  const path = join(folder, 'damaged.db')
  const bytes = damage(Buffer.from(readFileSync(healthy)))
  writeFileSync(path, bytes)
  await using sqlite = openSqliteProcess()
  const diagnosis = await diagnoseDatabase(path, sqlite, signal)
  const recovered = await recoverDatabase(path, diagnosis, {
    folder,
    snapshot,
    sqlite,
    signal,
    ...(program && { program }),
  })
  const tables =
    recovered === undefined
      ? []
      : await sqlite.run({ kind: 'compare', path: latin1(snapshot), other: latin1(recovered.path) }, signal)
  const of = (name: string) => tables.find(({ table }) => table === name)
  return { trouble: diagnosis.trouble, seen: diagnosis.seen, recovered, events: of('events'), users: of('users') }
}

const fill = (bytes: Buffer, page: number, count = 1) => bytes.fill(0xa5, (page - 1) * PAGE, (page - 1 + count) * PAGE)
const all = { before: 3000, after: 3100, onlyBefore: 0, onlyAfter: 100 }

function assertAll({ events, users }: Outcome): void {
  assert.deepEqual(events, { table: 'events', ...all })
  assert.deepEqual(users, { table: 'users', before: 50, after: 50, onlyBefore: 0, onlyAfter: 0 })
}

describe('a damaged database', () => {
  test('that is sound is called so', async () => {
    assert.equal((await outcomeOf((bytes) => bytes)).trouble, 'sound')
  })

  test('whose header is destroyed gets another, and every row is back', async () => {
    const outcome = await outcomeOf((bytes) => {
      bytes.fill(0xff, 0, 100)
      return bytes
    })
    assert.deepEqual([outcome.trouble, outcome.recovered?.way], ['header', 'header'])
    assertAll(outcome)
  })

  test('whose header names another page size gets the right one, and every row is back', async () => {
    for (const wrong of [512, 16_384, 1234]) {
      const outcome = await outcomeOf((bytes) => {
        bytes.writeUInt16BE(wrong, 16)
        return bytes
      })
      assert.deepEqual([outcome.trouble, outcome.recovered?.way], ['page-size', 'header'], String(wrong))
      assertAll(outcome)
    }
  })

  test('of which only an index is damaged loses no row', async () => {
    const outcome = await outcomeOf((bytes) => {
      fill(bytes, roots.events_text!)
      return bytes
    })
    assert.deepEqual([outcome.trouble, outcome.recovered?.way], ['index', 'reindex'], outcome.seen)
    assertAll(outcome)
  })

  test('of which only the list of free pages is damaged loses no row', async () => {
    const outcome = await outcomeOf((bytes) => {
      bytes.writeUInt32BE(bytes.readUInt32BE(36) + 7, 36)
      return bytes
    })
    assert.deepEqual([outcome.trouble, outcome.recovered?.way], ['freelist', 'vacuum'])
    assertAll(outcome)
  })

  for (const program of ['sqlite3', 'no-such-sqlite3']) {
    const way = () => (program === 'sqlite3' && canRecover() ? 'sqlite3 .recover' : 'built-in salvage')
    const how = program === 'sqlite3' ? 'with what sqlite3 can do' : 'without sqlite3'

    test(`with a damaged inner page loses no row: its leaves are found (${how})`, async () => {
      const outcome = await outcomeOf((bytes) => {
        fill(bytes, roots.events!)
        return bytes
      }, program)
      assert.deepEqual([outcome.trouble, outcome.recovered?.way], ['pages', way()])
      if (way() === 'built-in salvage') assertAll(outcome)
    })

    test(`with damaged leaves loses the rows of those, and says how many (${how})`, async () => {
      const outcome = await outcomeOf((bytes) => {
        for (const page of leavesOfEvents(bytes).slice(10, 14)) fill(bytes, page)
        return bytes
      }, program)
      assert.deepEqual([outcome.trouble, outcome.recovered?.way], ['pages', way()])
      const { after, onlyBefore, onlyAfter } = outcome.events!
      assert.equal(after! + onlyBefore, 3100)
      assert.ok(onlyBefore > 50 && onlyBefore < 300, `${onlyBefore} rows are lost`)
      assert.equal(onlyAfter, 100, 'rows that are newer than the snapshot are back')
    })

    test(`that was cut short keeps what is before the cut (${how})`, async () => {
      const outcome = await outcomeOf((bytes) => bytes.subarray(0, Math.floor(bytes.length / PAGE / 3) * PAGE), program)
      assert.deepEqual([outcome.trouble, outcome.recovered?.way], ['truncated', way()])
      assert.ok(outcome.events!.after! > 100 && outcome.events!.after! < 3000, String(outcome.events!.after))
    })
  }

  test('whose middle was overwritten keeps the rest', async () => {
    const outcome = await outcomeOf((bytes) => {
      const middle = Math.floor(bytes.length / PAGE / 2)
      fill(bytes, middle, 5)
      return bytes
    })
    assert.equal(outcome.trouble, 'pages')
    assert.ok(outcome.events!.after! > 2000)
  })

  test('in whose place are zeros, nothing or another file has nothing to recover', async () => {
    const cases: readonly (readonly [DatabaseTrouble, (bytes: Buffer) => Buffer])[] = [
      ['zeroed', (bytes) => Buffer.alloc(bytes.length)],
      ['empty', () => Buffer.alloc(0)],
      ['another-file', () => Buffer.from('#!/bin/sh\necho not a database\n'.repeat(500))],
      ['another-file', () => Buffer.from(Array.from({ length: 40_960 }, (_, i) => (i * 2654435761) >>> 24))],
    ]
    for (const [trouble, damage] of cases) {
      const outcome = await outcomeOf(damage)
      assert.deepEqual([outcome.trouble, outcome.recovered], [trouble, undefined])
    }
  })

  test('that lost its log is sound, and lacks what was in it', async () => {
    const folder = mkdtempSync(join(base, 'wal-'))
    const live = join(folder, 'live.db')
    copyFileSync(healthy, live)
    const writer = new DatabaseSync(live)
    writer.exec(
      "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; INSERT INTO events VALUES (5000, 'in the log')",
    )
    const damaged = join(folder, 'damaged.db')
    copyFileSync(live, damaged)
    const later = join(folder, 'snapshot.db')
    writer.prepare('VACUUM INTO ?').run(later)
    writer.close()
    await using sqlite = openSqliteProcess()
    const { trouble, journalMode } = await diagnoseDatabase(damaged, sqlite, signal)
    assert.deepEqual([trouble, journalMode], ['sound', 'wal'])
    const [events] = await sqlite.run({ kind: 'compare', path: latin1(later), other: latin1(damaged) }, signal)
    assert.deepEqual([events?.onlyBefore, events?.onlyAfter], [1, 0])
  })
})

/** Leaf pages of tables, in the order of the file. */
function leavesOfEvents(bytes: Buffer): number[] {
  const leaves: number[] = []
  for (let page = 2; page <= bytes.length / PAGE; page++) {
    const start = (page - 1) * PAGE
    if (bytes[start] === 13 && bytes.subarray(start, start + PAGE).includes('event ')) leaves.push(page)
  }
  return leaves
}
