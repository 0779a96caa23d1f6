import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, type TestContext, test } from 'node:test'
import { detectApplication } from './detect.ts'

type Files = Readonly<Record<string, string>>

/** A host with an application in `opt/app`. Names that end with a slash are folders; `sqlite` as content makes a database. */
async function host(context: TestContext, files: Files) {
  const hostRoot = await mkdtemp(join(tmpdir(), 'holdfast-detect-'))
  context.after(() => rm(hostRoot, { recursive: true }))
  const app = join(hostRoot, 'opt/app')
  await mkdir(app, { recursive: true })
  for (const [name, content] of Object.entries(files)) {
    const path = name.startsWith('/') ? join(hostRoot, name) : join(app, name)
    await mkdir(name.endsWith('/') ? path : dirname(path), { recursive: true })
    if (content === 'sqlite') makeDatabase(path)
    else if (!name.endsWith('/')) await writeFile(path, content)
  }
  return { app, detect: (options = {}) => detectApplication(app, { hostRoot, ...options }) }
}

function makeDatabase(path: string): void {
  const database = new DatabaseSync(path)
  database.exec('CREATE TABLE users (name TEXT)')
  database.close()
}

/** The application of the runbook, as it lies on a server. */
const runbookServer: Files = {
  'package.json': '{ "name": "@company/devrel-integration", "scripts": { "build": "tsc" } }',
  'package-lock.json': '{}',
  '.git/HEAD': 'ref: refs/heads/main',
  '.gitignore': 'node_modules\nlogs\ndata\nsecrets\nuploaded\n*.tmp\n',
  'src/index.js': '',
  'node_modules/better-sqlite3/fixture.db': 'sqlite',
  'holdfast.yaml': '',
  'config/bot.json': '{}',
  'data/auth.db': 'sqlite',
  'data/preferences.json': '{}',
  'secrets/.env.production': 'DISCORD_TOKEN=geheim\nPORT=3000\n',
  'secrets/.env.staging': 'PORT=3001\n',
  'uploaded/a.png': '',
  'logs/out.log': '',
  'ecosystem.config.js': "module.exports = { apps: [{ name: 'devrel-bot', script: 'src/index.js' }] }",
  '/etc/systemd/system/devrel-integration.service':
    '[Service]\nWorkingDirectory=/opt/app\nExecStart=/usr/bin/node src/index.js\n',
  '/etc/systemd/system/other.service': '[Service]\nExecStart=/usr/bin/other\n',
  '/etc/nginx/sites-available/devrel-integration': 'server { location / { proxy_pass http://localhost:3000; } }',
  '/etc/nginx/sites-available/other': 'server { location / { proxy_pass http://localhost:9000; } }',
}

suite('detection', () => {
  test('the application of the runbook is found whole, with the reason of each part', async (context) => {
    const { app, detect } = await host(context, runbookServer)
    const detection = await detect()
    assert.equal(detection.app, 'devrel-integration')
    assert.equal(detection.root, app)
    assert.deepEqual(detection.components, [
      { name: 'config', kind: 'files', paths: ['config/'], reasons: ['The usual folder for configuration'] },
      {
        name: 'data',
        kind: 'files',
        paths: ['data/'],
        reasons: ['The usual folder for data', '1 SQLite database: data/auth.db'],
      },
      {
        name: 'untracked',
        kind: 'files',
        paths: ['uploaded/'],
        reasons: ['Ignored by .gitignore, so Git does not hold it, and nothing makes it again'],
      },
      { name: 'secrets', kind: 'secrets', paths: ['secrets/'], reasons: ['The folder of secrets'] },
      { name: 'pm2', kind: 'pm2', paths: ['ecosystem.config.js'], reasons: ['pm2 starts devrel-bot'] },
      {
        name: 'systemd',
        kind: 'systemd',
        paths: ['devrel-integration.service'],
        reasons: ['devrel-integration.service works in /opt/app'],
      },
      {
        name: 'nginx',
        kind: 'nginx',
        paths: ['devrel-integration'],
        reasons: ['The site devrel-integration proxies to port 3000', 'With the certificates that it names'],
      },
    ])
    assert.deepEqual(detection.leftOut, [
      { names: ['.git/'], reason: 'history of the source code, which its remote has' },
      { names: ['.gitignore', 'package-lock.json', 'package.json', 'src/'], reason: 'source code, which Git holds' },
      { names: ['holdfast.yaml'], reason: 'this configuration, which every snapshot holds' },
      { names: ['logs/'], reason: 'logs, which log rotation keeps' },
      { names: ['node_modules/'], reason: 'dependencies, installed again' },
    ])
    assert.deepEqual(detection.service, {
      manager: 'pm2',
      name: 'devrel-bot',
      install: 'npm ci --omit=dev',
      build: 'npm run build --if-present',
    })
    assert.equal(detection.port, 3000)
    assert.deepEqual(detection.findings, [])
  })

  test('no secret value is in what was found', async (context) => {
    const { detect } = await host(context, { ...runbookServer, '.env': 'TOKEN=geheim' })
    assert.doesNotMatch(JSON.stringify(await detect()), /geheim/)
  })

  test('a database outside of the usual folders is a component of its own, its sidecars are not', async (context) => {
    const { detect } = await host(context, {
      '.git/HEAD': '',
      'users.db': 'sqlite',
      'users.db-wal': '',
      'var/x/users.db': 'sqlite',
      'not-a.db': 'text',
    })
    const { components, leftOut } = await detect()
    assert.deepEqual(
      components.map(({ name, kind, paths }) => [name, kind, ...paths]),
      [
        ['users.db', 'sqlite', 'users.db'],
        ['users.db-2', 'sqlite', 'var/x/users.db'],
      ],
    )
    assert.deepEqual(leftOut.at(-1)?.names, ['not-a.db', 'var/'])
  })

  test('files that look secret are sealed wherever they lie, samples are not', async (context) => {
    const { detect } = await host(context, {
      '.git/HEAD': '',
      'data/x': '',
      'data/inner.key': 'in a component: sealed there',
      '.env': 'A=1',
      '.env.example': 'A=',
      'certs/tls.pem': '-----BEGIN PRIVATE KEY-----',
      'certs/ca.pem': '-----BEGIN CERTIFICATE-----',
    })
    const { components } = await detect()
    assert.deepEqual(
      components.find(({ kind }) => kind === 'secrets'),
      {
        name: 'secrets',
        kind: 'secrets',
        paths: ['.env', 'certs/tls.pem'],
        reasons: ['Secret by name or content: .env, certs/tls.pem'],
      },
    )
    const data = components.find(({ name }) => name === 'data')
    assert.deepEqual(data?.reasons, ['The usual folder for data', 'Sealed with the secrets: data/inner.key'])
  })

  test('what a unit takes its environment from is secret, inside and outside of the application', async (context) => {
    const unit =
      '[Service]\nWorkingDirectory=/opt/app\nEnvironmentFile=/etc/app/environment\nEnvironmentFile=-/etc/app/absent\nEnvironment=PORT=8080\n'
    const { detect } = await host(context, {
      'data/x': '',
      '/etc/app/environment': 'TOKEN=geheim\n',
      '/etc/systemd/system/app.service': unit,
      '/etc/nginx/conf.d/app.conf': 'server { location / { proxy_pass http://127.0.0.1:8080; } }',
    })
    const { components, service, port } = await detect()
    assert.deepEqual(components.find(({ kind }) => kind === 'secrets')?.paths, ['/etc/app/environment'])
    assert.deepEqual(components.find(({ kind }) => kind === 'nginx')?.paths, ['app.conf'])
    assert.deepEqual(service, { manager: 'systemd', name: 'app.service', install: undefined, build: undefined })
    assert.equal(port, 8080)
  })

  test('a folder that is a link brings what it leads to', async (context) => {
    const { app, detect } = await host(context, { '.git/HEAD': '', '/srv/shared/data/a.json': '' })
    const target = join(app, '../../srv/shared/data')
    await symlink(target, join(app, 'data'))
    const { components } = await detect()
    assert.deepEqual(components, [
      {
        name: 'data',
        kind: 'files',
        paths: ['data', target],
        reasons: ['The usual folder for data', `data is a link to ${target}`],
      },
    ])
  })

  test('a link to a folder inside brings it too, but what a component holds only once', async (context) => {
    const { app, detect } = await host(context, { '.git/HEAD': '', 'shared/storage/x': '', 'data/media/y': '' })
    await symlink('shared/storage', join(app, 'storage'))
    await symlink('data/media', join(app, 'media'))
    await symlink('data', join(app, 'files'))
    const { components } = await detect()
    assert.deepEqual(
      components.map(({ paths }) => paths),
      [['data/'], ['files'], ['media'], ['storage', 'shared/storage/']],
    )
  })

  test('where nothing is recognised, everything but what can be made again is taken', async (context) => {
    const { detect } = await host(context, { 'index.php': '', 'cache/x': '', 'node_modules/x': '' })
    const { components, leftOut, findings } = await detect()
    assert.deepEqual(
      components.map(({ name, kind, paths }) => [name, kind, ...paths]),
      [['files', 'files', '.']],
    )
    assert.deepEqual(
      leftOut.map(({ names }) => names),
      [['cache/'], ['node_modules/']],
    )
    assert.deepEqual(findings, [])
  })

  test('source code that no Git holds is left out with a warning', async (context) => {
    const { app, detect } = await host(context, { 'data/x': '', 'server.js': '' })
    const { findings } = await detect()
    assert.deepEqual(findings, [
      {
        severity: 'warning',
        code: 'source-not-in-git',
        message: `${app} is not a Git checkout, and its source code is left out: server.js`,
        path: app,
        hint: 'Make sure that the source code can be had from elsewhere, or add a component with its paths',
      },
    ])
  })

  test('a pm2 file that cannot be loaded is a warning, and still a component', async (context) => {
    const { detect } = await host(context, {
      'data/x': '',
      'ecosystem.config.cjs': 'throw new Error("no")',
      '.git/HEAD': '',
    })
    const { components, findings, service } = await detect()
    assert.deepEqual(components.find(({ kind }) => kind === 'pm2')?.reasons, ['A pm2 file, by its name'])
    assert.deepEqual(
      findings.map(({ severity, code }) => [severity, code]),
      [['warning', 'pm2-file-not-loaded']],
    )
    assert.equal(service, undefined)
  })

  test('a database whose name no config file can hold is an error, not a silence', async (context) => {
    const { app, detect } = await host(context, { '.git/HEAD': '', 'data/x': '', 'var/plain.db': 'sqlite' })
    const bytes = await readFile(join(app, 'var/plain.db'))
    await writeFile(Buffer.concat([Buffer.from(join(app, 'var/')), Buffer.from([0xff, 0xfe])]), bytes)
    const { findings } = await detect()
    assert.deepEqual(
      findings.map(({ severity, code }) => [severity, code]),
      [['error', 'name-not-text']],
    )
  })

  test('a very large application is looked at in part, and says which', async (context) => {
    const { app, detect } = await host(context, { '.git/HEAD': '', 'data/x': '', 'a/b/c/deep.db': 'sqlite' })
    const { components, findings } = await detect({ limits: { entries: 100, depth: 1 } })
    assert.deepEqual(
      components.map(({ name }) => name),
      ['data'],
    )
    assert.deepEqual(
      findings.map(({ code, path }) => [code, path]),
      [['not-looked-at', join(app, 'a/b')]],
    )
    const narrow = await detect({ limits: { entries: 1, depth: 9 } })
    assert.ok(narrow.findings.every(({ code }) => code === 'not-looked-at'))
    assert.equal(narrow.findings.length, 2)
  })

  test('a folder that is absent is an error', async () => {
    await assert.rejects(detectApplication('/nonexistent/app'), {
      code: 'CONFIG',
      message: 'Cannot look for an application in /nonexistent/app: it does not exist',
    })
  })

  test('it can be stopped', async (context) => {
    const { detect } = await host(context, { 'data/x': '' })
    await assert.rejects(detect({ signal: AbortSignal.abort() }), { name: 'AbortError' })
  })
})
