import assert from 'node:assert/strict'
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { type ProcessLibrary, processLibrary } from '../process-library.ts'
import { tryOut } from './openssl-aes.ts'

/** The library of this process, with some functions that are missing or do something else. */
function altered(
  functions: Readonly<Record<string, ((...args: unknown[]) => unknown) | undefined>>,
): () => ProcessLibrary {
  return () => {
    const { koffi, library } = processLibrary()
    const func = (prototype: string) => {
      const name = Object.keys(functions).find((name) => prototype.includes(`${name}(`))
      if (name === undefined) return library.func(prototype)
      const replacement = functions[name]
      if (replacement === undefined) throw new Error(`Cannot find function '${name}'`)
      return replacement
    }
    return { koffi, library: { func } as unknown as ProcessLibrary['library'] }
  }
}

describe('opensslAes', () => {
  it('does what the documented ciphers do, whatever the length', () => {
    const aes = tryOut(processLibrary)!
    const key = randomBytes(32)
    const counterMode = aes.counterMode256(key)
    const blocks = aes.blocks128(key.subarray(0, 16))
    for (let length = 0; length < 300; length++) {
      const iv = randomBytes(16)
      const plaintext = randomBytes(length)
      const bytes = Buffer.from(plaintext)
      counterMode(iv, bytes)
      assert.deepEqual(createDecipheriv('aes-256-ctr', key, iv).update(bytes), plaintext)
      const whole = Buffer.alloc(16 * Math.ceil(length / 16), plaintext)
      const output = Buffer.alloc(whole.length)
      blocks(whole, output)
      assert.deepEqual(
        createCipheriv('aes-128-ecb', key.subarray(0, 16), null).setAutoPadding(false).update(whole),
        output,
      )
    }
  })

  it('keeps keys apart, also when contexts come and go', () => {
    const aes = tryOut(processLibrary)!
    const iv = randomBytes(16)
    for (let i = 0; i < 3000; i++) {
      const key = randomBytes(32)
      const bytes = Buffer.alloc(50)
      aes.counterMode256(key)(iv, bytes)
      assert.deepEqual(createCipheriv('aes-256-ctr', key, iv).update(Buffer.alloc(50)), bytes)
    }
  })

  it('refuses what would make OpenSSL read or write beyond', () => {
    const aes = tryOut(processLibrary)!
    assert.throws(() => aes.counterMode256(randomBytes(31)), RangeError)
    assert.throws(() => aes.blocks128(randomBytes(32)), RangeError)
    assert.throws(() => aes.counterMode256(randomBytes(32))(randomBytes(15), Buffer.alloc(1)), RangeError)
    const blocks = aes.blocks128(randomBytes(16))
    assert.throws(() => blocks(Buffer.alloc(15), Buffer.alloc(16)), RangeError)
    assert.throws(() => blocks(Buffer.alloc(32), Buffer.alloc(16)), RangeError)
  })

  for (const [what, functions] of Object.entries({
    'a function that is missing': { EVP_EncryptUpdate: undefined },
    'a context that is not made': { EVP_CIPHER_CTX_new: () => null },
    'a key that is refused': { EVP_EncryptInit_ex: () => 0 },
    'an encryption that does nothing': { EVP_EncryptUpdate: () => 1 },
    'an encryption that fails': { EVP_EncryptUpdate: () => 0 },
    'an encryption that only says it is done': {
      EVP_EncryptUpdate: (...args: unknown[]) => {
        ;(args[2] as Int32Array)[0] = args[4] as number
        return 1
      },
    },
  })) {
    it(`is not there with ${what}`, () => {
      assert.equal(tryOut(altered(functions)), undefined)
    })
  }

  it('is not there where the native module does not load', () => {
    const load = () => {
      throw new Error('no build for this system')
    }
    assert.equal(tryOut(load), undefined)
  })
})
