import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { codeOfErrno, errnoName, errnoOf } from './errno.ts'

describe('error numbers', () => {
  it('a number has its name, and always the same one of two', () => {
    assert.equal(errnoName(2), 'ENOENT')
    assert.equal(errnoName(95), 'ENOTSUP')
    assert.equal(errnoName(99999), 'errno 99999')
  })

  it('an error of Node tells its number even where Node has no name for it', () => {
    assert.throws(
      () => readFileSync('/nonexistent'),
      (error) => errnoOf(error) === 'ENOENT',
    )
    const quota = Object.assign(new Error('Unknown system error -122'), {
      errno: -122,
      code: 'Unknown system error -122',
    })
    assert.equal(errnoOf(quota), 'EDQUOT')
    assert.equal(errnoOf(new Error('other')), undefined)
    assert.equal(errnoOf('EEXIST'), undefined)
  })

  it('what an error number means is said once for all', () => {
    assert.equal(codeOfErrno('EDQUOT'), 'NO_SPACE')
    assert.equal(codeOfErrno('EROFS'), 'PERMISSION')
    assert.equal(codeOfErrno('EIO'), undefined)
    assert.equal(codeOfErrno(undefined), undefined)
  })
})
