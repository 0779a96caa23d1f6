import assert from 'node:assert/strict'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BackupReport } from '../../src/operations/backup/backup-application.ts'
import {
  briefly,
  countRows,
  makeDatabase,
  type ProtectedApplication,
  protectedApplication,
} from '../equipment/protected-application.ts'
import { fileIn, rewriteSnapshot } from '../equipment/rewrite-snapshot.ts'
import { pathsIn } from '../equipment/snapshot-paths.ts'

async function contentOf(app: ProtectedApplication, { snapshot }: BackupReport, path: string): Promise<Buffer> {
  return fileIn(await app.open(), snapshot, app.at(path))
}

/** Fills the middle of some pages with rubbish: `integrity_check` finds it, the header is whole. */
function damage(file: string): void {
  const bytes = readFileSync(file)
  for (let page = 2; page < bytes.length / 4096; page += 2) bytes.fill(0xee, page * 4096, page * 4096 + 300)
  writeFileSync(file, bytes)
}

/** Fingerprints count as proof only when the file has rested for two seconds. */
const REST = 2100

test('a consistent copy stands in place of the live file, and no log beside it', async () => {
  using app = await protectedApplication({ data: 'data' })
  const writer = makeDatabase(app.at('data/auth.db'), { rows: 500, keepOpen: true })
  makeDatabase(app.at('data/rollback.sqlite'), { journal: 'delete' })
  app.put('data/rollback.sqlite-journal', '')
  app.put('data/notes.txt', 'notes')
  assert.ok(existsSync(app.at('data/auth.db-wal')) && existsSync(app.at('data/auth.db-shm')))
  const report = await app.backUp()
  writer.close()
  assert.deepEqual([report.outcome, report.findings], ['succeeded', []])
  assert.deepEqual(await pathsIn(await app.open(), report.snapshot, app.at('data')), [
    'auth.db',
    'notes.txt',
    'rollback.sqlite',
  ])
  const copy = app.put('copy.db', await contentOf(app, report, 'data/auth.db'))
  assert.equal(countRows(copy), 500)
  assert.deepEqual(
    report.manifest.databases.map(({ path, journalMode, integrity }) => [
      path.replace(app.root, ''),
      journalMode,
      integrity,
    ]),
    [
      ['/data/auth.db', 'wal', 'ok'],
      ['/data/rollback.sqlite', 'rollback', 'ok'],
    ],
  )
  const verified = await app.verify()
  assert.deepEqual([verified.outcome, verified.databases], ['succeeded', 2])
})

test('an unchanged database is not copied again and its content is kept; a changed one is', async () => {
  using app = await protectedApplication({ data: 'data' })
  makeDatabase(app.at('data/auth.db'), { rows: 2000, journal: 'delete' })
  await sleep(REST)
  const first = await app.backUp()
  const second = await app.backUp()
  assert.equal(second.manifest.databases[0]?.capturedAt, first.manifest.databases[0]?.capturedAt)
  assert.equal(second.summary.filesUnmodified, 1)
  assert.deepEqual(await contentOf(app, second, 'data/auth.db'), await contentOf(app, first, 'data/auth.db'))

  const forced = await app.backUp({}, { force: true })
  assert.notEqual(forced.manifest.databases[0]?.capturedAt, first.manifest.databases[0]?.capturedAt)

  makeDatabase(app.at('data/auth.db'), { rows: 1, journal: 'delete' })
  const changed = await app.backUp()
  assert.equal(countRows(app.put('copy.db', await contentOf(app, changed, 'data/auth.db'))), 2001)
})

test('a corrupt database is kept apart and never restored in place of a live one', async () => {
  using app = await protectedApplication({ data: 'data' })
  makeDatabase(app.at('data/auth.db'), { rows: 2000, journal: 'delete' })
  app.put('data/notes.txt', 'notes')
  damage(app.at('data/auth.db'))
  const report = await app.backUp()
  assert.equal(report.outcome, 'incomplete')
  assert.deepEqual(briefly(report.findings, app.root), ['error database-corrupt /data/auth.db'])
  assert.deepEqual(await pathsIn(await app.open(), report.snapshot, app.at('data')), ['auth.db.corrupt', 'notes.txt'])
  assert.deepEqual(await contentOf(app, report, 'data/auth.db.corrupt'), readFileSync(app.at('data/auth.db')))
  assert.notEqual(report.manifest.databases[0]?.integrity, 'ok')
  assert.equal((await app.verify()).outcome, 'incomplete')

  // Somebody has repaired it since.
  rmSync(app.at('data/auth.db'))
  makeDatabase(app.at('data/auth.db'), { rows: 7, journal: 'delete' })
  app.put('data/notes.txt', 'changed')
  const restored = await app.restore()
  assert.equal(restored.outcome, 'succeeded')
  assert.ok(briefly(restored.plan.findings, app.root).includes('warning snapshot-database-corrupt /data/auth.db'))
  assert.equal(countRows(app.at('data/auth.db')), 7)
  assert.equal(app.read('data/notes.txt'), 'notes')
})

test('a database as a component of its own inside another: neither takes the log for a file', async () => {
  using app = await protectedApplication({ data: 'data', auth: { kind: 'sqlite', path: 'data/auth.db' } })
  const writer = makeDatabase(app.at('data/auth.db'), { rows: 50, keepOpen: true })
  app.put('data/notes.txt', 'notes')
  const dataOnly = await app.backUp({}, { components: ['data'] })
  assert.deepEqual(await pathsIn(await app.open(), dataOnly.snapshot, app.at('data')), ['notes.txt'])
  const whole = await app.backUp()
  writer.close()
  assert.deepEqual(await pathsIn(await app.open(), whole.snapshot, app.at('data')), ['auth.db', 'notes.txt'])

  // In place each comes back without the other.
  makeDatabase(app.at('data/auth.db'), { rows: 5 })
  app.put('data/notes.txt', 'changed')
  await app.restore({}, { components: ['data'] })
  assert.deepEqual([app.read('data/notes.txt'), countRows(app.at('data/auth.db'))], ['notes', 55])
  app.put('data/notes.txt', 'changed')
  await app.restore({}, { components: ['auth'] })
  assert.deepEqual([app.read('data/notes.txt'), countRows(app.at('data/auth.db'))], ['changed', 50])
})

test('verify finds a torn database that the repository holds as sound', async () => {
  using app = await protectedApplication({ data: 'data' })
  makeDatabase(app.at('data/auth.db'), { rows: 2000, journal: 'delete' })
  await sleep(REST)
  const sound = await app.backUp()
  damage(app.at('data/auth.db'))
  // As a program would store it that knows nothing of databases: the manifest of the sound one, the content of the torn.
  const torn = await rewriteSnapshot(await app.open(), sound.snapshot, {
    files: { [app.at('data/auth.db')]: readFileSync(app.at('data/auth.db')) },
    manifest: (manifest, tree) => ({ ...manifest, tree }),
  })
  const verified = await app.verify({}, torn)
  assert.equal(verified.outcome, 'failed')
  assert.deepEqual(briefly(verified.findings, app.root), ['error database-corrupt /data/auth.db'])
  assert.match(verified.findings[0]!.message, /opt\/shop\/data\/auth\.db is damaged/)

  // Nor does it take the place of a live one.
  rmSync(app.at('data/auth.db'))
  makeDatabase(app.at('data/auth.db'), { rows: 3, journal: 'delete' })
  await assert.rejects(app.restore({}, { choice: { name: torn, app: 'shop' } }), {
    code: 'SWAP',
    message: /^Nothing was changed: the restored .*auth\.db is not sound/,
  })
  assert.equal(countRows(app.at('data/auth.db')), 3)
})
