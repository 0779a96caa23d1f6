import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { runCommand } from '../../../test/equipment/run-command.ts'
import { protectedApplication, type ScratchApplication, SECRET } from '../../../test/equipment/scratch-application.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { setTimes } from '../../engine/os/times.ts'

const folder = temporaryFolder()
let app: ScratchApplication
let target: string
let targets = 0

before(async () => {
  app = await protectedApplication(folder.path)
  assert.equal((await runCommand(app.root, ['backup', '-q'])).code, 0)
})
beforeEach(() => {
  targets += 1
  target = join(folder.path, `target-${targets}`)
})
after(() => folder[Symbol.dispose]())

const settings = () => join(app.root, 'config', 'app.json')
const restore = (argv: readonly string[], options = {}) => runCommand(app.root, ['restore', ...argv], options)

/** Only the settings, into the target. */
async function restoreConfig(...argv: readonly string[]) {
  const result = await restore(['--target', target, '--component', 'config', '--json', ...argv])
  return { code: result.code, summary: result.messages().at(-1) as Record<string, unknown> }
}

test('a snapshot is restored to a folder, with its secrets where their key is at hand', async () => {
  const { code, out } = await restore(['--target', target, '--verify', '--identity', app.identity])
  assert.equal(code, 0)
  assert.match(out, /1 secret unsealed, \d files read again and compared/)
  assert.equal(readFileSync(join(target, settings()), 'utf8'), '{"port":3000}\n')
  assert.match(readFileSync(join(target, app.root, 'secrets', '.env'), 'utf8'), new RegExp(SECRET))
})

test('without the key the secrets stay sealed: exit code 3, unless that was asked for', async () => {
  const sealed = await restore(['--target', target])
  assert.equal(sealed.code, 3)
  assert.match(sealed.err, /error: .*secrets stay sealed/i)
  assert.equal(existsSync(join(target, app.root, 'secrets', '.env')), false)
  assert.ok(existsSync(join(target, '.holdfast', 'secrets.tar.gz.age')))
  assert.equal((await restore(['--target', `${target}-b`, '--no-unseal'])).code, 0)
})

test('a component, a path and a subfolder are restored by themselves', async () => {
  await restore(['--target', target, '--component', 'data', '-q'])
  assert.deepEqual(readdirSync(join(target, app.root)), ['data'])
  await restore(['--target', `${target}-path`, '--path', settings(), '-q'])
  assert.deepEqual(readdirSync(join(`${target}-path`, app.root)), ['config'])
  await restore([`latest:${app.root}/config`, '--target', `${target}-sub`, '-q'])
  assert.deepEqual(readdirSync(`${target}-sub`), ['app.json'])
})

test('--delta replaces what differs, whatever its size and time, and counts what was right already', async () => {
  const first = await restoreConfig()
  assert.equal(first.code, 0)
  const file = join(target, settings())
  const { ino, atime, mtime } = statSync(file)
  const again = await restoreConfig('--delta')
  assert.deepEqual([again.summary.files_restored, again.summary.files_skipped], [1, 1])
  assert.equal(statSync(file).ino, ino)
  writeFileSync(file, '{"port":4000}\n')
  utimesSync(file, atime, mtime)
  const mended = await restoreConfig('--delta')
  assert.deepEqual([mended.summary.files_restored, mended.summary.files_skipped], [1, 0])
  assert.equal(readFileSync(file, 'utf8'), '{"port":3000}\n')
})

test('--overwrite says which of the files that are there are replaced', async () => {
  await restoreConfig()
  const file = join(target, settings())
  const { atimeNs, mtimeNs: mtime } = statSync(file, { bigint: true })
  const before = mtime - 1n
  const later = mtime + 1n
  for (const [which, time, isReplaced] of [
    ['never', before, false],
    ['if-newer', later, false],
    ['if-newer', before, true],
    ['if-changed', mtime, false],
    ['if-changed', later, true],
    ['always', later, true],
  ] as const) {
    writeFileSync(file, '{"port":4000}\n') // of the same size
    setTimes(Buffer.from(file), atimeNs, time)
    const { code, summary } = await restoreConfig('--overwrite', which)
    assert.equal(code, 0)
    assert.equal(summary.files_skipped, which === 'always' ? undefined : isReplaced ? 0 : 1, which)
    assert.equal(readFileSync(file, 'utf8'), isReplaced ? '{"port":3000}\n' : '{"port":4000}\n', which)
  }
})

test('in place needs a terminal or --yes, and says so before anything else', async () => {
  const { code, err, out } = await restore([])
  assert.equal(code, 1)
  assert.equal(out, '')
  assert.match(err, /Cannot ask whether live files may be replaced: there is no terminal[\s\S]*hint: Add --yes/)
})

test('a dry run shows the plan and changes nothing', async () => {
  writeFileSync(settings(), 'changed')
  const { code, out } = await restore(['--dry-run', '--component', 'config'])
  assert.equal(code, 0)
  assert.match(out, /^Will be put in place\n.*\/app\/config\n {4}1 file, 14 B, replaces a folder$/m)
  assert.match(out, /What is there now is kept beside it, as NAME\.before-\d{8}-\d{6}/)
  assert.equal(readFileSync(settings(), 'utf8'), 'changed')
  const json = await restore(['--dry-run', '--component', 'config', '--json'])
  const [plan] = json.messages() as { message_type: string; units: Record<string, unknown>[] }[]
  assert.equal(plan?.message_type, 'plan')
  assert.equal(plan?.units[0]?.path, join(app.root, 'config'))
})

test('in place replaces the live files and keeps what was there', async () => {
  writeFileSync(settings(), 'changed')
  const { code, out } = await restore(['--yes', '--component', 'config,data', '--verify'])
  assert.equal(code, 0)
  assert.equal(readFileSync(settings(), 'utf8'), '{"port":3000}\n')
  const kept = readdirSync(app.root).filter((name) => name.startsWith('config.before-'))
  assert.equal(readFileSync(join(app.root, kept[0]!, 'app.json'), 'utf8'), 'changed')
  assert.match(out, /What was there is kept; remove it once all is well:\n.*config\.before-/)
})

test('an operator who says no changes nothing', async () => {
  writeFileSync(settings(), 'changed')
  const terminal = ['stdin', 'stderr', 'stdout'] as const
  const { code, out } = await restore(['--component', 'config'], { terminal, input: 'n', keepInputOpen: true })
  assert.equal(code, 130)
  assert.match(out, /Nothing was changed/)
  assert.equal(readFileSync(settings(), 'utf8'), 'changed')
})

test('secrets that cannot be unsealed keep a restore in place from starting, unless they may stay', async () => {
  const refused = await restore(['--yes'])
  assert.equal(refused.code, 1)
  assert.match(refused.err, /Nothing was changed: the secrets in .* cannot be unsealed/)
  assert.match(refused.err, /hint: .*--without-secrets/)
})

test('options of the other form, and what is not there, are clear errors', async () => {
  mkdirSync(target)
  writeFileSync(join(target, 'file'), '')
  for (const [argv, message] of [
    [['--target', target, '--yes'], /Cannot use --yes with --target/],
    [['--target', target, '--stop', 'pm2:x'], /Cannot use --stop with --target/],
    [['--no-unseal', '--yes'], /Cannot use --no-unseal in place/],
    [['--stop', 'shop', '--yes'], /Expected pm2:NAME or systemd:UNIT/],
    [['--delta', '--yes'], /Cannot use --delta in place/],
    [['--overwrite', 'never', '--yes'], /Cannot use --overwrite in place/],
    [['latest:/etc', '--yes'], /Cannot restore a subfolder in place/],
    [['--target', join(target, 'file')], /Cannot restore to .*file: it is not a folder/],
    [['--target', target, '--component', 'dta'], /dta/],
    [['--target', target, '--path', '/nix'], /No \/nix in snapshot/],
  ] as const) {
    const { code, err } = await restore(argv)
    assert.equal(code, 1, argv.join(' '))
    assert.match(err, message)
  }
  const without = await runCommand('/', ['-r', app.repository, '-p', app.passwordFile, 'restore', '--yes'])
  assert.match(without.err, /Cannot restore in place: there is no config file/)
})

test('a repository is restored from without a config', async () => {
  const argv = ['-r', app.repository, '-p', app.passwordFile, 'restore', '--target', target, '--no-unseal', '--json']
  const { code, messages } = await runCommand('/', argv)
  assert.equal(code, 0)
  const summary = messages().at(-1)!
  assert.equal(summary.message_type, 'summary')
  assert.equal(summary.target, target)
  assert.equal(summary.errors, 0)
})

test('a full recovery shows its plan, asks, and tells of each step; what does not go together is refused', async () => {
  const { root, repository, passwordFile, identity } = app
  const full = (argv: readonly string[], options = {}) =>
    runCommand(folder.path, ['-r', repository, '-p', passwordFile, 'restore', '--full', ...argv], options)

  const plan = await full(['--dry-run', '--identity', identity, '-v'])
  assert.equal(plan.code, 0, plan.err)
  assert.match(plan.out, /Full recovery of scratch from snapshot \w{8}/)
  assert.match(plan.out, /~ .*config\/app\.json|unchanged|as they are/)
  assert.match(plan.out, /Nothing was changed: this was a dry run/)

  const unasked = await full([])
  assert.deepEqual([unasked.code, /--yes to go ahead with all that the snapshot says/.test(unasked.err)], [1, true])
  const missing = await full(['--dry-run'])
  assert.equal(missing.code, 1)
  assert.match(missing.out, /What is missing on this machine\nerror: The secrets stay sealed/)

  writeFileSync(join(root, 'config', 'app.json'), 'changed')
  const done = await full(['--yes', '--identity', identity, '--json'])
  assert.equal(done.code, 0, done.err)
  const messages = done.messages() as { message_type: string; step?: string; state?: string }[]
  assert.deepEqual(
    messages.flatMap(({ message_type, step, state }) => (message_type === 'step' && state === 'done' ? [step] : [])),
    ['stop', 'restore:secrets', 'restore:config', 'restore:data', 'config', 'permissions'],
  )
  assert.equal(messages.at(-1)?.message_type, 'summary')
  assert.equal(readFileSync(settings(), 'utf8'), '{"port":3000}\n')

  for (const argv of [
    ['--full', '--target', target],
    ['--full', '--component', 'data', '--yes'],
    ['--create-user', '--target', target],
    ['--map', 'port=1:2', '--yes'],
    ['--full', '--map', 'root=relative'],
    ['--full', '--map', 'port=70000'],
    ['--full', '--map', 'colour=red'],
    ['--full', '--host', 'web1', '--yes'],
  ]) {
    const refused = await restore(argv)
    assert.equal(refused.code, 1, argv.join(' '))
  }
})
