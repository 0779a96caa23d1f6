import assert from 'node:assert/strict'
import { it } from 'node:test'
import { parseMaxUnused, unusedLimit } from './max-unused.ts'

it('what may stay unused is read as restic reads it', () => {
  assert.deepEqual(['unlimited', '0%', '12.5%', '0', '10M'].map(parseMaxUnused), [
    'unlimited',
    { percent: 0 },
    { percent: 12.5 },
    { bytes: 0 },
    { bytes: 10 * 2 ** 20 },
  ])
  for (const text of ['', '100%', '-1%', '5 %', 'all', '-5']) assert.equal(parseMaxUnused(text), undefined, text)
})

it('a share is one of what is left in the end', () => {
  assert.equal(unusedLimit({ percent: 5 }, 950), 50)
  assert.equal(unusedLimit({ percent: 0 }, 950), 0)
  assert.equal(unusedLimit({ bytes: 7 }, 950), 7)
  assert.equal(unusedLimit('unlimited', 950), Number.POSITIVE_INFINITY)
})
