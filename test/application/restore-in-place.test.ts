import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import type { InPlacePlan } from '../../src/operations/restore/plan-in-place.ts'
import type { RestoreInPlaceReport } from '../../src/operations/restore/restore-in-place.ts'
import { identityOf, writeRecord } from '../../src/operations/restore/restore-record.ts'
import { compareDescriptions, describeTree } from '../equipment/describe-tree.ts'
import {
  briefly,
  countRows,
  makeDatabase,
  type ProtectedApplication,
  protectedApplication,
} from '../equipment/protected-application.ts'

type Done = Extract<RestoreInPlaceReport, { outcome: 'succeeded' | 'incomplete' }>

async function restored(promise: Promise<RestoreInPlaceReport>): Promise<Done> {
  const report = await promise
  assert.notEqual(report.outcome, 'declined')
  return report as Done
}

/** No stage is left anywhere. */
function expectNoStages(folder: string): void {
  const left = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.holdfast-'))
  assert.deepEqual(left, [])
}

function fill(app: ProtectedApplication): void {
  app.put('config/bot.json', '{"v":1}')
  app.put('config/.hidden', 'dotfile', 0o640)
  app.put('data/uploads/a.txt', 'a')
  app.put('data/uploads/.b', 'b', 0o600)
  symlinkSync('uploads/a.txt', app.at('data/link'))
  mkdirSync(app.at('data/empty'), { mode: 0o711 })
}

test('a component is exactly as it was: new files are gone, dotfiles are back, and what was there is kept', async () => {
  using app = await protectedApplication()
  fill(app)
  makeDatabase(app.at('data/auth.db'), { rows: 20 })
  await app.backUp()
  const before = describeTree(app.root, { without: (path) => path.includes('auth.db') })

  rmSync(app.at('data/uploads/.b'))
  rmSync(app.at('config/.hidden'))
  app.put('config/bot.json', '{"v":2}')
  app.put('data/new/file', 'new')
  app.put('data/.new', 'new')
  rmSync(app.at('data/link'))
  app.put('data/link', 'a file by now')
  const writer = makeDatabase(app.at('data/auth.db'), { rows: 5, keepOpen: true })
  const changed = describeTree(app.root)
  const log = readFileSync(app.at('data/auth.db-wal'))
  assert.ok(log.length > 0)
  renameSync(app.at('data/auth.db-wal'), app.at('data/moved')) // as a crash leaves it: with its log
  writer.close()
  renameSync(app.at('data/moved'), app.at('data/auth.db-wal'))

  const report = await restored(app.restore({}, { verify: true }))
  assert.equal(report.outcome, 'succeeded')
  assert.ok(!existsSync(app.at('data/auth.db-wal')))
  const isKept = (path: string) => path.includes('.before-') || path.includes('auth.db')
  // The root itself got new entries, so its time is another.
  const now = describeTree(app.root, { without: isKept })
  before.delete('')
  now.delete('')
  assert.deepEqual(compareDescriptions(before, now), [])
  assert.equal(countRows(app.at('data/auth.db')), 20)

  assert.deepEqual(
    report.kept.map(({ path }) => path),
    [app.at('config'), app.at('data')],
  )
  for (const { path, before: kept } of report.kept) {
    assert.match(kept, /^.*\/(config|data)\.before-\d{8}-\d{6}$/)
    assert.ok(existsSync(kept), path)
  }
  const [, data] = report.kept
  assert.deepEqual(readFileSync(join(data!.before, 'auth.db-wal')), log)
  assert.equal(describeTree(data!.before).get('new/file'), changed.get('data/new/file'))
  assert.equal(readFileSync(join(data!.before, 'link'), 'utf8'), 'a file by now')
  expectNoStages(app.root)
})

test('with --discard-before nothing is kept, and declined nothing is changed', async () => {
  using app = await protectedApplication()
  fill(app)
  await app.backUp()
  app.put('config/bot.json', 'changed')
  const changed = describeTree(app.root)
  const declined = await app.restore({}, { confirm: async () => false })
  assert.equal(declined.outcome, 'declined')
  assert.deepEqual(compareDescriptions(changed, describeTree(app.root)), [])
  const report = await restored(app.restore({}, { discardBefore: true }))
  assert.deepEqual(report.kept, [])
  assert.deepEqual(readdirSync(app.root).sort(), ['config', 'data'])
  assert.equal(app.read('config/bot.json'), '{"v":1}')
})

test('everything comes back to an empty machine, folders on the way with their owners and modes', async () => {
  using app = await protectedApplication({ config: 'config', data: 'data', secrets: 'secrets' })
  fill(app)
  const identity = await app.makeAgeIdentity()
  app.put('secrets/.env.production', 'TOKEN=1', 0o600)
  app.put('config/.env', 'TOKEN=2', 0o640)
  spawnSync('chmod', ['700', app.at('secrets')])
  spawnSync('chmod', ['751', app.root])
  spawnSync('chown', ['12345:54321', app.root])
  const changes = { seal: [identity.recipient], unseal: identity.file }
  await app.backUp(changes)
  const before = describeTree(app.root)
  rmSync(join(app.base, 'opt'), { recursive: true })
  const report = await restored(app.restore(changes, { identities: [identity.file] }))
  assert.equal(report.outcome, 'succeeded')
  assert.equal(report.secrets, 2)
  const now = describeTree(app.root)
  for (const map of [before, now]) map.set('', map.get('')!.replace(/\d{15,}/g, 'TIME'))
  assert.deepEqual(compareDescriptions(before, now), [])
  assert.equal(statSync(app.at('secrets/.env.production')).mode & 0o777, 0o600)
  assert.equal(statSync(app.at('secrets')).mode & 0o777, 0o700)
  assert.ok(existsSync(join(app.base, 'etc/holdfast.yaml')), 'the config file, too')
  expectNoStages(join(app.base, 'opt'))
})

test('what backups leave out stays where it is', async () => {
  using app = await protectedApplication({ all: { path: '.', exclude: ['/logs'] }, data: 'data' })
  fill(app)
  app.put('main.js', 'one')
  await app.backUp({ exclude: ['node_modules'] })
  app.put('main.js', 'two')
  app.put('node_modules/x/index.js', 'module')
  app.put('lib/node_modules/y/index.js', 'module')
  app.put('logs/a.log', 'log')
  app.put('cache/CACHEDIR.TAG', 'Signature: 8a477f597d28d172789f06886806bc55')
  app.put('stray/file', 'stray')
  app.put('data/uploads/new', 'new')
  const inode = lstatSync(app.at('node_modules')).ino

  const report = await restored(app.restore({ exclude: ['node_modules'] }, { components: ['all'] }))
  assert.equal(report.outcome, 'succeeded')
  assert.equal(app.read('main.js'), 'one')
  assert.equal(lstatSync(app.at('node_modules')).ino, inode, 'moved, not copied')
  assert.equal(app.read('lib/node_modules/y/index.js'), 'module')
  assert.equal(app.read('logs/a.log'), 'log')
  assert.ok(existsSync(app.at('cache/CACHEDIR.TAG')))
  assert.equal(app.read('data/uploads/new'), 'new', 'another component is not touched')
  assert.ok(!existsSync(app.at('stray')))
  const [unit] = report.plan.units
  assert.deepEqual(
    unit?.kept.map((path) => path.slice(app.root.length + 1)),
    ['cache', 'data', 'lib/node_modules', 'logs', 'node_modules'],
  )
  await app.restore({ exclude: ['node_modules'] })
  assert.ok(!existsSync(app.at('data/uploads/new')), 'unless it is restored as well')
  assert.equal(lstatSync(app.at('node_modules')).ino, inode)
})

test('a path on the way to components stands for what was backed up of it', async () => {
  using app = await protectedApplication({ config: 'config', data: 'data' })
  fill(app)
  app.put('src/main.js', 'from Git')
  await app.backUp()
  app.put('config/bot.json', 'changed')
  const report = await restored(app.restore({}, { paths: [app.root] }))
  assert.deepEqual(
    report.plan.units.map(({ path }) => path),
    [app.at('config'), app.at('data')],
  )
  assert.equal(app.read('config/bot.json'), '{"v":1}')
  assert.equal(app.read('src/main.js'), 'from Git')

  app.put('data/uploads/a.txt', 'changed')
  app.put('data/other', 'stays')
  await app.restore({}, { paths: [app.at('data/uploads/a.txt')] })
  assert.deepEqual([app.read('data/uploads/a.txt'), app.read('data/other')], ['a', 'stays'])
  await assert.rejects(app.restore({}, { paths: ['/etc'] }), { code: 'NO_PATH' })
  await assert.rejects(app.restore({}, { components: ['nginx'] }), { code: 'NO_COMPONENT' })
})

test('what the snapshot lacks stays as it is', async () => {
  using app = await protectedApplication({ config: 'config', secrets: 'secrets' })
  app.put('config/bot.json', 'one')
  app.put('config/.env', 'TOKEN=1')
  app.put('secrets/.env', 'TOKEN=2')
  await app.backUp() // nobody to seal for
  app.put('config/bot.json', 'two')
  const report = await restored(app.restore())
  assert.equal(app.read('config/bot.json'), 'one')
  assert.equal(app.read('config/.env'), 'TOKEN=1')
  assert.equal(app.read('secrets/.env'), 'TOKEN=2')
  assert.deepEqual(briefly(report.findings, app.root), [
    'warning snapshot-secret-not-sealed /config/.env',
    'warning snapshot-secret-not-sealed /secrets',
    'warning snapshot-secret-not-sealed /secrets/.env',
  ])
})

test('without the private key nothing is changed, or, told so, the live secrets stay', async () => {
  using app = await protectedApplication({ config: 'config', secrets: 'secrets' })
  app.put('config/bot.json', 'one')
  app.put('config/.env', 'TOKEN=1')
  app.put('secrets/a/token', 'TOKEN=2')
  const { recipient } = await app.makeAgeIdentity()
  await app.backUp({ seal: [recipient] })
  app.put('config/bot.json', 'two')
  app.put('config/.env', 'TOKEN=changed')
  app.put('secrets/a/token', 'TOKEN=changed')
  app.put('secrets/b', 'TOKEN=new')
  const changed = describeTree(app.root)
  await assert.rejects(app.restore(), {
    code: 'SWAP',
    message: /^Nothing was changed: the secrets in .*config cannot be unsealed/,
  })
  assert.deepEqual(compareDescriptions(changed, describeTree(app.root)).slice(1), []) // but for the time of the root
  const report = await restored(app.restore({}, { withoutSecrets: true }))
  assert.equal(report.outcome, 'incomplete')
  assert.equal(app.read('config/bot.json'), 'one')
  assert.equal(app.read('config/.env'), 'TOKEN=changed')
  assert.equal(app.read('secrets/a/token'), 'TOKEN=changed')
  assert.equal(app.read('secrets/b'), 'TOKEN=new')
  expectNoStages(app.root)
})

/** A process that has the database open until told to end. */
async function holdOpen(file: string): Promise<ChildProcess> {
  const program = `
    import { DatabaseSync } from 'node:sqlite'
    const database = new DatabaseSync(process.argv[1])
    database.prepare('SELECT count(*) FROM sqlite_schema').get()
    console.log('open')
    process.on('SIGTERM', () => { database.close(); process.exit() })
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--no-warnings', '--input-type=module', '-e', program, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout!, 'data')
  return child
}

test('a database that a live process has open is not replaced, also one that the snapshot does not know', async () => {
  using app = await protectedApplication({ data: 'data' })
  makeDatabase(app.at('data/auth.db'))
  await app.backUp()
  makeDatabase(app.at('data/new.db'))
  for (const name of ['auth.db', 'new.db']) {
    const holder = await holdOpen(app.at(`data/${name}`))
    try {
      const changed = describeTree(app.root)
      await assert.rejects(app.restore(), (error: Error & { code: string; hint: string }) => {
        assert.equal(error.code, 'IN_USE')
        assert.match(error.message, new RegExp(`data/${name}: process ${holder.pid} \\(node\\) has it open`))
        assert.match(error.hint, /--stop/)
        return true
      })
      assert.deepEqual(compareDescriptions(changed, describeTree(app.root)), [])
    } finally {
      holder.kill()
      await once(holder, 'exit')
    }
  }
  assert.equal((await app.restore()).outcome, 'succeeded')
})

test('a folder in which a file system is mounted is refused', async (t) => {
  const { smallFileSystem, withoutMounts } = await import('../equipment/small-file-system.ts')
  if (withoutMounts) return t.skip(withoutMounts)
  using app = await protectedApplication({ data: 'data' })
  using mounted = smallFileSystem('size=1m')
  mkdirSync(join(mounted.path, 'data'))
  writeFileSync(join(mounted.path, 'notes'), 'notes')
  app.put('data/notes', 'notes')
  const components = { data: mounted.path }
  await app.backUp({ components })
  await assert.rejects(app.restore({ components }), { code: 'MOUNTED', hint: /--target/ })
  assert.equal(readFileSync(join(mounted.path, 'notes'), 'utf8'), 'notes')
})

test('links come back as links, and a component that is one with what it leads to', async () => {
  using app = await protectedApplication({ data: 'data' })
  mkdirSync(join(app.base, 'srv'))
  writeFileSync(join(app.base, 'srv/notes'), 'one')
  symlinkSync(join(app.base, 'srv'), app.at('data'))
  await app.backUp()
  writeFileSync(join(app.base, 'srv/notes'), 'two')
  await app.restore()
  assert.equal(readlinkSync(app.at('data')), join(app.base, 'srv'))
  assert.equal(app.read('data/notes'), 'one')

  // Where nothing is left, only the snapshot says where the data was.
  rmSync(app.at('data'))
  for (const name of readdirSync(app.base))
    if (name.startsWith('srv')) rmSync(join(app.base, name), { recursive: true })
  await assert.rejects(app.restore(), { code: 'BEYOND_CONFIG', message: /srv, which the config does not name/ })
  const plans: InPlacePlan[] = []
  await app.restore({}, { beyondConfig: true, confirm: async (plan) => plans.push(plan) > 0 })
  assert.deepEqual(
    plans[0]?.units.map(({ path, beyondConfig }) => [path.slice(app.base.length), beyondConfig]),
    [
      ['/opt/shop/data', false],
      ['/srv', true],
    ],
  )
  assert.equal(app.read('data/notes'), 'one')
})

test('what a killed restore left inside of what is now replaced is put in order first', async () => {
  using app = await protectedApplication({ data: { path: 'data', exclude: ['cache'] } })
  app.put('data/sub/a', 'one')
  await app.backUp()
  // A restore of data/sub that was killed just after the exchange: what was there, with what stays in it, is in the stage.
  const stage = app.at('data/.holdfast-restore-20261101-020000-4999999-0')
  app.put('data/sub/a', 'of the snapshot')
  app.put(`${stage.slice(app.root.length + 1)}/staged/a`, 'of before')
  app.put(`${stage.slice(app.root.length + 1)}/staged/cache/x`, 'stays')
  await writeRecord(stage, {
    format: 1,
    path: app.at('data/sub'),
    before: app.at('data/sub.before-20261101-020000'),
    kept: [app.at('data/sub/cache')],
    sidecars: [],
    process: ':4999999:',
    identities: { staged: (await identityOf(app.at('data/sub')))!, live: (await identityOf(`${stage}/staged`))! },
  })
  const report = await restored(app.restore())
  assert.deepEqual(briefly(report.findings, app.root), ['note interrupted-restore /data/sub'])
  assert.equal(app.read('data/sub/a'), 'one')
  assert.equal(app.read('data/sub/cache/x'), 'stays')
  const [kept] = report.kept
  assert.equal(readFileSync(join(kept!.before, 'sub.before-20261101-020000/a'), 'utf8'), 'of before')
  expectNoStages(app.root)
})
