import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  counted,
  formatBytes,
  formatCount,
  formatDate,
  formatDuration,
  formatPercent,
  formatRate,
  formatRelative,
  shortId,
} from './format.ts'

test('bytes have three digits and never 1024 of a unit', () => {
  const cases: [number, string][] = [
    [0, '0 B'],
    [1, '1 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [1536, '1.50 KiB'],
    [10 * 1024, '10.0 KiB'],
    [10235, '10.0 KiB'],
    [123.4 * 1024, '123 KiB'],
    [1024 ** 2 - 1, '1.00 MiB'],
    [12.34 * 1024 ** 2, '12.3 MiB'],
    [5 * 1024 ** 4, '5.00 TiB'],
    [Number.MAX_SAFE_INTEGER, '8.00 PiB'],
    [-2048, '-2.00 KiB'],
  ]
  for (const [bytes, text] of cases) assert.equal(formatBytes(bytes), text)
})

test('rates are per second', () => {
  assert.equal(formatRate(10 * 1024 ** 2, 2000), '5.00 MiB/s')
  assert.equal(formatRate(10, 0), '0 B/s')
})

test('durations have one or two units', () => {
  const second = 1000
  const minute = 60 * second
  const hour = 60 * minute
  const cases: [number, string][] = [
    [0, '0 ms'],
    [12.4, '12 ms'],
    [999.6, '1.0 s'],
    [3400, '3.4 s'],
    [9_960, '10 s'],
    [42 * second, '42 s'],
    [59.6 * second, '1 min 00 s'],
    [3 * minute + 20 * second, '3 min 20 s'],
    [2 * hour + 5 * minute, '2 h 05 min'],
    [23 * hour + 59.9 * minute, '1 d 0 h'],
    [3 * 24 * hour + 4 * hour, '3 d 4 h'],
    [-5 * minute, '-5 min 00 s'],
  ]
  for (const [milliseconds, text] of cases) assert.equal(formatDuration(milliseconds), text)
})

test('counts have separators, and their nouns a number', () => {
  assert.equal(formatCount(130_000), '130,000')
  assert.equal(formatCount(12345678901234567890n), '12,345,678,901,234,567,890')
  assert.equal(counted(1, 'file'), '1 file')
  assert.equal(counted(0, 'file'), '0 files')
  assert.equal(counted(3, 'entry', 'entries'), '3 entries')
})

test('100% is said when all is done and not before', () => {
  assert.equal(formatPercent(999_999, 1_000_000), '99%')
  assert.equal(formatPercent(10, 10), '100%')
  assert.equal(formatPercent(0, 0), '100%')
  assert.equal(formatPercent(1, 3), '33%')
})

test('relative dates are rounded down', () => {
  const now = new Date('2026-11-01T12:00:00Z')
  const ago = (seconds: number) => formatRelative(new Date(now.getTime() - seconds * 1000), now)
  assert.equal(ago(3), 'just now')
  assert.equal(ago(59), '59 seconds ago')
  assert.equal(ago(60), '1 minute ago')
  assert.equal(ago(23 * 3600 + 3599), '23 hours ago')
  assert.equal(ago(24 * 3600), '1 day ago')
  assert.equal(ago(15 * 86400), '2 weeks ago')
  assert.equal(ago(65 * 86400), '2 months ago')
  assert.equal(ago(800 * 86400), '2 years ago')
  assert.equal(ago(-7200), 'in 2 hours')
})

test('dates are in the local zone, IDs have eight digits', () => {
  assert.equal(formatDate(new Date(2026, 10, 1, 2, 3, 4)), '2026-11-01 02:03:04')
  assert.equal(shortId('0123456789abcdef'), '01234567')
})
