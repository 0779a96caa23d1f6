import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApplicationError } from '../application/error.ts'
import { EngineError } from '../engine/error.ts'
import { CliError } from './error.ts'
import { causeChain, exitCodeOfError, exitCodeOfOutcome, unwrapAbort } from './exit-code.ts'

test('outcomes and errors have the exit codes that scripts for restic know', () => {
  assert.equal(exitCodeOfOutcome('succeeded'), 0)
  assert.equal(exitCodeOfOutcome('failed'), 1)
  assert.equal(exitCodeOfOutcome('incomplete'), 3)
  assert.equal(exitCodeOfOutcome('interrupted'), 130)
  assert.equal(exitCodeOfError(new EngineError('NO_REPOSITORY', 'x')), 10)
  assert.equal(exitCodeOfError(new EngineError('LOCKED', 'x')), 11)
  assert.equal(exitCodeOfError(new EngineError('WRONG_PASSWORD', 'x')), 12)
  assert.equal(exitCodeOfError(new EngineError('INTERRUPTED', 'x')), 130)
  assert.equal(exitCodeOfError(new EngineError('CORRUPT', 'x')), 1)
  assert.equal(exitCodeOfError(new CliError('USAGE', 'x')), 1)
  assert.equal(exitCodeOfError(new TypeError('x')), 1)
  assert.equal(exitCodeOfError('thrown text'), 1)
})

test('a wrapped error keeps its exit code', () => {
  const cause = new EngineError('LOCKED', 'x')
  assert.equal(exitCodeOfError(new ApplicationError('SOURCE', 'y', { cause })), 11)
})

test("Node's abort error gives way to the reason of the abort", () => {
  const abort = (cause: Error) =>
    Object.assign(new Error('The operation was aborted', { cause }), { name: 'AbortError' })
  const lost = new EngineError('LOCKED', 'the lock is gone')
  assert.equal(exitCodeOfError(abort(lost)), 11)
  assert.equal(unwrapAbort(abort(lost)), lost)
  assert.equal(exitCodeOfError(abort(new EngineError('STORAGE', 'x'))), 1)
  assert.equal(exitCodeOfError(abort(new Error('x'))), 130)
})

test("Node's own abort error counts as interrupted", () => {
  assert.equal(exitCodeOfError(new DOMException('x', 'AbortError')), 130)
})

test('a chain of causes that bites its tail ends', () => {
  const error = new Error('a')
  error.cause = error
  assert.deepEqual(causeChain(error), [error])
})
