import assert from 'node:assert/strict'
import { readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { openJournal, readJournal } from '../../src/application/journal/journal.ts'
import { run } from '../../src/cli/main.ts'
import { protectedApplication } from '../equipment/scratch-application.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { fakeIo } from '../support/fake-io.ts'

async function scratch() {
  const folder = temporaryFolder()
  const app = await protectedApplication(folder.path)
  return {
    ...app,
    journalFile: join(app.state, 'journal.db'),
    async holdfast(...args: string[]) {
      const io = fakeIo({ cwd: app.root, now: new Date() })
      return { code: await run(args, io), out: io.out(), err: io.err(), messages: io.messages }
    },
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  }
}

type Status = {
  health: string
  components: { name: string; last_good?: { snapshot_id: string; proof_level: string } }[]
  last: Record<string, { outcome: string } | undefined>
  journal: string
  repository: string
  findings: { code: string }[]
}

test('status tells from the exit code on whether the application can be brought back', async () => {
  using app = await scratch()
  const before = await app.holdfast('status')
  assert.equal(before.code, 1)
  assert.match(before.out, /error: Nothing was backed up yet\n {2}hint: Run `holdfast backup`/)
  await app.holdfast('backup')
  const good = await app.holdfast('status')
  assert.equal(good.code, 0, good.out)
  assert.match(good.out, /^data +\d{4}-\d\d-\d\d \d\d:\d\d +0 min +[0-9a-f]{8} +8\.00 KiB +checked/m)
  rmSync(join(app.root, 'config'), { recursive: true })
  assert.equal((await app.holdfast('backup')).code, 3)
  const incomplete = await app.holdfast('status')
  assert.equal(incomplete.code, 3)
  assert.match(incomplete.out, /warning: The last backup could not store everything/)
})

test('when journal and machine are gone, status and history come from the repository, with runs and proofs', async () => {
  using app = await scratch()
  await app.holdfast('backup')
  await app.holdfast('check', '--read-data')
  await app.holdfast('backup')
  const lost = openJournal(app.journalFile)
  const runs = lost.runs().length
  const first = lost.snapshots()[0]!.id
  lost[Symbol.dispose]()
  rmSync(app.state, { recursive: true })
  const { code, messages } = await app.holdfast('status', '--json')
  const [status] = messages() as unknown as Status[]
  assert.deepEqual([status!.journal, status!.repository, code], ['rebuilt', 'used', 3])
  assert.ok(status!.findings.some((finding) => finding.code === 'journal-missing'))
  assert.equal(status!.last.check?.outcome, 'succeeded')
  assert.equal(status!.last.backup?.outcome, 'succeeded', 'the one whose copy of the journal was made while it ran')
  using journal = readJournal(app.journalFile)
  assert.equal(journal!.runs().length, runs)
  assert.equal(journal!.proof(first)?.level, 're-read')
  assert.equal(journal!.snapshots().length, 2)
  const again = (await app.holdfast('status', '--json')).messages()[0] as unknown as Status
  assert.equal(again.journal, 'used')
})

test('a backup on a new machine does not shadow the history in older snapshots', async () => {
  using app = await scratch()
  await app.holdfast('backup')
  await app.holdfast('verify')
  await app.holdfast('backup')
  rmSync(app.state, { recursive: true })
  await app.holdfast('backup') // its copy of the journal knows nothing of what was before
  rmSync(app.state, { recursive: true })
  const rebuilt = await app.holdfast('history', '--rebuild', '--json')
  assert.equal(rebuilt.code, 0, rebuilt.err)
  const operations = rebuilt
    .messages()
    .flatMap(({ message_type, operation }) => (message_type === 'run' ? [operation] : []))
  assert.deepEqual(operations, ['backup', 'backup', 'verify', 'backup'])
})

test('what is proven of snapshots is known from manifests, also without any copy of the journal', async () => {
  using app = await scratch()
  await app.holdfast('backup')
  await app.holdfast('check', '--read-data')
  await app.holdfast('backup')
  const [first] = JSON.parse((await app.holdfast('snapshots', '--json')).out) as { id: string }[]
  const dumped = await app.holdfast('dump', 'latest', '/.holdfast/manifest.json')
  const { proofs } = JSON.parse(dumped.out) as { proofs: { snapshot: string; level: string }[] }
  assert.deepEqual(
    proofs.map(({ snapshot, level }) => [snapshot, level]),
    [[first!.id, 're-read']],
  )
})

test('when the repository cannot be reached, status comes from the journal and says so', async () => {
  using app = await scratch()
  await app.holdfast('backup')
  renameSync(app.repository, `${app.repository}-away`)
  const { code, messages } = await app.holdfast('status', '--json')
  const [status] = messages() as unknown as Status[]
  assert.deepEqual([code, status!.journal, status!.repository], [1, 'used', 'unavailable'])
  assert.equal(status!.components.find(({ name }) => name === 'data')?.last_good?.proof_level, 'checked')
  assert.ok(status!.findings.some((finding) => finding.code === 'repository-unreachable'))
})

test('a damaged journal is set aside by status, and what the repository knows is in a new one', async () => {
  using app = await scratch()
  await app.holdfast('backup')
  writeFileSync(app.journalFile, 'no database'.repeat(1000))
  const { code, out } = await app.holdfast('status')
  assert.equal(code, 3)
  assert.match(out, /warning: The journal .* is damaged/)
  assert.ok(readdirSync(app.state).some((name) => name.includes('damaged')))
  await app.holdfast('verify') // what was proven since the copy was made is lost with the journal
  assert.equal((await app.holdfast('status')).code, 0)
})

test('snapshots that others made, tagged or removed are known to status', async () => {
  using app = await scratch()
  await app.holdfast('backup')
  const [{ id }] = JSON.parse((await app.holdfast('snapshots', '--json')).out)
  rmSync(join(app.repository, 'snapshots', id))
  const { code, messages } = await app.holdfast('status', '--json')
  assert.equal(code, 1)
  assert.deepEqual(
    (messages()[0] as unknown as Status).findings.map((finding) => finding.code),
    ['never-backed-up'],
  )
})

test('history lists runs by operation, outcome and date, and shows one with its steps and findings', async () => {
  using app = await scratch()
  await app.holdfast('backup')
  rmSync(join(app.root, 'config'), { recursive: true })
  await app.holdfast('backup')
  await app.holdfast('verify')
  const ids = async (...args: string[]) =>
    (await app.holdfast('history', '--json', ...args))
      .messages()
      .map(({ operation, outcome }) => `${operation} ${outcome}`)
  assert.deepEqual(await ids(), ['verify incomplete', 'backup incomplete', 'backup succeeded'])
  assert.deepEqual(await ids('--operation', 'backup', '--outcome', 'incomplete,failed'), ['backup incomplete'])
  assert.deepEqual(await ids('-n', '1'), ['verify incomplete'])
  assert.deepEqual(await ids('--since', '2099-01-01'), [])
  assert.deepEqual(await ids('--until', '2000-01-01'), [])

  const [, backup] = (await app.holdfast('history', '--json')).messages()
  const shown = await app.holdfast('history', backup!.run as string)
  assert.match(shown.out, /^backup scratch\nRun [0-9a-z]{8} on .*, incomplete after/)
  assert.match(shown.out, /^capture +data +succeeded/m)
  assert.match(shown.out, /error: \[config\] Cannot capture .*config: found nothing there/)
  assert.equal((await app.holdfast('history', 'latest')).code, 0)

  const wrong = await app.holdfast('history', 'zzz')
  assert.deepEqual([wrong.code, wrong.err.includes('the journal has no such one')], [1, true])
  const outcome = await app.holdfast('history', '--outcome', 'fine')
  assert.match(outcome.err, /Cannot look for the outcome fine[\s\S]*succeeded, incomplete/)
})
