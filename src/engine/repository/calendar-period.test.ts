import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { formatTimestamp, parseTimestamp } from '../format/timestamp.ts'
import { formatPeriod, parsePeriod, subtractPeriod } from './calendar-period.ts'

describe('a period of the calendar', () => {
  it('is read as restic reads it, in any order, a unit that comes twice counting once', () => {
    assert.deepEqual(parsePeriod('6y5m234d37h'), { years: 6, months: 5, days: 234, hours: 37 })
    assert.deepEqual(parsePeriod(' 2h1y '), { years: 1, months: 0, days: 0, hours: 2 })
    assert.deepEqual(parsePeriod('1d2d'), { years: 0, months: 0, days: 2, hours: 0 })
  })

  it('is nothing else', () => {
    for (const text of ['', '5', 'd', '5w', '-1d', '1.5d', '1d ago', '1D'])
      assert.equal(parsePeriod(text), undefined, text)
  })

  it('is written as restic prints it', () => {
    assert.equal(formatPeriod({ years: 1, months: 0, days: 30, hours: 5 }), '1y30d5h')
    assert.equal(formatPeriod({ years: 0, months: 0, days: 0, hours: 0 }), '')
  })
})

describe('going back from a time', () => {
  const zone = process.env.TZ
  afterEach(() => {
    if (zone === undefined) delete process.env.TZ
    else process.env.TZ = zone
  })

  const back = (time: string, period: string, timeZone = 'UTC') => {
    process.env.TZ = timeZone
    return formatTimestamp({ ns: subtractPeriod(parseTimestamp(time), parsePeriod(period)!), offset: 0 })
  }

  it('a day that the month does not have counts on into the next', () => {
    assert.equal(back('2024-03-31T10:00:00Z', '1m'), '2024-03-02T10:00:00Z')
    assert.equal(back('2023-03-31T10:00:00Z', '1m'), '2023-03-03T10:00:00Z')
    assert.equal(back('2024-02-29T10:00:00Z', '1y'), '2023-03-01T10:00:00Z')
  })

  it('goes over years and months, whichever way they add up', () => {
    assert.equal(back('2024-01-15T00:00:00Z', '1m'), '2023-12-15T00:00:00Z')
    assert.equal(back('2024-01-15T00:00:00.5Z', '2y13m20d30h'), '2020-11-23T18:00:00.5Z')
  })

  it('keeps the clock time over a change of clocks in the zone of this process, and only there', () => {
    assert.equal(back('2024-04-10T08:00:00+02:00', '1m', 'Europe/Berlin'), '2024-03-10T07:00:00Z')
    assert.equal(back('2024-04-10T08:00:00+02:00', '1m', 'UTC'), '2024-03-10T06:00:00Z')
  })

  it('hours are hours', () => {
    assert.equal(back('2024-03-31T12:00:00+02:00', '24h', 'Europe/Berlin'), '2024-03-30T10:00:00Z')
  })
})
