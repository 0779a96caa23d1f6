import { InvalidArgumentError } from 'commander'

const DATE = /^(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?)?$/

export interface Moment {
  /** Nanoseconds since the epoch. */
  readonly first: bigint
  /** The end of what was written: of the day, the minute or the second. */
  readonly last: bigint
}

const SECOND = 1_000_000_000n

/**
 * A date or a time as a person writes it: `2026-11-01`, `2026-11-01 14:30`, `2026-11-01 14:30:05`, or RFC 3339. Without a
 * zone it is in the zone of the process. Undefined for anything else, also for a day that no calendar has.
 */
export function parseMoment(text: string): Moment | undefined {
  const [, year, month, day, hour, minute, second, fraction, zone] = DATE.exec(text.trim()) ?? []
  if (year === undefined) return undefined
  if (hour === undefined) {
    const first = localTime(year, month!, day!)
    // Not 24 hours later: a day on which the clocks change has 23 or 25.
    const next = localTime(year, month!, day!, '00', '00', '00', 1)
    return first === undefined || next === undefined ? undefined : { first, last: next - 1n }
  }
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second ?? 0) > 59) return undefined
  const whole =
    zone === undefined
      ? localTime(year, month!, day!, hour, minute, second)
      : zonedTime(`${year}-${month}-${day}T${hour}:${minute}:${second ?? '00'}`, zone)
  if (whole === undefined) return undefined
  const first = whole + BigInt((fraction ?? '').padEnd(9, '0'))
  if (fraction !== undefined) return { first, last: first }
  return { first, last: first + (second === undefined ? 60n : 1n) * SECOND - 1n }
}

function localTime(
  year: string,
  month: string,
  day: string,
  hour = '00',
  minute = '00',
  second = '00',
  daysLater = 0,
): bigint | undefined {
  const calendar = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)))
  if (calendar.getUTCMonth() !== Number(month) - 1 || calendar.getUTCDate() !== Number(day)) return undefined
  const time = new Date(
    Number(year),
    Number(month) - 1,
    Number(day) + daysLater,
    Number(hour),
    Number(minute),
    Number(second),
  )
  return BigInt(time.getTime()) * 1_000_000n
}

function zonedTime(civil: string, zone: string): bigint | undefined {
  const [year, month, day] = civil.slice(0, 10).split('-')
  if (localTime(year!, month!, day!) === undefined) return undefined
  const time = Date.parse(civil + zone)
  return Number.isNaN(time) ? undefined : BigInt(time) * 1_000_000n
}

/** For `--at`: the last moment that counts, ns since the epoch. */
export function parseAt(text: string): bigint {
  return momentOf(text).last
}

/** For `--time`: the moment itself. */
export function parseTime(text: string): bigint {
  return momentOf(text).first
}

function momentOf(text: string): Moment {
  const moment = parseMoment(text)
  if (moment !== undefined) return moment
  throw new InvalidArgumentError(
    'Expected a date or time such as 2026-11-01, "2026-11-01 14:30" or 2026-11-01T14:30:00Z',
  )
}
