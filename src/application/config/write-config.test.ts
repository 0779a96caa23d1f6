import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { ComponentKind } from './config.ts'
import type { Detection } from './detection.ts'
import { loadConfig, parseConfig } from './load-config.ts'
import { renderConfig } from './write-config.ts'

const choices = {
  repository: '/var/backups/devrel-integration',
  passwordFile: '/etc/holdfast/devrel-integration.key',
  seal: ['gpg:admin@your-company.com'],
}

const detection: Detection = {
  app: 'devrel-integration',
  root: '/opt/devrel-integration',
  owner: { user: 'devrel', group: 'devrel' },
  components: [
    { name: 'config', kind: 'files', paths: ['config/'], reasons: ['The usual folder for configuration'] },
    {
      name: 'data',
      kind: 'files',
      paths: ['data/'],
      reasons: ['The usual folder for data', '1 SQLite database: data/auth.db'],
    },
    { name: 'jobs.db', kind: 'sqlite', paths: ['var/jobs.db'], reasons: ['A SQLite database, by its header'] },
    {
      name: 'secrets',
      kind: 'secrets',
      paths: ['secrets/', '.env'],
      reasons: ['The folder of secrets', 'Secret by name or content: .env'],
    },
    { name: 'pm2', kind: 'pm2', paths: ['ecosystem.config.js'], reasons: ['pm2 starts devrel-bot'] },
    {
      name: 'nginx',
      kind: 'nginx',
      paths: ['devrel-integration'],
      reasons: ['The site devrel-integration proxies to port 3000'],
    },
  ],
  leftOut: [
    { names: ['.git/'], reason: 'history of the source code, which its remote has' },
    { names: ['package.json', 'src/'], reason: 'source code, which Git holds' },
    { names: ['node_modules/'], reason: 'dependencies, installed again' },
  ],
  service: { manager: 'pm2', name: 'devrel-bot', install: 'npm ci --omit=dev', build: 'npm run build --if-present' },
  port: 3000,
  findings: [],
}

const rendered = `# What Holdfast protects of devrel-integration, and how. Written after a look at
# /opt/devrel-integration: correct what is wrong.

app: devrel-integration
environment: production  # production | staging | development: sets the default schedule
root: /opt/devrel-integration
owner: devrel:devrel

repository: /var/backups/devrel-integration
# Whoever has this file and the repository can read the backups. Keep a copy of it away from this
# machine.
password-file: /etc/holdfast/devrel-integration.key

components:
  # The usual folder for configuration
  config: config/

  # The usual folder for data
  # 1 SQLite database: data/auth.db
  data: data/

  # A SQLite database, by its header
  jobs.db: { kind: sqlite, path: var/jobs.db }

  # The folder of secrets
  # Secret by name or content: .env
  secrets: [secrets/, .env]

  # pm2 starts devrel-bot
  pm2: ecosystem.config.js

  # The site devrel-integration proxies to port 3000
  nginx: devrel-integration

# Secrets are encrypted for these keys before they are stored. This machine cannot open them again.
seal: [gpg:admin@your-company.com]

# Not backed up:
# - .git/: history of the source code, which its remote has
# - package.json, src/: source code, which Git holds
# - node_modules/: dependencies, installed again
# Left out of every component, wherever it lies; the syntax is that of .gitignore.
exclude: [node_modules, .git, "*.log"]

schedule: { backup: "0 2 * * *", timezone: UTC }
# The first snapshot of each day, week, month and year is kept this long.
retention: { daily: 30d, weekly: 90d, monthly: 1y, yearly: 7y }
# How much work may be lost, and how long a restore may take.
objectives: { rpo: 24h, rto: 4h }

service:
  manager: pm2
  name: devrel-bot
  install: npm ci --omit=dev
  build: npm run build --if-present
  # An address that answers when the application runs: a restore is proven by it.
  # health: http://localhost:3000/health
`

suite('writing a config file', () => {
  test('it reads like one that an operator wrote, with the reasons', () => {
    assert.equal(renderConfig(detection, choices), rendered)
  })

  test('it loads again as what was found', async (context) => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-write-'))
    context.after(() => rm(folder, { recursive: true }))
    const file = join(folder, 'holdfast.yaml')
    await writeFile(file, renderConfig(detection, choices))
    await chmod(file, 0o600)
    const config = await loadConfig(file)
    assert.equal(config.app, detection.app)
    assert.equal(config.root, detection.root)
    assert.deepEqual(config.owner, detection.owner)
    assert.equal(config.repository, choices.repository)
    assert.equal(config.passwordFile, choices.passwordFile)
    assert.deepEqual(config.seal, choices.seal)
    assert.deepEqual(
      config.components.map(({ name, kind }) => [name, kind]),
      detection.components.map(({ name, kind }) => [name, kind]),
    )
    assert.deepEqual(config.components[3]?.paths, ['/opt/devrel-integration/secrets', '/opt/devrel-integration/.env'])
    assert.equal(config.service?.name, 'devrel-bot')
  })

  test('without a recipient it says what that means, and loads', () => {
    const text = renderConfig(detection, { ...choices, seal: [] })
    assert.match(
      text,
      /# As long as nobody is named here, secrets stay out of the backup, and every backup is incomplete\.\n# seal: \[gpg:admin@example\.com\]/,
    )
    assert.deepEqual(parseConfig(text, '/etc/holdfast/x.yaml').seal, [])
  })

  test('a component that is the whole folder leaves out what can be made again', () => {
    const text = renderConfig(
      {
        ...detection,
        components: [{ name: 'files', kind: 'files', paths: ['.'], reasons: ['everything'] }],
        leftOut: [{ names: ['cache/', 'odd [x]*/'], reason: 'caches, made again' }],
      },
      choices,
    )
    const config = parseConfig(text, '/etc/holdfast/x.yaml')
    assert.deepEqual(config.exclude, ['node_modules', '.git', '*.log', '/cache/', '/odd\\ \\[x]\\*/'])
  })

  test('a pattern that would leave out a component is not written', () => {
    const components = [{ name: 'audit', kind: 'sqlite' as const, paths: ['var/audit.log'], reasons: [] }]
    const config = parseConfig(renderConfig({ ...detection, components }, choices), '/etc/holdfast/x.yaml')
    assert.deepEqual(config.exclude, ['node_modules', '.git'])
  })

  test('whatever names lie on the disk, the file says what was found and nothing else', () => {
    const odd = fc.oneof(
      fc.string({ minLength: 1, maxLength: 20, unit: 'binary' }),
      fc.constantFrom(
        'a: b',
        '# x',
        'x #y',
        '*a',
        '&a',
        '!x',
        '- a',
        'null',
        '~x',
        'true',
        '0x1f',
        "it's",
        '"q"',
        'a\nservice: { install: evil }',
        '\u2028x',
        '\x7fx\x85',
        '%a',
        '@a',
        '[a]',
        '{a}',
        'a,b',
        ' lead',
        'trail ',
        '\ttab',
        '...',
        '---',
        '=',
        'env:X',
        'a:',
        ':a',
      ),
    )
    const name = odd.filter(
      (text) => !/[/\0]/.test(text) && !/^\.{1,2}$|^~$/.test(text) && text.isWellFormed() && text.trim() !== '',
    )
    fc.assert(
      fc.property(fc.uniqueArray(name, { minLength: 1, maxLength: 4 }), name, (names, reason) => {
        const kinds: ComponentKind[] = ['files', 'sqlite', 'secrets', 'pm2']
        const components = names.map((each, index) => ({
          name: `part${index}`,
          kind: kinds[index % kinds.length]!,
          paths: [`data/${each}`],
          reasons: [reason],
        }))
        const leftOut = [{ names, reason }]
        const service = { manager: 'pm2' as const, name: names[0]!, install: undefined, build: undefined }
        const text = renderConfig({ ...detection, root: `/opt/${names[0]}`, components, leftOut, service }, choices)
        const config = parseConfig(text, '/etc/holdfast/x.yaml', { isRoot: true, home: '/root', stateHome: undefined })
        assert.equal(config.root, `/opt/${names[0]}`)
        assert.deepEqual(
          config.components.map(({ paths }) => paths),
          names.map((each) => [`/opt/${names[0]}/data/${each}`]),
        )
        assert.equal(config.service?.name, names[0])
        assert.equal(config.service?.install, undefined)
      }),
      { numRuns: 500 },
    )
  })
})
