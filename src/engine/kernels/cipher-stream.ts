import { type Cipheriv, createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto'
import type { Kernels } from './kernels.ts'
import { releaseMemory } from './release-memory.ts'

// Sealing and opening of many messages at once, in the memory of kernels. What is sealed is what `seal` of the master
// key makes: IV (16), AES-256-CTR of the plaintext, Poly1305 of the ciphertext (16). A cipher for each message costs
// more than the encryption of a small one, so there is one for all of them:
//
// Writing. One CTR cipher goes on from message to message. Messages begin where a block of its key stream begins, and
// the counter of that block is the message's IV: what a reader computes from the IV is just what was used.
//
// The counter of a writer starts at random, below 2^127. IVs must not repeat under one key, and no counter of a
// message's blocks may be that of another's. Within a writer both hold because each message, also an empty one, takes
// up at least one block, and the counter only grows; no writer reaches the 2^127 blocks after which it would be 0,
// which readers refuse, or wrap. Two writers that start at random and use a and b blocks meet with a probability below
// (a + b) / 2^127; with 2^32 writers and 2^50 blocks (16 PiB) in all, some pair does with one below 2^-44. Random IVs
// for each message are the same thing with a writer for each message, and so with a higher probability.
//
// Reading. IVs are anybody's. The counter blocks of a batch of messages go through one ECB cipher, which gives the key
// streams of all of them. Long messages have a CTR cipher each, which is then as fast.

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
const CIPHER_PIECE = 64 * 1024

/** Seals what is staged, a batch at a time, to places in memory. For one thread. */
export interface BatchSealer {
  /**
   * Room for a plaintext of at most `length` bytes, to be filled before `commit`; a further call replaces this one.
   * May seal what was committed so far.
   */
  reserve(length: number): Buffer
  /**
   * Takes the first `length` bytes of the room for a message that is to be sealed at `target` in the memory of the
   * kernels, where it takes up 32 bytes more. It is there after the next `flush`; the place is not to be touched
   * until then. Returns the end of the place.
   */
  commit(length: number, target: number): number
  /** Seals what was committed and is not sealed yet. */
  flush(): void
}

export interface BatchSealerOptions {
  /** Length of the longest plaintext. */
  readonly maxLength: number
  /** Seal by itself when so many bytes were committed. */
  readonly batchBytes?: number | undefined
  /** The first IV, 16 bytes, for vectors in tests. Never the same twice with a key. */
  readonly firstIv?: Uint8Array | undefined
}

/** What a sealer takes of the memory of its kernels. */
export function sealerMemory({ maxLength, batchBytes = DEFAULT_BATCH }: BatchSealerOptions): number {
  return batchBytes + maxLength + 3 * 4096 + MAX_MESSAGES * BLOCK
}

const DEFAULT_BATCH = 1024 * 1024

/** Sets the MAC key of the kernels, which must stay that. */
export function createBatchSealer(kernels: Kernels, keys: SealingKeys, options: BatchSealerOptions): BatchSealer {
  const { maxLength, batchBytes = DEFAULT_BATCH, firstIv = randomFirstIv() } = options
  const { memory } = kernels
  kernels.setMacKey(keys.macR)
  const stage = kernels.region('stage', batchBytes + maxLength + BLOCK)
  const halves = kernels.region('halves of keys', MAX_MESSAGES * BLOCK)
  const ivs = Buffer.alloc(MAX_MESSAGES * IV_SIZE)
  const cipher = createCipheriv('aes-256-ctr', keys.encrypt, firstIv)
  const ivCipher = blockCipher('aes-128-ecb', keys.macK)
  /** The counter of the first block of the stage: four words, most significant first. */
  const counter = [0, 4, 8, 12].map((at) => Buffer.from(firstIv).readUInt32BE(at))

  const starts: number[] = []
  const lengths: number[] = []
  const targets: number[] = []
  let staged = 0
  let reserved = 0
  /** The cipher and the counter agree on where they are. A failure in between would make messages nobody can open. */
  let inStep = true

  const flush = (): void => {
    if (!inStep) throw new Error('Cannot seal: an earlier batch failed half-way')
    const count = starts.length
    if (count === 0) return
    inStep = false
    const ciphertext = cipher.update(stage.bytes.subarray(0, staged))
    for (let i = 0; i < count; i++) writeCounter(ivs, IV_SIZE * i, counter, starts[i]! / BLOCK)
    halves.bytes.set(ivCipher.update(ivs.subarray(0, IV_SIZE * count)))
    for (let i = 0; i < count; i++) {
      const start = starts[i]!
      const length = lengths[i]!
      const target = targets[i]!
      ivs.copy(memory, target, IV_SIZE * i, IV_SIZE * (i + 1))
      ciphertext.copy(memory, target + IV_SIZE, start, start + length)
      kernels.poly1305(target + IV_SIZE, length, halves.offset + BLOCK * i, target + IV_SIZE + length)
    }
    releaseMemory(ciphertext)
    addBlocks(counter, staged / BLOCK)
    starts.length = 0
    lengths.length = 0
    targets.length = 0
    staged = 0
    inStep = true
  }

  return {
    reserve(length) {
      if (!(length >= 0 && length <= maxLength)) {
        throw new RangeError(`Cannot stage ${length} bytes: expected at most ${maxLength}`)
      }
      if (!inStep || staged >= batchBytes || starts.length === MAX_MESSAGES) flush()
      reserved = length
      return stage.bytes.subarray(staged, staged + length)
    },
    commit(length, target) {
      if (!(length >= 0 && length <= reserved)) {
        throw new RangeError(`Cannot commit ${length} bytes: ${reserved} were reserved`)
      }
      kernels.checkPlace(target, length + OVERHEAD)
      starts.push(staged)
      lengths.push(length)
      targets.push(target)
      // What is between messages is encrypted, too, and thrown away.
      staged += Math.max(1, Math.ceil(length / BLOCK)) * BLOCK
      reserved = 0
      return target + length + OVERHEAD
    },
    flush,
  }
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
export function createBatchOpener(kernels: Kernels, keys: SealingKeys): BatchOpener {
  const { memory } = kernels
  kernels.setMacKey(keys.macR)
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
        // In pieces: the memory of one is still in the cache when the next one takes it.
        for (let at = start; at < start + length; at += CIPHER_PIECE) {
          const plaintext = cipher.update(memory.subarray(at, Math.min(at + CIPHER_PIECE, start + length)))
          plaintext.copy(memory, at)
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
    keyStream.bytes.set(stream)
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

/** Writes the counter plus a number of blocks below 2^32. */
function writeCounter(to: Buffer, at: number, counter: readonly number[], blocks: number): void {
  let carry = blocks
  for (let word = 3; word >= 0; word--) {
    const sum = counter[word]! + carry
    to.writeUInt32BE(sum >>> 0, at + 4 * word)
    carry = sum > 0xffffffff ? 1 : 0
  }
}

function addBlocks(counter: number[], blocks: number): void {
  const sum = Buffer.alloc(IV_SIZE)
  writeCounter(sum, 0, counter, blocks)
  for (let word = 0; word < 4; word++) counter[word] = sum.readUInt32BE(4 * word)
}
