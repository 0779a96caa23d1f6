import assert from 'node:assert/strict'
import { test } from 'node:test'
import { duration } from '../../application/config/duration.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { pickSnapshot } from './pick-snapshot.ts'

const now = new Date('2026-11-27T12:00:00Z')
const range = { youngest: duration('14d'), oldest: duration('21d') }

/** Snapshots of so many days ago, oldest first, called by their age. */
function aged(...days: number[]): StoredSnapshot[] {
  return days
    .toSorted((a, b) => b - a)
    .map((age) => {
      const ns = BigInt(now.getTime() - age * 86_400_000) * 1_000_000n
      return { id: `${age}`, snapshot: { time: { ns, offset: 0 } } } as unknown as StoredSnapshot
    })
}

const picked = (
  snapshots: readonly StoredSnapshot[],
  random: number,
  pick: Parameters<typeof pickSnapshot>[1] = range,
) => pickSnapshot(snapshots, pick, now, () => random)

test('any of the configured age is taken by chance, and no other', () => {
  const snapshots = aged(1, 13, 14, 17, 21, 22, 40)
  const ids = new Set([0, 0.34, 0.67, 0.999].map((random) => picked(snapshots, random)?.snapshot.id as string))
  assert.deepEqual([...ids].sort(), ['14', '17', '21'])
  assert.equal(picked(snapshots, 0.5)?.note, undefined)
})

test('where none is of that age an older one is taken, then one that is not the newest, and the report can say so', () => {
  const older = picked(aged(1, 2, 30, 60), 0.9)
  assert.deepEqual([older?.snapshot.id, /an older one/.test(older!.note!)], ['30', true])
  for (const random of [0, 0.5, 0.999]) {
    const younger = picked(aged(1, 2, 3), random)
    assert.notEqual(younger?.snapshot.id, '1')
    assert.match(younger!.note!, /though not the newest/)
  }
  const stale = picked(aged(15, 30), 0.5)
  assert.deepEqual([stale?.snapshot.id, /^Only the newest .* an older one/.test(stale!.note!)], ['30', true])
  const only = picked(aged(5), 0.5)
  assert.deepEqual([only?.snapshot.id, /only one/.test(only!.note!)], ['5', true])
})

test('the latest is the latest, and of none there is none', () => {
  assert.equal(picked(aged(1, 2, 15), 0.5, 'latest')?.snapshot.id, '1')
  assert.equal(picked([], 0.5), undefined)
})
