import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { findAccount } from '../../engine/os/accounts.ts'
import { runShell } from './run-shell.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-shell-'))
chmodSync(folder, 0o755)
after(() => rmSync(folder, { recursive: true, force: true }))
const asRoot = process.getuid?.() !== 0 && 'needs root'

test('a command gets nothing of our environment but the search path and the language', async () => {
  process.env.HOLDFAST_PASSWORD = 'MARKED-SECRET'
  try {
    const names = (await runShell('env', { what: 'install', cwd: folder }))
      .trim()
      .split('\n')
      .map((line) => line.split('=')[0])
    const allowed = new Set(['PATH', 'HOME', 'GNUPGHOME', 'TMPDIR', 'LANG', 'LC_ALL', 'PWD', '_', 'SHLVL', 'OLDPWD'])
    assert.deepEqual(
      names.filter((name) => !allowed.has(name!)),
      [],
    )
  } finally {
    delete process.env.HOLDFAST_PASSWORD
  }
})

test('a command runs as the account, with its groups and its home, in its folder', { skip: asRoot }, async () => {
  process.env.GNUPGHOME = '/root/secret'
  try {
    const account = findAccount('nobody')!
    const said = await runShell('id -un; id -gn; pwd; echo "$HOME $USER $(printenv GNUPGHOME || echo none)"', {
      what: 'build',
      cwd: folder,
      account,
    })
    assert.deepEqual(said.trim().split('\n'), ['nobody', 'nogroup', folder, `${account.home} nobody none`])
  } finally {
    delete process.env.GNUPGHOME
  }
})

test('a command that fails says how, and what it said last', async () => {
  const failing = runShell('for i in $(seq 100000); do echo line $i; done; echo the reason >&2; exit 7', {
    what: 'build',
    cwd: folder,
  })
  await assert.rejects(failing, {
    code: 'COMMAND',
    message: 'The build command failed: it ended with exit code 7',
    hint: /the reason$/,
  })
})

test('a command that does not end, or is interrupted, is stopped with what it has started', async () => {
  const mark = `${process.pid}.5`
  const running = async () =>
    (await runShell(`ps -eo args | grep '[s]leep ${mark}' | wc -l`, { what: 'look', cwd: folder })).trim()
  const command = `sleep ${mark} & sleep ${mark}; true`
  await assert.rejects(runShell(command, { what: 'install', cwd: folder, limitMs: 300 }), {
    code: 'COMMAND',
    message: /did not end in time/,
  })
  assert.equal(await running(), '0')
  await assert.rejects(runShell(command, { what: 'install', cwd: folder, signal: AbortSignal.timeout(300) }), {
    name: 'TimeoutError',
  })
  assert.equal(await running(), '0')
})
