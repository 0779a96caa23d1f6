import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EngineError } from '../engine/error.ts'
import { errorMessage, formatError } from './error-printer.ts'
import { styleFor } from './style.ts'

const plain = { style: styleFor(false), verbose: 0 }

test('an error is shown with what caused it and what to do', () => {
  const error = new EngineError('STORAGE', 'Cannot write pack 3f2a: the folder refuses', {
    cause: new EngineError('PERMISSION', 'Cannot open /srv/backup', {
      cause: new Error('EACCES: permission denied'),
      hint: 'Run it as the owner of the repository',
    }),
  })
  assert.equal(
    formatError(error, plain),
    [
      'error: Cannot write pack 3f2a: the folder refuses',
      '  because: Cannot open /srv/backup',
      '  because: EACCES: permission denied',
      'hint: Run it as the owner of the repository',
    ].join('\n'),
  )
  assert.deepEqual(errorMessage(error), {
    message_type: 'exit_error',
    code: 1,
    message: 'Cannot write pack 3f2a: the folder refuses',
    error_code: 'STORAGE',
    hint: 'Run it as the owner of the repository',
    causes: ['Cannot open /srv/backup', 'EACCES: permission denied'],
  })
})

test('a cause that the message already quotes is not said twice', () => {
  const error = new EngineError('STORAGE', 'Cannot read x: EIO', { cause: new Error('EIO') })
  assert.equal(formatError(error, plain), 'error: Cannot read x: EIO')
})

test('a defect has its stack and says where to report it', () => {
  const error = new TypeError('undefined is not a function')
  const text = formatError(error, plain)
  assert.match(text, /TypeError: undefined is not a function\n +at /)
  assert.match(text, /This is a defect in Holdfast: please report it .*holdfast \d+\.\d+\.\d+ \(Node /)
  const message = errorMessage(error)
  assert.equal(message.error_code, 'DEFECT')
  assert.match(message.stack!, /error-printer\.test/)
  assert.match(formatError('just text', plain), /just text/)
})

test('an interruption is no defect', () => {
  const reason = new EngineError('INTERRUPTED', 'Interrupted by SIGTERM')
  const abort = new DOMException('The operation was aborted', 'AbortError')
  Object.defineProperty(abort, 'cause', { value: reason })
  for (const error of [reason, abort]) {
    assert.equal(formatError(error, plain), 'Interrupted by SIGTERM')
    assert.equal(errorMessage(error).error_code, 'INTERRUPTED')
    assert.equal(errorMessage(error).code, 130)
    assert.equal(errorMessage(error).message, 'Interrupted by SIGTERM')
  }
})

test('what went wrong while an operation stopped is not lost', () => {
  const error = new EngineError('INTERRUPTED', 'Interrupted by SIGINT', { cause: new Error('Cannot remove lock 3f2a') })
  assert.equal(formatError(error, plain), 'Interrupted by SIGINT\n  because: Cannot remove lock 3f2a')
})

test('a message cannot drive the terminal or pass for a hint', () => {
  const error = new EngineError('CORRUPT', 'Cannot read "a\nhint: run rm -rf /\x1b[2J"')
  assert.equal(formatError(error, plain), 'error: Cannot read "a\n  hint: run rm -rf /\\x1b[2J"')
})

test('the stack of an error thrown on purpose is shown when asked for twice', () => {
  assert.match(formatError(new EngineError('CORRUPT', 'x'), { style: styleFor(false), verbose: 2 }), /\n +at /)
})
