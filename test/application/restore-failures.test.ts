import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import type { SnapshotId } from '../../src/engine/format/id.ts'
import { readSnapshot } from '../../src/engine/repository/snapshots.ts'
import type { OperationEvent } from '../../src/operations/event.ts'
import { restoreToTarget } from '../../src/operations/restore/restore-to-target.ts'
import { findNode } from '../../src/operations/snapshot-files.ts'
import { damagePackOf, losePackOf } from '../equipment/damage-pack.ts'
import { compareDescriptions, describeTree } from '../equipment/describe-tree.ts'
import {
  APP,
  briefly,
  makeDatabase,
  type ProtectedApplication,
  protectedApplication,
} from '../equipment/protected-application.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { rewriteSnapshot } from '../equipment/rewrite-snapshot.ts'
import { smallFileSystem, withoutMounts } from '../equipment/small-file-system.ts'

async function twoComponents(extra: Record<string, unknown> = {}) {
  const app = await protectedApplication({ config: 'config', data: 'data', ...extra })
  app.put('config/bot.json', 'one')
  app.put('data/a.bin', randomBytes(100_000, 'a'))
  makeDatabase(app.at('data/auth.db'), { rows: 30, journal: 'delete' })
  return app
}

/** Everything of the application as it is, but for the times of folders in which stages came and went. */
function stateOf(app: ProtectedApplication): Map<string, string> {
  const state = describeTree(app.root)
  state.delete('')
  return state
}

/** The restore must reject so, and leave everything as it is, with no stage left. */
async function expectUntouched(
  app: ProtectedApplication,
  restore: () => Promise<unknown>,
  error: { readonly code: string; readonly message?: RegExp; readonly hint?: RegExp },
): Promise<void> {
  app.put('config/bot.json', 'changed')
  const before = stateOf(app)
  await assert.rejects(restore(), error)
  assert.deepEqual(compareDescriptions(before, stateOf(app)), [])
  const names = readdirSync(app.base, { recursive: true, encoding: 'utf8' })
  assert.deepEqual(
    names.filter((name) => /\.holdfast-(restore|[0-9a-f]{12})|\.before-/.test(name)),
    [],
  )
  assert.deepEqual(readdirSync(join(app.access.location, 'locks')), [])
}

async function blobOf(app: ProtectedApplication, snapshot: SnapshotId, path: string): Promise<string> {
  const repository = await app.open()
  const node = await findNode(repository, (await readSnapshot(repository, snapshot)).tree, app.at(path))
  return node!.content![0]!
}

test('a damaged blob: nothing is changed', async () => {
  using app = await twoComponents()
  const { snapshot } = await app.backUp()
  damagePackOf(await app.open(), app.access.location, 'data', await blobOf(app, snapshot, 'data/a.bin'))
  await expectUntouched(app, () => app.restore(), {
    code: 'SWAP',
    message: /^Nothing was changed: .*data cannot be restored whole/,
    hint: /older snapshot/,
  })
})

test('a lost pack with the manifest in it: nothing is changed, and into a folder comes what is intact', async () => {
  using app = await twoComponents()
  const first = await app.backUp()
  app.put('data/b.txt', 'b')
  const second = await app.backUp()
  losePackOf(await app.open(), app.access.location, 'data', await blobOf(app, second.snapshot, 'data/b.txt'))
  await expectUntouched(app, () => app.restore(), { code: 'CORRUPT', message: /^Cannot read data blob/ })
  const target = join(app.base, 'target')
  const report = await restoreToTarget(app.access, {
    choice: { name: 'latest', app: APP },
    target,
    observe: () => {},
    signal: new AbortController().signal,
  })
  assert.equal(report.outcome, 'incomplete')
  assert.deepEqual(briefly(report.findings, target).toSorted(), [
    'error file-not-restored /.holdfast/manifest.json',
    `error file-not-restored ${app.at('data/b.txt')}`,
    'error manifest-damaged',
  ])
  assert.deepEqual(readFileSync(target + app.at('data/a.bin')), readFileSync(app.at('data/a.bin')))
  const verified = await app.verify()
  assert.equal(verified.outcome, 'failed')
  assert.ok(briefly(verified.findings).includes('error manifest-damaged /.holdfast/manifest.json'))
  assert.ok(briefly(verified.findings).includes('error pack-missing'))
  // The one before is whole.
  await app.restore({}, { choice: { name: first.snapshot, app: APP } })
  assert.equal(app.read('config/bot.json'), 'one')
})

test('an unsound database in the snapshot: nothing is changed', async () => {
  using app = await twoComponents()
  const { snapshot } = await app.backUp()
  const torn = readFileSync(app.at('data/auth.db'))
  torn.fill(0xee, 4096, 4096 + 400)
  const forged = await rewriteSnapshot(await app.open(), snapshot, { files: { [app.at('data/auth.db')]: torn } })
  await expectUntouched(app, () => app.restore({}, { choice: { name: forged } }), {
    code: 'SWAP',
    message: /is not sound/,
  })
})

test('a private key that is missing: nothing is changed', async () => {
  using app = await twoComponents({ secrets: 'secrets' })
  app.put('secrets/.env', 'TOKEN=1', 0o600)
  const { recipient } = await app.makeAgeIdentity()
  await app.backUp({ seal: [recipient] })
  await expectUntouched(app, () => app.restore(), {
    code: 'SWAP',
    message: /cannot be unsealed/,
    hint: /--without-secrets/,
  })
})

test('a damaged seal: nothing is changed', async () => {
  using app = await twoComponents({ secrets: 'secrets' })
  app.put('secrets/.env', 'TOKEN=1', 0o600)
  const identity = await app.makeAgeIdentity()
  const { snapshot } = await app.backUp({ seal: [identity.recipient] })
  const repository = await app.open()
  const { tree } = await readSnapshot(repository, snapshot)
  const node = await findNode(repository, tree, '/.holdfast/secrets.tar.gz.age')
  damagePackOf(repository, app.access.location, 'data', node!.content![0]!)
  await expectUntouched(app, () => app.restore({}, { identities: [identity.file] }), {
    code: 'SWAP',
    message: /the secrets in .*secrets cannot be unsealed/,
  })
})

test('an interruption while files are staged: nothing is changed', async () => {
  using app = await twoComponents()
  await app.backUp()
  const interruption = new AbortController()
  await expectUntouched(
    app,
    () =>
      app.restore(
        {},
        {
          signal: interruption.signal,
          observe: (event: OperationEvent) => {
            if (event.type === 'progress') interruption.abort(Object.assign(new Error('stop'), { code: 'STOPPED' }))
          },
        },
      ),
    { code: 'STOPPED' },
  )
})

test('a process that opens the database at the last moment: nothing is changed', { timeout: 60_000 }, async () => {
  using app = await twoComponents()
  await app.backUp()
  let holder: ChildProcess | undefined
  const hold = () => {
    holder ??= spawn('sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', openSync(app.at('data/auth.db'), 'r')] })
  }
  try {
    await expectUntouched(
      app,
      () => app.restore({}, { observe: (event) => event.type === 'phase' && event.phase === 'verify' && hold() }),
      { code: 'IN_USE', message: /^Nothing was changed: process \d+ \(sleep\) still has/ },
    )
  } finally {
    holder?.kill()
  }
})

test('a folder that may not be changed: nothing is changed, also where the swap had begun', {
  skip: withoutMounts,
}, async () => {
  // The second unit lies in a folder to which entries can be added, but in which none can be renamed: an append-only one.
  using app = await twoComponents({ last: 'z/last.txt' })
  app.put('z/last.txt', 'one')
  await app.backUp()
  app.put('z/last.txt', 'two')
  app.put('data/a.bin', 'changed')
  for (const attribute of ['i', 'a']) {
    if (spawnSync('chattr', [`+${attribute}`, app.at('z')]).status !== 0) return // a file system without attributes
    try {
      app.put('config/bot.json', 'changed')
      const before = stateOf(app)
      await assert.rejects(app.restore(), { code: 'SWAP', message: /^Nothing was changed/ })
      // What could be added to an append-only folder cannot be removed from it.
      const after = new Map([...stateOf(app)].filter(([path]) => !path.startsWith('z/.holdfast') && path !== 'z'))
      before.delete('z')
      assert.deepEqual(compareDescriptions(before, after), [], attribute)
    } finally {
      spawnSync('chattr', ['-i', '-a', app.at('z')])
    }
  }
  const report = await app.restore()
  assert.equal(report.outcome, 'succeeded')
  assert.deepEqual([app.read('z/last.txt'), app.read('config/bot.json')], ['one', 'one'])
  assert.deepEqual(
    readdirSync(app.at('z')).filter((name) => name.startsWith('.holdfast')),
    [],
  )
})

test('a full disk: refused before anything is staged, and undone when it fills up meanwhile', {
  skip: withoutMounts,
}, async () => {
  using app = await protectedApplication({ data: 'data' })
  using small = smallFileSystem('size=4m')
  const data = join(small.path, 'app/data')
  const components = { data }
  mkdirSync(data, { recursive: true })
  writeFileSync(join(data, 'big'), randomBytes(1_500_000, 'big'))
  await app.backUp({ components })
  const state = () => {
    const lines = describeTree(small.path)
    for (const path of ['', 'app']) lines.delete(path)
    return lines
  }

  writeFileSync(join(small.path, 'filler'), Buffer.alloc(1_500_000))
  let before = state()
  await assert.rejects(app.restore({ components }), { code: 'NO_ROOM', message: /\d+ are free/ })
  assert.deepEqual(compareDescriptions(before, state()), [])

  writeFileSync(join(small.path, 'filler'), Buffer.alloc(500_000))
  before = state()
  let filled = false
  await assert.rejects(
    app.restore(
      { components },
      {
        observe: (event) => {
          if (filled || event.type !== 'phase' || event.phase !== 'restore') return
          filled = true
          writeFileSync(join(small.path, 'filler'), Buffer.alloc(2_000_000))
        },
      },
    ),
    (error: Error & { code: string; hint?: string }) =>
      ['NO_SPACE', 'NO_ROOM'].includes(error.code) && Boolean(error.hint),
  )
  writeFileSync(join(small.path, 'filler'), Buffer.alloc(500_000))
  const after = state()
  for (const lines of [before, after]) lines.delete('filler')
  assert.deepEqual(compareDescriptions(before, after), [])
  assert.ok(!existsSync(join(small.path, 'app/.holdfast')))
})
