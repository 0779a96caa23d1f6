import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { runCommand } from '../../../test/equipment/run-command.ts'
import { protectedApplication, type ScratchApplication } from '../../../test/equipment/scratch-application.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { PASSWORD } from '../../../test/equipment/test-repository.ts'
import { acquireLock } from '../../engine/repository/locks.ts'
import { openRepository } from '../../engine/repository/repository.ts'
import { localStorage } from '../../engine/storage/local.ts'

async function backedUp(folder: string, sealed = true): Promise<ScratchApplication> {
  const app = await protectedApplication(folder, { sealed })
  await runCommand(app.root, ['backup', '-q'])
  return app
}

test('a sound repository checks clean', async () => {
  using folder = temporaryFolder()
  const app = await backedUp(folder.path)
  const { code, out, err } = await runCommand(app.root, ['check', '--read-data'])
  assert.equal(err, '')
  assert.equal(code, 0)
  assert.match(out, /^Checked 1 snapshot, \d packs, \d+ blobs, .* read again$/m)
  const json = await runCommand(app.root, ['check', '--json'])
  assert.equal(json.messages().at(-1)?.num_errors, 0)
})

test('damage is exit code 1, each defect named, grouped below with what to do once', async () => {
  using folder = temporaryFolder()
  const app = await backedUp(folder.path)
  const packs = readdirSync(join(app.repository, 'data'), { recursive: true, encoding: 'utf8' })
  const damaged = packs.filter((name) => name.length > 60).map((name) => join(app.repository, 'data', name))
  for (const pack of damaged) {
    const bytes = readFileSync(pack)
    bytes[10]! ^= 1
    writeFileSync(pack, bytes)
  }
  const { code, out, err } = await runCommand(app.root, ['check', '--read-data'])
  assert.equal(code, 1)
  assert.match(err, /^error: .*[0-9a-f]{8}/m)
  assert.doesNotMatch(err, /hint:/)
  assert.match(out, /^Severity +What +Count$/m)
  assert.match(out, /^error +\S+ +\d+$/m)
  assert.equal(out.match(/Bring the file back from a copy of the repository/g)?.length, 1)
})

test('a snapshot of an application is verified with its databases and seals', async () => {
  using folder = temporaryFolder()
  const app = await backedUp(folder.path)
  const { code, out } = await runCommand(app.root, ['verify'])
  assert.equal(code, 0)
  assert.match(out, /^Databases {2}1 restored and opened$/m)
  assert.match(out, /^Seals {6}1 archive read$/m)
  const { messages } = await runCommand(app.root, ['verify', '--json', '--at', '2999-01-01'])
  const summary = messages().at(-1)!
  assert.deepEqual([summary.databases_opened, summary.signature, summary.errors], [1, 'none', 0])
})

test('a backup that was incomplete verifies as incomplete, not as damaged', async () => {
  using folder = temporaryFolder()
  const app = await backedUp(folder.path, false)
  const { code, err } = await runCommand(app.root, ['verify'])
  assert.equal(code, 3)
  assert.match(err, /\.env is secret and not in the snapshot/)
})

test('a lock of a living process stays, unless all are to go', async () => {
  using folder = temporaryFolder()
  const app = await backedUp(folder.path)
  const repository = await openRepository(localStorage(app.repository), { password: PASSWORD })
  await using _ = await acquireLock(repository, { exclusive: true })
  const locked = await runCommand(app.root, ['snapshots'])
  assert.equal(locked.code, 11)
  assert.match(locked.err, /hint: .*--retry-lock/)
  assert.equal((await runCommand(app.root, ['unlock'])).out, 'No locks to remove\n')
  assert.equal((await runCommand(app.root, ['unlock', '--remove-all'])).out, 'Removed 1 lock\n')
  const json = await runCommand(app.root, ['unlock', '--json'])
  assert.deepEqual(json.messages(), [{ message_type: 'unlocked', removed: 0 }])
})

test('the demo ends with every row back', async () => {
  const { code, messages } = await runCommand('/', ['demo', '--json'])
  assert.equal(code, 0)
  const summary = messages().at(-1)!
  assert.deepEqual([summary.outcome, summary.missing, summary.health], ['succeeded', 0, 'healthy'])
  assert.ok(messages().some(({ message_type, step }) => message_type === 'demo_step' && step === 'count the rows'))
})
