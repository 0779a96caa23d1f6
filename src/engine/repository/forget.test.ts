import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { namesOf, snapshotOf, testRepository, through } from '../../../test/equipment/test-repository.ts'
import { parseTimestamp } from '../format/timestamp.ts'
import { withFaults } from '../storage/faults.ts'
import { applyForget, planForget } from './forget.ts'
import type { Repository } from './repository.ts'
import { isEmptyPolicy, parseKeepCount } from './retention-policy.ts'
import { parseGrouping } from './snapshot-groups.ts'
import { hasTags } from './snapshot-tags.ts'
import { writeSnapshot } from './snapshots.ts'

const NOW = parseTimestamp('2026-06-01T00:00:00Z').ns

async function withSnapshots(...times: readonly string[]): Promise<{ repository: Repository; ids: string[] }> {
  const repository = await testRepository()
  const ids: string[] = []
  for (const time of times)
    ids.push(await writeSnapshot(repository, snapshotOf(undefined, { time: parseTimestamp(time) })))
  return { repository, ids }
}

const DAYS = ['2026-01-01T10:00:00Z', '2026-01-02T10:00:00Z', '2026-01-02T12:00:00Z', '2026-01-03T10:00:00Z']

describe('forgetting by a policy', () => {
  it('keeps the newest of each day, and says why', async () => {
    const { repository, ids } = await withSnapshots(...DAYS)
    const { groups, remove } = await planForget(repository, { policy: { daily: 2, last: 1 }, now: NOW })
    assert.deepEqual(
      groups.map(({ host, paths, tags, keep }) => [host, paths, tags, keep.map(({ id, reasons }) => [id, reasons])]),
      [
        [
          'server',
          ['/srv/app'],
          [],
          [
            [ids[3], ['last snapshot', 'daily snapshot']],
            [ids[2], ['daily snapshot']],
          ],
        ],
      ],
    )
    assert.deepEqual(
      remove.map(({ id }) => id),
      [ids[1], ids[0]],
    )
  })

  it('keeps the oldest while there is something left to count', async () => {
    const { repository } = await withSnapshots('2026-01-01T10:00:00Z', '2026-01-01T11:00:00Z')
    const { groups } = await planForget(repository, { policy: { yearly: 5 }, now: NOW })
    assert.deepEqual(
      groups[0]!.keep.map(({ reasons }) => reasons),
      [['yearly snapshot'], ['oldest yearly snapshot']],
    )
  })

  it('takes the day from the clock that the snapshot shows', async () => {
    // One day in UTC, two where they were made.
    const { repository } = await withSnapshots('2026-01-01T23:30:00-03:00', '2026-01-02T00:30:00-03:00')
    const { remove } = await planForget(repository, { policy: { daily: 5 }, now: NOW })
    assert.deepEqual(remove, [])
  })

  it('counts what is in the future, and counts within from the latest that is not', async () => {
    const { repository, ids } = await withSnapshots(...DAYS, '2027-01-01T00:00:00Z')
    const period = { years: 0, months: 0, days: 1, hours: 0 }
    const { remove } = await planForget(repository, { policy: { within: period }, now: NOW })
    assert.deepEqual(
      remove.map(({ id }) => id),
      [ids[1], ids[0]],
    )
  })

  it('of equal times keeps the same one always', async () => {
    const { repository, ids } = await withSnapshots(DAYS[0]!, DAYS[0]!, DAYS[0]!)
    const { groups } = await planForget(repository, { policy: { last: 1 }, now: NOW })
    assert.deepEqual(
      groups[0]!.keep.map(({ id }) => id),
      [ids.sort().at(-1)],
    )
  })

  it('refuses what leaves nothing of a group, and changes nothing in any', async () => {
    const { repository } = await withSnapshots(...DAYS)
    await assert.rejects(planForget(repository, { policy: { tags: [['nobody has it']] } }), {
      code: 'REFUSED',
      message: /all 4 snapshots of a group/,
    })
  })

  it('refuses to go without a policy, unless everything that fits a filter is meant', async () => {
    const { repository } = await withSnapshots(...DAYS)
    await assert.rejects(planForget(repository, {}), { code: 'REFUSED' })
    await assert.rejects(
      planForget(repository, { policy: { last: 0, within: { years: 0, months: 0, days: 0, hours: 0 } } }),
      { code: 'REFUSED' },
    )
    await assert.rejects(planForget(repository, { removeAll: true }), { code: 'REFUSED' })
    const { remove } = await planForget(repository, { removeAll: true, filter: { hosts: ['server'] } })
    assert.equal(remove.length, 4)
  })

  it('refuses while a snapshot cannot be read', async () => {
    const { repository, ids } = await withSnapshots(...DAYS)
    const faulty = withFaults(repository.storage, [{ on: 'read', type: 'snapshot', nth: 2, effect: 'flip' }])
    await assert.rejects(planForget(through(repository, faulty), { policy: { last: 1 } }), { code: 'CORRUPT' })
    assert.equal(faulty.fired[0], 1)
    assert.equal((await namesOf(repository.storage, 'snapshot')).length, ids.length)
  })
})

describe('forgetting by ID', () => {
  it('asks no policy, and takes each once however often it is named', async () => {
    const { repository, ids } = await withSnapshots(...DAYS)
    const plan = await planForget(repository, { names: [ids[0]!, ids[0]!.slice(0, 10), 'latest'] })
    assert.deepEqual([plan.groups, plan.remove.map(({ id }) => id)], [[], [ids[0], ids[3]]])
    const removed: string[] = []
    const report = await applyForget(repository, plan, { onRemoved: (id) => removed.push(id) })
    assert.deepEqual([report.removed.toSorted(), report.failed], [[ids[0], ids[3]].sort(), []])
    assert.deepEqual(removed.sort(), [ids[0], ids[3]].sort())
    assert.deepEqual(await namesOf(repository.storage, 'snapshot'), [ids[1], ids[2]].sort())
  })

  it('rejects a name that fits nothing', async () => {
    const { repository } = await withSnapshots(...DAYS)
    await assert.rejects(planForget(repository, { names: ['0000'] }), { code: 'NOT_FOUND' })
  })
})

it('a snapshot that cannot be removed is named, and the others go', async () => {
  const { repository, ids } = await withSnapshots(...DAYS)
  const plan = await planForget(repository, { names: ids })
  const faulty = withFaults(repository.storage, [{ on: 'remove', nth: 2, effect: 'fail' }])
  const report = await applyForget(through(repository, faulty), plan)
  assert.deepEqual([report.removed.length, report.failed.length, faulty.fired[0]], [3, 1, 1])
  assert.deepEqual(
    await namesOf(repository.storage, 'snapshot'),
    report.failed.map(({ id }) => id),
  )
})

it('an interruption ends it', async () => {
  const { repository, ids } = await withSnapshots(...DAYS)
  const plan = await planForget(repository, { names: ids })
  await assert.rejects(applyForget(repository, plan, { signal: AbortSignal.abort(new Error('stop')) }), /stop/)
  assert.equal((await namesOf(repository.storage, 'snapshot')).length, ids.length)
})

it('groupings are read as restic reads them', () => {
  assert.deepEqual(parseGrouping('host,paths'), { host: true, paths: true, tags: false })
  assert.deepEqual(parseGrouping('tag,hosts,path'), { host: true, paths: true, tags: true })
  assert.deepEqual(parseGrouping(''), { host: false, paths: false, tags: false })
  assert.equal(parseGrouping('host,user'), undefined)
})

it('the empty tag stands for having none', () => {
  assert.ok(hasTags([], ['']))
  assert.ok(hasTags([], ['', 'a']))
  assert.ok(!hasTags([], ['a', '']))
  assert.ok(!hasTags(['a'], ['']))
  assert.ok(hasTags(['b', 'a'], ['a', 'b']))
})

it('a policy is empty only without any rule', () => {
  assert.ok(isEmptyPolicy({ last: 0, withinPeriods: {}, tags: [] }))
  assert.ok(!isEmptyPolicy({ last: 'unlimited' }))
  assert.ok(!isEmptyPolicy({ tags: [['']] }))
  assert.ok(!isEmptyPolicy({ withinPeriods: { weekly: { years: 0, months: 0, days: 1, hours: 0 } } }))
})

it('counts are read as restic reads them', () => {
  assert.deepEqual(['0', '12', 'unlimited', '-1', '', '1.5', 'all'].map(parseKeepCount), [
    0,
    12,
    'unlimited',
    undefined,
    undefined,
    undefined,
    undefined,
  ])
})
