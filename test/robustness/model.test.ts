import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import { type SeededRandom, seededRandom } from '../../bench/seeded-random.ts'
import { EngineError } from '../../src/engine/error.ts'
import { unlockRepository } from '../../src/engine/repository/locks.ts'
import { createRepository, openRepository, type Repository } from '../../src/engine/repository/repository.ts'
import { withFaults } from '../../src/engine/storage/faults.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import type { Storage } from '../../src/engine/storage/storage.ts'
import { backupPaths } from '../../src/operations/backup/backup-paths.ts'
import { copy } from '../../src/operations/repository/copy.ts'
import { keyAdd, keyPasswd } from '../../src/operations/repository/keys.ts'
import { repairIndex } from '../../src/operations/repository/repair-index.ts'
import { repairSnapshots } from '../../src/operations/repository/repair-snapshots.ts'
import { tag } from '../../src/operations/repository/tag.ts'
import { restoreToTarget } from '../../src/operations/restore/restore-to-target.ts'
import { forget } from '../../src/operations/retention/forget.ts'
import { prune } from '../../src/operations/retention/prune.ts'
import { contentOf, snapshotsOf } from '../equipment/history.ts'
import { runRestic, withoutRestic } from '../equipment/restic.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { CHEAP_KDF, PASSWORD, POLYNOMIAL } from '../equipment/test-repository.ts'

// Whatever is done to a repository, in whatever order, by Holdfast and by restic, to its end or cut short: each snapshot that a plain
// map knows reads back byte for byte after every step, and at the end restic has nothing to complain of.

const FULL = process.env.HOLDFAST_FULL === '1'
const SEED = process.env.HOLDFAST_SEED ?? String(randomInt(2 ** 32))
const [RUNS, STEPS] = FULL ? [20, 60] : [1, 25]

/** Names below the folder that is backed up, and what they hold. */
type Files = ReadonlyMap<string, Buffer>

const QUIET = { observe: () => {}, signal: new AbortController().signal }

for (let run = 0; run < RUNS; run++) {
  const seed = `${SEED} ${run}`
  it(`run ${run}: every snapshot that the model knows reads back, whatever is done (HOLDFAST_SEED=${SEED})`, {
    skip: withoutRestic(),
  }, async (test) => {
    using folder = temporaryFolder()
    const machine = new Machine(folder.path, seededRandom(seed))
    await machine.start()
    for (let step = 0; step < STEPS; step++) {
      const name = machine.choose()
      try {
        await machine.perform(name)
        await machine.verify()
      } catch (error) {
        throw new Error(`step ${step}, after ${machine.done.join(', ')}: ${(error as Error).message}`, { cause: error })
      }
    }
    await machine.finish()
    const counts = new Map<string, number>()
    for (const name of machine.done) counts.set(name, (counts.get(name) ?? 0) + 1)
    test.diagnostic(
      `${[...counts].map(([name, count]) => `${count} × ${name}`).join(', ')}; ${machine.known} snapshots`,
    )
  })
}

class Machine {
  readonly done: string[] = []
  readonly #folder: string
  readonly #random: SeededRandom
  readonly #source: string
  readonly #location: string
  readonly #otherLocation: string
  readonly #files = new Map<string, Buffer>()
  /** What must be readable, by the time of the snapshot: that stays when tags change or it is copied. */
  readonly #model = new Map<string, Files>()
  readonly #copied = new Map<string, Files>()
  readonly #passwords = [PASSWORD]
  #targets = 0

  constructor(folder: string, random: SeededRandom) {
    this.#folder = folder
    this.#random = random
    this.#source = join(folder, 'source')
    this.#location = join(folder, 'repository')
    this.#otherLocation = join(folder, 'other')
  }

  get known(): number {
    return this.#model.size
  }

  async start(): Promise<void> {
    mkdirSync(join(this.#source, 'sub'), { recursive: true })
    for (const location of [this.#location, this.#otherLocation]) {
      await createRepository(localStorage(location), { password: PASSWORD, kdf: CHEAP_KDF, polynomial: POLYNOMIAL })
    }
    await this.perform('backup')
  }

  choose(): string {
    const names = [...Object.keys(this.#actions), 'backup', 'restic backup', 'cut short', 'cut short']
    return names[this.#random.below(names.length)]!
  }

  async perform(name: string): Promise<void> {
    this.done.push(name)
    await this.#actions[name]!()
  }

  readonly #actions: Readonly<Record<string, () => Promise<unknown>>> = {
    backup: () => this.#backup(localStorage(this.#location)),
    'restic backup': async () => {
      this.#changeFiles()
      const before = await this.#times()
      this.#restic(['backup', '--quiet', '--host', 'restic', this.#source])
      await this.#learn(before)
    },
    forget: () => this.#forget(undefined),
    'forget and prune': () => this.#forget({ maxUnused: { percent: 0 } }),
    'restic forget': async () => {
      const [snapshot] = await this.#some(1)
      if (snapshot === undefined) return
      this.#restic(['forget', snapshot.id])
      this.#model.delete(String(snapshot.snapshot.time.ns))
    },
    'restic prune': async () => this.#restic(['prune', '--max-unused', '0']),
    prune: () => prune(this.#access(), { maxUnused: { percent: 0 }, ...QUIET }),
    copy: async () => {
      await copy(this.#access(), { location: this.#otherLocation, password: async () => PASSWORD }, QUIET)
      for (const [time, files] of this.#model) this.#copied.set(time, files)
    },
    tag: async () => {
      const names = (await this.#some(2)).map(({ id }) => id)
      await tag(this.#access(), { names, change: { set: [`tag-${this.done.length}`] }, ...QUIET })
    },
    'key add': async () => {
      const added = Buffer.from(`password ${this.done.length}`)
      await keyAdd(this.#access(), { newPassword: async () => added, kdf: CHEAP_KDF, ...QUIET })
      this.#passwords.push(added)
    },
    'key passwd': async () => {
      const changed = Buffer.from(`password ${this.done.length}`)
      await keyPasswd(this.#access(), { newPassword: async () => changed, kdf: CHEAP_KDF, ...QUIET })
      this.#passwords.shift()
      this.#passwords.unshift(changed)
    },
    'repair index': () => repairIndex(this.#access(), { readAllPacks: this.#random.below(2) === 0, ...QUIET }),
    'repair snapshots': () => repairSnapshots(this.#access(), { forget: true, ...QUIET }),
    'cut short': () => this.#cutShort(),
  }

  #access(storage?: Storage) {
    const password = this.#passwords[0]!
    return { location: this.#location, password: async () => password, ...(storage ? { storage } : {}) }
  }

  async #backup(storage: Storage): Promise<void> {
    this.#changeFiles()
    const before = await this.#times()
    const { outcome } = await backupPaths(this.#access(storage), { paths: [this.#source], host: 'ours', ...QUIET })
    assert.equal(outcome, 'succeeded')
    await this.#learn(before)
  }

  async #forget(pruning: { maxUnused: { percent: number } } | undefined): Promise<void> {
    const going = await this.#some(this.#model.size > 6 ? 3 : 1)
    if (going.length === 0) return
    const names = going.map(({ id }) => id)
    const { outcome } = await forget(this.#access(), { names, prune: pruning, ...QUIET })
    assert.equal(outcome, 'succeeded')
    for (const { snapshot } of going) this.#model.delete(String(snapshot.time.ns))
  }

  /** An operation of which some call to the storage fails, and all after it: the process, so to say, is gone. What it holds stays locked. */
  async #cutShort(): Promise<void> {
    const after = 1 + this.#random.below(30)
    let calls = 0
    const whole = localStorage(this.#location)
    const gone = () => {
      calls += 1
      if (calls > after) throw new EngineError('STORAGE', 'the process is gone')
    }
    const storage: Storage = {
      ...withFaults(whole, []),
      async write(name, content, signal) {
        gone()
        await whole.write(name, content, signal)
      },
      async remove(name, signal) {
        gone()
        await whole.remove(name, signal)
      },
    }
    const before = await this.#times()
    const access = this.#access(storage)
    const operations = [
      () => backupPaths(access, { paths: [this.#source], host: 'ours', ...QUIET }),
      () => prune(access, { maxUnused: { percent: 0 }, ...QUIET }),
      () => tag(access, { change: { set: [`cut-${this.done.length}`] }, ...QUIET }),
      () => repairIndex(access, { readAllPacks: true, ...QUIET }),
    ]
    this.#changeFiles()
    await operations[this.#random.below(operations.length)]!().catch((error: unknown) => {
      if (!(error instanceof EngineError)) throw error
    })
    await unlockRepository(await this.#open(), { all: true })
    await this.#learn(before)
  }

  /** Snapshots that are there now and were not before hold what the folder holds. */
  async #learn(before: ReadonlySet<string>): Promise<void> {
    for (const time of await this.#times()) if (!before.has(time)) this.#model.set(time, new Map(this.#files))
  }

  async #times(): Promise<Set<string>> {
    return new Set((await snapshotsOf(await this.#open())).map(({ snapshot }) => String(snapshot.time.ns)))
  }

  /** Some snapshots, never the last one that there is. */
  async #some(count: number) {
    const snapshots = (await snapshotsOf(await this.#open())).sort((a, b) => (a.id < b.id ? -1 : 1))
    const times = [...new Set(snapshots.map(({ snapshot }) => snapshot.time.ns))].sort()
    const chosen = new Set<bigint>()
    while (chosen.size < Math.min(count, times.length - 1)) chosen.add(times[this.#random.below(times.length)]!)
    return snapshots.filter(({ snapshot }) => chosen.has(snapshot.time.ns))
  }

  #changeFiles(): void {
    for (let change = 0; change < 3; change++) {
      const name = `${this.#random.below(2) === 0 ? 'sub/' : ''}${this.#random.below(8)}`
      if (this.#files.has(name) && this.#random.below(4) === 0) {
        this.#files.delete(name)
        rmSync(join(this.#source, name))
        continue
      }
      const isLarge = this.#random.below(12) === 0
      const content = this.#random.bytes(this.#random.below(isLarge ? 1_500_000 : 20_000))
      this.#files.set(name, content)
      writeFileSync(join(this.#source, name), content)
    }
  }

  #restic(args: readonly string[]): void {
    const { status, stdout, stderr } = runRestic(args, { repository: this.#location, password: this.#passwords[0]! })
    assert.equal(status, 0, `restic ${args[0]}: ${stdout}${stderr}`)
  }

  async #open(password = this.#passwords[0]!): Promise<Repository> {
    return openRepository(localStorage(this.#location), { password })
  }

  /** Every snapshot of the model is there, is readable, and no other is; each password opens; one of them is brought back whole. */
  async verify(): Promise<void> {
    for (const password of this.#passwords) await this.#open(password)
    await expectReadable(await this.#open(), this.#model, this.#source)
    const other = await openRepository(localStorage(this.#otherLocation), { password: PASSWORD })
    await expectReadable(other, this.#copied, this.#source)
    const times = [...this.#model.keys()]
    const time = times[this.#random.below(times.length)]
    const stored = (await snapshotsOf(await this.#open())).find(({ snapshot }) => String(snapshot.time.ns) === time)
    const target = join(this.#folder, `target-${this.#targets++}`)
    await restoreToTarget(this.#access(), { choice: { name: stored!.id }, target, ...QUIET })
    for (const [name, content] of this.#model.get(time!)!) {
      assert.ok(readFileSync(join(target, this.#source, name)).equals(content), `${name} of ${time} is another`)
    }
    rmSync(target, { recursive: true })
  }

  async finish(): Promise<void> {
    this.#restic(['check', '--read-data'])
    const { status } = runRestic(['check', '--read-data'], { repository: this.#otherLocation, password: PASSWORD })
    assert.equal(status, 0)
    assert.ok(statSync(join(this.#location, 'config')).size > 0)
    await this.verify()
  }
}

/** The same names with as many bytes as the model says, each of which can be read. */
async function expectReadable(
  repository: Repository,
  model: ReadonlyMap<string, Files>,
  source: string,
): Promise<void> {
  const snapshots = await snapshotsOf(repository)
  const times = new Set(snapshots.map(({ snapshot }) => String(snapshot.time.ns)))
  assert.deepEqual([...times].sort(), [...model.keys()].sort(), 'snapshots')
  for (const { snapshot } of snapshots) {
    const content = await contentOf(repository, snapshot.tree)
    const expected = [...model.get(String(snapshot.time.ns))!.keys()].map((name) => `${source}/${name}`)
    assert.deepEqual(Object.keys(content).sort(), expected.sort())
  }
}
