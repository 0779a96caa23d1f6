import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { generateMasterKey, unseal } from '../format/master-key.ts'
import { sealLong } from './seal-long.ts'

describe('sealLong', () => {
  const key = generateMasterKey()

  it('seals what `unseal` opens, whatever the length', () => {
    for (const length of [0, 1, 2047, 2048, 70_001, 3_000_000]) {
      const plaintext = randomBytes(length)
      assert.ok(unseal(key, sealLong(key, plaintext)).equals(plaintext), `${length} bytes`)
    }
  })

  it('never seals twice under one IV, and keeps nothing of what was sealed before', () => {
    const plaintext = randomBytes(5000)
    const [first, second] = [sealLong(key, plaintext), sealLong(key, plaintext)]
    assert.ok(!first.subarray(0, 16).equals(second.subarray(0, 16)))
    assert.ok(unseal(key, first).equals(unseal(key, second)))
  })
})
