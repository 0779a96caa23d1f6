import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import fc from 'fast-check'
import { formatTimestamp, localTimestamp, now, parseTimestamp, type Timestamp, UNSET_TIME } from './timestamp.ts'

const { TZ } = process.env
afterEach(() => {
  if (TZ === undefined) delete process.env.TZ
  else process.env.TZ = TZ
})

const SECOND = 1_000_000_000n
const YEAR_0 = -62_167_219_200n * SECOND
const YEAR_10000 = 253_402_300_800n * SECOND

const offset = fc.integer({ min: -23 * 60 - 59, max: 23 * 60 + 59 })
const timestamp: fc.Arbitrary<Timestamp> = fc
  .record({ wall: fc.bigInt({ min: YEAR_0, max: YEAR_10000 - 1n }), offset })
  .map(({ wall, offset }) => ({ ns: wall - BigInt(offset) * 60n * SECOND, offset }))

test('a time that was written reads as the same instant and offset', () => {
  fc.assert(fc.property(timestamp, (time) => assert.deepEqual(parseTimestamp(formatTimestamp(time)), time)))
})

test('in UTC the text is the one of Date', () => {
  fc.assert(
    fc.property(
      fc.date({
        min: new Date('0000-01-01T00:00:00Z'),
        max: new Date('9999-12-31T23:59:59.999Z'),
        noInvalidDate: true,
      }),
      (date) => {
        const text = formatTimestamp({ ns: BigInt(date.getTime()) * 1_000_000n, offset: 0 })
        assert.equal(
          text,
          date
            .toISOString()
            .replace(/\.?0*Z$/, (zeros) => (date.getTime() % 1000 === 0 ? 'Z' : zeros.replace(/0+Z/, 'Z'))),
        )
      },
    ),
  )
})

for (const [text, ns, minutes] of [
  ['1970-01-01T00:00:00Z', 0n, 0],
  ['1969-12-31T23:59:59.999999999Z', -1n, 0],
  ['2026-01-31T04:05:06.789+02:00', 1_769_825_106_789_000_000n, 120],
  ['2024-02-29T23:59:59.1-03:30', 1_709_263_799_100_000_000n, -210],
  ['2000-02-29T00:00:00.00000001Z', 951_782_400_000_000_010n, 0],
  ['0001-01-01T00:00:00Z', UNSET_TIME.ns, 0],
  ['0000-01-01T00:00:00Z', YEAR_0, 0],
  ['0099-12-31T00:00:00Z', -59_011_545_600n * SECOND, 0],
  ['9999-12-31T23:59:59.999999999Z', YEAR_10000 - 1n, 0],
] as const) {
  test(`${text} is read and written`, () => {
    assert.deepEqual(parseTimestamp(text), { ns, offset: minutes })
    assert.equal(formatTimestamp({ ns, offset: minutes }), text)
  })
}

test('digits beyond the ninth are dropped, and an offset of zero is UTC', () => {
  assert.equal(parseTimestamp('1970-01-01T00:00:00.1234567899999Z').ns, 123_456_789n)
  assert.deepEqual(parseTimestamp('1970-01-01T00:00:01+00:00'), { ns: SECOND, offset: 0 })
  assert.deepEqual(parseTimestamp('1970-01-01T00:00:01-00:00'), { ns: SECOND, offset: 0 })
})

for (const text of [
  '',
  'yesterday',
  '2024-01-01t00:00:00Z',
  '2024-01-01T00:00:00z',
  '2024-01-01 00:00:00Z',
  '2024-01-01T00:00:00',
  '2024-01-01T00:00:00+0100',
  '2024-01-01T00:00:00+24:00',
  '2024-01-01T00:00:00+01:60',
  '2024-01-01T00:00:00.Z',
  '2024-01-01T00:00:00,5Z',
  '2024-01-01T24:00:00Z',
  '2024-01-01T1:00:00Z',
  '2024-01-01T00:60:00Z',
  '2024-01-01T23:59:60Z',
  '2024-00-01T00:00:00Z',
  '2024-13-01T00:00:00Z',
  '2024-01-00T00:00:00Z',
  '2024-04-31T00:00:00Z',
  '2023-02-29T00:00:00Z',
  '1900-02-29T00:00:00Z',
  '10000-01-01T00:00:00Z',
  '-001-01-01T00:00:00Z',
  '2024-01-01T00:00:00Z\n',
  ' 2024-01-01T00:00:00Z',
  '٢٠٢٤-01-01T00:00:00Z',
]) {
  test(`${JSON.stringify(text)} is no time`, () => {
    assert.throws(() => parseTimestamp(text), { name: 'EngineError', code: 'CORRUPT' })
  })
}

for (const [what, wall, text] of [
  ['after 9999 is written as 9999', 253_433_923_200n, '9999-01-01T00:00:00Z'],
  ['before 0 is written as 0', -62_167_305_600n, '0000-12-31T00:00:00Z'],
  ['far in the future keeps its day and time', 9_223_372_036_854_775_807n, '9999-12-04T15:30:07Z'],
] as const) {
  test(`a year ${what}`, () => assert.equal(formatTimestamp({ ns: wall * SECOND, offset: 0 }), text))
}

test('29 February of a year that cannot be written becomes 1 March', () => {
  const day = 253_402_300_800n + 59n * 86_400n // 29 February 10000
  assert.equal(formatTimestamp({ ns: day * SECOND, offset: 0 }), '9999-03-01T00:00:00Z')
})

for (const [zone, text] of [
  ['UTC', '2024-01-15T12:00:00Z'],
  ['Europe/London', '2024-01-15T12:00:00Z'],
  ['Europe/London', '2024-07-15T12:00:00+01:00'],
  ['Asia/Kolkata', '2024-01-15T12:00:00+05:30'],
  ['America/St_Johns', '2024-01-15T12:00:00-03:30'],
  ['America/St_Johns', '2024-07-15T12:00:00-02:30'],
  ['Europe/Berlin', '1969-07-20T21:17:40.000000001+01:00'],
  ['Pacific/Apia', '2011-12-29T23:59:59.999999999-10:00'],
  ['Pacific/Apia', '2011-12-31T00:00:00+14:00'],
] as const) {
  test(`in ${zone} local time is written as ${text}`, () => {
    process.env.TZ = zone
    assert.equal(formatTimestamp(localTimestamp(parseTimestamp(text).ns)), text)
  })
}

test('a nanosecond before a change of the clocks has the offset of before', () => {
  process.env.TZ = 'Europe/Berlin'
  const change = parseTimestamp('2024-03-31T01:00:00Z').ns
  assert.equal(localTimestamp(change - 1n).offset, 60)
  assert.equal(localTimestamp(change).offset, 120)
  const before1970 = parseTimestamp('1949-04-10T01:00:00Z').ns
  assert.equal(localTimestamp(before1970).offset - localTimestamp(before1970 - 1n).offset, 60)
})

test('an offset of odd seconds loses them, and the instant stays', () => {
  process.env.TZ = 'Africa/Monrovia' // 44 minutes and 30 seconds behind, until 1972
  const time = localTimestamp(0n)
  assert.equal(formatTimestamp(time), '1969-12-31T23:16:00-00:44')
  assert.equal(parseTimestamp(formatTimestamp(time)).ns, 0n)
})

test('an instant that no Date can hold has an offset too', () => {
  process.env.TZ = 'Asia/Kolkata'
  assert.deepEqual(localTimestamp(2n ** 63n * SECOND), { ns: 2n ** 63n * SECOND, offset: 330 })
})

test('now is the present', () => {
  const [before, time, after] = [Date.now(), now(), Date.now()]
  assert.ok(BigInt(before) * 1_000_000n <= time.ns && time.ns <= BigInt(after) * 1_000_000n)
  assert.equal(time.offset, 0 - new Date().getTimezoneOffset())
})
