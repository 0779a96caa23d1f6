import type { PackId } from '../format/id.ts'
import type { PackToRead } from './check-data.ts'

/** What is known of a pack, in ms since the epoch. */
export interface ScrubRecord {
  /** When it was first met: it counts from then that it has to be read. */
  readonly seen: number
  /** When it was last read to its end and found sound. */
  readonly read: number | undefined
}

/** What a scrub remembers. Without it, everything counts as met today: the promise holds from then on. */
export interface ScrubState {
  /** When the last run that came to its end began; undefined before there was one. */
  readonly lastRun: number | undefined
  readonly packs: ReadonlyMap<PackId, ScrubRecord>
}

export const NO_SCRUB_STATE: ScrubState = { lastRun: undefined, packs: new Map() }

const DAY = 24 * 3600 * 1000

/**
 * The packs to read in this run so that each is read again within the period, whatever the time between the runs, and their
 * records. Longest unread first; about the share of all bytes that the time since the last run is of the period, less what has been
 * read since then by runs that were cut short; and in any case what would be overdue before the next run, if that comes after as
 * long a time again.
 *
 * @param within ms
 * @param now ms since the epoch
 */
export function planScrub(
  packs: readonly PackToRead[],
  state: ScrubState,
  { within, now }: { readonly within: number; readonly now: number },
): { readonly read: readonly PackToRead[]; readonly records: ReadonlyMap<PackId, ScrubRecord> } {
  const records = new Map(packs.map(({ id }) => [id, plausible(state.packs.get(id), now)]))
  // A clock that was set back makes no time pass backwards.
  const elapsed =
    state.lastRun === undefined ? Math.min(DAY, within) : Math.min(Math.max(now - state.lastRun, 0), within)
  const since = state.lastRun ?? now
  const total = packs.reduce((sum, { size }) => sum + size, 0)
  const readSince = packs
    .filter(({ id }) => (records.get(id)!.read ?? 0) > since)
    .reduce((sum, { size }) => sum + size, 0)
  let budget = Math.ceil((total * elapsed) / within) - readSince
  const oldestFirst = packs
    .map((pack) => ({ pack, record: records.get(pack.id)! }))
    .sort(
      (a, b) =>
        (a.record.read ?? 0) - (b.record.read ?? 0) ||
        a.record.seen - b.record.seen ||
        (a.pack.id < b.pack.id ? -1 : 1),
    )
  const read: PackToRead[] = []
  for (const { pack, record } of oldestFirst) {
    const due = (record.read ?? record.seen) + within
    if (budget <= 0 && due > now + Math.max(elapsed, Math.min(DAY, within))) continue
    read.push(pack)
    budget -= pack.size
  }
  return { read, records }
}

/** Nothing was read in the future: a record that says so came from a clock that was wrong. */
function plausible(record: ScrubRecord | undefined, now: number): ScrubRecord {
  if (record === undefined) return { seen: now, read: undefined }
  return {
    seen: Math.min(record.seen, now),
    read: record.read !== undefined && record.read <= now ? record.read : undefined,
  }
}
