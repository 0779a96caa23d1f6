import type { BlobId } from '../format/id.ts'
import type { BlobType } from '../format/pack-header.ts'

const ID_BYTES = 32
const INITIAL_CAPACITY = 1024

export interface BlobHandle {
  readonly type: BlobType
  readonly id: BlobId
}

/**
 * A small number for each of many blobs, by type and ID: about 50 bytes a blob, where a `Map` of texts costs more than 200. For
 * what a walk through millions of blobs must remember. Entries are never removed.
 */
export class BlobMap {
  #count = 0
  #ids = Buffer.alloc(INITIAL_CAPACITY * ID_BYTES)
  #trees = new Uint8Array(INITIAL_CAPACITY)
  #values = new Uint32Array(INITIAL_CAPACITY)
  /** Open addressing: entry number + 1, 0 is free. Twice the capacity, so at most half full. */
  #table = new Uint32Array(INITIAL_CAPACITY * 2)
  /** The ID that is looked for, in bytes: a lookup is over before the next one begins. */
  readonly #wanted = Buffer.alloc(ID_BYTES)

  get size(): number {
    return this.#count
  }

  has(type: BlobType, id: BlobId): boolean {
    return this.get(type, id) !== undefined
  }

  get(type: BlobType, id: BlobId): number | undefined {
    const entry = this.#table[this.#slotOf(type, id)]! - 1
    return entry < 0 ? undefined : this.#values[entry]!
  }

  /** @param value a whole number of at most 32 bits */
  set(type: BlobType, id: BlobId, value: number): void {
    const slot = this.#slotOf(type, id)
    const entry = this.#table[slot]! - 1
    if (entry < 0) this.#insert(slot, type, id, value)
    else this.#values[entry] = value
  }

  /** Adds the blob; false when it was there already, with whatever value. */
  add(type: BlobType, id: BlobId): boolean {
    const slot = this.#slotOf(type, id)
    if (this.#table[slot] !== 0) return false
    this.#insert(slot, type, id, 0)
    return true
  }

  *blobs(): Generator<BlobHandle> {
    for (let entry = 0; entry < this.#count; entry++) {
      const id = this.#ids.toString('hex', entry * ID_BYTES, (entry + 1) * ID_BYTES) as BlobId
      yield { type: this.#trees[entry] === 1 ? 'tree' : 'data', id }
    }
  }

  /** The slot of the blob, or the free one where it belongs; its ID is in `#wanted` then. */
  #slotOf(type: BlobType, id: BlobId): number {
    this.#wanted.write(id, 'hex')
    const tree = type === 'tree' ? 1 : 0
    const mask = this.#table.length - 1
    // The ID is a SHA-256: its first bytes are a hash already.
    for (let slot = this.#wanted.readUInt32LE(0) & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#table[slot]! - 1
      if (entry < 0) return slot
      if (this.#trees[entry] !== tree) continue
      if (this.#wanted.compare(this.#ids, entry * ID_BYTES, (entry + 1) * ID_BYTES) === 0) return slot
    }
  }

  /** @param free what `#slotOf` answered last */
  #insert(free: number, type: BlobType, id: BlobId, value: number): void {
    let slot = free
    if (this.#count === this.#trees.length) {
      this.#grow()
      slot = this.#slotOf(type, id)
    }
    const entry = this.#count++
    this.#wanted.copy(this.#ids, entry * ID_BYTES)
    this.#trees[entry] = type === 'tree' ? 1 : 0
    this.#values[entry] = value
    this.#table[slot] = entry + 1
  }

  #grow(): void {
    const capacity = this.#trees.length * 2
    const ids = Buffer.alloc(capacity * ID_BYTES)
    this.#ids.copy(ids)
    this.#ids = ids
    const trees = new Uint8Array(capacity)
    trees.set(this.#trees)
    this.#trees = trees
    const values = new Uint32Array(capacity)
    values.set(this.#values)
    this.#values = values
    this.#table = new Uint32Array(capacity * 2)
    const mask = this.#table.length - 1
    for (let entry = 0; entry < this.#count; entry++) {
      let slot = this.#ids.readUInt32LE(entry * ID_BYTES) & mask
      while (this.#table[slot] !== 0) slot = (slot + 1) & mask
      this.#table[slot] = entry + 1
    }
  }
}
