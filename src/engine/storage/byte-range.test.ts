import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { resolveRange } from './byte-range.ts'
import type { FileName } from './storage.ts'

const CONFIG: FileName = { type: 'config', id: '' }

describe('byte ranges', () => {
  it('without a range it is all of the file', () => {
    assert.deepEqual(resolveRange(CONFIG, undefined, 10, 'here'), { offset: 0, length: 10 })
    assert.deepEqual(resolveRange(CONFIG, undefined, 0, 'here'), { offset: 0, length: 0 })
  })

  it('a range lies where it says, counted from either end', () => {
    assert.deepEqual(resolveRange(CONFIG, { offset: 3, length: 7 }, 10, 'here'), { offset: 3, length: 7 })
    assert.deepEqual(resolveRange(CONFIG, { fromEnd: 4 }, 10, 'here'), { offset: 6, length: 4 })
    assert.deepEqual(resolveRange(CONFIG, { fromEnd: 10 }, 10, 'here'), { offset: 0, length: 10 })
  })

  it('one byte too many is truncated, with the size found and the size expected', () => {
    for (const range of [{ offset: 3, length: 8 }, { offset: 11, length: 0 }, { fromEnd: 11 }]) {
      assert.throws(() => resolveRange(CONFIG, range, 10, 'here'), {
        code: 'TRUNCATED',
        message: 'Cannot read config in here: it has 10 bytes, expected at least 11',
        facts: { type: 'config', id: '', location: 'here', size: 10, expected: 11 },
      })
    }
  })

  it('what is no range is no matter of size', () => {
    for (const range of [
      { offset: -1, length: 1 },
      { offset: 0, length: Number.NaN },
      { offset: 1e300, length: 1 },
      { fromEnd: -1 },
    ]) {
      assert.throws(() => resolveRange(CONFIG, range, 10, 'here'), { code: 'STORAGE' })
    }
  })
})
