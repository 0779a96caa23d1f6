import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { readJournal } from '../../src/application/journal/journal.ts'
import { begunRecoveriesHere } from '../../src/operations/recovery/begun-recovery.ts'
import { makeAgeIdentity } from '../equipment/age-identity.ts'
import { compareDescriptions, describeTree } from '../equipment/describe-tree.ts'
import { freePort, type LiveExample, liveExample } from '../equipment/live-example.ts'
import { type CommandResult, runCommand } from '../equipment/run-command.ts'
import { smallFileSystem, withoutMounts } from '../equipment/small-file-system.ts'

// The example application, running and writing, is broken for real and brought back by the command line.

interface Patient extends AsyncDisposable {
  readonly example: LiveExample
  /** `rescue` with these arguments, with the config of the machine. */
  rescue(...argv: readonly string[]): Promise<CommandResult>
  /** With nothing but the repository and its password. */
  rescueFromRepository(...argv: readonly string[]): Promise<CommandResult>
  backUp(): Promise<string>
  at(path: string): string
  /** Undefined: nothing answers. */
  health(): Promise<number | undefined>
  kill(): Promise<void>
  readonly identity: readonly string[]
  /** What its config has in the place of the example's own. */
  readonly changes: Record<string, unknown>
  /** Arguments that name config and password. */
  readonly withConfig: readonly string[]
}

const HOLDFAST = join(dirname(dirname(import.meta.dirname)), 'bin/holdfast')

const COMPONENTS = { code: ['src', 'package.json'] }

async function patient(service: Record<string, unknown> = {}): Promise<Patient> {
  const example = await liveExample(COMPONENTS)
  const pidFile = join(example.base, 'server.pid')
  writeFileSync(pidFile, String(example.server.pid))
  const usual = example.config().service!
  const changes = {
    service: {
      manager: 'command',
      start: `node src/server.js & echo $! > ${pidFile}; sleep 0.3`,
      stop: `kill -9 $(cat ${pidFile}) && sleep 0.2`,
      health: usual.health,
      metrics: usual.metrics,
      'expect-log': usual.expectLog,
      ...service,
    },
  }
  const withConfig = example.commandLine(changes)
  const [, , ...password] = withConfig
  const at = (path: string) => join(example.root, path)
  const kill = async () => {
    try {
      process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL')
    } catch {
      // it is not there any more
    }
    await sleep(100)
  }
  return {
    example,
    rescue: (...argv) => runCommand(example.base, ['rescue', ...argv, ...withConfig]),
    rescueFromRepository: (...argv) =>
      runCommand(example.base, ['rescue', ...argv, '-r', example.access.location, ...password]),
    backUp: () => example.backUp(changes),
    at,
    health: () =>
      fetch(usual.health!).then(
        ({ status }) => status,
        () => undefined,
      ),
    kill,
    identity: ['--identity', example.identity],
    withConfig,
    changes,
    async [Symbol.asyncDispose]() {
      await kill()
      await example[Symbol.asyncDispose]()
    },
  }
}

const summaryOf = ({ messages }: CommandResult) =>
  messages().find((message) => message.message_type === 'summary') as Record<string, unknown>

/** What lies in a folder of the application, without what a rescue keeps. */
function treeOf(folder: string): Map<string, string> {
  const tree = describeTree(folder, { without: (path) => /\.(before|restored)-/.test(path), linkCounts: false })
  // The time of a folder tells when something was put into it.
  for (const [path, line] of tree) tree.set(path, line.replace(/^(mode 40\d* owner \S+) mtime \d+/, '$1'))
  return tree
}

test('a service that is down or hangs is restarted and asked how it is; a dry run says so only', async () => {
  await using app = await patient()
  await app.kill()
  const dry = await app.rescue('service', '--dry-run')
  assert.equal(dry.code, 0, dry.err)
  assert.match(dry.out, /1\. Stop the application[\s\S]*3\. See that it is healthy[\s\S]*Nothing was changed/)
  assert.equal(await app.health(), undefined)

  const restarted = await app.rescue('service', '--yes', '--json')
  assert.equal(restarted.code, 0, restarted.err)
  assert.deepEqual(
    (summaryOf(restarted).checks as { check: string; passed: boolean }[]).map(({ check, passed }) => [check, passed]),
    [
      ['health', true],
      ['log', true],
      ['log', true],
      ['metrics', true],
    ],
  )
  const before = readFileSync(join(app.example.base, 'server.pid'), 'utf8')
  process.kill(Number(before), 'SIGSTOP')
  assert.equal((await app.rescue('service', '--yes', '-q')).code, 0)
  assert.notEqual(readFileSync(join(app.example.base, 'server.pid'), 'utf8'), before)
  assert.equal(await app.health(), 200)
  using journal = readJournal(join(app.example.base, 'state/journal.db'))
  const [run] = [...journal!.runs({ operation: 'rescue' })]
  assert.equal(run?.state, 'succeeded')
  assert.ok(journal!.steps(run!.id).some(({ name }) => name === 'check'))
})

test('a restart that does not help says so, and one that did not run before is stopped again with --rollback', async () => {
  await using app = await patient({ 'expect-log': ['words that it never says'] })
  await app.kill()
  const failed = await app.rescue('service', '--yes', '--wait', '1')
  assert.equal(failed.code, 1)
  assert.match(
    failed.err,
    /does not answer as it should[\s\S]*service\.log[\s\S]*`holdfast rescue` looks for what does/,
  )
  // It is left running, for whoever looks into it; how long it takes to start is not the question.
  for (let look = 0; look < 400 && (await app.health()) !== 200; look++) await sleep(50)
  assert.equal(await app.health(), 200)
  await app.kill()
  const back = await app.rescue('service', '--yes', '--wait', '1', '--rollback')
  assert.match(back.err, /stopped as before/)
  assert.equal(await app.health(), undefined)
})

test('a component is rolled back and nothing else: the application answers again, what was there is kept', async () => {
  await using app = await patient()
  await app.backUp()
  const wanted = treeOf(app.at('config'))
  const database = statSync(app.at('data/auth.db')).ino
  writeFileSync(app.at('config/bot.json'), '{ "name": "broken by a deploy",')
  writeFileSync(app.at('config/new.json'), '{}')
  assert.equal((await app.rescue('service', '--yes', '--wait', '1')).code, 1)
  assert.equal(await app.health(), undefined)

  const dry = await app.rescue('component', 'config', '--dry-run', '-v')
  assert.equal(dry.code, 0, dry.err)
  assert.match(dry.out, /config of devrel from snapshot [\s\S]*~ \S*bot\.json\n[\s\S]*- \S*new\.json/)
  const rolledBack = await app.rescue('component', 'config', '--yes', '--json')
  assert.equal(rolledBack.code, 0, rolledBack.err)
  assert.equal(await app.health(), 200)
  assert.deepEqual(compareDescriptions(wanted, treeOf(app.at('config'))), [])
  assert.equal(statSync(app.at('data/auth.db')).ino, database)
  const { playbook, components, kept } = summaryOf(rolledBack) as unknown as {
    playbook: string
    components: string[]
    kept: { before: string }[]
  }
  assert.deepEqual([playbook, components], ['component', ['config']])
  assert.match(readFileSync(join(kept[0]!.before, 'bot.json'), 'utf8'), /broken by a deploy/)

  // Once more there is nothing to bring back, and an older snapshot is named where one is different.
  const same = await app.rescue('component', 'config', '--dry-run')
  assert.match(same.out, /changes nothing\n\s*hint: No older snapshot/)
  writeFileSync(app.at('config/bot.json'), '{ "name": "broken and backed up",')
  await app.backUp()
  const older = await app.rescue('component', 'config', '--dry-run')
  const [, id] = /is the newest that has it otherwise: --snapshot ([0-9a-f]{8})/.exec(older.out) ?? []
  const fromOlder = await app.rescue('component', 'config', '--snapshot', id!, '--yes', '-q')
  assert.equal(fromOlder.code, 0, fromOlder.err)
  assert.deepEqual(compareDescriptions(wanted, treeOf(app.at('config'))), [])
})

test('several components are rolled back together, data to its last committed row, with rollback to the inode', async () => {
  await using app = await patient()
  const committed = await app.example.lastCommittedId()
  await app.backUp()
  writeFileSync(app.at('src/server.js'), 'throw new Error("a bad deploy")\n')
  rmSync(app.at('data'), { recursive: true })
  await app.kill()
  mkdirSync(app.at('data'))
  writeFileSync(app.at('data/auth.db'), 'no database')
  const live = [statSync(app.at('src')).ino, statSync(app.at('data')).ino]
  const failed = await app.rescue('component', 'data', '--yes', '--rollback', '--wait', '1')
  assert.equal(failed.code, 1)
  assert.match(failed.err, /what was there before is back/)
  assert.deepEqual([statSync(app.at('src')).ino, statSync(app.at('data')).ino], live)
  assert.equal(readFileSync(app.at('data/auth.db'), 'utf8'), 'no database')

  const both = await app.rescue('component', 'data', 'code', '--yes')
  assert.equal(both.code, 0, both.err)
  assert.equal(await app.health(), 200)
  assert.ok((await app.example.lastCommittedId()) >= committed)
  assert.match(both.out, /data, code of devrel is back|code, data of devrel is back/)
})

test('a snapshot that does not have it whole is passed over, and a component that nobody knows is refused with the names', async () => {
  await using app = await patient()
  const good = await app.backUp()
  renameSync(app.at('config'), app.at('config.away'))
  await app.backUp()
  const plan = await app.rescue('component', 'config', '--dry-run', '--json')
  assert.equal(plan.code, 0, plan.err)
  const [message] = plan.messages() as { snapshot_id: string; findings: { code: string; message: string }[] }[]
  assert.equal(message?.snapshot_id, good)
  assert.match(message!.findings.find(({ code }) => code === 'passed-over')!.message, /holds nothing of config/)
  const unknown = await app.rescue('component', 'konfig', '--yes')
  assert.equal(unknown.code, 1)
  assert.match(unknown.err, /no component "konfig"[\s\S]*It has code, config, data, secrets/)
})

test('secrets that are missing come back unsealed and closed, also out of other components, and nothing else is touched', async () => {
  await using app = await patient()
  writeFileSync(app.at('config/.env'), 'TOKEN=inside config\n', { mode: 0o600 })
  writeFileSync(app.at('config/.env.staging'), 'TOKEN=old\n', { mode: 0o600 })
  await app.backUp()
  const wanted = treeOf(app.at('secrets'))
  const other = statSync(app.at('config/bot.json')).ino
  rmSync(app.at('secrets'), { recursive: true })
  rmSync(app.at('config/.env'))
  writeFileSync(app.at('config/.env.staging'), 'TOKEN=replaced since\n')
  await app.kill()
  const refused = await app.rescue('secrets', '--yes')
  assert.equal(refused.code, 1)
  assert.match(refused.err, /Nothing was changed: The secrets stay sealed/)
  assert.doesNotMatch(refused.err, /--without-secrets/)
  assert.ok(!existsSync(app.at('secrets')))

  const done = await app.rescue('secrets', '--yes', ...app.identity)
  assert.equal(done.code, 0, done.err)
  assert.equal(await app.health(), 200)
  assert.deepEqual(compareDescriptions(wanted, treeOf(app.at('secrets'))), [])
  assert.equal(readFileSync(app.at('config/.env'), 'utf8'), 'TOKEN=inside config\n')
  assert.equal(statSync(app.at('config/.env')).mode & 0o777, 0o600)
  assert.equal(statSync(app.at('config/bot.json')).ino, other)
  assert.equal(readFileSync(app.at('config/.env.staging'), 'utf8'), 'TOKEN=replaced since\n')

  const none = await app.rescue('secrets', '--yes', ...app.identity)
  assert.match(none.err, /No secret of devrel is missing[\s\S]*--all/)
  assert.equal((await app.rescue('secrets', '--all', '--yes', '-q', ...app.identity)).code, 0)
  assert.equal(readFileSync(app.at('config/.env.staging'), 'utf8'), 'TOKEN=old\n')
})

test('of a folder of secrets the one that is missing comes back beside those that were replaced since', async () => {
  await using app = await patient()
  writeFileSync(app.at('secrets/other.env'), 'TOKEN=old\n', { mode: 0o600 })
  await app.backUp()
  writeFileSync(app.at('secrets/other.env'), 'TOKEN=replaced since\n')
  const folder = statSync(app.at('secrets')).ino
  rmSync(app.at('secrets/.env.production'))
  const done = await app.rescue('secrets', '--yes', ...app.identity)
  assert.equal(done.code, 0, done.err)
  assert.equal(await app.health(), 200)
  assert.equal(readFileSync(app.at('secrets/other.env'), 'utf8'), 'TOKEN=replaced since\n')
  assert.deepEqual(
    [statSync(app.at('secrets')).ino, statSync(app.at('secrets/.env.production')).mode & 0o777],
    [folder, 0o600],
  )
})

test('of a key that others have it is said what it opens and what to replace; another one is sealed for from now on', async () => {
  await using app = await patient()
  const first = await app.backUp()
  const { base } = app.example
  const config = join(base, 'etc/holdfast.yaml')
  const text = readFileSync(config, 'utf8')
  const known = await app.rescue('secrets', '--compromised', '--json')
  assert.equal(known.code, 0, known.err)
  const [plan] = known.messages() as unknown as {
    secrets: string[]
    sealed_to_old: { snapshot_id: string }[]
    rotation: { title: string; commands: string[] }[]
  }[]
  assert.deepEqual(plan!.secrets, [app.at('secrets/.env.production')])
  assert.deepEqual(
    plan!.sealed_to_old.map(({ snapshot_id }) => snapshot_id),
    [first],
  )
  const order = ['Make a new key', 'Seal for it', 'Replace what', 'Back up', 'Remove what', 'Revoke the old key']
  assert.deepEqual(
    plan!.rotation.map(({ title }, i) => title.slice(0, order[i]!.length)),
    order,
  )
  assert.deepEqual(plan!.rotation[4]!.commands, [`holdfast forget ${first.slice(0, 8)} --prune`])
  assert.equal(readFileSync(config, 'utf8'), text)

  const next = await makeAgeIdentity(base, 'next.txt')
  const refused = await app.rescue('secrets', '--compromised', '--seal', 'gpg:nobody@example.com', '--yes')
  assert.equal(refused.code, 1)
  assert.equal(readFileSync(config, 'utf8'), text, 'nothing is changed for a key that cannot be sealed for')
  const done = await app.rescue('secrets', '--compromised', '--seal', next.recipient, '--yes')
  assert.equal(done.code, 0, done.err)
  assert.match(done.out, /1 snapshot before that the old key still opens/)
  const [kept] = readdirSync(join(base, 'etc')).filter((name) => name.startsWith('holdfast.yaml.before-'))
  assert.equal(readFileSync(join(base, 'etc', kept!), 'utf8'), text)
  assert.ok(!readFileSync(config, 'utf8').includes(app.example.recipient))

  rmSync(app.at('secrets'), { recursive: true })
  const withOld = await app.rescue('secrets', '--yes', ...app.identity)
  assert.match(withOld.err, /The secrets stay sealed/)
  assert.equal((await app.rescue('secrets', '--yes', '-q', '--identity', next.file)).code, 0)
  assert.equal(await app.health(), 200)
  const again = await app.rescue('secrets', '--compromised', '--seal', next.recipient, '--yes')
  assert.match(again.err, /seals for nobody but age1\S+ already|seals for nobody but age:\S+ already/)
})

test('when the backup for the new key is not complete, the config comes back with --rollback', async () => {
  await using app = await patient()
  await app.backUp()
  const { base } = app.example
  const config = join(base, 'etc/holdfast.yaml')
  const text = readFileSync(config, 'utf8')
  const next = await makeAgeIdentity(base, 'next.txt')
  renameSync(app.at('data'), app.at('data.away'))
  const failed = await app.rescue('secrets', '--compromised', '--seal', next.recipient, '--yes', '--rollback')
  assert.equal(failed.code, 1)
  assert.match(failed.err, /the config is as before/)
  assert.equal(readFileSync(config, 'utf8'), text)
})

test('with config, journal, cache and application gone the repository and its password suffice, for a part and for all of it', async () => {
  await using app = await patient()
  await app.backUp()
  const { base, root } = app.example
  const wanted = treeOf(app.at('config'))
  for (const name of ['etc', 'state', 'work', 'log']) rmSync(join(base, name), { recursive: true, force: true })
  writeFileSync(app.at('config/bot.json'), '')
  const part = await app.rescueFromRepository('component', 'config', '--yes')
  assert.equal(part.code, 0, part.err)
  assert.equal(await app.health(), 200)
  assert.deepEqual(compareDescriptions(wanted, treeOf(app.at('config'))), [])
  assert.match(readFileSync(join(base, 'etc/holdfast.yaml'), 'utf8'), /devrel/, 'the config is back, too')

  for (const name of ['etc', 'state', 'work', 'log']) rmSync(join(base, name), { recursive: true, force: true })
  await app.kill()
  assert.equal((await app.rescueFromRepository('service', '--yes', '-q')).code, 0)
  await app.kill()
  rmSync(root, { recursive: true })
  const all = await app.rescueFromRepository('server', '--yes', ...app.identity)
  assert.equal(all.code, 0, all.err)
  assert.equal(await app.health(), 200)
  assert.deepEqual(compareDescriptions(wanted, treeOf(app.at('config'))), [])
  assert.ok(readdirSync(root).includes('secrets'))
})

test('what may be half replaced is neither restarted nor rolled back to something else, unless anew', async () => {
  await using app = await patient({ install: 'exit 1' })
  await app.backUp()
  writeFileSync(app.at('src/server.js'), 'throw new Error("a bad deploy")\n')
  const failed = await app.rescue('component', 'config', '--install', '--yes')
  assert.equal(failed.code, 1)
  const restart = await app.rescue('service', '--yes')
  assert.match(restart.err, /`rescue component config --install` was begun[\s\S]*--anew/)
  const other = await app.rescue('component', 'code', '--yes')
  assert.match(other.err, /Another recovery was begun[\s\S]*`rescue component config --install`[\s\S]*--anew/)
  assert.deepEqual(seenIn(await app.rescue('--json')), {
    codes: ['unfinished', 'unhealthy'],
    command: 'holdfast rescue component config --install',
  })
  assert.equal((await app.rescue('component', 'code', '--yes', '--anew')).code, 0)
  assert.equal(await app.health(), 200)
  assert.equal((await app.rescue('service', '--yes', '-q')).code, 0, 'all is at its end now')
})

test('one component that was put in place and did not help is followed by another', async () => {
  await using app = await patient()
  await app.backUp()
  writeFileSync(app.at('src/server.js'), 'throw new Error("a bad deploy")\n')
  rmSync(app.at('config/bot.json'))
  assert.equal((await app.rescue('component', 'config', '--yes', '--wait', '1')).code, 1)
  assert.deepEqual(seenIn(await app.rescue('--json')), {
    codes: ['unhealthy'],
    command: 'holdfast rescue component code',
  })
  assert.equal((await app.rescue('service', '--yes', '--wait', '1')).code, 1, 'it may be restarted')
  assert.equal((await app.rescue('--yes')).code, 0)
  assert.equal(await app.health(), 200)
  assert.deepEqual(seenIn(await app.rescue('--json')), { codes: [], command: undefined })
})

test('a full disk is said to come first, and nothing is done before that', { skip: withoutMounts }, async () => {
  await using app = await patient()
  await app.backUp()
  await app.kill()
  using small = smallFileSystem('size=1m')
  writeFileSync(join(small.path, 'filler'), Buffer.alloc(1024 * 1000))
  app.example.commandLine({ ...app.changes, log: join(small.path, 'log/holdfast.log') })
  const full = await app.rescue('--yes')
  assert.equal(full.code, 1)
  assert.match(full.out, /✗ disk .* free at [\s\S]*The disk that holds \S+ is full\n +hint: Free some room first/)
  assert.match(full.out, /Once that is done\n +holdfast rescue service/)
  assert.equal(await app.health(), undefined)
})

test('a config that cannot be read is no dead end: the repository has one', async () => {
  await using app = await patient()
  await app.backUp()
  await app.kill()
  writeFileSync(join(app.example.base, 'etc/holdfast.yaml'), 'app: [broken')
  const broken = await app.rescue()
  assert.equal(broken.code, 1)
  assert.match(broken.err, /hint: .*name the repository: holdfast -r … -p … rescue/)
  assert.equal((await app.rescueFromRepository('--yes')).code, 0)
  assert.equal(await app.health(), 200)
})

test('killed in the middle, rescue alone goes on, and all ends as the snapshot has it', async () => {
  await using app = await patient()
  const committed = await app.example.lastCommittedId()
  await app.backUp()
  const wanted = treeOf(app.at('config'))
  for (const moment of ['stop', 'restore:config', 'restore:data', 'start']) {
    writeFileSync(app.at('config/bot.json'), '{ broken')
    await app.kill()
    rmSync(app.at('data'), { recursive: true })
    const words = ['rescue', 'component', 'config', 'data', '--yes', '--json', '--anew', ...app.withConfig]
    const child = spawn(HOLDFAST, words, { cwd: app.example.base, stdio: ['ignore', 'pipe', 'ignore'] })
    const ended = once(child, 'exit')
    for await (const line of createInterface(child.stdout)) {
      const { step, state } = JSON.parse(line) as { step?: string; state?: string }
      if (step === moment && state === 'begun') child.kill('SIGKILL')
    }
    await ended
    const again = await app.rescue('--yes', '--json')
    assert.equal(again.code, 0, `after ${moment}: ${again.err}`)
    assert.equal(await app.health(), 200, moment)
    assert.deepEqual(compareDescriptions(wanted, treeOf(app.at('config'))), [], moment)
    assert.ok((await app.example.lastCommittedId()) >= committed, moment)
    assert.deepEqual(seenIn(await app.rescue('--json')).codes, [], moment)
  }
})

test('a whole recovery that was cut off goes on by rescue alone, with all that it was begun with', async () => {
  await using app = await patient({ install: 'test -e ../ready' })
  await app.backUp()
  await app.kill()
  const { base, root } = app.example
  const [other, further] = [join(base, 'srv/moved'), join(base, 'srv/ready')]
  const port = Number(new URL(app.example.config().service!.health!).port)
  const free = await freePort()
  rmSync(root, { recursive: true })
  // The machine is a new one: nothing but the repository, its password and the key.
  for (const name of ['etc', 'state', 'work', 'log']) rmSync(join(base, name), { recursive: true, force: true })
  const [, , ...password] = app.withConfig
  const repository = ['-r', app.example.access.location, ...password]
  const words = ['--map', `root=${other}`, '--map', `port=${port}:${free}`, '--rewrite', app.at('config/bot.json')]
  const begun = await runCommand(base, ['restore', '--full', '--yes', ...words, ...app.identity, ...repository])
  assert.equal(begun.code, 1, begun.out)
  assert.match(begun.err, /"Install what it depends on" failed/)
  const record = () => readFileSync(join(base, 'state/recovery.json'), 'utf8')
  const first = JSON.parse(record()) as { begun: string; request: unknown }

  const here = (await begunRecoveriesHere(base)).map(({ app: name, repository: at }) => [name, at])
  assert.deepEqual(here, [['devrel', app.example.access.location]], 'also whoever knows nothing is told')
  const look = await app.rescueFromRepository('--json')
  assert.deepEqual(seenIn(look).codes.slice(0, 1), ['unfinished'])
  const { proposal } = look.messages()[0] as { proposal: { command: string } }
  assert.equal(
    proposal.command,
    `holdfast restore --full --map root=${other} --map port=${port}:${free} --rewrite ${app.at('config/bot.json')} --identity ${app.example.identity} -r ${app.example.access.location} -p ${password[1]}`,
  )
  const otherwise = await app.rescueFromRepository('server', '--yes', ...app.identity)
  assert.match(
    otherwise.err,
    /Another recovery was begun[\s\S]*`holdfast rescue` goes on with it, and so does[\s\S]*--map root=/,
  )
  assert.equal((JSON.parse(record()) as { begun: string }).begun, first.begun, 'it is still the one to go on with')

  writeFileSync(further, '')
  const declined = await app.rescueFromRepository('--dry-run')
  assert.match(declined.out, new RegExp(`holdfast restore --full --map root=${other}`))
  const resumed = await app.rescueFromRepository('--yes', '--json')
  assert.equal(resumed.code, 0, resumed.err)
  const steps = resumed.messages().flatMap(({ message_type, step, state }) => {
    return message_type === 'step' && state !== 'begun' ? [`${step} ${state}`] : []
  })
  assert.ok(steps.includes('restore:data skipped') && steps.includes('install done'), steps.join(', '))
  const last = JSON.parse(record()) as { begun: string; request: unknown; state: string }
  assert.deepEqual([last.begun, last.request, last.state], [first.begun, first.request, 'finished'], 'one record')
  assert.equal(await app.health(), undefined, 'nothing is where it was')
  assert.equal((await fetch(`http://127.0.0.1:${free}/health`)).status, 200)
})

test('whoever names neither application nor repository is told both ways', async () => {
  await using app = await patient()
  const { code, err } = await runCommand(app.example.base, ['rescue'])
  assert.equal(code, 1)
  assert.match(err, /Go to the folder of the application[\s\S]*holdfast -r REPOSITORY -p PASSWORD-FILE rescue/)
})

test('going back that was cut off is asked for before it is finished', async () => {
  await using app = await patient({ install: 'exit 1' })
  await app.backUp()
  writeFileSync(app.at('config/bot.json'), '{ mine')
  const words = ['component', 'config', '--install', '--yes']
  assert.equal((await app.rescue(...words)).code, 1)
  const file = join(app.example.base, 'state/recovery.json')
  writeFileSync(file, readFileSync(file, 'utf8').replace('"state": "running"', '"state": "undoing"'))
  const plan = await app.rescue('component', 'config', '--install', '--dry-run')
  assert.equal(plan.code, 0)
  assert.match(plan.out, /is taken back[\s\S]*nothing is restored[\s\S]*Restore config[\s\S]*Stop what runs now/)
  assert.notEqual(readFileSync(app.at('config/bot.json'), 'utf8'), '{ mine')
  const back = await app.rescue('--yes')
  assert.match(back.out, /was cut off while it was taken back/)
  assert.match(back.err, /which is finished now/)
  assert.equal(readFileSync(app.at('config/bot.json'), 'utf8'), '{ mine')
})

test('without a terminal nothing is done unasked', async () => {
  await using app = await patient()
  await app.backUp()
  for (const playbook of [['service'], ['component', 'config'], ['secrets'], ['database']]) {
    const { code, err } = await app.rescue(...playbook)
    assert.equal(code, 1)
    assert.match(err, /Cannot ask whether this may be done[\s\S]*--yes/)
  }
})

/** What a look says: codes of troubles, and the command that it proposes, without what names config and password. */
function seenIn({ messages }: CommandResult) {
  const [look] = messages() as unknown as {
    message_type: string
    troubles: { code: string }[]
    proposal?: { command: string }
    next: { command: string }[]
  }[]
  assert.equal(look?.message_type, 'look')
  const short = (command: string | undefined) => command?.replace(/ --(config|identity) .*/, '')
  return { codes: look!.troubles.map(({ code }) => code), command: short(look!.proposal?.command) }
}

test('rescue alone looks: nothing is wrong, nothing is changed, and what is proven is named', async () => {
  await using app = await patient()
  const snapshot = await app.backUp()
  assert.equal((await runCommand(app.example.base, ['verify', '-q', ...app.example.commandLine()])).code, 0)
  const database = statSync(app.at('data/auth.db')).ino
  const names = readdirSync(app.example.root, { recursive: true }).length
  const well = await app.rescue()
  assert.equal(well.code, 0, well.err)
  assert.match(well.out, /✓ health .*healthy[\s\S]*✓ database .*auth\.db: sound[\s\S]*✓ secrets +all \d+ are there/)
  assert.match(
    well.out,
    new RegExp(
      `newest ${snapshot.slice(0, 8)}[\\s\\S]*✓ proven +${snapshot.slice(0, 8)} .*: checked[\\s\\S]*Nothing seems to be wrong`,
    ),
  )
  assert.equal(statSync(app.at('data/auth.db')).ino, database)
  assert.equal(readdirSync(app.example.root, { recursive: true }).length, names)
  const asData = await app.rescue('--json', ...app.identity)
  const [look] = asData.messages() as unknown as { secrets: { key: string }; troubles: unknown[] }[]
  assert.equal(look!.secrets.key, 'here')
  assert.deepEqual(look!.troubles, [])
})

test('rescue alone proposes the smallest that can help and, told so, does it: one trouble after the other', async () => {
  await using app = await patient()
  await app.backUp()
  await app.kill()
  const down = await app.rescue('--json')
  assert.equal(down.code, 1, 'it only looks where nobody can be asked')
  assert.deepEqual(seenIn(down), { codes: ['unhealthy'], command: 'holdfast rescue service' })
  assert.equal(await app.health(), undefined)
  assert.equal((await app.rescue('--yes')).code, 0)
  assert.equal(await app.health(), 200)

  // A change that keeps it from starting: the restart comes first, and is not proposed again once it did not help.
  writeFileSync(app.at('config/bot.json'), '{ broken')
  await app.kill()
  assert.equal(seenIn(await app.rescue('--json')).command, 'holdfast rescue service')
  const inVain = await app.rescue('--yes', '--wait', '1')
  assert.equal(inVain.code, 1)
  const next = await app.rescue()
  assert.match(next.out, /✗ restart +did not help[\s\S]*! changed +config since the newest snapshot: 1 changed/)
  assert.match(next.out, /it said: .*SyntaxError/)
  assert.match(
    next.out,
    /holdfast rescue component config .*\n +A restart at .* did not help, and config changed since/,
  )
  const helped = await app.rescue('--yes')
  assert.equal(helped.code, 0, helped.err)
  assert.equal(await app.health(), 200)

  // Several at once.
  await app.kill()
  rmSync(app.at('secrets'), { recursive: true })
  writeFileSync(app.at('data/auth.db'), 'no database')
  const both = await app.rescue('--json', ...app.identity)
  assert.deepEqual(seenIn(both), {
    codes: ['database-damaged', 'secrets-missing', 'unhealthy'],
    command: `holdfast rescue database ${app.at('data/auth.db')}`,
  })
  rmSync(app.at('data'), { recursive: true })
  rmSync(app.at('src'), { recursive: true })
  rmSync(app.at('config'), { recursive: true })
  rmSync(app.at('package.json'))
  assert.equal(seenIn(await app.rescue('--json')).command, 'holdfast rescue server')
  const all = await app.rescue('--yes', ...app.identity)
  assert.equal(all.code, 0, all.err)
  assert.equal(await app.health(), 200)
})

test('rescue alone works with config, journal and cache gone, and without the repository a restart is proposed', async () => {
  await using app = await patient()
  await app.backUp()
  const { base } = app.example
  await app.kill()
  renameSync(join(base, 'repository'), join(base, 'repository.away'))
  const without = await app.rescue('--json')
  assert.deepEqual(seenIn(without), { codes: ['unhealthy', 'no-repository'], command: 'holdfast rescue service' })
  renameSync(join(base, 'repository.away'), join(base, 'repository'))
  for (const name of ['etc', 'state', 'work', 'log']) rmSync(join(base, name), { recursive: true, force: true })
  rmSync(app.at('config'), { recursive: true })
  const done = await app.rescueFromRepository('--yes')
  assert.equal(done.code, 0, done.err)
  assert.match(done.out, /holdfast rescue component config -r /)
  assert.equal(await app.health(), 200)
})
