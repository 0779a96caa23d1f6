import assert from 'node:assert/strict'
import test from 'node:test'
import { median, sizeFinding } from './inspect-snapshot.ts'

test('the median of sizes', () => {
  assert.equal(median([]), undefined)
  assert.equal(median([7]), 7)
  assert.equal(median([9, 1, 5]), 5)
  assert.equal(median([4, 1, 2, 100]), 3)
})

test('a size is unusual beyond 20 % of the median, either way', () => {
  const usual = [100_000, 100_000, 100_000]
  for (const bytes of [80_000, 100_000, 120_000]) assert.equal(sizeFinding(bytes, usual), undefined, `${bytes}`)
  assert.match(
    sizeFinding(79_999, usual)!.message,
    /^has 79999 bytes, the median of the last 3 backups is 100000 \(−20 %\)$/,
  )
  assert.match(sizeFinding(120_001, usual)!.message, /\(\+20 %\)$/)
  assert.match(sizeFinding(0, [10])!.message, /^has 0 bytes, the backup before had 10 \(−100 %\)$/)
  assert.match(sizeFinding(10_000, [0])!.message, /\(from nothing\)$/)
})

test('nothing to compare with, and a line more in a small file, are no warning', () => {
  assert.equal(sizeFinding(10, []), undefined)
  assert.equal(sizeFinding(4000, [100]), undefined)
  assert.ok(sizeFinding(4500, [100]))
  assert.ok(sizeFinding(70, [100]), 'a loss is one however small')
})
