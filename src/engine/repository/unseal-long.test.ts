import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { generateMasterKey, seal } from '../format/master-key.ts'
import { unsealLong } from './unseal-long.ts'

describe('unsealLong', () => {
  const key = generateMasterKey()

  it('gives back what was sealed, whatever the length', () => {
    for (const length of [0, 1, 4096, 70_000, 3_000_001]) {
      const plaintext = randomBytes(length)
      assert.ok(unsealLong(key, seal(key, plaintext)).equals(plaintext), `${length} bytes`)
    }
  })

  it('refuses what was changed, or sealed under another key, as `unseal` does', () => {
    const sealed = seal(key, randomBytes(100_000))
    for (const at of [0, 16, 50_000, sealed.length - 17, sealed.length - 1]) {
      const altered = Buffer.from(sealed)
      altered[at]! ^= 4
      assert.throws(() => unsealLong(key, altered), { code: 'UNAUTHENTIC' }, `byte ${at}`)
    }
    assert.throws(() => unsealLong(generateMasterKey(), sealed), { code: 'UNAUTHENTIC' })
  })

  it('refuses what was never sealed', () => {
    assert.throws(() => unsealLong(key, Buffer.alloc(31)), { code: 'CORRUPT' })
    assert.throws(() => unsealLong(key, Buffer.alloc(100_000)), { code: 'CORRUPT' })
  })
})
