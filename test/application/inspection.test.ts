import assert from 'node:assert/strict'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import type { BackupOptions } from '../../src/operations/backup/backup-application.ts'
import { briefly, type ProtectedApplication, protectedApplication } from '../equipment/protected-application.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { fileIn, rewriteSnapshot } from '../equipment/rewrite-snapshot.ts'

/** Does something between the publication of a snapshot and its inspection. */
function beforeInspection(harm: () => void): Partial<BackupOptions> {
  return { observe: (event) => event.type === 'phase' && event.phase === 'verify' && harm() }
}

function filesIn(app: ProtectedApplication, folder: string): string[] {
  const path = join(app.access.location, folder)
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => /[0-9a-f]{64}$/.test(name))
    .map((name) => join(path, name))
}

test('a pack that is lost before the inspection is found by it', async () => {
  using app = await protectedApplication({ data: 'data' })
  app.put('data/notes', 'notes')
  await app.backUp()
  const before = new Set(filesIn(app, 'data'))
  app.put('data/new', randomBytes(100_000, 'new'))
  const lose = () => {
    for (const file of filesIn(app, 'data')) if (!before.has(file)) rmSync(file)
  }
  const report = await app.backUp({}, beforeInspection(lose))
  assert.equal(report.outcome, 'incomplete')
  const codes = new Set(report.findings.map(({ code }) => code))
  assert.ok(codes.has('pack-missing') && codes.has('manifest-damaged'), [...codes].join())
  assert.ok(report.findings.every(({ hint }) => hint))
})

test('a snapshot or an index that is lost before the inspection is found by it', async () => {
  using app = await protectedApplication({ data: 'data' })
  app.put('data/notes', 'notes')
  const lost = await app.backUp(
    {},
    beforeInspection(() => {
      for (const file of filesIn(app, 'snapshots')) rmSync(file)
    }),
  )
  assert.deepEqual([lost.outcome, briefly(lost.findings)], ['incomplete', ['error snapshot-damaged']])
  const unindexed = await app.backUp(
    {},
    beforeInspection(() => {
      for (const file of filesIn(app, 'index')) rmSync(file)
    }),
  )
  assert.equal(unindexed.outcome, 'incomplete')
})

test('a repository that is lost before the inspection: the snapshot was made, and the report says what is not known', async () => {
  using app = await protectedApplication({ data: 'data' })
  app.put('data/notes', 'notes')
  const report = await app.backUp(
    {},
    beforeInspection(() => rmSync(join(app.access.location, 'index'), { recursive: true })),
  )
  assert.equal(report.outcome, 'incomplete')
  assert.ok(report.findings.some(({ severity, hint }) => severity === 'error' && hint))
})

test('a broken seal is found by the inspection, with and without the key', async () => {
  using app = await protectedApplication({ config: 'config' })
  app.put('config/.env', 'TOKEN=1')
  app.put('config/bot.json', '{}')
  const identity = await app.makeAgeIdentity()
  const changes = { seal: [identity.recipient] }
  const { snapshot } = await app.backUp(changes)
  const seal = '/.holdfast/secrets.tar.gz.age'
  const bytes = await fileIn(await app.open(), snapshot, seal)
  const cut = await rewriteSnapshot(await app.open(), snapshot, {
    files: { [seal]: bytes.subarray(0, bytes.length - 10) },
  })
  const rubbish = await rewriteSnapshot(await app.open(), snapshot, { files: { [seal]: 'no seal at all' } })
  const flipped = Buffer.from(bytes)
  flipped[flipped.length - 20]! ^= 1
  const altered = await rewriteSnapshot(await app.open(), snapshot, { files: { [seal]: flipped } })
  for (const [id, unseal] of [
    [cut, undefined],
    [rubbish, undefined],
    [cut, identity.file],
    [altered, identity.file],
  ] as const) {
    const { findings } = await app.verify({ ...changes, ...(unseal ? { unseal } : {}) }, id)
    assert.ok(briefly(findings).includes(`error seal-broken ${seal}`), briefly(findings).join())
  }
})

test('a size beyond ±20 % of the median of the last backups is a warning', async () => {
  using app = await protectedApplication({ config: 'config', data: 'data' })
  app.put('config/bot.json', 'c'.repeat(1000))
  const backUp = async (bytes: number) => {
    app.put('data/blob', randomBytes(bytes, bytes))
    const { findings, outcome } = await app.backUp()
    assert.equal(outcome, 'succeeded', 'a warning leaves nothing incomplete')
    return findings.map(({ code, component, message }) => `${code} ${component} ${/\(.*\)/.exec(message)?.[0]}`)
  }
  assert.deepEqual(await backUp(100_000), [])
  assert.deepEqual(await backUp(119_000), [])
  assert.deepEqual(await backUp(60_000), ['size-unusual data (−45 %)'])
  assert.deepEqual(await backUp(130_000), ['size-unusual data (+30 %)'])
  assert.deepEqual(await backUp(112_000), [])
  rmSync(app.at('config/bot.json'))
  app.put('config/bot.json', 'c')
  assert.deepEqual(await backUp(112_000), ['size-unusual config (−100 %)'])
})
