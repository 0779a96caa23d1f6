import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { acquireLock } from '../src/engine/repository/locks.ts'
import { openRepository } from '../src/engine/repository/repository.ts'
import { localStorage } from '../src/engine/storage/local.ts'
import { backUp } from './equipment/path-operations.ts'
import { randomBytes } from './equipment/random-bytes.ts'
import { cheapRepository, protectedApplication } from './equipment/scratch-application.ts'
import { temporaryFolder } from './equipment/temporary-folder.ts'
import { PASSWORD } from './equipment/test-repository.ts'

// The program as an operator runs it: the launcher, a process of its own, real signals and pipes.

const HOLDFAST = join(dirname(import.meta.dirname), 'bin', 'holdfast')

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function start(cwd: string, argv: readonly string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const env = { PATH: process.env.PATH, HOME: cwd, RESTIC_PASSWORD: String(PASSWORD) }
  const child = spawn(HOLDFAST, argv, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const texts = { out: '', err: '' }
  child.stdout.on('data', (chunk) => {
    texts.out += String(chunk)
  })
  child.stderr.on('data', (chunk) => {
    texts.err += String(chunk)
  })
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...texts }))
  return { child, ended }
}

test('an application goes through backup, snapshots, dump and check in processes of their own', async () => {
  using folder = temporaryFolder()
  const app = await protectedApplication(folder.path)
  const backup = await start(app.root, ['backup']).ended
  assert.equal(backup.code, 0, backup.err)
  const listed = await start(app.root, ['snapshots', '--json']).ended
  assert.equal((JSON.parse(listed.out) as unknown[]).length, 1)
  assert.equal((await start(app.root, ['dump', join(app.root, 'config', 'app.json')]).ended).out, '{"port":3000}\n')
  assert.equal((await start(app.root, ['check', '--read-data']).ended).code, 0)
})

test('Ctrl-C in the middle of a backup releases the lock, leaves no snapshot and is exit code 130', async () => {
  using folder = temporaryFolder()
  const repository = join(folder.path, 'repository')
  await cheapRepository(repository)
  const source = join(folder.path, 'source')
  mkdirSync(source)
  for (let i = 0; i < 40; i += 1) writeFileSync(join(source, `${i}`), randomBytes(8 * 1024 * 1024, i))
  const { child, ended } = start(folder.path, ['-r', repository, 'backup', source])
  while (packsIn(repository) === 0 && child.exitCode === null) await sleep(20)
  child.kill('SIGINT')
  const { code, err } = await ended
  assert.equal(code, 130, err)
  assert.match(err, /stopping in good order[\s\S]*Interrupted by SIGINT/)
  assert.deepEqual(readdirSync(join(repository, 'locks')), [])
  assert.deepEqual(readdirSync(join(repository, 'snapshots')), [])
  const check = await start(folder.path, ['-r', repository, 'check', '--read-data']).ended
  assert.equal(check.code, 0, check.err)
})

test('a reader that goes away ends the program quietly', async () => {
  using folder = temporaryFolder()
  const app = await protectedApplication(folder.path)
  assert.equal((await start(app.root, ['backup', '-q']).ended).code, 0)
  const { child, ended } = start(app.root, ['ls', '--json'])
  child.stdout!.destroy()
  const { code, err } = await ended
  assert.ok(code === 141 || code === 0)
  assert.equal(err, '')
})

test('a signal ends the wait of every command for a lock, which then leaves none of its own', async () => {
  using folder = temporaryFolder()
  const repository = join(folder.path, 'repository')
  await cheapRepository(repository)
  const opened = await openRepository(localStorage(repository), { password: PASSWORD })
  await using lock = await acquireLock(opened, { exclusive: true })
  const held = readdirSync(join(repository, 'locks'))
  const commands = [
    ['prune'],
    ['check'],
    ['forget', '--keep-last', '1'],
    ['tag', '--add', 'x'],
    ['repair', 'index'],
    ['stats'],
    ['dump', '/'],
  ]
  await Promise.all(
    commands.map(async (command) => {
      const { child, ended } = start(folder.path, ['-r', repository, '--retry-lock', '1h', ...command])
      let said = ''
      child.stderr!.on('data', (text) => {
        said += String(text)
      })
      while (!said.includes('waiting for up to') && child.exitCode === null) await sleep(20)
      child.kill('SIGTERM')
      const { code, err } = await ended
      assert.equal(code, 130, `${command.join(' ')}: ${err}`)
      assert.match(err, /Interrupted by SIGTERM/)
    }),
  )
  assert.deepEqual(readdirSync(join(repository, 'locks')), held)
  assert.ok(!lock.signal.aborted)
})

test('Ctrl-C in the middle of a prune or a copy gives the locks back and loses nothing', async () => {
  using folder = temporaryFolder()
  const [repository, other, source] = ['repository', 'other', 'source'].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ]
  for (const each of [repository, other]) await cheapRepository(each)
  mkdirSync(source)
  for (let i = 0; i < 24; i += 1) writeFileSync(join(source, `${i}`), randomBytes(4 * 1024 * 1024, i))
  await backUp(repository, [source], { host: 'all' })
  for (let i = 0; i < 24; i += 4) rmSync(join(source, `${i}`))
  await backUp(repository, [source], { host: 'most' })
  const forgotten = await start(folder.path, [
    '-r',
    repository,
    'forget',
    '--host',
    'all',
    '--unsafe-allow-remove-all',
    '-q',
  ]).ended
  assert.equal(forgotten.code, 0, forgotten.err)
  const password = join(folder.path, 'password')
  writeFileSync(password, PASSWORD, { mode: 0o600 })
  const copying = ['-r', other, 'copy', '--from-repo', repository, '--from-password-file', password]
  for (const [command, changing] of [
    [copying, other],
    [['-r', repository, 'prune', '--max-unused', '0'], repository],
  ] as const) {
    const before = packsIn(changing)
    const { child, ended } = start(folder.path, command)
    while (packsIn(changing) === before && child.exitCode === null) await sleep(10)
    child.kill('SIGINT')
    const { code, err } = await ended
    assert.equal(code, 130, `${command.join(' ')}: ${err}`)
    for (const each of [repository, other]) {
      assert.deepEqual(readdirSync(join(each, 'locks')), [])
      const check = await start(folder.path, ['-r', each, 'check', '--read-data']).ended
      assert.equal(check.code, 0, check.err)
    }
  }
})

function packsIn(repository: string): number {
  return readdirSync(join(repository, 'data'), { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.length === 'ab/'.length + 64,
  ).length
}
