import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { contentOf, expectSound, makeHistory, snapshotsOf } from '../../../test/equipment/history.ts'
import { namesOf, storeBlobs, testRepository, through } from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import { type BlobId, hashId } from '../format/id.ts'
import { seal } from '../format/master-key.ts'
import { withFaults } from '../storage/faults.ts'
import { memoryStorage } from '../storage/memory.ts'
import { BlobWriter } from './blob-writer.ts'
import { applyTags, planTags } from './change-tags.ts'
import { applyCopy, type CopyPlan, type CopyReport, planCopy } from './copy-snapshots.ts'
import { loadIndex } from './load-index.ts'
import { loadSnapshots } from './load-snapshots.ts'
import { createRepository, type Repository } from './repository.ts'
import { writeSnapshot } from './snapshots.ts'
import { transferBlobs } from './transfer-blobs.ts'

async function copy(
  from: Repository,
  to: Repository,
  batchBytes?: number,
): Promise<{ plan: CopyPlan; report: CopyReport }> {
  const snapshots = await loadSnapshots(from, {})
  const [source, destination] = [await loadIndex(from), await loadIndex(to)]
  const plan = await planCopy(source, destination, snapshots, batchBytes === undefined ? {} : { batchBytes })
  return { plan, report: await applyCopy(source, destination, plan) }
}

/** Holds that the copy has each snapshot of the original, with all that it holds. */
async function expectCopied(from: Repository, to: Repository): Promise<void> {
  const copies = await snapshotsOf(to)
  for (const { id, snapshot } of await snapshotsOf(from)) {
    const found = copies.find((stored) => stored.snapshot.original === (snapshot.original ?? id))
    assert.ok(found, `no copy of ${id}`)
    const { parent: _, original: __, ...facts } = found.snapshot
    const { parent: ___, original: ____, ...expected } = snapshot
    assert.deepEqual(facts, expected)
    assert.deepEqual(await contentOf(to, found.snapshot.tree), await contentOf(from, snapshot.tree))
  }
}

describe('a copy', () => {
  for (const [fromVersion, toVersion] of [
    [2, 2],
    [1, 2],
    [2, 1],
    [1, 1],
  ] as const) {
    it(`has every snapshot, from version ${fromVersion} to ${toVersion} and another key`, async () => {
      const [from, to] = [await testRepository({ version: fromVersion }), await testRepository({ version: toVersion })]
      await makeHistory(from)
      const { plan, report } = await copy(from, to)
      assert.deepEqual([plan.sameKey, report.copied.length], [false, 6])
      await expectCopied(from, to)
      await expectSound(to)
    })
  }

  it('has compressed blobs as they were compressed, and as they were sealed under the same key', async () => {
    const from = await testRepository()
    await makeHistory(from, { snapshots: 2 })
    const to: Repository = { ...(await createRepositoryWithKeyOf(from)) }
    const { plan } = await copy(from, to)
    assert.ok(plan.sameKey)
    const [source, destination] = [await loadIndex(from), await loadIndex(to)]
    for (const { blobs, id: pack } of source.index.packs()) {
      for (const { type, id, offset, length } of blobs) {
        const copied = destination.index.find(type, id)!
        const [a, b] = await Promise.all([
          from.storage.read({ type: 'pack', id: pack }, { offset, length }),
          to.storage.read({ type: 'pack', id: copied.pack }, { offset: copied.offset, length: copied.length }),
        ])
        assert.ok(a.equals(b))
      }
    }
    await expectSound(to)
  })

  it('leaves raw data raw where somebody chose so', async () => {
    const from = await testRepository()
    const plaintext = Buffer.from('raw')
    const indexed = await loadIndex(from)
    const to = await testRepository()
    const raw = new BlobWriter(indexed)
    const id = hashId<BlobId>(plaintext)
    await raw.saveSealed({ type: 'data', id, bytes: seal(from.masterKey, plaintext), uncompressedLength: undefined })
    await raw.finish()
    const destination = await loadIndex(to)
    const writer = new BlobWriter(destination)
    const location = indexed.index.find('data', id)!
    await transferBlobs(indexed, [{ pack: location.pack, blobs: [location] }], destination, writer)
    await writer.finish()
    assert.equal(destination.index.find('data', id)!.uncompressedLength, undefined)
  })

  it('copies nothing twice: not the second time, nor back', async () => {
    const [from, to] = [await testRepository(), await testRepository()]
    await makeHistory(from)
    await copy(from, to)
    const files = await namesOf(to.storage, 'pack')
    const again = await copy(from, to)
    assert.deepEqual([again.report.copied, again.plan.batches, again.plan.present.length], [[], [], 6])
    const back = await copy(to, from)
    assert.deepEqual([back.report.copied, back.plan.present.length], [[], 6])
    assert.deepEqual(await namesOf(to.storage, 'pack'), files)
  })

  it('of a snapshot that got other tags is another one', async () => {
    const [from, to] = [await testRepository(), await testRepository()]
    const [first] = await makeHistory(from, { snapshots: 1 })
    await copy(from, to)
    await applyTags(from, await planTags(from, { add: ['important'] }))
    const { report } = await copy(from, to)
    assert.equal(report.copied.length, 1)
    const copies = await snapshotsOf(to)
    assert.deepEqual(
      copies.map(({ snapshot }) => snapshot.original),
      [first!.id, first!.id],
    )
  })

  it('in batches publishes the first snapshots before the last are copied', async () => {
    const [from, to] = [await testRepository(), await testRepository()]
    await makeHistory(from)
    const { plan } = await copy(from, to, 1)
    assert.equal(plan.batches.length, 6)
    await expectCopied(from, to)
    await expectSound(to)
  })

  it('is refused when the source misses something', async () => {
    const [from, to] = [await testRepository(), await testRepository()]
    const { ids } = await storeBlobs(from, [['tree', '{"nodes":[]}\n']])
    const [only] = await makeHistory(from, { snapshots: 1 })
    await writeSnapshot(from, { ...only!.snapshot, tree: hashId(Buffer.from(ids[0]!)) })
    await assert.rejects(copy(from, to), { code: 'NOT_FOUND' })
    assert.deepEqual(await namesOf(to.storage, 'snapshot'), [])
  })

  it('whichever call to either storage fails: what is published is whole, and the next copy completes it', async () => {
    for (const [side, on] of [
      ['source', 'read'],
      ['destination', 'write'],
      ['destination', 'list'],
    ] as const) {
      let fired = 0
      for (let nth = 1; ; nth += side === 'source' ? 3 : 1) {
        const [from, to] = [await testRepository(), await testRepository({ storage: memoryStorage() })]
        await makeHistory(from, { snapshots: 3 })
        const faulty = withFaults(side === 'source' ? from.storage : to.storage, [
          { on, nth, effect: nth % 2 ? 'fail' : 'lose-answer' },
        ])
        const failed = await copy(
          side === 'source' ? through(from, faulty) : from,
          side === 'source' ? to : through(to, faulty),
          3000,
        ).then(
          () => false,
          (error: unknown) => {
            assert.ok(error instanceof EngineError, `${error}`)
            return true
          },
        )
        if (faulty.fired[0] === 0) break
        fired += 1
        if (on !== 'read') assert.ok(failed, `${side} ${on} ${nth}`)
        await expectSound(to, ['pack-unindexed'])
        await copy(from, to)
        await expectCopied(from, to)
      }
      assert.ok(fired > 1, `${side} ${on}`)
    }
  })
})

async function createRepositoryWithKeyOf(other: Repository): Promise<Repository> {
  const made = await createRepository(memoryStorage(), {
    password: Buffer.from('x'),
    kdf: { N: 2, r: 1, p: 1 },
    polynomial: other.config.polynomial,
  })
  return { ...made, masterKey: other.masterKey }
}
