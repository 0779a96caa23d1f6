/** Day 0 is a Monday, the first of a year of 365 days: 2029-01-01. */
export const FIRST_DAY = Date.UTC(2029, 0, 1)
export const DAY = 86_400_000

export function dateOf(day: number): Date {
  return new Date(FIRST_DAY + day * DAY + 2 * 3_600_000)
}

/**
 * Days whose backup is still there on the last day under the schedule that the procedure promises: every day for 30
 * days, the first of each week for 90, the first of each month for a year, the first of each year for seven.
 */
export function promisedDays(last: number): number[] {
  const kept: number[] = []
  for (let day = 0; day <= last; day++) {
    const age = last - day
    const date = dateOf(day)
    const firstOfWeek = day === 0 || day % 7 === 0
    const firstOfMonth = day === 0 || date.getUTCDate() === 1
    const firstOfYear = day === 0 || (firstOfMonth && date.getUTCMonth() === 0)
    if (age < 30 || (age < 90 && firstOfWeek) || (age < 365 && firstOfMonth) || (age < 7 * 365.25 && firstOfYear)) {
      kept.push(day)
    }
  }
  return kept
}

/**
 * Days whose backup the script's own commands leave: `find -name "20*" -mtime +30 -exec rm -rf` takes what is older than
 * 31 whole days, and takes it from `monthly/` too, where another script copied the first of each month.
 */
export function daysLeftByScript(last: number): number[] {
  const kept: number[] = []
  for (let day = Math.max(0, last - 30); day <= last; day++) {
    kept.push(day)
    if (dateOf(day).getUTCDate() === 1) kept.push(day)
  }
  return kept
}
