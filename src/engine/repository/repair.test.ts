import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  contentOf,
  contents,
  expectSound,
  expectUnchanged,
  makeHistory,
  snapshotsOf,
} from '../../../test/equipment/history.ts'
import { randomBytes } from '../../../test/equipment/random-bytes.ts'
import {
  namesOf,
  overwrite,
  snapshotOf,
  storeBlobs,
  testRepository,
  through,
} from '../../../test/equipment/test-repository.ts'
import { folderNode, treeNode, uncheckedTree } from '../../../test/equipment/tree-node.ts'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type IndexId, type PackId } from '../format/id.ts'
import { encodeIndexFile, parseIndexFile } from '../format/index-file.ts'
import { encodeTree } from '../format/tree.ts'
import { type Fault, withFaults } from '../storage/faults.ts'
import { memoryStorage } from '../storage/memory.ts'
import type { Storage } from '../storage/storage.ts'
import { applyPrune } from './apply-prune.ts'
import { loadIndex } from './load-index.ts'
import { planPrune } from './plan-prune.ts'
import { readTree } from './read-blob.ts'
import { applyRepairIndex, planRepairIndex, type RepairIndexReport } from './repair-index.ts'
import { applyRepairPacks, planRepairPacks, type RepairPacksPlan } from './repair-packs.ts'
import {
  applyRepairSnapshots,
  planRepairSnapshots,
  type RepairSnapshotsOptions,
  type RepairSnapshotsPlan,
} from './repair-snapshots.ts'
import type { Repository } from './repository.ts'
import { type StoredSnapshot, writeSnapshot } from './snapshots.ts'
import { readUnpacked, writeUnpacked } from './unpacked-files.ts'

async function repairIndex(repository: Repository, readAllPacks = false): Promise<RepairIndexReport> {
  return applyRepairIndex(repository, await planRepairIndex(repository, { readAllPacks }))
}

async function repairPacks(repository: Repository, ids: readonly PackId[]): Promise<RepairPacksPlan> {
  const indexed = await loadIndex(repository)
  const plan = await planRepairPacks(indexed, ids)
  await applyRepairPacks(indexed, plan)
  return plan
}

async function repairSnapshots(
  repository: Repository,
  options: RepairSnapshotsOptions = {},
): Promise<RepairSnapshotsPlan> {
  const indexed = await loadIndex(repository)
  const plan = await planRepairSnapshots(indexed, options)
  await applyRepairSnapshots(indexed, plan)
  return plan
}

async function prune(repository: Repository): Promise<void> {
  const indexed = await loadIndex(repository)
  await applyPrune(indexed, await planPrune(indexed))
}

async function history(storage: Storage = memoryStorage()) {
  const repository = await testRepository({ storage })
  const snapshots = await makeHistory(repository, { snapshots: 4 })
  return { repository, snapshots, before: await contents(repository, snapshots) }
}

/** The pack with the first blob of a file of the history. */
async function packOf(repository: Repository, name: string): Promise<PackId> {
  const id = hashId<BlobId>(randomBytes(700, `history ${name} 0 0`))
  return (await loadIndex(repository)).index.find('data', id)!.pack
}

async function change(repository: Repository, pack: PackId, edit: (bytes: Buffer) => Buffer): Promise<void> {
  const name = { type: 'pack', id: pack } as const
  await overwrite(repository.storage, name, edit(await repository.storage.read(name)))
}

const flipAt = (at: number) => (bytes: Buffer) => {
  bytes[at < 0 ? bytes.length + at : at]! ^= 1
  return bytes
}

describe('repairing the index', () => {
  it('has nothing to do for one that is whole and in one file', async () => {
    const { repository } = await history()
    await repairIndex(repository)
    const plan = await planRepairIndex(repository)
    assert.deepEqual([plan.isNeeded, plan.read, plan.missing, plan.duplicates], [false, [], [], 0])
  })

  it('finds every pack again when all index files are lost', async () => {
    const { repository, before } = await history()
    for (const id of await namesOf(repository.storage, 'index')) await repository.storage.remove({ type: 'index', id })
    const report = await repairIndex(repository)
    assert.equal(report.indexed, (await namesOf(repository.storage, 'pack')).length)
    await expectSound(repository)
    await expectUnchanged(repository, before)
  })

  it('replaces a damaged file, forgets packs that are not there, and takes double entries out', async () => {
    const { repository, before } = await history()
    const [first, second] = (await namesOf(repository.storage, 'index')) as IndexId[]
    const packs = parseIndexFile(await readUnpacked(repository, 'index', second!), 2)
    const gone = {
      id: hashId<PackId>(Buffer.from('gone')),
      blobs: packs[0]!.blobs.map((blob) => ({ ...blob, id: hashId<BlobId>(Buffer.from(blob.id)) })),
    }
    await writeUnpacked(repository, 'index', encodeIndexFile([...packs, gone]))
    const bytes = await repository.storage.read({ type: 'index', id: first! })
    await overwrite(repository.storage, { type: 'index', id: first! }, bytes.subarray(1))
    const plan = await planRepairIndex(repository)
    assert.deepEqual(
      [plan.damaged.map(({ id }) => id), plan.missing, plan.duplicates],
      [[first], [gone.id], packs.length],
    )
    await applyRepairIndex(repository, plan)
    await expectSound(repository)
    await expectUnchanged(repository, before)
  })

  it('believes the packs, not the index, when all packs are read', async () => {
    const { repository, before } = await history()
    const [file] = (await namesOf(repository.storage, 'index')) as IndexId[]
    const packs = parseIndexFile(await readUnpacked(repository, 'index', file!), 2)
    const wrong = packs.map(({ id, blobs }) => ({
      id,
      blobs: blobs.map((blob) => ({ ...blob, id: hashId<BlobId>(Buffer.from(blob.id)) })),
    }))
    await repository.storage.remove({ type: 'index', id: file! })
    await writeUnpacked(repository, 'index', encodeIndexFile(wrong))
    await repairIndex(repository)
    await assert.rejects(expectUnchanged(repository, before))
    await repairIndex(repository, true)
    await expectSound(repository)
    await expectUnchanged(repository, before)
  })

  it('keeps what the index says of a pack whose header is lost, for the packs to be repaired', async () => {
    const { repository, before } = await history()
    const pack = await packOf(repository, 'always')
    await change(repository, pack, flipAt(-10))
    const report = await repairIndex(repository, true)
    assert.deepEqual(
      report.unreadable.map((one) => one.pack),
      [pack],
    )
    const { packs } = await repairPacks(repository, [pack])
    assert.deepEqual(packs[0]!.lost, [])
    await expectSound(repository)
    await expectUnchanged(repository, before)
  })

  it('leaves out what is no pack at all', async () => {
    const { repository, before } = await history()
    const stray = randomBytes(500, 'stray')
    await repository.storage.write({ type: 'pack', id: hashId(stray) }, stray)
    const report = await repairIndex(repository)
    assert.equal(report.unreadable.length, 1)
    await prune(repository)
    await expectSound(repository)
    await expectUnchanged(repository, before)
  })

  it('changes nothing when a pack is there and cannot be had', async () => {
    const { repository } = await history()
    const pack = await packOf(repository, 'always')
    await change(repository, pack, (bytes) => Buffer.concat([bytes, Buffer.of(0)]))
    const files = await namesOf(repository.storage, 'index')
    const faulty = withFaults(repository.storage, [{ on: 'read', type: 'pack', effect: 'fail' }])
    await assert.rejects(repairIndex(through(repository, faulty)), { code: 'STORAGE' })
    assert.deepEqual(await namesOf(repository.storage, 'index'), files)
  })
})

describe('repairing packs', () => {
  it('salvages every blob but the damaged one', async () => {
    const { repository, before } = await history()
    const pack = await packOf(repository, 'always')
    const { index } = await loadIndex(repository)
    const [damaged, ...intact] = index.packBlobs(pack)!
    await change(repository, pack, flipAt(damaged!.offset + 20))
    const plan = await repairPacks(repository, [pack])
    assert.deepEqual(plan.packs, [{ pack, isThere: true, salvage: intact, lost: [damaged] }])
    const after = await loadIndex(repository)
    assert.ok(!after.index.hasPack(pack) && intact.every(({ type, id }) => after.index.has(type, id)))
    assert.ok(!(await namesOf(repository.storage, 'pack')).includes(pack))
    await expectSound(repository, ['blob-missing'])
    assert.ok(before.size > 0)
  })

  it('salvages what lies before the cut of a pack that was cut short', async () => {
    const { repository } = await history()
    const pack = await packOf(repository, 'always')
    const { index } = await loadIndex(repository)
    const blobs = index.packBlobs(pack)!
    await change(repository, pack, (bytes) => bytes.subarray(0, blobs.at(-1)!.offset + 5))
    const plan = await repairPacks(repository, [pack])
    assert.deepEqual(plan.packs[0]!.lost, [blobs.at(-1)])
  })

  it('salvages what only the header knows', async () => {
    const { repository, before } = await history()
    const pack = await packOf(repository, 'always')
    for (const id of (await namesOf(repository.storage, 'index')) as IndexId[]) {
      const packs = parseIndexFile(await readUnpacked(repository, 'index', id), 2)
      const without = packs.map((entry) => (entry.id === pack ? { ...entry, blobs: entry.blobs.slice(1) } : entry))
      await repository.storage.remove({ type: 'index', id })
      await writeUnpacked(repository, 'index', encodeIndexFile(without))
    }
    await repairPacks(repository, [pack])
    await expectSound(repository)
    await expectUnchanged(repository, before)
  })

  it('loses nothing that another pack has as well', async () => {
    const repository = await testRepository()
    const { packs } = await storeBlobs(repository, [['data', 'twice']])
    const indexFile = (await namesOf(repository.storage, 'index'))[0]!
    await repository.storage.remove({ type: 'index', id: indexFile })
    await storeBlobs(repository, [['data', 'twice']])
    await repairIndex(repository)
    await change(repository, packs[0]!, flipAt(20))
    assert.deepEqual((await repairPacks(repository, packs)).packs[0]!.lost, [])
    await expectSound(repository)
  })

  it('takes a pack out of the index that is not there', async () => {
    const { repository } = await history()
    const pack = await packOf(repository, 'only-002')
    await repository.storage.remove({ type: 'pack', id: pack })
    const plan = await repairPacks(repository, [pack])
    assert.ok(plan.packs[0]!.lost.length > 0 && !plan.packs[0]!.isThere)
    await expectSound(repository, ['blob-missing'])
  })

  it('rejects a pack that nobody knows', async () => {
    const { repository } = await history()
    await assert.rejects(repairPacks(repository, [hashId<PackId>(Buffer.from('unknown'))]), { code: 'NOT_FOUND' })
  })
})

describe('repairing snapshots', () => {
  async function withoutFile(): Promise<{
    repository: Repository
    snapshots: StoredSnapshot[]
    before: Awaited<ReturnType<typeof contents>>
  }> {
    const made = await history()
    const pack = await packOf(made.repository, 'only-002')
    await made.repository.storage.remove({ type: 'pack', id: pack })
    await repairIndex(made.repository)
    return made
  }

  it('finds nothing to do where nothing is missing', async () => {
    const { repository } = await history()
    const plan = await repairSnapshots(repository)
    assert.deepEqual([plan.repairs, plan.trees, plan.remove, plan.examined], [[], [], [], 4])
  })

  it('trims files, keeps the damaged snapshot and marks the repaired one', async () => {
    const { repository, snapshots, before } = await withoutFile()
    const plan = await repairSnapshots(repository)
    const damaged = plan.repairs.map((repair) => repair.before.id)
    assert.ok(damaged.includes(snapshots[2]!.id))
    assert.ok(
      plan.repairs[0]!.changes.some(({ path, change }) => path === '/data/only-002' && change === 'content-lost'),
    )
    const now = await snapshotsOf(repository)
    assert.equal(now.length, 4 + damaged.length)
    for (const { snapshot } of now.filter(({ id }) => !snapshots.some((old) => old.id === id))) {
      assert.deepEqual(snapshot.tags, ['repaired'])
      const was = before.get(snapshot.original!)!
      const is = await contentOf(repository, snapshot.tree)
      assert.deepEqual(Object.keys(is), Object.keys(was))
      for (const [path, blobs] of Object.entries(is))
        assert.ok(
          blobs.every((id) => was[path]!.includes(id)),
          path,
        )
      assert.notDeepEqual(is, was)
    }
    assert.deepEqual((await repairSnapshots(repository)).repairs, [], 'repaired again')
  })

  it('with forget leaves the repaired ones alone, and a sound repository', async () => {
    const { repository, snapshots } = await withoutFile()
    const plan = await repairSnapshots(repository, { forget: true })
    const now = await snapshotsOf(repository)
    assert.equal(now.length, 4)
    assert.ok(now.every(({ snapshot }) => snapshot.tags.length === 0))
    assert.deepEqual(
      now.flatMap(({ snapshot }) => snapshot.original ?? []).sort(),
      plan.repairs.map(({ before }) => before.id).sort(),
    )
    const intact = snapshots.filter(({ id }) => !plan.remove.includes(id))
    assert.ok(intact.every(({ id }) => now.some((stored) => stored.id === id)))
    await expectSound(repository)
  })

  it('changes nothing that it only plans', async () => {
    const { repository, snapshots } = await withoutFile()
    const plan = await planRepairSnapshots(await loadIndex(repository), { forget: true })
    assert.ok(plan.repairs.length > 0)
    assert.deepEqual((await snapshotsOf(repository)).length, snapshots.length)
  })

  it('empties a folder that cannot be read, and gives up a snapshot only when told', async () => {
    const { repository, snapshots } = await history()
    const indexed = await loadIndex(repository)
    const [first, second] = snapshots
    const folder = (await readTree(indexed, first!.snapshot.tree)).find(({ name }) => String(name) === 'data')!.subtree!
    for (const tree of [folder, second!.snapshot.tree]) {
      const { pack, offset } = indexed.index.find('tree', tree)!
      await change(repository, pack, flipAt(offset + 20))
    }
    const plan = await repairSnapshots(repository)
    const [emptied, lost] = plan.repairs
    assert.deepEqual(emptied!.changes, [{ path: '/data/', change: 'folder-emptied' }])
    assert.deepEqual([lost!.after, lost!.changes], [undefined, [{ path: '/', change: 'root-lost' }]])
    assert.deepEqual(plan.remove, [])
    assert.equal((await snapshotsOf(repository)).length, 5)
    const { remove } = await repairSnapshots(repository, { forget: true })
    assert.deepEqual(remove.toSorted(), [first!.id, second!.id].sort())
  })

  it('keeps the entries of a folder that can be read, in order and each once', async () => {
    const repository = await testRepository()
    const good = (name: string) => treeNode(name, 'file', { content: [], size: 0 })
    const odd = uncheckedTree([
      good('c'),
      good('b'),
      good('a'),
      good('b'),
      folderNode('d', hashId(Buffer.from('lost'))),
    ])
    const bytes = Buffer.from(odd.toString().replace('"name":"c","type":"file"', '"name":"c","type":"irregular"'))
    const { ids } = await storeBlobs(repository, [['tree', bytes]])
    await writeSnapshot(repository, snapshotOf(ids[0]!))
    const plan = await repairSnapshots(repository, { forget: true })
    assert.deepEqual(
      plan.repairs[0]!.changes.map(({ path, change }) => `${path} ${change}`),
      ['/d/ folder-emptied', '/ entries-dropped'],
    )
    const [repaired] = await snapshotsOf(repository)
    const nodes = await readTree(await loadIndex(repository), repaired!.snapshot.tree)
    assert.deepEqual(
      nodes.map(({ name }) => String(name)),
      ['a', 'b', 'd'],
    )
    await expectSound(repository)
  })

  it('corrects a size, and gives a file without content an empty one', async () => {
    const repository = await testRepository()
    const content = [hashId<BlobId>(Buffer.from('eleven byte'))]
    const tree = encodeTree([treeNode('none', 'file', { size: 5 }), treeNode('size', 'file', { content, size: 5 })])
    const { ids } = await storeBlobs(repository, [
      ['data', 'eleven byte'],
      ['tree', tree],
    ])
    await writeSnapshot(repository, snapshotOf(ids[1]!))
    const plan = await repairSnapshots(repository, { forget: true })
    assert.deepEqual(plan.repairs[0]!.changes, [
      { path: '/none', change: 'content-lost' },
      { path: '/size', change: 'size-corrected' },
    ])
    await expectSound(repository)
  })

  it('removes a snapshot file that cannot be read only when it is named and forgotten', async () => {
    const { repository, snapshots } = await history()
    const { id } = snapshots[1]!
    const bytes = await repository.storage.read({ type: 'snapshot', id })
    await overwrite(repository.storage, { type: 'snapshot', id }, bytes.subarray(1))
    for (const options of [{}, { forget: true }, { names: [id] }]) {
      const plan = await repairSnapshots(repository, options)
      assert.deepEqual([plan.unreadable.map((one) => one.id), plan.remove], [[id], []])
    }
    assert.deepEqual((await repairSnapshots(repository, { names: [id.slice(0, 12)], forget: true })).remove, [id])
    await expectSound(repository)
  })

  it('takes nothing for lost that the storage does not hand out', async () => {
    const { repository } = await history()
    const faulty = withFaults(repository.storage, [{ on: 'read', type: 'pack', nth: 2, effect: 'fail' }])
    await assert.rejects(repairSnapshots(through(repository, faulty), { forget: true }), { code: 'STORAGE' })
    assert.equal((await snapshotsOf(repository)).length, 4)
  })
})

describe('whichever call fails during a repair', () => {
  const repairs: Readonly<Record<string, (repository: Repository, pack: PackId) => Promise<unknown>>> = {
    index: (repository) => repairIndex(repository, true),
    packs: (repository, pack) => repairPacks(repository, [pack]),
    snapshots: (repository) => repairSnapshots(repository, { forget: true }),
  }
  for (const [name, repair] of Object.entries(repairs)) {
    it(`${name}: nothing is lost that was there, and the next one completes it`, async () => {
      for (const on of ['write', 'remove', 'list', 'read'] as const) {
        let fired = 0
        for (let nth = 1; ; nth += on === 'read' ? 5 : 1) {
          const { repository, snapshots, before } = await history()
          const pack = await packOf(repository, 'only-002')
          if (name === 'snapshots') {
            await repository.storage.remove({ type: 'pack', id: pack })
            await repairIndex(repository)
          }
          const sound = name === 'snapshots' ? await readable(repository, snapshots) : snapshots
          const fault: Fault = { on, nth, effect: nth % 2 ? 'fail' : 'lose-answer' }
          const faulty = withFaults(repository.storage, [fault])
          await repair(through(repository, faulty), pack).catch((error: unknown) =>
            assert.ok(error instanceof EngineError, `${error}`),
          )
          if (faulty.fired[0] === 0) break
          fired += 1
          const expected = new Map([...before].filter(([id]) => sound.some((stored) => stored.id === id)))
          await expectUnchanged(repository, expected)
          if (name !== 'packs' || (await namesOf(repository.storage, 'pack')).includes(pack))
            await repair(repository, pack)
          await repairIndex(repository)
          await expectUnchanged(repository, expected)
          await expectSound(repository, ['pack-unindexed'])
        }
        assert.ok(fired > 0, `${name} ${on}`)
      }
    })
  }

  /** Snapshots of which everything is there. */
  async function readable(repository: Repository, snapshots: readonly StoredSnapshot[]): Promise<StoredSnapshot[]> {
    const plan = await planRepairSnapshots(await loadIndex(repository))
    return snapshots.filter(({ id }) => !plan.repairs.some(({ before }) => before.id === id))
  }
})

describe('what is wrong for a moment costs nothing', () => {
  it('a list that leaves packs out: neither the index nor a repair of packs gives them up', async () => {
    const { repository, before } = await history()
    const leaving = () => withFaults(repository.storage, [{ on: 'list', type: 'pack', nth: 1, effect: 'short' }])
    let faulty = leaving()
    assert.equal((await repairIndex(through(repository, faulty), true)).missing, 0)
    assert.deepEqual(faulty.fired, [1])
    await expectUnchanged(repository, before)

    faulty = leaving()
    const packs = (await namesOf(repository.storage, 'pack')) as PackId[]
    const plan = await repairPacks(through(repository, faulty), packs)
    assert.deepEqual(faulty.fired, [1])
    assert.ok(plan.packs.every(({ isThere, lost }) => isThere && lost.length === 0))
    await expectUnchanged(repository, before)
    await expectSound(repository)
  })

  it('a list that names packs twice: the index names each once', async () => {
    const { repository, before } = await history()
    const faulty = withFaults(repository.storage, [{ on: 'list', type: 'pack', nth: 1, effect: 'duplicate' }])
    await repairIndex(through(repository, faulty), true)
    assert.deepEqual(faulty.fired, [1])
    await expectUnchanged(repository, before)
    await expectSound(repository)
  })

  it('a read that is wrong once: no blob, no tree and no snapshot is given up', async () => {
    for (const effect of ['short', 'flip'] as const) {
      for (let nth = 1; ; nth++) {
        const { repository, before } = await history()
        const pack = await packOf(repository, 'only-002')
        const faulty = withFaults(repository.storage, [{ on: 'read', type: 'pack', nth, effect }])
        // What is read back wrongly ends it, with nothing removed.
        const plan = await repairPacks(through(repository, faulty), [pack]).catch((error: unknown) =>
          assert.equal((error as EngineError).code, 'STORAGE'),
        )
        if (faulty.fired[0] === 0) break
        assert.deepEqual(plan?.packs.flatMap(({ lost }) => lost) ?? [], [])
        await expectUnchanged(repository, before)
      }
      for (const type of ['pack', 'snapshot'] as const) {
        const { repository, snapshots } = await history()
        const faulty = withFaults(repository.storage, [{ on: 'read', type, nth: 2, effect }])
        const names = type === 'snapshot' ? snapshots.map(({ id }) => id) : []
        const repair = repairSnapshots(through(repository, faulty), { forget: true, names })
        // Who names a snapshot is told that it cannot be read.
        const plan = await repair.catch((error: unknown) => assert.equal((error as EngineError).code, 'CORRUPT'))
        assert.deepEqual(faulty.fired, [1])
        assert.deepEqual(plan?.remove ?? [], [])
        assert.equal((await snapshotsOf(repository)).length, snapshots.length)
      }
      const { repository, before } = await history()
      for (const id of await namesOf(repository.storage, 'index'))
        await repository.storage.remove({ type: 'index', id })
      const faulty = withFaults(repository.storage, [{ on: 'read', type: 'pack', nth: 3, effect }])
      assert.deepEqual((await repairIndex(through(repository, faulty))).unreadable, [])
      assert.deepEqual(faulty.fired, [1])
      await expectUnchanged(repository, before)
    }
  })

  it('an index file that a list leaves out: snapshots are not repaired by what is left', async () => {
    const { repository, before } = await history()
    const faulty = withFaults(repository.storage, [{ on: 'list', type: 'index', nth: 1, effect: 'short' }])
    await assert.rejects(repairSnapshots(through(repository, faulty), { forget: true }), { code: 'REFUSED' })
    assert.deepEqual(faulty.fired, [1])
    await expectUnchanged(repository, before)
  })

  it('trees that the storage does not hand out as they were written: no snapshot is replaced by them', async () => {
    for (const effect of ['short', 'flip'] as const) {
      const { repository, snapshots } = await history()
      await repository.storage.remove({ type: 'pack', id: await packOf(repository, 'only-002') })
      await repairIndex(repository)
      const faulty = withFaults(repository.storage, [{ on: 'write', type: 'pack', nth: 1, effect }])
      await assert.rejects(repairSnapshots(through(repository, faulty), { forget: true }), { code: 'STORAGE' })
      assert.deepEqual(faulty.fired, [1])
      const ids = (await snapshotsOf(repository)).map(({ id }) => id)
      assert.deepEqual(ids.sort(), snapshots.map(({ id }) => id).sort())
    }
  })

  it('a list that names snapshots twice: each is repaired once', async () => {
    const { repository, snapshots } = await history()
    await repository.storage.remove({ type: 'pack', id: await packOf(repository, 'only-002') })
    await repairIndex(repository)
    const faulty = withFaults(repository.storage, [{ on: 'list', type: 'snapshot', nth: 1, effect: 'duplicate' }])
    await repairSnapshots(through(repository, faulty), { forget: true })
    assert.deepEqual(faulty.fired, [1])
    assert.equal((await snapshotsOf(repository)).length, snapshots.length)
  })
})
