import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { after, approximateSeconds, before, duration, parseDuration } from './duration.ts'

suite('durations', () => {
  test('months and days are of the calendar, the rest is exact', () => {
    assert.deepEqual(parseDuration('24h'), { text: '24h', months: 0, days: 0, seconds: 86_400 })
    assert.deepEqual(parseDuration('1y2mo3w4d5h6min7s'), {
      text: '1y2mo3w4d5h6min7s',
      months: 14,
      days: 25,
      seconds: 5 * 3600 + 6 * 60 + 7,
    })
    assert.deepEqual(parseDuration('007d'), { text: '7d', months: 0, days: 7, seconds: 0 })
  })

  const wrong: [string, string][] = [
    ['30', '"30" has no unit after 30, write 30d for days or 30h for hours'],
    ['5m', '"5m" could mean minutes or months, write 5min or 5mo'],
    [
      '3x',
      '"3x" has an unknown unit "x", expected one of y (years), mo (months), w (weeks), d (days), h (hours), min (minutes), s (seconds)',
    ],
    ['30 d', '"30 d" is not a length of time, expected numbers with units, as in 24h, 30d, 1y or 1d12h'],
    ['-1d', '"-1d" is not a length of time, expected numbers with units, as in 24h, 30d, 1y or 1d12h'],
    ['soon', '"soon" is not a length of time, expected numbers with units, as in 24h, 30d, 1y or 1d12h'],
    ['0d', '"0d" is no time at all, expected more than zero'],
    ['12h1d', '"12h1d" does not go from large units to small ones, each once, as in 1d12h'],
    ['1d1d', '"1d1d" does not go from large units to small ones, each once, as in 1d12h'],
    ['99999y', '"99999y" is longer than 1000 years'],
  ]
  for (const [text, problem] of wrong) {
    test(`"${text}" is refused with what would be right`, () => assert.deepEqual(parseDuration(text), { problem }))
  }

  test('going back ends on a day that the month has', () => {
    assert.equal(before(new Date('2024-02-29T12:00:00Z'), duration('1y')).toISOString(), '2023-02-28T12:00:00.000Z')
    assert.equal(before(new Date('2025-03-31T00:00:00Z'), duration('1mo')).toISOString(), '2025-02-28T00:00:00.000Z')
    assert.equal(before(new Date('2025-01-01T00:00:00Z'), duration('1d12h')).toISOString(), '2024-12-30T12:00:00.000Z')
  })

  test('going forward crosses months and years', () => {
    assert.equal(after(new Date('2025-01-31T00:00:00Z'), duration('1mo')).toISOString(), '2025-02-28T00:00:00.000Z')
    assert.equal(after(new Date('2025-12-31T23:00:00Z'), duration('2h')).toISOString(), '2026-01-01T01:00:00.000Z')
  })

  test('lengths can be compared', () => {
    assert.ok(approximateSeconds(duration('30d')) < approximateSeconds(duration('1mo')))
    assert.ok(approximateSeconds(duration('1mo')) < approximateSeconds(duration('31d')))
    assert.equal(approximateSeconds(duration('1y')), 365.2425 * 86_400)
  })
})
