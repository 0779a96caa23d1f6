import { civilFromDays, daysFromCivil } from '../format/civil-date.ts'
import { localTimestamp, type Timestamp } from '../format/timestamp.ts'

/** A stretch of the calendar, as in `1y5m7d2h`: how long a month is depends on where it begins. No part is negative. */
export interface CalendarPeriod {
  readonly years: number
  readonly months: number
  readonly days: number
  readonly hours: number
}

const UNITS = { y: 'years', m: 'months', d: 'days', h: 'hours' } as const
const SECOND = 1_000_000_000n
const MINUTE = 60n * SECOND
const DAY = 1440n * MINUTE

/** Reads what restic reads: numbers with one of the units `y`, `m` (months), `d`, `h`. Undefined for anything else, and for nothing. */
export function parsePeriod(text: string): CalendarPeriod | undefined {
  const trimmed = text.trim()
  if (!/^(?:\d{1,6}[ymdh])+$/.test(trimmed)) return undefined
  const period = { years: 0, months: 0, days: 0, hours: 0 }
  for (const [, number, unit] of trimmed.matchAll(/(\d+)([ymdh])/g))
    period[UNITS[unit as keyof typeof UNITS]] = Number(number)
  return period
}

/** As restic prints it: `''` for a period of nothing. */
export function formatPeriod({ years, months, days, hours }: CalendarPeriod): string {
  const parts = [
    [years, 'y'],
    [months, 'm'],
    [days, 'd'],
    [hours, 'h'],
  ] as const
  return parts.map(([count, unit]) => (count === 0 ? '' : `${count}${unit}`)).join('')
}

export function isZeroPeriod(period: CalendarPeriod): boolean {
  return period.years === 0 && period.months === 0 && period.days === 0 && period.hours === 0
}

/**
 * The instant that lies the period before, in ns since the epoch: first years, months and days on the calendar, where a day
 * that the month does not have counts on into the next (31 March less a month is 2 or 3 March), then hours.
 *
 * As in restic, that is Go's `Time.AddDate` of a time that was read from JSON: one whose offset is that of the zone of this
 * process at that instant is in that zone, and the result may be on the other side of a change of clocks.
 */
export function subtractPeriod(time: Timestamp, period: CalendarPeriod): bigint {
  const isLocal = localTimestamp(time.ns).offset === time.offset
  const offsetAt = (ns: bigint) => minutes(isLocal ? localTimestamp(ns).offset : time.offset)
  const wall = time.ns + minutes(time.offset)
  const { year, month, day } = civilFromDays(Number(floorDivide(wall, DAY)))
  const monthNumber = (year - period.years) * 12 + (month - 1) - period.months
  const first = daysFromCivil(Math.floor(monthNumber / 12), modulo(monthNumber, 12) + 1, 1)
  const earlier = BigInt(first + day - 1 - period.days) * DAY + modulo(wall, DAY)
  return toInstant(earlier, offsetAt) - BigInt(period.hours) * 60n * MINUTE
}

/** Go's `time.Date`: which of two instants, or of none, a clock time near a change of clocks means is decided as there. */
function toInstant(wall: bigint, offsetAt: (ns: bigint) => bigint): bigint {
  const offset = offsetAt(wall)
  if (offset === 0n) return wall
  const instant = wall - offset
  return wall - (offsetAt(instant) === offset ? offset : offsetAt(instant))
}

function minutes(count: number): bigint {
  return BigInt(count) * MINUTE
}

function floorDivide(value: bigint, divisor: bigint): bigint {
  return (value - modulo(value, divisor)) / divisor
}

function modulo<N extends number | bigint>(value: N, divisor: N): N
function modulo(value: bigint, divisor: bigint): bigint {
  return ((value % divisor) + divisor) % divisor
}
