import {
  type Cipheriv,
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'
import { EngineError } from '../error.ts'
import { poly1305 } from '../kernels/poly1305.ts'

// What is sealed, with one key for everything in a repository:
//
//   offset  size  field
//        0    16  IV: the initial counter block, big-endian
//       16     n  plaintext under AES-256-CTR (encrypt, IV)
//   n + 16    16  Poly1305 of the ciphertext, one-time key r || AES-128 (k, IV)
//
// Neither the IV nor a length is in the authenticated message; the IV enters through the one-time key.
// Two messages sealed under the same IV give away their difference and allow forgeries, so IVs are random.

/** The secret of a repository, or what a password is derived to in order to seal that secret. */
export interface MasterKey {
  /** AES-256 key, 32 bytes. */
  readonly encrypt: Buffer
  /** AES-128 key of the authenticator, called `k` in the format; 16 bytes. */
  readonly macK: Buffer
  /** Multiplier of the authenticator, called `r`; 16 bytes, stored without the clamping of Poly1305. */
  readonly macR: Buffer
}

const IV_SIZE = 16
const MAC_SIZE = 16

/** What sealing adds to the size of its plaintext. */
export const SEAL_OVERHEAD = IV_SIZE + MAC_SIZE

export function generateMasterKey(): MasterKey {
  return { encrypt: randomBytes(32), macK: randomBytes(16), macR: randomBytes(16) }
}

/** Encrypts and authenticates; the same plaintext gives other bytes each time. */
export function seal(key: MasterKey, plaintext: Uint8Array): Buffer {
  return sealWithIv(key, nextIv(), plaintext)
}

/** Random bytes for IVs: asking the system for each takes longer than sealing a small message. Each is used once. */
let ivs = Buffer.alloc(0)

function nextIv(): Buffer {
  if (ivs.length === 0) ivs = randomBytes(256 * IV_SIZE)
  const iv = ivs.subarray(0, IV_SIZE)
  ivs = ivs.subarray(IV_SIZE)
  return iv
}

/** Like `seal`, for bytes that must come out the same again. An IV must never be used twice with a key. */
export function sealWithIv(key: MasterKey, iv: Uint8Array, plaintext: Uint8Array): Buffer {
  if (isZero(iv)) throw new RangeError('Cannot seal with an IV of zeros: readers of the format refuse it')
  const cipher = createCipheriv('aes-256-ctr', prepared(key).encrypt, iv)
  const ciphertext = cipher.update(plaintext)
  cipher.final()
  return Buffer.concat([iv, ciphertext, authenticate(key, iv, ciphertext)])
}

/**
 * The plaintext of what `seal` made. Nothing is decrypted before the authenticator matched: `UNAUTHENTIC`
 * says that the bytes were changed or sealed under another key, `CORRUPT` that they were never sealed.
 */
export function unseal(key: MasterKey, sealed: Uint8Array): Buffer {
  if (sealed.length < SEAL_OVERHEAD) {
    throw new EngineError(
      'CORRUPT',
      `Cannot decrypt ${sealed.length} bytes: expected at least the ${SEAL_OVERHEAD} of an IV and an authenticator`,
      { facts: { what: 'sealed bytes', size: sealed.length } },
    )
  }
  const iv = sealed.subarray(0, IV_SIZE)
  if (isZero(iv)) {
    throw new EngineError(
      'CORRUPT',
      `Cannot decrypt ${sealed.length} bytes: the IV is all zeros, expected a random one`,
      {
        facts: { what: 'sealed bytes', size: sealed.length },
      },
    )
  }
  const ciphertext = sealed.subarray(IV_SIZE, sealed.length - MAC_SIZE)
  const mac = sealed.subarray(sealed.length - MAC_SIZE)
  if (!timingSafeEqual(mac, authenticate(key, iv, ciphertext))) {
    throw new EngineError(
      'UNAUTHENTIC',
      `Cannot decrypt ${sealed.length} bytes: they were changed since they were stored, or belong to another key`,
      { facts: { what: 'sealed bytes', size: sealed.length } },
    )
  }
  const decipher = createDecipheriv('aes-256-ctr', prepared(key).encrypt, iv)
  const plaintext = decipher.update(ciphertext)
  decipher.final()
  return plaintext
}

/** Poly1305-AES of the message; the IV is what the paper calls the nonce. */
export function authenticate(key: MasterKey, iv: Uint8Array, message: Uint8Array): Buffer {
  return poly1305(Buffer.concat([key.macR, prepared(key).macK.update(iv)]), message)
}

interface PreparedKey {
  readonly encrypt: KeyObject
  /** AES-128 of single blocks: without padding each one comes out at once, and ECB carries nothing over to the next. */
  readonly macK: Cipheriv
}

/** There is a cipher of either kind for every blob: preparing a key each time takes ten times as long as one block. */
const preparedKeys = new WeakMap<MasterKey, PreparedKey>()

function prepared(key: MasterKey): PreparedKey {
  let found = preparedKeys.get(key)
  if (found === undefined) {
    const macK = createCipheriv('aes-128-ecb', key.macK, null).setAutoPadding(false)
    found = { encrypt: createSecretKey(key.encrypt), macK }
    preparedKeys.set(key, found)
  }
  return found
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0)
}
