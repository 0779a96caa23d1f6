import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EngineError } from '../error.ts'
import { isDamage, isFileProblem } from './file-problem.ts'

test('damage is what asking again cannot help', () => {
  assert.equal(isDamage(new EngineError('UNAUTHENTIC', 'altered')), true)
  assert.equal(isDamage(new EngineError('STORAGE', 'input/output error')), false)
})

test('neither an interruption, nor a lost lock, nor a defect is the problem of a file', () => {
  for (const code of ['INTERRUPTED', 'LOCKED', 'SYSTEM', 'SELF_CHECK', 'NO_SPACE'] as const) {
    assert.equal(isFileProblem(new EngineError(code, 'not of the file')), false)
  }
  assert.equal(isFileProblem(new DOMException('aborted', 'AbortError')), false)
  assert.equal(isFileProblem(new TypeError('a defect')), false)
  assert.equal(isFileProblem(new EngineError('PERMISSION', 'of the file')), true)
  assert.equal(isFileProblem(new EngineError('CORRUPT', 'of the file')), true)
})
