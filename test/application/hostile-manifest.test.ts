import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import type { Manifest } from '../../src/operations/manifest.ts'
import type { InPlacePlan } from '../../src/operations/restore/plan-in-place.ts'
import { compareDescriptions, describeTree } from '../equipment/describe-tree.ts'
import { APP, type ProtectedApplication, protectedApplication } from '../equipment/protected-application.ts'
import { rewriteSnapshot } from '../equipment/rewrite-snapshot.ts'

// What somebody can do who can write to the repository and knows its password, and nothing else: choose what a snapshot
// says of itself. None of it may make a restore in place replace what the operator's config does not name, unasked.

type Forge = (manifest: Manifest, app: ProtectedApplication) => unknown

function withPath(path: string): Forge {
  return (manifest) => ({
    ...manifest,
    components: [
      ...manifest.components,
      { ...manifest.components[0], name: 'evil', paths: [{ path, files: 1, bytes: 1 }] },
    ],
  })
}

function withConfigured(path: string): Forge {
  return (manifest) => ({
    ...manifest,
    components: [
      ...manifest.components,
      { ...manifest.components[0], name: 'evil', kind: 'secrets', configured: [path], paths: [] },
    ],
  })
}

function withSecret(path: string, component = 'config'): Forge {
  return (manifest) => ({
    ...manifest,
    secrets: { archives: ['secrets.tar.gz.age'], recipients: [], digest: '', files: [{ path, component }] },
  })
}

async function forged(forge: Forge, files: Record<string, string> = {}) {
  const app = await protectedApplication({ config: 'config' })
  app.put('config/bot.json', 'sealed')
  writeFileSync(join(app.base, 'victim'), 'untouched')
  const { snapshot } = await app.backUp()
  const id = await rewriteSnapshot(await app.open(), snapshot, {
    files: Object.fromEntries(
      Object.entries(files).map(([path, content]) => [path.replace('BASE', app.base), content]),
    ),
    manifest: (manifest) => forge(manifest, app),
  })
  return { app, id }
}

const MALFORMED: Record<string, Forge> = {
  'a path with ..': (manifest, app) => withPath(`${app.root}/../../victim`)(manifest, app),
  'a relative path': withPath('etc/passwd'),
  'a path with a NUL': withPath('/etc/pass\0wd'),
  'a path with //': withPath('/etc//passwd'),
  'an empty path': withPath(''),
  'a folder of secrets with ..': withConfigured('/opt/../etc'),
  'a unit that is a relative path': withConfigured('../etc'),
  'a secret with ..': withSecret('/opt/../etc/shadow'),
  'a relative secret': withSecret('etc/shadow'),
  'an archive with a path for a name': (manifest) => ({
    ...manifest,
    secrets: { archives: ['../../../etc/shadow'], recipients: [], digest: '', files: [] },
  }),
  'a database with ..': (manifest) => ({
    ...manifest,
    databases: [
      {
        path: '/x/../y',
        bytes: 1,
        journalMode: 'wal',
        pageSize: 4096,
        integrity: 'ok',
        fingerprint: '',
        capturedAt: '1',
      },
    ],
  }),
  'a config file with ..': (manifest) => ({ ...manifest, configFile: '/etc/../etc/cron.d/evil' }),
  'another format': (manifest) => ({ ...manifest, format: 2 }),
  'no manifest at all': () => [],
}

test('a malformed manifest is refused, and nothing is changed', async () => {
  using app = await protectedApplication({ config: 'config' })
  app.put('config/bot.json', 'sealed')
  const { snapshot } = await app.backUp()
  const repository = await app.open()
  app.put('config/bot.json', 'live')
  const before = describeTree(app.base, { without: isRepository })
  for (const [what, forge] of Object.entries(MALFORMED)) {
    const id = await rewriteSnapshot(repository, snapshot, { manifest: (manifest) => forge(manifest, app) })
    const options = { choice: { name: id }, beyondConfig: true }
    await assert.rejects(app.restore({}, options), { code: 'MANIFEST', hint: /--target/ }, what)
    assert.deepEqual(compareDescriptions(before, describeTree(app.base, { without: isRepository })), [], what)
  }
})

function isRepository(path: string): boolean {
  return path.startsWith('repository')
}

const BEYOND: Record<string, { readonly forge: Forge; readonly path: string }> = {
  'a path of another folder': {
    forge: (manifest, app) => withPath(join(app.base, 'victim'))(manifest, app),
    path: '/victim',
  },
  'a folder of secrets elsewhere': {
    forge: (manifest, app) => withConfigured(join(app.base, 'victim'))(manifest, app),
    path: '/victim',
  },
  'a secret outside of every component': {
    forge: (manifest, app) => withSecret(join(app.base, 'victim'))(manifest, app),
    path: '/victim',
  },
  'the folder around the application': {
    forge: (manifest, app) => withPath(app.root)(manifest, app),
    path: '/opt/shop',
  },
}

for (const [what, { forge, path }] of Object.entries(BEYOND)) {
  test(`${what} is not replaced unless told so, and the plan shows it`, async () => {
    const { app, id } = await forged(forge, { 'BASE/victim': 'evil' })
    using _ = app
    app.put('config/bot.json', 'live')
    app.put('main.js', 'live')
    const before = describeTree(app.base, { without: isRepository })
    const restore = (options = {}) => app.restore({}, { choice: { name: id }, ...options })
    await assert.rejects(restore(), { code: 'BEYOND_CONFIG', message: new RegExp(`replace ${app.base}${path}`) })
    assert.deepEqual(compareDescriptions(before, describeTree(app.base, { without: isRepository })), [])
    assert.deepEqual(
      readdirSync(app.base).filter((name) => name.includes('before')),
      [],
    )
    const plans: InPlacePlan[] = []
    const look = async (plan: InPlacePlan) => {
      plans.push(plan)
      return false
    }
    await restore({ beyondConfig: true, confirm: look })
    const unit = plans[0]?.units.find((each) => each.path === app.base + path)
    assert.equal(unit?.beyondConfig, true)
  })
}

test('folders of the system are never replaced as a whole, whatever is told', async () => {
  const { app, id } = await forged(withPath('/etc'), { '/etc/passwd': 'evil' })
  using _ = app
  await assert.rejects(app.restore({}, { choice: { name: id }, beyondConfig: true }), {
    code: 'USAGE',
    message: /^Cannot replace \/etc in place/,
  })
})

test('units that overlap are one', async () => {
  const { app, id } = await forged((manifest, app) => withPath(app.at('config/bot.json'))(manifest, app))
  using _ = app
  app.put('config/bot.json', 'live')
  const report = await app.restore({}, { choice: { name: id } })
  assert.deepEqual(
    report.plan.units.map(({ path }) => path),
    [app.at('config')],
  )
  assert.equal(app.read('config/bot.json'), 'sealed')
})

test('a config file is put back only where the config says that it lies', async () => {
  const { app, id } = await forged((manifest, app) => ({ ...manifest, configFile: join(app.base, 'cron.yaml') }))
  using _ = app
  await app.restore({}, { choice: { name: id } })
  assert.ok(!existsSync(join(app.base, 'cron.yaml')))
  assert.ok(!existsSync(join(app.base, 'etc/holdfast.yaml')))
})

test('what a manifest calls missing only stays as it is', async () => {
  const { app, id } = await forged((manifest, app) => ({
    ...manifest,
    findings: [
      { severity: 'error', code: 'x', message: 'x', path: app.at('config/keep') },
      { severity: 'error', code: 'x', message: 'x', path: '/etc/passwd' },
    ],
  }))
  using _ = app
  app.put('config/keep', 'live')
  app.put('config/bot.json', 'live')
  await app.restore({}, { choice: { name: id } })
  assert.deepEqual([app.read('config/keep'), app.read('config/bot.json')], ['live', 'sealed'])
})

test('a manifest that is larger than any honest one is not read', async () => {
  const { app, id } = await forged((manifest) => ({ ...manifest, reason: 'x'.repeat(65 * 1024 * 1024) }))
  using _ = app
  await assert.rejects(app.restore({}, { choice: { name: id, app: APP } }), {
    code: 'MANIFEST',
    message: /more than 67108864 bytes/,
  })
  assert.equal(readFileSync(join(app.base, 'victim'), 'utf8'), 'untouched')
})
