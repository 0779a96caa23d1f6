import type { BlobId, PackId } from '../format/id.ts'
import { SEAL_OVERHEAD } from '../format/master-key.ts'
import { type BlobType, headerSizeOf, type PackedBlob } from '../format/pack-header.ts'
import { columnsToPacks, type IndexColumns } from '../format/scan-index-file.ts'

/** Where one copy of a blob lies. */
export interface BlobLocation extends PackedBlob {
  readonly pack: PackId
}

/** Entries from `start` up to `end`. */
interface Run {
  readonly start: number
  readonly end: number
}

const ID_BYTES = 32
const ID_WORDS = ID_BYTES / 4
const INITIAL_CAPACITY = 1024
/** What a hex digit in lower case stands for. */
const NIBBLES = new Uint8Array(256)
for (const [value, digit] of Buffer.from('0123456789abcdef').entries()) NIBBLES[digit] = value
const TREE = 1
const COMPRESSED = 2

/**
 * Every blob of every known pack, in typed arrays: about 60 bytes a blob, where a JavaScript object with two hex
 * strings costs more than 300. Identity is (type, ID): the same bytes may exist as data and as a tree.
 *
 * Entries are never removed; what leaves a repository leaves with the whole index.
 */
export class BlobIndex {
  #count = 0
  #ids = Buffer.alloc(INITIAL_CAPACITY * ID_BYTES)
  #kinds = new Uint8Array(INITIAL_CAPACITY)
  #packs = new Uint32Array(INITIAL_CAPACITY)
  #offsets = new Uint32Array(INITIAL_CAPACITY)
  #lengths = new Uint32Array(INITIAL_CAPACITY)
  #plainLengths = new Uint32Array(INITIAL_CAPACITY)
  /** Open addressing: entry number + 1, 0 is free. Twice the capacity, so at most half full. */
  #table = new Uint32Array(INITIAL_CAPACITY * 2)
  readonly #packIds: PackId[] = []
  readonly #packNumbers = new Map<PackId, number>()
  /** Where the entries of each pack begin and end. */
  readonly #packStarts: number[] = []
  readonly #packEnds: number[] = []
  /** Packs that were added again with other blobs: damaged repositories have some. */
  readonly #furtherRuns = new Map<number, Run[]>()
  /** `#ids`, a word at a time. */
  #idWords = wordsOf(this.#ids)
  /** The ID that is looked for, in bytes and in words: one for all, since a lookup is over before the next one begins. */
  readonly #wanted = Buffer.alloc(ID_BYTES)
  readonly #wantedWords = wordsOf(this.#wanted)

  get blobCount(): number {
    return this.#count
  }

  get packCount(): number {
    return this.#packIds.length
  }

  hasPack(id: PackId): boolean {
    return this.#packNumbers.has(id)
  }

  /**
   * Adds a pack with its blobs. Of a pack that is known already only blobs are added that were not listed there: index
   * files that contradict each other are damage, but what any of them names can be tried, and is held against its hash.
   */
  addPack(id: PackId, blobs: readonly PackedBlob[]): void {
    const known = this.#packNumbers.get(id)
    if (known === undefined) {
      const pack = this.#packIds.push(id) - 1
      this.#packNumbers.set(id, pack)
      const { start, end } = this.#append(pack, blobs)
      this.#packStarts.push(start)
      this.#packEnds.push(end)
      return
    }
    const listed = new Set(this.#blobsOf(known).map(placeOf))
    const unlisted = blobs.filter((blob) => !listed.has(placeOf(blob)))
    if (unlisted.length === 0) return
    this.#furtherRuns.set(known, [...(this.#furtherRuns.get(known) ?? []), this.#append(known, unlisted)])
  }

  /** Adds what an index file names, as `addPack` does pack by pack. */
  addColumns(columns: IndexColumns): void {
    const { packs, count } = columns
    // As good as always; otherwise the plain way decides what is new.
    const areNew =
      packs.every(({ id }) => !this.#packNumbers.has(id)) && new Set(packs.map(({ id }) => id)).size === packs.length
    if (!areNew) {
      for (const { id, blobs } of columnsToPacks(columns)) this.addPack(id, blobs)
      return
    }
    const base = this.#count
    while (base + count > this.#kinds.length) this.#grow()
    columns.ids.copy(this.#ids, base * ID_BYTES, 0, count * ID_BYTES)
    this.#offsets.set(columns.offsets.subarray(0, count), base)
    this.#lengths.set(columns.lengths.subarray(0, count), base)
    this.#plainLengths.set(columns.plainLengths.subarray(0, count), base)
    for (const [i, { id, start }] of packs.entries()) {
      const pack = this.#packIds.push(id) - 1
      this.#packNumbers.set(id, pack)
      const end = packs[i + 1]?.start ?? count
      this.#packs.fill(pack, base + start, base + end)
      this.#packStarts.push(base + start)
      this.#packEnds.push(base + end)
    }
    for (let entry = 0; entry < count; entry++) {
      this.#kinds[base + entry] = (columns.trees[entry]! & TREE) | (columns.plainLengths[entry] === 0 ? 0 : COMPRESSED)
      this.#insert(base + entry)
    }
    this.#count = base + count
  }

  has(type: BlobType, id: BlobId): boolean {
    return this.#slotOf(type, id) >= 0
  }

  /** As `has`, of the ID whose 64 digits, in lower case, begin at this place of a text. */
  hasAt(type: BlobType, text: Uint8Array, at: number): boolean {
    return this.#slotAt(type, text, at) >= 0
  }

  /** As `hasAt`: how long its plaintext is, as the copy says that `find` has; undefined when there is none. */
  plaintextLengthAt(type: BlobType, text: Uint8Array, at: number): number | undefined {
    const slot = this.#slotAt(type, text, at)
    if (slot < 0) return undefined
    const entry = this.#table[slot]! - 1
    return this.#kinds[entry]! & COMPRESSED ? this.#plainLengths[entry]! : this.#lengths[entry]! - SEAL_OVERHEAD
  }

  /** Calls `use` with the 32 bytes of every ID of the type, once a copy; the bytes are only lent. */
  forEachId(type: BlobType, use: (ids: Buffer, offset: number) => void): void {
    const wanted = type === 'tree' ? TREE : 0
    for (let entry = 0; entry < this.#count; entry++) {
      if ((this.#kinds[entry]! & TREE) === wanted) use(this.#ids, entry * ID_BYTES)
    }
  }

  /** Every pack that holds a tree. */
  treePacks(): Set<PackId> {
    const packs = new Set<PackId>()
    for (let entry = 0; entry < this.#count; entry++) {
      if ((this.#kinds[entry]! & TREE) !== 0) packs.add(this.#packIds[this.#packs[entry]!]!)
    }
    return packs
  }

  /** One copy of the blob, or undefined. */
  find(type: BlobType, id: BlobId): BlobLocation | undefined {
    const slot = this.#slotOf(type, id)
    return slot < 0 ? undefined : this.#location(this.#table[slot]! - 1, id)
  }

  /** Every copy of the blob: readers go on to the next when one is damaged. */
  findAll(type: BlobType, id: BlobId): BlobLocation[] {
    const found: BlobLocation[] = []
    for (let slot = this.#slotOf(type, id); slot >= 0; slot = this.#nextSlot(type, slot + 1)) {
      found.push(this.#location(this.#table[slot]! - 1, id))
    }
    return found
  }

  /** Every pack with its blobs in the order they were listed. */
  *packs(): Generator<{ readonly id: PackId; readonly blobs: PackedBlob[] }> {
    for (const [pack, id] of this.#packIds.entries()) yield { id, blobs: this.#blobsOf(pack) }
  }

  /** Of every pack how many blobs are listed for it, and how many bytes it has if they are all. */
  *packSizes(): Generator<{ readonly id: PackId; readonly blobs: number; readonly bytes: number }> {
    for (const [pack, id] of this.#packIds.entries()) {
      let blobs = 0
      let compressed = 0
      let bytes = 0
      for (const { start, end } of this.#runsOf(pack)) {
        blobs += end - start
        for (let entry = start; entry < end; entry++) {
          if (this.#plainLengths[entry] !== 0) compressed += 1
          bytes += this.#lengths[entry]!
        }
      }
      yield { id, blobs, bytes: bytes + headerSizeOf(blobs, compressed) }
    }
  }

  packBlobs(id: PackId): PackedBlob[] | undefined {
    const pack = this.#packNumbers.get(id)
    return pack === undefined ? undefined : this.#blobsOf(pack)
  }

  #append(pack: number, blobs: readonly PackedBlob[]): Run {
    const start = this.#count
    while (start + blobs.length > this.#kinds.length) this.#grow()
    for (const blob of blobs) {
      const entry = this.#count++
      this.#ids.write(blob.id, entry * ID_BYTES, 'hex')
      this.#kinds[entry] = (blob.type === 'tree' ? TREE : 0) | (blob.uncompressedLength === undefined ? 0 : COMPRESSED)
      this.#packs[entry] = pack
      this.#offsets[entry] = blob.offset
      this.#lengths[entry] = blob.length
      this.#plainLengths[entry] = blob.uncompressedLength ?? 0
      this.#insert(entry)
    }
    return { start, end: this.#count }
  }

  #runsOf(pack: number): Run[] {
    return [{ start: this.#packStarts[pack]!, end: this.#packEnds[pack]! }, ...(this.#furtherRuns.get(pack) ?? [])]
  }

  #blobsOf(pack: number): PackedBlob[] {
    const blobs: PackedBlob[] = []
    for (const { start, end } of this.#runsOf(pack)) {
      for (let entry = start; entry < end; entry++) {
        const id = this.#ids.toString('hex', entry * ID_BYTES, (entry + 1) * ID_BYTES) as BlobId
        const { pack: _, ...blob } = this.#location(entry, id)
        blobs.push(blob)
      }
    }
    return blobs
  }

  #location(entry: number, id: BlobId): BlobLocation {
    const kind = this.#kinds[entry]!
    return {
      pack: this.#packIds[this.#packs[entry]!]!,
      type: kind & TREE ? 'tree' : 'data',
      id,
      offset: this.#offsets[entry]!,
      length: this.#lengths[entry]!,
      uncompressedLength: kind & COMPRESSED ? this.#plainLengths[entry]! : undefined,
    }
  }

  #slotAt(type: BlobType, text: Uint8Array, at: number): number {
    for (let i = 0; i < ID_BYTES; i++) {
      this.#wanted[i] = (NIBBLES[text[at + 2 * i]!]! << 4) | NIBBLES[text[at + 2 * i + 1]!]!
    }
    return this.#nextSlot(type, this.#wantedWords[0]!)
  }

  /** The slot of the first copy, or -1. */
  #slotOf(type: BlobType, id: BlobId): number {
    this.#wanted.write(id, 'hex')
    return this.#nextSlot(type, this.#wantedWords[0]!)
  }

  /** The slot of the next copy of the blob in `#wanted`, from this slot on, or -1. */
  #nextSlot(type: BlobType, from: number): number {
    const tree = type === 'tree' ? TREE : 0
    const mask = this.#table.length - 1
    for (let slot = from & mask; this.#table[slot] !== 0; slot = (slot + 1) & mask) {
      const entry = this.#table[slot]! - 1
      if ((this.#kinds[entry]! & TREE) !== tree) continue
      if (this.#isWanted(entry)) return slot
    }
    return -1
  }

  #isWanted(entry: number): boolean {
    const from = entry * ID_WORDS
    for (let i = 0; i < ID_WORDS; i++) if (this.#idWords[from + i] !== this.#wantedWords[i]) return false
    return true
  }

  #insert(entry: number): void {
    // The ID is a SHA-256: its first bytes are a hash already.
    const mask = this.#table.length - 1
    let slot = this.#idWords[entry * ID_WORDS]! & mask
    while (this.#table[slot] !== 0) slot = (slot + 1) & mask
    this.#table[slot] = entry + 1
  }

  #grow(): void {
    const capacity = this.#kinds.length * 2
    const ids = Buffer.alloc(capacity * ID_BYTES)
    this.#ids.copy(ids)
    this.#ids = ids
    this.#idWords = wordsOf(ids)
    const kinds = new Uint8Array(capacity)
    kinds.set(this.#kinds)
    this.#kinds = kinds
    const widen = (from: Uint32Array): Uint32Array<ArrayBuffer> => {
      const to = new Uint32Array(capacity)
      to.set(from)
      return to
    }
    this.#packs = widen(this.#packs)
    this.#offsets = widen(this.#offsets)
    this.#lengths = widen(this.#lengths)
    this.#plainLengths = widen(this.#plainLengths)
    this.#table = new Uint32Array(capacity * 2)
    for (let entry = 0; entry < this.#count; entry++) this.#insert(entry)
  }
}

/** `Buffer.alloc` begins where a word may begin. */
function wordsOf({ buffer, byteOffset, length }: Buffer): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length / 4)
}

function placeOf({ type, id, offset, length, uncompressedLength }: PackedBlob): string {
  return `${type} ${id} ${offset} ${length} ${uncompressedLength}`
}
