import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { type SeededRandom, seededRandom } from '../../bench/seeded-random.ts'
import { mapConcurrent } from '../../src/engine/concurrency.ts'
import { CodedError, EngineError } from '../../src/engine/error.ts'
import { checkRepository } from '../../src/engine/repository/check.ts'
import { unlockRepository } from '../../src/engine/repository/locks.ts'
import { openRepository, type Repository } from '../../src/engine/repository/repository.ts'
import { type Fault, type FaultyStorage, type StorageMethod, withFaults } from '../../src/engine/storage/faults.ts'
import type { FileType, Storage } from '../../src/engine/storage/storage.ts'
import { describeTree } from '../equipment/describe-tree.ts'
import { contentOf, snapshotsOf } from '../equipment/history.ts'
import { storageOf } from '../equipment/repository-files.ts'
import {
  makeScene,
  NEW_PASSWORD,
  REPOSITORY_OPERATIONS,
  type RepositoryOperation,
  type Scene,
} from '../equipment/repository-operations.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { PASSWORD } from '../equipment/test-repository.ts'

// Every call to a storage goes wrong in turn, in every way. What the operation says afterwards must be so: it failed, or it reports
// what is wrong, or everything is as it would have been without the fault. Whichever it is, nothing that was there is lost, and
// the same command does its work once the storage does.

const FULL = process.env.HOLDFAST_FULL === '1'
const SEED = process.env.HOLDFAST_SEED ?? String(randomInt(2 ** 32))
/** Calls of each method and type that each fault is tried on, and faults of each operation. */
const [TRIED, CASES] = FULL ? [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY] : [1, 16]
/** Runs at a time: they mostly wait, for locks. */
const CONCURRENCY = 12

const EFFECTS: Readonly<Record<StorageMethod, readonly Fault['effect'][]>> = {
  create: [],
  list: ['fail', 'lose-answer', 'short', 'late', 'duplicate'],
  read: ['fail', 'short', 'flip', 'late', 'duplicate'],
  size: ['fail', 'late', 'duplicate'],
  write: ['fail', 'lose-answer', 'short', 'flip', 'late', 'duplicate'],
  remove: ['fail', 'lose-answer', 'late', 'duplicate'],
}

type Side = 'access' | 'other'

interface Case {
  /** Which repository the fault is in. */
  readonly side: Side
  readonly fault: Fault
}

interface Call {
  readonly side: Side
  readonly on: StorageMethod
  readonly type: FileType
}

/**
 * - `failed`, `reported`: the operation says so
 * - `right`: as without the fault
 * - `found by check`: the storage said that it had stored what it had not. Of packs that are added only a check that reads data
 *   can know; what they were made of is still where it came from
 * - `of what was listed`: the storage left files out of a list. Who lists once cannot know; nothing is lost
 */
type Verdict = 'failed' | 'reported' | 'right' | 'found by check' | 'of what was listed'

const folder = temporaryFolder()
after(() => folder[Symbol.dispose]())
process.setMaxListeners(0) // each lock listens for a signal
let scene: Promise<Scene> | undefined
let targets = 0

describe(`faults of the storage (HOLDFAST_SEED=${SEED})`, { concurrency: 12 }, () => {
  for (const operation of REPOSITORY_OPERATIONS) {
    it(`during ${operation.name} are never passed over in silence, and nothing is lost`, async (test) => {
      scene ??= makeScene(folder.path)
      const faultless = await new Play(await scene, operation).start()
      assert.equal(await faultless.run(), 'succeeded')
      const reference: Reference = {
        result: await faultless.essence(),
        kept: await new Play(await scene, operation).start().then((play) => play.treesKept(faultless)),
      }
      const cases = casesOf(faultless.calls, seededRandom(`${SEED} ${operation.name}`))
      const verdicts = new Map<Verdict, number>()
      const judged = mapConcurrent(cases, CONCURRENCY, async (one) => {
        try {
          return await judge(await new Play(await scene!, operation, one).start(), reference)
        } catch (error) {
          const { side, fault } = one
          const { on, type, nth, effect } = fault
          throw new Error(`${side} ${on} ${type} ${nth ?? 'always'} ${effect}: ${(error as Error).stack}`, {
            cause: error,
          })
        }
      })
      for await (const verdict of judged) verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1)
      const counts = [...verdicts].map(([verdict, count]) => `${count} ${verdict}`).join(', ')
      test.diagnostic(`${cases.length} faults, each of which has fired: ${counts}`)
    })
  }
})

interface Reference {
  readonly result: Essence
  /** The trees of the snapshots that the operation has no business to remove. */
  readonly kept: ReadonlySet<string>
}

/** What a user gets: of the repository, of the other one, and of the folder that was restored to. */
interface Essence {
  readonly opens: readonly string[]
  readonly snapshots: readonly string[]
  readonly findings: readonly string[]
  readonly others: readonly string[]
  readonly restored: readonly string[]
}

async function judge(play: Play, { result, kept }: Reference): Promise<Verdict> {
  const { fault } = play.one!
  const said = await play.run()
  assert.ok(play.fired > 0, 'the fault has not fired')
  const found = await play.essence()
  const isLie = fault.on === 'write' && (fault.effect === 'short' || fault.effect === 'flip')
  const isDamaged = found.findings.some((finding) => finding.startsWith('error')) || found.others.includes('damaged')

  for (const { trees, readable } of [await play.trees()]) {
    for (const tree of kept) {
      assert.ok(trees.has(tree), `a snapshot is gone after it ${said}`)
      assert.ok(readable.has(tree), `a snapshot cannot be read after it ${said}`)
    }
  }
  const isRight = isSame(found, result)
  if (said === 'succeeded' && !isRight) {
    if (fault.on === 'list' && fault.effect === 'short') {
      assert.ok(!isDamaged || play.operation.onDamaged, `it succeeded: ${difference(found, result)}`)
      return 'of what was listed'
    }
    const isAddition = ['backup', 'copy'].includes(play.operation.name)
    assert.ok(isLie && fault.type === 'pack' && isAddition && isDamaged, `it succeeded: ${difference(found, result)}`)
    return 'found by check'
  }
  if (!isLie) {
    if (!play.operation.onDamaged) assert.ok(!isDamaged, `after it ${said}: ${found.findings}`)
    const again = await play.again()
    if (again !== undefined) {
      const missing = (['snapshots', 'others', 'restored'] as const).flatMap((what) =>
        again[what].includes('damaged') ? ['damaged'] : result[what].filter((line) => !again[what].includes(line)),
      )
      assert.deepEqual(missing, [], `after it ${said}, and was done again`)
    }
  }
  return said === 'succeeded' ? 'right' : said
}

function isSame(a: Essence, b: Essence): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function difference(found: Essence, expected: Essence): string {
  const lines = (Object.keys(expected) as (keyof Essence)[]).flatMap((what) =>
    JSON.stringify(found[what]) === JSON.stringify(expected[what])
      ? []
      : [`${what} are ${found[what].join(', ')} instead of ${expected[what].join(', ')}`],
  )
  return lines.join('; ')
}

function casesOf(calls: readonly Call[], random: SeededRandom): Case[] {
  const counts = new Map<string, { call: Call; count: number }>()
  for (const call of calls) {
    const key = JSON.stringify(call)
    const seen = counts.get(key) ?? { call, count: 0 }
    counts.set(key, { call, count: seen.count + 1 })
  }
  const cases: Case[] = []
  for (const { call, count } of counts.values()) {
    const { side, on, type } = call
    cases.push({ side, fault: { on, type, effect: 'fail' } })
    for (const effect of EFFECTS[on]) {
      const chosen = new Set<number>()
      while (chosen.size < Math.min(TRIED, count))
        chosen.add(TRIED >= count ? chosen.size + 1 : 1 + random.below(count))
      for (const nth of chosen) cases.push({ side, fault: { on, type, nth, effect } })
    }
  }
  const order = new Map(cases.map((one) => [one, random.next()]))
  return cases.sort((a, b) => order.get(a)! - order.get(b)!).slice(0, CASES)
}

/** One run of an operation, on repositories of its own. */
class Play {
  readonly operation: RepositoryOperation
  readonly one: Case | undefined
  readonly calls: Call[] = []
  readonly #scene: Scene
  readonly #target = join(folder.path, `target-${targets++}`)
  #storages: Record<Side, Storage> | undefined
  #faulty: FaultyStorage | undefined

  constructor(scene: Scene, operation: RepositoryOperation, one?: Case) {
    this.#scene = scene
    this.operation = operation
    this.one = one
  }

  async start(): Promise<this> {
    const { repository, damaged, other } = this.#scene
    this.#storages = {
      access: await storageOf(this.operation.onDamaged ? damaged : repository, 'repository'),
      other: await storageOf(other, 'other'),
    }
    return this
  }

  get fired(): number {
    return this.#faulty?.fired[0] ?? 0
  }

  async run(): Promise<'succeeded' | 'reported' | 'failed'> {
    const through = (side: Side): Storage => {
      const storage = this.#storages![side]
      if (this.one?.side !== side) return noting(storage, (on, type) => this.calls.push({ side, on, type }))
      this.#faulty = withFaults(storage, [this.one.fault])
      return this.#faulty
    }
    return this.#perform(through('access'), through('other'), PASSWORD)
  }

  /** Once more, on a storage that works; undefined when there is nothing left to do. */
  async again(): Promise<Essence | undefined> {
    const { access, other } = this.#storages!
    const opens = await passwordsOf(access)
    const password = opens[0]
    assert.ok(password, 'no password opens it')
    if (this.operation.name === 'key passwd' && password === NEW_PASSWORD) return undefined
    for (const storage of [access, other]) {
      await unlockRepository(await openWith((await passwordsOf(storage))[0]!, storage), { all: true })
    }
    // A pack that was repaired, and of which only the answer to its removal was lost, is no more.
    if (this.operation.name === 'repair packs' && !(await has(access, this.#scene.pack))) return undefined
    rmSync(this.#target, { recursive: true, force: true })
    assert.equal(await this.#perform(access, other, password), 'succeeded', 'done again')
    return this.essence()
  }

  async #perform(access: Storage, other: Storage, password: Buffer): Promise<'succeeded' | 'reported' | 'failed'> {
    try {
      const { outcome } = await this.operation.run({
        scene: this.#scene,
        access: { location: 'repository', storage: access, password: async () => password },
        other: { location: 'other', storage: other, password: async () => PASSWORD },
        target: this.#target,
      })
      return outcome === 'succeeded' ? 'succeeded' : 'reported'
    } catch (error) {
      assert.ok(error instanceof CodedError, (error as Error).stack)
      return 'failed'
    }
  }

  async essence(): Promise<Essence> {
    const { access, other } = this.#storages!
    const passwords = await passwordsOf(access)
    const repository = await openWith(passwords[0]!, access)
    const { findings } = await checkRepository(repository, { readData: true })
    const restored = join(this.#target, this.#scene.source)
    return {
      opens: passwords.map(String),
      snapshots: await linesOf(repository),
      findings: [...new Set(findings.map(({ severity, code }) => `${severity} ${code}`))].sort(),
      others: [
        ...(await linesOf(await openWith(PASSWORD, other))),
        ...(await checkRepository(await openWith(PASSWORD, other), { readData: true })).findings.map(
          ({ severity, code }) => (severity === 'error' ? 'damaged' : code),
        ),
      ],
      restored: existsSync(restored) ? [...describeTree(restored)].map((line) => line.join(' ')) : [],
    }
  }

  /** Of the snapshots that can be read: whether they are there, and whether all of them can be read to the last byte. */
  async trees(): Promise<{ trees: Set<string>; readable: Set<string> }> {
    const repository = await openWith((await passwordsOf(this.#storages!.access))[0]!, this.#storages!.access)
    const [trees, readable] = [new Set<string>(), new Set<string>()]
    for (const { snapshot } of await snapshotsOf(repository, { passOver: true })) {
      trees.add(snapshot.tree)
      const isReadable = await contentOf(repository, snapshot.tree).then(
        () => true,
        () => false,
      )
      if (isReadable) readable.add(snapshot.tree)
    }
    return { trees, readable }
  }

  /** Trees that are here, can be read, and are still there after another run. */
  async treesKept(end: Play): Promise<Set<string>> {
    const left = (await end.trees()).trees
    return new Set([...(await this.trees()).readable].filter((tree) => left.has(tree)))
  }
}

/** The same storage; `note` is told of each call. */
function noting(storage: Storage, note: (on: StorageMethod, type: FileType) => void): Storage {
  return {
    ...storage,
    list(type, signal) {
      note('list', type)
      return storage.list(type, signal)
    },
    async read(name, range, signal) {
      note('read', name.type)
      return storage.read(name, range, signal)
    },
    async size(name, signal) {
      note('size', name.type)
      return storage.size(name, signal)
    },
    async write(name, content, signal) {
      note('write', name.type)
      await storage.write(name, content, signal)
    },
    async remove(name, signal) {
      note('remove', name.type)
      await storage.remove(name, signal)
    },
  }
}

async function passwordsOf(storage: Storage): Promise<Buffer[]> {
  const opening: Buffer[] = []
  for (const password of [PASSWORD, NEW_PASSWORD]) {
    try {
      await openWith(password, storage)
      opening.push(password)
    } catch (error) {
      if (!(error instanceof EngineError && error.code === 'WRONG_PASSWORD')) throw error
    }
  }
  return opening
}

function openWith(password: Buffer, storage: Storage): Promise<Repository> {
  return openRepository(storage, { password })
}

async function linesOf(repository: Repository): Promise<string[]> {
  const lines: string[] = []
  for (const { snapshot } of await snapshotsOf(repository, { passOver: true })) {
    const { hostname, tags, tree } = snapshot
    // Of what is backed up anew: the folders above it have other times in each run.
    const content = hostname === 'source' ? contentOf(repository, tree).then(JSON.stringify) : Promise.resolve(tree)
    lines.push(`${hostname} ${tags} ${await content.catch(() => 'damaged')}`)
  }
  return lines.sort()
}

async function has(storage: Storage, pack: string): Promise<boolean> {
  for await (const { name } of storage.list('pack')) if (name.id === pack) return true
  return false
}
