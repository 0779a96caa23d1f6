import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { contents, expectSound, expectUnchanged, makeHistory, snapshotsOf } from '../../../test/equipment/history.ts'
import { randomBytes } from '../../../test/equipment/random-bytes.ts'
import {
  namesOf,
  overwrite,
  snapshotOf,
  storeBlobs,
  testRepository,
  through,
} from '../../../test/equipment/test-repository.ts'
import { treeNode } from '../../../test/equipment/tree-node.ts'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type IndexId, type PackId } from '../format/id.ts'
import { encodeIndexFile, parseIndexFile } from '../format/index-file.ts'
import { seal } from '../format/master-key.ts'
import { encodeTree } from '../format/tree.ts'
import { withFaults } from '../storage/faults.ts'
import { memoryStorage } from '../storage/memory.ts'
import type { Storage } from '../storage/storage.ts'
import { applyPrune } from './apply-prune.ts'
import { BlobWriter } from './blob-writer.ts'
import { loadIndex } from './load-index.ts'
import { type PruneOptions, planPrune } from './plan-prune.ts'
import type { PrunePlan } from './prune-plan.ts'
import type { Repository } from './repository.ts'
import { writeSnapshot } from './snapshots.ts'
import { readUnpacked, writeUnpacked } from './unpacked-files.ts'
import { findUsedBlobs } from './used-blobs.ts'

/** There are many reads, and one is much like the next. */
const STRIDE = process.env.HOLDFAST_FULL === '1' ? 1 : 4

async function prune(repository: Repository, options: PruneOptions = {}): Promise<PrunePlan> {
  const indexed = await loadIndex(repository)
  const plan = await planPrune(indexed, options)
  await applyPrune(indexed, plan)
  return plan
}

/** Every file but locks, to see whether anything changed. */
async function filesOf(storage: Storage): Promise<string[]> {
  const names: string[] = []
  for (const type of ['config', 'key', 'snapshot', 'index', 'pack'] as const) {
    for await (const { name, size } of storage.list(type)) names.push(`${type} ${name.id} ${size}`)
  }
  return names.sort()
}

async function forgetSome(repository: Repository, which: (number: number) => boolean): Promise<void> {
  const snapshots = (await snapshotsOf(repository)).sort((a, b) => (a.snapshot.time.ns < b.snapshot.time.ns ? -1 : 1))
  for (const [number, { id }] of snapshots.entries())
    if (which(number)) await repository.storage.remove({ type: 'snapshot', id })
}

/** Blobs that are stored, and how many of them no snapshot needs, copies counted. */
async function useOf(
  repository: Repository,
): Promise<{ stored: number; used: number; unusedBytes: number; usedBytes: number }> {
  const indexed = await loadIndex(repository)
  const roots = (await snapshotsOf(repository)).map(({ snapshot }) => snapshot.tree)
  const used = await findUsedBlobs(indexed, roots)
  const seen = new Set<string>()
  const use = { stored: 0, used: used.size, unusedBytes: 0, usedBytes: 0 }
  for (const { blobs } of indexed.index.packs()) {
    for (const { type, id, length } of blobs) {
      use.stored += 1
      const counts = used.has(type, id) && !seen.has(type + id)
      seen.add(type + id)
      use[counts ? 'usedBytes' : 'unusedBytes'] += length
    }
  }
  return use
}

describe('a prune', () => {
  it('leaves every snapshot as it was, whatever is forgotten and tolerated, and no more unused than may be', async () => {
    const options = fc.record({
      maxUnused: fc.constantFrom(
        { percent: 0 },
        { percent: 5 },
        { percent: 60 },
        { bytes: 3000 },
        'unlimited' as const,
      ),
      smallerThan: fc.constantFrom(undefined, 1, 20_000),
      maxRepackSize: fc.constantFrom(undefined, undefined, 0, 20_000),
    })
    await fc.assert(
      fc.asyncProperty(
        options,
        fc.integer({ min: 0, max: 255 }),
        fc.constantFrom(1 as const, 2 as const),
        async (options, forget, version) => {
          const repository = await testRepository({ version })
          await makeHistory(repository, { snapshots: 8 })
          await forgetSome(repository, (number) => ((forget >> number) & 1) === 1)
          const before = await contents(repository, await snapshotsOf(repository))
          const { totals } = await prune(repository, options)
          await expectUnchanged(repository, before)
          await expectSound(repository)
          const use = await useOf(repository)
          assert.equal(use.unusedBytes, totals.bytes.remainingUnused)
          assert.equal(use.usedBytes + use.unusedBytes, totals.bytes.remaining)
          if (options.maxRepackSize !== undefined) return
          const { maxUnused } = options
          if (maxUnused === 'unlimited') return
          const limit =
            'bytes' in maxUnused ? maxUnused.bytes : (maxUnused.percent / (100 - maxUnused.percent)) * use.usedBytes
          assert.ok(use.unusedBytes <= limit, `${use.unusedBytes} of at most ${limit}`)
        },
      ),
      { numRuns: 15 },
    )
  })

  it('without snapshots removes every pack and index', async () => {
    const repository = await testRepository()
    await makeHistory(repository, { snapshots: 3 })
    await forgetSome(repository, () => true)
    await prune(repository)
    assert.deepEqual([await namesOf(repository.storage, 'pack'), await namesOf(repository.storage, 'index')], [[], []])
  })

  it('has nothing to do the second time', async () => {
    const repository = await testRepository()
    await makeHistory(repository)
    await forgetSome(repository, (number) => number < 3)
    await prune(repository, { maxUnused: { percent: 0 } })
    const before = await filesOf(repository.storage)
    const plan = await prune(repository, { maxUnused: { percent: 0 } })
    assert.deepEqual(
      plan.packs.filter(({ action }) => action !== 'keep'),
      [],
    )
    assert.deepEqual(await filesOf(repository.storage), before)
  })

  it('moves sealed blobs as they are', async () => {
    const repository = await testRepository()
    const { repository: indexed, ids } = await storeBlobs(repository, [
      ['data', randomBytes(5000, 1)],
      ['data', randomBytes(5000, 2)],
    ])
    const [kept] = ids
    const { id: tree } = await storeTree(
      repository,
      encodeTree([treeNode('file', 'file', { content: [kept!], size: 5000 })]),
    )
    await writeSnapshot(repository, snapshotOf(tree))
    const sealedAt = async (loaded: typeof indexed) => {
      const { pack, offset, length } = loaded.index.find('data', kept!)!
      return { pack, bytes: await repository.storage.read({ type: 'pack', id: pack }, { offset, length }) }
    }
    const before = await sealedAt(indexed)
    await prune(repository, { maxUnused: { percent: 0 } })
    const after = await sealedAt(await loadIndex(repository))
    assert.notEqual(after.pack, before.pack)
    assert.ok(after.bytes.equals(before.bytes))
    await expectSound(repository)
  })

  it('keeps one of several copies, and takes an intact one when another is damaged', async () => {
    const repository = await testRepository()
    const [snapshot] = await makeHistory(repository, { snapshots: 1 })
    const before = await contents(repository, [snapshot!])
    // All blobs once more, in one pack per type, with something that nobody needs.
    const indexed = await loadIndex(repository)
    const writer = new BlobWriter(indexed)
    for (const { blobs, id: pack } of [...indexed.index.packs()]) {
      for (const { type, id, offset, length, uncompressedLength } of blobs) {
        const bytes = await repository.storage.read({ type: 'pack', id: pack }, { offset, length })
        await writer.saveSealed({ type, id, bytes, uncompressedLength }, { again: true })
      }
    }
    await writer.save('data', Buffer.from('needed by nobody'))
    await writer.finish()
    const duplicates = (await useOf(repository)).stored
    const pack = indexed.index.findAll(
      'data',
      [...indexed.index.packs()].flatMap(({ blobs }) => blobs).find(({ type }) => type === 'data')!.id,
    )[1]!.pack
    const bytes = await repository.storage.read({ type: 'pack', id: pack })
    bytes[20]! ^= 1
    await overwrite(repository.storage, { type: 'pack', id: pack }, bytes)
    await prune(repository, { maxUnused: { percent: 0 } })
    await expectUnchanged(repository, before)
    const use = await useOf(repository)
    assert.deepEqual([use.stored, use.stored * 2 + 1], [use.used, duplicates])
  })

  it('removes packs that no index names, and forgets those that are not there and not needed', async () => {
    const repository = await testRepository()
    await makeHistory(repository, { snapshots: 2 })
    const before = await contents(repository, await snapshotsOf(repository))
    const { packs } = await storeBlobs(repository, [['data', 'gone, and nobody needs it']])
    await repository.storage.remove({ type: 'pack', id: packs[0]! })
    const stray = randomBytes(1000, 'stray')
    await repository.storage.write({ type: 'pack', id: hashId<PackId>(stray) }, stray)
    const plan = await prune(repository)
    assert.deepEqual(
      plan.packs
        .map(({ action }) => action)
        .filter((action) => action !== 'keep')
        .sort(),
      ['forget-missing', 'remove-unindexed'],
    )
    await expectSound(repository)
    await expectUnchanged(repository, before)
  })

  it('compresses trees that were stored raw, and data when it is asked to', async () => {
    const repository = await testRepository()
    const nodes = [
      treeNode('file', 'file', { content: [hashId<BlobId>(Buffer.from('text '.repeat(500)))], size: 2500 }),
    ]
    for (const [type, content] of [
      ['data', 'text '.repeat(500)],
      ['tree', encodeTree(nodes)],
    ] as const) {
      const plaintext = Buffer.from(content)
      const writer = new BlobWriter(await loadIndex(repository))
      await writer.saveSealed({
        type,
        id: hashId(plaintext),
        bytes: seal(repository.masterKey, plaintext),
        uncompressedLength: undefined,
      })
      await writer.finish()
    }
    await writeSnapshot(repository, snapshotOf(hashId<BlobId>(encodeTree(nodes))))
    const rawBlobs = async () =>
      [...(await loadIndex(repository)).index.packs()]
        .flatMap(({ blobs }) => blobs)
        .filter((blob) => blob.uncompressedLength === undefined)
    await prune(repository)
    assert.deepEqual(
      (await rawBlobs()).map(({ type }) => type),
      ['data'],
    )
    await prune(repository, { repackUncompressed: true })
    assert.deepEqual(await rawBlobs(), [])
    await expectSound(repository)
  })

  it('refuses to compress in a version that cannot, and to call ordinary packs small', async () => {
    const indexed = await loadIndex(await testRepository({ version: 1 }))
    await assert.rejects(planPrune(indexed, { repackUncompressed: true }), { code: 'UNSUPPORTED' })
    await assert.rejects(planPrune(indexed, { smallerThan: 17 * 1024 * 1024 }), { code: 'REFUSED' })
  })
})

describe('a prune removes nothing when', () => {
  async function refused(damage: (repository: Repository) => Promise<void>, code: string): Promise<void> {
    const repository = await testRepository()
    await makeHistory(repository)
    await forgetSome(repository, (number) => number < 3)
    await damage(repository)
    const before = await filesOf(repository.storage)
    await assert.rejects(prune(repository), { code })
    assert.deepEqual(await filesOf(repository.storage), before)
  }

  const flip = async (repository: Repository, type: 'snapshot' | 'index' | 'pack', id: string) => {
    const bytes = await repository.storage.read({ type, id })
    bytes[bytes.length >> 1]! ^= 1
    await overwrite(repository.storage, { type, id }, bytes)
  }

  it('a snapshot cannot be read', () =>
    refused(
      async (repository) => flip(repository, 'snapshot', (await namesOf(repository.storage, 'snapshot'))[0]!),
      'CORRUPT',
    ))

  it('an index file cannot be read', () =>
    refused(
      async (repository) => flip(repository, 'index', (await namesOf(repository.storage, 'index'))[0]!),
      'CORRUPT',
    ))

  it('an index file is missing', () =>
    refused(async (repository) => {
      const { index } = await loadIndex(repository)
      const [{ snapshot }] = (await snapshotsOf(repository)) as [Awaited<ReturnType<typeof snapshotsOf>>[0]]
      const { pack } = index.find('tree', snapshot.tree)!
      for (const id of (await namesOf(repository.storage, 'index')) as IndexId[]) {
        const packs = parseIndexFile(await readUnpacked(repository, 'index', id), 2)
        if (packs.some((entry) => entry.id === pack)) await repository.storage.remove({ type: 'index', id })
      }
    }, 'NOT_FOUND'))

  it('an index file was left out of the list while the index was loaded, though nothing in it is needed', async () => {
    const repository = await testRepository()
    await makeHistory(repository, { snapshots: 2 })
    const before = new Set(await namesOf(repository.storage, 'index'))
    await storeBlobs(repository, [['data', 'needed by nobody']])
    const files = await filesOf(repository.storage)
    let lists = 0
    const forgetful: Storage = {
      ...repository.storage,
      async *list(type, signal) {
        const leavesOut = type === 'index' && lists++ === 0
        for await (const file of repository.storage.list(type, signal)) {
          if (!leavesOut || before.has(file.name.id)) yield file
        }
      },
    }
    const indexed = await loadIndex(through(repository, forgetful))
    await assert.rejects(
      planPrune(indexed).then((plan) => applyPrune(indexed, plan)),
      { code: 'REFUSED' },
    )
    assert.deepEqual(await filesOf(repository.storage), files)
  })

  it('a tree cannot be read', () =>
    refused(async (repository) => {
      const { index } = await loadIndex(repository)
      const [first] = await snapshotsOf(repository)
      const { pack, offset } = index.find('tree', first!.snapshot.tree)!
      const bytes = await repository.storage.read({ type: 'pack', id: pack })
      bytes[offset + 20]! ^= 1
      await overwrite(repository.storage, { type: 'pack', id: pack }, bytes)
    }, 'CORRUPT'))

  const packOf = async (repository: Repository, name: string): Promise<PackId> => {
    const indexed = await loadIndex(repository)
    const data = [...indexed.index.packs()].find(({ blobs }) =>
      blobs.some(({ id }) => id === hashId(randomBytes(700, `history ${name} 0 0`))),
    )
    return data!.id
  }

  it('a blob that is needed is in no index', () =>
    refused(async (repository) => {
      const pack = await packOf(repository, 'always')
      for (const id of (await namesOf(repository.storage, 'index')) as IndexId[]) {
        const packs = parseIndexFile(await readUnpacked(repository, 'index', id), 2)
        if (!packs.some((entry) => entry.id === pack)) continue
        await repository.storage.remove({ type: 'index', id })
        await writeUnpacked(repository, 'index', encodeIndexFile(packs.filter((entry) => entry.id !== pack)))
      }
    }, 'CORRUPT'))

  it('a pack that is needed is missing', () =>
    refused(
      async (repository) => repository.storage.remove({ type: 'pack', id: await packOf(repository, 'always') }),
      'CORRUPT',
    ))

  it('a pack that is needed has another size', () =>
    refused(async (repository) => {
      const name = { type: 'pack', id: await packOf(repository, 'always') } as const
      const bytes = await repository.storage.read(name)
      await overwrite(repository.storage, name, bytes.subarray(0, -1))
    }, 'CORRUPT'))

  it('a blob that has to be moved is damaged', async () => {
    const repository = await testRepository()
    await makeHistory(repository)
    await forgetSome(repository, (number) => number < 3)
    const indexed = await loadIndex(repository)
    const plan = await planPrune(indexed, { maxUnused: { percent: 0 } })
    const moved = plan.packs.find(
      ({ action, copy, kind }) => action === 'repack' && kind === 'data' && copy!.length > 0,
    )!
    const { offset } = indexed.index.packBlobs(moved.pack)![moved.copy![0]!]!
    const bytes = await repository.storage.read({ type: 'pack', id: moved.pack })
    bytes[offset + 20]! ^= 1
    await overwrite(repository.storage, { type: 'pack', id: moved.pack }, bytes)
    const before = await namesOf(repository.storage, 'pack')
    await assert.rejects(applyPrune(indexed, plan), { code: 'CORRUPT' })
    const after = new Set(await namesOf(repository.storage, 'pack'))
    assert.ok(before.every((id) => after.has(id)))
  })

  it('somebody wrote a snapshot since the plan was made, in spite of the lock', async () => {
    const repository = await testRepository()
    const [, , third] = await makeHistory(repository)
    await forgetSome(repository, (number) => number < 3)
    const indexed = await loadIndex(repository)
    const plan = await planPrune(indexed)
    await writeSnapshot(repository, third!.snapshot)
    const before = await filesOf(repository.storage)
    await assert.rejects(applyPrune(indexed, plan), { code: 'REFUSED' })
    assert.deepEqual(await filesOf(repository.storage), before)
  })
})

describe('whichever call to the storage goes wrong during a prune', () => {
  const calls = [
    ...(['list', 'read', 'write', 'remove'] as const).flatMap((on) =>
      ['fail', 'lose-answer'].map((effect) => ({ on, effect: effect as 'fail' })),
    ),
    { on: 'list', effect: 'short' },
    { on: 'read', effect: 'short' },
    { on: 'read', effect: 'flip' },
  ] as const

  for (const { on, effect } of calls) {
    it(`${on} with ${effect}: no snapshot is lost, and the next prune puts everything in order`, async () => {
      let fired = 0
      for (let nth = 1; ; nth += on === 'read' ? STRIDE : 1) {
        const storage = memoryStorage()
        const repository = await testRepository({ storage })
        await makeHistory(repository, { snapshots: 4 })
        await forgetSome(repository, (number) => number < 2)
        const before = await contents(repository, await snapshotsOf(repository))
        const faulty = withFaults(storage, [{ on, effect, nth }])
        const outcome = await pruneThrough(repository, faulty)
        if (faulty.fired[0] === 0) break
        fired += 1
        await expectUnchanged(repository, before)
        // What an interruption leaves behind is extra, never less; an answer that was short in silence may leave an index too many.
        if (effect !== 'short') await expectSound(repository, ['pack-unindexed', 'index-duplicate'])
        await prune(repository, { maxUnused: { percent: 0 } })
        await expectUnchanged(repository, before)
        await expectSound(repository)
        // What is read can be read again; what was to be written or removed and was not, is said.
        if (effect === 'fail' && on !== 'read') assert.notEqual(outcome, 'done')
      }
      assert.ok(fired > 0)
    })
  }
})

it('a pack that the storage does not hand out as it was written takes the place of none', async () => {
  for (const effect of ['short', 'flip'] as const) {
    const repository = await testRepository()
    await makeHistory(repository, { snapshots: 4 })
    await forgetSome(repository, (number) => number < 2)
    const before = await contents(repository, await snapshotsOf(repository))
    const faulty = withFaults(repository.storage, [{ on: 'write', type: 'pack', nth: 1, effect }])
    const indexed = await loadIndex(through(repository, faulty))
    const plan = await planPrune(indexed, { maxUnused: { percent: 0 } })
    await assert.rejects(applyPrune(indexed, plan), { code: 'STORAGE' })
    assert.equal(faulty.fired[0], 1)
    await expectUnchanged(repository, before)
    await expectSound(repository)
  }
})

async function pruneThrough(repository: Repository, storage: Storage): Promise<'done' | 'left behind' | 'failed'> {
  try {
    const indexed = await loadIndex(through(repository, storage))
    const report = await applyPrune(indexed, await planPrune(indexed, { maxUnused: { percent: 0 } }))
    return report.leftBehind.length > 0 ? 'left behind' : 'done'
  } catch (error) {
    assert.ok(error instanceof EngineError, `${error}`)
    return 'failed'
  }
}

async function storeTree(repository: Repository, bytes: Buffer): Promise<{ id: BlobId }> {
  const { ids } = await storeBlobs(repository, [['tree', bytes]])
  return { id: ids[0]! }
}
