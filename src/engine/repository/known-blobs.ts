import type { BlobType } from '../format/pack-header.ts'

// What `BlobIndex` knew at some moment, in memory that all threads may read, and that nobody writes to any more. About 50 bytes a blob,
// copied as they lie there: entering each into a table of its own took 40 ms for 50,000 blobs.
//
//   2 words     slots, blobs
//   slots       words: number of the entry + 1, 0 is free; open addressing from the first word of the ID on
//   32 blobs    IDs
//   blobs       bytes: whether it is a tree

const HEADER_WORDS = 2
const ID_BYTES = 32
const ID_WORDS = ID_BYTES / 4

/** Memory for so many, all zero: no slot is taken. `slots` is a power of two, and more than `blobs`. */
export function knownBlobsMemory({ slots, blobs }: { readonly slots: number; readonly blobs: number }) {
  const memory = new SharedArrayBuffer(4 * (HEADER_WORDS + slots) + (ID_BYTES + 1) * blobs)
  new Uint32Array(memory, 0, HEADER_WORDS).set([slots, blobs])
  return memory
}

/** A view of such memory, in whichever thread. */
export class KnownBlobs {
  readonly memory: SharedArrayBuffer
  readonly table: Uint32Array<SharedArrayBuffer>
  readonly ids: Uint8Array<SharedArrayBuffer>
  readonly isTree: Uint8Array<SharedArrayBuffer>
  readonly #words: Uint32Array<SharedArrayBuffer>
  readonly #wanted = new Uint8Array(ID_BYTES)
  readonly #wantedWords = new Uint32Array(this.#wanted.buffer)

  constructor(memory: SharedArrayBuffer) {
    const [slots, blobs] = new Uint32Array(memory, 0, HEADER_WORDS) as unknown as [number, number]
    const idsStart = 4 * (HEADER_WORDS + slots)
    this.memory = memory
    this.table = new Uint32Array(memory, 4 * HEADER_WORDS, slots)
    this.ids = new Uint8Array(memory, idsStart, ID_BYTES * blobs)
    this.#words = new Uint32Array(memory, idsStart, ID_WORDS * blobs)
    this.isTree = new Uint8Array(memory, idsStart + ID_BYTES * blobs, blobs)
  }

  /** Whether the ID in the 32 bytes at this place is one of them. */
  has(type: BlobType, bytes: Uint8Array, at: number): boolean {
    for (let i = 0; i < ID_BYTES; i++) this.#wanted[i] = bytes[at + i]!
    const kind = type === 'tree' ? 1 : 0
    const mask = this.table.length - 1
    for (let slot = this.#wantedWords[0]! & mask; this.table[slot] !== 0; slot = (slot + 1) & mask) {
      const entry = this.table[slot]! - 1
      if (this.isTree[entry] === kind && this.#isWanted(entry)) return true
    }
    return false
  }

  #isWanted(entry: number): boolean {
    const from = entry * ID_WORDS
    for (let i = 0; i < ID_WORDS; i++) if (this.#words[from + i] !== this.#wantedWords[i]) return false
    return true
  }
}
