import assert from 'node:assert/strict'
import { readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { openGpgHome, without } from '../../src/application/sources/gpg-home.test-fixture.ts'
import type { BackupReport } from '../../src/operations/backup/backup-application.ts'
import { findNode } from '../../src/operations/snapshot-files.ts'
import { damagePackOf } from '../equipment/damage-pack.ts'
import { briefly, type ProtectedApplication, protectedApplication } from '../equipment/protected-application.ts'
import { repositoryContent } from '../equipment/repository-content.ts'
import { pathsIn } from '../equipment/snapshot-paths.ts'

const SECRET = 'TOKEN=hunter2hunter2'

async function withSecrets() {
  const app = await protectedApplication({ config: 'config', secrets: 'secrets' })
  app.put('config/bot.json', '{}')
  app.put('config/.env', SECRET)
  app.put('secrets/.env.production', SECRET, 0o600)
  return app
}

/** The blobs of the sealed archive. */
async function sealIn(app: ProtectedApplication, { snapshot, manifest }: BackupReport): Promise<readonly string[]> {
  const repository = await app.open()
  const { readSnapshot } = await import('../../src/engine/repository/snapshots.ts')
  const { tree } = await readSnapshot(repository, snapshot)
  const node = await findNode(repository, tree, `/.holdfast/${manifest.secrets?.archives[0]}`)
  return node?.content ?? []
}

test('unchanged secrets are not sealed again: the next snapshot has the same blobs, and only metadata is new', async () => {
  using app = await withSecrets()
  const { recipient } = await app.makeAgeIdentity()
  const first = await app.backUp({ seal: [recipient] })
  const before = await sealIn(app, first)
  const second = await app.backUp({ seal: [recipient] })
  assert.deepEqual(await sealIn(app, second), before)
  assert.ok(before.length > 0)
  assert.deepEqual([second.summary.filesNew, second.summary.filesChanged], [0, 0])
  assert.equal(second.summary.dataBlobs, 1, 'the manifest')
})

const RESEALED: Record<
  string,
  (app: ProtectedApplication) => Promise<Record<string, unknown>> | Record<string, unknown>
> = {
  'a changed secret': (app) => {
    app.put('config/.env', 'TOKEN=hunter3hunter3')
    return {}
  },
  'a new secret': (app) => {
    app.put('secrets/another', 'x')
    return {}
  },
  'a secret with another mode': (app) => {
    app.put('config/.env', SECRET, 0o600)
    return {}
  },
  'another recipient': async (app) => ({ seal: [(await app.makeAgeIdentity('second')).recipient] }),
  'one recipient more': async (app) => ({
    seal: [(await app.makeAgeIdentity('second')).recipient, (await app.makeAgeIdentity('third')).recipient],
  }),
  'a lost key of the digests': (app) => {
    rmSync(join(app.base, 'state'), { recursive: true })
    return {}
  },
}

for (const [what, change] of Object.entries(RESEALED)) {
  test(`${what} is sealed anew`, async () => {
    using app = await withSecrets()
    const { recipient } = await app.makeAgeIdentity()
    const before = await sealIn(app, await app.backUp({ seal: [recipient] }))
    const changes = await change(app)
    const second = await app.backUp({ seal: [recipient], ...changes })
    assert.equal(second.outcome, 'succeeded')
    assert.notDeepEqual(await sealIn(app, second), before)
    assert.deepEqual(await sealIn(app, await app.backUp({ seal: [recipient], ...changes })), await sealIn(app, second))
  })
}

test('a previous seal that is damaged is not kept', async () => {
  using app = await withSecrets()
  const identity = await app.makeAgeIdentity()
  const changes = { seal: [identity.recipient], unseal: identity.file }
  const first = await app.backUp(changes)
  const [blob] = await sealIn(app, first)
  damagePackOf(await app.open(), app.access.location, 'data', blob!)
  const second = await app.backUp(changes)
  assert.notDeepEqual(await sealIn(app, second), [blob])
  assert.deepEqual(
    (await app.verify(changes)).findings.filter(({ code }) => code === 'seal-broken'),
    [],
  )
})

test('without a state folder that can be written to, secrets are sealed each time', async () => {
  using app = await withSecrets()
  const { recipient } = await app.makeAgeIdentity()
  writeFileSync(join(app.base, 'state'), 'a file stands in its place')
  const [first, second] = [await app.backUp({ seal: [recipient] }), await app.backUp({ seal: [recipient] })]
  assert.equal(first.outcome, 'succeeded')
  assert.deepEqual(briefly(first.findings), ['warning secrets-not-compared'])
  assert.notDeepEqual(await sealIn(app, first), await sealIn(app, second))
})

async function expectNotSealed(
  app: ProtectedApplication,
  changes: Record<string, unknown>,
  why: RegExp,
): Promise<void> {
  const report = await app.backUp(changes)
  assert.equal(report.outcome, 'incomplete')
  assert.deepEqual(briefly(report.findings, app.root).sort(), [
    'error secret-not-sealed /config/.env',
    'error secret-not-sealed /secrets',
    'error secret-not-sealed /secrets/.env.production',
  ])
  for (const { message, hint } of report.findings) {
    assert.match(message, why)
    assert.ok(hint)
  }
  assert.equal(report.manifest.secrets, undefined)
  assert.deepEqual(await pathsIn(await app.open(), report.snapshot, app.root), ['config/', 'config/bot.json'])
  for await (const [name, bytes] of repositoryContent(await app.open(), app.access.location)) {
    assert.ok(!bytes.includes('hunter2'), name)
  }
}

test('without a recipient secrets stay out, everything else is in, and each is listed', async () => {
  using app = await withSecrets()
  await expectNotSealed(app, {}, /no recipient is configured/)
})

test('an unknown or expired key keeps secrets out, also when another recipient is usable', {
  skip: without('gpg'),
}, async () => {
  using gpg = openGpgHome()
  using app = await withSecrets()
  const { recipient } = await app.makeAgeIdentity()
  await expectNotSealed(app, { seal: ['gpg:nobody@example.com', recipient] }, /nobody@example\.com/)
  gpg.makeKey('Old <old@example.com>', { expires: '2020-02-01', madeOn: '20200101T000000' })
  await expectNotSealed(app, { seal: [recipient, 'gpg:old@example.com'] }, /expired/)
  gpg.makeKey('New <new@example.com>')
  const report = await app.backUp({ seal: [recipient, 'gpg:new@example.com'] })
  assert.equal(report.outcome, 'succeeded')
  assert.deepEqual(report.manifest.secrets?.archives.toSorted(), ['secrets.tar.gz.age', 'secrets.tar.gz.gpg'])
})

test('secrets alone can be backed up, as the only component', async () => {
  using app = await withSecrets()
  const identity = await app.makeAgeIdentity()
  const changes = { seal: [identity.recipient], unseal: identity.file }
  const report = await app.backUp(changes, { components: ['secrets'] })
  assert.equal(report.outcome, 'succeeded')
  const [component] = report.manifest.components
  assert.deepEqual([component?.files, component?.bytes], [1, statSync(app.at('secrets/.env.production')).size])
  rmSync(app.at('secrets'), { recursive: true })
  const restored = await app.restore(changes, { components: ['secrets'], identities: [identity.file] })
  assert.equal(restored.outcome, 'succeeded')
  assert.equal(app.read('secrets/.env.production'), SECRET)
})

test('nothing stays in the work and state folders but the key of the digests', async () => {
  using app = await withSecrets()
  const { recipient } = await app.makeAgeIdentity()
  await app.backUp({ seal: [recipient] })
  assert.deepEqual(readdirSync(join(app.base, 'work')), [])
  assert.deepEqual(readdirSync(join(app.base, 'state')), ['seal-digest.key'])
  assert.equal(statSync(join(app.base, 'state/seal-digest.key')).mode & 0o777, 0o600)
})
