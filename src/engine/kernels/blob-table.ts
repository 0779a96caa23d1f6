import { EngineError } from '../error.ts'

// A hash table of SHA-256 digests that all threads share, to decide who stores a blob: the one who asks first. No
// messages, no locks.
//
// Words are 32 bits. After 16 words of header (word 0: slots of the first level, word 1: levels) comes a tag for each
// slot, and then the slots, 64 bytes and so a line of the cache each:
//
//   tag          0 free; else 31 bits of the digest, and bit 0: the slot is there to be read
//   slot  0-7    the digest
//         8-15   values, the caller's
//
// Tags stand together, so that looking through many of them reads few lines.
//
// Slots are claimed by compare-and-exchange and never become free again. A digest is looked for in a fixed run of
// slots, and in that of the next level only if no slot of the run is free: so all threads try the same slots in the
// same order, the first to find a free one takes it, and the others see what it holds. Each level is as large as all
// before it together. A table that was made too small so grows, with one more run to search for each doubling, and
// without anything ever being moved; memory of levels that are not reached is never touched and so costs nothing.

/** Slots of a run. Runs begin to be full when a level is full to about nine tenths. */
const RUN = 32
const SLOT_WORDS = 16
const DIGEST_WORDS = 8
const HEADER_WORDS = 16
const MIN_SLOTS = 1024
const MAX_SLOTS = 2 ** 26
/** What a level is made for, so that most digests are found at once. */
const LOAD = 0.75

/** Set in the claim of a slot, so that it never looks free. */
const TAKEN = 2
const PUBLISHED = 1

/** Another thread is writing a digest: it is done in less than a microsecond, unless it was preempted or terminated. */
const NAP_MILLISECONDS = 1
const MAX_NAPS = 10_000

/** A slot has so many words for values of the caller. */
export const BLOB_TABLE_VALUES = SLOT_WORDS - DIGEST_WORDS

export interface BlobTable {
  /** To hand to other threads, which make their table of it by `openBlobTable`. */
  readonly buffer: SharedArrayBuffer
  /**
   * The slot of the digest in the 32 bytes at `offset`; where it has none it gets one, and the answer is `-1 - slot`.
   * All threads that claim a digest get the same slot, exactly one of them as a negative number. `SYSTEM` when the
   * table is full, or when another thread was terminated while it claimed the digest.
   */
  claim(bytes: Uint8Array, offset?: number): number
  /** The slot of the digest, or -1. */
  find(bytes: Uint8Array, offset?: number): number
  /** A value of a slot by its index, 0 to 7: an unsigned number of 32 bits, 0 until it is set. */
  value(slot: number, index: number): number
  setValue(slot: number, index: number, value: number): void
  /** The digest of a slot that `claim` or `find` gave. */
  digest(slot: number): Buffer
}

/**
 * A table that is at its best with up to `expected` digests. `limit`, at most 2^26 slots of 68 bytes, is what addresses
 * are laid aside for; of that only what is used takes memory.
 */
export function createBlobTable(expected: number, limit: number = Math.max(8 * expected, 2 ** 22)): BlobTable {
  if (!(expected >= 0 && limit >= expected && limit * LOAD <= MAX_SLOTS)) {
    throw new RangeError(`Cannot make a table for ${expected} to ${limit} digests: expected at most ${MAX_SLOTS}`)
  }
  let slots = MIN_SLOTS
  while (slots * LOAD < expected && slots < MAX_SLOTS) slots *= 2
  let levels = 1
  while (slots * 2 ** (levels - 1) * LOAD < limit && slots * 2 ** (levels - 1) < MAX_SLOTS) levels++
  let buffer: SharedArrayBuffer
  try {
    buffer = new SharedArrayBuffer(4 * (HEADER_WORDS + (1 + SLOT_WORDS) * slots * 2 ** (levels - 1)))
  } catch (cause) {
    throw new EngineError('SYSTEM', `Cannot allocate a table for ${expected} to ${limit} digests`, { cause })
  }
  new Int32Array(buffer).set([slots, levels])
  return openBlobTable(buffer)
}

/** The table in a buffer that `createBlobTable` made, in this or another thread. */
export function openBlobTable(buffer: SharedArrayBuffer): BlobTable {
  const words = new Int32Array(buffer)
  const firstLevel = words[0]!
  const levels = words[1]!
  const totalSlots = firstLevel * 2 ** (levels - 1)
  const slotsStart = HEADER_WORDS + totalSlots
  const sought = new Int32Array(DIGEST_WORDS)

  /** As `claim`; or without taking a slot, when it answers -1 where there is none. */
  const search = (bytes: Uint8Array, offset: number, takes: boolean): number => {
    if (!(offset >= 0 && offset + 32 <= bytes.length)) {
      throw new RangeError(`Cannot read a digest at ${offset} of ${bytes.length} bytes`)
    }
    for (let i = 0; i < DIGEST_WORDS; i++) {
      const at = offset + 4 * i
      sought[i] = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    }
    const claimed = (sought[0]! | TAKEN) & ~PUBLISHED
    const published = claimed | PUBLISHED
    let level = 0
    let base = 0
    let size = firstLevel
    for (;;) {
      // Each level goes by another word, so that what crowds one level is scattered in the next.
      const start = sought[1 + (level % (DIGEST_WORDS - 1))]!
      for (let i = 0; i < RUN; i++) {
        const slot = base + ((start + i) & (size - 1))
        const tagAt = HEADER_WORDS + slot
        // Most are of other digests and stay so: only the others are worth an atomic read, which takes ten times as long.
        let tag = words[tagAt]!
        if (tag !== 0 && (tag | PUBLISHED) !== published) continue
        tag = Atomics.load(words, tagAt)
        if (tag === 0) {
          if (!takes) return -1
          tag = Atomics.compareExchange(words, tagAt, 0, claimed)
          if (tag === 0) {
            words.set(sought, slotsStart + SLOT_WORDS * slot)
            Atomics.store(words, tagAt, published)
            return -1 - slot
          }
        }
        if ((tag | PUBLISHED) !== published) continue
        if (tag === claimed) waitForDigest(words, tagAt, claimed)
        const at = slotsStart + SLOT_WORDS * slot
        let same = 0
        while (same < DIGEST_WORDS && words[at + same] === sought[same]) same++
        if (same === DIGEST_WORDS) return slot
      }
      if (++level === levels) break
      base += size
      size = base
    }
    if (!takes) return -1
    throw new EngineError('SYSTEM', `Cannot keep track of more than about ${Math.floor(base * LOAD)} blobs at once`)
  }

  const valueAt = (slot: number, index: number): number => {
    if (slot >= 0 && slot < totalSlots && index >= 0 && index < BLOB_TABLE_VALUES) {
      return slotsStart + SLOT_WORDS * slot + DIGEST_WORDS + index
    }
    throw new RangeError(`Cannot use value ${index} of slot ${slot}`)
  }

  return {
    buffer,
    claim: (bytes, offset = 0) => search(bytes, offset, true),
    find: (bytes, offset = 0) => search(bytes, offset, false),
    value: (slot, index) => Atomics.load(words, valueAt(slot, index)) >>> 0,
    setValue(slot, index, value) {
      Atomics.store(words, valueAt(slot, index), value)
    },
    digest(slot) {
      const at = valueAt(slot, 0) - DIGEST_WORDS
      const digest = Buffer.alloc(4 * DIGEST_WORDS)
      for (let i = 0; i < DIGEST_WORDS; i++) digest.writeInt32LE(words[at + i]!, 4 * i)
      return digest
    },
  }
}

function waitForDigest(words: Int32Array, at: number, claimed: number): void {
  for (let naps = 0; Atomics.load(words, at) === claimed; naps++) {
    if (naps === MAX_NAPS) {
      throw new EngineError('SYSTEM', 'Cannot look up a blob: the thread that announced it has ended')
    }
    Atomics.wait(words, at, claimed, NAP_MILLISECONDS)
  }
}
