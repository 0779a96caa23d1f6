import { civilFromDays, daysFromCivil } from '../format/civil-date.ts'
import { type Timestamp, UNSET_TIME } from '../format/timestamp.ts'
import { type CalendarPeriod, formatPeriod, isZeroPeriod, subtractPeriod } from './calendar-period.ts'
import { hasTags } from './snapshot-tags.ts'
import type { StoredSnapshot } from './snapshots.ts'

// restic's rules, each of which alone keeps a snapshot (format reference 11.2). The snapshots of a group are gone through once,
// newest first, and every rule counts for itself:
//
//   last … yearly           the newest of each period, as many periods as are said; the periods are those of the clock
//                           that the snapshot's own timestamp shows
//   within                  everything later than the latest snapshot less the period
//   within hourly … yearly  the newest of each period in that time
//   tags                    everything that has all tags of one of the lists
//
// The oldest snapshot is kept, too, by every counting rule that has something left to count.

/** How many to keep; 0 and undefined keep none. */
export type KeepCount = number | 'unlimited'

/** Reads restic's form of it: a whole number, or `unlimited`. Undefined for anything else. */
export function parseKeepCount(text: string): KeepCount | undefined {
  if (text === 'unlimited') return text
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined
}

const COUNTED = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
const PERIODS = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const

type Counted = (typeof COUNTED)[number]
type PeriodName = (typeof PERIODS)[number]

export interface RetentionPolicy extends Partial<Readonly<Record<Counted, KeepCount | undefined>>> {
  readonly within?: CalendarPeriod | undefined
  /** The newest of each hour, day… of a stretch of time. */
  readonly withinPeriods?: Partial<Readonly<Record<PeriodName, CalendarPeriod | undefined>>> | undefined
  /** Lists of tags; the empty tag stands for having none. */
  readonly tags?: readonly (readonly string[])[] | undefined
}

export interface KeptSnapshot extends StoredSnapshot {
  /** In restic's words: `daily snapshot`, `oldest weekly snapshot`, `within 5d`, `has tags [a, b]`… */
  readonly reasons: readonly string[]
}

export interface RetentionDecision {
  /** Newest first. */
  readonly keep: readonly KeptSnapshot[]
  /** Newest first. */
  readonly remove: readonly StoredSnapshot[]
}

/** Whether the policy has no rule at all: it says nothing about what to keep. */
export function isEmptyPolicy(policy: RetentionPolicy): boolean {
  const periods = [policy.within, ...PERIODS.map((name) => policy.withinPeriods?.[name])]
  return (
    COUNTED.every((name) => (policy[name] ?? 0) === 0) &&
    periods.every((period) => period === undefined || isZeroPeriod(period)) &&
    (policy.tags ?? []).length === 0
  )
}

/**
 * What restic's `forget` would keep of one group, and why. Of equal times the higher ID counts as newer, where restic takes
 * them in the order in which the storage happens to list them.
 *
 * @param now ns since the epoch; snapshots after it are never the latest one that `within` is counted from
 */
export function applyPolicy(
  snapshots: readonly StoredSnapshot[],
  policy: RetentionPolicy,
  now: bigint,
): RetentionDecision {
  const newestFirst = snapshots.toSorted(newerFirst)
  const latest = latestTime(newestFirst, now)
  const counting: CountingRule[] = COUNTED.map((name) => ({
    period: name,
    left: policy[name] === 'unlimited' ? Number.POSITIVE_INFINITY : (policy[name] ?? 0),
    kept: undefined,
  }))
  const within = policy.within && rangeOf(latest, policy.within)
  const ranges: RangeRule[] = PERIODS.flatMap((period) => {
    const range = rangeOf(latest, policy.withinPeriods?.[period])
    return range ? [{ ...range, period, kept: undefined }] : []
  })

  const keep: KeptSnapshot[] = []
  const remove: StoredSnapshot[] = []
  for (const [number, stored] of newestFirst.entries()) {
    const { time, tags } = stored.snapshot
    const isOldest = number === newestFirst.length - 1
    const reasons = (policy.tags ?? [])
      .filter((list) => hasTags(tags, list))
      .map((list) => `has tags [${list.join(', ')}]`)
    if (within && time.ns > within.after) reasons.push(`within ${within.text}`)
    for (const rule of counting) {
      if (rule.left <= 0) continue
      const reason = reasonOf(rule, `${rule.period} snapshot`, time, number, isOldest)
      if (reason === undefined) continue
      rule.left -= 1
      reasons.push(reason)
    }
    for (const rule of ranges) {
      if (time.ns <= rule.after) continue
      const reason = reasonOf(rule, `${rule.period} within`, time, number, isOldest)
      if (reason !== undefined) reasons.push(`${reason} ${rule.text}`)
    }
    if (reasons.length > 0) keep.push({ ...stored, reasons })
    else remove.push(stored)
  }
  return { keep, remove }
}

interface PeriodRule {
  readonly period: Counted
  /** The period of the snapshot that the rule kept last. */
  kept: number | undefined
}

interface CountingRule extends PeriodRule {
  left: number
}

interface RangeRule extends PeriodRule {
  readonly after: bigint
  readonly text: string
}

/** Why the rule keeps the snapshot, which it notes as kept; undefined if it does not. */
function reasonOf(
  rule: PeriodRule,
  name: string,
  time: Timestamp,
  number: number,
  isOldest: boolean,
): string | undefined {
  const period = periodOf(rule.period, time, number)
  const isNewPeriod = period !== rule.kept
  if (!isNewPeriod && !isOldest) return undefined
  rule.kept = period
  return isNewPeriod ? name : `oldest ${name}`
}

function newerFirst(a: StoredSnapshot, b: StoredSnapshot): number {
  const [x, y] = [a.snapshot.time.ns, b.snapshot.time.ns]
  if (x !== y) return x > y ? -1 : 1
  return a.id > b.id ? -1 : 1
}

function latestTime(newestFirst: readonly StoredSnapshot[], now: bigint): Timestamp {
  return newestFirst.find(({ snapshot }) => snapshot.time.ns < now)?.snapshot.time ?? UNSET_TIME
}

function rangeOf(latest: Timestamp, period: CalendarPeriod | undefined): { after: bigint; text: string } | undefined {
  if (period === undefined || isZeroPeriod(period)) return undefined
  return { after: subtractPeriod(latest, period), text: formatPeriod(period) }
}

/** A number for the period that the time falls into, by the clock of the timestamp itself. */
function periodOf(period: Counted, { ns, offset }: Timestamp, number: number): number {
  if (period === 'last') return number
  const seconds = Number((ns + BigInt(offset) * 60_000_000_000n) / 1_000_000n) / 1000
  const days = Math.floor(seconds / 86_400)
  const { year, month, day } = civilFromDays(days)
  switch (period) {
    case 'hourly':
      return Math.floor(seconds / 3600)
    case 'daily':
      return (year * 100 + month) * 100 + day
    case 'weekly':
      return isoWeek(days)
    case 'monthly':
      return year * 100 + month
    case 'yearly':
      return year
  }
}

/** Year and number of the week of ISO 8601: a week belongs to the year that its Thursday lies in. */
function isoWeek(days: number): number {
  const daysSinceMonday = (((days + 3) % 7) + 7) % 7 // 1970-01-01 was a Thursday
  const thursday = days - daysSinceMonday + 3
  const { year } = civilFromDays(thursday)
  return year * 100 + Math.floor((thursday - daysFromCivil(year, 1, 1)) / 7) + 1
}
