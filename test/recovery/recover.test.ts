import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import type { OperationEvent } from '../../src/operations/event.ts'
import type { Manifest } from '../../src/operations/manifest.ts'
import { planRecover, type RecoverOptions, recover } from '../../src/operations/recovery/recover.ts'
import type { RecoveryPlan } from '../../src/operations/recovery/recovery-plan.ts'
import type { StepRecord } from '../../src/operations/steps/step-record.ts'
import { describeTree } from '../equipment/describe-tree.ts'
import {
  APP,
  briefly,
  countRows,
  makeDatabase,
  type ProtectedApplication,
  protectedApplication,
} from '../equipment/protected-application.ts'
import { rewriteSnapshot } from '../equipment/rewrite-snapshot.ts'

// On this machine and in a folder, without services of the system: what a recovery decides, and that it can be cut off anywhere.

const usual: RecoverOptions = {
  choice: { name: 'latest' },
  relocate: { ports: [] },
  alsoRewrite: [],
  identities: [],
  withoutSecrets: false,
  createUser: false,
  start: true,
  anew: false,
  verify: false,
  withinMs: 500,
  rollback: false,
  confirm: async () => true,
  observe: () => {},
  signal: new AbortController().signal,
}

const recoverFrom = (app: ProtectedApplication, changes: Partial<RecoverOptions> = {}) =>
  recover(app.access, { ...usual, ...changes })

/** The recovered application, without what the recovery itself keeps. */
function treeOf(app: ProtectedApplication): Map<string, string> {
  const tree = describeTree(app.root, { without: (path) => /\.(before|restored)-/.test(path), linkCounts: false })
  // The time of a folder tells when something was put into it or taken out.
  for (const [path, line] of tree) tree.set(path, line.replace(/^(mode 40\d* owner \S+) mtime \d+/, '$1'))
  return tree
}

const withService = (service: Record<string, unknown>) => ({
  service: { manager: 'command', stop: 'true', ...service },
})

test('an application comes back with nothing there but the repository; commands run in its folder, in order', async () => {
  using app = await protectedApplication({ config: 'config', data: 'data' })
  app.put('config/a.json', '{}')
  makeDatabase(app.at('data/app.db'), { rows: 20 })
  await app.backUp(
    withService({ install: 'echo install >> ran', build: 'echo build >> ran', start: 'echo start >> ran' }),
  )
  rmSync(app.root, { recursive: true })
  rmSync(join(app.base, 'etc'), { recursive: true, force: true })
  const report = await recoverFrom(app)
  assert.equal(report.outcome, 'succeeded')
  assert.equal(app.read('ran'), 'install\nbuild\nstart\n')
  assert.equal(countRows(app.at('data/app.db')), 20)
  assert.match(readFileSync(join(app.base, 'etc/holdfast.yaml'), 'utf8'), /"app": "shop"/)
})

test('a plan says all and changes nothing: what is created, changed and moved aside, and every command', async () => {
  using app = await protectedApplication()
  app.put('config/a', '1')
  app.put('config/b', '1')
  app.put('data/x', 'y')
  await app.backUp(withService({ install: 'npm ci', start: './run' }))
  app.put('config/b', 'changed')
  app.put('config/mine', 'new')
  rmSync(app.at('config/a'))
  const before = treeOf(app)
  const plan = await planRecover(app.access, usual)
  assert.deepEqual(treeOf(app), before)
  assert.deepEqual(
    plan.components.map(({ name, changes }) => [name, changes?.counts]),
    [
      ['config', { created: 1, changed: 1, unchanged: 0, removed: 1 }],
      ['data', { created: 0, changed: 0, unchanged: 1, removed: 0 }],
    ],
  )
  assert.deepEqual(plan.components[0]?.changes?.list, [
    { path: app.at('config/a'), change: 'created', isFolder: false },
    { path: app.at('config/b'), change: 'changed', isFolder: false },
    { path: app.at('config/mine'), change: 'removed', isFolder: false },
  ])
  assert.deepEqual(plan.commands, [
    { what: 'install', command: 'npm ci', user: 'root' },
    { what: 'start', command: './run', user: 'root' },
  ])
  const declined = await recoverFrom(app, { confirm: async () => false })
  assert.equal(declined.outcome, 'declined')
  assert.deepEqual(treeOf(app), before)
  assert.deepEqual(JSON.parse(JSON.stringify(plan)), JSON.parse(JSON.stringify(plan)), 'it is plain data')
})

/** What a plan says of files and folders, and what happened to them, as sorted lines: `created /path`. */
const saidIn = (plan: RecoveryPlan): string[] => {
  const listed = [...plan.components.flatMap(({ changes }) => changes?.list ?? []), ...plan.others]
  const units = plan.components.flatMap(({ plan: inPlace }) => inPlace?.units ?? [])
  const kept = units.flatMap(({ before, present }) => (before ? [`${before}${present === 'folder' ? '/' : ''}`] : []))
  return [
    ...listed.map(({ path, change, isFolder }) => `${change} ${path}${isFolder ? '/' : ''}`),
    ...kept.map((path) => `created ${path}`),
  ].sort()
}

function happenedTo(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>, base: string): string[] {
  const shown = (path: string, line: string) => `${join(base, path)}${/^mode 40/.test(line) ? '/' : ''}`
  // Of a folder the time tells only what happened in it.
  const content = (line: string) => (/^mode 40/.test(line) ? line.replace(/ mtime \d+/, '') : line)
  return [
    ...[...after].flatMap(([path, line]) => {
      const was = before.get(path)
      if (was === undefined) return [`created ${shown(path, line)}`]
      return content(was) === content(line) ? [] : [`changed ${shown(path, line)}`]
    }),
    ...[...before].flatMap(([path, line]) => (after.has(path) ? [] : [`removed ${shown(path, line)}`])),
  ].sort()
}

test('a plan names every file and folder that is created, changed or removed, and the recovery does just that', async () => {
  using app = await protectedApplication({
    code: 'code',
    config: 'config',
    secrets: 'secrets',
    pm2: 'ecosystem.config.js',
  })
  const identity = await app.makeAgeIdentity()
  app.put(
    'ecosystem.config.js',
    `const folder = 'logs'; module.exports = { apps: [{ name: 'shop', script: 'x.js', out_file: folder + '/deep/out.log' }] }`,
  )
  app.put('code/lib/main.js', '1')
  app.put('code/run.sh', '1', 0o755)
  app.put('config/a', '1')
  app.put('config/sub/b', '1')
  app.put('secrets/keys/.env', 'TOKEN=x', 0o600)
  await app.backUp({ seal: [identity.recipient], ...withService({ start: 'true' }) })
  const options = { identities: [identity.file] }
  // Nothing below what is kept aside, in the repository and beside the journal is the recovery's own doing.
  const look = () =>
    describeTree(app.base, {
      without: (path) => /^repository|^identity|journal\.db-|\.before-[^/]*\//.test(path),
      linkCounts: false,
    })
  const states: Record<string, () => void> = {
    'with nothing there': () => {
      for (const name of ['opt', 'state', 'log', 'work', 'etc']) {
        rmSync(join(app.base, name), { recursive: true, force: true })
      }
    },
    'onto what is there': () => {
      rmSync(app.at('code/lib'), { recursive: true })
      rmSync(app.at('logs'), { recursive: true })
      app.put('code/new/deep/file', 'new')
      chmodSync(app.at('code/run.sh'), 0o700)
      chmodSync(app.at('config/sub'), 0o700)
      rmSync(app.at('config/a'))
      app.put('config/a/now-a-folder', 'x')
      writeFileSync(join(app.base, 'etc/holdfast.yaml'), 'another')
    },
    'onto the same': () => {
      rmSync(join(app.base, 'state'), { recursive: true })
    },
  }
  for (const [how, prepare] of Object.entries(states)) {
    prepare()
    const before = look()
    const plan = await planRecover(app.access, { ...usual, ...options })
    assert.deepEqual(happenedTo(before, look(), app.base), [], `${how}: a plan changes nothing`)
    let said: string[] = []
    const report = await recoverFrom(app, {
      ...options,
      anew: true,
      confirm: async (shown) => {
        said = saidIn(shown)
        return true
      },
    })
    assert.equal(report.outcome, 'succeeded')
    const after = look()
    // What is in a seal is not known beforehand, so the plan says that it changes.
    const sealed = said.filter((line) => /^changed \S+\/secrets\//.test(line))
    const happened = new Set([...happenedTo(before, after, app.base), ...sealed])
    assert.deepEqual(said, [...happened].sort(), how)
    assert.ok(existsSync(app.at('logs/deep')), how)
    const stamps = (lines: readonly string[]) =>
      lines.map((line) => line.replaceAll(/\.before-\d{8}-\d{6}/g, '.before-TIME'))
    assert.deepEqual(stamps(saidIn(plan)), stamps(said), `${how}: a dry run says the same`)
  }
})

test('folders that a backup did not note are read out of what can be read, and what would have to be run is said', async () => {
  for (const [file, content, folders] of [
    ['ecosystem.json', '{"apps": [{"name": "shop", "script": "x.js", "out_file": "logs/out.log"}]}', ['', '/logs']],
    ['ecosystem.config.js', `throw new Error('nobody may run this')`, []],
  ] as const) {
    using app = await protectedApplication({ pm2: file })
    app.put(file, content)
    const { snapshot } = await app.backUp()
    const withoutNeeds = ({ components, ...rest }: Manifest) => ({
      ...rest,
      components: components.map(({ needs: _, ...component }) => component),
    })
    const name = await rewriteSnapshot(await app.open(), snapshot, { manifest: withoutNeeds })
    rmSync(app.root, { recursive: true })
    const plan = await planRecover(app.access, { ...usual, choice: { name } })
    assert.deepEqual(
      plan.folders,
      folders.map((folder) => app.root + folder),
    )
    assert.equal(
      plan.findings.some(({ code }) => code === 'folders-unknown'),
      folders.length === 0,
    )
  }
})

test('a plan says how long it will take: measured, estimated, and what nobody knows', async () => {
  using app = await protectedApplication()
  app.put('config/a', '1')
  app.put('data/x', randomBytes(200_000))
  const service = withService({ install: 'sleep 0.2', build: 'true', start: 'true' })
  await app.backUp(service)
  const phasesOf = ({ prediction }: RecoveryPlan) =>
    Object.fromEntries(prediction.phases.map(({ phase, basis, from }) => [phase, `${basis} ${from?.by}`]))
  assert.deepEqual(phasesOf(await planRecover(app.access, usual)), {
    restore: 'estimated undefined',
    install: 'unknown undefined',
    build: 'unknown undefined',
    start: 'unknown undefined',
    health: 'unknown undefined',
    rest: 'unknown undefined',
  })
  const measured = {
    restore: 'measured recovery',
    install: 'measured recovery',
    build: 'measured recovery',
    start: 'measured recovery',
    health: 'measured recovery',
    rest: 'measured recovery',
  }
  await recoverFrom(app)
  const known = await planRecover(app.access, usual)
  assert.ok(known.prediction.milliseconds >= 200, `${known.prediction.milliseconds} ms`)
  assert.deepEqual(phasesOf(known), measured)
  // On a machine where nothing is left, the snapshot knows.
  await app.backUp(service)
  for (const name of ['opt', 'state']) rmSync(join(app.base, name), { recursive: true })
  assert.deepEqual(phasesOf(await planRecover(app.access, usual)), measured)
  const none = await planRecover(app.access, { ...usual, start: false })
  assert.deepEqual(Object.keys(phasesOf(none)), ['restore', 'install', 'build', 'rest'])
})

test('what is missing is refused before anything is changed: a program, a port, a user, the key', async () => {
  using app = await protectedApplication({ config: 'config', secrets: 'secrets' })
  const identity = await app.makeAgeIdentity()
  app.put('config/a', '1')
  app.put('secrets/.env', 'TOKEN=x', 0o600)
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const { port } = server.address() as AddressInfo
    await app.backUp({
      owner: 'no-such-user',
      seal: [identity.recipient],
      ...withService({ install: 'no-such-program', start: './run', health: `http://localhost:${port}/` }),
    })
    renameSync(app.root, `${app.root}.gone`)
    const plan = await planRecover(app.access, usual)
    assert.deepEqual(plan.preflight.map(({ code }) => code).sort(), [
      'no-program',
      'no-user',
      'port-taken',
      'secrets-sealed',
    ])
    await assert.rejects(recoverFrom(app), { code: 'PREFLIGHT', message: /^Nothing was changed/ })
    assert.ok(!existsSync(app.root))
  } finally {
    server.close()
  }
})

test('without the key all but the secrets comes back when asked for, and the outcome says so', async () => {
  using app = await protectedApplication({ config: 'config', secrets: 'secrets' })
  const identity = await app.makeAgeIdentity()
  app.put('config/a', '1')
  app.put('secrets/.env', 'TOKEN=x', 0o600)
  await app.backUp({ seal: [identity.recipient] })
  rmSync(app.root, { recursive: true })
  const report = await recoverFrom(app, { withoutSecrets: true })
  assert.equal(report.outcome, 'incomplete')
  assert.equal(app.read('config/a'), '1')
  assert.ok(!existsSync(app.at('secrets/.env')))
  const again = await recoverFrom(app, { identities: [identity.file] })
  assert.equal(again.outcome, 'succeeded')
  assert.equal(app.read('secrets/.env'), 'TOKEN=x')
})

test('of an incomplete snapshot what it has comes back, and the outcome is incomplete', async () => {
  using app = await protectedApplication({ config: 'config', extra: 'extra' })
  app.put('config/a', '1')
  assert.equal((await app.backUp()).outcome, 'incomplete')
  rmSync(app.root, { recursive: true })
  const report = await recoverFrom(app)
  assert.equal(report.outcome, 'incomplete')
  assert.ok('findings' in report && briefly(report.findings).includes('error snapshot-incomplete'))
  assert.equal(app.read('config/a'), '1')
})

test('cut off at any moment it goes on where it stopped, and ends in the state of the snapshot', async () => {
  using app = await protectedApplication({ config: 'config', data: 'data' })
  app.put('config/a', 'old')
  makeDatabase(app.at('data/app.db'), { rows: 5 })
  await app.backUp(withService({ install: 'true', start: 'true' }))
  await recoverFrom(app)
  const wanted = treeOf(app)
  const prepareLive = () => {
    rmSync(app.root, { recursive: true, force: true })
    app.put('config/a', 'live')
    app.put('config/mine', 'live')
    rmSync(join(app.base, 'state'), { recursive: true, force: true })
  }
  const crash = new Error('the power is gone')
  let moments = 0
  const stride = process.env.HOLDFAST_FULL === '1' ? 1 : 4
  for (let moment = 0; ; moment += stride) {
    prepareLive()
    let seen = 0
    const observe = (event: OperationEvent) => {
      if (event.type !== 'started' && event.type !== 'finished' && seen++ === moment) throw crash
    }
    const cut = await recoverFrom(app, { observe }).then(
      () => false,
      () => true,
    )
    if (!cut) break
    moments += 1
    const steps: string[] = []
    const report = await recoverFrom(app, {
      observe: (event) => {
        if (event.type === 'step' && event.state !== 'begun') steps.push(`${event.step} ${event.state}`)
      },
    })
    assert.equal(report.outcome, 'succeeded', `after moment ${moment}`)
    assert.deepEqual(treeOf(app), wanted, `after moment ${moment}`)
    assert.equal(new Set(steps.map((step) => step.split(' ')[0])).size, steps.length)
    const kept = 'kept' in report ? report.kept.map(({ before }) => before) : []
    const [folder] = kept.filter((path) => path.includes('/config.before-'))
    assert.ok(folder !== undefined, `what was there is kept after moment ${moment}`)
    assert.equal(readFileSync(join(folder, 'mine'), 'utf8'), 'live')
    assert.deepEqual(
      readdirSync(app.root).filter((name) => name.startsWith('.holdfast-restore-')),
      [],
    )
  }
  assert.ok(moments > 20 / stride, `${moments} moments`)
})

test('whatever step fails, with rollback what was there before is back, to the inode', async () => {
  for (const failing of ['install', 'build', 'start', 'health']) {
    using app = await protectedApplication({ config: 'config', data: 'data' })
    app.put('config/a', 'old')
    makeDatabase(app.at('data/app.db'), { rows: 5 })
    const command = (what: string) => (what === failing ? 'exit 1' : 'true')
    await app.backUp({
      exclude: ['*.log'],
      ...withService({
        install: command('install'),
        build: command('build'),
        start: command('start'),
        ...(failing === 'health' ? { health: 'http://127.0.0.1:9/' } : {}),
      }),
    })
    rmSync(app.root, { recursive: true })
    app.put('config/a', 'live')
    app.put('config/kept.log', 'log')
    makeDatabase(app.at('data/app.db'), { rows: 7 })
    const before = treeOf(app)
    const inodes = () => ['config', 'config/a', 'data/app.db'].map((path) => statSync(app.at(path)).ino)
    const live = inodes()
    const failed = recoverFrom(app, { rollback: true })
    await assert.rejects(failed, { code: failing === 'health' ? 'UNHEALTHY' : 'RECOVERY', message: /is back: / })
    assert.deepEqual(treeOf(app), before, failing)
    assert.deepEqual(inodes(), live)
    assert.ok(readdirSync(app.root).some((name) => name.startsWith('config.restored-')))
    assert.ok(!existsSync(join(app.base, 'etc/holdfast.yaml')))
  }
})

test('what was in place when the power went is put in place again, and goes back all the same', async () => {
  using app = await protectedApplication({ config: 'config' })
  app.put('config/a', 'old')
  await app.backUp(withService({ start: 'exit 1' }))
  app.put('config/a', 'live')
  const before = treeOf(app)
  await assert.rejects(recoverFrom(app), { code: 'RECOVERY' })
  // As if the power had gone between the swap and the note that it was done.
  const file = join(app.base, 'state/recovery.json')
  const record = JSON.parse(readFileSync(file, 'utf8')) as StepRecord
  const steps = record.steps.map((step) => {
    return { ...step, state: step.id === 'stop' ? 'done' : step.id === 'restore:config' ? 'begun' : 'pending' }
  })
  writeFileSync(file, JSON.stringify({ ...record, steps }))
  await assert.rejects(recoverFrom(app, { rollback: true }), { code: 'RECOVERY', message: /is back: / })
  assert.deepEqual(treeOf(app), before)
  assert.equal(readdirSync(app.root).filter((name) => name.startsWith('config.restored-')).length, 2)
})

test('going back that is cut off is finished by the next run before anything else', async () => {
  using app = await protectedApplication({ config: 'config', data: 'data' })
  app.put('config/a', 'old')
  app.put('data/b', 'old')
  await app.backUp(withService({ install: 'exit 1', start: 'true' }))
  app.put('config/a', 'live')
  app.put('data/b', 'live')
  const before = treeOf(app)
  const observe = (event: OperationEvent) => {
    if (event.type === 'step' && event.step === 'restore:data' && event.state === 'undone') throw new Error('no power')
  }
  await assert.rejects(recoverFrom(app, { rollback: true, observe }), /no power/)
  assert.equal(app.read('data/b'), 'live')
  assert.equal(app.read('config/a'), 'old')
  await assert.rejects(recoverFrom(app), { code: 'RESUME', message: /finished now/ })
  assert.deepEqual(treeOf(app), before)
})

test('a failed step is gone on with by the same command only; --anew begins another', async () => {
  using app = await protectedApplication({ config: 'config' })
  app.put('config/a', '1')
  app.put('ready', 'yes')
  await app.backUp(withService({ install: 'test -e ready', start: 'true' }))
  const first = (await planRecover(app.access, usual)).snapshot
  rmSync(app.root, { recursive: true })
  await assert.rejects(recoverFrom(app), { code: 'RECOVERY', hint: /goes on with this step/ })
  await assert.rejects(recoverFrom(app, { start: false }), { code: 'RESUME', hint: /--anew/ })

  app.put('config/a', '2')
  await app.backUp(withService({ start: 'true' }))
  app.put('ready', 'yes')
  const resumed = await recoverFrom(app)
  assert.equal(
    resumed.plan.snapshot,
    first,
    'what was begun is brought to its end, also when there is a newer snapshot',
  )
  const anew = await recoverFrom(app, { anew: true })
  assert.notEqual(anew.plan.snapshot, first)
  assert.equal(app.read('config/a'), '2')
})

test('a repository of several applications is asked for one of them, and one without any is refused', async () => {
  using app = await protectedApplication({ config: 'config' })
  await assert.rejects(recoverFrom(app), { code: 'NOTHING' })
  app.put('config/a', '1')
  await app.backUp()
  await app.backUp({ app: 'another' })
  await assert.rejects(recoverFrom(app), { code: 'USAGE', hint: /--app another/ })
  await assert.rejects(recoverFrom(app, { choice: { name: 'latest', app: 'third' } }), { code: 'NOTHING' })
  const report = await recoverFrom(app, { choice: { name: 'latest', app: APP } })
  assert.equal(report.plan.app, APP)
})

test('to another root: paths move, named files are rewritten with their mode, databases and other files are not', async () => {
  using app = await protectedApplication({ config: 'config', data: 'data', secrets: 'secrets' })
  const identity = await app.makeAgeIdentity()
  const other = join(app.base, 'srv/moved')
  app.put('config/paths.json', `{"home": "${app.root}/data"}`, 0o640)
  app.put('config/also.conf', `home ${app.root}\nport = 3000\n`, 0o600)
  app.put('data/notes.txt', `${app.root}\n`)
  app.put('secrets/.env', `HOME_FOLDER=${app.root}\nTOKEN=MARKED-SECRET\nPORT=3000\n`, 0o600)
  makeDatabase(app.at('data/app.db'), { rows: 3 })
  await app.backUp({ seal: [identity.recipient], ...withService({ start: 'true', health: 'http://localhost:3000/' }) })
  const options: Partial<RecoverOptions> = {
    identities: [identity.file],
    relocate: { root: other, ports: [{ from: undefined, to: 3100 }] },
    alsoRewrite: [app.at('config/also.conf')],
    start: false,
  }
  const plan = await planRecover(app.access, { ...usual, ...options })
  assert.ok(!JSON.stringify(plan).includes('MARKED-SECRET'))
  const rewritten = plan.rewrites.map(({ path, lines }) => [path.replace(app.base, ''), lines.map(({ line }) => line)])
  assert.deepEqual(rewritten.slice(1), [
    ['/srv/moved/config/also.conf', [1, 2]],
    ['/srv/moved/secrets/.env', [1, 3]],
  ])
  assert.deepEqual(
    briefly(
      plan.findings.filter(({ code }) => code === 'names-old-place'),
      app.base,
    ),
    ['warning names-old-place /opt/shop/config/paths.json'],
  )
  const report = await recoverFrom(app, options)
  assert.equal(report.outcome, 'succeeded')
  const at = (path: string) => readFileSync(join(other, path), 'utf8')
  assert.equal(at('config/also.conf'), `home ${other}\nport = 3100\n`)
  assert.equal(at('secrets/.env'), `HOME_FOLDER=${other}\nTOKEN=MARKED-SECRET\nPORT=3100\n`)
  assert.equal(at('config/paths.json'), `{"home": "${app.root}/data"}`)
  assert.equal(at('data/notes.txt'), `${app.root}\n`)
  assert.equal(countRows(join(other, 'data/app.db')), 3)
  const modes = describeTree(other)
  assert.match(modes.get('config/also.conf')!, /600/)
  await assert.rejects(recoverFrom(app, { ...options, relocate: { root: '/etc', ports: [] } }), {
    code: /USAGE|RESUME/,
  })
})

test('a hostile snapshot gets nothing beyond its own config, and its commands are seen before they run', async () => {
  using app = await protectedApplication({ config: 'config' })
  app.put('config/a', '1')
  await app.backUp(withService({ install: 'touch pwned', start: 'true' }))
  const seen: string[] = []
  const report = await recoverFrom(app, {
    confirm: async (plan) => {
      seen.push(...plan.commands.map(({ command }) => command))
      return false
    },
  })
  assert.deepEqual([report.outcome, seen], ['declined', ['touch pwned', 'true']])
  assert.ok(!existsSync(app.at('pwned')))
  // The operator's own config says what is run instead.
  const mine = app.config(withService({ install: 'touch mine', start: 'true' }))
  assert.equal((await recoverFrom(app, { config: mine })).outcome, 'succeeded')
  assert.ok(existsSync(app.at('mine')) && !existsSync(app.at('pwned')))
})

test('a forged manifest gets nothing replaced or closed that the config does not name', async () => {
  const forgeries: ((app: ProtectedApplication, manifest: Manifest) => unknown)[] = [
    (app, manifest) => ({
      ...manifest,
      components: [
        ...manifest.components,
        { ...manifest.components[0], name: 'evil', kind: 'secrets', configured: [app.base], paths: [] },
      ],
    }),
    (app, manifest) => ({
      ...manifest,
      components: manifest.components.map((each) => ({
        ...each,
        kind: 'secrets',
        configured: [join(app.base, 'victim')],
      })),
    }),
    (app, manifest) => ({ ...manifest, configFile: join(app.base, 'victim/profile') }),
  ]
  for (const forge of forgeries) {
    using app = await protectedApplication({ config: 'config' })
    app.put('config/a', '1')
    app.put('../../victim/file', 'untouched', 0o644)
    const { snapshot } = await app.backUp()
    await rewriteSnapshot(await app.open(), snapshot, { manifest: (manifest) => forge(app, manifest) })
    const before = describeTree(join(app.base, 'victim'))
    const end = await recoverFrom(app).then(
      ({ outcome }) => outcome,
      ({ code }) => code as string,
    )
    assert.ok(['BEYOND_CONFIG', 'succeeded', 'CONFIG', 'NOTHING'].includes(end), end)
    assert.deepEqual(describeTree(join(app.base, 'victim')), before)
    assert.equal(statSync(app.base).mode & 0o777, 0o700)
  }
})

test('secrets that stay because there is no key are still there after going back', async () => {
  using app = await protectedApplication({ config: 'config' })
  const identity = await app.makeAgeIdentity()
  app.put('config/a', 'old')
  app.put('config/.env', 'TOKEN=old', 0o600)
  await app.backUp({ seal: [identity.recipient], ...withService({ install: 'false', start: 'true' }) })
  app.put('config/.env', 'TOKEN=live', 0o600)
  const before = treeOf(app)
  await assert.rejects(recoverFrom(app, { withoutSecrets: true, rollback: true }), { code: 'RECOVERY' })
  assert.deepEqual(treeOf(app), before)
})

test('what runs is stopped also when nothing is to be started', async () => {
  using app = await protectedApplication({ config: 'config' })
  app.put('config/a', 'old')
  const server = createServer((_, response) => response.end('ok'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const { port } = server.address() as AddressInfo
    const commands = { start: 'echo start >> ../../log', stop: 'echo stop >> ../../log' }
    await app.backUp(withService({ ...commands, health: `http://127.0.0.1:${port}/` }))
    const report = await recoverFrom(app, { start: false })
    assert.equal(report.outcome, 'succeeded')
    assert.ok(!report.plan.steps.some(({ id }) => id === 'start' || id === 'check'))
    assert.equal(readFileSync(join(app.base, 'log'), 'utf8'), 'stop\n')
  } finally {
    server.closeAllConnections()
    server.close()
  }
})

test('an application that a command runs is stopped for it, and runs again when it is gone back', async () => {
  using app = await protectedApplication({ config: 'config' })
  app.put('config/a', 'old')
  const server = createServer((_, response) => response.end('ok'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const { port } = server.address() as AddressInfo
    const health = `http://127.0.0.1:${port}/`
    const commands = { start: 'echo start >> ../../log', stop: 'echo stop >> ../../log', install: 'false' }
    await app.backUp(withService({ ...commands, health }))
    await assert.rejects(recoverFrom(app, { rollback: true }), { code: 'RECOVERY' })
    assert.equal(readFileSync(join(app.base, 'log'), 'utf8'), 'stop\nstart\n')
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
