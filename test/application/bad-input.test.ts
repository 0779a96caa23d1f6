import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { checkRepository } from '../../src/engine/repository/check.ts'
import { acquireLock } from '../../src/engine/repository/locks.ts'
import { openRepository } from '../../src/engine/repository/repository.ts'
import { storageFor } from '../../src/engine/storage/open-storage.ts'
import type { OperationEvent } from '../../src/operations/event.ts'
import {
  briefly,
  makeDatabase,
  type ProtectedApplication,
  protectedApplication,
} from '../equipment/protected-application.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { smallFileSystem, withoutMounts } from '../equipment/small-file-system.ts'
import { pathsIn } from '../equipment/snapshot-paths.ts'
import { PASSWORD } from '../equipment/test-repository.ts'

/** Once, when the archive begins. */
function whenArchiving(act: () => void): { observe: (event: OperationEvent) => void } {
  return { observe: (event) => event.type === 'phase' && event.phase === 'archive' && act() }
}

test('files that vanish or grow meanwhile leave the backup complete, and are listed', async () => {
  using app = await protectedApplication({ data: 'data' })
  for (let i = 0; i < 50; i++) app.put(`data/${i}.txt`, `${i}`)
  app.put('data/vanishing/x', 'x')
  app.put('data/growing.log', randomBytes(3_000_000, 'log'))
  const { base } = app
  const report = await app.backUp(
    {},
    {
      observe(event) {
        if (event.type !== 'progress') return
        // Entries are read in no particular order, so both are done early and often.
        rmSync(join(base, 'opt/shop/data/vanishing'), { recursive: true, force: true })
        void appendFile(join(base, 'opt/shop/data/growing.log'), 'more')
      },
    },
  )
  assert.equal(report.outcome, 'succeeded')
  for (const { severity, code } of report.findings) {
    assert.ok(['note file-vanished', 'warning file-changed'].includes(`${severity} ${code}`), `${severity} ${code}`)
  }
  assert.equal((await app.verify()).outcome, 'succeeded')
})

test('a full disk under the repository ends the backup with a hint, and what was there stays whole', {
  skip: withoutMounts,
}, async () => {
  using app = await protectedApplication({ data: 'data' })
  app.put('data/small', 'small')
  await app.backUp()
  using small = smallFileSystem('size=2m')
  const location = join(small.path, 'repository')
  cpSync(app.access.location, location, { recursive: true })
  const access = { ...app.access, location }
  app.put('data/large', randomBytes(5_000_000, 'large'))
  const config = app.config({ repository: location })
  const { backupApplication } = await import('../../src/operations/backup/backup-application.ts')
  const quiet = { observe: () => {}, signal: new AbortController().signal }
  await assert.rejects(backupApplication(config, access, quiet), (error: Error & { code: string; hint?: string }) => {
    assert.equal(error.code, 'NO_SPACE')
    assert.ok(error.hint, error.message)
    return true
  })
  const repository = await openRepository(storageFor(location), { password: PASSWORD })
  assert.equal((await checkRepository(repository, { readData: true })).errors, 0)
  assert.equal(readdirSync(join(location, 'snapshots')).length, 1)
  assert.deepEqual(readdirSync(join(app.base, 'work')), [])
})

test('a full disk under the work folder keeps databases out, and nothing else', { skip: withoutMounts }, async () => {
  using app = await protectedApplication({ data: 'data' })
  using small = smallFileSystem('size=256k')
  app.put('data/notes', 'notes')
  makeDatabase(app.at('data/auth.db'), { rows: 5000, journal: 'delete' })
  const report = await app.backUp({ 'work-dir': join(small.path, 'work') })
  assert.equal(report.outcome, 'incomplete')
  assert.deepEqual(briefly(report.findings, app.root), ['error database-not-captured /data/auth.db'])
  assert.match(report.findings[0]?.hint ?? '', /work-dir/)
  assert.deepEqual(await pathsIn(await app.open(), report.snapshot, app.at('data')), ['notes'])
})

test('a work folder that cannot be is an error that names it', async () => {
  using app = await protectedApplication({ data: 'data' })
  app.put('data/notes', 'notes')
  writeFileSync(join(app.base, 'work'), 'a file stands in its place')
  await assert.rejects(app.backUp(), { code: 'SOURCE', message: /work/, hint: /work-dir/ })
})

test('a repository that is lost in the middle ends the backup, and the folders are tidy', async () => {
  using app = await protectedApplication({ data: 'data' })
  app.put('data/large', randomBytes(40_000_000, 'large'))
  const away = `${app.access.location}-away`
  await assert.rejects(
    app.backUp(
      {},
      whenArchiving(() => renameSync(app.access.location, away)),
    ),
    (error: Error & { code: string }) => ['NO_REPOSITORY', 'NOT_FOUND', 'STORAGE'].includes(error.code),
  )
  assert.deepEqual(readdirSync(join(app.base, 'work')), [])
  renameSync(away, app.access.location)
  rmSync(join(app.access.location, 'locks'), { recursive: true })
  mkdirSync(join(app.access.location, 'locks'))
  assert.equal((await app.backUp()).outcome, 'succeeded')
})

test('an exclusive lock of somebody else: nothing is read or written, and the error says whose it is', async () => {
  using app = await protectedApplication({ data: 'data' })
  app.put('data/notes', 'notes')
  await app.backUp()
  const repository = await app.open()
  const lock = await acquireLock(repository, { exclusive: true })
  for (const operation of [() => app.backUp(), () => app.verify(), () => app.restore()]) {
    await assert.rejects(operation(), { code: 'LOCKED', message: new RegExp(`process ${process.pid}`), hint: /unlock/ })
  }
  await lock[Symbol.asyncDispose]()
  assert.equal((await app.backUp()).outcome, 'succeeded')
})

test('an interruption at any phase leaves no lock, no work folder and a sound repository', async () => {
  using app = await protectedApplication({ config: 'config', data: 'data' })
  app.put('config/.env', 'TOKEN=1')
  app.put('data/notes', 'notes')
  makeDatabase(app.at('data/auth.db'), { rows: 500, journal: 'delete' })
  const { recipient } = await app.makeAgeIdentity()
  await app.backUp({ seal: [recipient] })
  for (const phase of ['capture', 'archive', 'seal', 'publish', 'verify']) {
    const interruption = new AbortController()
    const reason = Object.assign(new Error('interrupted'), { code: 'TEST' })
    app.put('data/notes', phase)
    const observe = (event: OperationEvent) =>
      event.type === 'phase' && event.phase === phase && interruption.abort(reason)
    await assert.rejects(
      app.backUp({ seal: [recipient] }, { observe, signal: interruption.signal }),
      { code: 'TEST' },
      phase,
    )
    expectTidy(app, phase)
  }
  assert.equal((await checkRepository(await app.open(), { readData: true })).errors, 0)
})

function expectTidy(app: ProtectedApplication, when: string): void {
  assert.deepEqual(readdirSync(join(app.access.location, 'locks')), [], when)
  assert.deepEqual(readdirSync(join(app.base, 'work')), [], when)
}

test('what a killed backup left in the work folder is removed by the next one', async () => {
  using app = await protectedApplication({ data: 'data' })
  app.put('data/notes', 'notes')
  const dead = join(app.base, 'work/backup-4999999-abc')
  const living = join(app.base, `work/backup-${process.pid}-abc`)
  const foreign = join(app.base, 'work/precious')
  for (const folder of [dead, living, foreign]) mkdirSync(folder, { recursive: true })
  writeFileSync(join(dead, 'copy.db'), 'a copy of a database')
  await app.backUp()
  assert.deepEqual(readdirSync(join(app.base, 'work')).sort(), [`backup-${process.pid}-abc`, 'precious'])
})

test('a damaged previous snapshot costs a full read, and no more', async () => {
  using app = await protectedApplication({ data: 'data' })
  app.put('data/notes', 'notes')
  makeDatabase(app.at('data/auth.db'), { rows: 50, journal: 'delete' })
  await app.backUp()
  const folder = join(app.access.location, 'snapshots')
  const [name] = readdirSync(folder)
  writeFileSync(join(folder, name!), 'rubbish')
  const report = await app.backUp()
  assert.deepEqual(briefly(report.findings), ['warning snapshot-unreadable'])
  assert.equal(report.parent, undefined)
  await assert.rejects(app.restore(), {
    code: 'CORRUPT',
    message: /^Cannot tell which snapshot is the latest/,
    hint: /ID/,
  })
  assert.equal((await app.restore({}, { choice: { name: report.snapshot } })).outcome, 'succeeded')
})
