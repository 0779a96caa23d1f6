import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { runCommand } from '../../../test/equipment/run-command.ts'
import { type ScratchApplication, scratchApplication } from '../../../test/equipment/scratch-application.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { fakeIo } from '../../../test/support/fake-io.ts'
import { loadConfig } from '../../application/config/load-config.ts'
import { run } from '../main.ts'

/** Everything that is written lies in the test's own folder; the host is an empty one. */
function places(app: ScratchApplication, base: string): string[] {
  const host = join(base, 'host')
  return ['-r', app.repository, '-p', app.passwordFile, '--state-dir', app.state, '--host-root', host]
}

test('an application is set up without questions: config, private password file, repository', async () => {
  using folder = temporaryFolder()
  const app = await scratchApplication(folder.path)
  const argv = ['init', '.', '--yes', '--seal', app.recipient, ...places(app, folder.path)]
  const { code, out, err } = await runCommand(app.root, argv)
  assert.equal(code, 0, err)
  assert.match(out, /^scratch in .*\n\nWill be backed up\n {2}config +config\/\n/)
  assert.match(out, /^Will not\n/m)
  assert.match(out, /^Store the password elsewhere, now$/m)
  assert.match(out, /^The first backup: holdfast backup$/m)
  const password = readFileSync(app.passwordFile, 'utf8').trim()
  assert.equal(statSync(app.passwordFile).mode & 0o777, 0o600)
  assert.ok(password.length >= 43)
  assert.equal((out + err).includes(password), false)
  const config = await loadConfig(app.config)
  assert.deepEqual(config.seal, [`age:${app.recipient}`])
  assert.equal(config.repository, app.repository)
})

test('a password that somebody chose is stretched as restic does it, a random one of ours only a little', async () => {
  for (const chosen of [true, false]) {
    using folder = temporaryFolder()
    const app = await scratchApplication(folder.path)
    if (chosen) writeFileSync(app.passwordFile, 'correct horse battery staple\n', { mode: 0o600 })
    const argv = ['init', '.', '--yes', '--seal', app.recipient, ...places(app, folder.path)]
    assert.equal((await runCommand(app.root, argv)).code, 0)
    const [key] = readdirSync(join(app.repository, 'keys'))
    const { N, r, p } = JSON.parse(readFileSync(join(app.repository, 'keys', key!), 'utf8'))
    assert.deepEqual({ N, r, p }, chosen ? { N: 32768, r: 8, p: 5 } : { N: 16384, r: 8, p: 1 })
  }
})

test('protect sets up, backs up, checks, and says what comes next; a second time it does no harm', async () => {
  using folder = temporaryFolder()
  const app = await scratchApplication(folder.path)
  const argv = ['protect', app.root, '--yes', '--seal', app.recipient, ...places(app, folder.path)]
  const first = await runCommand('/', argv)
  assert.equal(first.code, 0, first.err)
  assert.match(first.out, /^backup succeeded /m)
  assert.match(first.out, /^check succeeded /m)
  assert.match(first.out, new RegExp(`^What comes next, in ${app.root}$`, 'm'))
  const config = readFileSync(app.config, 'utf8')
  const second = await runCommand('/', ['protect', app.root])
  assert.equal(second.code, 0, second.err)
  assert.match(second.out, /^scratch is protected already/)
  assert.doesNotMatch(second.out, /Store the password/)
  assert.equal(readFileSync(app.config, 'utf8'), config)
  assert.equal(readdirSync(join(app.repository, 'snapshots')).length, 2)
})

test('with nobody to seal for, protect stores the rest and ends as incomplete', async () => {
  using folder = temporaryFolder()
  const app = await scratchApplication(folder.path)
  const { code, err, out } = await runCommand(app.root, ['protect', '--yes', ...places(app, folder.path)])
  assert.equal(code, 3)
  assert.match(err, /warning: Nobody is named who may open the secrets/)
  assert.match(err, /error: \[secrets\] .* is secret and not in the snapshot/)
  assert.match(out, /See to the errors above, then back up again:\n {4}holdfast backup$/m)
})

test('a dry run writes nothing, not even where a config is', async () => {
  using folder = temporaryFolder()
  const app = await scratchApplication(folder.path)
  const before = readdirSync(folder.path, { recursive: true })
  const { code, out } = await runCommand(app.root, ['protect', '--dry-run', ...places(app, folder.path)])
  assert.equal(code, 0)
  assert.match(out, /^Would be set up\n/m)
  const json = await runCommand(app.root, ['init', '.', '--dry-run', '--json', ...places(app, folder.path)])
  const [plan] = json.messages()
  assert.deepEqual([plan?.message_type, plan?.app, plan?.config_file], ['plan', 'scratch', app.config])
  assert.deepEqual(readdirSync(folder.path, { recursive: true }), before)
})

test('without a terminal and without --yes nothing is asked, and nothing done', async () => {
  using folder = temporaryFolder()
  const app = await scratchApplication(folder.path)
  for (const verb of ['init', 'protect']) {
    const { code, err, out } = await runCommand(app.root, [verb])
    assert.equal(code, 1)
    assert.equal(out, '')
    assert.match(err, /Cannot ask where the backups go: there is no terminal to ask on\nhint: Add --yes/)
  }
})

test('the config that is there is not overwritten, and kept when it is replaced', async () => {
  using folder = temporaryFolder()
  const app = await scratchApplication(folder.path)
  writeFileSync(app.config, 'edited by hand\n')
  const refused = await runCommand(app.root, ['init', '.', '--yes', ...places(app, folder.path)])
  assert.equal(refused.code, 1)
  assert.match(refused.err, /is protected already/)
  assert.equal(existsSync(app.passwordFile), false)
  const { code } = await runCommand(app.root, ['init', '.', '--yes', '--replace', ...places(app, folder.path)])
  assert.equal(code, 0)
  const [kept] = readdirSync(app.root).filter((name) => name.startsWith('holdfast.yaml.before-'))
  assert.equal(readFileSync(join(app.root, kept!), 'utf8'), 'edited by hand\n')
})

test('a repository that is there needs its password: no other one is left lying around', async () => {
  using folder = temporaryFolder()
  const app = await scratchApplication(folder.path)
  const env = { HOLDFAST_PASSWORD: 'secret' }
  assert.equal((await runCommand('/', ['-r', app.repository, 'init'], { env })).code, 0)
  const { code, err } = await runCommand(app.root, ['init', '.', '--yes', ...places(app, folder.path)])
  assert.equal(code, 1)
  assert.match(err, /one is there already[\s\S]*hint: Name the file with its password with --password-file/)
  assert.equal(existsSync(app.passwordFile), false)
  assert.equal(existsSync(app.config), false)
})

test('a recipient that cannot be used is an error before anything is written', async () => {
  using folder = temporaryFolder()
  const app = await scratchApplication(folder.path)
  const env = { GNUPGHOME: folder.path }
  for (const recipient of ['everybody', 'age:/no/such/file']) {
    const argv = ['init', '.', '--yes', '--seal', recipient, ...places(app, folder.path)]
    const { code, err } = await runCommand(app.root, argv, { env })
    assert.equal(code, 1)
    assert.match(err, /^error: /)
    assert.equal(existsSync(app.config), false)
  }
})

test("an empty repository is made as restic's init makes it, in the version asked for", async () => {
  using folder = temporaryFolder()
  const env = { RESTIC_PASSWORD: 'secret' }
  for (const version of ['1', '2']) {
    const repository = join(folder.path, version)
    const argv = ['-r', repository, 'init', '--repository-version', version, '--json']
    const { code, messages } = await runCommand('/', argv, { env })
    assert.equal(code, 0)
    const [made] = messages()
    assert.deepEqual(
      [made?.message_type, made?.repository, made?.version],
      ['initialized', repository, Number(version)],
    )
  }
  const again = await runCommand('/', ['-r', join(folder.path, '2'), 'init'], { env })
  assert.equal(again.code, 1)
  assert.match(again.err, /one is there already/)
})

test('the password of a new repository is asked for twice on a terminal', async () => {
  using folder = temporaryFolder()
  const terminal = ['stdin', 'stdout', 'stderr'] as const
  const argv = ['-r', join(folder.path, 'r'), 'init']
  const differ = await runCommand('/', argv, { terminal, input: 'abc\rabd\r' })
  assert.equal(differ.code, 1)
  assert.match(differ.err, /the two entries differ/)
  const same = await runCommand('/', argv, { terminal, input: 'abc\rabc\r' })
  assert.equal(same.code, 0)
  assert.match(same.out, /^Created repository [0-9a-f]{10} at /)
})

test('on a terminal the place and the recipients are asked for, and what is agreed to is set up', async () => {
  using folder = temporaryFolder()
  const app = await scratchApplication(folder.path)
  const io = fakeIo({ cwd: app.root, terminal: ['stdin', 'stdout', 'stderr'], keepInputOpen: true, now: new Date() })
  const ended = run(['init', '.', ...places(app, folder.path)], io)
  for (const [question, answer] of [
    ['Where should the backups go?', '\r'],
    ['Whose key may open the secrets?', 'nobody at all\r'],
    ['is not a recipient', `${app.recipient}\r`],
    ['◆  Write', 'y'],
  ] as const) {
    while (!io.err().includes(question)) await setTimeout(20)
    await setTimeout(100) // the prompt is on the screen before it listens
    io.stdin.write(answer)
  }
  assert.equal(await ended, 0, io.err())
  assert.deepEqual((await loadConfig(app.config)).seal, [`age:${app.recipient}`])
})
