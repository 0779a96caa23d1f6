import type { Problem } from './problem.ts'

/**
 * A span of time as an operator writes it. Months and days are of the calendar (a year ago is the same date last year,
 * a day ago the same time yesterday, whatever the clocks did); seconds are exact.
 */
export interface Duration {
  /** As written, in one spelling: `1y`, `30d`, `1d12h`. */
  readonly text: string
  readonly months: number
  readonly days: number
  readonly seconds: number
}

interface Unit {
  readonly name: string
  readonly months?: number
  readonly days?: number
  readonly seconds?: number
}

// Largest first, the order in which they are written.
const units = new Map<string, Unit>([
  ['y', { name: 'years', months: 12 }],
  ['mo', { name: 'months', months: 1 }],
  ['w', { name: 'weeks', days: 7 }],
  ['d', { name: 'days', days: 1 }],
  ['h', { name: 'hours', seconds: 3600 }],
  ['min', { name: 'minutes', seconds: 60 }],
  ['s', { name: 'seconds', seconds: 1 }],
])

/** What is right, for messages. */
export const durationSyntax = 'numbers with units, as in 24h, 30d, 1y or 1d12h'

/** Nothing that is kept here is planned for longer; also keeps every sum exact. */
const MAX_YEARS = 1000

/**
 * Parses `24h`, `30d`, `90d`, `1y`, `1d12h`: whole numbers with a unit of y, mo, w, d, h, min, s, each unit at most
 * once, largest first. Never zero.
 */
export function parseDuration(text: string): Duration | Problem {
  const parts = [...text.matchAll(/([0-9]+)([a-zA-Z]*)/g)]
  if (parts.length === 0 || parts.map(([whole]) => whole).join('') !== text) {
    return { problem: `"${text}" is not a length of time, expected ${durationSyntax}` }
  }
  const names = [...units.keys()]
  let months = 0
  let days = 0
  let seconds = 0
  let last = -1
  let spelled = ''
  for (const [, digits = '', letter = ''] of parts) {
    const position = names.indexOf(letter)
    const unit = units.get(letter)
    if (unit === undefined) return { problem: unknownUnit(text, digits, letter) }
    if (position <= last)
      return { problem: `"${text}" does not go from large units to small ones, each once, as in 1d12h` }
    last = position
    const count = Number(digits)
    const inMonths = count * (unit.months ?? 0)
    const inDays = count * (unit.days ?? 0)
    const inSeconds = count * (unit.seconds ?? 0)
    if (inMonths > MAX_YEARS * 12 || inDays > MAX_YEARS * 365 || inSeconds > MAX_YEARS * 365 * 86_400) {
      return { problem: `"${text}" is longer than ${MAX_YEARS} years` }
    }
    months += inMonths
    days += inDays
    seconds += inSeconds
    spelled += `${count}${letter}`
  }
  if (months + days + seconds === 0) return { problem: `"${text}" is no time at all, expected more than zero` }
  return { text: spelled, months, days, seconds }
}

function unknownUnit(text: string, digits: string, letter: string): string {
  if (letter === '') return `"${text}" has no unit after ${digits}, write ${digits}d for days or ${digits}h for hours`
  if (letter === 'm') return `"${text}" could mean minutes or months, write ${digits}min or ${digits}mo`
  const all = [...units].map(([short, unit]) => `${short} (${unit.name})`).join(', ')
  return `"${text}" has an unknown unit "${letter}", expected one of ${all}`
}

/** For values that the code itself chooses. */
export function duration(text: string): Duration {
  const parsed = parseDuration(text)
  if ('problem' in parsed) throw new TypeError(parsed.problem)
  return parsed
}

/**
 * The instant that lies `duration` before `instant`, counted in UTC. Where the month has no such day, its last day is
 * taken: a year before 29 February is 28 February.
 */
export function before(instant: Date, duration: Duration): Date {
  return shift(instant, duration, -1)
}

/** The instant that lies `duration` after `instant`; see `before`. */
export function after(instant: Date, duration: Duration): Date {
  return shift(instant, duration, 1)
}

function shift(instant: Date, { months, days, seconds }: Duration, sign: 1 | -1): Date {
  const shifted = new Date(instant)
  const dayOfMonth = shifted.getUTCDate()
  shifted.setUTCDate(1)
  shifted.setUTCMonth(shifted.getUTCMonth() + sign * months)
  const lastDay = new Date(Date.UTC(shifted.getUTCFullYear(), shifted.getUTCMonth() + 1, 0)).getUTCDate()
  shifted.setUTCDate(Math.min(dayOfMonth, lastDay) + sign * days)
  return new Date(shifted.getTime() + sign * seconds * 1000)
}

/** Length in seconds for comparing and for thresholds, a month taken as its mean of 30.44 days. */
export function approximateSeconds({ months, days, seconds }: Duration): number {
  return months * MEAN_MONTH_SECONDS + days * 86_400 + seconds
}

/** 365.2425 days / 12, the Gregorian mean. */
const MEAN_MONTH_SECONDS = 2_629_746
