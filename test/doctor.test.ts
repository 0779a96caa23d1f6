import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import test from 'node:test'
import { openJournal } from '../src/application/journal/journal.ts'
import { openGpgHome, without } from '../src/application/sources/gpg-home.test-fixture.ts'
import { run } from '../src/cli/main.ts'
import type { DoctorFinding } from '../src/operations/doctor/doctor-check.ts'
import { clockFindings, expectedGrowth } from '../src/operations/doctor/repository-storage.ts'
import { corruptionBug } from '../src/operations/doctor/sqlite-versions.ts'
import { asNobody, unlessRoot } from './equipment/as-nobody.ts'
import { protectedApplication, type ScratchApplication } from './equipment/scratch-application.ts'
import { temporaryFolder } from './equipment/temporary-folder.ts'
import { PASSWORD } from './equipment/test-repository.ts'
import { fakeIo } from './support/fake-io.ts'

const DAY = 86_400_000

interface Patient extends ScratchApplication, Disposable {
  readonly base: string
  readonly bin: string
  readonly env: Record<string, string>
  now: Date
  asSomebodyElse: boolean
  holdfast(...args: string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }>
  doctor(...args: string[]): Promise<DoctorFinding[]>
  /** Changes the text of the config file. */
  edit(from: string | RegExp, to: string): void
  /** Runs a command as it was printed. */
  sh(command: string): void
}

/** An application with a crontab of its own: the real one is not the test's to change. */
async function patient(): Promise<Patient> {
  const folder = temporaryFolder()
  chmodSync(folder.path, 0o755)
  const app = await protectedApplication(folder.path)
  chmodSync(app.repository, 0o700)
  mkdirSync(join(app.state, 'work'), { recursive: true, mode: 0o700 })
  const bin = join(folder.path, 'bin')
  mkdirSync(bin)
  const table = join(folder.path, 'crontab')
  const script = `#!/bin/sh\nif [ "$1" = -l ]; then cat ${table}; else cat > ${table}; fi\n`
  writeFileSync(join(bin, 'crontab'), script, { mode: 0o755 })
  writeFileSync(
    join(bin, 'aws'),
    `#!/bin/sh\nmkdir -p "$HOME/.aws"; printf '[default]\\naws_access_key_id = A\\n' > "$HOME/.aws/credentials"\n`,
    { mode: 0o755 },
  )
  writeFileSync(table, `0 2 * * * holdfast backup --config ${app.config}\n`)
  const before = process.env.PATH
  process.env.PATH = [bin, before].join(delimiter)
  const home = join(folder.path, 'home')
  mkdirSync(home)
  const made: Patient = {
    ...app,
    base: folder.path,
    bin,
    env: { PATH: process.env.PATH, HOME: home },
    now: new Date(),
    asSomebodyElse: false,
    async holdfast(...args) {
      const io = fakeIo({ cwd: app.root, env: made.env, now: made.now })
      const code = made.asSomebodyElse ? await asNobody(() => run(args, io)) : await run(args, io)
      return { code, out: io.out(), err: io.err() }
    },
    async doctor(...args) {
      const { out } = await made.holdfast('doctor', '--json', ...args)
      return out
        .trim()
        .split('\n')
        .flatMap((line) => (JSON.parse(line) as { findings?: DoctorFinding[] }).findings ?? [])
    },
    edit(from, to) {
      writeFileSync(app.config, readFileSync(app.config, 'utf8').replace(from, to))
    },
    sh(command) {
      const text = command.replace(/^sudo /, '')
      execFileSync('/bin/sh', ['-c', text], {
        cwd: app.root,
        env: { ...process.env, ...made.env },
        stdio: ['ignore', 'ignore', 'pipe'],
      })
    },
    [Symbol.dispose]() {
      process.env.PATH = before
      folder[Symbol.dispose]()
    },
  }
  return made
}

interface Case {
  readonly name: string
  readonly code: string
  readonly provoke: (app: Patient) => void | Promise<void>
  /** What the printed edit asks for, done; left out, the printed command is run as it stands. */
  readonly remedy?: (app: Patient, text: string) => void | Promise<void>
  readonly options?: readonly string[]
  readonly skip?: string | false
}

const KILLED_WITH_LOCK = `
  import { openRepository } from ${JSON.stringify(new URL('../src/engine/repository/repository.ts', import.meta.url).href)}
  import { acquireLock } from ${JSON.stringify(new URL('../src/engine/repository/locks.ts', import.meta.url).href)}
  import { localStorage } from ${JSON.stringify(new URL('../src/engine/storage/local.ts', import.meta.url).href)}
  const repository = await openRepository(localStorage(process.argv[1]), { password: Buffer.from(process.argv[2]) })
  await acquireLock(repository, { exclusive: true })
  process.kill(process.pid, 'SIGKILL')`

const CASES: readonly Case[] = [
  {
    name: 'a config file that everybody may change',
    code: 'config-invalid',
    provoke: (app) => chmodSync(app.config, 0o666),
  },
  {
    name: 'a state folder that others can look into',
    code: 'not-private',
    provoke: (app) => chmodSync(app.state, 0o755),
  },
  {
    name: 'a password file that the group can read',
    code: 'not-private',
    provoke: (app) => chmodSync(app.passwordFile, 0o640),
  },
  {
    name: 'a state folder of somebody else',
    code: 'foreign-owner',
    skip: unlessRoot,
    provoke: (app) => chownSync(app.state, 12345, 12345),
  },
  {
    name: 'a work folder that is not there',
    code: 'folder-missing',
    provoke: (app) => rmSync(join(app.state, 'work'), { recursive: true }),
  },
  {
    name: 'a work folder that cannot be one',
    code: 'folder-not-writable',
    provoke: (app) => app.edit(/^log:/m, `work-dir: ${app.passwordFile}/work\nlog:`),
    remedy: (app, text) => {
      assert.match(text, /name another folder in state-dir, work-dir or log/)
      app.edit(/^work-dir:.*\n/m, '')
    },
  },
  {
    name: 'a password file that is gone',
    code: 'password-missing',
    provoke: (app) => rmSync(app.passwordFile),
    remedy: (app, text) => {
      assert.ok(text.startsWith(app.passwordFile))
      writeFileSync(app.passwordFile, `${PASSWORD}\n`, { mode: 0o600 })
    },
  },
  {
    name: 'a password that is not that of the repository',
    code: 'password-wrong',
    provoke: (app) => writeFileSync(app.passwordFile, 'another\n', { mode: 0o600 }),
    remedy: (app, text) => {
      assert.match(text, /put the password of this repository there/)
      writeFileSync(app.passwordFile, `${PASSWORD}\n`, { mode: 0o600 })
    },
  },
  {
    name: 'a repository that is not there',
    code: 'repository-missing',
    provoke: (app) => rmSync(app.repository, { recursive: true }),
  },
  {
    name: 'a lock of a process that was killed',
    code: 'lock-stale',
    provoke: (app) => {
      const args = ['--input-type=module', '-e', KILLED_WITH_LOCK, app.repository, String(PASSWORD)]
      assert.equal(spawnSync(process.execPath, args).signal, 'SIGKILL')
    },
  },
  {
    name: 'a damaged journal',
    code: 'journal-damaged',
    provoke: (app) => writeFileSync(join(app.state, 'journal.db'), 'no database'.repeat(1000), { mode: 0o600 }),
  },
  {
    name: 'a component that is not there',
    code: 'component-missing',
    provoke: (app) => app.edit('config: config/', 'config: conf/'),
    remedy: (app, text) => {
      assert.match(text, /correct the path of config/)
      app.edit('config: conf/', 'config: config/')
    },
  },
  {
    name: 'a component that is empty',
    code: 'component-empty',
    provoke: (app) => {
      mkdirSync(join(app.root, 'uploads'))
      app.edit('  data: data/', '  data: data/\n  uploads: uploads/')
    },
    remedy: (app, text) => {
      assert.match(text, /correct the path of uploads, or take it out/)
      app.edit('  uploads: uploads/\n', '')
    },
  },
  {
    name: 'a folder of data that no component holds',
    code: 'not-covered',
    provoke: (app) => app.edit('  data: data/\n', ''),
    remedy: (app, text) => {
      const line = /add `(.*)` to components/.exec(text)?.[1]
      assert.equal(line, 'data: data/')
      app.edit('  secrets:', `  ${line}\n  secrets:`)
    },
  },
  {
    name: 'database disk image is malformed',
    code: 'database-malformed',
    provoke: async (app) => {
      await app.holdfast('backup')
      const file = join(app.root, 'data', 'app.db')
      const bytes = readFileSync(file)
      writeFileSync(file, bytes.fill(0xff, 4096))
    },
  },
  {
    name: 'tar: Cannot open: Permission denied, for whoever is not root',
    code: 'permission-denied',
    skip: unlessRoot,
    provoke: (app) => {
      app.asSomebodyElse = true
    },
    remedy: (app, text) => {
      assert.match(text, /^sudo .*holdfast doctor --config /)
      app.asSomebodyElse = false
    },
  },
  {
    name: 'secrets without a recipient',
    code: 'no-recipient',
    provoke: (app) => app.edit(/^seal:.*$/m, ''),
    remedy: (app, text) => {
      assert.match(text, /add `seal: \[gpg:/)
      app.edit(/$/, `\nseal: [age:${app.recipient}]\n`)
    },
  },
  {
    name: 'an identity on the machine that it protects against',
    code: 'private-key-here',
    provoke: (app) => app.edit(/$/, `\nunseal: [${app.identity}]\n`),
    remedy: (app, text) => {
      assert.match(text, /take `unseal` out/)
      app.edit(/^unseal:.*$/m, '')
    },
  },
  {
    name: 'a backup that nothing starts',
    code: 'schedule-missing',
    provoke: (app) => writeFileSync(join(app.base, 'crontab'), '# 0 2 * * * holdfast backup\n'),
  },
  {
    name: 'a scheduled backup that has not run',
    code: 'backup-late',
    provoke: (app) => {
      using journal = openJournal(join(app.state, 'journal.db'))
      journal.begin('backup', 'scratch', {}, new Date(Date.now() - 2 * DAY)).finish('succeeded')
    },
  },
  {
    name: 'a snapshot of tomorrow',
    code: 'snapshot-in-future',
    provoke: (app) => {
      using journal = openJournal(join(app.state, 'journal.db'))
      const time = new Date(Date.now() + DAY)
      journal.saveSnapshot({
        id: 'ab'.repeat(32),
        time,
        host: 'x',
        whole: true,
        outcome: 'succeeded',
        added: 1,
        copies: [],
      })
    },
    remedy: (app, text) => {
      assert.equal(text, 'timedatectl set-ntp true')
      app.now = new Date(Date.now() + DAY)
      app.edit(/$/, '\nobjectives: { rpo: 7d }\n')
    },
  },
  {
    name: 'a disk that will not hold what is to come',
    code: 'space-short',
    provoke: async (app) => {
      await app.holdfast('backup')
      using journal = openJournal(join(app.state, 'journal.db'))
      const snapshot = journal.snapshots()[0]!
      journal.saveSnapshot({ ...snapshot, added: 2 ** 50 })
    },
    remedy: async (app, text) => {
      app.sh(text)
      using journal = openJournal(join(app.state, 'journal.db'))
      journal.saveSnapshot({ ...journal.snapshots()[0]!, added: 1 })
    },
  },
  {
    name: 'Unable to locate credentials, for an off-site copy in S3',
    code: 'credentials-missing',
    provoke: (app) => app.edit(/$/, '\noff-site: [{ to: "s3:https://s3.eu-central-1.amazonaws.com/bucket/path" }]\n'),
  },
  {
    name: 'a program that the config needs and that is not installed',
    code: 'tool-missing',
    provoke: (app) => {
      app.env.PATH = app.bin
      app.edit(/$/, '\nservice: { manager: pm2, name: bot }\n')
    },
    remedy: (app, text) => {
      assert.equal(text, 'npm install --global pm2')
      writeFileSync(join(app.bin, 'pm2'), '#!/bin/sh\n', { mode: 0o755 })
    },
  },
]

for (const { name, code, provoke, remedy, options = [], skip = false } of CASES) {
  test(`doctor finds ${name}, and its remedy removes it`, { skip }, async () => {
    using app = await patient()
    const isThere = (findings: readonly DoctorFinding[]) => findings.find((finding) => finding.code === code)
    assert.equal(isThere(await app.doctor(...options)), undefined, 'not before it is provoked')
    await provoke(app)
    const found = isThere(await app.doctor(...options))
    assert.ok(found, 'found')
    if (remedy === undefined) {
      assert.equal(found.remedy.kind, 'command')
      app.sh(found.remedy.text)
    } else await remedy(app, found.remedy.text)
    assert.equal(isThere(await app.doctor(...options)), undefined, `still there after: ${found.remedy.text}`)
  })
}

test('doctor looks at the keys of gpg: missing, soon to expire, private here, or not here when it is needed', {
  skip: without('gpg'),
}, async () => {
  using app = await patient()
  using ring = openGpgHome()
  app.env.GNUPGHOME = ring.directory
  const name = 'admin@example.com'
  app.edit(/^seal:.*$/m, `seal: [gpg:${name}]`)
  const codes = async (...args: string[]) => (await app.doctor(...args)).filter(({ check }) => check === 'keys')

  const [missing] = await codes()
  assert.equal(missing?.code, 'key-missing')
  const fingerprint = ring.makeKey(name, { expires: '10d' })
  writeFileSync(join(app.root, `${name}.asc`), ring.exported(fingerprint))
  const secret = ring.gpg([
    '--pinentry-mode',
    'loopback',
    '--passphrase',
    '',
    '--armor',
    '--export-secret-keys',
    fingerprint,
  ])
  ring.gpg(['--yes', '--delete-secret-and-public-key', fingerprint])
  app.sh(missing.remedy.text)

  const [expires, ...others] = await codes()
  assert.deepEqual([expires?.code, others], ['key-expires', []])
  const recovering = await codes('--recovery')
  assert.deepEqual(
    recovering.map(({ code }) => code),
    ['key-expires', 'no-secret-key'],
  )
  assert.match(recovering[1]!.message, /decryption failed: No secret key/)
  writeFileSync(join(app.base, 'private.asc'), secret)
  app.sh(recovering[1]!.remedy.text.replace('/path/to/private-key.asc', join(app.base, 'private.asc')))
  const extend = /gpg --quick-set-expire \S+ 2y '\*'/.exec(expires!.remedy.text)![0]
  app.sh(extend.replace('gpg', "gpg --batch --pinentry-mode loopback --passphrase ''").replace(" '*'", ''))
  app.sh(extend.replace('gpg', "gpg --batch --pinentry-mode loopback --passphrase ''"))
  assert.deepEqual(await codes('--recovery'), [])

  const [here] = await codes()
  assert.equal(here?.code, 'private-key-here')
  app.sh(here.remedy.text)
  assert.deepEqual(await codes(), [])
})

test('doctor --fix puts right what is safe, and shows what it does', async () => {
  using app = await patient()
  chmodSync(app.state, 0o755)
  rmSync(join(app.state, 'work'), { recursive: true })
  spawnSync(process.execPath, ['--input-type=module', '-e', KILLED_WITH_LOCK, app.repository, String(PASSWORD)])
  const { out } = await app.holdfast('doctor', '--fix')
  assert.match(out, new RegExp(`^fix: chmod 700 ${app.state}$`, 'm'))
  assert.match(out, /^fix: .*holdfast unlock --config /m)
  const after = (await app.doctor()).map(({ code }) => code)
  for (const code of ['not-private', 'folder-missing', 'lock-stale']) assert.ok(!after.includes(code), code)
})

test('doctor that finds nothing says so, and its exit code is that of the worst it finds', async () => {
  using app = await patient()
  const good = await app.holdfast('doctor')
  assert.equal(good.code, 0, good.out)
  assert.match(good.out, /Nothing is wrong that could be seen from here\n$/)
  chmodSync(app.state, 0o755)
  assert.equal((await app.holdfast('doctor')).code, 3)
  rmSync(app.passwordFile)
  const bad = await app.holdfast('doctor')
  assert.equal(bad.code, 1)
  assert.match(bad.out, /^✗ The repository opens with its password\n {2}error: The password file .* is not there/m)
})

test('releases of SQLite that can corrupt a database are known', () => {
  for (const version of ['3.7.0', '3.40.1', '3.44.5', '3.50.6', '3.51.2', '3.36.0', '3.37.1', '3.45.1'])
    assert.ok(corruptionBug(version), version)
  for (const version of ['3.6.23', '3.44.6', '3.50.7', '3.51.3', '3.53.0', '3.53.4', ''])
    assert.equal(corruptionBug(version), undefined, version)
})

test('a clock that differs from that of the storage by more than a minute is found', () => {
  assert.deepEqual(clockFindings(1000, 1000 + 59_000), [])
  for (const off of [-61_000, 61_000]) assert.equal(clockFindings(1e12, 1e12 + off)[0]?.code, 'clock-off')
})

test('the growth to come is told from what the backups of the last 30 days added', () => {
  const now = new Date()
  const at = (days: number, added: number) => ({ time: new Date(now.getTime() - days * DAY), added })
  assert.equal(expectedGrowth([], now).bytes, 64 * 1024 * 1024)
  assert.equal(expectedGrowth([at(40, 1e12), at(10, 1e9), at(5, 1e9)], now).bytes, 6e9)
})
