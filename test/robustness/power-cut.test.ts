import assert from 'node:assert/strict'
import { hash, randomInt } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, it, type TestContext } from 'node:test'
import { type SeededRandom, seededRandom } from '../../bench/seeded-random.ts'
import { EngineError } from '../../src/engine/error.ts'
import { checkRepository } from '../../src/engine/repository/check.ts'
import { unlockRepository } from '../../src/engine/repository/locks.ts'
import { createRepository, openRepository, type Repository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import type { Storage } from '../../src/engine/storage/storage.ts'
import { prune } from '../../src/operations/retention/prune.ts'
import { contentOf, snapshotsOf } from '../equipment/history.ts'
import { type Chance, cutPower, EXTREMES, randomChance } from '../equipment/power-cut/cut-power.ts'
import { type FolderContent, readFolder, writeFolder } from '../equipment/power-cut/folder-content.ts'
import { type Recorder, type Recording, recordChanges } from '../equipment/power-cut/record-changes.ts'
import { storageOf } from '../equipment/repository-files.ts'
import {
  makeScene,
  NEW_PASSWORD,
  REPOSITORY_OPERATIONS,
  type RepositoryOperation,
  type Scene,
} from '../equipment/repository-operations.ts'
import { runRestic, withoutRestic } from '../equipment/restic.ts'
import { expectClean } from '../equipment/restic-check.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { CHEAP_KDF, PASSWORD, POLYNOMIAL } from '../equipment/test-repository.ts'

// The power goes while a repository on a local disk is changed. Every change that the process asks the file system for is recorded;
// what a disk may hold after a cut (`cut-power.ts`) is made for sampled moments and judged: it opens, nothing in it is damaged, and
// every snapshot that was published is there, to its last byte.

const FULL = process.env.HOLDFAST_FULL === '1'
const SEED = process.env.HOLDFAST_SEED ?? String(randomInt(2 ** 32))
/** Moments of each operation, states of each moment beside the extremes, and states of each operation that restic judges. */
const [CUTS, STATES, BY_RESTIC] = FULL ? [2000, 20, 20] : [25, 2, 1]
/** So many different states are judged of each operation, if it leads to as many. */
const FEWEST = 11

const QUIET = { observe: () => {}, signal: new AbortController().signal }

/** What the program has said by the time of the cut. */
interface Promised {
  readonly snapshots: ReadonlySet<string>
  readonly ended: boolean
}

interface Outcome {
  readonly state: FolderContent
  readonly promised: Promised
}

const forAll = temporaryFolder()
after(() => forAll[Symbol.dispose]())
let made: Promise<Scene> | undefined
const sceneOnce = () => {
  made ??= makeScene(forAll.path)
  return made
}

describe(`after a power cut (HOLDFAST_SEED=${SEED})`, () => {
  for (const operation of REPOSITORY_OPERATIONS.filter(({ name }) => name !== 'check' && name !== 'restore')) {
    it(`during ${operation.name} the repository opens, is sound, and has what was published`, async (test) => {
      using folder = temporaryFolder()
      const scene = await sceneOnce()
      const recording = await record(folder.path, scene, operation)
      const base = await snapshotsIn(recording.base)
      const lost = new Set(operation.onDamaged ? await damagedOf(recording.base) : [])
      const outcomes = await cutAndJudge(test, recording, base, operation.name, (outcome) =>
        judge(outcome, operation, lost),
      )
      if (withoutRestic()) return
      for (const [number, outcome] of outcomes.slice(-BY_RESTIC).entries()) {
        await judgeByRestic(outcome, join(folder.path, `cut-${number}`), scene, operation)
      }
    })
  }

  it('during init there is no repository, or one that opens; and once it was said to be there, it is', async (test) => {
    using folder = temporaryFolder()
    using recorder = recordChanges(folder.path)
    await createRepository(localStorage(join(folder.path, 'new')), {
      password: PASSWORD,
      kdf: CHEAP_KDF,
      polynomial: POLYNOMIAL,
    })
    recorder.mark('ended')
    await cutAndJudge(test, recorder, [], 'init', async ({ state, promised }) => {
      const inside = [...state].filter(([path]) => path.startsWith('new/'))
      const storage = await storageOf(new Map(inside.map(([path, bytes]) => [path.slice(4), bytes])))
      try {
        await openRepository(storage, { password: PASSWORD })
      } catch (error) {
        assert.equal((error as EngineError).code, 'NO_REPOSITORY')
        assert.ok(!promised.ended, 'it was said to be there')
      }
    })
  })
})

describe('what keeps a repository through a power cut', () => {
  const WITHOUT: Readonly<Record<string, (path: string) => boolean>> = {
    'of files': (path) => path.includes('-tmp-'),
    'of folders': (path) => !path.includes('-tmp-'),
  }
  for (const [what, isIt] of Object.entries(WITHOUT)) {
    it(`is every fsync ${what}: without them the model finds damage`, async () => {
      using folder = temporaryFolder()
      const scene = await sceneOnce()
      const backup = REPOSITORY_OPERATIONS.find(({ name }) => name === 'backup')!
      const recording = await record(folder.path, scene, backup)
      const omitted = new Set(
        recording.calls.flatMap(({ call, path }, number) => (call === 'sync' && isIt(path) ? [number] : [])),
      )
      assert.ok(omitted.size >= 4, 'pack, tree pack, index and snapshot')
      const moments = recording.moments.filter((moment) => moment.at === 'mark' || !omitted.has(moment.call))
      const base = await snapshotsIn(recording.base)
      let found = 0
      for (const chance of Object.values(EXTREMES)) {
        const state = cutPower({ ...recording, moments }, moments.length, chance)
        const promised = promisedBy(moments, base, moments.length)
        await judge({ state, promised }, backup, new Set()).catch((error: unknown) => {
          if (!(error instanceof assert.AssertionError || error instanceof EngineError)) throw error
          found += 1
        })
      }
      assert.ok(found > 0)
    })
  }
})

/** Runs the operation on a disk, and records every change of it. What the record makes of the folder is what lies there. */
async function record(folder: string, scene: Scene, operation: RepositoryOperation): Promise<Recording> {
  const isCopy = operation.name === 'copy'
  const location = join(folder, 'recorded')
  mkdirSync(location)
  const content = isCopy ? scene.other : operation.onDamaged ? scene.damaged : scene.repository
  writeFolder(location, content)
  using recorder = recordChanges(location)
  const password = async () => PASSWORD
  const onDisk = { location, storage: marking(localStorage(location), recorder), password }
  const inMemory = { location: 'memory', storage: await storageOf(isCopy ? scene.repository : scene.other), password }
  const [access, other] = isCopy ? [inMemory, onDisk] : [onDisk, inMemory]
  const report = await operation.run({ scene, access, other, target: join(folder, 'target') })
  assert.equal(report.outcome, 'succeeded')
  recorder.mark('ended')
  const whole = cutPower(recorder, recorder.moments.length, EXTREMES['everything, also what was not answered']!)
  assert.deepEqual(whole, readFolder(location), 'something changed the folder past the recorder')
  return recorder
}

/** Notes in the record which snapshots are published, and which are about to be removed. */
function marking(storage: Storage, recorder: Recorder): Storage {
  return {
    ...storage,
    async write(name, content, signal) {
      await storage.write(name, content, signal)
      if (name.type === 'snapshot') recorder.mark(`published ${name.id}`)
    },
    async remove(name, signal) {
      if (name.type === 'snapshot') recorder.mark(`removing ${name.id}`)
      await storage.remove(name, signal)
    },
  }
}

function promisedBy(moments: Recording['moments'], base: readonly string[], cut: number): Promised {
  const snapshots = new Set(base)
  let ended = false
  for (const moment of moments.slice(0, cut)) {
    if (moment.at !== 'mark') continue
    const [verb, id = ''] = moment.mark.split(' ')
    if (verb === 'published') snapshots.add(id)
    if (verb === 'removing') snapshots.delete(id)
    if (verb === 'ended') ended = true
  }
  return { snapshots, ended }
}

/** Judges sampled states after sampled cuts, each once. Answers with those that are neither the beginning nor the end. */
async function cutAndJudge(
  test: TestContext,
  recording: Recording,
  base: readonly string[],
  name: string,
  judgeOne: (outcome: Outcome) => Promise<void>,
): Promise<Outcome[]> {
  const { moments } = recording
  const random = seededRandom(`${SEED} ${name}`)
  const seen = new Set<string>()
  const judged: Outcome[] = []
  const chosen = sample(moments.length + 1, CUTS, random)
  const others = sample(moments.length + 1, moments.length + 1, random).filter((cut) => !chosen.includes(cut))
  for (const cut of [...chosen, ...others]) {
    // Some samples lead to one and the same state again and again.
    if (judged.length >= FEWEST && others.includes(cut)) break
    const chances: [string, Chance][] = Object.entries(EXTREMES)
    for (let state = 0; state < STATES; state++) chances.push([`random state ${state}`, randomChance(random.next)])
    const promised = promisedBy(moments, base, cut)
    for (const [which, chance] of chances) {
      const state = cutPower(recording, cut, chance)
      const fingerprint = fingerprintOf(state) + JSON.stringify([...promised.snapshots, promised.ended])
      if (seen.has(fingerprint)) continue
      seen.add(fingerprint)
      try {
        await judgeOne({ state, promised })
      } catch (error) {
        throw new Error(`after ${cut} of ${moments.length} moments, ${which}: ${(error as Error).message}`, {
          cause: error,
        })
      }
      judged.push({ state, promised })
    }
  }
  assert.ok(judged.length >= FEWEST, `only ${judged.length} states differ`)
  test.diagnostic(`${judged.length} states judged, of ${moments.length} moments`)
  return judged.filter(({ promised }) => !promised.ended)
}

/** Some numbers below the limit, in order; the last one, where everything has ended, among them. */
function sample(limit: number, count: number, random: SeededRandom): number[] {
  if (count >= limit) return Array.from({ length: limit }, (_, number) => number)
  const chosen = new Set([limit - 1])
  while (chosen.size < count) chosen.add(random.below(limit))
  return [...chosen].sort((a, b) => a - b)
}

const hashes = new WeakMap<Buffer, string>()

function fingerprintOf(state: FolderContent): string {
  const lines = [...state].map(([path, bytes]) => {
    if (bytes === null) return path
    let digest = hashes.get(bytes)
    if (digest === undefined) {
      digest = hash('sha256', bytes)
      hashes.set(bytes, digest)
    }
    return `${path} ${digest}`
  })
  return hash('sha256', lines.sort().join('\n'))
}

/** `lost`: snapshots that were damaged before. */
async function judge(
  { state, promised }: Outcome,
  operation: RepositoryOperation,
  lost: ReadonlySet<string>,
): Promise<void> {
  const storage = await storageOf(state)
  const repository = await openAfter(storage, promised, operation)
  const { findings } = await checkRepository(repository, { readData: true })
  const known = operation.onDamaged ? ['pack-missing', 'blob-missing'] : []
  const errors = findings.filter(({ severity, code }) => severity === 'error' && !known.includes(code))
  assert.deepEqual(errors, [])
  const there = await snapshotsOf(repository)
  const ids = new Set<string>(there.map(({ id }) => id))
  for (const id of promised.snapshots) assert.ok(ids.has(id), `snapshot ${id} was published, and is gone`)
  if (!operation.onDamaged) return
  for (const { id, snapshot } of there) if (!lost.has(id)) await contentOf(repository, snapshot.tree)
}

async function openAfter(storage: Storage, promised: Promised, { name }: RepositoryOperation): Promise<Repository> {
  const opens = async (password: Buffer) => {
    try {
      return await openRepository(storage, { password })
    } catch (error) {
      if (error instanceof EngineError && error.code === 'WRONG_PASSWORD') return undefined
      throw error
    }
  }
  const [before, after] = [await opens(PASSWORD), await opens(NEW_PASSWORD)]
  const replaces = name === 'key passwd'
  if (!replaces || !after) assert.ok(before, 'the password does not open it')
  if (promised.ended && replaces) assert.equal(before, undefined, 'the old password came back')
  if (promised.ended && (replaces || name === 'key add')) assert.ok(after, 'the new password does not open it')
  return (before ?? after)!
}

async function snapshotsIn(content: FolderContent): Promise<string[]> {
  const repository = await openRepository(await storageOf(content), { password: PASSWORD })
  return (await snapshotsOf(repository)).map(({ id }) => id)
}

/** Snapshots that something is missing of. */
async function damagedOf(content: FolderContent): Promise<string[]> {
  const repository = await openRepository(await storageOf(content), { password: PASSWORD })
  const damaged: string[] = []
  for (const { id, snapshot } of await snapshotsOf(repository)) {
    await contentOf(repository, snapshot.tree).catch(() => damaged.push(id))
  }
  return damaged
}

/** restic finds no damage, the operation can be done again, and after a prune there is nothing to complain of. */
async function judgeByRestic(
  { state }: Outcome,
  location: string,
  scene: Scene,
  operation: RepositoryOperation,
): Promise<void> {
  mkdirSync(location)
  writeFolder(location, state)
  const storage = localStorage(location)
  const password = await openRepository(storage, { password: PASSWORD }).then(
    () => PASSWORD,
    () => NEW_PASSWORD,
  )
  const { status, stdout, stderr } = runRestic(['check', '--read-data', '--no-lock'], {
    repository: location,
    password,
  })
  if (!operation.onDamaged) assert.equal(status, 0, `${stdout}${stderr}`)

  await unlockRepository(await openRepository(storage, { password }), { all: true })
  const access = { location, password: async () => password }
  const isCopy = operation.name === 'copy'
  const inMemory = {
    location: 'memory',
    storage: await storageOf(isCopy ? scene.repository : scene.other),
    password: async () => PASSWORD,
  }
  // A pack that is gone by now cannot be repaired again.
  if (operation.name !== 'repair packs' || state.has(`data/${scene.pack.slice(0, 2)}/${scene.pack}`)) {
    const [from, to] = isCopy ? [inMemory, access] : [access, inMemory]
    const { outcome } = await operation.run({ scene, access: from, other: to, target: `${location}-target` })
    assert.equal(outcome, 'succeeded')
  }
  const now = operation.name === 'key passwd' ? NEW_PASSWORD : password
  await prune({ ...access, password: async () => now }, { maxUnused: { percent: 0 }, ...QUIET })
  expectClean(location, 'restic', now)
}
