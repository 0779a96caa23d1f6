import { type Cipheriv, createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto'
import { copyBytes } from './copy-bytes.ts'
import type { Kernels } from './kernels.ts'
import { type BlockCipher, type CounterMode, type OpensslAes, opensslAes } from './openssl-aes.ts'
import { releaseMemory } from './release-memory.ts'

// Sealing and opening of many messages in the memory of kernels, in place. What is sealed is what `seal` of the master
// key makes: IV (16), AES-256-CTR of the plaintext, Poly1305 of the ciphertext (16). Setting up a documented cipher for
// each message costs more than the encryption of a small one. Where OpenSSL can be called directly there is one context
// for all, set to a counter each time; otherwise:
//
// Writing. One CTR cipher goes on from message to message. Messages begin where a block of its key stream begins, and
// the counter of that block is the message's IV: what a reader computes from the IV is just what was used.
//
// Reading. IVs are anybody's. The counter blocks of a batch of messages go through one ECB cipher, which gives the key
// streams of all of them. Long messages have a CTR cipher each, which is then as fast.
//
// The counter of a writer starts at random, below 2^127. IVs must not repeat under one key, and no counter of a
// message's blocks may be that of another's. Within a writer both hold because each message, also an empty one, takes
// up at least one block, and the counter only grows; no writer reaches the 2^127 blocks after which it would be 0,
// which readers refuse, or wrap. Two writers that start at random and use a and b blocks meet with a probability below
// (a + b) / 2^127; with 2^32 writers and 2^50 blocks (16 PiB) in all, some pair does with one below 2^-44. Random IVs
// for each message are the same thing with a writer for each message, and so with a higher probability.

/** What the sealing of one repository needs; a master key is that. */
export interface SealingKeys {
  /** AES-256, 32 bytes. */
  readonly encrypt: Uint8Array
  /** AES-128 of IVs, 16 bytes. */
  readonly macK: Uint8Array
  /** The fixed half of the key of Poly1305, 16 bytes. */
  readonly macR: Uint8Array
}

const IV_SIZE = 16
const MAC_SIZE = 16
const BLOCK = 16
const OVERHEAD = IV_SIZE + MAC_SIZE

/** Messages of a batch: bounds what IVs and halves of keys take. */
const MAX_MESSAGES = 4096
/** Bytes of key stream made at once. */
const KEY_STREAM = 256 * 1024
/** From this length on, a message has a cipher of its own. */
const LONG_MESSAGE = 16 * 1024
/** In pieces the memory of one result is still in the cache when the next one takes it. */
const CIPHER_PIECE = 64 * 1024

/** Seals messages one after the other. For one thread. */
export interface Sealer {
  /**
   * Seals the `length` bytes of plaintext that lie 16 bytes after `offset`, in place; the sealed message is 32 bytes longer
   * and begins at `offset`. Returns its end.
   */
  seal(offset: number, length: number): number
}

export interface SealsOptions {
  /** Documented ciphers alone, for tests of what is done without OpenSSL's own. */
  readonly publicOnly?: boolean | undefined
}

export interface SealerOptions extends SealsOptions {
  /** The first IV, 16 bytes, for vectors in tests. Never the same twice with a key. */
  readonly firstIv?: Uint8Array | undefined
}

/** What a sealer takes of the memory of its kernels. */
export const SEALER_MEMORY = 4096

/** Sets the MAC key of the kernels, which must stay that. */
export function createSealer(kernels: Kernels, keys: SealingKeys, options: SealerOptions = {}): Sealer {
  const { firstIv = randomFirstIv(), publicOnly = false } = options
  const { memory } = kernels
  const aes = publicOnly ? undefined : opensslAes()
  kernels.setMacKey(keys.macR)
  const half = kernels.region('half of a key', BLOCK)
  const encrypt = aes === undefined ? publicStream(keys, firstIv) : aes.counterMode256(keys.encrypt)
  const halve = halver(aes, keys)
  /** The counter of the next message's first block: four words, most significant first. */
  const counter = [0, 4, 8, 12].map((at) => Buffer.from(firstIv).readUInt32BE(at))
  /** The cipher and the counter agree on where they are. A failure in between would make messages nobody can open. */
  let inStep = true
  return {
    seal(offset, length) {
      if (!(length >= 0)) throw new RangeError(`Cannot seal ${length} bytes`)
      kernels.checkPlace(offset, length + OVERHEAD)
      if (!inStep) throw new Error('Cannot seal: an earlier message failed half-way')
      inStep = false
      writeCounter(memory, offset, counter)
      const iv = memory.subarray(offset, offset + IV_SIZE)
      const start = offset + IV_SIZE
      encrypt(iv, memory.subarray(start, start + length))
      halve(iv, half.bytes)
      kernels.poly1305(start, length, half.offset, start + length)
      addBlocks(counter, Math.max(1, Math.ceil(length / BLOCK)))
      inStep = true
      return offset + length + OVERHEAD
    },
  }
}

/** For counters that are each the one before plus the blocks of its message, and only those. */
function publicStream(keys: SealingKeys, firstIv: Uint8Array): CounterMode {
  const cipher = createCipheriv('aes-256-ctr', keys.encrypt, firstIv)
  const padding = Buffer.alloc(BLOCK)
  return (_iv, bytes) => {
    for (let at = 0; at < bytes.length; at += CIPHER_PIECE) {
      const ciphertext = cipher.update(bytes.subarray(at, at + CIPHER_PIECE))
      copyBytes(ciphertext, bytes.subarray(at))
      releaseMemory(ciphertext)
    }
    const pad = Math.max(1, Math.ceil(bytes.length / BLOCK)) * BLOCK - bytes.length
    if (pad > 0) cipher.update(padding.subarray(0, pad))
  }
}

/** Writes the half of a one-time key that belongs to an IV. */
function halver(aes: OpensslAes | undefined, keys: SealingKeys): BlockCipher {
  if (aes !== undefined) return aes.blocks128(keys.macK)
  const cipher = blockCipher('aes-128-ecb', keys.macK)
  return (iv, half) => half.set(cipher.update(iv))
}

export interface SealedPlace {
  readonly offset: number
  /** 32 more than that of the plaintext. */
  readonly length: number
}

/** Opens sealed messages in place. For one thread. */
export interface BatchOpener {
  /**
   * Decrypts each message where it is: the plaintext is then 16 bytes after its offset, and 32 bytes shorter. Nothing
   * is decrypted before its authenticator matched. Returns the indexes of those that did not, or that are too short or
   * have an IV of zeros; these are left as they were. Places must not overlap.
   */
  open(places: readonly SealedPlace[]): number[]
}

/** What an opener takes of the memory of its kernels. */
export const OPENER_MEMORY = KEY_STREAM + MAX_MESSAGES * BLOCK

/** Sets the MAC key of the kernels, which must stay that. */
export function createBatchOpener(kernels: Kernels, keys: SealingKeys, options: SealsOptions = {}): BatchOpener {
  const aes = options.publicOnly ? undefined : opensslAes()
  kernels.setMacKey(keys.macR)
  return aes === undefined ? publicOpener(kernels, keys) : opensslOpener(kernels, keys, aes)
}

function opensslOpener(kernels: Kernels, keys: SealingKeys, aes: OpensslAes): BatchOpener {
  const { memory } = kernels
  const half = kernels.region('half of a key', BLOCK)
  const halve = halver(aes, keys)
  const decrypt = aes.counterMode256(keys.encrypt)
  return {
    open(places) {
      for (const { offset, length } of places) kernels.checkPlace(offset, length)
      const failed: number[] = []
      for (const [i, { offset, length }] of places.entries()) {
        const start = offset + IV_SIZE
        const end = offset + length - MAC_SIZE
        if (length < OVERHEAD || kernels.zeroEnd(offset, start) === start) {
          failed.push(i)
          continue
        }
        const iv = memory.subarray(offset, start)
        halve(iv, half.bytes)
        if (kernels.isAuthentic(start, end - start, half.offset, end)) decrypt(iv, memory.subarray(start, end))
        else failed.push(i)
      }
      return failed
    },
  }
}

function publicOpener(kernels: Kernels, keys: SealingKeys): BatchOpener {
  const { memory } = kernels
  const keyStream = kernels.region('key stream', KEY_STREAM)
  const halves = kernels.region('halves of keys', MAX_MESSAGES * BLOCK)
  const ivs = Buffer.alloc(MAX_MESSAGES * IV_SIZE)
  const ivCipher = blockCipher('aes-128-ecb', keys.macK)
  const keyStreamCipher = blockCipher('aes-256-ecb', keys.encrypt)
  const encrypt = createSecretKey(keys.encrypt)

  const openBatch = (places: readonly SealedPlace[], from: number, to: number, failed: number[]): void => {
    for (let i = from; i < to; i++) {
      const { offset } = places[i]!
      memory.copy(ivs, IV_SIZE * (i - from), offset, offset + IV_SIZE)
    }
    halves.bytes.set(ivCipher.update(ivs.subarray(0, IV_SIZE * (to - from))))

    const short: SealedPlace[] = []
    let used = 0
    for (let i = from; i < to; i++) {
      const place = places[i]!
      const { offset } = place
      const length = place.length - OVERHEAD
      const start = offset + IV_SIZE
      const half = halves.offset + BLOCK * (i - from)
      const isSealed = length >= 0 && kernels.zeroEnd(offset, start) < start
      if (!isSealed || !kernels.isAuthentic(start, length, half, start + length)) {
        failed.push(i)
      } else if (length >= LONG_MESSAGE) {
        const cipher = createDecipheriv('aes-256-ctr', encrypt, memory.subarray(offset, start))
        for (let at = start; at < start + length; at += CIPHER_PIECE) {
          const plaintext = cipher.update(memory.subarray(at, Math.min(at + CIPHER_PIECE, start + length)))
          copyBytes(plaintext, memory.subarray(at))
          releaseMemory(plaintext)
        }
      } else {
        const blocks = Math.ceil(length / BLOCK)
        if (used + BLOCK * blocks > KEY_STREAM) {
          decrypt(short, used)
          short.length = 0
          used = 0
        }
        kernels.counterBlocks(offset, blocks, keyStream.offset + used)
        used += BLOCK * blocks
        short.push(place)
      }
    }
    decrypt(short, used)
  }

  /** With the counter blocks of these in the place of their key streams. */
  const decrypt = (places: readonly SealedPlace[], used: number): void => {
    if (used === 0) return
    const stream = keyStreamCipher.update(keyStream.bytes.subarray(0, used))
    copyBytes(stream, keyStream.bytes)
    releaseMemory(stream)
    let at = keyStream.offset
    for (const { offset, length } of places) {
      kernels.xor(offset + IV_SIZE, at, length - OVERHEAD)
      at += Math.ceil((length - OVERHEAD) / BLOCK) * BLOCK
    }
  }

  return {
    open(places) {
      for (const { offset, length } of places) kernels.checkPlace(offset, length)
      const failed: number[] = []
      for (let from = 0; from < places.length; from += MAX_MESSAGES) {
        openBatch(places, from, Math.min(from + MAX_MESSAGES, places.length), failed)
      }
      return failed
    },
  }
}

/** Without padding each block comes out at once, and ECB carries nothing over to the next. */
function blockCipher(algorithm: 'aes-128-ecb' | 'aes-256-ecb', key: Uint8Array): Cipheriv {
  return createCipheriv(algorithm, key, null).setAutoPadding(false)
}

function randomFirstIv(): Buffer {
  for (;;) {
    const iv = randomBytes(IV_SIZE)
    iv[0]! &= 0x7f
    if (iv.some((byte) => byte !== 0)) return iv
  }
}

function writeCounter(to: Buffer, at: number, counter: readonly number[]): void {
  for (let word = 0; word < 4; word++) to.writeUInt32BE(counter[word]!, at + 4 * word)
}

/** Adds a number of blocks below 2^32. */
function addBlocks(counter: number[], blocks: number): void {
  let carry = blocks
  for (let word = 3; word >= 0; word--) {
    const sum = counter[word]! + carry
    counter[word] = sum >>> 0
    carry = sum > 0xffffffff ? 1 : 0
  }
}
