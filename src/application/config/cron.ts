import { nearMiss } from './near-miss.ts'
import type { Problem } from './problem.ts'

// The five fields of crontab(5), in order: minute, hour, day of month, month, day of week. Each is a list, separated by
// commas, of `*`, a value or a range, the first and the last with an optional step: `*/15`, `1-5`, `0-23/2`.
// Months and days of the week have English names of three letters. Sunday is 0 and 7.
interface Field {
  readonly name: string
  readonly min: number
  readonly max: number
  readonly names: readonly string[]
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
const days = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']

const fields: readonly Field[] = [
  { name: 'minute', min: 0, max: 59, names: [] },
  { name: 'hour', min: 0, max: 23, names: [] },
  { name: 'day of the month', min: 1, max: 31, names: [] },
  { name: 'month', min: 1, max: 12, names: months },
  { name: 'day of the week', min: 0, max: 7, names: days },
]

/** 29 in February: a schedule for leap years is one. */
const daysOfMonth = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

const shorthands = new Map([
  ['@hourly', '0 * * * *'],
  ['@daily', '0 0 * * *'],
  ['@midnight', '0 0 * * *'],
  ['@weekly', '0 0 * * 0'],
  ['@monthly', '0 0 1 * *'],
  ['@yearly', '0 0 1 1 *'],
  ['@annually', '0 0 1 1 *'],
])

/** A cron expression in one spelling (five fields, single spaces, shorthands such as `@daily` written out), or what is wrong. */
export function parseCron(text: string): string | Problem {
  const trimmed = text.trim()
  if (trimmed.startsWith('@')) {
    const known = shorthands.get(trimmed.toLowerCase())
    if (known !== undefined) return known
    const meant = nearMiss(trimmed, [...shorthands.keys()])
    const expected = meant === undefined ? `one of ${[...shorthands.keys()].join(', ')}` : `"${meant}"`
    return { problem: `"${text}" is not a schedule, expected ${expected}` }
  }
  const parts = trimmed.split(/\s+/)
  if (parts.length !== fields.length || trimmed === '') {
    const count = trimmed === '' ? 0 : parts.length
    return {
      problem: `"${text}" has ${count} ${count === 1 ? 'field' : 'fields'}, expected 5 (minute, hour, day of the month, month, day of the week), as in "0 2 * * *" for 02:00 every day`,
    }
  }
  const values: Set<number>[] = []
  for (const [index, field] of fields.entries()) {
    const parsed = parseField(parts[index]!, field)
    if ('problem' in parsed) return { problem: `"${text}": ${parsed.problem}` }
    values.push(parsed)
  }
  // With both day fields restricted either one is enough (crontab(5)), so only `*` as day of the week can make it never.
  if (parts[4]!.startsWith('*') && !someDateExists(values[2]!, values[3]!)) {
    return { problem: `"${text}" never comes: no month that it names has that day` }
  }
  return parts.join(' ').toLowerCase()
}

const HOUR = 3_600_000
const DAY = 24 * HOUR
/** The 29th of February can be eight years away. */
const DAYS_BACK = 8 * 366

/**
 * When the schedule was due for the last time, at or before `now`; undefined when that is more than eight years ago.
 *
 * @param cron as `parseCron` spells it
 * @param timezone IANA name: what the fields are read in
 */
export function lastDue(cron: string, timezone: string, now: Date): Date | undefined {
  const parts = cron.split(' ')
  const [minutes, hours, days, monthsNamed, weekdays] = parts.map((part, index) => {
    const values = parseField(part, fields[index]!)
    return 'problem' in values ? new Set<number>() : values
  }) as [Set<number>, Set<number>, Set<number>, Set<number>, Set<number>]
  const eitherDay = !parts[2]!.startsWith('*') && !parts[4]!.startsWith('*')
  const isDue = (day: Date) => {
    const byDate = days.has(day.getUTCDate())
    const byWeekday = weekdays.has(day.getUTCDay()) || (day.getUTCDay() === 0 && weekdays.has(7))
    return monthsNamed.has(day.getUTCMonth() + 1) && (eitherDay ? byDate || byWeekday : byDate && byWeekday)
  }
  const downwards = (values: Set<number>) => [...values].sort((a, b) => b - a)
  const wall = wallClock(now, timezone)
  for (let day = wall - (wall % DAY), looked = 0; looked < DAYS_BACK; day -= DAY, looked++) {
    if (!isDue(new Date(day))) continue
    for (const hour of downwards(hours)) {
      for (const minute of downwards(minutes)) {
        const at = day + hour * HOUR + minute * 60_000
        if (at <= wall) return instantOf(at, timezone)
      }
    }
  }
  return undefined
}

/** What the clock on the wall shows, as if it were that of UTC, in ms. */
function wallClock(at: Date, timeZone: string): number {
  const parts = new Intl.DateTimeFormat('en-GB', {
    timeZone,
    hourCycle: 'h23',
    ...{ year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' },
  }).formatToParts(at)
  const of = (type: string) => Number(parts.find((part) => part.type === type)?.value)
  return Date.UTC(of('year'), of('month') - 1, of('day'), of('hour'), of('minute'), of('second'))
}

/** Of a time that comes twice when clocks are set back, the first; of one that is left out, the moment after. */
function instantOf(wall: number, timeZone: string): Date {
  const offsetAt = (at: number) => wallClock(new Date(at), timeZone) - at
  const candidates = [wall - offsetAt(wall - DAY / 2), wall - offsetAt(wall + DAY / 2)].sort((a, b) => a - b)
  return new Date(candidates.find((at) => wallClock(new Date(at), timeZone) === wall) ?? candidates[1]!)
}

function someDateExists(daysNamed: Set<number>, monthsNamed: Set<number>): boolean {
  const earliest = Math.min(...daysNamed)
  return [...monthsNamed].some((month) => earliest <= daysOfMonth[month - 1]!)
}

function parseField(text: string, field: Field): Set<number> | Problem {
  const values = new Set<number>()
  for (const item of text.split(',')) {
    const match = /^(?:(\*)|([0-9A-Za-z]+)(?:-([0-9A-Za-z]+))?)(?:\/([0-9]+))?$/.exec(item)
    if (match === null) {
      return {
        problem: `${field.name} "${item}" is not understood, expected a number, a range or *, as in 5, 1-5 or */15`,
      }
    }
    const [, star, first = '', last, step] = match
    if (star === undefined && last === undefined && step !== undefined) {
      return { problem: `${field.name} "${item}" has a step without a range, write ${first}-${field.max}/${step}` }
    }
    const from = star === undefined ? parseValue(first, field) : field.min
    if (typeof from !== 'number') return from
    const to = star === undefined ? (last === undefined ? from : parseValue(last, field)) : field.max
    if (typeof to !== 'number') return to
    if (to < from) return { problem: `${field.name} "${item}" runs backwards, expected the smaller value first` }
    const stride = step === undefined ? 1 : Number(step)
    if (stride < 1) return { problem: `${field.name} "${item}" has a step of 0, expected 1 or more` }
    for (let value = from; value <= to; value += stride) values.add(value)
  }
  return values
}

function parseValue(text: string, field: Field): number | Problem {
  const named = field.names.indexOf(text.toLowerCase())
  if (named !== -1) return named + field.min
  if (!/^[0-9]+$/.test(text)) {
    const meant = nearMiss(text.slice(0, 3), field.names)
    if (meant !== undefined) return { problem: `${field.name} "${text}" is unknown, did you mean "${meant}"?` }
    const names = field.names.length === 0 ? '' : ` or one of ${field.names.join(', ')}`
    return { problem: `${field.name} "${text}" is unknown, expected ${field.min} to ${field.max}${names}` }
  }
  const value = Number(text)
  if (value >= field.min && value <= field.max) return value
  return { problem: `${field.name} ${text} does not exist, expected ${field.min} to ${field.max}` }
}
