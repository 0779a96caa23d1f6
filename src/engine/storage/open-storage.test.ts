import assert from 'node:assert/strict'
import { resolve } from 'node:path'
import { describe, it } from 'node:test'
import { EngineError } from '../error.ts'
import { storageFor } from './open-storage.ts'

describe('the storage at a location', () => {
  it('a path is a local folder, with or without its prefix', () => {
    assert.equal(storageFor('/srv/backup').location, '/srv/backup')
    assert.equal(storageFor('local:/srv/backup').location, '/srv/backup')
    assert.equal(storageFor('./s3:bucket').location, resolve('s3:bucket'))
    assert.equal(storageFor('disk:one').location, resolve('disk:one'))
  })

  it('what this version cannot reach is refused, and no password is repeated', () => {
    for (const location of [
      's3:https://key:hunter2@example.org/bucket',
      'sftp:user:hunter2@host:/srv',
      'sftp://user:hunter2@host/srv',
      'rest:https://user:hunter2@host/',
      'rclone:remote:hunter2',
      'b2:hunter2',
      'https://user:hunter2@host/',
    ]) {
      assert.throws(
        () => storageFor(location),
        (error) => {
          assert.ok(error instanceof EngineError)
          assert.equal(error.code, 'UNSUPPORTED')
          assert.ok(error.hint)
          assert.doesNotMatch(error.message + JSON.stringify(error.facts), /hunter2/)
          return true
        },
      )
    }
  })

  it('an empty location is not the current folder', () => {
    for (const location of ['', 'local:', 'a\0b']) assert.throws(() => storageFor(location), { code: 'UNSUPPORTED' })
  })
})
