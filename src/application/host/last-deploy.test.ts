import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { lastDeploy } from './last-deploy.ts'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'holdfast-deploy-'))
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

function put(path: string, text: string): string {
  const file = join(root, path)
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, text)
  return file
}

const line = (commit: string, seconds: number, message: string) =>
  `${'0'.repeat(40)} ${commit.repeat(40)} A > B <a@b> ${seconds} +0100\t${message}\n`

test('the newest line of the reflog of git says what was deployed when, also of a long one', async () => {
  put(
    '.git/logs/HEAD',
    line('a', 1_700_000_000, 'commit: first').repeat(300) + line('b', 1_800_000_000, 'pull: Fast > forward'),
  )
  assert.deepEqual(await lastDeploy(root), {
    by: 'git',
    at: new Date(1_800_000_000_000),
    what: 'bbbbbbbb pull: Fast > forward',
  })
})

test('it is what git itself writes', {
  skip: spawnSync('git', ['--version']).status !== 0 && 'needs git',
}, async () => {
  const who = ['-c', 'user.name=A', '-c', 'user.email=a@b']
  const git = (...args: string[]) => assert.equal(spawnSync('git', [...who, ...args], { cwd: root }).status, 0)
  git('init', '-q')
  git('commit', '-q', '--allow-empty', '-m', 'The first')
  const deploy = await lastDeploy(root)
  assert.match(deploy!.what, /^[0-9a-f]{8} commit \(initial\): The first$/)
  assert.ok(Math.abs(deploy!.at.getTime() - Date.now()) < 60_000)
})

test('of several traces the newest counts: a link to the release, what npm installed', async () => {
  put('.git/logs/HEAD', line('a', 1_000_000_000, 'pull'))
  const installed = put('node_modules/.package-lock.json', '{}')
  utimesSync(installed, 1_100_000_000, 1_100_000_000)
  assert.equal((await lastDeploy(root))?.by, 'npm')
  mkdirSync(join(root, 'releases/2'), { recursive: true })
  symlinkSync('releases/2', join(root, 'current'))
  assert.deepEqual([(await lastDeploy(root))?.by, (await lastDeploy(root))?.what], ['link', join(root, 'current')])
})

test('without a trace, and with one that is none, nothing is said', async () => {
  assert.equal(await lastDeploy(root), undefined)
  for (const text of ['', '\n', 'nonsense', `${'a'.repeat(40)} `.repeat(400), line('a', 1, 'x').replace('\t', ' ')]) {
    put('.git/logs/HEAD', text)
    assert.equal(await lastDeploy(root), undefined)
  }
  assert.equal(await lastDeploy(join(root, 'gone')), undefined)
})
