import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { compareDescriptions, describeTree } from '../equipment/describe-tree.ts'
import { makeDatabase, type ProtectedApplication, protectedApplication } from '../equipment/protected-application.ts'
import { randomBytes } from '../equipment/random-bytes.ts'

const KILLS = process.env.HOLDFAST_FULL === '1' ? 100 : 12
const UNITS = ['config', 'data', 'secrets', 'ecosystem.config.js', 'extra/one', 'extra/two', 'extra/three']

const COMPONENTS = {
  config: 'config',
  data: { path: 'data', exclude: ['/cache'] },
  secrets: 'secrets',
  pm2: 'ecosystem.config.js',
  extra: ['extra/one', 'extra/two', 'extra/three'],
}

function fill(app: ProtectedApplication, version: string): void {
  app.put('config/bot.json', `bot ${version}`)
  app.put(`config/only-${version}`, version)
  app.put('data/a.bin', randomBytes(200_000, version))
  rmSync(app.at('data/auth.db'), { force: true })
  makeDatabase(app.at('data/auth.db'), { rows: version === 'new' ? 10 : 20, journal: 'delete' })
  app.put('secrets/.env', `TOKEN=${version}`, 0o600)
  app.put('ecosystem.config.js', `module.exports = { apps: [{ name: '${version}' }] }`)
  for (const name of ['one', 'two', 'three']) app.put(`extra/${name}`, `${name} ${version}`)
}

/** Each unit as a description of what it holds, but for what stays. */
function unitsOf(folder: string, names: readonly string[] = UNITS): Map<string, string> {
  return new Map(
    names.flatMap((name) => {
      const path = join(folder, name)
      if (!existsSync(path)) return []
      const lines = describeTree(path, { without: (inside) => inside === 'cache' })
      return [[name, [...lines].map(([inside, line]) => `${inside} ${withoutTime(inside, line)}`).join('\n')]]
    }),
  )
}

/** The time of a folder changes when something that stays is moved into it. */
function withoutTime(path: string, line: string): string {
  return path === '' ? line.replace(/mtime \d+/, '') : line
}

/** Where everything that is no unit in its place lies: kept, or in a stage. */
function elsewhere(app: ProtectedApplication): string[] {
  const found: string[] = []
  for (const folder of [app.root, app.at('extra')]) {
    for (const name of readdirSync(folder)) {
      if (name.includes('.before-')) found.push(join(folder, name))
      const staged = join(folder, name, 'staged')
      if (name.startsWith('.holdfast-restore-') && existsSync(staged)) found.push(staged)
    }
  }
  return found
}

function describeAlone(path: string): string {
  const [text] = unitsOf(dirname(path), [path.slice(dirname(path).length + 1)]).values()
  return text!
}

test(`killed at ${KILLS} moments, each unit is old or new, nothing is lost, and the next run ends as it should`, async (t) => {
  using app = await protectedApplication(COMPONENTS)
  const identity = await app.makeAgeIdentity()
  const changes = { seal: [identity.recipient], unseal: identity.file }
  fill(app, 'new')
  await app.backUp(changes)
  // The copy of a database in a snapshot is not the live file to the last byte: the change counter differs.
  await app.restore(changes, { identities: [identity.file], discardBefore: true })
  const wanted = unitsOf(app.root)
  const configFile = join(app.base, 'etc/holdfast.yaml')
  mkdirSync(join(app.base, 'etc'), { recursive: true })
  writeFileSync(configFile, app.config(changes).text, { mode: 0o600 })
  const program = join(import.meta.dirname, '../equipment/restore-program.ts')
  const run = () =>
    spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, configFile, app.access.location], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_COMPILE_CACHE: join(app.base, 'compile-cache') },
    })

  const killedAt = new Map<string, number>()
  for (let n = 0; n < KILLS; n++) {
    for (const name of ['config', 'data', 'secrets', 'extra']) rmSync(app.at(name), { recursive: true, force: true })
    for (const name of readdirSync(app.root)) rmSync(app.at(name), { recursive: true })
    fill(app, 'old')
    app.put('data/cache/x', 'stays')
    const old = unitsOf(app.root)

    const child = run()
    let said = ''
    let planned: NodeJS.Timeout | undefined
    // Every other one within the moments of the swap, the rest anywhere from the first staged file on.
    const phase = n % 2 === 0 ? 'at swap' : 'at restore'
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (planned || !said.includes(phase)) return
      const delay = n % 2 === 0 ? Math.random() * 6 : Math.random() * 250
      planned = setTimeout(() => child.kill('SIGKILL'), delay)
    })
    const [code, signal] = await once(child, 'close')
    clearTimeout(planned)
    assert.ok(signal === 'SIGKILL' || code === 0)
    const last = said.trim().split('\n').at(-1)!
    killedAt.set(last, (killedAt.get(last) ?? 0) + 1)

    const after = unitsOf(app.root)
    const others = new Set(elsewhere(app).map(describeAlone))
    for (const name of UNITS) {
      const state = after.get(name) === old.get(name) ? 'old' : after.get(name) === wanted.get(name) ? 'new' : 'torn'
      assert.notEqual(state, 'torn', `${name} after ${last}`)
      if (state === 'new') assert.ok(others.has(old.get(name)!), `${name} of before is lost after ${last}`)
    }

    assert.equal((await app.restore(changes, { identities: [identity.file] })).outcome, 'succeeded')
    const ended = unitsOf(app.root)
    assert.deepEqual(compareDescriptions(wanted, ended), [], `after ${last}`)
    assert.equal(readFileSync(app.at('data/cache/x'), 'utf8'), 'stays', `after ${last}`)
    const kept = new Set(elsewhere(app).map(describeAlone))
    for (const name of UNITS)
      assert.ok(kept.has(old.get(name)!), `${name} of before is lost after ${last} and another run`)
    const stages = readdirSync(app.root, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.includes('.holdfast-'),
    )
    assert.deepEqual(stages, [])
  }
  t.diagnostic(`killed after: ${JSON.stringify(Object.fromEntries(killedAt))}`)
})
