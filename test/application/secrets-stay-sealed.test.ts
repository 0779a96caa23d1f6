import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { openGpgHome, without } from '../../src/application/sources/gpg-home.test-fixture.ts'
import type { OperationEvent } from '../../src/operations/event.ts'
import { describeTree } from '../equipment/describe-tree.ts'
import { watchForMarker } from '../equipment/marker-watcher.ts'
import { briefly, type ProtectedApplication, protectedApplication } from '../equipment/protected-application.ts'
import { repositoryContent } from '../equipment/repository-content.ts'
import { resticEnvironment, resticPath, withoutRestic } from '../equipment/restic.ts'
import { pathsIn } from '../equipment/snapshot-paths.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { PASSWORD } from '../equipment/test-repository.ts'

const COMPONENTS = {
  config: 'config',
  data: 'data',
  secrets: 'secrets',
  pm2: 'ecosystem.config.js',
  systemd: 'shop.service',
  nginx: 'shop',
}

/** Secrets of every kind in every place, each with the marker in it; answers with their paths. */
function plantSecrets(app: ProtectedApplication, marker: string): string[] {
  const pem = () => {
    const { privateKey } = generateKeyPairSync('ed25519')
    return `${privateKey.export({ type: 'pkcs8', format: 'pem' })}${marker}\n`
  }
  const files = [
    app.put('secrets/.env.production', `DISCORD_TOKEN=${marker}\n`, 0o600),
    app.put('secrets/nested/token', `${marker}\n`, 0o600),
    // Large and incompressible, so that sealing takes a while.
    app.put('secrets/large', `${marker}${randomBytes(1 << 20).toString('base64')}${marker}`, 0o600),
    app.put('config/.env', `A=${marker}`, 0o640),
    app.put('config/deep/down/.env.local', `B=${marker}`),
    app.put('data/server.key', `${marker}`),
    app.put('data/ssh/id_ed25519', `${marker}`),
    app.put('data/tls.pem', pem()),
    app.put('ecosystem.config.js', `module.exports = { apps: [{ name: 'shop', env: { API_TOKEN: '${marker}' } }] }`),
  ]
  app.put('config/bot.json', '{}')
  app.put('config/.env.example', 'A=\n')
  app.put('data/notes.txt', 'nothing secret')
  symlinkSync('nested/token', app.at('secrets/current'))
  chmodSync(app.at('secrets'), 0o700)
  const host = (path: string, content: string) => {
    const file = join(app.base, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content)
    return file
  }
  host('etc/nginx/ssl/shop.crt', 'certificate')
  host(
    'etc/nginx/sites-available/shop',
    'server { ssl_certificate ssl/shop.crt; ssl_certificate_key ssl/unsuspicious; auth_basic_user_file passwords; }',
  )
  files.push(
    host('etc/nginx/ssl/unsuspicious', pem()),
    host('etc/nginx/passwords', `admin:${marker}`),
    host('etc/systemd/system/shop.service', `[Service]\nEnvironment=SHOP_SECRET=${marker}\nExecStart=/bin/true\n`),
  )
  return files
}

/** A backup, watched from outside; the marker must be nowhere but in the application, during the backup and after it. */
async function backUpWatched(app: ProtectedApplication, marker: string, recipient: string) {
  const temporary = join(app.base, 'tmp')
  mkdirSync(temporary, { recursive: true })
  const before = process.env.TMPDIR
  process.env.TMPDIR = temporary
  const events: OperationEvent[] = []
  const holdfastFolders = [temporary, ...['work', 'state', 'log'].map((name) => join(app.base, name))]
  try {
    const watcher = await watchForMarker(marker, holdfastFolders)
    const report = await app.backUp(
      { seal: [recipient] },
      {
        hostRoot: app.base,
        observe(event) {
          events.push(event)
          if (event.type !== 'phase' || event.phase !== 'archive') return
          // Between the survey and the archive.
          app.put('data/late.key', marker)
          app.put('config/late/.env', marker)
          app.put('data/late.pem', `-----BEGIN PRIVATE KEY-----\n${marker}`)
        },
      },
    )
    const { seen, rounds } = await watcher.stop()
    assert.deepEqual(seen, [])
    assert.ok(rounds > 10, `the watcher looked only ${rounds} times`)
    assert.ok(!JSON.stringify(events).includes(marker), 'no event tells a secret')
    assert.ok(!JSON.stringify(report, asJson).includes(marker), 'nor does the report with its manifest')
    return report
  } finally {
    if (before === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = before
  }
}

function asJson(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value
}

async function expectNowhere(app: ProtectedApplication, marker: string): Promise<void> {
  let looked = 0
  for await (const [name, bytes] of repositoryContent(await app.open(), app.access.location)) {
    assert.ok(!bytes.includes(marker), `${name} holds a secret`)
    looked += 1
  }
  assert.ok(looked > 30)
}

/** What the system's own programs alone make of the sealed archive. */
function openByHand(app: ProtectedApplication, archive: string, decrypt: string): string {
  const into = join(app.base, `by-hand-${archive}`)
  mkdirSync(into)
  const dump = `'${resticPath('restic')}' --no-cache dump latest /.holdfast/${archive}`
  const { status, stderr } = spawnSync('bash', ['-c', `set -o pipefail; ${dump} | ${decrypt} | tar -xz -C '${into}'`], {
    env: {
      ...resticEnvironment({ repository: app.access.location, password: PASSWORD }),
      GNUPGHOME: process.env.GNUPGHOME,
    },
    encoding: 'utf8',
  })
  assert.equal(status, 0, stderr)
  return into
}

const SEALS = [
  { kind: 'gpg', skip: without('gpg') },
  { kind: 'age', skip: without('age') },
] as const

for (const { kind, skip } of SEALS) {
  test(`sealed with ${kind}, no secret is anywhere during a backup and after it`, { skip }, async () => {
    using gpg = openGpgHome()
    using app = await protectedApplication(COMPONENTS)
    const marker = `MARKER-${randomBytes(12).toString('hex')}`
    const planted = plantSecrets(app, marker)
    const identity = await app.makeAgeIdentity()
    const recipient = kind === 'gpg' ? `gpg:${gpg.makeKey('Admin <admin@example.com>')}` : identity.recipient
    const report = await backUpWatched(app, marker, recipient)

    assert.deepEqual(
      briefly(
        report.findings.filter(({ severity }) => severity === 'error'),
        app.root,
      ).sort(),
      ['error file-vetoed /config/late/.env', 'error file-vetoed /data/late.key', 'error file-vetoed /data/late.pem'],
      'what appeared after the survey is left out, and said to be',
    )
    const sealed = new Set(report.manifest.secrets?.files.map(({ path }) => path))
    assert.deepEqual(
      planted.filter((path) => !sealed.has(path)),
      [],
    )
    const stored = await pathsIn(await app.open(), report.snapshot, app.root)
    assert.ok(stored.includes('config/.env.example') && stored.includes('data/notes.txt'))
    await expectNowhere(app, marker)

    // The next one seals what came late, and again nothing is left in the clear.
    const second = await backUpWatched(app, marker, recipient)
    assert.equal(second.outcome, 'succeeded')
    assert.equal(second.manifest.secrets?.files.length, (report.manifest.secrets?.files.length ?? 0) + 3)
    await expectNowhere(app, marker)
  })

  test(`${kind} and tar alone open the sealed archive`, { skip: skip || withoutRestic() }, async () => {
    using gpg = openGpgHome()
    using app = await protectedApplication(COMPONENTS)
    const planted = plantSecrets(app, 'MARKER')
    const identity = await app.makeAgeIdentity()
    const recipient = kind === 'gpg' ? `gpg:${gpg.makeKey('Admin <admin@example.com>')}` : identity.recipient
    await app.backUp({ seal: [recipient] }, { hostRoot: app.base })
    const decrypt = kind === 'gpg' ? 'gpg --batch --quiet --decrypt' : `age --decrypt --identity '${identity.file}'`
    const into = openByHand(app, `secrets.tar.gz.${kind}`, decrypt)
    for (const path of planted) assert.deepEqual(describeTree(join(into, path)), describeTree(path))
    assert.deepEqual(describeTree(join(into, app.at('secrets'))), describeTree(app.at('secrets')))
  })
}

test('the program itself tells no secret: not in its log, its output, its arguments or those of its children', async () => {
  using app = await protectedApplication({ config: 'config', secrets: 'secrets' })
  const marker = `MARKER-${randomBytes(12).toString('hex')}`
  app.put('config/.env', `A=${marker}`)
  app.put('secrets/token', `${marker}${randomBytes(1 << 20).toString('base64')}`, 0o600)
  const identity = await app.makeAgeIdentity()
  const passwordFile = join(app.base, 'password')
  writeFileSync(passwordFile, PASSWORD, { mode: 0o600 })
  const file = join(app.base, 'holdfast.yaml')
  const written = app.config({ seal: [identity.recipient], 'password-file': passwordFile }).text
  writeFileSync(file, written, { mode: 0o600 })
  const watched = ['work', 'state', 'log', 'tmp'].map((name) => join(app.base, name))
  for (const folder of watched) mkdirSync(folder)
  const watcher = await watchForMarker(marker, watched)
  const program = join(import.meta.dirname, '../../bin/holdfast')
  const child = spawn(program, ['backup', '--verbose', '--config', file], {
    env: { PATH: process.env.PATH, HOME: app.base, TMPDIR: join(app.base, 'tmp') },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const [code] = await once(child, 'close')
  const { seen } = await watcher.stop()
  assert.equal(code, 0, output)
  assert.deepEqual(seen, [])
  assert.ok(!output.includes(marker))
  assert.match(readFileSync(join(app.base, 'log/holdfast.log'), 'utf8'), /backup/)
  await expectNowhereIn(app, [marker])
})

test('the watcher sees a marker in a file, an argument and a variable that are there for a moment', async () => {
  using folder = temporaryFolder()
  const marker = `MARKER-${randomBytes(12).toString('hex')}`
  const watcher = await watchForMarker(marker, [folder.path])
  const sleep = `writeFileSync('${folder.path}/' + process.argv[1].length, process.argv[1]); setTimeout(() => {}, 300)`
  const program = `import { writeFileSync } from 'node:fs'; ${sleep}`
  spawnSync(process.execPath, ['--input-type=module', '-e', program, marker], { env: { SECRET: marker } })
  const { seen } = await watcher.stop()
  const places = new Set(seen.map((place) => place.replace(folder.path, '').replace(/of .*/, 'of it')))
  assert.deepEqual([...places].sort(), [`/${marker.length}`, 'cmdline of it', 'environ of it'])
})

test('keys of the backup itself are sealed wherever they lie, and the config that is stored holds none', async () => {
  using app = await protectedApplication({ config: 'config' })
  const identity = await app.makeAgeIdentity()
  const marker = `MARKER-${randomBytes(12).toString('hex')}`
  // A password file that plainly lies in a component is refused when the config is read.
  symlinkSync(dirname(app.put('config/password', marker, 0o600)), join(app.base, 'link'))
  const own = {
    seal: [identity.recipient],
    unseal: app.put('config/opener', readFileSync(identity.file)),
    'password-file': join(app.base, 'link/password'),
    notify: [{ discord: `file:${app.put('config/webhook', `https://discord.com/api/webhooks/${marker}`)}` }],
  }
  const { snapshot, manifest } = await app.backUp(own)
  assert.deepEqual(manifest.secrets?.files.map(({ path }) => path.replace(app.root, '')).sort(), [
    '/config/opener',
    '/config/password',
    '/config/webhook',
  ])
  assert.deepEqual(await pathsIn(await app.open(), snapshot, app.at('config')), [])
  await expectNowhereIn(app, [marker, readFileSync(identity.file, 'utf8').trim()])
})

async function expectNowhereIn(app: ProtectedApplication, markers: readonly string[]): Promise<void> {
  for await (const [name, bytes] of repositoryContent(await app.open(), app.access.location)) {
    for (const marker of markers) assert.ok(!bytes.includes(marker), `${name} holds a secret`)
  }
}

test('a config with a secret in it is refused before it can be stored', async () => {
  using app = await protectedApplication()
  const secrets = [
    { repository: 'rest:https://user:hunter2@backup.example.com/shop' },
    { 'off-site': [{ to: 's3:https://key:hunter2@s3.example.com/bucket/shop' }] },
    { notify: [{ discord: 'https://discord.com/api/webhooks/123456/hunter2' }] },
    { notify: [{ mail: 'ops@example.com', smtp: 'smtps://user:hunter2@mail.example.com' }] },
  ]
  for (const changes of secrets) {
    assert.throws(
      () => app.config(changes),
      (error: Error) => {
        assert.equal((error as Error & { code: string }).code, 'CONFIG', JSON.stringify(changes))
        assert.ok(!error.message.includes('hunter2'), 'and the error does not repeat it')
        return true
      },
    )
  }
})
