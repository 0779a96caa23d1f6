import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { parseAt, parseMoment } from './moment.ts'

const zone = process.env.TZ
before(() => {
  process.env.TZ = 'Europe/Berlin'
})
after(() => {
  if (zone === undefined) delete process.env.TZ
  else process.env.TZ = zone
})

const iso = (ns: bigint) => new Date(Number(ns / 1_000_000n)).toISOString()

test('a moment ends where what was written ends: the day, the minute, the second', () => {
  for (const [text, first, last] of [
    ['2026-11-01', '2026-10-31T23:00:00.000Z', '2026-11-01T22:59:59.999Z'],
    ['2026-11-01 14:30', '2026-11-01T13:30:00.000Z', '2026-11-01T13:30:59.999Z'],
    ['2026-11-01T14:30:05', '2026-11-01T13:30:05.000Z', '2026-11-01T13:30:05.999Z'],
    ['2026-11-01T14:30:05Z', '2026-11-01T14:30:05.000Z', '2026-11-01T14:30:05.999Z'],
    ['2026-11-01 14:30:05.25+05:30', '2026-11-01T09:00:05.250Z', '2026-11-01T09:00:05.250Z'],
  ] as const) {
    const moment = parseMoment(text)!
    assert.deepEqual([iso(moment.first), iso(moment.last)], [first, last], text)
  }
})

test('a day on which the clocks change is as long as it is', () => {
  const spring = parseMoment('2026-03-29')!
  assert.equal(spring.last + 1n - spring.first, 23n * 3_600_000_000_000n)
  const autumn = parseMoment('2026-10-25')!
  assert.equal(autumn.last + 1n - autumn.first, 25n * 3_600_000_000_000n)
})

test('what no calendar has is no moment', () => {
  for (const text of [
    '',
    'yesterday',
    '2026-13-01',
    '2026-02-29',
    '2026-11-01 24:00',
    '2026-11-01 14:60',
    '01.11.2026',
  ]) {
    assert.equal(parseMoment(text), undefined, text)
    assert.throws(() => parseAt(text), { code: 'commander.invalidArgument' })
  }
  assert.ok(parseMoment('2028-02-29'))
})
