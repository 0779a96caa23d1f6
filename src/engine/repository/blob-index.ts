import type { BlobId, PackId } from '../format/id.ts'
import { SEAL_OVERHEAD } from '../format/master-key.ts'
import { type BlobType, headerSizeOf, type PackedBlob } from '../format/pack-header.ts'
import { COMPRESSED, columnsToPacks, type IndexColumns, TREE } from '../format/scan-index-file.ts'
import { copyBytes } from '../kernels/copy-bytes.ts'
import { lengthForLargePages } from '../kernels/large-pages.ts'
import { releaseMemory } from '../kernels/release-memory.ts'
import { KnownBlobs, knownBlobsMemory } from './known-blobs.ts'

/** Where one copy of a blob lies. */
export interface BlobLocation extends PackedBlob {
  readonly pack: PackId
}

interface Columns {
  readonly capacity: number
  /** All that follows. */
  readonly memory: Uint8Array
  readonly ids: Buffer
  /** `ids`, a word at a time. */
  readonly idWords: Uint32Array
  readonly packs: Uint32Array
  readonly offsets: Uint32Array
  readonly lengths: Uint32Array
  readonly plainLengths: Uint32Array
  /** Open addressing: entry number + 1, 0 is free. Twice the capacity, so at most half full. */
  readonly table: Uint32Array
  readonly kinds: Uint8Array
}

/** Entries from `start` up to `end`. */
interface Run {
  readonly start: number
  readonly end: number
}

const ID_BYTES = 32
const ID_WORDS = ID_BYTES / 4
const INITIAL_CAPACITY = 1024
/** Of an entry with its two slots of the table. */
const ENTRY_BYTES = ID_BYTES + 4 * 4 + 2 * 4 + 1
/** What a hex digit in lower case stands for. */
const NIBBLES = new Uint8Array(256)
for (const [value, digit] of Buffer.from('0123456789abcdef').entries()) NIBBLES[digit] = value

/**
 * Every blob of every known pack, in typed arrays: about 60 bytes a blob, where a JavaScript object with two hex
 * strings costs more than 300. Identity is (type, ID): the same bytes may exist as data and as a tree.
 *
 * Entries are never removed; what leaves a repository leaves with the whole index.
 */
export class BlobIndex {
  #count = 0
  #columns = allocate(INITIAL_CAPACITY)
  readonly #packIds: PackId[] = []
  readonly #packNumbers = new Map<PackId, number>()
  /** Where the entries of each pack begin and end. */
  readonly #packStarts: number[] = []
  readonly #packEnds: number[] = []
  /** Packs that were added again with other blobs: damaged repositories have some. */
  readonly #furtherRuns = new Map<number, Run[]>()
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
    this.reserve(base + count)
    const to = this.#columns
    to.ids.set(columns.ids.subarray(0, count * ID_BYTES), base * ID_BYTES)
    to.offsets.set(columns.offsets.subarray(0, count), base)
    to.lengths.set(columns.lengths.subarray(0, count), base)
    to.plainLengths.set(columns.plainLengths.subarray(0, count), base)
    to.kinds.set(columns.kinds.subarray(0, count), base)
    for (const [i, { id, start }] of packs.entries()) {
      const pack = this.#packIds.push(id) - 1
      this.#packNumbers.set(id, pack)
      const end = packs[i + 1]?.start ?? count
      to.packs.fill(pack, base + start, base + end)
      this.#packStarts.push(base + start)
      this.#packEnds.push(base + end)
    }
    insert(to, base, base + count)
    this.#count = base + count
  }

  /** Makes room for as many blobs in all, where it is known how many will come. */
  reserve(blobs: number): void {
    let { capacity } = this.#columns
    while (capacity < blobs) capacity *= 2
    if (capacity > this.#columns.capacity) this.#grow(capacity)
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
    const { table, kinds, plainLengths, lengths } = this.#columns
    const entry = table[slot]! - 1
    return kinds[entry]! & COMPRESSED ? plainLengths[entry]! : lengths[entry]! - SEAL_OVERHEAD
  }

  /** Calls `use` with the 32 bytes of every ID of the type, once a copy; the bytes are only lent. */
  forEachId(type: BlobType, use: (ids: Buffer, offset: number) => void): void {
    const wanted = type === 'tree' ? TREE : 0
    const { kinds, ids } = this.#columns
    for (let entry = 0; entry < this.#count; entry++) {
      if ((kinds[entry]! & TREE) === wanted) use(ids, entry * ID_BYTES)
    }
  }

  /** Which blobs there are by now, for other threads. */
  knownBlobs(): KnownBlobs {
    const { table, ids, kinds } = this.#columns
    const memory = knownBlobsMemory({ slots: table.length, blobs: this.#count })
    const known = new KnownBlobs(memory)
    known.table.set(table)
    copyBytes(ids.subarray(0, this.#count * ID_BYTES), known.ids)
    for (let entry = 0; entry < this.#count; entry++) known.isTree[entry] = (kinds[entry]! & TREE) === 0 ? 0 : 1
    return known
  }

  /** Every pack that holds a tree. */
  treePacks(): Set<PackId> {
    const found = new Set<PackId>()
    const { kinds, packs } = this.#columns
    for (let entry = 0; entry < this.#count; entry++) {
      if ((kinds[entry]! & TREE) !== 0) found.add(this.#packIds[packs[entry]!]!)
    }
    return found
  }

  /** One copy of the blob, or undefined. */
  find(type: BlobType, id: BlobId): BlobLocation | undefined {
    const slot = this.#slotOf(type, id)
    return slot < 0 ? undefined : this.#location(this.#columns.table[slot]! - 1, id)
  }

  /** Every copy of the blob: readers go on to the next when one is damaged. */
  findAll(type: BlobType, id: BlobId): BlobLocation[] {
    const found: BlobLocation[] = []
    for (let slot = this.#slotOf(type, id); slot >= 0; slot = this.#nextSlot(type, slot + 1)) {
      found.push(this.#location(this.#columns.table[slot]! - 1, id))
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
      const { plainLengths, lengths } = this.#columns
      for (const { start, end } of this.#runsOf(pack)) {
        blobs += end - start
        for (let entry = start; entry < end; entry++) {
          if (plainLengths[entry] !== 0) compressed += 1
          bytes += lengths[entry]!
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
    this.reserve(start + blobs.length)
    const { ids, kinds, packs, offsets, lengths, plainLengths } = this.#columns
    for (const blob of blobs) {
      const entry = this.#count++
      ids.write(blob.id, entry * ID_BYTES, 'hex')
      kinds[entry] = (blob.type === 'tree' ? TREE : 0) | (blob.uncompressedLength === undefined ? 0 : COMPRESSED)
      packs[entry] = pack
      offsets[entry] = blob.offset
      lengths[entry] = blob.length
      plainLengths[entry] = blob.uncompressedLength ?? 0
    }
    insert(this.#columns, start, this.#count)
    return { start, end: this.#count }
  }

  #runsOf(pack: number): Run[] {
    return [{ start: this.#packStarts[pack]!, end: this.#packEnds[pack]! }, ...(this.#furtherRuns.get(pack) ?? [])]
  }

  #blobsOf(pack: number): PackedBlob[] {
    const blobs: PackedBlob[] = []
    for (const { start, end } of this.#runsOf(pack)) {
      for (let entry = start; entry < end; entry++) {
        const id = this.#columns.ids.toString('hex', entry * ID_BYTES, (entry + 1) * ID_BYTES) as BlobId
        const { pack: _, ...blob } = this.#location(entry, id)
        blobs.push(blob)
      }
    }
    return blobs
  }

  #location(entry: number, id: BlobId): BlobLocation {
    const { kinds, packs, offsets, lengths, plainLengths } = this.#columns
    const kind = kinds[entry]!
    return {
      pack: this.#packIds[packs[entry]!]!,
      type: kind & TREE ? 'tree' : 'data',
      id,
      offset: offsets[entry]!,
      length: lengths[entry]!,
      uncompressedLength: kind & COMPRESSED ? plainLengths[entry]! : undefined,
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
    const { table, kinds, idWords } = this.#columns
    const mask = table.length - 1
    for (let slot = from & mask; table[slot] !== 0; slot = (slot + 1) & mask) {
      const entry = table[slot]! - 1
      if ((kinds[entry]! & TREE) !== tree) continue
      if (this.#isWanted(idWords, entry)) return slot
    }
    return -1
  }

  #isWanted(idWords: Uint32Array, entry: number): boolean {
    const from = entry * ID_WORDS
    for (let i = 0; i < ID_WORDS; i++) if (idWords[from + i] !== this.#wantedWords[i]) return false
    return true
  }

  #grow(capacity: number): void {
    const from = this.#columns
    const to = allocate(capacity)
    to.ids.set(from.ids.subarray(0, this.#count * ID_BYTES))
    to.kinds.set(from.kinds.subarray(0, this.#count))
    to.packs.set(from.packs.subarray(0, this.#count))
    to.offsets.set(from.offsets.subarray(0, this.#count))
    to.lengths.set(from.lengths.subarray(0, this.#count))
    to.plainLengths.set(from.plainLengths.subarray(0, this.#count))
    insert(to, 0, this.#count)
    this.#columns = to
    releaseMemory(from.memory)
  }
}

/** In one piece, for large pages. */
function allocate(capacity: number): Columns {
  const buffer = new ArrayBuffer(lengthForLargePages(capacity * ENTRY_BYTES))
  let at = 0
  const words = (count: number): Uint32Array => {
    at += 4 * count
    return new Uint32Array(buffer, at - 4 * count, count)
  }
  const idWords = words(capacity * ID_WORDS)
  return {
    capacity,
    memory: new Uint8Array(buffer),
    ids: Buffer.from(buffer, 0, capacity * ID_BYTES),
    idWords,
    packs: words(capacity),
    offsets: words(capacity),
    lengths: words(capacity),
    plainLengths: words(capacity),
    table: words(2 * capacity),
    kinds: new Uint8Array(buffer, at, capacity),
  }
}

/** Enters these entries into the table. */
function insert({ table, idWords }: Columns, from: number, to: number): void {
  const mask = table.length - 1
  for (let entry = from; entry < to; entry++) {
    // The ID is a SHA-256: its first bytes are a hash already.
    let slot = idWords[entry * ID_WORDS]! & mask
    while (table[slot] !== 0) slot = (slot + 1) & mask
    table[slot] = entry + 1
  }
}

/** `Buffer.alloc` begins where a word may begin. */
function wordsOf({ buffer, byteOffset, length }: Buffer): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length / 4)
}

function placeOf({ type, id, offset, length, uncompressedLength }: PackedBlob): string {
  return `${type} ${id} ${offset} ${length} ${uncompressedLength}`
}
