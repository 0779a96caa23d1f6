import { nearMiss } from './near-miss.ts'
import type { Problem } from './problem.ts'

/** A name of the IANA time zone database in its own capitals, as `Intl` knows it. */
export function parseTimeZone(text: string): string | Problem {
  if (/^[+-]/.test(text) || /^(UTC|GMT)[+-]/i.test(text)) {
    return {
      problem: `"${text}" is an offset, which knows no summer time, expected a name, as in UTC or Europe/Berlin`,
    }
  }
  // By far the most frequent, and asking `Intl` for the first time takes as long as all the rest of a config file.
  if (text === 'UTC') return text
  const known = canonicalName(text)
  if (known !== undefined) return known
  const zones = Intl.supportedValuesOf('timeZone')
  const cities = zones.map((zone) => zone.slice(zone.lastIndexOf('/') + 1))
  const meant = nearMiss(text, zones) ?? zones[cities.indexOf(nearMiss(text, cities) ?? '')]
  const expected = meant === undefined ? 'expected a name, as in UTC or Europe/Berlin' : `did you mean "${meant}"?`
  return { problem: `"${text}" is not a time zone, ${expected}` }
}

function canonicalName(zone: string): string | undefined {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone
  } catch (error) {
    // ECMA-402 leaves this as the only way to ask about zones and aliases that `supportedValuesOf` does not list.
    if (error instanceof RangeError) return undefined
    throw error
  }
}
