import assert from 'node:assert/strict'
import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { ApplicationError } from '../error.ts'
import type { DatabaseRecord } from './capture.ts'
import { readDatabaseState } from './database-state.ts'
import { captureDatabase, type DatabaseCapture, type DatabaseCaptureOptions, verifyDatabase } from './sqlite.ts'
import { type DatabaseRequest, openSqliteProcess, type SqliteProcess } from './sqlite-process.ts'

/** A clock that is ahead, so that what was written a moment ago counts as old: the tests need not wait. */
const later = (): bigint => BigInt(Date.now() + 10_000) * 1_000_000n

interface Place {
  readonly data: string
  readonly path: string
  readonly options: DatabaseCaptureOptions
}

function place(t: TestContext): Place {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-sqlite-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const data = join(directory, 'data')
  mkdirSync(data)
  return { data, path: join(data, 'app.db'), options: { workDirectory: join(directory, 'work'), now: later } }
}

function create(path: string, sql: string): void {
  const connection = new DatabaseSync(path)
  connection.exec(sql)
  connection.close()
}

/** What an application does in a process of its own; it stays, with its connection, until it is killed. */
async function program(t: TestContext, path: string, sql: string): Promise<ChildProcess> {
  const child = fork(import.meta.filename, ['program', path, sql], { execArgv: [], env: {} })
  t.after(() => child.kill('SIGKILL'))
  await once(child, 'message')
  return child
}

async function crash(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  await once(child, 'exit')
}

async function quit(child: ChildProcess): Promise<void> {
  child.disconnect()
  await once(child, 'exit')
}

function rows(path: string, sql = 'SELECT x FROM t ORDER BY rowid'): unknown[] {
  const connection = new DatabaseSync(new URL(`${pathToFileURL(path)}?immutable=1`), { readOnly: true })
  try {
    return connection
      .prepare(sql)
      .all()
      .map((row) => Object.values(row)[0])
  } finally {
    connection.close()
  }
}

function contents(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder)
      .sort()
      .map((name) => [name, readFileSync(join(folder, name)).toString('base64')]),
  )
}

function expectCopy(capture: DatabaseCapture): asserts capture is DatabaseCapture & { kind: 'copied' } {
  assert.equal(capture.kind, 'copied', JSON.stringify(capture.findings))
}

const WAL = 'PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1), (2)'
const ROLLBACK = 'CREATE TABLE t(x); INSERT INTO t VALUES (1), (2)'

function promises(): void {
  test('a copy has the rows and the page layout, and only we can read it', async (t) => {
    const { path, options } = place(t)
    create(path, ROLLBACK)
    const before = contents(dirname(path))
    const capture = await captureDatabase(path, options)
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2])
    assert.equal(statSync(capture.copy).mode & 0o777, 0o600)
    assert.equal(statSync(dirname(capture.copy)).mode & 0o777, 0o700)
    assert.equal(statSync(options.workDirectory).mode & 0o777, 0o700)
    assert.deepEqual(readdirSync(dirname(capture.copy)), ['copy.db'])
    const [live, copy] = [readFileSync(path), readFileSync(capture.copy)]
    for (const field of [24, 40, 92]) copy.copy(live, field, field, field + 4) // change counter, schema cookie
    assert.deepEqual(copy, live)
    assert.deepEqual(contents(dirname(path)), before)
    assert.deepEqual(capture.findings, [])
    const { fingerprint, capturedAt, ...facts } = capture.record
    assert.deepEqual(facts, { path, bytes: live.length, journalMode: 'rollback', pageSize: 4096, integrity: 'ok' })
  })

  test('what an application has committed to the log only is in the copy, what it has not is not', async (t) => {
    const { path, options } = place(t)
    await program(t, path, `PRAGMA wal_autocheckpoint=0; ${WAL}; BEGIN; INSERT INTO t VALUES (3)`)
    const capture = await captureDatabase(path, options)
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2])
    assert.equal(capture.record.journalMode, 'wal')
    assert.deepEqual(readdirSync(dirname(path)), ['app.db', 'app.db-shm', 'app.db-wal'])
  })

  test('a WAL database that nobody has open is copied without a trace beside it', async (t) => {
    const { path, options } = place(t)
    create(path, WAL)
    const before = contents(dirname(path))
    assert.deepEqual(Object.keys(before), ['app.db'])
    const capture = await captureDatabase(path, options)
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2])
    assert.deepEqual(contents(dirname(path)), before)
    assert.deepEqual(capture.findings, [])
  })

  test('a WAL database that was written a moment ago is given the time to show whether it is at rest', async (t) => {
    const { path, options } = place(t)
    create(path, WAL)
    const started = performance.now()
    const capture = await captureDatabase(path, { workDirectory: options.workDirectory })
    expectCopy(capture)
    assert.ok(performance.now() - started > 1500)
    assert.deepEqual(readdirSync(dirname(path)), ['app.db'])
  })

  test('a WAL database that never rests is copied under locks, and no file stays beside it', async (t) => {
    const { path, options } = place(t)
    create(path, WAL)
    let moment = 0n
    // Each look finds a write that is a moment old, as with a program that opens the database for every request.
    const now = (): bigint => {
      writeFileSync(path, readFileSync(path))
      moment++
      return statSync(path, { bigint: true }).mtimeNs + RACY_MARGIN + moment
    }
    const capture = await captureDatabase(path, { workDirectory: options.workDirectory, now })
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2])
    assert.deepEqual(readdirSync(dirname(path)), ['app.db'])
  })

  test('the log of a crashed application is in the copy, and the live files stay as they are', async (t) => {
    const { path, options } = place(t)
    await crash(await program(t, path, `PRAGMA wal_autocheckpoint=0; ${WAL}`))
    const before = contents(dirname(path))
    assert.deepEqual(Object.keys(before), ['app.db', 'app.db-shm', 'app.db-wal'])
    const capture = await captureDatabase(path, options)
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2])
    const after = contents(dirname(path))
    assert.deepEqual(Object.keys(after), Object.keys(before))
    for (const name of ['app.db', 'app.db-wal']) assert.equal(after[name], before[name])
  })

  test('a log without its -shm is in the copy, and no -shm appears', async (t) => {
    const { path, options } = place(t)
    await crash(await program(t, path, `PRAGMA wal_autocheckpoint=0; ${WAL}`))
    rmSync(`${path}-shm`)
    const before = contents(dirname(path))
    const capture = await captureDatabase(path, options)
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2])
    assert.deepEqual(contents(dirname(path)), before)
    assert.deepEqual(readdirSync(dirname(capture.copy)), ['copy.db'])
    assert.deepEqual(
      capture.findings.map(({ code }) => code),
      ['database-recovered'],
    )
  })

  test('a log beside a database that is in rollback mode stays as it lies', async (t) => {
    const { path, data, options } = place(t)
    create(path, 'CREATE TABLE t (a); INSERT INTO t VALUES (1)')
    writeFileSync(`${path}-wal`, 'of another database')
    const capture = await captureDatabase(path, options)
    assert.equal(capture.kind, 'copied')
    assert.deepEqual(readdirSync(data).sort(), ['app.db', 'app.db-wal'])
    assert.equal(readFileSync(`${path}-wal`, 'utf8'), 'of another database')
  })

  test('a hot journal is rolled back in the copy, and left to the application in the live folder', async (t) => {
    const { path, options } = place(t)
    create(path, `${ROLLBACK}; CREATE TABLE filler AS SELECT randomblob(90000) AS y`)
    const half = 'PRAGMA cache_size=2; BEGIN; DELETE FROM t; UPDATE filler SET y = randomblob(90000)'
    await crash(await program(t, path, half))
    const before = contents(dirname(path))
    assert.deepEqual(Object.keys(before), ['app.db', 'app.db-journal'])
    const capture = await captureDatabase(path, options)
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2])
    assert.deepEqual(contents(dirname(path)), before)
    assert.equal(capture.findings[0]?.code, 'database-recovered')
    assert.deepEqual(readdirSync(dirname(capture.copy)), ['copy.db'])
  })

  test('an application that comes back and rolls its journal back while we do so is captured live', async (t) => {
    const { path, options } = place(t)
    create(path, `${ROLLBACK}; CREATE TABLE filler AS SELECT randomblob(90000) AS y`)
    await crash(
      await program(t, path, 'PRAGMA cache_size=2; BEGIN; DELETE FROM t; UPDATE filler SET y = randomblob(90000)'),
    )
    const ways: string[] = []
    await using sqlite = meddling(
      (request) => {
        if (request.kind === 'copy') ways.push(request.way)
      },
      (request) => {
        if (request.kind === 'copy' && request.way === 'recover') create(path, 'INSERT INTO t VALUES (3)')
      },
    )
    const capture = await captureDatabase(path, { ...options, sqlite })
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2, 3])
    assert.deepEqual(ways, ['live', 'recover', 'live'])
    assert.deepEqual(capture.findings, [])
  })

  test('an application that quits while it is captured leaves nothing of ours behind', async (t) => {
    const { path, options } = place(t)
    const application = await program(t, path, WAL)
    await using sqlite = meddling(async (request, index) => {
      if (request.kind === 'copy' && index === 0) await quit(application)
    })
    const capture = await captureDatabase(path, { ...options, sqlite })
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2])
    assert.deepEqual(readdirSync(dirname(path)), ['app.db'])
  })

  test('a database that stays locked is an error that names who has it open', async (t) => {
    const { path, options } = place(t)
    create(path, ROLLBACK)
    const application = await program(t, path, 'BEGIN EXCLUSIVE')
    await assert.rejects(captureDatabase(path, { ...options, patienceMs: 300 }), (error: ApplicationError) => {
      assert.equal(error.code, 'DATABASE_IN_USE')
      assert.ok((error.facts.holders as string[]).some((holder) => holder.includes(`(${application.pid})`)))
      assert.match(error.message, new RegExp(String(application.pid)))
      return true
    })
    assert.deepEqual(readdirSync(options.workDirectory), [])
  })

  test('a lock that is given up in time does no harm', async (t) => {
    const { path, options } = place(t)
    create(path, ROLLBACK)
    const application = await program(t, path, 'BEGIN EXCLUSIVE; INSERT INTO t VALUES (3)')
    setTimeout(() => application.kill('SIGKILL'), 400)
    const capture = await captureDatabase(path, { ...options, patienceMs: 30_000 })
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2])
  })

  test('a database that is replaced while it is captured is captured again', async (t) => {
    const { path, options } = place(t)
    create(path, ROLLBACK)
    create(`${path}.new`, 'CREATE TABLE t(x); INSERT INTO t VALUES (7)')
    await using sqlite = meddling((request, index) => {
      if (request.kind === 'copy' && index === 0) renameSync(`${path}.new`, path)
    })
    const capture = await captureDatabase(path, { ...options, sqlite })
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [7])
    assert.equal(capture.record.fingerprint, (await readDatabaseState(Buffer.from(path))).fingerprint)
  })

  test('a database that is written while it is read without locks is captured again', async (t) => {
    const { path, options } = place(t)
    create(path, WAL)
    await using sqlite = meddling(undefined, (request, index) => {
      if (request.kind === 'copy' && index === 0) create(path, 'INSERT INTO t VALUES (3)')
    })
    const capture = await captureDatabase(path, { ...options, sqlite })
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2, 3])
  })

  for (const [when, before] of [
    ['before', true],
    ['after', false],
  ] as const) {
    test(`a database that is deleted ${when} it is copied is reported as vanished, and no copy stays`, async (t) => {
      const { path, options } = place(t)
      create(path, ROLLBACK)
      const remove = (request: DatabaseRequest): void => {
        if (request.kind === 'copy') rmSync(path, { force: true })
      }
      await using sqlite = before ? meddling(remove) : meddling(undefined, remove)
      await assert.rejects(captureDatabase(path, { ...options, sqlite }), {
        code: 'DATABASE',
        facts: { path, reason: 'vanished' },
      })
      assert.deepEqual(readdirSync(options.workDirectory), [])
    })
  }

  test('the target of a symbolic link is captured, with the log beside the target', async (t) => {
    const { data, path, options } = place(t)
    mkdirSync(join(data, 'store'))
    await program(t, join(data, 'store', 'real.db'), `PRAGMA wal_autocheckpoint=0; ${WAL}`)
    symlinkSync('store/real.db', path)
    const capture = await captureDatabase(path, options)
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2])
    assert.deepEqual(readdirSync(data), ['app.db', 'store'])
  })

  test('a name of any bytes is taken', async (t) => {
    const { data, options } = place(t)
    const path = Buffer.concat([Buffer.from(`${data}/a%2F?#`), Buffer.from([0xff, 0xe4]), Buffer.from('.db')])
    create(join(data, 'plain.db'), ROLLBACK)
    renameSync(join(data, 'plain.db'), path)
    const capture = await captureDatabase(path, options)
    expectCopy(capture)
    assert.deepEqual(rows(capture.copy), [1, 2])
  })

  test('an abort stops a copy under way and removes what there is of it', async (t) => {
    const { path, options } = place(t)
    create(path, ROLLBACK)
    await program(t, path, 'BEGIN EXCLUSIVE')
    const stop = new AbortController()
    const capture = captureDatabase(path, { ...options, signal: stop.signal })
    setTimeout(() => stop.abort(new Error('enough')), 300)
    await assert.rejects(capture, /enough/)
    assert.deepEqual(readdirSync(options.workDirectory), [])
    await assert.rejects(captureDatabase(path, { ...options, signal: stop.signal }), /enough/)
  })

  test('an unchanged database is not read again; a changed one is', async (t) => {
    const { path, options } = place(t)
    create(path, ROLLBACK)
    const first = await captureDatabase(path, options)
    expectCopy(first)
    const previous = first.record
    await using idle = meddling(() => assert.fail('nothing must be read'))
    const second = await captureDatabase(path, { ...options, previous, sqlite: idle })
    assert.deepEqual(second, { kind: 'unchanged', record: previous, findings: [] })
    create(path, 'INSERT INTO t VALUES (3)')
    const third = await captureDatabase(path, { ...options, previous })
    expectCopy(third)
    assert.deepEqual(rows(third.copy), [1, 2, 3])
  })

  test('a database that was written within two seconds before its capture is copied again, once', async (t) => {
    const { path, options } = place(t)
    create(path, ROLLBACK)
    const { workDirectory } = options
    const first = await captureDatabase(path, { workDirectory })
    expectCopy(first)
    const second = await captureDatabase(path, { ...options, previous: first.record })
    expectCopy(second)
    assert.equal((await captureDatabase(path, { ...options, previous: second.record })).kind, 'unchanged')
  })

  test('damage is found, reported and kept apart as raw bytes', async (t) => {
    const { path, options } = place(t)
    create(path, 'CREATE TABLE t(x, y); CREATE INDEX i ON t(x)')
    create(
      path,
      "WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM c WHERE i<2000) INSERT INTO t SELECT i, 'text' FROM c",
    )
    const bytes = readFileSync(path)
    bytes.fill(0x5a, 4096 * 4, 4096 * 5)
    writeFileSync(path, bytes)
    const capture = await captureDatabase(path, options)
    assert.ok(capture.kind === 'corrupt')
    assert.equal(capture.findings[0]?.code, 'database-corrupt')
    assert.equal(capture.findings[0]?.severity, 'error')
    assert.notEqual(capture.record.integrity, 'ok')
    assert.deepEqual(
      capture.rawCopies.map(({ path: live, storedAs }) => [live.toString(), storedAs]),
      [[path, 'app.db.corrupt']],
    )
    assert.deepEqual(readFileSync(capture.rawCopies[0]!.copy), bytes)
    assert.equal(statSync(capture.rawCopies[0]!.copy).mode & 0o777, 0o600)
    const again = await captureDatabase(path, { ...options, previous: capture.record })
    assert.equal(again.kind, 'corrupt')
  })

  test('a damaged database is kept with its log, named so that SQLite finds it', async (t) => {
    const { path, options } = place(t)
    create(path, `${WAL}; CREATE TABLE big AS SELECT zeroblob(50000) AS z`)
    const application = await program(t, path, 'PRAGMA wal_autocheckpoint=0; INSERT INTO t VALUES (3)')
    await crash(application)
    const bytes = readFileSync(path)
    bytes.fill(0x5a, 4096, 8192)
    writeFileSync(path, bytes)
    const log = readFileSync(`${path}-wal`)
    log.fill(0x5a, 32, 60) // the frame that would cover the damage
    writeFileSync(`${path}-wal`, log)
    const capture = await captureDatabase(path, options)
    assert.ok(capture.kind === 'corrupt')
    assert.deepEqual(
      capture.rawCopies.map(({ path: live, storedAs }) => [live.toString(), storedAs]),
      [
        [path, 'app.db.corrupt'],
        [`${path}-wal`, 'app.db.corrupt-wal'],
      ],
    )
  })

  test('a header that says nonsense is damage too', async (t) => {
    const { path, options } = place(t)
    create(path, ROLLBACK)
    const bytes = readFileSync(path)
    bytes.writeUInt16BE(1000, 16)
    writeFileSync(path, bytes)
    assert.equal((await captureDatabase(path, options)).kind, 'corrupt')
  })

  test('what is empty, encrypted or absent is no database, and is said to be so', async (t) => {
    const { data, options } = place(t)
    writeFileSync(join(data, 'empty'), '')
    writeFileSync(join(data, 'encrypted'), Buffer.alloc(8192, 0xc3))
    for (const [name, reason] of [
      ['empty', 'empty'],
      ['encrypted', 'not-a-database'],
      ['absent', 'vanished'],
    ] as const) {
      await assert.rejects(captureDatabase(join(data, name), options), (error: ApplicationError) => {
        assert.ok(error instanceof ApplicationError)
        assert.equal(error.code, 'DATABASE')
        assert.equal(error.facts.reason, reason)
        return true
      })
    }
    if (existsSync(options.workDirectory)) assert.deepEqual(readdirSync(options.workDirectory), [])
  })

  test('rows that break constraints are told apart from damage', async (t) => {
    const { path, options } = place(t)
    create(path, 'CREATE TABLE parent(id INTEGER PRIMARY KEY); CREATE TABLE t(x REFERENCES parent(id), y LONGTEXT)')
    create(path, 'PRAGMA foreign_keys=OFF; INSERT INTO t VALUES (7, NULL)')
    // A schema that became stricter than its rows, as after an edit with `writable_schema`.
    writeFileSync(path, Buffer.from(readFileSync(path).toString('latin1').replace('LONGTEXT', 'NOT NULL'), 'latin1'))
    const capture = await captureDatabase(path, options)
    expectCopy(capture)
    assert.deepEqual(
      capture.findings.map(({ severity, code }) => `${severity} ${code}`),
      ['warning database-constraints', 'warning database-foreign-keys'],
    )
    assert.deepEqual(
      (await verifyDatabase(capture.copy)).map(({ code }) => code),
      ['database-constraints', 'database-foreign-keys'],
    )
  })

  test('tables that need a function of the application are named, the others are checked', async (t) => {
    const { path, options } = place(t)
    const connection = new DatabaseSync(path)
    connection.function('fold', { deterministic: true }, (text) => String(text).toLowerCase())
    connection.exec(
      'CREATE TABLE t(x); CREATE TABLE names(n); CREATE INDEX i ON names(fold(n)); INSERT INTO t VALUES (1)',
    )
    connection.close()
    const capture = await captureDatabase(path, options)
    expectCopy(capture)
    assert.equal(capture.record.integrity, 'ok')
    assert.equal(capture.findings[0]?.code, 'database-partly-checked')
    assert.match(capture.findings[0]?.message ?? '', /names: .*fold/)
  })

  test('too little space is said before anything is written', async (t) => {
    const { path, options } = place(t)
    create(path, `${ROLLBACK}`)
    const huge = spawnSync('truncate', ['-s', '8T', path])
    if (huge.status !== 0) return t.skip('the file system takes no sparse file of 8 TiB')
    await assert.rejects(captureDatabase(path, options), (error: ApplicationError) => error.facts.reason === 'no-space')
    assert.deepEqual(readdirSync(options.workDirectory), [])
  })

  test('a database of 150 MB is copied and checked in bounded memory', async (t) => {
    const { path, options } = place(t)
    create(
      path,
      'PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE t(x); WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM c WHERE i<36000) INSERT INTO t SELECT randomblob(4000) FROM c',
    )
    assert.ok(statSync(path).size > 140_000_000)
    await using sqlite = openSqliteProcess()
    const own = process.memoryUsage.rss()
    const capture = await captureDatabase(path, { ...options, sqlite })
    expectCopy(capture)
    const peak = Math.max(...childPids().map(peakMemory))
    t.diagnostic(`peak ${Math.round(peak / 1e6)} MB`)
    assert.ok(peak > 0 && peak < 130_000_000, `${peak} bytes`)
    assert.ok(process.memoryUsage.rss() - own < 50_000_000)
  })

  test('a user who may only read gets a copy, of an application that runs and of one that does not', async (t) => {
    if (process.getuid?.() !== 0) return t.skip('needs root, to become somebody else')
    const { data, path, options } = place(t)
    for (const folder of [dirname(data), data]) chmodSync(folder, 0o755)
    mkdirSync(options.workDirectory, { mode: 0o700 })
    spawnSync('chown', ['65534', options.workDirectory])
    for (const state of ['running', 'crashed', 'closed'] as const) {
      const application = await program(t, path, `PRAGMA wal_autocheckpoint=0; DROP TABLE IF EXISTS t; ${WAL}`)
      if (state === 'crashed') await crash(application)
      if (state === 'closed') await quit(application)
      const before = readdirSync(data)
      const other = spawnSync(process.execPath, [import.meta.filename, 'nobody', path, options.workDirectory], {
        env: {},
      })
      const outcome = other.stdout.toString()
      if (/EACCES.*node/.test(other.stderr.toString())) return t.skip('others may not run this Node')
      assert.equal(outcome, '[1,2]', `${state}: ${outcome} ${other.stderr}`)
      assert.deepEqual(readdirSync(data), before)
      if (state === 'running') await quit(application)
      for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true })
    }
  })

  test('a restored database is verified, and a damaged or empty one is not', async (t) => {
    const { data, path } = place(t)
    create(path, WAL)
    const before = contents(data)
    assert.deepEqual(await verifyDatabase(path), [])
    assert.deepEqual(contents(data), before)
    const bytes = readFileSync(path)
    writeFileSync(join(data, 'short.db'), bytes.subarray(0, 4096))
    writeFileSync(join(data, 'empty.db'), '')
    copyFileSync(import.meta.filename, join(data, 'text.db'))
    for (const name of ['short.db', 'empty.db', 'text.db']) {
      const findings = await verifyDatabase(join(data, name))
      assert.deepEqual(
        findings.map(({ severity, code }) => `${severity} ${code}`),
        ['error database-corrupt'],
        name,
      )
    }
    await assert.rejects(verifyDatabase(join(data, 'absent.db')), { code: 'DATABASE' })
  })

  test('a process that is killed from outside is an error, and the next request gets another', async (t) => {
    const { path, options } = place(t)
    create(path, ROLLBACK)
    const application = await program(t, path, 'BEGIN EXCLUSIVE')
    await using sqlite = openSqliteProcess()
    const others = new Set(childPids())
    const capture = captureDatabase(path, { ...options, sqlite })
    const killing = new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        const [pid] = childPids().filter((candidate) => !others.has(candidate))
        if (pid === undefined) return
        clearInterval(timer)
        process.kill(pid, 'SIGKILL')
        resolve()
      }, 20)
    })
    await assert.rejects(capture, { code: 'DATABASE', message: /SIGKILL/ })
    await killing
    assert.deepEqual(readdirSync(options.workDirectory), [])
    await crash(application)
    expectCopy(await captureDatabase(path, { ...options, sqlite }))
  })

  test('a record of another file at the same path is of no use', async (t) => {
    const { path, options } = place(t)
    create(path, ROLLBACK)
    const first = await captureDatabase(path, options)
    const previous: DatabaseRecord = { ...first.record, fingerprint: first.record.fingerprint.replace(/:\d+:/, ':1:') }
    expectCopy(await captureDatabase(path, { ...options, previous }))
  })
}

const RACY_MARGIN = 1_900_000_000n

/** The real process, with something that happens just before or just after a request of it. `index` counts its kind. */
function meddling(
  before?: (request: DatabaseRequest, index: number) => unknown,
  after?: (request: DatabaseRequest, index: number) => unknown,
): SqliteProcess {
  const real = openSqliteProcess()
  const counts = new Map<string, number>()
  return {
    async run(request, signal) {
      const index = counts.get(request.kind) ?? 0
      counts.set(request.kind, index + 1)
      await before?.(request, index)
      const reply = await real.run(request, signal)
      await after?.(request, index)
      return reply
    },
    [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](),
  }
}

function childPids(): number[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)
}

function peakMemory(pid: number): number {
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
}

const [role, ...rest] = process.argv.slice(2)
if (role === 'program') {
  const connection = new DatabaseSync(rest[0]!)
  connection.exec(rest[1]!)
  process.on('disconnect', () => {
    connection.close()
    process.exit()
  })
  process.send?.('ready')
} else if (role === 'nobody') {
  process.setgroups?.([])
  process.setgid?.(65534)
  process.setuid?.(65534)
  const capture = await captureDatabase(rest[0]!, { workDirectory: rest[1]!, now: later })
  process.stdout.write(capture.kind === 'copied' ? JSON.stringify(rows(capture.copy)) : JSON.stringify(capture))
} else {
  promises()
}
