import { createHash } from 'node:crypto'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type PackId } from '../format/id.ts'
import { type MasterKey, SEAL_OVERHEAD, unseal } from '../format/master-key.ts'
import { encodePackHeader, type PackedBlob, parsePackHeader } from '../format/pack-header.ts'
import { MAX_CHUNK } from '../kernels/chunker.ts'
import type { Kernels, Region } from '../kernels/kernels.ts'
import { giveBackPages } from '../kernels/large-pages.ts'
import { releaseMemory } from '../kernels/release-memory.ts'
import { createSealer, SEALER_MEMORY } from '../kernels/seals.ts'
import { compressBound, createFastContext } from '../kernels/zstd-context.ts'
import { PACK_PLACES, type PackPlaces } from './pack-places.ts'
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
const CACHE_LINE = 64
/** Hashed at once, while it is in the processor's cache. */
const HASH_BYTES = 256 * 1024

/** What an assembler takes of the memory of its kernels. Of the room of a pack only what is written to is taken from the system. */
export function assemblerMemory(packSize: number): number {
  return PACK_PLACES * (packRoom(packSize) + 4096) + SEALER_MEMORY
}

/** Behind the blobs of a pack is where the last one is read back. */
function packRoom(packSize: number): number {
  return packSize + LONGEST + Math.max(HEADER_ROOM, 2 * CACHE_LINE + MAX_CHUNK)
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
  /** Regions beside the first one whose memory is taken from the system. */
  readonly #dirty = new Set<Region>()
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
    this.#blobs = []
    this.#size = 0
    this.#hashed = 0
    this.#digest = createHash('sha256')
    onPack({ id, blobs, bytes, header, place })
  }

  #packUnderWay(): Region {
    if (this.#pack === undefined) {
      const { places, kernels } = this.#options
      this.#place = places.take()
      this.#pack = this.#regions[this.#place]!
      if (places.isFirstEnough) {
        for (const { offset, length } of this.#dirty) giveBackPages(kernels.memory.buffer, offset, length)
        this.#dirty.clear()
      } else if (this.#pack !== this.#regions[0]) this.#dirty.add(this.#pack)
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
    const again = this.#roomToReadBack(at + length, plaintext.length)
    if (!this.#zstd.decompress(room.subarray(0, length), again) || !again.equals(plaintext))
      throw faulty(`data blob ${id}`)
    return length
  }

  /** Memory behind the blobs so far: the next one will be written there, and is faster where the processor has it at hand. */
  #roomToReadBack(from: number, length: number): Buffer {
    const { bytes, offset } = this.#pack!
    const at = Math.ceil((from - offset) / CACHE_LINE + 1) * CACHE_LINE // an authenticator comes first
    return bytes.subarray(at, at + length)
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
      plaintext = this.#roomToReadBack(pack.offset + this.#size, blob.uncompressedLength)
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
