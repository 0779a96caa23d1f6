import { EngineError } from '../error.ts'
import { civilFromDays, daysFromCivil, daysInMonth } from './civil-date.ts'
import { shown } from './shown.ts'

/** An instant, with the offset that it is written with; two timestamps are the same moment when their `ns` are equal. */
export interface Timestamp {
  /** Nanoseconds since 1970-01-01T00:00:00Z. */
  readonly ns: bigint
  /** Minutes east of UTC. */
  readonly offset: number
}

const SECOND = 1_000_000_000n
const MILLISECOND = 1_000_000n
const DAY_SECONDS = 86_400
const DAY = 86_400n * SECOND
/** The last millisecond, and negated the first, that a `Date` can hold. */
const DATE_LIMIT = 8.64e15

/** What Go and so restic makes of a time that is `null` or missing: the start of the year 1. */
export const UNSET_TIME: Timestamp = { ns: -62_135_596_800n * SECOND, offset: 0 }

// The date and the time of day stand in fixed places, the zone at a fixed distance from the end.
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/
const FRACTION_AT = '2006-01-02T15:04:05.'.length

/**
 * Reads the RFC 3339 form that restic writes and throws `CORRUPT` for any other text, also for what a lenient reader would take:
 * lower-case `t` and `z`, a space, no zone, hour 24, second 60. Digits beyond the ninth after the point are dropped.
 */
export function parseTimestamp(text: string): Timestamp {
  const timestamp = readTimestamp(text)
  if (timestamp !== null) return timestamp
  throw new EngineError(
    'CORRUPT',
    `Cannot read time ${shown(text)}: expected RFC 3339, such as "2026-01-31T04:05:06.789+02:00"`,
    {
      facts: { what: 'time', where: shown(text) },
    },
  )
}

function readTimestamp(text: string): Timestamp | null {
  if (!RFC3339.test(text)) return null
  const [year, month, day] = [digits(text, 0, 4), digits(text, 5, 7), digits(text, 8, 10)]
  if (month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month)) return null
  const [hour, minute, second] = [digits(text, 11, 13), digits(text, 14, 16), digits(text, 17, 19)]
  if (hour > 23 || minute > 59 || second > 59) return null

  let offset = 0
  let zoneAt = text.length - 1
  if (!text.endsWith('Z')) {
    zoneAt = text.length - 6
    const [zoneHours, zoneMinutes] = [digits(text, zoneAt + 1, zoneAt + 3), digits(text, zoneAt + 4, zoneAt + 6)]
    if (zoneHours > 23 || zoneMinutes > 59) return null
    offset = (zoneHours * 60 + zoneMinutes) * (text[zoneAt] === '-' ? -1 : 1) + 0 // not -0
  }
  const seconds = daysFromCivil(year, month, day) * DAY_SECONDS + (hour * 60 + minute - offset) * 60 + second
  const places = Math.min(9, zoneAt - FRACTION_AT)
  const nanoseconds = places > 0 ? digits(text, FRACTION_AT, FRACTION_AT + places) * 10 ** (9 - places) : 0
  return { ns: BigInt(seconds) * SECOND + BigInt(nanoseconds), offset }
}

/** The number that the digits from one place up to another make. Spares a tree of many nodes a piece of text for each. */
function digits(text: string, from: number, to: number): number {
  let value = 0
  for (let at = from; at < to; at++) value = value * 10 + text.charCodeAt(at) - 48
  return value
}

/**
 * RFC 3339 as Go writes it: as few of nine fractional digits as are needed, `Z` for an offset of zero. As in restic, a year
 * before 0 is written as 0 and one after 9999 as 9999, the rest of the date staying as it is.
 */
export function formatTimestamp({ ns, offset }: Timestamp): string {
  const wall = ns + BigInt(offset) * 60n * SECOND
  let days = Number(floorDivide(wall, DAY))
  const sinceMidnight = Number(wall - BigInt(days) * DAY)
  const time = Math.floor(sinceMidnight / 1e9)
  const nanoseconds = sinceMidnight % 1e9
  let { year, month, day } = civilFromDays(days)
  if (year < 0 || year > 9999) {
    // Through the day number and back: 29 February of a year that has none becomes 1 March.
    days = daysFromCivil(year < 0 ? 0 : 9999, month, day)
    ;({ year, month, day } = civilFromDays(days))
  }
  const date = `${String(year).padStart(4, '0')}-${pad(month)}-${pad(day)}`
  const clock = `${pad(Math.floor(time / 3600))}:${pad(Math.floor(time / 60) % 60)}:${pad(time % 60)}`
  return `${date}T${clock}${formatFraction(nanoseconds)}${formatOffset(offset)}`
}

/**
 * The instant in the zone of this process, as restic writes the times of files.
 *
 * Offsets with odd seconds (local mean time, in some zones until the middle of the 20th century) lose the seconds, as RFC 3339
 * has no place for them. The clock time is written to match, so the instant is kept; Go writes the clock time of the full
 * offset, so that restic's own text for such a time names another instant, by up to 59 s.
 */
export function localTimestamp(ns: bigint): Timestamp {
  return { ns, offset: localOffset(Number(floorDivide(ns, SECOND))) }
}

/** The offset of `localTimestamp` in a second since the epoch. */
export function localOffset(seconds: number): number {
  const date = new Date(Math.min(Math.max(seconds * 1000, -DATE_LIMIT), DATE_LIMIT))
  // Not cached: V8 keeps the transitions around recent questions (0.1 µs a call), and notices when TZ changes.
  return 0 - date.getTimezoneOffset()
}

/** The present, exact to the millisecond. */
export function now(): Timestamp {
  return localTimestamp(BigInt(Date.now()) * MILLISECOND)
}

function formatFraction(nanoseconds: number): string {
  if (nanoseconds === 0) return ''
  let [value, places] = [nanoseconds, 9]
  while (value % 10 === 0) {
    value /= 10
    places -= 1
  }
  return `.${String(value).padStart(places, '0')}`
}

function formatOffset(offset: number): string {
  if (offset === 0) return 'Z'
  const minutes = Math.abs(offset)
  return `${offset < 0 ? '-' : '+'}${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}`
}

function pad(value: number): string {
  return value < 10 ? `0${value}` : String(value)
}

function floorDivide(value: bigint, divisor: bigint): bigint {
  const quotient = value / divisor
  return value < 0n && quotient * divisor !== value ? quotient - 1n : quotient
}
