import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type FakeIoOptions, fakeIo } from '../../test/support/fake-io.ts'
import { type PasswordRequest, resolvePassword } from './password.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-password-'))
after(() => rmSync(folder, { recursive: true }))

function file(name: string, content: string, mode = 0o600): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  chmodSync(path, mode)
  return path
}

async function resolve(world: FakeIoOptions, request: Partial<PasswordRequest> = {}) {
  const warnings: string[] = []
  const io = fakeIo({ cwd: folder, ...world, env: { PATH: process.env.PATH!, ...world.env } })
  const password = await resolvePassword({ io, options: {}, warn: (message) => warnings.push(message), ...request })
  return { password: password.toString(), warnings, io }
}

const one = file('one', 'from one\n')
const two = file('two', 'from two\n')

test('the first place that says something wins: options, HOLDFAST_, RESTIC_, config', async () => {
  const all = { HOLDFAST_PASSWORD: 'holdfast', RESTIC_PASSWORD: 'restic' }
  const get = async (...args: Parameters<typeof resolve>) => (await resolve(...args)).password
  assert.equal(await get({ env: all }, { options: { passwordFile: 'one' }, configuredFile: two }), 'from one')
  assert.equal(await get({ env: all }, { configuredFile: two }), 'holdfast')
  assert.equal(await get({ env: { RESTIC_PASSWORD: 'restic' } }, { configuredFile: two }), 'restic')
  assert.equal(await get({ env: { RESTIC_PASSWORD: '' } }, { configuredFile: two }), 'from two')
  assert.equal(await get({ env: { HOLDFAST_PASSWORD_FILE: one, HOLDFAST_PASSWORD: 'x' } }), 'from one')
  assert.equal(await get({ env: { RESTIC_PASSWORD_FILE: two } }), 'from two')
  assert.equal(await get({ env: { RESTIC_PASSWORD_COMMAND: `printf '%s\\n' 'by command'` } }), 'by command')
  assert.equal(await get({}, { options: { passwordCommand: `cat ${one}` } }), 'from one')
})

test('a variable is taken verbatim, white space and all', async () => {
  assert.equal((await resolve({ env: { HOLDFAST_PASSWORD: ' a\n' } })).password, ' a\n')
})

test('two ways at once are refused', async () => {
  const cases: [Record<string, string>, PasswordRequest['options']][] = [
    [{}, { passwordFile: one, passwordCommand: 'cat' }],
    [{ RESTIC_PASSWORD_FILE: one, RESTIC_PASSWORD_COMMAND: 'cat' }, {}],
    [{ RESTIC_PASSWORD: 'x' }, { insecureNoPassword: true }],
  ]
  for (const [env, options] of cases) await assert.rejects(resolve({ env }, { options }), { code: 'USAGE' })
})

test('an empty password needs --insecure-no-password', async () => {
  const empty = file('empty', ' \n')
  await assert.rejects(resolve({}, { options: { passwordFile: empty } }), { code: 'NO_PASSWORD' })
  await assert.rejects(resolve({}, { configuredFile: empty }), { code: 'NO_PASSWORD' })
  await assert.rejects(resolve({}), { code: 'NO_PASSWORD', hint: /no terminal/ })
  assert.equal((await resolve({}, { options: { insecureNoPassword: true }, configuredFile: one })).password, '')
})

test('a password file that others can read is a warning', async () => {
  const open = file('open', 'x', 0o644)
  assert.deepEqual((await resolve({}, { options: { passwordFile: one } })).warnings, [])
  const { warnings, password } = await resolve({}, { options: { passwordFile: open } })
  assert.equal(password, 'x')
  assert.deepEqual(warnings, [`Every user of this machine can read password file ${open}: run chmod 600 ${open}`])
})

test('a file or command that fails says which and why, and nothing of a password', async () => {
  const fails = (options: PasswordRequest['options'], message: RegExp) =>
    assert.rejects(resolve({}, { options }), { code: 'PASSWORD', message })
  await fails({ passwordFile: 'nowhere' }, /nowhere \(--password-file\): there is no such file$/)
  await fails({ passwordFile: folder }, /it is a folder$/)
  await fails({ passwordCommand: 'no-such-program' }, /no-such-program .*there is no such program$/)
  await fails(
    { passwordCommand: `sh -c 'echo token; exit 3'` },
    /from sh \(--password-command\): it ended with exit code 3$/,
  )
  await fails({ passwordCommand: 'yes' }, /more than/)
})

test('what a password command complains about reaches the operator', async () => {
  const { io } = await resolve({}, { options: { passwordCommand: `sh -c 'echo locked >&2; echo pw'` } })
  assert.equal(io.err(), 'locked\n')
})

test('a hanging password command ends with the operation', async () => {
  const controller = new AbortController()
  const waiting = resolve({}, { options: { passwordCommand: 'sleep 60' }, signal: controller.signal })
  setTimeout(() => controller.abort(new Error('stop')), 50)
  await assert.rejects(waiting, { message: 'stop' })
})

test('a terminal is asked, twice for a new password; a pipe gives its first line', async () => {
  const terminal = { terminal: ['stdin', 'stderr'], keepInputOpen: true } as const
  assert.equal((await resolve({ ...terminal, input: 'typed\r' })).password, 'typed')
  const fresh = await resolve({ ...terminal, input: 'typed\rtyped\r' }, { isNew: true, what: 'password for /srv/x' })
  assert.equal(fresh.password, 'typed')
  assert.equal(fresh.io.err(), 'enter new password for /srv/x: \nenter it again: \n')
  await assert.rejects(resolve({ ...terminal, input: 'typed\rtyped!\r' }, { isNew: true }), { code: 'NO_PASSWORD' })

  const piped = await resolve({ input: 'first \r\nsecond\n' })
  assert.equal(piped.password, 'first ')
  assert.equal(piped.io.stdin.read().toString(), 'second\n')
})
