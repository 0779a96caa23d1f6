import assert from 'node:assert/strict'
import { chmodSync, linkSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { briefly, protectedApplication } from '../equipment/protected-application.ts'
import { pathsIn } from '../equipment/snapshot-paths.ts'

const CACHE_TAG = 'Signature: 8a477f597d28d172789f06886806bc55\n'

test('every backup is a snapshot of its own, also two in one second', async () => {
  using app = await protectedApplication()
  app.put('config/bot.json', '{}')
  app.put('data/notes.txt', 'one')
  const reports = [await app.backUp(), await app.backUp()]
  assert.deepEqual(
    reports.map(({ outcome }) => outcome),
    ['succeeded', 'succeeded'],
  )
  assert.equal(new Set(reports.map(({ snapshot }) => snapshot)).size, 2)
  assert.equal(readdirSync(join(app.access.location, 'snapshots')).length, 2)
  assert.equal(reports[1]?.parent, reports[0]?.snapshot)
  assert.deepEqual(readdirSync(join(app.base, 'work')), [], 'nothing stays in the work folder')
})

test('a missing component is the same finding at backup and at verify', async () => {
  using app = await protectedApplication()
  app.put('data/notes.txt', 'one')
  const report = await app.backUp()
  assert.equal(report.outcome, 'incomplete')
  assert.deepEqual(briefly(report.findings, app.root), ['error missing /config'])
  const verified = await app.verify()
  assert.equal(verified.outcome, 'incomplete')
  assert.deepEqual(verified.findings, report.findings)
})

test('an application of which nothing is there cannot be backed up, and the error says what is missing', async () => {
  using app = await protectedApplication()
  await assert.rejects(app.backUp(), { code: 'NOTHING', message: /config: found nothing there/ })
  assert.deepEqual(readdirSync(join(app.access.location, 'snapshots')), [])
  assert.deepEqual(readdirSync(join(app.access.location, 'locks')), [])
})

test('a partial snapshot is taken for the latest of what it holds only', async () => {
  using app = await protectedApplication()
  app.put('config/bot.json', 'first')
  app.put('data/notes.txt', 'first')
  const whole = await app.backUp()
  app.put('config/bot.json', 'second')
  app.put('data/notes.txt', 'second')
  const partial = await app.backUp({}, { components: ['data'] })
  assert.deepEqual(partial.manifest.only, ['data'])
  assert.deepEqual(await pathsIn(await app.open(), partial.snapshot, app.root), ['data/', 'data/notes.txt'])

  assert.equal((await app.verify()).snapshot, whole.snapshot)
  await app.restore({}, { components: ['data'] })
  assert.equal(app.read('data/notes.txt'), 'second')
  await app.restore()
  assert.equal(app.read('data/notes.txt'), 'first')
  const third = await app.backUp()
  assert.equal(third.parent, whole.snapshot, 'compared with the last whole one')
})

test('of components one inside another each holds exactly its files', async () => {
  using app = await protectedApplication({ all: '.', data: 'data', deep: 'data/deep' })
  app.put('main.js', 'code')
  app.put('data/notes.txt', 'notes')
  app.put('data/deep/a.txt', 'a')
  app.put('data/deep/b.txt', 'bb')
  const { manifest } = await app.backUp()
  assert.deepEqual(
    manifest.components.map(({ name, files, bytes }) => [name, files, bytes]),
    [
      ['all', 1, 4],
      ['data', 1, 5],
      ['deep', 2, 3],
    ],
  )
  const partial = await app.backUp({}, { components: ['data'] })
  assert.deepEqual(await pathsIn(await app.open(), partial.snapshot, app.root), ['data/', 'data/notes.txt'])
})

test('a repository inside of a component does not back up itself, nor do the other folders of Holdfast', async () => {
  using app = await protectedApplication({ data: 'data' })
  app.put('notes.txt', 'notes')
  symlinkSync(app.base, app.at('data')) // the config file names no folder that holds the repository
  for (let i = 0; i < 2; i++) {
    const { snapshot, outcome } = await app.backUp()
    assert.equal(outcome, 'succeeded')
    const paths = await pathsIn(await app.open(), snapshot, app.base)
    assert.deepEqual(paths, ['opt/', 'opt/shop/', 'opt/shop/data', 'opt/shop/notes.txt'])
  }
})

test('what is excluded and tagged caches stay out, with the databases and secrets in them', async () => {
  using app = await protectedApplication({ data: { path: 'data', exclude: ['/only-here'] } })
  app.put('data/keep.txt', 'keep')
  app.put('data/skip.log', 'skip')
  app.put('data/node_modules/x/index.js', 'skip')
  app.put('data/only-here/a', 'skip')
  app.put('data/sub/only-here/a', 'keep')
  app.put('data/cache/CACHEDIR.TAG', CACHE_TAG)
  app.put('data/cache/.env', 'SECRET=1')
  app.put('data/cache/blob', 'skip')
  app.put('data/no-cache/CACHEDIR.TAG', 'something else')
  const { snapshot, outcome, findings } = await app.backUp({ exclude: ['*.log', 'node_modules'] })
  assert.deepEqual([outcome, findings], ['succeeded', []])
  assert.deepEqual(await pathsIn(await app.open(), snapshot, app.at('data')), [
    'keep.txt',
    'no-cache/',
    'no-cache/CACHEDIR.TAG',
    'sub/',
    'sub/only-here/',
    'sub/only-here/a',
  ])
})

test('what a restore left beside live paths is not backed up', async () => {
  using app = await protectedApplication({ all: '.' })
  app.put('notes.txt', 'notes')
  app.put('secrets.before-20261101-020000/token', 'secret under a name that does not tell')
  app.put('auth.db.before-20261101-020000-1-wal', 'old')
  app.put('.holdfast-restore-20261101-020000-4711-0/staged/token', 'secret')
  app.put('data.before-lunch/keep', 'keep')
  const { snapshot } = await app.backUp()
  assert.deepEqual(await pathsIn(await app.open(), snapshot, app.root), [
    'data.before-lunch/',
    'data.before-lunch/keep',
    'notes.txt',
  ])
})

test('a component that is a symbolic link stands for what it leads to, and its rules hold there', async () => {
  using app = await protectedApplication({ data: { path: 'data', exclude: ['/tmp'] } })
  mkdirSync(join(app.base, 'srv/tmp'), { recursive: true })
  writeFileSync(join(app.base, 'srv/tmp/x'), 'x')
  writeFileSync(join(app.base, 'srv/notes'), 'notes')
  symlinkSync(join(app.base, 'srv'), app.at('data'))
  const { snapshot } = await app.backUp()
  const paths = await pathsIn(await app.open(), snapshot, app.base)
  assert.deepEqual(paths, ['opt/', 'opt/shop/', 'opt/shop/data', 'srv/', 'srv/notes'])
})

test('a hard link to a secret is left out under its other name', async () => {
  using app = await protectedApplication({ config: 'config' })
  const identity = await app.makeAgeIdentity()
  linkSync(app.put('config/.env', 'TOKEN=1'), app.at('config/current'))
  const report = await app.backUp({ seal: [identity.recipient] })
  assert.deepEqual(briefly(report.findings, app.root), ['error secret-linked /config/current'])
  assert.deepEqual(await pathsIn(await app.open(), report.snapshot, app.at('config')), [])
})

test('files that nobody may read are listed and the rest is backed up', {
  skip: process.getuid?.() !== 0 && 'needs root',
}, async () => {
  const { asNobody } = await import('../equipment/as-nobody.ts')
  using app = await protectedApplication()
  app.put('config/bot.json', '{}')
  app.put('config/.env', 'TOKEN=1', 0o600)
  app.put('data/open.txt', 'open')
  app.put('data/closed.txt', 'closed', 0o600)
  app.put('data/folder/x', 'x')
  chmodSync(app.at('data/folder'), 0o700)
  const identity = await app.makeAgeIdentity()
  for (const folder of ['', 'opt', 'repository', 'state', 'work']) {
    mkdirSync(join(app.base, folder), { recursive: true })
    chmodSync(join(app.base, folder), 0o777)
  }
  const { spawnSync } = await import('node:child_process')
  spawnSync('chmod', ['-R', 'a+rwX', app.access.location])
  const report = await asNobody(() => app.backUp({ seal: [identity.recipient] }))
  assert.equal(report.outcome, 'incomplete')
  assert.deepEqual(briefly(report.findings, app.root).sort(), [
    'error file-unreadable /data/closed.txt',
    'error secret-not-sealed /config/.env',
    'error unreadable /data/folder',
  ])
  assert.ok(report.findings.every(({ hint, severity }) => severity !== 'error' || hint))
  const paths = await pathsIn(await app.open(), report.snapshot, app.root)
  assert.deepEqual(paths, ['config/', 'config/bot.json', 'data/', 'data/open.txt'])
  assert.equal((await app.verify()).outcome, 'incomplete')
  rmSync(app.at('data/folder'), { recursive: true })
})
