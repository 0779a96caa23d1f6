import { createHash } from 'node:crypto'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type PackId } from '../format/id.ts'
import { type MasterKey, SEAL_OVERHEAD, seal, unseal } from '../format/master-key.ts'
import { encodePackHeader, type PackedBlob, parsePackHeader } from '../format/pack-header.ts'
import { MAX_CHUNK } from '../kernels/chunker.ts'
import { createBatchSealer, sealerMemory } from '../kernels/cipher-stream.ts'
import type { Kernels } from '../kernels/kernels.ts'
import { releaseMemory } from '../kernels/release-memory.ts'
import { compressBound, createZstdContext, FAST } from '../kernels/zstd-context.ts'
import { isSame } from './same-blobs.ts'

/** A pack that is complete, and not stored yet. */
export interface FinishedPack {
  readonly id: PackId
  readonly blobs: readonly PackedBlob[]
  /**
   * The whole file, in a buffer of its own that is to be handed back to `reuse` when it is stored. It is shared: one that is
   * transferred counts as new memory to the collector of the thread that gets it, which then collects for nearly every pack.
   */
  readonly bytes: Uint8Array<SharedArrayBuffer>
}

export interface PackAssemblerOptions {
  readonly kernels: Kernels
  readonly key: MasterKey
  readonly version: 1 | 2
  /** Bytes of blobs after which a pack is closed. */
  readonly packSize: number
  readonly onPack: (pack: FinishedPack) => void
}

/** Header entries after which a pack is closed whatever its size; keeps the room for the header small. */
const MAX_BLOBS = 50_000
const LONGEST = compressBound(MAX_CHUNK)
const BATCH = 1024 * 1024
/** What is sealed and not yet moved to the pack. */
const SEALED_BYTES = BATCH + LONGEST + SEAL_OVERHEAD
const HEADER_ROOM = 41 * (MAX_BLOBS + 1) + SEAL_OVERHEAD + 4

/** What an assembler takes of the memory of its kernels. */
export const ASSEMBLER_MEMORY = sealerMemory({ maxLength: LONGEST, batchBytes: BATCH }) + SEALED_BYTES + 2 * 4096

/**
 * Compresses, seals and packs data blobs, with the kernels and contexts of one thread. A blob is decompressed again and
 * compared before it is sealed, and each pack's header and one of its blobs are opened again before it leaves: a bit that
 * flipped must not get into a repository under a hash that promises the opposite.
 */
export class PackAssembler {
  readonly #options: PackAssemblerOptions
  readonly #zstd = createZstdContext(FAST)
  readonly #sealer
  readonly #sealed
  /** Where in `#sealed` the next blob goes. */
  #next: number
  #blobs: PackedBlob[] = []
  #pack: Uint8Array<SharedArrayBuffer> | undefined
  readonly #spare: SharedArrayBuffer[] = []
  /** Bytes that are in `#pack`. */
  #moved = 0
  #digest = createHash('sha256')

  constructor(options: PackAssemblerOptions) {
    this.#options = options
    const { kernels, key } = options
    this.#sealer = createBatchSealer(kernels, key, { maxLength: LONGEST, batchBytes: BATCH })
    this.#sealed = kernels.region('sealed blobs', SEALED_BYTES)
    this.#next = this.#sealed.offset
  }

  /** Adds a data blob; `plaintext` is a view of the kernels' memory, at most `MAX_CHUNK` bytes. */
  add(id: BlobId, plaintext: Buffer): void {
    if (this.#next + LONGEST + SEAL_OVERHEAD > this.#sealed.end) this.#move()
    const compressed = this.#options.version === 2 && plaintext.length > 0
    const room = this.#sealer.reserve(compressed ? compressBound(plaintext.length) : plaintext.length)
    const length = compressed ? this.#compress(id, plaintext, room) : plaintext.copy(room)
    this.#blobs.push({
      type: 'data',
      id,
      offset: this.#size(),
      length: length + SEAL_OVERHEAD,
      uncompressedLength: compressed ? plaintext.length : undefined,
    })
    this.#next = this.#sealer.commit(length, this.#next)
    if (this.#size() >= this.#options.packSize || this.#blobs.length >= MAX_BLOBS) this.close()
  }

  /** Hands over the pack under way, if there is anything in it. */
  close(): void {
    if (this.#blobs.length === 0) return
    this.#move()
    const { key, onPack } = this.#options
    const blobs = this.#blobs
    const pack = this.#pack!
    this.#openAgain(blobs, pack)
    const header = seal(key, encodePackHeader(blobs))
    const parsed = parsePackHeader(unseal(key, header))
    if (parsed.length !== blobs.length || !parsed.every((blob, i) => isSame(blob, blobs[i]!)))
      throw faulty('a pack header')
    const trailer = Buffer.alloc(header.length + 4)
    header.copy(trailer)
    trailer.writeUInt32LE(header.length, header.length)
    pack.set(trailer, this.#moved)
    const id = this.#digest.update(trailer).digest('hex') as PackId
    const bytes = pack.subarray(0, this.#moved + trailer.length)
    this.#blobs = []
    this.#pack = undefined
    this.#moved = 0
    this.#digest = createHash('sha256')
    onPack({ id, blobs, bytes })
  }

  /** Takes the buffer of a pack that is stored for the next one: new memory has to be got and cleared by the system. */
  reuse(buffer: SharedArrayBuffer): void {
    if (buffer.byteLength === this.#packRoom()) this.#spare.push(buffer)
  }

  #packRoom(): number {
    return this.#options.packSize + 2 * SEALED_BYTES + HEADER_ROOM
  }

  #size(): number {
    return this.#moved + this.#next - this.#sealed.offset
  }

  #compress(id: BlobId, plaintext: Buffer, room: Buffer): number {
    const length = this.#zstd.compress(plaintext, room)
    const again = this.#free(plaintext.length)
    if (!this.#zstd.decompress(room.subarray(0, length), again) || !again.equals(plaintext))
      throw faulty(`data blob ${id}`)
    return length
  }

  /** Memory that nothing is in: what is sealed next goes there, which is never longer than `LONGEST`. */
  #free(length: number): Buffer {
    return this.#options.kernels.memory.subarray(this.#next, this.#next + length)
  }

  /** Seals what is staged and moves what is sealed to the pack. */
  #move(): void {
    this.#sealer.flush()
    const { offset } = this.#sealed
    const sealed = this.#options.kernels.memory.subarray(offset, this.#next)
    // Room for the header too. Memory that nothing is written to is not taken from the system.
    this.#pack ??= new Uint8Array(this.#spare.pop() ?? new SharedArrayBuffer(this.#packRoom()))
    this.#pack.set(sealed, this.#moved)
    this.#digest.update(sealed)
    this.#moved += sealed.length
    this.#next = offset
  }

  /** The longest blob's way back, through other code than that which sealed it. */
  #openAgain(blobs: readonly PackedBlob[], pack: Uint8Array): void {
    const blob = blobs.reduce((longest, other) => (other.length > longest.length ? other : longest))
    const sealed = Buffer.from(pack.buffer, pack.byteOffset + blob.offset, blob.length)
    const stored = unseal(this.#options.key, sealed)
    let plaintext: Buffer = stored
    if (blob.uncompressedLength !== undefined) {
      plaintext = this.#free(blob.uncompressedLength)
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
