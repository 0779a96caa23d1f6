import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
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
  const journalFile = join(app.state, 'journal.db')
  return {
    ...app,
    base: folder.path,
    journalFile,
    async holdfast(...args: string[]) {
      const io = fakeIo({ cwd: app.root })
      const code = await run(args, io)
      return { code, out: io.out(), err: io.err(), messages: io.messages }
    },
    journal: () => readJournal(journalFile)!,
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  }
}

test('each operation of an application is in its journal, and raises the proof of a snapshot as far as it proved it', async () => {
  using app = await scratch()
  const proof = () => {
    using journal = app.journal()
    return journal.lastGood('data')?.proof?.level
  }
  assert.equal((await app.holdfast('backup')).code, 0)
  assert.equal(proof(), 'checked')
  await app.holdfast('verify')
  assert.equal(proof(), 'checked', 'the seal could not be opened here')
  await app.holdfast('check', '--read-data')
  assert.equal(proof(), 're-read')
  await app.holdfast('restore', '--target', join(app.base, 'out'), '--no-unseal')
  assert.equal(proof(), 'restored')
  writeFileSync(app.config, `${readFileSync(app.config, 'utf8')}unseal: [${app.identity}]\n`)
  await app.holdfast('verify')
  assert.equal(proof(), 'opened')
  await app.holdfast('forget', '--keep-last', '1', '--dry-run')
  await app.holdfast('scrub')
  using journal = app.journal()
  assert.deepEqual(
    journal.runs().map(({ operation, state }) => [operation, state]),
    [
      ['scrub', 'succeeded'],
      ['verify', 'succeeded'],
      ['restore', 'succeeded'],
      ['check', 'succeeded'],
      ['verify', 'succeeded'],
      ['backup', 'succeeded'],
    ],
  )
  const backup = journal.runs().at(-1)!
  assert.ok(journal.steps(backup.id).some(({ name, component }) => name === 'capture' && component === 'data'))
  assert.equal(journal.proof(journal.lastGood('data')!.snapshot)?.evidence.seals_opened, 1)
})

test('a snapshot that is found damaged is no good copy any more, and one that was forgotten neither', async () => {
  using app = await scratch()
  await app.holdfast('backup')
  await app.holdfast('backup', '--force')
  const [first, second] = [...app.journal().snapshots()]
  await app.holdfast('tag', '--add', 'kept', first!.id)
  using journal = app.journal()
  const renamed = journal.snapshots()[0]!
  assert.notEqual(renamed.id, first!.id)
  assert.equal(journal.proof(renamed.id)?.level, 'checked')
  assert.equal(journal.lastGood('data')?.snapshot, second!.id)
  await app.holdfast('forget', second!.id)
  assert.equal(journal.lastGood('data')?.snapshot, renamed.id)

  for (const folder of readdirSync(join(app.repository, 'data')))
    for (const name of readdirSync(join(app.repository, 'data', folder))) {
      const pack = join(app.repository, 'data', folder, name)
      chmodSync(pack, 0o600)
      writeFileSync(pack, randomBytes(statSync(pack).size))
    }
  assert.equal((await app.holdfast('verify')).code, 1)
  assert.equal(journal.lastGood('data'), undefined)
})

test('a dry run leaves no trace in the journal, nor does looking', async () => {
  using app = await scratch()
  await app.holdfast('backup')
  await app.holdfast('backup', '--dry-run')
  await app.holdfast('prune', '--dry-run')
  await app.holdfast('snapshots')
  await app.holdfast('ls', 'latest')
  assert.equal(app.journal().runs().length, 1)
})

test('every snapshot holds a copy of the journal, which costs an unchanged backup a few pages', async () => {
  using app = await scratch()
  mkdirSync(app.state, { recursive: true, mode: 0o700 })
  {
    using journal = openJournal(app.journalFile)
    journal.transaction(() => {
      for (let number = 0; number < 300; number++) {
        const at = new Date(Date.now() - (300 - number) * 86_400_000)
        const run = journal.begin('check', app.repository, {}, at)
        for (const name of ['capture', 'archive', 'seal', 'publish', 'verify', 'look'])
          run.step(name, { at }).finish('succeeded', {}, { at })
        run.finish('succeeded', {
          snapshot_id: randomBytes(32).toString('hex'),
          text: randomBytes(200).toString('hex'),
        })
      }
    })
  }
  const size = statSync(app.journalFile).size
  await app.holdfast('backup')
  const { out } = await app.holdfast('backup', '--json')
  const summary = JSON.parse(out.trim().split('\n').at(-1)!)
  assert.ok(size > 300_000, `${size} bytes of journal`)
  assert.ok(summary.data_added_packed < 40_000, `${summary.data_added_packed} bytes added`)
  const target = join(app.base, 'out')
  await app.holdfast('restore', '--target', target, '--no-unseal')
  using copy = readJournal(join(target, '.holdfast', 'journal.db'))
  assert.deepEqual(
    copy!.runs({ limit: 2 }).map(({ operation }) => operation),
    ['backup', 'backup'],
  )
  const verified = await app.holdfast('verify')
  assert.equal(verified.code, 0, verified.err)
})

test('a backup succeeds whatever is the matter with the journal, and says so', async () => {
  using app = await scratch()
  mkdirSync(join(app.state), { recursive: true, mode: 0o700 })
  writeFileSync(app.journalFile, 'no database'.repeat(1000))
  const damaged = await app.holdfast('backup')
  assert.equal(damaged.code, 0)
  assert.match(damaged.err, /journal .* is damaged: .* it is now .*\n.*hint: Run `holdfast history --rebuild`/s)
  assert.equal(app.journal().runs().length, 1)

  mkdirSync(join(app.base, 'broken'))
  mkdirSync(join(app.base, 'broken', 'journal.db'))
  writeFileSync(
    app.config,
    readFileSync(app.config, 'utf8').replace(`state-dir: ${app.state}`, `state-dir: ${app.base}/broken`),
  )
  const broken = await app.holdfast('backup')
  assert.equal(broken.code, 0)
  assert.match(broken.err, /warning: Not in the journal: Cannot write the journal/)
})
