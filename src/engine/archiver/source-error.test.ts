import assert from 'node:assert/strict'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { describe, it } from 'node:test'
import { EngineError } from '../error.ts'
import { listExtendedAttributes } from '../os/extended-attributes.ts'
import { fromSource, hasVanished } from './source-error.ts'

const MISSING = Buffer.from('/nowhere/at/all')

function errorOf(look: () => unknown): EngineError {
  try {
    fromSource(MISSING, look)
  } catch (error) {
    return error as EngineError
  }
  return assert.fail('nothing was thrown')
}

describe('fromSource', () => {
  it('returns what was found', () => {
    assert.equal(
      fromSource(MISSING, () => 7),
      7,
    )
  })

  it('says what the system says, of Node and of the C library, with its number as a fact', () => {
    const calls = [() => readFileSync(MISSING), () => listExtendedAttributes(MISSING)]
    for (const call of calls) {
      const error = errorOf(call)
      assert.deepEqual([error.code, error.facts.errno, hasVanished(error)], ['SOURCE', 'ENOENT', true])
      assert.match(error.message, /\/nowhere\/at\/all.*ENOENT/)
      assert.ok(error.cause instanceof Error)
    }
    assert.equal(
      errorOf(() => readFileSync(MISSING)).message,
      'Cannot read /nowhere/at/all: no such file or directory (ENOENT)',
    )
  })

  it('knows what vanished from what is there and cannot be read', () => {
    assert.equal(hasVanished(errorOf(() => readdirSync('/etc/passwd/below'))), true)
    assert.equal(hasVanished(errorOf(() => readlinkSync('/etc'))), false)
  })

  it('leaves defects, and what is wrong with the whole machine, as they are', () => {
    const noLibrary = new EngineError('UNSUPPORTED', 'there is no C library')
    assert.equal(
      errorOf(() => assert.fail(noLibrary)),
      noLibrary,
    )
    const defect = new TypeError('a defect')
    assert.equal(
      errorOf(() => assert.fail(defect)),
      defect,
    )
    // ERR_INVALID_ARG_VALUE has a code, and is no answer of the system.
    assert.ok(errorOf(() => readFileSync('a\0b')) instanceof TypeError)
  })
})
