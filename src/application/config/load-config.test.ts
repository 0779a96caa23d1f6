import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { ApplicationError } from '../error.ts'
import { assertPrivate, findConfig, loadConfig, parseConfig } from './load-config.ts'

const file = '/etc/holdfast/app.yaml'
const asRoot = { isRoot: true, home: '/root', stateHome: undefined }
const minimal = 'app: app\nroot: /opt/app\nrepository: /var/backups/app\ncomponents:\n  data: data/\n'

const exampleFile = new URL('../../../examples/holdfast.yaml', import.meta.url)

function parse(text: string, host = asRoot) {
  return parseConfig(text, file, host)
}

/** The message of the error, without the file that each begins with. */
function mistake(text: string): string {
  try {
    parse(text)
  } catch (error) {
    assert.ok(error instanceof ApplicationError, String(error))
    assert.equal(error.code, 'CONFIG')
    const start = `Cannot use ${file}`
    assert.ok(error.message.startsWith(start), error.message)
    return error.message.slice(start.length).replace(/^:/, '')
  }
  return 'no mistake'
}

async function temporaryFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-config-'))
  context.after(() => rm(folder, { recursive: true }))
  return folder
}

suite('reading the config file', () => {
  test('the example is understood, all of it', async () => {
    const { text, ...config } = parse(await readFile(exampleFile, 'utf8'))
    assert.equal(text, await readFile(exampleFile, 'utf8'))
    const days = (count: number) => ({ text: `${count}d`, months: 0, days: count, seconds: 0 })
    const hours = (count: number) => ({ text: `${count}h`, months: 0, days: 0, seconds: count * 3600 })
    const years = (count: number) => ({ text: `${count}y`, months: count * 12, days: 0, seconds: 0 })
    const component = (name: string, kind: string, path: string) => ({
      name,
      kind,
      paths: [path],
      exclude: [],
      elsewhere: [],
    })
    const root = '/opt/devrel-integration'
    assert.deepEqual(config, {
      file,
      app: 'devrel-integration',
      environment: 'production',
      root,
      owner: { user: 'devrel', group: 'devrel' },
      repository: '/var/backups/devrel-integration',
      passwordFile: '/etc/holdfast/devrel-integration.key',
      components: [
        component('config', 'files', `${root}/config`),
        component('data', 'files', `${root}/data`),
        component('secrets', 'secrets', `${root}/secrets`),
        component('pm2', 'pm2', `${root}/ecosystem.config.js`),
        component('systemd', 'systemd', 'devrel-integration.service'),
        component('nginx', 'nginx', 'devrel-integration'),
      ],
      exclude: ['node_modules', '*.log'],
      seal: ['gpg:admin@your-company.com'],
      unsealIdentities: [],
      sign: undefined,
      schedule: { backup: '0 2 * * *', verify: undefined, timezone: 'UTC' },
      retention: { daily: days(30), weekly: days(90), monthly: years(1), yearly: years(7) },
      objectives: { rpo: hours(24), rto: hours(4) },
      offSite: [
        {
          to: 's3:https://s3.eu-central-1.amazonaws.com/your-company-backups/devrel',
          storageClass: 'STANDARD_IA',
          objectLock: days(30),
          passwordFile: undefined,
        },
        {
          to: 'sftp:backup@backup-server.com:/backups/devrel-integration',
          storageClass: undefined,
          objectLock: undefined,
          passwordFile: undefined,
        },
      ],
      service: {
        manager: 'pm2',
        name: 'devrel-bot',
        start: undefined,
        stop: undefined,
        install: 'npm ci --omit=dev',
        build: 'npm run build --if-present',
        health: 'http://localhost:3000/health',
        metrics: 'http://localhost:3000/metrics',
        expectLog: ['discord connected', 'linear'],
      },
      drill: { every: days(90), pick: { youngest: days(14), oldest: days(21) }, checks: [] },
      notify: [
        {
          kind: 'discord',
          target: { kind: 'env', name: 'BACKUP_WEBHOOK' },
          smtp: undefined,
          on: ['failed', 'incomplete'],
        },
      ],
      contacts: new Map([
        ['on-call', '…'],
        ['incident-commander', '…'],
      ]),
      log: '/var/log/holdfast/devrel-integration.log',
      workDirectory: '/var/lib/holdfast/devrel-integration/work',
      stateDirectory: '/var/lib/holdfast/devrel-integration',
    })
  })

  test('what is not said follows from the environment', () => {
    const production = parse(minimal)
    assert.equal(production.schedule.backup, '0 2 * * *')
    assert.equal(production.objectives.rpo?.text, '24h')
    assert.equal(production.drill?.every.text, '90d')
    const staging = parse(`${minimal}environment: staging\n`)
    assert.equal(staging.schedule.backup, '0 2 * * 0')
    assert.equal(staging.drill, undefined)
    const development = parse(`${minimal}environment: development\n`)
    assert.equal(development.schedule.backup, undefined)
    assert.equal(development.objectives.rpo, undefined)
    assert.deepEqual(
      Object.values(production.retention).map((each) => each?.text),
      ['30d', '90d', '1y', '7y'],
    )
  })

  test('defaults can be switched off', () => {
    const config = parse(`${minimal}schedule: { backup: manual }\nretention: { yearly: none }\ndrill: none\n`)
    assert.equal(config.schedule.backup, undefined)
    assert.equal(config.retention.yearly, undefined)
    assert.equal(config.retention.daily?.text, '30d')
    assert.equal(config.drill, undefined)
  })

  test('another user than root gets folders of their own', () => {
    const user = { isRoot: false, home: '/home/ops', stateHome: undefined }
    assert.equal(parse(minimal, user).stateDirectory, '/home/ops/.local/state/holdfast/app')
    assert.equal(parse(minimal, user).log, '/home/ops/.local/state/holdfast/app/holdfast.log')
    const elsewhere = { ...user, stateHome: '/srv/state' }
    assert.equal(parseConfig(minimal, file, elsewhere).workDirectory, '/srv/state/holdfast/app/work')
    const relative = { ...user, stateHome: 'state' }
    assert.equal(parseConfig(minimal, file, relative).stateDirectory, '/home/ops/.local/state/holdfast/app')
  })

  test('paths of components count from the root, all others from the folder of the file', () => {
    const config = parse(
      'app: app\nroot: /opt/app/\nrepository: backups\npassword-file: app.key\nsign: ssh:keys/sign\nunseal: id.txt\n' +
        'seal: [gpg:ops.asc, "age:keys/r.txt"]\nnotify: [{ slack: file:hook }]\nlog: app.log\n' +
        'components: { data: [./data/, /srv/data/../more], systemd: [units/app.service, app.timer], nginx: /etc/nginx/conf.d/app.conf }\n',
    )
    assert.equal(config.root, '/opt/app')
    assert.equal(config.repository, '/etc/holdfast/backups')
    assert.equal(config.passwordFile, '/etc/holdfast/app.key')
    assert.equal(config.sign, 'ssh:/etc/holdfast/keys/sign')
    assert.deepEqual(config.unsealIdentities, ['/etc/holdfast/id.txt'])
    assert.deepEqual(config.seal, ['gpg:/etc/holdfast/ops.asc', 'age:/etc/holdfast/keys/r.txt'])
    assert.deepEqual(config.notify[0]?.target, { kind: 'file', path: '/etc/holdfast/hook' })
    assert.equal(config.log, '/etc/holdfast/app.log')
    assert.deepEqual(
      config.components.map(({ paths }) => paths),
      [['/opt/app/data', '/srv/more'], ['/opt/app/units/app.service', 'app.timer'], ['/etc/nginx/conf.d/app.conf']],
    )
  })

  test('the kind of a component is known from its name, from a command, or given', () => {
    const config = parse(
      'app: app\nroot: /opt/app\nrepository: /b\ncomponents:\n  data: data\n  secrets: s\n  pm2: p.json\n' +
        '  dump: { command: pg_dump app }\n  users.db: { kind: sqlite, path: var/users.db }\n  keys: { kind: secrets, paths: [k, /etc/k] }\n',
    )
    assert.deepEqual(
      config.components.map(({ name, kind }) => [name, kind]),
      [
        ['data', 'files'],
        ['secrets', 'secrets'],
        ['pm2', 'pm2'],
        ['dump', 'command'],
        ['users.db', 'sqlite'],
        ['keys', 'secrets'],
      ],
    )
    assert.equal(config.components[3]?.command, 'pg_dump app')
    assert.deepEqual(config.components[3]?.paths, [])
  })

  test('recipients from everywhere are one list, each once', () => {
    const config = parse(`${minimal}  secrets: { path: secrets, seal: [gpg:a@b.c, gpg:d@e.f] }\nseal: gpg:a@b.c\n`)
    assert.deepEqual(config.seal, ['gpg:a@b.c', 'gpg:d@e.f'])
  })

  test('a component inside of another one keeps its files to itself', () => {
    const config = parse(
      'app: app\nroot: /opt/app\nrepository: /b\ncomponents: { app: ., secrets: [secrets, /etc/x], pm2: pm2.json }\n',
    )
    assert.deepEqual(config.components[0]?.elsewhere, ['/opt/app/secrets', '/opt/app/pm2.json'])
    assert.deepEqual(config.components[1]?.elsewhere, [])
  })

  test('what looks like a number or truth value stays what was written', () => {
    const config = parse(`${minimal}contacts: { on-call: 0401234, boss: 1e3, deputy: no }\n`)
    assert.deepEqual([...config.contacts.values()], ['0401234', '1e3', 'no'])
  })

  test('any text is understood or refused with a CONFIG error', () => {
    const line = fc.constantFrom(
      'app: app',
      'root: /opt/app',
      'components:',
      '  data: data/',
      '  - x',
      'exclude: [',
      ']',
      '{',
      '"',
      "'",
      '\t',
      '&a',
      '*a',
      '? ',
      ': ',
      '<<: *a',
      '---',
      '%YAML',
      '|',
      '>',
      '!!binary x',
      '__proto__: x',
      '0: 1',
    )
    fc.assert(
      fc.property(fc.array(fc.oneof(line, fc.string()), { maxLength: 8 }), (lines) => {
        assert.notEqual(mistake(lines.join('\n')), '')
      }),
      { numRuns: 300 },
    )
  })
})

suite('mistakes in the config file', () => {
  const end = minimal.split('\n').length
  const inMinimal = (line: string) => `${minimal}${line}\n`

  const mistakes: [what: string, text: string, message: string][] = [
    ['an empty file', '', '1:1: the file is empty, expected at least app, root, repository and components'],
    [
      'a file of comments',
      '# later\n',
      '1:1: the file is empty, expected at least app, root, repository and components',
    ],
    [
      'prose',
      'Back up everything',
      '1:1: "Back up everything" stands here, expected keys and values, as in "app: my-app"',
    ],
    ['a list', '- app: x\n', '1:1: a list stands here, expected keys and values, as in "app: my-app"'],
    ['a binary file', 'PK\u0003\u0004', '1:3: a control character (0x03) stands here, expected a text file in YAML'],
    ['a tab', 'app: x\ncomponents:\n\tdata: data/\n', '3:1: a tab indents this line, expected spaces'],
    [
      'a duplicate key',
      inMinimal('app: other'),
      `${end}:1: the key "app" stands here again, first on line 1, expected each key once`,
    ],
    [
      'a duplicate component',
      inMinimal('  data: more/'),
      `${end}:3: the key "data" stands here again, first on line 5, expected each key once`,
    ],
    [
      'a pattern without quotes',
      inMinimal('exclude: [*.log]'),
      `${end}:11: *.log is a reference in YAML and refers to nothing here, expected quotes around it: "*.log"`,
    ],
    [
      'a reserved character',
      inMinimal('log: @x'),
      `${end}:6: @ cannot begin a value in YAML, expected quotes around it: "@x"`,
    ],
    [
      'a second colon',
      inMinimal('log: a: b'),
      `${end}:6: a value with ": " in it stands here, expected quotes around it: "a: b"`,
    ],
    [
      'no space after the colon',
      inMinimal('log:/x'),
      `${end}:1: "log:/x" stands here, expected a key, a colon and a space`,
    ],
    ['an open quote', inMinimal('log: "x'), `${end + 1}:1: the file ends between quotes, expected the closing one`],
    [
      'uneven indentation',
      'app: x\ncomponents:\n  data: a\n config: b\n',
      '4:1: this line is indented unlike those of the same group, expected the same number of spaces',
    ],
    ['a second document', inMinimal('---\nlog: x'), `${end}:1: a second document begins here, expected one`],
    ['a tag', inMinimal('log: !path x'), `${end}:6: the tag !path stands here, expected a value without one`],
    ['a list as key', inMinimal('? [a]\n: b'), `${end}:3: a list or group stands here as a key, expected text`],

    [
      'an unknown key with a near miss',
      inMinimal('shedule: {}'),
      `${end}:1: unknown key "shedule", did you mean "schedule"?`,
    ],
    [
      'another way to write a key',
      inMinimal('passwordFile: /x'),
      `${end}:1: unknown key "passwordFile", did you mean "password-file"?`,
    ],
    [
      'a key that belongs elsewhere',
      inMinimal('daily: 30d'),
      `${end}:1: unknown key "daily", expected under "retention"`,
    ],
    [
      'a key that belongs to the top',
      inMinimal('drill: { every: 90d, seal: x }'),
      `${end}:22: unknown key "seal" in drill, expected at the top of the file`,
    ],
    [
      'a key that is known nowhere',
      inMinimal('drill: { every: 90d, colour: x }'),
      `${end}:22: unknown key "colour" in drill, expected one of every, pick, checks`,
    ],
    [
      'a misspelt key that is needed',
      minimal.replace('data: data/', 'data: { pth: data/ }'),
      '5:11: unknown key "pth" in components.data, did you mean "path"?',
    ],
    [
      'missing keys',
      'app: app\n',
      ', 3 mistakes:\n' +
        '  1:1: root: missing, expected the absolute path of the application\n' +
        '  1:1: repository: missing, expected a folder, s3:https://HOST/BUCKET/PATH, sftp:USER@HOST:/PATH, rest:https://HOST/PATH or rclone:REMOTE:PATH\n' +
        '  1:1: components: missing, expected the parts of the application, each with a name, as in data: data/',
    ],
    [
      'no component',
      minimal.replace('\n  data: data/', ' {}'),
      '4:13: components: no component stands here, expected at least one, as in data: data/',
    ],
    [
      'nothing after a colon',
      inMinimal('password-file:'),
      `${end}:1: password-file: nothing stands here, expected the path of a file that holds the password`,
    ],
    [
      'a list instead of text',
      minimal.replace('app: app', 'app: [a]'),
      '1:6: app: a list stands here, expected letters, digits, ".", "_" and "-", at most 63, the first a letter or digit',
    ],
    [
      'text instead of a list',
      inMinimal('notify: env:HOOK'),
      `${end}:9: notify: "env:HOOK" stands here, expected a list, each entry with a channel: - { discord: env:BACKUP_WEBHOOK }`,
    ],
    [
      'text instead of keys',
      inMinimal('retention: 30d'),
      `${end}:12: retention: "30d" stands here, expected keys and values (daily, weekly, monthly, yearly)`,
    ],
    [
      'a component that is none of its shapes',
      minimal.replace(' data/', ''),
      '5:3: components.data: nothing stands here, expected a path, a list of paths, or keys and values (kind, path, paths, exclude, seal, command)',
    ],
    [
      'a component without a path',
      minimal.replace('data/', '{ kind: files }'),
      '5:3: components.data.path: missing, expected a path, absolute or relative to root',
    ],
    [
      'path and paths',
      minimal.replace('data/', '{ path: a, paths: [b] }'),
      '5:27: components.data.paths: both "path" and "paths" stand here, expected one of the two',
    ],
    [
      'a command in another kind',
      minimal.replace('data/', '{ kind: files, path: a, command: b }'),
      '5:42: components.data.command: not used by a component of kind files, expected kind: command',
    ],
    [
      'an unknown kind',
      minimal.replace('data/', '{ kind: sqlit, path: a }'),
      '5:17: components.data.kind: "sqlit" stands here, did you mean "sqlite"?',
    ],
    [
      'a name with a space',
      minimal.replace('data:', 'my data:'),
      '5:3: components.my data: not a name for a component, expected letters, digits, ".", "_" and "-", at most 63, the first a letter or digit',
    ],
    [
      'a name that is a path',
      minimal.replace('app: app', 'app: a/b'),
      '1:6: app: "a/b" cannot be part of a file name, expected letters, digits, ".", "_" and "-", at most 63, the first a letter or digit',
    ],
    [
      'an unknown environment',
      inMinimal('environment: prod'),
      `${end}:14: environment: "prod" stands here, did you mean "production"?`,
    ],
    [
      'an owner of three parts',
      inMinimal('owner: a:b:c'),
      `${end}:8: owner: "a:b:c" is not an owner, expected USER:GROUP, as in www-data:www-data`,
    ],

    [
      'a duration without a unit',
      inMinimal('retention: { daily: 30 }'),
      `${end}:21: retention.daily: "30" has no unit after 30, write 30d for days or 30h for hours`,
    ],
    [
      'an impossible schedule',
      inMinimal('schedule: { backup: "0 25 * * *" }'),
      `${end}:21: schedule.backup: "0 25 * * *": hour 25 does not exist, expected 0 to 23`,
    ],
    [
      'an unknown time zone',
      inMinimal('schedule: { timezone: Europe/Berln }'),
      `${end}:23: schedule.timezone: "Europe/Berln" is not a time zone, did you mean "Europe/Berlin"?`,
    ],
    [
      'a recipient without a program',
      minimal.replace('data/', '{ path: a, seal: [ops@example.com] }'),
      '5:27: components.data.seal[0]: "ops@example.com" does not say for which program it is, write gpg:ops@example.com',
    ],
    [
      'a range that runs backwards',
      inMinimal('drill: { every: 90d, pick: 21d..14d }'),
      `${end}:28: drill.pick: "21d..14d" runs backwards, expected the smaller age first`,
    ],
    [
      'a single age to pick',
      inMinimal('drill: { every: 90d, pick: 14d }'),
      `${end}:28: drill.pick: "14d" is not a range of ages, expected two ages with .. between, as in 14d..21d, or latest`,
    ],
    [
      'a pattern that is a comment',
      inMinimal('exclude: ["#x#"]'),
      `${end}:11: exclude[0]: "#x#" is a comment in the syntax of .gitignore, write "\\\\#x#" for a name that begins with #`,
    ],
    [
      'a pattern that leads out',
      inMinimal('exclude: ../x'),
      `${end}:10: exclude: "../x" matches nothing, expected a pattern in the syntax of .gitignore, as in node_modules, "*.log" or /tmp/`,
    ],
    [
      'an unknown location',
      inMinimal('off-site: [{ to: "gs:bucket:/x" }]'),
      `${end}:18: off-site[0].to: "gs:bucket:/x" is not a location that is known here, Google Cloud Storage is reached through rclone: write rclone:REMOTE:BUCKET/PATH`,
    ],
    [
      'an object lock outside of S3',
      inMinimal('off-site: [{ to: /mnt/x, object-lock: 3d }]'),
      `${end}:39: off-site[0].object-lock: known to S3 alone, expected "to" to begin with s3:`,
    ],
    [
      'a service without a name',
      inMinimal('service: { manager: pm2 }'),
      `${end}:1: service.name: missing, expected the name that "pm2 list" shows`,
    ],
    [
      'an address without http',
      inMinimal('service: { manager: systemd, name: a, health: "localhost:3000" }'),
      `${end}:47: service.health: "localhost:3000" is not a web address, expected one as in http://localhost:3000/health`,
    ],
    [
      'a start command for systemd',
      inMinimal('service: { manager: systemd, name: a, start: b }'),
      `${end}:46: service.start: not used by systemd, expected manager: command`,
    ],
    [
      'nobody to notify',
      inMinimal('notify: [{ on: failed }]'),
      `${end}:10: notify[0]: no channel stands here, expected one of discord, slack, webhook, mail, ping, command`,
    ],
    [
      'two channels in one entry',
      inMinimal('notify: [{ slack: env:A, ping: env:B }]'),
      `${end}:32: notify[0].ping: a second channel beside "slack", expected in a list entry of its own`,
    ],
    [
      'a variable that cannot be one',
      inMinimal('notify: [{ slack: "env:MY HOOK" }]'),
      `${end}:19: notify[0].slack: "env:MY HOOK" names no environment variable, expected letters, digits and _, as in env:BACKUP_WEBHOOK`,
    ],

    [
      'a relative root',
      minimal.replace('/opt/app', './app'),
      '2:7: root: "./app" is relative, expected an absolute path, as in /etc/holdfast/app',
    ],
    [
      'the whole file system as root',
      minimal.replace('/opt/app', '/'),
      '2:7: root: "/" is the whole file system, expected the folder of the application, as in /opt/app',
    ],
    [
      'a path that hangs on a user',
      minimal.replace('/opt/app', '~/app'),
      '2:7: root: "~/app" begins with "~", which depends on who runs the backup, expected the whole path',
    ],
    [
      'a component of the kernel',
      minimal.replace('data/', '/proc/1'),
      '5:9: components.data: "/proc/1" is part of /proc, which the kernel makes and no backup brings back, expected a path of the application',
    ],
    [
      'the whole file system as component',
      minimal.replace('data/', '[a, /]'),
      '5:13: components.data[1]: "/" is the whole file system, expected a path of the application',
    ],
    [
      'a component that leads out of root',
      minimal.replace('data/', '../other'),
      '5:9: components.data: "../other" leads out of root to /opt/other, expected a path inside, or the absolute path if that one is meant',
    ],
    [
      'a path in two components',
      inMinimal('  more: /opt/app/./data'),
      `${end}:9: components.more: "/opt/app/./data" already belongs to component "data", expected each path once`,
    ],
    [
      'a path twice in one component',
      minimal.replace('data/', '[data, data/]'),
      '5:16: components.data[1]: "data/" already stands in this component, expected each path once',
    ],
    [
      'a path inside another of its component',
      minimal.replace('data/', '[data/sub, data]'),
      '5:10: components.data[0]: "data/sub" lies in "data" of the same component, expected each path once',
    ],
    [
      'a component that a pattern leaves out',
      inMinimal('exclude: ["*.log", data]'),
      '5:9: components.data: "data/" is left out by the pattern "data" of exclude, expected component "data" or the pattern, not both',
    ],
    [
      'the repository in a component',
      minimal.replace('/var/backups/app', '/opt/app/data/backups'),
      '3:13: repository: the repository /opt/app/data/backups lies in component "data" (/opt/app/data), so every backup would hold the ones before, expected a folder outside of it',
    ],
    [
      'a component in the repository',
      minimal.replace('data/', '/var/backups/app/x'),
      '5:9: components.data: /var/backups/app/x lies in the repository /var/backups/app, expected a path of the application',
    ],
    [
      'the work folder in a component',
      inMinimal('work-dir: /opt/app/data/w'),
      `${end}:11: work-dir: the work folder /opt/app/data/w lies in component "data" (/opt/app/data), so every backup would hold the ones before, expected a folder outside of it`,
    ],
    [
      'the password in a component',
      inMinimal('password-file: /opt/app/data/pw'),
      `${end}:16: password-file: /opt/app/data/pw lies in component "data" (/opt/app/data), which would store the password, expected a file outside of it`,
    ],
    [
      'an off-site copy that is the repository',
      inMinimal('off-site: [{ to: /var/backups/app }]'),
      `${end}:18: off-site[0].to: "/var/backups/app" is the repository itself, expected another place`,
    ],
    [
      'an off-site copy twice',
      inMinimal('off-site: [{ to: /mnt/x }, { to: /mnt/x }]'),
      `${end}:34: off-site[1].to: "/mnt/x" already stands in off-site[0], expected each place once`,
    ],
  ]
  for (const [what, text, message] of mistakes) {
    test(`${what} is named with its place and what would be right`, () => assert.equal(mistake(text), message))
  }

  test('the state folder that is a default is reported at the component that holds it', () => {
    const text = 'app: app\nroot: /home/ops\nrepository: /b\ncomponents: { home: . }\n'
    assert.throws(() => parse(text, { isRoot: false, home: '/home/ops', stateHome: undefined }), {
      message: `Cannot use ${file}:4:21: components.home: the state folder /home/ops/.local/state/holdfast/app lies in component "home" (/home/ops), so every backup would hold the ones before, expected a folder outside of it, given as state-dir`,
    })
  })

  test('all mistakes come at once, in the order of the file, with the first place as facts', () => {
    const text =
      'app: a b\nroot: /opt/app\nrepository: b2:x\ncomponents:\n  data: data/\nlogs: x\napp: c\nretention: { daily: 5m }\n'
    assert.throws(
      () => parse(text),
      (error: ApplicationError) => {
        assert.equal(
          error.message,
          `Cannot use ${file}, 4 mistakes:\n` +
            '  3:13: repository: "b2:x" is not a location that is known here, Backblaze B2 speaks S3: write s3:https://s3.REGION.backblazeb2.com/BUCKET/PATH\n' +
            '  6:1: unknown key "logs", did you mean "log"?\n' +
            '  7:1: the key "app" stands here again, first on line 1, expected each key once\n' +
            '  8:21: retention.daily: "5m" could mean minutes or months, write 5min or 5mo',
        )
        assert.equal(error.facts.file, file)
        assert.equal(error.facts.line, 3)
        assert.equal(error.facts.column, 13)
        assert.equal((error.facts.problems as string[]).length, 4)
        return true
      },
    )
  })

  test('more than twenty mistakes are counted, not listed', () => {
    const keys = Array.from({ length: 25 }, (_, index) => `wrong${index}: x\n`).join('')
    const lines = mistake(minimal + keys).split('\n')
    assert.equal(lines[0], ', 25 mistakes:')
    assert.equal(lines.length, 22)
    assert.equal(lines.at(-1), '  and 5 more')
  })

  test('a webhook or password written into the file is refused and not repeated', () => {
    const hook = inMinimal('notify: [{ discord: "https://discord.com/api/webhooks/1/geheim" }]')
    assert.equal(
      mistake(hook),
      `${end}:21: notify[0].discord: the webhook of the Discord channel itself stands here, which is as good as a password, expected env:NAME or file:PATH to say where it is kept`,
    )
    assert.doesNotMatch(mistake(inMinimal('off-site: [{ to: "rest:https://u:geheim@h/" }]')), /geheim/)
    assert.doesNotMatch(mistake(inMinimal('seal: AGE-SECRET-KEY-1GEHEIM')), /GEHEIM/)
    assert.doesNotMatch(mistake(inMinimal('sign: AGE-SECRET-KEY-1GEHEIM')), /GEHEIM/)
  })
})

suite('loading the config file', () => {
  test('a file is read from where it lies', async (context) => {
    const folder = await temporaryFolder(context)
    const path = join(folder, 'holdfast.yaml')
    await writeFile(path, `\ufeff${minimal}password-file: key\n`, { mode: 0o644 })
    const config = await loadConfig(path)
    assert.equal(config.file, path)
    assert.equal(config.passwordFile, join(folder, 'key'))
  })

  test('a file that everybody may change is refused', async (context) => {
    const path = join(await temporaryFolder(context), 'holdfast.yaml')
    await writeFile(path, minimal)
    await chmod(path, 0o646)
    await assert.rejects(loadConfig(path), {
      code: 'CONFIG',
      message: `Cannot trust the config file ${path}: everybody may change it (mode 0646), expected only its owner`,
      hint: `Run chmod o-w ${path} and look through what it says`,
    })
  })

  test('a password file that others can read is refused, with the chmod', async (context) => {
    const folder = await temporaryFolder(context)
    const path = join(folder, 'holdfast.yaml')
    const key = join(folder, 'key')
    await writeFile(path, `${minimal}password-file: key\n`, { mode: 0o600 })
    await writeFile(key, 'x')
    await chmod(key, 0o644)
    await assert.rejects(loadConfig(path), {
      code: 'CONFIG',
      message: `Cannot use the password file ${key}: everybody may read or change it (mode 0644), expected 0600`,
      hint: `Run chmod 600 ${key}, and change the password if others had access`,
    })
    await chmod(key, 0o640)
    await loadConfig(path)
  })

  test('a password file that is not there yet passes', async () => {
    await assertPrivate('/nonexistent/key')
  })

  test('a file that is absent, a folder, too large or not text is refused', async (context) => {
    const folder = await temporaryFolder(context)
    const absent = join(folder, 'absent.yaml')
    await assert.rejects(loadConfig(absent), { message: `Cannot read the config file ${absent}: it does not exist` })
    await assert.rejects(loadConfig(folder), { message: `Cannot read the config file ${folder}: it is a folder` })
    const large = join(folder, 'large.yaml')
    await writeFile(large, Buffer.alloc(1024 * 1024 + 1, '#'), { mode: 0o600 })
    await assert.rejects(loadConfig(large), {
      message: `Cannot read the config file ${large}: it has 1048577 bytes, expected at most 1048576`,
    })
    const latin = join(folder, 'latin.yaml')
    await writeFile(latin, Buffer.from('app: x\ncontacts: { a: J\xfcrgen }\n', 'latin1'), { mode: 0o600 })
    await assert.rejects(loadConfig(latin), {
      message: `Cannot use ${latin}:2:17: bytes that are not UTF-8 stand here, expected a text file in YAML`,
    })
  })
})

suite('finding the config file', () => {
  test('--config comes before HOLDFAST_CONFIG, then the nearest folder above, then the only one of the system', async (context) => {
    const folder = await temporaryFolder(context)
    const systemFolder = join(folder, 'etc')
    const cwd = join(folder, 'app/src')
    await mkdir(systemFolder)
    await mkdir(cwd, { recursive: true })
    assert.equal(await findConfig(cwd, {}, { systemFolder }), undefined)
    const installed = join(systemFolder, 'app.yaml')
    await writeFile(installed, '')
    await writeFile(join(systemFolder, 'app.key'), '')
    assert.equal(await findConfig(cwd, {}, { systemFolder }), installed)
    const above = join(folder, 'app/holdfast.yaml')
    await writeFile(above, '')
    assert.equal(await findConfig(cwd, {}, { systemFolder }), above)
    const env = { HOLDFAST_CONFIG: installed }
    assert.equal(await findConfig(cwd, env, { systemFolder }), installed)
    assert.equal(await findConfig(cwd, env, { systemFolder, config: '../holdfast.yaml' }), above)
  })

  test('one that is named and absent is an error, as are several to choose from', async (context) => {
    const folder = await temporaryFolder(context)
    await assert.rejects(findConfig(folder, {}, { config: 'x.yaml' }), {
      code: 'CONFIG',
      message: `Cannot read the config file ${folder}/x.yaml, named by --config: it does not exist`,
    })
    await assert.rejects(findConfig(folder, { HOLDFAST_CONFIG: '/nonexistent' }), {
      message: 'Cannot read the config file /nonexistent, named by HOLDFAST_CONFIG: it does not exist',
    })
    await writeFile(join(folder, 'a.yaml'), '')
    await writeFile(join(folder, 'b.yml'), '')
    await assert.rejects(findConfig('/', {}, { systemFolder: folder }), {
      code: 'CONFIG',
      message: `Cannot tell which application is meant: ${folder} holds 2 config files, expected one or a choice`,
      hint: `Add --config with one of ${folder}/a.yaml, ${folder}/b.yml`,
    })
  })
})
