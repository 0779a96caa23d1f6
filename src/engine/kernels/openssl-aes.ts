import { createCipheriv } from 'node:crypto'
import { isPublicOnly, type ProcessLibrary, processLibrary } from '../process-library.ts'

// AES of the OpenSSL that the runtime is linked with, in place. The documented ciphers return each result in new memory:
// measured on 1 MiB, 395 µs of which 140 are encryption, and as much again later for the collector and the system's pages;
// on 1 KiB 3.1 µs against 0.8.
//
// That a runtime exports these functions of libcrypto (EVP_EncryptInit(3), stable since OpenSSL 1.1) is promised by nobody.
// So they are tried out first, against the documented ciphers; without them, or with a wrong result, there is `undefined`, and
// callers use those.

/** AES-256 of one key in counter mode from the block `iv` on, in place. Encrypts and decrypts. */
export type CounterMode = (iv: Uint8Array, bytes: Uint8Array) => void

/** AES-128 of one key, of whole blocks, each for itself. `output` may be `input`. */
export type BlockCipher = (input: Uint8Array, output: Uint8Array) => void

/** For one thread. The schedule of a key stays in memory until the collector takes the function that was made with it. */
export interface OpensslAes {
  counterMode256(key: Uint8Array): CounterMode
  blocks128(key: Uint8Array): BlockCipher
}

/** What does not fit an `int` of C. No blob is nearly as long. */
const MOST = 2 ** 30

let found: { readonly aes: OpensslAes | undefined } | undefined

/** Undefined where the runtime does not have it, or it does not do what it should. Takes some 15 ms the first time. */
export function opensslAes(): OpensslAes | undefined {
  found ??= { aes: isPublicOnly() ? undefined : tryOut(processLibrary) }
  return found.aes
}

/** For tests of what happens where functions are missing or wrong; otherwise `opensslAes`. */
export function tryOut(load: () => ProcessLibrary): OpensslAes | undefined {
  try {
    const aes = declare(load())
    return doesWhatItShould(aes) ? aes : undefined
  } catch {
    // No native module, no such function, or one that refuses: the documented ciphers are there.
    return undefined
  }
}

function declare({ library }: ProcessLibrary): OpensslAes {
  const newContext = library.func('void *EVP_CIPHER_CTX_new(void)')
  const freeContext = library.func('void EVP_CIPHER_CTX_free(void *)')
  const initialise = library.func('int EVP_EncryptInit_ex(void *, void *, void *, const void *, const void *)')
  const setPadding = library.func('int EVP_CIPHER_CTX_set_padding(void *, int)')
  const update = library.func('int EVP_EncryptUpdate(void *, void *, void *, const void *, int)')
  const ctr256 = library.func('void *EVP_aes_256_ctr(void)')
  const ecb128 = library.func('void *EVP_aes_128_ecb(void)')
  const written = new Int32Array(1)
  const contexts = new FinalizationRegistry((context) => freeContext(context))

  const open = (cipher: unknown, key: Uint8Array, length: number): unknown => {
    if (key.length !== length)
      throw new RangeError(`Cannot encrypt with ${key.length} bytes of key: expected ${length}`)
    const context: unknown = newContext()
    if (context === null) throw new Error('OpenSSL makes no context')
    if (initialise(context, cipher, null, key, null) !== 1) throw new Error('OpenSSL takes no key')
    if (setPadding(context, 0) !== 1) throw new Error('OpenSSL insists on padding')
    return context
  }
  const run = (context: unknown, input: Uint8Array, output: Uint8Array): void => {
    const { length } = input
    if (length === 0) return
    if (length > MOST || output.length < length) throw new RangeError(`Cannot encrypt ${length} bytes at once`)
    written[0] = -1
    if (update(context, output, written, input, length) !== 1 || written[0] !== length) {
      throw new Error(`OpenSSL encrypted ${written[0]} of ${length} bytes`)
    }
  }
  return {
    counterMode256(key) {
      const context = open(ctr256(), key, 32)
      const counterMode: CounterMode = (iv, bytes) => {
        if (iv.length !== 16) throw new RangeError(`Cannot encrypt from ${iv.length} bytes on: expected 16`)
        if (initialise(context, null, null, null, iv) !== 1) throw new Error('OpenSSL takes no counter')
        run(context, bytes, bytes)
      }
      contexts.register(counterMode, context)
      return counterMode
    },
    blocks128(key) {
      const context = open(ecb128(), key, 16)
      const blocks: BlockCipher = (input, output) => {
        if (input.length % 16 !== 0) throw new RangeError(`Cannot encrypt ${input.length} bytes: expected whole blocks`)
        run(context, input, output)
      }
      contexts.register(blocks, context)
      return blocks
    },
  }
}

/** Against the documented ciphers, over a counter that carries, on memory that threads share, and in what comes after. */
function doesWhatItShould(aes: OpensslAes): boolean {
  const key = Buffer.from(Array.from({ length: 32 }, (_, i) => i * 7 + 1))
  const iv = Buffer.from('00112233445566ffffffffffffffffff', 'hex')
  const memory = Buffer.from(new SharedArrayBuffer(2048))
  const counterMode = aes.counterMode256(key)
  for (const length of [1000, 1, 16, 1000]) {
    const plaintext = Buffer.from(Array.from({ length }, (_, i) => i & 0xff))
    memory.fill(0xa5)
    memory.set(plaintext, 100)
    counterMode(iv, memory.subarray(100, 100 + length))
    const expected = createCipheriv('aes-256-ctr', key, iv).update(plaintext)
    if (!expected.equals(memory.subarray(100, 100 + length))) return false
    if (memory[99] !== 0xa5 || memory[100 + length] !== 0xa5) return false
  }
  const small = key.subarray(0, 16)
  const blocks = aes.blocks128(small)
  for (const length of [16, 64, 16]) {
    const input = Buffer.from(Array.from({ length }, (_, i) => (i * 3) & 0xff))
    memory.fill(0xa5)
    blocks(input, memory.subarray(16, 16 + length))
    const expected = createCipheriv('aes-128-ecb', small, null).setAutoPadding(false).update(input)
    if (!expected.equals(memory.subarray(16, 16 + length)) || memory[15] !== 0xa5 || memory[16 + length] !== 0xa5)
      return false
  }
  return true
}
