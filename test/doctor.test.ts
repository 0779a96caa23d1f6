import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { delimiter, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test, { after } from 'node:test'
import { openJournal } from '../src/application/journal/journal.ts'
import { openGpgHome, without } from '../src/application/sources/gpg-home.test-fixture.ts'
import { run } from '../src/cli/main.ts'
import { type CheckName, CODES, type DoctorFinding } from '../src/operations/doctor/doctor-check.ts'
import { expectedGrowth } from '../src/operations/doctor/repository-storage.ts'
import { CHECKS } from '../src/operations/doctor/run-doctor.ts'
import { corruptionBug } from '../src/operations/doctor/sqlite-versions.ts'
import { asNobody, NOBODY, unlessRoot } from './equipment/as-nobody.ts'
import { randomBytes } from './equipment/random-bytes.ts'
import { protectedApplication, type ScratchApplication } from './equipment/scratch-application.ts'
import { smallFileSystem, withoutMounts } from './equipment/small-file-system.ts'
import { temporaryFolder } from './equipment/temporary-folder.ts'
import { PASSWORD } from './equipment/test-repository.ts'
import { fakeIo } from './support/fake-io.ts'

const DAY = 86_400_000
const ADMIN = 'admin@example.com'

interface Patient extends ScratchApplication, Disposable {
  readonly base: string
  readonly bin: string
  /** The host, as far as it is the test's to change: crontab, timers, processes. */
  readonly host: string
  readonly home: string
  readonly env: Record<string, string>
  asSomebodyElse: boolean
  /** Given back with the patient. */
  readonly given: DisposableStack
  holdfast(...args: string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }>
  doctor(...args: string[]): Promise<DoctorFinding[]>
  /** Changes the text of the config file. */
  edit(from: string | RegExp, to: string): void
  /** Runs a command as it was printed. */
  sh(command: string): void
  /** Sets the clock of the machine, off by so many ms, until somebody puts it right. */
  setClock(off: number): void
}

/** Programs that would change the machine change what the patient has of one instead. */
const FAKES: Readonly<Record<string, string>> = {
  crontab:
    'table="$HOST/var/spool/cron/crontabs/root"; if [ "$1" = -l ]; then cat "$table"; else cat > "$table.new"; mv "$table.new" "$table"; fi',
  aws: 'mkdir -p "$HOME/.aws"; printf \'[default]\\naws_access_key_id = A\\n\' > "$HOME/.aws/credentials"',
  systemctl:
    'for unit; do :; done; case $unit in *.timer) wants="$HOST/etc/systemd/system/timers.target.wants"; mkdir -p "$wants"; ln -s "../$unit" "$wants/$unit";; *) mkdir -p "$HOST/proc/77"; echo "$unit" > "$HOST/proc/77/comm";; esac',
  timedatectl: 'test "$*" = "set-ntp true" && rm "$HOST/clock"',
  npm: 'for package; do :; done; printf "#!/bin/sh\\n" > "$BIN/$package"; chmod +x "$BIN/$package"',
  'apt-get':
    'case "$*" in "install -y gnupg") ln -s "$GPG" "$BIN/gpg";; "install -y msmtp-mta") ln -s /bin/cat "$BIN/sendmail";; *) exit 1;; esac',
  sqlite3: 'echo "$(cat "$HOST/sqlite-version") 2026-01-01"',
}

async function patient(): Promise<Patient> {
  using given = new DisposableStack()
  const base = given.use(temporaryFolder()).path
  chmodSync(base, 0o755)
  const app = await protectedApplication(base)
  mkdirSync(join(app.state, 'work'), { recursive: true, mode: 0o700 })
  const [bin, host, home] = ['bin', 'host', 'home'].map((name) => join(base, name)) as [string, string, string]
  for (const folder of [bin, home, join(host, 'proc/1'), join(host, 'proc/77')]) mkdirSync(folder, { recursive: true })
  const before = process.env.PATH
  const gpg =
    (before ?? '')
      .split(delimiter)
      .map((folder) => join(folder, 'gpg'))
      .find(existsSync) ?? ''
  const settings = `HOST='${host}' BIN='${bin}' GPG='${gpg}' PATH='${before}'`
  for (const [name, text] of Object.entries(FAKES))
    writeFileSync(join(bin, name), `#!/bin/sh\n${settings}\n${text}\n`, { mode: 0o755 })
  writeFileSync(join(host, 'proc/1/comm'), 'systemd\n')
  writeFileSync(join(host, 'proc/77/comm'), 'cron\n')
  writeFileSync(join(host, 'sqlite-version'), '3.51.3')
  const crontabs = join(host, 'var/spool/cron/crontabs')
  mkdirSync(crontabs, { recursive: true })
  writeFileSync(join(crontabs, 'root'), `0 2 * * * holdfast backup --config ${app.config}\n`)
  const path = [bin, before].join(delimiter)
  process.env.PATH = path
  given.defer(() => {
    process.env.PATH = before
  })
  const clock = join(host, 'clock')
  const kept = given.move()
  const made: Patient = {
    ...app,
    base,
    bin,
    host,
    home,
    env: { PATH: path, HOME: home },
    asSomebodyElse: false,
    given: kept,
    async holdfast(...args) {
      const io = {
        ...fakeIo({ cwd: app.root, env: made.env }),
        now: () => new Date(Date.now() + (existsSync(clock) ? Number(readFileSync(clock, 'utf8')) : 0)),
      }
      const code = made.asSomebodyElse ? await asNobody(() => run(args, io)) : await run(args, io)
      return { code, out: io.out(), err: io.err() }
    },
    async doctor(...args) {
      const root = args.includes('--host-root') ? [] : ['--host-root', host]
      const { out } = await made.holdfast('doctor', '--json', ...root, ...args)
      return out
        .trim()
        .split('\n')
        .flatMap((line) => (JSON.parse(line) as { findings?: DoctorFinding[] }).findings ?? [])
    },
    edit(from, to) {
      const text = readFileSync(app.config, 'utf8')
      const edited = text.replace(from, to)
      assert.notEqual(edited, text)
      writeFileSync(app.config, edited)
    },
    sh(command) {
      execFileSync('/bin/sh', ['-c', command.replace(/^sudo /, '')], {
        cwd: app.root,
        env: { ...process.env, ...made.env, PATH: path },
        stdio: ['ignore', 'ignore', 'pipe'],
      })
    },
    setClock(off) {
      writeFileSync(clock, String(off))
    },
    [Symbol.dispose]() {
      kept.dispose()
    },
  }
  return made
}

interface Case {
  readonly name: string
  readonly check: CheckName
  readonly code: DoctorFinding['code']
  readonly provoke: (app: Patient) => void | Promise<void>
  /** What the printed text asks for, done; left out, it is a command, and run as it stands. */
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

/** Undone by running Holdfast as root, which is what the tests do anyway. */
const asRoot: NonNullable<Case['remedy']> = (app, text) => {
  assert.match(text, /^sudo \S*holdfast (doctor|backup) --config /)
  app.asSomebodyElse = false
}

const asSomebodyElse = (app: Patient, ...opened: string[]): void => {
  for (const path of opened) chownSync(path, NOBODY, NOBODY)
  app.asSomebodyElse = true
}

/** Puts the repository on a file system of its own. */
function onFileSystem(app: Patient, options: string): string {
  const { path } = app.given.use(smallFileSystem(options))
  cpSync(app.repository, join(path, 'repository'), { recursive: true })
  app.edit(`repository: ${app.repository}`, `repository: ${join(path, 'repository')}`)
  return path
}

interface Keys {
  readonly fingerprint: string
  readonly publicKey: Buffer
  readonly secretKey: Buffer
}

/** A keyring of the operator's, elsewhere; made when the first test asks. */
const operator = (() => {
  let made:
    | { readonly ring: ReturnType<typeof openGpgHome>; readonly valid: Keys; readonly past: Keys; readonly soon: Keys }
    | undefined
  after(() => made?.ring[Symbol.dispose]())
  return () => {
    if (made !== undefined) return made
    const before = process.env.GNUPGHOME
    const ring = openGpgHome()
    const keysOf = (...[user, options]: Parameters<typeof ring.makeKey>): Keys => {
      const fingerprint = ring.makeKey(user, options)
      const secret = ['--pinentry-mode', 'loopback', '--passphrase', '', '--armor', '--export-secret-keys', fingerprint]
      return { fingerprint, publicKey: ring.exported(fingerprint), secretKey: ring.gpg(secret) }
    }
    const valid = keysOf(ADMIN)
    const soon = keysOf('soon@example.com', { expires: '10d' })
    const past = keysOf('past@example.com', { expires: '10d', madeOn: '20240101T000000' })
    if (before === undefined) delete process.env.GNUPGHOME
    else process.env.GNUPGHOME = before
    made = { ring, valid, past, soon }
    return made
  }
})()

/** Seals for the address, and has a keyring with what is imported. */
function sealFor(app: Patient, address: string, ...imported: Buffer[]): void {
  const ring = app.given.use(openGpgHome())
  app.env.GNUPGHOME = ring.directory
  app.edit(/^seal:.*$/m, `seal: [gpg:${address}]`)
  for (const key of imported) ring.gpg(['--import'], key)
}

/** Runs the first part of the remedy where the private key is, and the second here. */
const extendElsewhere: NonNullable<Case['remedy']> = (app, text) => {
  const [, there, here] = /^where the private key is: (.*); and here: (.*)$/.exec(text)!
  const own = app.env.GNUPGHOME!
  app.env.GNUPGHOME = operator().ring.directory
  app.sh(there!)
  app.env.GNUPGHOME = own
  app.sh(here!)
}

const CASES: readonly Case[] = [
  // Config and repository
  {
    name: 'a config file that everybody may change',
    check: 'config',
    code: 'config-invalid',
    provoke: (app) => chmodSync(app.config, 0o666),
  },
  {
    name: 'a password file that everybody may read',
    check: 'config',
    code: 'config-invalid',
    provoke: (app) => chmodSync(app.passwordFile, 0o644),
  },
  {
    name: 'a config file with a mistake in it',
    check: 'config',
    code: 'config-invalid',
    provoke: (app) => app.edit('seal:', 'seel:'),
    remedy: (app, text) => {
      assert.match(text, /seel/)
      app.edit('seel:', 'seal:')
    },
  },
  {
    name: 'a config file that this user may not read',
    check: 'config',
    code: 'permission-denied',
    skip: unlessRoot,
    provoke: (app) => asSomebodyElse(app),
    remedy: asRoot,
  },
  {
    name: 'a password file that this user may not read',
    check: 'repository',
    code: 'permission-denied',
    skip: unlessRoot,
    provoke: (app) => asSomebodyElse(app, app.config),
    remedy: asRoot,
  },
  {
    name: 'a password file that is gone',
    check: 'repository',
    code: 'password-missing',
    provoke: (app) => renameSync(app.passwordFile, join(app.base, 'kept elsewhere')),
    remedy: (app, text) => {
      assert.equal(text, `${app.passwordFile}: bring back the copy that is kept away from this machine, mode 0600`)
      renameSync(join(app.base, 'kept elsewhere'), app.passwordFile)
    },
  },
  {
    name: 'a password that is not that of the repository',
    check: 'repository',
    code: 'password-wrong',
    provoke: (app) => writeFileSync(app.passwordFile, 'another\n'),
    remedy: (app, text) => {
      assert.ok(text.startsWith(`${app.passwordFile}: put the password of this repository there`))
      writeFileSync(app.passwordFile, `${PASSWORD}\n`)
    },
  },
  {
    name: 'a repository that is not there',
    check: 'repository',
    code: 'repository-missing',
    provoke: (app) => rmSync(app.repository, { recursive: true }),
  },
  {
    name: 'a repository that this user may not read',
    check: 'repository',
    code: 'repository-closed',
    skip: unlessRoot,
    provoke: (app) => asSomebodyElse(app, app.config, app.passwordFile),
    remedy: asRoot,
  },
  {
    name: 'a repository where this version cannot reach',
    check: 'repository',
    code: 'repository-unreachable',
    provoke: (app) => app.edit(/^repository: .*$/m, 'repository: "sftp:backup@example.com:/backups"'),
    remedy: (app, text) => {
      assert.equal(text, 'Give the path of a local or mounted folder')
      app.edit(/^repository: .*$/m, `repository: ${app.repository}`)
    },
  },

  // Storage and locks
  {
    name: 'a repository that this user may not write to',
    check: 'storage',
    code: 'repository-not-writable',
    skip: unlessRoot,
    provoke: (app) => asSomebodyElse(app, app.config),
    remedy: asRoot,
  },
  {
    name: 'a repository on a disk that is mounted read-only',
    check: 'storage',
    code: 'repository-not-writable',
    skip: withoutMounts,
    provoke: (app) => app.sh(`mount -o remount,ro '${onFileSystem(app, 'size=1m')}'`),
  },
  {
    name: 'a clock that differs from that of the storage',
    check: 'storage',
    code: 'clock-off',
    provoke: (app) => app.setClock(3 * 60_000),
  },
  {
    name: 'a snapshot of tomorrow, for the clock has gone backwards',
    check: 'storage',
    code: 'snapshot-in-future',
    provoke: async (app) => {
      await app.holdfast('backup')
      app.setClock(-DAY)
    },
  },
  {
    name: 'a disk that will not hold what is to come',
    check: 'storage',
    code: 'space-short',
    skip: withoutMounts,
    provoke: async (app) => {
      onFileSystem(app, 'size=80m')
      await app.holdfast('backup') // the first one of all is always kept
      const file = join(app.root, 'data', 'upload')
      writeFileSync(file, randomBytes(24 * 1024 * 1024, 1))
      await app.holdfast('backup')
      rmSync(file)
      await app.holdfast('backup')
    },
  },
  {
    name: 'a lock of a process that was killed',
    check: 'locks',
    code: 'lock-stale',
    provoke: (app) => {
      const args = ['--input-type=module', '-e', KILLED_WITH_LOCK, app.repository, String(PASSWORD)]
      assert.equal(spawnSync(process.execPath, args).signal, 'SIGKILL')
    },
  },

  // What Holdfast itself keeps
  {
    name: 'a state folder that others can look into',
    check: 'permissions',
    code: 'not-private',
    provoke: (app) => chmodSync(app.state, 0o755),
  },
  {
    name: 'a password file that the group can read',
    check: 'permissions',
    code: 'not-private',
    provoke: (app) => chmodSync(app.passwordFile, 0o640),
  },
  {
    name: 'files and folders in the repository that others can read',
    check: 'permissions',
    code: 'not-private',
    provoke: (app) => {
      chmodSync(join(app.repository, 'config'), 0o444)
      chmodSync(join(app.repository, 'data'), 0o755)
    },
  },
  {
    name: 'a state folder of somebody else',
    check: 'permissions',
    code: 'foreign-owner',
    skip: unlessRoot,
    provoke: (app) => chownSync(app.state, 12345, 12345),
  },
  {
    name: 'files in the repository of somebody else',
    check: 'permissions',
    code: 'foreign-owner',
    skip: unlessRoot,
    provoke: (app) => {
      for (const name of ['config', 'keys']) chownSync(join(app.repository, name), 12345, 12345)
    },
  },
  {
    name: 'a work folder that is not there',
    check: 'folders',
    code: 'folder-missing',
    provoke: (app) => rmSync(join(app.state, 'work'), { recursive: true }),
  },
  {
    name: 'a work folder that cannot be one',
    check: 'folders',
    code: 'folder-not-writable',
    provoke: (app) => app.edit(/^log:/m, `work-dir: ${app.passwordFile}/work\nlog:`),
    remedy: (app, text) => {
      assert.match(text, /name another folder in state-dir, work-dir or log/)
      app.edit(/^work-dir:.*\n/m, '')
    },
  },
  {
    name: 'a work folder on a disk where the databases have no room',
    check: 'folders',
    code: 'work-space-short',
    skip: withoutMounts,
    provoke: (app) => {
      using database = new DatabaseSync(join(app.root, 'data', 'app.db'))
      database.exec('CREATE TABLE big (x); INSERT INTO big VALUES (zeroblob(300000))')
      const { path } = app.given.use(smallFileSystem('size=128k'))
      chmodSync(path, 0o700)
      app.edit(/^log:/m, `work-dir: ${path}\nlog:`)
    },
    remedy: (app, text) => {
      assert.match(text, /name a folder on a disk with more room in work-dir/)
      app.edit(/^work-dir:.*$/m, `work-dir: ${join(app.base, 'work')}`)
    },
  },
  {
    name: 'a damaged journal',
    check: 'journal',
    code: 'journal-damaged',
    provoke: (app) => writeFileSync(join(app.state, 'journal.db'), 'no database'.repeat(1000), { mode: 0o600 }),
  },
  {
    name: 'a journal without its tables',
    check: 'journal',
    code: 'journal-unusable',
    provoke: (app) => writeFileSync(join(app.state, 'journal.db'), '', { mode: 0o600 }),
  },
  {
    name: 'a journal that a later Holdfast wrote',
    check: 'journal',
    code: 'journal-unusable',
    provoke: (app) => {
      openJournal(join(app.state, 'journal.db'))[Symbol.dispose]()
      using later = new DatabaseSync(join(app.state, 'journal.db'))
      later.exec('PRAGMA user_version = 99')
    },
    remedy: (app, text) => {
      assert.equal(text, 'A later Holdfast wrote it: use that one')
      // What this is to the later one, a journal of its own version is to this one.
      using later = new DatabaseSync(join(app.state, 'journal.db'))
      later.exec('PRAGMA user_version = 1')
    },
  },

  // The application
  {
    name: 'a component that is not there',
    check: 'components',
    code: 'component-missing',
    provoke: (app) => app.edit('config: config/', 'config: conf/'),
    remedy: (app, text) => {
      assert.match(text, /correct the path of config/)
      app.edit('config: conf/', 'config: config/')
    },
  },
  {
    name: 'a component that is empty',
    check: 'components',
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
    name: 'tar: Cannot open: Permission denied, for whoever is not root',
    check: 'components',
    code: 'permission-denied',
    skip: unlessRoot,
    provoke: (app) => {
      chmodSync(join(app.root, 'data'), 0o700)
      asSomebodyElse(app, app.config)
    },
    remedy: asRoot,
  },
  {
    name: 'a folder of data that no component holds',
    check: 'coverage',
    code: 'not-covered',
    provoke: (app) => app.edit('  data: data/\n', ''),
    remedy: (app, text) => {
      const line = /add `(.*)` to components/.exec(text)?.[1]
      assert.equal(line, 'data: data/')
      app.edit('  secrets:', `  ${line}\n  secrets:`)
    },
  },
  {
    name: 'an application that is somewhere else',
    check: 'coverage',
    code: 'root-missing',
    provoke: (app) => app.edit(`root: ${app.root}`, `root: ${app.root}-2`),
    remedy: (app, text) => {
      assert.equal(text, `${app.config}: correct root`)
      app.edit(`root: ${app.root}-2`, `root: ${app.root}`)
    },
  },
  {
    name: 'database disk image is malformed',
    check: 'databases',
    code: 'database-malformed',
    provoke: async (app) => {
      await app.holdfast('backup')
      const file = join(app.root, 'data', 'app.db')
      const bytes = readFileSync(file)
      writeFileSync(file, bytes.fill(0xff, 4096))
    },
  },

  // Keys
  {
    name: 'secrets without a recipient',
    check: 'keys',
    code: 'no-recipient',
    provoke: (app) => app.edit(/^seal:.*$/m, ''),
    remedy: (app, text) => {
      assert.match(text, /add `seal: \[gpg:/)
      app.edit(/$/, `\nseal: [age:${app.recipient}]\n`)
    },
  },
  {
    name: 'a public key that is not here',
    check: 'keys',
    code: 'key-missing',
    skip: without('gpg'),
    provoke: (app) => {
      sealFor(app, ADMIN)
      writeFileSync(join(app.root, `${ADMIN}.asc`), operator().valid.publicKey)
    },
  },
  {
    name: 'a key that expires within a month',
    check: 'keys',
    code: 'key-expires',
    skip: without('gpg'),
    provoke: (app) => sealFor(app, 'soon@example.com', operator().soon.publicKey),
    remedy: extendElsewhere,
  },
  {
    name: 'a key that has expired',
    check: 'keys',
    code: 'key-expired',
    skip: without('gpg'),
    provoke: (app) => sealFor(app, 'past@example.com', operator().past.publicKey),
    remedy: extendElsewhere,
  },
  {
    name: 'a key that nobody said to be that of its address',
    check: 'keys',
    code: 'key-untrusted',
    skip: without('gpg'),
    provoke: (app) => sealFor(app, ADMIN, operator().valid.publicKey),
  },
  {
    name: 'the private key on the machine that it protects against',
    check: 'keys',
    code: 'private-key-here',
    skip: without('gpg'),
    provoke: (app) => sealFor(app, ADMIN, operator().valid.secretKey),
  },
  {
    name: 'an identity of age in the config of the machine that it protects against',
    check: 'keys',
    code: 'private-key-here',
    provoke: (app) => app.edit(/$/, `\nunseal: [${app.identity}]\n`),
    remedy: (app, text) => {
      assert.match(text, /take `unseal` out/)
      app.edit(/^unseal:.*$/m, '')
    },
  },
  {
    name: 'an identity of age where age keeps them',
    check: 'keys',
    code: 'private-key-here',
    provoke: (app) => {
      mkdirSync(join(app.home, '.config/age'), { recursive: true })
      copyFileSync(app.identity, join(app.home, '.config/age/keys.txt'))
    },
    remedy: (app, text) => {
      const path = /^(.*): move it to where secrets are to be opened/.exec(text)?.[1]
      assert.equal(path, join(app.home, '.config/age/keys.txt'))
      renameSync(path, join(app.base, 'elsewhere'))
    },
  },
  {
    name: 'an SSH key that opens the seals',
    check: 'keys',
    code: 'private-key-here',
    skip: without('ssh-keygen'),
    provoke: (app) => {
      mkdirSync(join(app.home, '.ssh'))
      app.sh(`ssh-keygen -q -t ed25519 -N '' -f '${join(app.home, '.ssh/id_ed25519')}'`)
      app.edit(/^seal:.*$/m, `seal: ["age:${join(app.home, '.ssh/id_ed25519.pub')}"]`)
    },
    remedy: (app, text) => {
      assert.match(text, /or seal for a key whose private side is elsewhere$/)
      app.edit(/^seal:.*$/m, `seal: [age:${app.recipient}]`)
    },
  },
  {
    name: 'gpg: decryption failed: No secret key, where secrets are to be opened',
    check: 'keys',
    code: 'no-secret-key',
    options: ['--recovery'],
    skip: without('gpg'),
    provoke: (app) => sealFor(app, ADMIN, operator().valid.publicKey),
    remedy: (app, text) => {
      assert.equal(text, 'gpg --import /path/to/private-key.asc')
      const file = join(app.base, 'private-key.asc')
      writeFileSync(file, operator().valid.secretKey)
      app.sh(text.replace('/path/to/private-key.asc', file))
    },
  },
  {
    name: 'keys of gpg on a machine without gpg',
    check: 'keys',
    code: 'tool-missing',
    skip: without('gpg'),
    provoke: (app) => {
      sealFor(app, ADMIN, operator().valid.publicKey)
      const before = process.env.PATH
      app.given.defer(() => {
        process.env.PATH = before
      })
      process.env.PATH = app.bin
    },
  },

  // Schedule
  {
    name: 'a backup that nothing starts',
    check: 'schedule',
    code: 'schedule-missing',
    provoke: (app) => app.sh("echo '# 0 2 * * * holdfast backup' | crontab -"),
  },
  {
    name: 'a verification that nothing starts, in the crontab of this user',
    check: 'schedule',
    code: 'schedule-missing',
    options: ['--host-root', '/'],
    provoke: (app) => app.edit(/$/, '\nschedule: { backup: "0 2 * * *", verify: "0 4 * * 0" }\n'),
  },
  {
    name: 'a crontab without cron',
    check: 'schedule',
    code: 'schedule-stopped',
    provoke: (app) => rmSync(join(app.host, 'proc/77'), { recursive: true }),
  },
  {
    name: 'a timer that is not enabled',
    check: 'schedule',
    code: 'schedule-stopped',
    provoke: (app) => {
      app.sh('crontab - < /dev/null')
      const folder = join(app.host, 'etc/systemd/system')
      mkdirSync(folder, { recursive: true })
      writeFileSync(join(folder, 'backup.timer'), '[Timer]\nOnCalendar=02:00\n')
      writeFileSync(join(folder, 'backup.service'), `[Service]\nExecStart=holdfast backup --config ${app.config}\n`)
    },
  },
  {
    name: 'a scheduled backup that has not begun',
    check: 'schedule',
    code: 'backup-late',
    provoke: (app) => {
      using journal = openJournal(join(app.state, 'journal.db'))
      journal.begin('backup', 'scratch', {}, new Date(Date.now() - 2 * DAY)).finish('succeeded')
    },
  },
  {
    name: 'scheduled backups that begin and do not end well',
    check: 'schedule',
    code: 'backup-late',
    provoke: (app) => {
      using journal = openJournal(join(app.state, 'journal.db'))
      journal.begin('backup', 'scratch', {}, new Date(Date.now() - 2 * DAY)).finish('succeeded')
      journal.begin('backup', 'scratch').finish('failed')
    },
  },

  // Whoever is to be told
  {
    name: 'a channel whose address is nowhere',
    check: 'notify',
    code: 'notify-unset',
    provoke: (app) => app.edit(/$/, '\nnotify: [{ slack: env:BACKUP_HOOK }]\n'),
    remedy: (app, text) => {
      assert.match(text, /^Set BACKUP_HOOK where the program is started/)
      app.env.BACKUP_HOOK = 'https://hooks.example.com/services/T0/B0/x'
    },
  },
  {
    name: 'a channel whose address is none',
    check: 'notify',
    code: 'notify-unset',
    provoke: (app) => {
      writeFileSync(join(app.base, 'hook'), 'hooks.example.com/services/T0/B0/x\n', { mode: 0o600 })
      app.edit(/$/, `\nnotify: [{ slack: "file:${join(app.base, 'hook')}" }]\n`)
    },
    remedy: (app, text) => {
      assert.equal(text, `${join(app.base, 'hook')}: put the address there as the receiver gives it, https:// and all`)
      writeFileSync(join(app.base, 'hook'), 'https://hooks.example.com/services/T0/B0/x\n')
    },
  },
  {
    name: 'a channel that did not take the last message',
    check: 'notify',
    code: 'notify-failed',
    provoke: async (app) => {
      app.edit(/$/, `\nnotify: [{ command: "test -e ${join(app.base, 'answers')}" }]\n`)
      assert.equal((await app.holdfast('notify', 'test')).code, 1)
    },
    remedy: (app, text) => {
      const [, what, then] = /^(.*), then: (.*)$/.exec(text)!
      assert.equal(what, 'see that it takes messages again')
      writeFileSync(join(app.base, 'answers'), '')
      app.sh(then!)
    },
  },
  {
    name: 'mail by a server that this version does not speak to',
    check: 'notify',
    code: 'notify-unsupported',
    provoke: (app) => app.edit(/$/, '\nnotify: [{ mail: ops@example.com, smtp: env:SMTP }]\n'),
    remedy: (app, text) => {
      assert.match(text, /: take smtp out of notify/)
      app.edit(', smtp: env:SMTP', '')
    },
  },
  {
    name: 'mail on a machine without a mailer',
    check: 'notify',
    code: 'tool-missing',
    provoke: (app) => {
      app.env.PATH = app.bin
      app.edit(/$/, '\nnotify: [{ mail: ops@example.com }]\n')
    },
  },

  // Surroundings
  {
    name: 'Unable to locate credentials, for an off-site copy in S3',
    check: 'off-site',
    code: 'credentials-missing',
    provoke: (app) => app.edit(/$/, '\noff-site: [{ to: "s3:https://s3.eu-central-1.amazonaws.com/bucket/path" }]\n'),
  },
  {
    name: 'a program that the config needs and that is not installed',
    check: 'tools',
    code: 'tool-missing',
    provoke: (app) => {
      app.env.PATH = app.bin
      app.edit(/$/, '\nservice: { manager: pm2, name: bot }\n')
    },
  },
  {
    name: 'an SQLite that can corrupt databases',
    check: 'sqlite',
    code: 'sqlite-bug',
    provoke: (app) => writeFileSync(join(app.host, 'sqlite-version'), '3.46.1'),
    remedy: (app, text) => {
      assert.match(text, /^install 3\.51\.3 or later/)
      writeFileSync(join(app.host, 'sqlite-version'), '3.51.3')
    },
  },
]

test('every finding that doctor knows is brought about and put right by a test', () => {
  const tested = new Set(CASES.map(({ check, code }) => `${check}: ${code}`))
  const known = Object.entries(CODES).flatMap(([check, codes]) => codes.map((code) => `${check}: ${code}`))
  assert.deepEqual([...tested].toSorted(), known.toSorted())
  const page = readFileSync(new URL('../docs/doctor.md', import.meta.url), 'utf8')
  const rows = [...page.matchAll(/^\| ([a-z-]+) \| .* \| (`.*) \|$/gm)]
  const described = rows.flatMap(([, check, codes]) =>
    codes!.match(/(?<=`)[a-z][a-z-]+(?=`)/g)!.map((code) => `${check}: ${code}`),
  )
  assert.deepEqual(described.toSorted(), known.toSorted(), 'docs/doctor.md describes them')
  assert.deepEqual(['config', ...CHECKS.map(({ name }) => name)].toSorted(), Object.keys(CODES).toSorted())
})

for (const { name, check, code, provoke, remedy, options = [], skip = false } of CASES) {
  test(`doctor finds ${name}, and its remedy removes it`, { skip }, async () => {
    using app = await patient()
    const look = async () => {
      const found = await app.doctor(...(check === 'config' ? ['locks'] : [check]), ...options)
      return found.find((finding) => finding.check === check && finding.code === code)
    }
    assert.equal(await look(), undefined, 'not before it is provoked')
    await provoke(app)
    const found = await look()
    assert.ok(found, 'found')
    if (remedy === undefined) {
      assert.equal(found.remedy.kind, 'command')
      app.sh(found.remedy.text)
    } else await remedy(app, found.remedy.text)
    assert.equal(await look(), undefined, `still there after: ${found.remedy.text}`)
  })
}

test('doctor --fix puts right what is safe, and shows what it does', async () => {
  using app = await patient()
  chmodSync(app.state, 0o755)
  rmSync(join(app.state, 'work'), { recursive: true })
  spawnSync(process.execPath, ['--input-type=module', '-e', KILLED_WITH_LOCK, app.repository, String(PASSWORD)])
  for (const name of ['config', 'index', 'keys']) chmodSync(join(app.repository, name), 0o755)
  const { out } = await app.holdfast('doctor', '--fix', '--host-root', app.host)
  assert.match(out, new RegExp(`^fix: chmod 700 ${app.state}$`, 'm'))
  assert.match(out, new RegExp(`^fix: chmod -R go= ${app.repository}$`, 'm'))
  assert.match(out, /^fix: .*holdfast unlock --config /m)
  const after = (await app.doctor()).map(({ code }): string => code)
  for (const code of ['not-private', 'folder-missing', 'lock-stale']) assert.ok(!after.includes(code), code)
})

test('doctor that finds nothing says so, and its exit code is that of the worst it finds', async () => {
  using app = await patient()
  const good = await app.holdfast('doctor', '--host-root', app.host)
  assert.equal(good.code, 0, good.out)
  assert.match(good.out, /Nothing is wrong that could be seen from here\n$/)
  chmodSync(app.state, 0o755)
  assert.equal((await app.holdfast('doctor', '--host-root', app.host)).code, 3)
  rmSync(app.passwordFile)
  const bad = await app.holdfast('doctor', '--host-root', app.host)
  assert.equal(bad.code, 1)
  assert.match(bad.out, /^✗ The repository opens with its password\n {2}error: The password file .* is not there/m)
})

test('releases of SQLite that can corrupt a database are known', () => {
  for (const version of ['3.7.0', '3.40.1', '3.44.5', '3.50.6', '3.51.2', '3.36.0', '3.37.1', '3.45.1'])
    assert.ok(corruptionBug(version), version)
  for (const version of ['3.6.23', '3.44.6', '3.50.7', '3.51.3', '3.53.0', '3.53.4', ''])
    assert.equal(corruptionBug(version), undefined, version)
})

test('the growth to come is told from what the backups of the last 30 days added', () => {
  const now = new Date()
  const at = (days: number, added: number) => ({ time: new Date(now.getTime() - days * DAY), added })
  assert.equal(expectedGrowth([], now).bytes, 64 * 1024 * 1024)
  assert.equal(expectedGrowth([at(40, 1e12), at(10, 1e9), at(5, 1e9)], now).bytes, 6e9)
})

test('doctor runs the checks that are named, and knows no others', async () => {
  using app = await patient()
  const { code, out } = await app.holdfast('doctor', 'folders', 'journal')
  assert.deepEqual([code, out.match(/^✓/gm)?.length], [0, 3], out)
  const { err } = await app.holdfast('doctor', 'weather')
  const help = (await app.holdfast('doctor', '--help')).out.replaceAll(/\s+/g, ' ')
  assert.ok(help.includes(Object.keys(CODES).join(', ')), help)
  assert.match(err, /Cannot run the check "weather"[\s\S]*The checks are config, repository/)
})
