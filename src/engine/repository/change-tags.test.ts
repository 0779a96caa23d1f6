import assert from 'node:assert/strict'
import { it } from 'node:test'
import { snapshotsOf } from '../../../test/equipment/history.ts'
import { recordingStorage } from '../../../test/equipment/recording-storage.ts'
import { snapshotOf, testRepository, through } from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import { withFaults } from '../storage/faults.ts'
import { applyTags, planTags, type TagChange } from './change-tags.ts'
import type { Repository } from './repository.ts'
import { writeSnapshot } from './snapshots.ts'

async function tagged(...tags: readonly string[]): Promise<Repository> {
  const repository = await testRepository()
  await writeSnapshot(repository, snapshotOf(undefined, { tags }))
  return repository
}

async function after(tags: readonly string[], change: TagChange): Promise<readonly string[]> {
  const repository = await tagged(...tags)
  await applyTags(repository, await planTags(repository, change))
  return (await snapshotsOf(repository))[0]!.snapshot.tags
}

it('tags are added once, removed where they are, and set to what is said', async () => {
  assert.deepEqual(await after(['a', 'b'], { add: ['b', 'c', 'c'], remove: ['a', 'x'] }), ['b', 'c'])
  assert.deepEqual(await after(['a', 'b'], { set: ['x', 'y', 'x'] }), ['x', 'y'])
  assert.deepEqual(await after(['a', 'b'], { set: [''] }), [])
})

it('a snapshot that has its tags already stays the same file', async () => {
  const repository = await tagged('a')
  assert.deepEqual((await planTags(repository, { add: ['a'], remove: ['b'] })).changes, [])
})

it('the new snapshot says everything that the old one said, and names the first of its line', async () => {
  const repository = await tagged()
  const [first] = await snapshotsOf(repository)
  for (const tag of ['one', 'two']) await applyTags(repository, await planTags(repository, { add: [tag] }))
  const now = await snapshotsOf(repository)
  assert.deepEqual(
    now.map(({ snapshot }) => snapshot),
    [{ ...first!.snapshot, tags: ['one', 'two'], original: first!.id }],
  )
})

it('only those that are meant are changed', async () => {
  const repository = await tagged()
  await writeSnapshot(repository, snapshotOf(undefined, { hostname: 'other' }))
  const { changes } = await planTags(repository, { add: ['x'] }, { filter: { hosts: ['other'] } })
  assert.deepEqual(
    changes.map(({ before }) => before.snapshot.hostname),
    ['other'],
  )
})

it('the new file is stored before the old one is removed', async () => {
  const repository = await tagged()
  const recording = recordingStorage(repository.storage)
  const { changed } = await applyTags(through(repository, recording), await planTags(repository, { add: ['x'] }))
  assert.deepEqual(recording.done, [`write snapshots/${changed[0]!.to}`, `remove snapshots/${changed[0]!.from}`])
})

it('whichever call fails, a snapshot is left', async () => {
  for (const on of ['write', 'remove'] as const) {
    for (const effect of ['fail', 'lose-answer'] as const) {
      const repository = await tagged('a')
      const faulty = withFaults(repository.storage, [{ on, effect }])
      await assert.rejects(
        applyTags(through(repository, faulty), await planTags(repository, { add: ['x'] })),
        EngineError,
      )
      assert.equal(faulty.fired[0], 1)
      assert.ok((await snapshotsOf(repository)).length >= 1)
    }
  }
})

it('a snapshot that the storage does not hand out as it was written replaces none', async () => {
  for (const on of ['write', 'read'] as const) {
    for (const effect of ['short', 'flip'] as const) {
      const repository = await tagged('a')
      const plan = await planTags(repository, { add: ['x'] })
      const faulty = withFaults(repository.storage, [{ on, effect, type: 'snapshot' }])
      await assert.rejects(applyTags(through(repository, faulty), plan), { code: 'STORAGE', hint: /tested/ })
      assert.equal(faulty.fired[0], 1)
      const left = await snapshotsOf(repository)
      assert.deepEqual(
        left.map(({ snapshot }) => snapshot.tags),
        [['a']],
      )
    }
  }
})
