import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { link, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import test from 'node:test'
import { compareDescriptions, describeTree } from '../../../test/equipment/describe-tree.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { exchange } from '../../engine/os/exchange.ts'
import { findInterrupted, identityOf, settleInterrupted, stagedIn, writeRecord } from './restore-record.ts'
import { type SwapSteps, type SwapUnit, swapUnits } from './swap-units.ts'

const STAMP = '20261101-020000'
/** No process has it: they are counted up to 4194304. */
const DEAD = 4_999_999

const REAL: SwapSteps = {
  rename,
  link,
  unlink,
  exchange: (a, b) => exchange(Buffer.from(a), Buffer.from(b)),
}
const WITHOUT_EXCHANGE: SwapSteps = { ...REAL, exchange: () => false }

interface Scene {
  readonly units: readonly SwapUnit[]
  /** What lies at the live paths, with their logs. */
  live(): Map<string, string>
}

/** A folder with entries that stay, a file, a database with its log, a path where nothing is yet; each staged. */
async function makeScene(folder: string): Promise<Scene> {
  const put = (path: string, content: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), content)
  }
  put('data/a', 'old a')
  put('data/cache/x', 'kept x')
  put('data/sub/log', 'kept log')
  put('bot.json', 'old bot')
  put('auth.db', 'old database')
  put('auth.db-wal', 'old log')
  const unit = (name: string, index: number, extra: Partial<SwapUnit> = {}): SwapUnit => ({
    path: join(folder, name),
    stage: join(folder, `.holdfast-restore-${STAMP}-${DEAD}-${index}`),
    before: join(folder, `${name}.before-${STAMP}`),
    kept: [],
    isDatabase: false,
    ...extra,
  })
  const units = [
    unit('data', 0, { kept: [join(folder, 'data/cache'), join(folder, 'data/sub/log')] }),
    unit('bot.json', 1),
    unit('auth.db', 2, { isDatabase: true }),
    unit('fresh', 3),
  ]
  const staged = (index: number, path: string, content: string) =>
    put(join(basename(units[index]!.stage), 'staged', path), content)
  staged(0, 'a', 'new a')
  staged(0, 'b', 'new b')
  staged(0, 'sub/c', 'new c')
  for (const [index, content] of [
    [1, 'new bot'],
    [2, 'new database'],
  ] as const) {
    mkdirSync(units[index]!.stage)
    writeFileSync(stagedIn(units[index]!.stage), content)
  }
  staged(3, 'f', 'new f')
  for (const { path, before, kept, stage, isDatabase } of units) {
    const live = await identityOf(path)
    const staged = (await identityOf(stagedIn(stage)))!
    const sidecars = isDatabase ? ['-wal', '-shm', '-journal'].map((suffix) => path + suffix) : []
    const identities = { staged, ...(live === undefined ? {} : { live }) }
    await writeRecord(stage, { format: 1, path, before, kept: [...kept], sidecars, process: `:${DEAD}:`, identities })
  }
  return {
    units,
    live: () =>
      withoutTimes(describeTree(folder, { without: (path) => /^\.holdfast|\.before-/.test(path), linkCounts: false })),
  }
}

/** Folders get new times with every entry that is moved. */
function withoutTimes(lines: Map<string, string>): Map<string, string> {
  return new Map([...lines].map(([path, line]) => [path, line.replace(/mtime \d+|same as "[^"]*"/g, '')]))
}

const NEW = {
  'data/a': 'new a',
  'data/b': 'new b',
  'data/sub/c': 'new c',
  'data/cache/x': 'kept x',
  'data/sub/log': 'kept log',
  'bot.json': 'new bot',
  'auth.db': 'new database',
  'fresh/f': 'new f',
}
const OLD = {
  [`data.before-${STAMP}/a`]: 'old a',
  [`bot.json.before-${STAMP}`]: 'old bot',
  [`auth.db.before-${STAMP}`]: 'old database',
  [`auth.db.before-${STAMP}-wal`]: 'old log',
}

function expectFiles(folder: string, files: Record<string, string>): void {
  for (const [path, content] of Object.entries(files))
    assert.equal(readFileSync(join(folder, path), 'utf8'), content, path)
}

/** Counts the steps and, at the nth, does what is said instead. */
function failingAt(n: number, steps: SwapSteps, fail: () => never | Promise<never>): SwapSteps & { count(): number } {
  let count = 0
  const step = async (act: () => Promise<void>) => (++count === n ? fail() : act())
  return {
    count: () => count,
    rename: (from, to) => step(() => steps.rename(from, to)),
    link: (existing, path) => step(() => steps.link(existing, path)),
    unlink: (path) => step(() => steps.unlink(path)),
    exchange(a, b) {
      if (++count === n) fail()
      return steps.exchange(a, b)
    },
  }
}

for (const [how, steps] of Object.entries({ 'in one step': REAL, 'in two steps': WITHOUT_EXCHANGE })) {
  test(`${how}, everything takes its place, and what was there is kept`, async () => {
    using folder = temporaryFolder()
    const { units } = await makeScene(folder.path)
    const replaced = await swapUnits(units, steps)
    expectFiles(folder.path, { ...NEW, ...OLD })
    assert.ok(!existsSync(join(folder.path, 'auth.db-wal')))
    assert.deepEqual(
      replaced.map(({ path }) => basename(path)),
      ['data', 'bot.json', 'auth.db'],
    )
    for (const { before } of replaced) assert.ok(existsSync(before))
    for (const { stage } of units) assert.ok(!existsSync(stagedIn(stage)))
  })

  test(`${how}, whichever step fails, everything before it is undone`, async () => {
    let failures = 0
    for (let n = 1; ; n++) {
      using folder = temporaryFolder()
      const scene = await makeScene(folder.path)
      const before = scene.live()
      const failing = failingAt(n, steps, () => {
        throw new Error('no')
      })
      const error = await swapUnits(scene.units, failing).then(
        () => undefined,
        (reason: Error & { code: string; facts: { undone: boolean } }) => reason,
      )
      if (error === undefined) break
      failures += 1
      assert.deepEqual([error.code, error.facts.undone], ['SWAP', true], `step ${n}`)
      assert.match(error.message, /^Nothing was changed/)
      assert.deepEqual(compareDescriptions(before, scene.live()), [], `step ${n}`)
    }
    assert.ok(failures >= 9, `${failures} steps`)
  })

  test(`${how}, when undoing fails as well the error says so, and nothing is lost`, async () => {
    // The first step (the second where exchanging is tried in vain) has nothing before it to undo.
    for (let n = steps === REAL ? 2 : 3; n < 9; n++) {
      using folder = temporaryFolder()
      const { units } = await makeScene(folder.path)
      let broken = false
      const failing = failingAt(n, steps, () => {
        broken = true
        throw new Error('no')
      })
      const dead: SwapSteps = {
        rename: async (from, to) => {
          if (broken) throw new Error('disk gone')
          await failing.rename(from, to)
        },
        link: async (existing, path) => {
          if (broken) throw new Error('disk gone')
          await failing.link(existing, path)
        },
        unlink: async () => {
          throw new Error('disk gone')
        },
        exchange(a, b) {
          if (broken) throw new Error('disk gone')
          return failing.exchange(a, b)
        },
      }
      await assert.rejects(swapUnits(units, dead), { code: 'SWAP', message: /cannot put all back: no; disk gone/ })
      const everything = JSON.stringify([...describeTree(folder.path).values()])
      for (const leftover of await findInterrupted([folder.path])) await settleInterrupted(leftover)
      for (const old of ['old a', 'old bot', 'old database', 'old log', 'kept x', 'kept log']) {
        assert.ok(holds(folder.path, old), `step ${n}: ${old} of ${everything}`)
      }
    }
  })

  test(`${how}, killed between any two steps each unit is old or new, and the next run puts it in order`, async () => {
    let kills = 0
    for (let n = 1; ; n++) {
      using folder = temporaryFolder()
      const { units } = await makeScene(folder.path)
      // A process that is killed does nothing more: the step never comes back.
      const killed = Promise.withResolvers<void>()
      const dying = failingAt(n, steps, () => {
        killed.resolve()
        throw new Dead()
      })
      const done = swapUnits(units, {
        ...dying,
        rename: (from, to) => forever(() => dying.rename(from, to)),
        link: (existing, path) => forever(() => dying.link(existing, path)),
        exchange(a, b) {
          try {
            return dying.exchange(a, b)
          } catch {
            throw new Unwinding() // cannot wait, so what would undo it must not get far
          }
        },
        unlink: (path) => forever(() => dying.unlink(path)),
      }).catch((error: Error & { cause?: unknown }) => {
        if (!(error.cause instanceof Unwinding)) throw error
      })
      const ended = await Promise.race([done.then(() => 'done'), killed.promise.then(() => 'killed')])
      if (ended === 'done') break
      kills += 1
      expectOldOrNew(folder.path, steps === WITHOUT_EXCHANGE)
      for (const leftover of await findInterrupted([folder.path])) await settleInterrupted(leftover)
      assert.deepEqual(await findInterrupted([folder.path]), [])
      expectWhole(folder.path, `step ${n}`)
    }
    assert.ok(kills >= 9, `${kills} steps`)
  })
}

class Dead extends Error {}
class Unwinding extends Error {}

/** A step of a process that was killed in it never ends, so nothing after it happens. */
async function forever(step: () => Promise<void>): Promise<void> {
  try {
    await step()
  } catch (error) {
    if (!(error instanceof Dead)) throw error
    await new Promise(() => {})
  }
}

function holds(folder: string, content: string): boolean {
  return spawnSync('grep', ['-rqF', '--', content, folder]).status === 0
}

function expectOldOrNew(folder: string, mayBeAbsent: boolean): void {
  const content = (path: string) =>
    existsSync(join(folder, path)) ? readFileSync(join(folder, path), 'utf8') : undefined
  const states = [
    ['data/a', ['old a', 'new a', ...(mayBeAbsent ? [undefined] : [])]],
    ['bot.json', ['old bot', 'new bot']],
    ['auth.db', ['old database', 'new database']],
  ] as const
  for (const [path, allowed] of states) assert.ok((allowed as readonly unknown[]).includes(content(path)), path)
  if (content('auth.db') === 'new database') assert.equal(content('auth.db-wal'), undefined, 'no old log beside it')
  assert.equal(content('data/a') === 'new a', content('data/b') === 'new b')
  for (const old of ['old a', 'old bot', 'old database', 'old log', 'kept x', 'kept log'])
    assert.ok(holds(folder, old), old)
}

/** After the next run has put things in order: each unit is wholly old in its place, or new with the old one kept. */
function expectWhole(folder: string, when: string): void {
  const content = (path: string) =>
    existsSync(join(folder, path)) ? readFileSync(join(folder, path), 'utf8') : undefined
  assert.equal(content('data/cache/x'), 'kept x', when)
  assert.equal(content('data/sub/log'), 'kept log', when)
  const data = content('data/a')
  assert.equal(data === 'old a' || content(`data.before-${STAMP}/a`) === 'old a', true, when)
  const bot = content('bot.json')
  assert.equal(bot === 'old bot' || content(`bot.json.before-${STAMP}`) === 'old bot', true, when)
  if (content('auth.db') === 'old database') assert.equal(content('auth.db-wal'), 'old log', when)
  else assert.equal(content(`auth.db.before-${STAMP}-wal`), 'old log', when)
}
