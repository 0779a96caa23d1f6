import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type DrillOptions, type DrillResult, runDrill } from '../src/operations/drill/run-drill.ts'
import type { OperationEvent } from '../src/operations/event.ts'
import { type LiveExample, liveExample } from './equipment/live-example.ts'
import { seededRandom } from './equipment/seeded-random.ts'

const MAIN = join(dirname(import.meta.dirname), 'src/cli/main.ts')
const unlessRoot = process.getuid?.() === 0 ? false : 'needs root'

type Done = Extract<DrillResult, { kind: 'done' }>

async function drill(
  example: LiveExample,
  changes: Record<string, unknown> = {},
  options: Partial<DrillOptions> = {},
): Promise<Done & { readonly events: readonly OperationEvent[] }> {
  const events: OperationEvent[] = []
  const result = await runDrill(example.access, {
    config: example.config(changes),
    start: true,
    identities: [example.identity],
    observe: (event) => events.push(event),
    signal: new AbortController().signal,
    ...options,
  })
  assert.equal(result.kind, 'done')
  return { ...(result as Done), events }
}

function states(report: Done): Record<string, string> {
  return Object.fromEntries(report.checks.map(({ title, state }) => [title, state]))
}

/** What a drill must not leave on the machine. A namespace lives as long as its last process. */
function machine(example: LiveExample) {
  const processes: string[] = []
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      if (command.includes('drill/inside-main') || readlinkSync(`/proc/${pid}/cwd`).startsWith(example.root)) {
        processes.push(command.replaceAll('\0', ' ').trim())
      }
    } catch (error) {
      assert.match((error as Error).message, /ENOENT|ESRCH|EACCES/) // it has ended meanwhile
    }
  }
  return {
    mounts: readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(example.base)),
    processes: processes.sort(),
    scratch: existsSync(join(example.base, 'work')) ? readdirSync(join(example.base, 'work')) : [],
  }
}

test('the drilled application answers on the port of the live one, which goes on untouched', {
  skip: unlessRoot,
}, async () => {
  await using example = await liveExample()
  await example.backUp()
  const before = machine(example)
  const database = join(example.root, 'data/auth.db')
  const inode = statSync(database).ino
  const config = readFileSync(join(example.root, 'config/bot.json'))
  const writtenBefore = await example.lastCommittedId()

  const report = await drill(example, {
    drill: {
      every: '90d',
      pick: 'latest',
      checks: [
        {
          name: 'the database is the restored one',
          run: `node -e "process.exit(require('node:fs').statSync('data/auth.db').ino === ${inode} ? 1 : 0)"`,
        },
        {
          name: 'no way out',
          run: `! node -e "fetch('http://192.0.2.1:80', { signal: AbortSignal.timeout(3000) }).catch(() => process.exit(1))"`,
        },
        { name: 'only loopback', run: 'test "$(ls /sys/class/net)" = lo' },
        {
          name: 'what is written here stays here',
          run: 'echo drilled >config/drilled.json && echo drilled >drilled.txt && echo drilled >/etc/drilled',
        },
        { name: 'one that fails', run: 'echo this went wrong; exit 3' },
      ],
    },
  })
  assert.deepEqual(states(report), {
    'Files restored and read again': 'passed',
    'Secrets decrypted': 'passed',
    'Repository and seals sound': 'passed',
    'Manifest agrees with the snapshot': 'passed',
    [`Database ${database}`]: 'passed',
    'Application started': 'passed',
    [`health http://127.0.0.1:${example.port}/health`]: 'passed',
    'log discord connected': 'passed',
    'log linear': 'passed',
    [`metrics http://127.0.0.1:${example.port}/metrics`]: 'passed',
    'the database is the restored one': 'passed',
    'no way out': 'passed',
    'only loopback': 'passed',
    'what is written here stays here': 'passed',
    'one that fails': 'failed',
  })
  assert.equal(report.outcome, 'failed')
  assert.equal(report.level, 'opened')
  assert.match(report.checks.at(-1)!.detail, /exit code 3/)

  assert.deepEqual(machine(example), before)
  assert.equal(statSync(database).ino, inode)
  assert.deepEqual(readFileSync(join(example.root, 'config/bot.json')), config)
  for (const path of [`${example.root}/config/drilled.json`, `${example.root}/drilled.txt`, '/etc/drilled']) {
    assert.ok(!existsSync(path), path)
  }
  // One process wrote all along, and no row of the drilled one is among its rows.
  assert.equal(example.server.exitCode, null)
  assert.ok((await example.lastCommittedId()) > writtenBefore)
  const log = readFileSync(join(example.root, 'logs/app.log'), 'utf8')
  assert.equal(log.match(/listening on/g)?.length, 1)
})

test('a drill that all of it passes proves that the snapshot runs, and its report says how long a recovery takes', {
  skip: unlessRoot,
}, async () => {
  await using example = await liveExample()
  const snapshot = await example.backUp()
  const report = await drill(example, { objectives: { rto: '4h' } })
  assert.deepEqual([report.outcome, report.level, report.snapshot.id], ['succeeded', 'running', snapshot])
  assert.deepEqual(
    report.phases.map(({ phase }) => phase),
    ['restore', 'verify', 'isolate', 'start', 'health'],
  )
  assert.ok(report.predicted!.milliseconds > 0 && report.predicted!.milliseconds < report.objective!)
  assert.equal(report.reports.length, 3)
  for (const path of report.reports) assert.equal(statSync(path).mode & 0o777, 0o600)
  const json = JSON.parse(readFileSync(report.reports[0]!, 'utf8'))
  assert.deepEqual(
    [json.outcome, json.proof_level, json.objective_milliseconds],
    ['succeeded', 'running', 4 * 3600_000],
  )
  const markdown = readFileSync(report.reports[1]!, 'utf8')
  for (const field of [
    'Backup tested',
    'Tester',
    '[x] Application started',
    'Issues found',
    'Start',
    'End',
    'Total',
    'Recommendations',
    'Next test due: 20',
  ]) {
    assert.ok(markdown.includes(field), field)
  }
})

test('without the private key the secrets of the machine stand in, and the proof is less', {
  skip: unlessRoot,
}, async () => {
  await using example = await liveExample()
  await example.backUp()
  const report = await drill(example, {}, { identities: [] })
  assert.deepEqual(
    [states(report)['Secrets decrypted'], report.outcome, report.level],
    ['skipped', 'succeeded', 'restored'],
  )
  assert.ok(report.notes.some((note) => note.includes('secrets are those of the machine')))
})

test('an application that does not come up fails the drill, with what it said', { skip: unlessRoot }, async () => {
  await using example = await liveExample()
  await example.backUp()
  const service = {
    ...{ manager: 'command', start: 'node src/server.js --port no; echo it broke >&2; exit 7', stop: 'true' },
    health: `http://127.0.0.1:${example.port}/health`,
  }
  const report = await drill(example, { service: { ...service, start: 'echo it broke >&2; exit 7' } })
  assert.deepEqual(
    [report.outcome, report.level, states(report)['Application started']],
    ['failed', 'opened', 'failed'],
  )
  assert.ok(report.issues.some(({ hint }) => hint?.includes('it broke')))
  assert.match(report.recommendations[0]!, /Application started/)
})

test('an application of pm2 is drilled with a pm2 of its own', { skip: unlessRoot }, async () => {
  await using example = await liveExample({ pm2: 'ecosystem.config.js' })
  await example.backUp()
  const before = machine(example)
  const service = { manager: 'pm2', name: 'devrel-bot', health: 'http://127.0.0.1:3000/health', 'expect-log': 'linear' }
  const report = await drill(example, { service })
  assert.deepEqual([report.outcome, report.level], ['succeeded', 'running'], JSON.stringify(report.issues))
  assert.deepEqual(machine(example), before)
})

test('where no systemd runs, what the unit starts is started, and the report says so', {
  skip: unlessRoot,
}, async () => {
  const unit = (base: string) => join(base, 'etc/systemd/system/devrel.service')
  await using example = await liveExample()
  mkdirSync(dirname(unit(example.base)), { recursive: true })
  writeFileSync(join(example.root, 'config/service.env'), `PORT="${example.port}"\n`)
  writeFileSync(
    unit(example.base),
    [
      '[Service]',
      `WorkingDirectory=${example.root}`,
      `EnvironmentFile=${example.root}/config/service.env`,
      'Environment=NODE_ENV=production SCRIPT=src/server.js',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of systemd's
      'ExecStartPre=/usr/bin/test -f ${SCRIPT}',
      'ExecStart=/usr/bin/env node $SCRIPT',
      'RuntimeDirectory=devrel',
      'ProtectSystem=strict',
    ].join('\n'),
  )
  const { service: usual } = example.config()
  const service = {
    manager: 'systemd',
    name: 'devrel',
    health: usual!.health,
    metrics: usual!.metrics,
    'expect-log': 'linear',
  }
  const components = {
    config: 'config',
    data: 'data',
    secrets: { path: 'secrets', seal: example.config().seal },
    systemd: unit(example.base),
  }
  await example.backUp({ service, components })
  const report = await drill(example, { service, components })
  assert.deepEqual([report.outcome, report.level], ['succeeded', 'running'], JSON.stringify(report.issues))
  assert.ok(report.notes.some((note) => note.includes('no systemd')))
  assert.ok(report.notes.some((note) => note.includes('ProtectSystem')))
})

test('where nothing can be isolated, all but the start is done, and the report says so', async () => {
  await using example = await liveExample()
  await example.backUp()
  const report = await drill(example, {}, { start: false })
  assert.deepEqual(
    [report.outcome, report.level, states(report)['Application started']],
    ['incomplete', 'opened', 'skipped'],
  )
})

const kills = process.env.HOLDFAST_FULL === '1' ? 60 : 3

test(`a drill that is killed (${kills} times) leaves no process, mount or namespace; the next run removes its files`, {
  skip: unlessRoot,
}, async (t) => {
  await using example = await liveExample()
  await example.backUp()
  const before = machine(example)
  // A check that takes its time: the kills are to meet the namespaces.
  const slow = { every: '90d', pick: 'latest', checks: [{ name: 'slow', run: 'sleep 2' }] }
  const args = [MAIN, ...example.commandLine({ drill: slow }), 'drill', '--json']
  const begun = performance.now()
  const whole = spawnSync(process.execPath, args, { encoding: 'utf8', env: { PATH: process.env.PATH } })
  const duration = performance.now() - begun
  assert.equal(whole.status, 0, whole.stderr + whole.stdout)

  const seed = process.env.HOLDFAST_SEED ?? String(Date.now())
  t.diagnostic(`HOLDFAST_SEED=${seed}`)
  const random = seededRandom(seed)
  let insideNamespaces = 0
  let leftFiles = 0
  for (let kill = 0; kill < kills; kill++) {
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { PATH: process.env.PATH },
    })
    // Two thirds of the kills fall into the part in which namespaces are there.
    if (kill % 3 === 0) {
      child.stdout.resume()
      await sleep(duration * random.next())
    } else {
      // Read on to the end: a drill whose output nobody reads ends.
      await new Promise<void>((resolve) => {
        child.stdout.on('data', (chunk) => String(chunk).includes('"isolate"') && resolve())
        child.stdout.on('end', resolve)
      })
      await sleep(1000 * random.next())
    }
    if (machine(example).processes.length > before.processes.length) insideNamespaces += 1
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    for (let attempt = 0; machine(example).processes.length > before.processes.length && attempt < 100; attempt++) {
      await sleep(20)
    }
    const after = machine(example)
    assert.deepEqual({ ...after, scratch: [] }, { ...before, scratch: [] }, `kill ${kill}`)
    if (after.scratch.length > 0) leftFiles += 1
  }
  t.diagnostic(`${insideNamespaces} of ${kills} kills met the application in its namespaces, ${leftFiles} left files`)
  assert.ok(insideNamespaces > 0, 'no kill met the application in its namespaces')
  const last = spawnSync(process.execPath, [...args, '--no-start'], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH },
  })
  assert.equal(last.status, 3, last.stderr)
  assert.deepEqual(machine(example), before)
  assert.ok((await example.lastCommittedId()) > 0, 'the live one is there')
})
