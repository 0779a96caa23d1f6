import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  authenticate,
  generateMasterKey,
  type MasterKey,
  SEAL_OVERHEAD,
  seal,
  sealWithIv,
  unseal,
} from './master-key.ts'

const hex = (text: string) => Buffer.from(text, 'hex')
const range = (from: number, size: number) => Buffer.from(Array.from({ length: size }, (_, i) => from + i))

const KEY: MasterKey = { encrypt: range(0x80, 32), macK: range(0xa0, 16), macR: range(0xb0, 16) }

const bytes = fc.uint8Array({ maxLength: 500 })

test('the authenticator of the Poly1305-AES paper', () => {
  const key = {
    encrypt: Buffer.alloc(32),
    macK: hex('ec074c835580741701425b623235add6'),
    macR: hex('851fc40c3467ac0be05cc20404f3f700'),
  }
  const mac = authenticate(key, hex('fb447350c4e868c52ac3275cf9d4327e'), hex('f3f6'))
  assert.equal(mac.toString('hex'), 'f4c633c3044fc145f84f335cb81953de')
})

test('what restic opened under this key and IV comes out the same', () => {
  const config = Buffer.from(`{"version":2,"id":"${'0'.repeat(64)}","chunker_polynomial":"25b468838dcb75"}`)
  const sealed = sealWithIv(KEY, range(0xd0, 16), config)
  assert.equal(sealed.length, 155)
  assert.equal(sealed.subarray(-16).toString('hex'), 'cf5058b1d8e45cd34fc0e85302efc6a0')
  assert.deepEqual(unseal(KEY, sealed), config)
})

test('unsealing inverts sealing, in place of a larger buffer too', () => {
  fc.assert(
    fc.property(bytes, fc.nat(7), (plaintext, shift) => {
      const key = generateMasterKey()
      const sealed = Buffer.concat([Buffer.alloc(shift, 1), seal(key, plaintext), Buffer.alloc(shift, 2)])
      const view = sealed.subarray(shift, sealed.length - shift)
      assert.equal(view.length, plaintext.length + SEAL_OVERHEAD)
      assert.deepEqual(unseal(key, view), Buffer.from(plaintext))
    }),
  )
})

test('the same plaintext is sealed differently each time', () => {
  const plaintext = Buffer.alloc(100)
  assert.notDeepEqual(seal(KEY, plaintext), seal(KEY, plaintext))
})

test('every single flipped bit is noticed', () => {
  for (const size of [0, 1, 16, 45]) {
    const sealed = seal(KEY, Buffer.alloc(size, 0x5a))
    for (let bit = 0; bit < 8 * sealed.length; bit++) {
      const changed = Buffer.from(sealed)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      assert.throws(() => unseal(KEY, changed), { code: 'UNAUTHENTIC' })
    }
  }
})

test('a missing or a further byte at either end is noticed', () => {
  const sealed = seal(KEY, Buffer.alloc(40))
  for (const changed of [
    sealed.subarray(1),
    sealed.subarray(0, -1),
    Buffer.concat([sealed, Buffer.alloc(1)]),
    Buffer.concat([Buffer.alloc(1), sealed]),
  ]) {
    assert.throws(() => unseal(KEY, changed), { code: 'UNAUTHENTIC' })
  }
})

test('each part of the key matters', () => {
  const sealed = seal(KEY, Buffer.from('some text'))
  const other = generateMasterKey()
  assert.throws(() => unseal({ ...KEY, macK: other.macK }, sealed), { code: 'UNAUTHENTIC' })
  assert.throws(() => unseal({ ...KEY, macR: other.macR }, sealed), { code: 'UNAUTHENTIC' })
  assert.notDeepEqual(unseal({ ...KEY, encrypt: other.encrypt }, sealed), Buffer.from('some text'))
})

test('what is too short to be sealed is corrupt, not merely from another key', () => {
  for (const size of [0, 1, SEAL_OVERHEAD - 1]) {
    assert.throws(() => unseal(KEY, Buffer.alloc(size, 1)), { code: 'CORRUPT' })
  }
})

test('an IV of zeros is neither written nor read', () => {
  assert.throws(() => sealWithIv(KEY, Buffer.alloc(16), Buffer.alloc(1)), RangeError)
  const forged = Buffer.concat([Buffer.alloc(16), authenticate(KEY, Buffer.alloc(16), Buffer.alloc(0))])
  assert.throws(() => unseal(KEY, forged), { code: 'CORRUPT' })
})

test('generated keys have the sizes of the format and differ', () => {
  const [a, b] = [generateMasterKey(), generateMasterKey()]
  assert.deepEqual([a.encrypt.length, a.macK.length, a.macR.length], [32, 16, 16])
  assert.notDeepEqual(a, b)
})
