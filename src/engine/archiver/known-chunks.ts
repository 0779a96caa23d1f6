import { createCipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import { EngineError } from '../error.ts'
import { copyBytes } from '../kernels/copy-bytes.ts'

// What a backup knows of the chunks of large files from those before it: a fingerprint of each, and which blob it is. A chunk with a
// noted fingerprint need not be hashed to know its ID. A fingerprint takes a tenth of the time of SHA-256, or less.
//
// It is the tag of AES-128-GCM (NIST SP 800-38D) of nothing, with the chunk as additional data: GHASH, a polynomial over GF(2^128) at
// a secret point. Two different chunks of n blocks have the same one for n + 1 points of 2^128 at most, so for whoever does not know
// the key with a probability of 2^-108 for chunks of 8 MiB. The nonce is always the same, which would give away that point to who saw
// two fingerprints: nobody does, they are in a sealed note and nowhere else.
//
//   8 bytes   MAGIC
//   48 n      chunks, those noted last first: fingerprint 16, blob 32

const MAGIC = Buffer.from('hfchunk1', 'latin1')
const FINGERPRINT = 16
const ID = 32
const ENTRY = FINGERPRINT + ID

/** Chunks that are noted at most: of some 300 GB of large files. */
export const MOST_CHUNKS = 200_000

/** Bytes of a key for fingerprints. */
export const FINGERPRINT_KEY = 16

const NONCE = Buffer.alloc(12)
const NOTHING = Buffer.alloc(0)

/** What a thread needs to recognise chunks. */
export interface KnownChunksSetUp {
  readonly key: Uint8Array
  /**
   * As many words as are a power of 2: number of an entry + 1, or 0 where it is free; open addressing from the first word of the
   * fingerprint on. Then the entries as in the note.
   */
  readonly memory: SharedArrayBuffer
  readonly slots: number
}

/** Of one backup: what was noted before, for its threads, and what they note. */
export class KnownChunks {
  readonly setUp: KnownChunksSetUp
  readonly #before: Buffer
  /** IDs by fingerprints, both as `latin1` text. */
  readonly #noted = new Map<string, string>()

  private constructor(key: Uint8Array, entries: Buffer) {
    this.#before = entries
    const count = entries.length / ENTRY
    const slots = 2 ** Math.ceil(Math.log2(2 * count + 2))
    const memory = new SharedArrayBuffer(4 * slots + entries.length)
    const table = new Uint32Array(memory, 0, slots)
    for (let i = 0; i < count; i++) {
      let slot = entries.readUInt32LE(i * ENTRY) & (slots - 1)
      while (table[slot] !== 0) slot = (slot + 1) & (slots - 1)
      table[slot] = i + 1
    }
    copyBytes(entries, new Uint8Array(memory, 4 * slots))
    this.setUp = { key, memory, slots }
  }

  static none(key: Uint8Array): KnownChunks {
    return new KnownChunks(key, NOTHING)
  }

  /** Throws `CORRUPT` when it is no such note. */
  static parse(key: Uint8Array, note: Buffer): KnownChunks {
    const entries = note.subarray(MAGIC.length)
    if (!note.subarray(0, MAGIC.length).equals(MAGIC) || entries.length % ENTRY !== 0) {
      throw new EngineError('CORRUPT', 'Cannot read what was noted of chunks: it is cut short, or no such note')
    }
    return new KnownChunks(key, entries)
  }

  /** What `ChunkFinder.take` gave of some thread. */
  add(entries: Uint8Array): void {
    const bytes = Buffer.from(entries.buffer, entries.byteOffset, entries.length)
    for (let at = 0; at < bytes.length && this.#noted.size < MOST_CHUNKS; at += ENTRY) {
      const idAt = at + FINGERPRINT
      this.#noted.set(bytes.toString('latin1', at, idAt), bytes.toString('latin1', idAt, at + ENTRY))
    }
  }

  /** The note for the next backup; undefined where it would say what it said before. What was noted longest ago is left out first. */
  encode(): Buffer | undefined {
    if (this.#noted.size === 0) return undefined
    const parts: Uint8Array[] = [MAGIC]
    for (const [fingerprint, id] of this.#noted) parts.push(Buffer.from(fingerprint + id, 'latin1'))
    let count = this.#noted.size
    for (let at = 0; at < this.#before.length && count < MOST_CHUNKS; at += ENTRY) {
      if (this.#noted.has(this.#before.toString('latin1', at, at + FINGERPRINT))) continue
      parts.push(this.#before.subarray(at, at + ENTRY))
      count += 1
    }
    return Buffer.concat(parts)
  }
}

/** Recognises chunks, in one thread. */
export class ChunkFinder {
  readonly #key: KeyObject
  readonly #table: Uint32Array<SharedArrayBuffer>
  readonly #entries: Buffer
  /** Entries. */
  #noted: Buffer[] = []

  constructor({ key, memory, slots }: KnownChunksSetUp) {
    this.#key = createSecretKey(key)
    this.#table = new Uint32Array(memory, 0, slots)
    this.#entries = Buffer.from(memory, 4 * slots)
  }

  fingerprintOf(chunk: Uint8Array): Buffer {
    const cipher = createCipheriv('aes-128-gcm', this.#key, NONCE, { authTagLength: FINGERPRINT })
    cipher.setAAD(chunk)
    cipher.final()
    return cipher.getAuthTag()
  }

  /** Writes the ID that a chunk was noted with to this place. It may be that of a blob that the repository has no longer. */
  find(fingerprint: Buffer, ids: Buffer, at: number): boolean {
    const mask = this.#table.length - 1
    for (let slot = fingerprint.readUInt32LE(0) & mask; this.#table[slot] !== 0; slot = (slot + 1) & mask) {
      const entry = (this.#table[slot]! - 1) * ENTRY
      const idAt = entry + FINGERPRINT
      if (this.#entries.compare(fingerprint, 0, FINGERPRINT, entry, idAt) !== 0) continue
      this.#entries.copy(ids, at, idAt, entry + ENTRY)
      return true
    }
    return false
  }

  /** Notes the ID at this place. */
  note(fingerprint: Buffer, ids: Buffer, at: number): void {
    this.#noted.push(Buffer.concat([fingerprint, ids.subarray(at, at + ID)]))
  }

  /** What was noted since the last time; undefined when nothing was. */
  take(): Uint8Array | undefined {
    if (this.#noted.length === 0) return undefined
    // A copy: it may be part of a pool, which would be cloned with it.
    const taken = new Uint8Array(Buffer.concat(this.#noted))
    this.#noted = []
    return taken
  }
}
