import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import type { SnapshotId } from '../../src/engine/format/id.ts'
import { loadIndex } from '../../src/engine/repository/load-index.ts'
import { createRepository, type Repository } from '../../src/engine/repository/repository.ts'
import { pathOf } from '../../src/engine/storage/layout.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { repairIndex } from '../../src/operations/repository/repair-index.ts'
import { type Content, contents, expectUnchanged, makeHistory, snapshotsOf } from '../equipment/history.ts'
import { KILL_SEED, killSweep } from '../equipment/kill-sweep.ts'
import {
  FORGETTABLE,
  type KillableDetails,
  type KillableOperation,
  killableOperations,
} from '../equipment/killable-operations.ts'
import { expectNothingLost, expectSurvived, reopen, unlockKilled } from '../equipment/killed-repository.ts'
import { backUp } from '../equipment/path-operations.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { withoutRestic } from '../equipment/restic.ts'
import { expectClean } from '../equipment/restic-check.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { CHEAP_KDF, namesOf, PASSWORD, POLYNOMIAL } from '../equipment/test-repository.ts'

// kill -9 at moments all over maintenance. Whatever was cut short: the snapshots that nobody asked to forget hold what they held,
// restic finds nothing missing, and the same command, run again, comes to its end and leaves nothing to suggest.

const skip = withoutRestic()
const OPTIONS = { password: PASSWORD, kdf: CHEAP_KDF, polynomial: POLYNOMIAL }
const QUIET = { observe: () => {}, signal: new AbortController().signal }

interface Place extends Disposable {
  readonly folder: string
  readonly location: string
  readonly repository: Repository
  /** What no operation of these tests may touch. */
  readonly expected: ReadonlyMap<SnapshotId, Content>
}

/** A repository with snapshots that must stay, and among their packs what other snapshots of a changing folder left. */
async function makePlace({ forgettable = 3 } = {}): Promise<Place> {
  const base = temporaryFolder({ inMemory: true })
  const folder = join(base.path, 'work')
  const location = join(folder, 'repository')
  const source = join(base.path, 'changing')
  mkdirSync(folder)
  const repository = await createRepository(localStorage(location), OPTIONS)
  const expected = await contents(repository, await makeHistory(repository))
  for (let step = 0; step < forgettable; step++) {
    mkdirSync(source, { recursive: true })
    for (let file = 0; file < 5; file++) {
      writeFileSync(join(source, String((step + file) % 7)), randomBytes(20_000, `${step} ${file}`))
    }
    await backUp(location, [source], { host: FORGETTABLE })
  }
  return { folder, location, repository, expected, [Symbol.dispose]: () => base[Symbol.dispose]() }
}

/** A sweep over an operation that loses nothing at any moment: restic is content right after the kill. */
async function sweepSound(
  t: TestContext,
  place: Place,
  operation: KillableOperation,
  kills: { readonly full: number; readonly reduced: number },
  more: Partial<KillableDetails> & { readonly again?: () => Promise<void> } = {},
): Promise<void> {
  const { folder, location, expected } = place
  const { again, ...others } = more
  const details: KillableDetails = { repository: location, ...others }
  const touched = [location, ...(others.other === undefined ? [] : [others.other])]
  let judged = 0
  await killSweep(t, {
    operation,
    folder,
    details,
    kills,
    async judge() {
      await expectSurvived(location, expected)
      for (const other of touched.slice(1)) {
        await unlockKilled(other)
        await expectNothingLost(other)
      }
      if (judged++ % 2 !== 0) return
      await (again?.() ?? killableOperations[operation](details))
      for (const each of touched) await expectNothingLost(each)
      await expectUnchanged(await reopen(location), expected)
    },
  })
}

async function snapshotIdsOf({ repository }: Place): Promise<SnapshotId[]> {
  const forgettable = (await snapshotsOf(repository)).filter(({ snapshot }) => snapshot.hostname === FORGETTABLE)
  return forgettable.map(({ id }) => id)
}

/** Holds that the other repository has everything that the place holds, whatever the copies are called. */
async function expectAllCopied({ expected }: Place, other: string): Promise<void> {
  const repository = await reopen(other)
  const copies = await contents(repository, await snapshotsOf(repository))
  const held = new Set([...copies.values()].map((content) => JSON.stringify(content)))
  for (const [id, content] of expected) assert.ok(held.has(JSON.stringify(content)), `${id} is not in the copy`)
}

/** A pack with content that few snapshots need, and the snapshots that do without it. */
async function packOfOneSnapshot({ repository, expected }: Place) {
  const { index } = await loadIndex(repository)
  const wanted = [...expected.values()].at(-1)!['/data/only-005']![0]!
  for (const { id, blobs } of index.packs()) {
    if (!blobs.some((blob) => blob.id === wanted)) continue
    const inside = new Set(blobs.map((blob) => blob.id))
    const others = new Map(
      [...expected].filter(
        ([, content]) => !Object.values(content).some((ids) => ids.some((blob) => inside.has(blob))),
      ),
    )
    assert.ok(others.size >= 3 && others.size < expected.size, `${others.size} snapshots do without pack ${id}`)
    return { pack: id, others }
  }
  throw new Error(`No pack holds ${wanted}`)
}

const named = (what: string) => `loses nothing when ${what} is killed (HOLDFAST_SEED=${KILL_SEED})`

describe('maintenance', { concurrency: 3, skip }, () => {
  it(named('a prune'), async (t) => {
    using place = await makePlace()
    const [oldest, newer] = await snapshotIdsOf(place)
    for (const id of [oldest!, newer!]) await place.repository.storage.remove({ type: 'snapshot', id })
    await sweepSound(t, place, 'prune', { full: 130, reduced: 5 })
  })

  it(named('forget --prune'), async (t) => {
    using place = await makePlace()
    // What was forgotten before the kill is not forgotten again, so a prune has to end what was begun.
    const again = async () => {
      await killableOperations.forget({ repository: place.location })
      await killableOperations.prune({ repository: place.location })
      expectClean(place.location)
    }
    await sweepSound(t, place, 'forget', { full: 100, reduced: 3 }, { again })
  })

  it(named('a copy'), async (t) => {
    using place = await makePlace()
    const other = join(place.folder, 'other')
    const copied = await createRepository(localStorage(other), OPTIONS)
    const there = await contents(copied, await makeHistory(copied, { seed: 'another', snapshots: 2 }))
    const again = async () => {
      await killableOperations.copy({ repository: place.location, other })
      await expectUnchanged(await reopen(other), there)
      await expectAllCopied(place, other)
    }
    await sweepSound(t, place, 'copy', { full: 130, reduced: 5 }, { other, again })
  })

  it(named('a change of tags'), async (t) => {
    using place = await makePlace()
    await sweepSound(t, place, 'tag', { full: 30, reduced: 2 })
  })

  it(named('a repair of a sound index'), async (t) => {
    using place = await makePlace()
    await sweepSound(t, place, 'repair index', { full: 40, reduced: 2 })
  })

  it(named('the repair of a damaged index'), async (t) => {
    using place = await makePlace()
    const [first, second] = await namesOf(place.repository.storage, 'index')
    await place.repository.storage.remove({ type: 'index', id: first! })
    writeFileSync(join(place.location, pathOf({ type: 'index', id: second! })), 'no index', { flag: 'w' })
    await killSweep(t, {
      operation: 'repair index',
      folder: place.folder,
      details: { repository: place.location },
      kills: { full: 40, reduced: 3 },
      async judge() {
        await unlockKilled(place.location)
        await repairIndex({ location: place.location, password: async () => PASSWORD }, QUIET)
        await expectNothingLost(place.location)
        await expectUnchanged(await reopen(place.location), place.expected)
      },
    })
  })

  it(named('a repair of sound packs'), async (t) => {
    using place = await makePlace()
    const { index } = await loadIndex(place.repository)
    const packs = [...index.packs()].map(({ id }) => id).slice(0, 8)
    // Packs that are gone cannot be named again; what is left to say of them is nothing.
    const again = async () => {
      const left = new Set(await namesOf(place.repository.storage, 'pack'))
      const known = (await loadIndex(await reopen(place.location))).index
      const remaining = packs.filter((id) => left.has(id) || known.hasPack(id))
      if (remaining.length > 0)
        await killableOperations['repair packs']({ repository: place.location, packs: remaining })
    }
    await sweepSound(t, place, 'repair packs', { full: 40, reduced: 2 }, { packs, again })
  })

  it(named('the repair of a damaged pack'), async (t) => {
    using place = await makePlace()
    const { pack, others } = await packOfOneSnapshot(place)
    const path = join(place.location, pathOf({ type: 'pack', id: pack }))
    const bytes = readFileSync(path)
    bytes[20]! ^= 1
    rmSync(path)
    writeFileSync(path, bytes)
    await killSweep(t, {
      operation: 'repair packs',
      folder: place.folder,
      details: { repository: place.location, packs: [pack] },
      kills: { full: 30, reduced: 2 },
      async judge() {
        await unlockKilled(place.location)
        await expectUnchanged(await reopen(place.location), others)
        const repository = await reopen(place.location)
        const isKnown = (await loadIndex(repository)).index.hasPack(pack)
        const isThere = (await namesOf(repository.storage, 'pack')).includes(pack)
        if (isKnown || isThere) await killableOperations['repair packs']({ repository: place.location, packs: [pack] })
        await killableOperations['repair snapshots']({ repository: place.location })
        await expectNothingLost(place.location)
        await expectUnchanged(await reopen(place.location), others)
      },
    })
  })

  it(named('the repair of snapshots'), async (t) => {
    using place = await makePlace()
    const { pack, others } = await packOfOneSnapshot(place)
    await place.repository.storage.remove({ type: 'pack', id: pack })
    await repairIndex({ location: place.location, password: async () => PASSWORD }, QUIET)
    await killSweep(t, {
      operation: 'repair snapshots',
      folder: place.folder,
      details: { repository: place.location },
      kills: { full: 50, reduced: 3 },
      async judge() {
        await unlockKilled(place.location)
        await expectUnchanged(await reopen(place.location), others)
        await killableOperations['repair snapshots']({ repository: place.location })
        await expectNothingLost(place.location)
        await expectUnchanged(await reopen(place.location), others)
      },
    })
  })
})
