import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { namesOf, overwrite, snapshotOf, testRepository, through } from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type SnapshotId } from '../format/id.ts'
import type { Snapshot } from '../format/snapshot.ts'
import { parseTimestamp } from '../format/timestamp.ts'
import { withFaults } from '../storage/faults.ts'
import type { Repository } from './repository.ts'
import {
  byTime,
  findSnapshot,
  fitsFilter,
  readSnapshot,
  readSnapshots,
  type SnapshotResult,
  writeSnapshot,
} from './snapshots.ts'
import { writeUnpacked } from './unpacked-files.ts'

const at = (hour: number) => parseTimestamp(`2026-11-01T${String(hour).padStart(2, '0')}:00:00Z`)

/** A repository with one snapshot for each of the changes. */
async function withSnapshots(...changes: Partial<Snapshot>[]): Promise<{ repository: Repository; ids: SnapshotId[] }> {
  const repository = await testRepository()
  const ids: SnapshotId[] = []
  for (const change of changes) ids.push(await writeSnapshot(repository, snapshotOf(undefined, change)))
  return { repository, ids }
}

async function results(repository: Repository, signal?: AbortSignal): Promise<SnapshotResult[]> {
  const found: SnapshotResult[] = []
  for await (const result of readSnapshots(repository, signal)) found.push(result)
  return found
}

async function damage(repository: Repository, id: SnapshotId): Promise<void> {
  await overwrite(repository.storage, { type: 'snapshot', id }, Buffer.from('altered'))
}

describe('reading snapshots', () => {
  it('gives back what was written', async () => {
    const snapshot = snapshotOf(hashId<BlobId>(Buffer.from('tree')), { tags: ['app:shop'], excludes: ['*.log'] })
    const repository = await testRepository()
    const id = await writeSnapshot(repository, snapshot)
    const { parent, original, summary, ...read } = await readSnapshot(repository, id)
    assert.deepEqual(read, snapshot)
    assert.deepEqual([parent, original, summary], [undefined, undefined, undefined])
    assert.deepEqual(await namesOf(repository.storage, 'snapshot'), [id])
  })

  it('passes over one that cannot be read, and says why', async () => {
    const { repository, ids } = await withSnapshots(...Array.from({ length: 12 }, (_, hour) => ({ time: at(hour) })))
    await damage(repository, ids[3]!)
    const found = await results(repository)
    assert.equal(found.length, 12)
    const [bad] = found.filter((result) => 'error' in result)
    assert.equal(bad!.id, ids[3])
    assert.equal('error' in bad! && bad.error.code, 'CORRUPT')
  })

  it('names the file of one that is no snapshot', async () => {
    const repository = await testRepository()
    const id = await writeUnpacked(repository, 'snapshot', Buffer.from('{"time":"2026-11-01T12:00:00Z"}'))
    await assert.rejects(readSnapshot(repository, id), {
      code: 'CORRUPT',
      message: new RegExp(`^Cannot read snapshots/${id}: .*tree`),
      facts: { file: `snapshots/${id}` },
    })
  })

  it('does not take an interruption or a lost lock for damage', async () => {
    for (const code of ['INTERRUPTED', 'LOCKED'] as const) {
      const { repository } = await withSnapshots({}, { time: at(1) })
      const controller = new AbortController()
      const reason = new EngineError(code, 'stop')
      const storage = {
        ...repository.storage,
        async read(...args: Parameters<typeof repository.storage.read>) {
          controller.abort(reason)
          return repository.storage.read(...args)
        },
      }
      await assert.rejects(results(through(repository, storage), controller.signal), (error) => error === reason)
    }
  })

  it('does not take a storage that cannot list them for one that has none', async () => {
    const { repository } = await withSnapshots({})
    const storage = withFaults(repository.storage, [{ on: 'list', type: 'snapshot', effect: 'fail' }])
    await assert.rejects(results(through(repository, storage)), { code: 'STORAGE' })
    assert.deepEqual(storage.fired, [1])
  })
})

describe('the latest snapshot', () => {
  it('is the newest by time, wherever its clock was', async () => {
    const { repository, ids } = await withSnapshots(
      { time: parseTimestamp('2026-11-01T12:00:00+05:30') },
      { time: parseTimestamp('2026-11-01T09:00:00Z') },
      { time: parseTimestamp('2026-11-01T09:30:00+02:00') },
    )
    assert.equal((await findSnapshot(repository, { name: 'latest' })).id, ids[1])
  })

  it('of two with the same time is the same one for everybody', async () => {
    const { repository, ids } = await withSnapshots({ username: 'a' }, { username: 'b' }, { username: 'c' })
    assert.equal((await findSnapshot(repository, { name: 'latest' })).id, ids.toSorted().at(-1))
  })

  it('is the newest of those that fit the filter and are not after a moment', async () => {
    const { repository, ids } = await withSnapshots(
      { time: at(1), tags: ['daily'] },
      { time: at(2), hostname: 'other', tags: ['daily'] },
      { time: at(3), tags: ['daily', 'kept'] },
      { time: at(4) },
    )
    const find = async (selection: object) => (await findSnapshot(repository, { name: 'latest', ...selection })).id
    assert.equal(await find({}), ids[3])
    assert.equal(await find({ tags: [['daily']] }), ids[2])
    assert.equal(await find({ hosts: ['other'] }), ids[1])
    assert.equal(await find({ notAfter: at(3).ns }), ids[2])
    assert.equal(await find({ notAfter: at(3).ns - 1n, hosts: ['server'] }), ids[0])
    await assert.rejects(find({ paths: ['/elsewhere'] }), { code: 'NOT_FOUND', hint: /holdfast snapshots/ })
    await assert.rejects(find({ notAfter: at(0).ns }), { code: 'NOT_FOUND' })
  })

  it('is unknown while any snapshot cannot be read, for that may be it', async () => {
    const { repository, ids } = await withSnapshots({ time: at(1) }, { time: at(2) })
    await damage(repository, ids[0]!)
    await assert.rejects(findSnapshot(repository, { name: 'latest' }), {
      code: 'CORRUPT',
      facts: { snapshot: ids[0]! },
      hint: /Name the snapshot by its ID/,
    })
    assert.equal((await findSnapshot(repository, { name: ids[1]! })).id, ids[1])
  })

  it('is not called corrupt when the storage does not hand a snapshot out', async () => {
    const { repository } = await withSnapshots({})
    const storage = withFaults(repository.storage, [{ on: 'read', type: 'snapshot', effect: 'fail' }])
    await assert.rejects(findSnapshot(through(repository, storage), { name: 'latest' }), { code: 'STORAGE' })
    assert.deepEqual(storage.fired, [1])
  })
})

describe('a snapshot by the beginning of its ID', () => {
  it('is found, however short, while it is the only one', async () => {
    const { repository, ids } = await withSnapshots({})
    for (const length of [1, 8, 64]) {
      assert.equal((await findSnapshot(repository, { name: ids[0]!.slice(0, length) })).id, ids[0])
    }
  })

  it('is ambiguous when several begin so, and enough of each is shown to tell them apart', async () => {
    const { repository, ids } = await withSnapshots(...Array.from({ length: 17 }, (_, hour) => ({ time: at(hour) })))
    // Of 17 IDs two begin with the same of 16 digits.
    const digit = [...'0123456789abcdef'].find((first) => ids.filter((id) => id.startsWith(first)).length > 1)!
    const fitting = ids.filter((id) => id.startsWith(digit))
    await assert.rejects(findSnapshot(repository, { name: digit }), (error: EngineError) => {
      assert.equal(error.code, 'AMBIGUOUS')
      assert.deepEqual([...(error.facts.fitting as string[])].sort(), fitting.toSorted())
      assert.ok(error.message.includes((error.facts.fitting as string[])[0]!.slice(0, 5)))
      assert.match(error.hint!, /more digits/)
      return true
    })
  })

  it('that nothing begins with, or that is no ID at all, is not found', async () => {
    const { repository, ids } = await withSnapshots({})
    const absent = ids[0]!.startsWith('0') ? 'f' : '0'
    for (const name of [
      absent,
      'Latest',
      '',
      `${ids[0]}0`,
      ids[0]!.toUpperCase().replace(/^[0-9]*/, 'A'),
      '../config',
    ]) {
      await assert.rejects(findSnapshot(repository, { name }), { code: 'NOT_FOUND' })
    }
  })

  it('that cannot be read is corrupt, and named', async () => {
    const { repository, ids } = await withSnapshots({})
    await damage(repository, ids[0]!)
    await assert.rejects(findSnapshot(repository, { name: ids[0]!.slice(0, 8) }), {
      code: 'CORRUPT',
      facts: { file: `snapshots/${ids[0]}` },
    })
  })
})

describe('a filter', () => {
  const snapshot = snapshotOf(undefined, { hostname: 'web', tags: ['a', 'b'], paths: ['/etc', '/srv'] })
  const untagged = snapshotOf(undefined, { tags: [] })

  it('without conditions fits everything', () => {
    assert.equal(fitsFilter(snapshot, {}), true)
    assert.equal(fitsFilter(snapshot, { hosts: [], tags: [], paths: [] }), true)
  })

  it('wants one of the hosts, all of the paths, and all tags of one list', () => {
    assert.equal(fitsFilter(snapshot, { hosts: ['db', 'web'] }), true)
    assert.equal(fitsFilter(snapshot, { hosts: ['db'] }), false)
    assert.equal(fitsFilter(snapshot, { paths: ['/srv'] }), true)
    assert.equal(fitsFilter(snapshot, { paths: ['/srv', '/home'] }), false)
    assert.equal(fitsFilter(snapshot, { tags: [['c'], ['a', 'b']] }), true)
    assert.equal(fitsFilter(snapshot, { tags: [['a', 'c']] }), false)
  })

  it('takes the empty tag for having none', () => {
    assert.equal(fitsFilter(untagged, { tags: [['']] }), true)
    assert.equal(fitsFilter(snapshot, { tags: [['']] }), false)
  })
})

describe('the order of snapshots', () => {
  it('is by time, then by ID', () => {
    const [a, b] = ['a', 'b'].map((digit) => digit.repeat(64) as SnapshotId)
    const early = { id: b!, snapshot: snapshotOf(undefined, { time: at(1) }) }
    const late = { id: a!, snapshot: snapshotOf(undefined, { time: at(2) }) }
    const tie = { id: a!, snapshot: snapshotOf(undefined, { time: at(1) }) }
    assert.deepEqual([late, early, tie].sort(byTime), [tie, early, late])
    assert.equal(byTime(early, early), 0)
  })
})
