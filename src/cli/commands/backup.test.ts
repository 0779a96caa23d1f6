import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { runCommand } from '../../../test/equipment/run-command.ts'
import { cheapRepository, protectedApplication } from '../../../test/equipment/scratch-application.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { PASSWORD } from '../../../test/equipment/test-repository.ts'

const env = { RESTIC_PASSWORD: String(PASSWORD) }

test('an application is backed up whole, and its summary tells what is in each component', async () => {
  using folder = temporaryFolder()
  const app = await protectedApplication(folder.path)
  const { code, out, err } = await runCommand(app.root, ['backup', '--reason', 'a test'])
  assert.equal(err, '')
  assert.equal(code, 0)
  assert.match(out, /^backup scratch\n/)
  assert.match(out, /^data +1 .* 1 database +complete$/m)
  assert.match(out, /^secrets +1 .* 1 secret sealed +complete$/m)
  assert.match(out, /^Snapshot [0-9a-f]{8} saved$/m)
  assert.match(readFileSync(join(app.state, 'log'), 'utf8'), /backup succeeded/)
})

test('without anybody to seal for, the rest is stored and the exit code says that it is incomplete', async () => {
  using folder = temporaryFolder()
  const app = await protectedApplication(folder.path, { sealed: false })
  const { code, out, err } = await runCommand(app.root, ['backup'])
  assert.equal(code, 3)
  assert.match(err, /^error: \[secrets\] .*\.env is secret and not in the snapshot/m)
  assert.match(err, /hint: Name one in the config file/)
  assert.match(out, /^secrets .* INCOMPLETE$/m)
  assert.match(out, /^It is not complete/m)
})

test("with --json the summary has restic's keys", async () => {
  using folder = temporaryFolder()
  const app = await protectedApplication(folder.path)
  const { code, messages } = await runCommand(app.root, ['backup', '--json', '--component', 'config,data'])
  assert.equal(code, 0)
  const summary = messages().at(-1)!
  assert.equal(summary.message_type, 'summary')
  assert.match(String(summary.snapshot_id), /^[0-9a-f]{64}$/)
  assert.equal(summary.files_new, 2)
  assert.equal(summary.outcome, 'succeeded')
  assert.equal(typeof summary.total_duration, 'number')
  assert.deepEqual(
    (summary.components as { name: string }[]).map(({ name }) => name),
    ['config', 'data'],
  )
})

test('a dry run of an application says what it would store, and touches neither repository nor database', async () => {
  using folder = temporaryFolder()
  const app = await protectedApplication(folder.path)
  assert.equal((await runCommand(app.root, ['backup'])).code, 0)
  writeFileSync(join(app.root, 'config', 'more.json'), '{"more":true}\n')
  const before = everyFile(folder.path)
  const { code, messages } = await runCommand(app.root, ['backup', '--dry-run', '--json'])
  assert.equal(code, 0)
  assert.deepEqual(everyFile(folder.path), before)
  const plan = messages().at(-1) as unknown as { components: Record<string, unknown>[] }
  const component = (name: string) => plan.components.find((candidate) => candidate.name === name)
  assert.equal(component('config')?.files_new, 1)
  assert.equal(component('config')?.data_added, 14)
  assert.equal(component('secrets')?.secrets, 1)
  assert.equal((component('data')?.databases as unknown[] | undefined)?.length, 1)
  const { out } = await runCommand(app.root, ['backup', '-n'])
  assert.match(out, /^config +2 +\S+ \S+ +1 +0 +14 B$/m)
  assert.match(out, /Nothing was stored: this was a dry run\n$/)
})

test('a component that the config does not know is an error that names those it knows', async () => {
  using folder = temporaryFolder()
  const app = await protectedApplication(folder.path)
  const { code, err } = await runCommand(app.root, ['backup', '--component', 'dta'])
  assert.equal(code, 1)
  assert.match(err, /No component "dta"[\s\S]*hint: Choose among config, data, secrets/)
})

test('paths are backed up as restic does it, with its options', async () => {
  using folder = temporaryFolder()
  const repository = join(folder.path, 'repository')
  await cheapRepository(repository)
  const source = join(folder.path, 'source')
  mkdirSync(join(source, 'deep', 'cache'), { recursive: true })
  writeFileSync(join(source, 'kept.txt'), 'kept')
  writeFileSync(join(source, 'left.tmp'), 'left')
  writeFileSync(join(source, 'deep', 'cache', 'x'), 'x')
  const argv = [
    '-r',
    repository,
    'backup',
    source,
    '-e',
    '*.tmp',
    '--exclude',
    'deep/cache',
    '--tag',
    'a,b',
    '-H',
    'web',
  ]
  const { code, messages } = await runCommand(folder.path, [...argv, '--time', '2026-11-01T02:00:00Z', '--json'], {
    env,
  })
  assert.equal(code, 0)
  assert.equal(messages().at(-1)?.files_new, 1)
  const listed = await runCommand(folder.path, ['-r', repository, 'snapshots', '--json'], { env })
  const [snapshot] = JSON.parse(listed.out) as [Record<string, unknown>]
  assert.deepEqual(snapshot.tags, ['a', 'b'])
  assert.equal(snapshot.hostname, 'web')
  assert.equal(Date.parse(String(snapshot.time)), Date.parse('2026-11-01T02:00:00Z'))
  assert.deepEqual(snapshot.paths, [source])
})

test('a path that is not there is reported, the others are stored, and the exit code is 3', async () => {
  using folder = temporaryFolder()
  const repository = join(folder.path, 'repository')
  await cheapRepository(repository)
  const file = join(folder.path, 'file')
  writeFileSync(file, 'x')
  const { code, err } = await runCommand(folder.path, ['-r', repository, 'backup', file, '/no/such/path'], { env })
  assert.equal(code, 3)
  assert.match(err, /error: .*\/no\/such\/path[\s\S]*hint: Correct the path/)
})

test('paths of a protected application are refused: their secrets would be stored in the clear', async () => {
  using folder = temporaryFolder()
  const app = await protectedApplication(folder.path)
  const { code, err } = await runCommand(app.root, ['backup', app.root])
  assert.equal(code, 1)
  assert.match(err, /Cannot back up .*: .*holdfast\.yaml says what is backed up\nhint: /)
  assert.equal(readdirSync(join(app.repository, 'snapshots')).length, 0)
})

test('neither paths nor a config, options of the other form, and no repository are clear errors', async () => {
  using folder = temporaryFolder()
  const app = await protectedApplication(folder.path)
  for (const [cwd, argv, code, message] of [
    ['/', ['-r', app.repository, 'backup'], 1, /neither paths nor a config file/],
    ['/', ['backup'], 1, /Cannot tell which application is meant/],
    [app.root, ['backup', '--exclude', 'x'], 1, /Cannot use --exclude: it only goes with paths/],
    ['/', ['-r', app.repository, 'backup', '/etc', '--component', 'data'], 1, /Cannot use --component/],
    ['/', ['-r', join(folder.path, 'nowhere'), 'backup', '/etc'], 10, /No repository at[\s\S]*hint: /],
    [
      '/',
      ['-r', app.passwordFile, 'backup', '/etc'],
      1,
      /No repository at .*: part of its path is not a folder[\s\S]*hint: /,
    ],
    [app.root, ['backup', '-p', app.config], 12, /Wrong password/],
  ] as const) {
    const result = await runCommand(cwd, argv, { env: (argv as readonly string[]).includes('-p') ? {} : env })
    assert.match(result.err, message)
    assert.equal(result.code, code)
  }
  assert.equal(existsSync(join(folder.path, 'nowhere')), false)
})

/** Size and time of last change of everything below a folder. */
function everyFile(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => {
      const { size, mtimeMs, ctimeMs } = statSync(join(folder, name))
      return `${name} ${size} ${mtimeMs} ${ctimeMs}`
    })
    .sort()
}
