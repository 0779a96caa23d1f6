// The promise: whatever a program commits while it is backed up, every copy is one whole state of its database that holds
// everything committed before the capture began. The program, another reader, and the capture are real processes.
//
// HOLDFAST_CAPTURES=5000 node --test src/application/sources/sqlite-captures.test.ts

import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { captureDatabase } from './sqlite.ts'
import { openSqliteProcess } from './sqlite-process.ts'

const CAPTURES = Number(process.env.HOLDFAST_CAPTURES ?? 500)
/** Rows that the writer keeps, so that the database does not grow. */
const ROWS = 400

const [role, database = '', mode = ''] = process.argv.slice(2)
if (role === 'writer') write(database, mode)
else if (role === 'reader') read(database)
else for (const journalMode of ['wal', 'delete']) promise(journalMode)

function promise(journalMode: string): void {
  const count = Math.ceil(CAPTURES / 2)
  test(`${count} captures in ${journalMode} mode, during commits without pause, are sound and miss nothing`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-captures-'))
    const path = join(directory, 'app.db')
    const children: ChildProcess[] = []
    try {
      children.push(await startChild('writer', path, journalMode))
      children.push(await startChild('reader', path, journalMode))
      const first = committed(path)
      const started = performance.now()
      for (let done = 0; done < count; done += 50) {
        await using sqlite = openSqliteProcess()
        for (let index = done; index < Math.min(done + 50, count); index++) {
          const before = committed(path)
          const capture = await captureDatabase(path, { workDirectory: join(directory, 'work'), sqlite })
          assert.ok(capture.kind === 'copied')
          expectWhole(capture.copy, before)
          await rm(dirname(capture.copy), { recursive: true })
        }
      }
      const commits = committed(path) - first
      assert.ok(commits > count, `the writer must have been busy, it committed ${commits} times`)
      for (const child of children) assert.equal(child.exitCode, null, 'writer and reader must have lived to the end')
      t.diagnostic(`${commits} commits, ${Math.round((performance.now() - started) / count)} ms per capture`)
    } finally {
      for (const child of children) child.kill('SIGKILL')
      rmSync(directory, { recursive: true, force: true })
    }
  })
}

function expectWhole(copy: string, before: number): void {
  const connection = new DatabaseSync(new URL(`${pathToFileURL(copy)}?immutable=1`), { readOnly: true })
  try {
    assert.deepEqual({ ...connection.prepare('PRAGMA integrity_check').get() }, { integrity_check: 'ok' })
    for (const table of ['one', 'other']) {
      const row = connection
        .prepare(`SELECT min(id) low, max(id) high, count(*) rows, count(DISTINCT version) versions FROM ${table}`)
        .get() as { low: number; high: number; rows: number; versions: number }
      assert.ok(
        row.high >= before,
        `row ${before} was committed before the capture, the last one in the copy is ${row.high}`,
      )
      assert.equal(row.low, Math.max(1, row.high - ROWS + 1), 'every row that was not deleted is there')
      assert.equal(row.rows, row.high - row.low + 1)
      assert.equal(row.versions, 1, 'a transaction is in the copy whole or not at all')
    }
    const state = connection
      .prepare('SELECT (SELECT max(id) FROM one) - (SELECT max(id) FROM other) AS difference')
      .get()
    assert.equal(state?.difference, 0)
  } finally {
    connection.close()
  }
}

async function startChild(childRole: string, path: string, journalMode: string): Promise<ChildProcess> {
  const child = fork(import.meta.filename, [childRole, path, journalMode], { execArgv: [], env: {} })
  await new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve())
    child.once('exit', (code) => reject(new Error(`the ${childRole} ended with exit code ${code}`)))
  })
  return child
}

/** ID of the last row of which the writer knew that it was committed. */
function committed(path: string): number {
  const file = openSync(`${path}.committed`, 'r')
  try {
    const bytes = Buffer.alloc(8)
    readSync(file, bytes, 0, 8, 0)
    return Number(bytes.readBigUInt64LE())
  } finally {
    closeSync(file)
  }
}

function write(path: string, journalMode: string): void {
  process.on('disconnect', () => process.exit())
  const connection = new DatabaseSync(path, { timeout: 60_000 })
  connection.exec(`PRAGMA journal_mode=${journalMode}; PRAGMA synchronous=OFF`)
  for (const table of ['one', 'other']) connection.exec(`CREATE TABLE ${table}(id INTEGER PRIMARY KEY, version, text)`)
  connection.exec('CREATE INDEX one_text ON one(text)')
  const insert = ['one', 'other'].map((table) => connection.prepare(`INSERT INTO ${table} VALUES (?, ?, ?)`))
  const remove = ['one', 'other'].map((table) => connection.prepare(`DELETE FROM ${table} WHERE id <= ?`))
  const update = ['one', 'other'].map((table) => connection.prepare(`UPDATE ${table} SET version = ?`))
  const report = openSync(`${path}.committed`, 'w')
  const bytes = Buffer.alloc(8)
  let id = 0
  let version = 0
  const commitSome = (): void => {
    const end = performance.now() + 50
    while (performance.now() < end) {
      id++
      connection.exec('BEGIN IMMEDIATE')
      for (const statement of insert) statement.run(id, version, `${id} `.repeat(40 + (id % 30)))
      for (const statement of remove) statement.run(id - ROWS)
      if (id % 20 === 0) {
        version++
        for (const statement of update) statement.run(version) // touches every page
      }
      connection.exec('COMMIT')
      bytes.writeBigUInt64LE(BigInt(id))
      writeSync(report, bytes, 0, 8, 0)
    }
    setImmediate(commitSome) // only to notice the end of the test
  }
  commitSome()
  process.send?.('ready')
}

function read(path: string): void {
  process.on('disconnect', () => process.exit())
  const connection = new DatabaseSync(path, { readOnly: true, timeout: 60_000 })
  const query = connection.prepare('SELECT count(*) FROM one WHERE text > ?')
  const readSome = (): void => {
    query.get('5')
    setTimeout(readSome, 20)
  }
  readSome()
  process.send?.('ready')
}
