import type { Drill } from '../../application/config/config.ts'
import { before } from '../../application/config/duration.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'

export interface Pick {
  readonly snapshot: StoredSnapshot
  /** Why it is not one of the configured age; undefined when it is. */
  readonly note: string | undefined
}

/**
 * One snapshot by chance, of the configured age: what is rehearsed is a restore from any night, not from the last. Where none is of
 * that age, one by chance of those that come nearest on the older side, then of those that are not the newest; the only one there is
 * at last. Undefined when there is none.
 *
 * @param snapshots of the whole application, oldest first
 * @param random a number from 0 up to 1
 */
export function pickSnapshot(
  snapshots: readonly StoredSnapshot[],
  pick: Drill['pick'],
  now: Date,
  random: () => number = Math.random,
): Pick | undefined {
  const newest = snapshots.at(-1)
  if (newest === undefined) return undefined
  if (pick === 'latest') return { snapshot: newest, note: undefined }
  const youngest = nanoseconds(before(now, pick.youngest))
  const oldest = nanoseconds(before(now, pick.oldest))
  const range = `${pick.youngest.text} to ${pick.oldest.text}`
  const any = (candidates: readonly StoredSnapshot[]) => candidates[Math.floor(random() * candidates.length)]
  const isInRange = ({ snapshot: { time } }: StoredSnapshot) => time.ns <= youngest && time.ns >= oldest
  const others = snapshots.slice(0, -1)
  const inRange = any(others.filter(isInRange))
  if (inRange !== undefined) return { snapshot: inRange, note: undefined }
  const none = isInRange(newest) ? `Only the newest snapshot is ${range} old` : `No snapshot is ${range} old`
  const older = any(others.filter(({ snapshot: { time } }) => time.ns < oldest))
  if (older !== undefined) return { snapshot: older, note: `${none}: an older one was taken` }
  const younger = any(others)
  if (younger !== undefined)
    return { snapshot: younger, note: `${none}: a younger one was taken, though not the newest` }
  return { snapshot: newest, note: 'There is only one snapshot: the newest was taken' }
}

function nanoseconds(at: Date): bigint {
  return BigInt(at.getTime()) * 1_000_000n
}
