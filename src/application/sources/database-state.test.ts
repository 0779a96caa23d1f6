import assert from 'node:assert/strict'
import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import type { DatabaseRecord } from './capture.ts'
import { provesUnchanged, RACY_NS, readDatabaseState, untilSettled } from './database-state.ts'

const wallClock = (): bigint => BigInt(Date.now()) * 1_000_000n

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-state-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

function record(fingerprint: string, capturedAt: bigint, integrity = 'ok'): DatabaseRecord {
  const path = '/data/app.db'
  return {
    path,
    bytes: 4096,
    journalMode: 'wal',
    pageSize: 4096,
    integrity,
    fingerprint,
    capturedAt: String(capturedAt),
  }
}

/** What a capture remembers that was made three seconds after the last write: all stamps are old enough. */
async function rested(path: string): Promise<DatabaseRecord> {
  const { fingerprint } = await readDatabaseState(Buffer.from(path))
  const previous = record(fingerprint, wallClock() + 3_000_000_000n)
  assert.ok(provesUnchanged(previous, fingerprint), 'without a change it must count as unchanged')
  return previous
}

async function unchanged(previous: DatabaseRecord, path: string): Promise<boolean> {
  return provesUnchanged(previous, (await readDatabaseState(Buffer.from(path))).fingerprint)
}

function create(path: string, mode: 'wal' | 'delete'): DatabaseSync {
  const connection = new DatabaseSync(path)
  connection.exec(`PRAGMA journal_mode=${mode}; CREATE TABLE t(x); INSERT INTO t VALUES (1)`)
  return connection
}

for (const mode of ['wal', 'delete'] as const) {
  test(`a commit in ${mode} mode shows`, async (t) => {
    const path = join(scratch(t), 'app.db')
    const connection = create(path, mode)
    const previous = await rested(path)
    connection.exec('UPDATE t SET x = 2')
    assert.equal(await unchanged(previous, path), false)
    connection.close()
  })

  test(`putting back the old mtime after a commit in ${mode} mode does not deceive`, async (t) => {
    const path = join(scratch(t), 'app.db')
    create(path, mode).close()
    utimesSync(path, 1_700_000_000, 1_700_000_000)
    const previous = await rested(path)
    const { atime, mtime, size } = statSync(path)
    const connection = new DatabaseSync(path)
    connection.exec('UPDATE t SET x = 2')
    connection.close()
    utimesSync(path, atime, mtime)
    assert.equal(statSync(path).mtimeMs, mtime.getTime())
    assert.equal(statSync(path).size, size)
    assert.equal(await unchanged(previous, path), false)
  })
}

test('a write within the tick of the last look never counts as unchanged', async (t) => {
  const path = join(scratch(t), 'app.db')
  create(path, 'delete').close()
  const file = openSync(path, 'r+')
  let hidden = 0
  for (let round = 0; round < 300; round++) {
    writeSync(file, Buffer.from([round & 0xff]), 0, 1, 4095)
    const capturedAt = wallClock()
    const { fingerprint } = await readDatabaseState(Buffer.from(path))
    writeSync(file, Buffer.from([(round + 1) & 0xff]), 0, 1, 4095)
    const now = (await readDatabaseState(Buffer.from(path))).fingerprint
    if (now === fingerprint) hidden++
    assert.equal(provesUnchanged(record(fingerprint, capturedAt), now), false)
  }
  closeSync(file)
  t.diagnostic(`${hidden} of 300 writes left the fingerprint as it was`)
})

test('a stamp must be two seconds older than the capture', () => {
  const fingerprint = 'v1 db=1:2:4096:10000000000:10000000000:1 wal=- journal=-'
  assert.equal(provesUnchanged(record(fingerprint, 10_000_000_000n + RACY_NS), fingerprint), true)
  assert.equal(provesUnchanged(record(fingerprint, 9_999_999_999n + RACY_NS), fingerprint), false)
  const young = 'v1 db=1:2:4096:1:1:1 wal=1:3:4152:1:10000000000:00 journal=-'
  assert.equal(provesUnchanged(record(young, 10_000_000_001n), young), false)
})

test('a commit that only the log holds shows, and so does a checkpoint without a commit', async (t) => {
  const path = join(scratch(t), 'app.db')
  const connection = create(path, 'wal')
  connection.exec('PRAGMA wal_autocheckpoint=0')
  const before = statSync(path)
  const previous = await rested(path)
  connection.exec('INSERT INTO t VALUES (2)')
  assert.equal(statSync(path).mtimeMs, before.mtimeMs, 'the database itself must be untouched for this test')
  assert.equal(await unchanged(previous, path), false)
  const logged = await rested(path)
  connection.exec('PRAGMA wal_checkpoint(PASSIVE)')
  assert.equal(await unchanged(logged, path), false)
  const checkpointed = await rested(path)
  connection.exec('INSERT INTO t VALUES (3)') // starts the log again from its beginning, at the same size
  assert.equal(await unchanged(checkpointed, path), false)
  connection.close()
})

test('a log that is emptied or removed by hand shows; an empty one counts as none', async (t) => {
  const path = join(scratch(t), 'app.db')
  const connection = create(path, 'wal')
  copyFileSync(path, `${path}.2`)
  copyFileSync(`${path}-wal`, `${path}.2-wal`)
  connection.close()
  const previous = await rested(`${path}.2`)
  truncateSync(`${path}.2-wal`)
  assert.equal(await unchanged(previous, `${path}.2`), false)
  const emptied = await rested(`${path}.2`)
  rmSync(`${path}.2-wal`)
  assert.equal(await unchanged(emptied, `${path}.2`), true)
})

test('a hot journal that comes or goes shows, even when the database keeps its bytes', async (t) => {
  const path = join(scratch(t), 'app.db')
  create(path, 'delete').close()
  const previous = await rested(path)
  writeFileSync(`${path}-journal`, Buffer.alloc(512, 1))
  assert.equal(await unchanged(previous, path), false)
  const hot = await rested(path)
  rmSync(`${path}-journal`)
  assert.equal(await unchanged(hot, path), false)
})

test('another file of the same content, size and times is another file', async (t) => {
  const path = join(scratch(t), 'app.db')
  create(path, 'delete').close()
  const previous = await rested(path)
  const { atime, mtime } = statSync(path)
  copyFileSync(path, `${path}.new`)
  utimesSync(`${path}.new`, atime, mtime)
  renameSync(`${path}.new`, path)
  assert.equal(await unchanged(previous, path), false)
})

test('what was damaged, or remembered in a form that we do not know, proves nothing', () => {
  const fingerprint = 'v1 db=1:2:4096:1:1:1 wal=- journal=-'
  assert.equal(provesUnchanged(record(fingerprint, 9_000_000_000n), fingerprint), true)
  assert.equal(provesUnchanged(record(fingerprint, 9_000_000_000n, 'row 3 missing from index i'), fingerprint), false)
  for (const unknown of ['', 'v2 db=1:2:4096:1:1:1 wal=- journal=-', 'v1 db=1:2', 'v1 db=x wal=- journal=-']) {
    assert.equal(provesUnchanged(record(unknown, 9_000_000_000n), unknown), false, unknown)
  }
  assert.equal(provesUnchanged({ ...record(fingerprint, 0n), capturedAt: '1e30' }, fingerprint), false)
})

test('a database is settled when no stamp is near: an old one, or one from the future', () => {
  const at = (stamp: bigint): string => `v1 db=1:2:4096:${stamp}:${stamp}:1 wal=- journal=-`
  const now = 1_000_000_000_000n
  assert.equal(untilSettled(at(now - RACY_NS), now), 0n)
  assert.equal(untilSettled(at(now - 500_000_000n), now), 1_500_000_000n)
  assert.equal(untilSettled(at(now + 500_000_000n), now), 2_500_000_000n)
  assert.equal(untilSettled(at(now + 3_600_000_000_000n), now), 0n)
})
