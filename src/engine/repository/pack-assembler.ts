import { createHash } from 'node:crypto'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type PackId } from '../format/id.ts'
import { type MasterKey, SEAL_OVERHEAD, unseal } from '../format/master-key.ts'
import { encodePackHeader, type PackedBlob, parsePackHeader } from '../format/pack-header.ts'
import { MAX_CHUNK } from '../kernels/chunker.ts'
import type { Kernels, Region } from '../kernels/kernels.ts'
import { releaseMemory } from '../kernels/release-memory.ts'
import { createSealer, SEALER_MEMORY } from '../kernels/seals.ts'
import { compressBound, createFastContext } from '../kernels/zstd-context.ts'
import { isSame } from './same-blobs.ts'
import { sealLong } from './seal-long.ts'

/** A pack that is complete, and not stored yet. */
export interface FinishedPack {
  readonly id: PackId
  readonly blobs: readonly PackedBlob[]
  /** The whole file, in memory that other threads see. */
  readonly bytes: Uint8Array<SharedArrayBuffer>
}

/** A pack where it was put together: its bytes stay until `PackPlaces.release`. */
export interface PlacedPack extends FinishedPack {
  /** What `encodePackHeader` makes of the blobs. */
  readonly header: Uint8Array
  readonly place: number
}

export interface PackAssemblerOptions {
  readonly kernels: Kernels
  readonly key: MasterKey
  readonly version: 1 | 2
  /** Bytes of blobs after which a pack is closed. */
  readonly packSize: number
  readonly places: PackPlaces
  readonly onPack: (pack: PlacedPack) => void
}

/** Header entries after which a pack is closed whatever its size; keeps the room for the header small. */
const MAX_BLOBS = 50_000
const LONGEST = compressBound(MAX_CHUNK) + SEAL_OVERHEAD
const HEADER_ROOM = 41 * (MAX_BLOBS + 1) + SEAL_OVERHEAD + 4
const IV_SIZE = 16
/** Hashed at once, while it is in the processor's cache. */
const HASH_BYTES = 256 * 1024

/** What an assembler takes of the memory of its kernels. Of the room of a pack only what is written to is taken from the system. */
export function assemblerMemory(packSize: number): number {
  return PACK_PLACES * (packRoom(packSize) + 4096) + MAX_CHUNK + SEALER_MEMORY
}

function packRoom(packSize: number): number {
  return packSize + LONGEST + HEADER_ROOM
}

/** One pack is filled while the one before is stored. */
const PACK_PLACES = 2

const [FREE, TAKEN, CLOSED] = [0, 1, 2]

/** Which packs of an assembler are still to be stored. The buffer may be given to other threads. */
export class PackPlaces {
  readonly buffer: SharedArrayBuffer
  readonly #taken: Int32Array<SharedArrayBuffer>

  constructor(buffer = new SharedArrayBuffer(4 * PACK_PLACES)) {
    this.buffer = buffer
    this.#taken = new Int32Array(buffer)
  }

  /** Takes a place; where its last pack is not stored yet this blocks the thread until it is. `INTERRUPTED` once closed. */
  take(place: number): void {
    for (;;) {
      const found = Atomics.compareExchange(this.#taken, place, FREE, TAKEN)
      if (found === FREE) return
      if (found === CLOSED)
        throw new EngineError('INTERRUPTED', 'Cannot fill another pack: nobody stores them any more')
      Atomics.wait(this.#taken, place, TAKEN)
    }
  }

  /** The pack in this place is stored. */
  release(place: number): void {
    Atomics.compareExchange(this.#taken, place, TAKEN, FREE)
    Atomics.notify(this.#taken, place)
  }

  /** Wakes who waits for a place: there will be none any more. */
  close(): void {
    for (let place = 0; place < PACK_PLACES; place++) {
      Atomics.store(this.#taken, place, CLOSED)
      Atomics.notify(this.#taken, place)
    }
  }
}

/**
 * Compresses, seals and packs data blobs, with the kernels and contexts of one thread, in the memory that they are stored from. A
 * blob is decompressed again and compared before it is sealed, and each pack's header and one of its blobs are opened again before
 * it leaves: a bit that flipped must not get into a repository under a hash that promises the opposite.
 */
export class PackAssembler {
  readonly #options: PackAssemblerOptions
  readonly #zstd = createFastContext()
  readonly #sealer
  readonly #regions: readonly Region[]
  readonly #scratch: Region
  #place = 0
  /** Where the pack under way is; undefined before its first blob. */
  #pack: Region | undefined
  #blobs: PackedBlob[] = []
  /** Bytes of blobs in the pack under way, and how many of them are hashed. */
  #size = 0
  #hashed = 0
  #digest = createHash('sha256')

  constructor(options: PackAssemblerOptions) {
    this.#options = options
    const { kernels, key, packSize } = options
    this.#sealer = createSealer(kernels, key)
    this.#regions = Array.from({ length: PACK_PLACES }, (_, i) => kernels.region(`pack ${i}`, packRoom(packSize)))
    this.#scratch = kernels.region('blob read back', MAX_CHUNK)
  }

  /** Adds a data blob; `plaintext` is a view of the kernels' memory, at most `MAX_CHUNK` bytes. */
  add(id: BlobId, plaintext: Buffer): void {
    const pack = this.#packUnderWay()
    const { memory } = this.#options.kernels
    const compressed = this.#options.version === 2 && plaintext.length > 0
    const offset = pack.offset + this.#size
    const start = offset + IV_SIZE
    const length = compressed ? this.#compress(id, plaintext, start) : plaintext.copy(memory, start)
    this.#blobs.push({
      type: 'data',
      id,
      offset: this.#size,
      length: length + SEAL_OVERHEAD,
      uncompressedLength: compressed ? plaintext.length : undefined,
    })
    this.#size = this.#sealer.seal(offset, length) - pack.offset
    if (this.#size - this.#hashed >= HASH_BYTES) this.#hash(this.#size)
    if (this.#size >= this.#options.packSize || this.#blobs.length >= MAX_BLOBS) this.close()
  }

  /** Hands over the pack under way, if there is anything in it. */
  close(): void {
    const pack = this.#pack
    if (pack === undefined) return
    const { key, kernels, onPack } = this.#options
    const blobs = this.#blobs
    this.#openAgain(blobs, pack)
    const header = encodePackHeader(blobs)
    const sealed = sealLong(key, header)
    const parsed = parsePackHeader(header)
    if (parsed.length !== blobs.length || !parsed.every((blob, i) => isSame(blob, blobs[i]!)))
      throw faulty('a pack header')
    const end = this.#size + sealed.length + 4
    sealed.copy(pack.bytes, this.#size)
    pack.bytes.writeUInt32LE(sealed.length, end - 4)
    this.#hash(end)
    const id = this.#digest.digest('hex') as PackId
    const bytes = new Uint8Array(kernels.memory.buffer, kernels.memory.byteOffset + pack.offset, end)
    const place = this.#place
    this.#pack = undefined
    this.#place = (place + 1) % PACK_PLACES
    this.#blobs = []
    this.#size = 0
    this.#hashed = 0
    this.#digest = createHash('sha256')
    onPack({ id, blobs, bytes, header, place })
  }

  #packUnderWay(): Region {
    if (this.#pack === undefined) {
      this.#options.places.take(this.#place)
      this.#pack = this.#regions[this.#place]!
    }
    return this.#pack
  }

  #hash(end: number): void {
    this.#digest.update(this.#pack!.bytes.subarray(this.#hashed, end))
    this.#hashed = end
  }

  #compress(id: BlobId, plaintext: Buffer, at: number): number {
    const { memory } = this.#options.kernels
    const room = memory.subarray(at, at + compressBound(plaintext.length))
    const length = this.#zstd.compress(plaintext, room)
    const again = this.#scratch.bytes.subarray(0, plaintext.length)
    if (!this.#zstd.decompress(room.subarray(0, length), again) || !again.equals(plaintext))
      throw faulty(`data blob ${id}`)
    return length
  }

  /**
   * The shortest blob's way back, through other code than that which sealed it: this tells what the kernels, the keys or the
   * counters would do wrong to all of them, and of a blob of some megabytes it would take as long as storing that once more.
   */
  #openAgain(blobs: readonly PackedBlob[], pack: Region): void {
    const blob = blobs.reduce((shortest, other) => (other.length < shortest.length ? other : shortest))
    const stored = unseal(this.#options.key, pack.bytes.subarray(blob.offset, blob.offset + blob.length))
    let plaintext: Buffer = stored
    if (blob.uncompressedLength !== undefined) {
      plaintext = this.#scratch.bytes.subarray(0, blob.uncompressedLength)
      if (!this.#zstd.decompress(stored, plaintext)) throw faulty(`data blob ${blob.id}`)
    }
    if (hashId(plaintext) !== blob.id) throw faulty(`data blob ${blob.id}`)
    releaseMemory(stored)
  }
}

function faulty(what: string): EngineError {
  return new EngineError('SELF_CHECK', `Cannot store ${what}: it does not decode to what was encoded`, {
    hint: 'The memory or processor of this machine is likely faulty: test it before the next backup',
  })
}
