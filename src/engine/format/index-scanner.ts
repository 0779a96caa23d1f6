import { EngineError } from '../error.ts'
import { copyBytes } from '../kernels/copy-bytes.ts'
import {
  createKernels,
  type Implementation,
  INDEX_BLOB_BYTES,
  INDEX_PACK_BYTES,
  INDEX_PACKS_HEAD,
  type Kernels,
  type Region,
} from '../kernels/kernels.ts'
import { giveBackPages } from '../kernels/large-pages.ts'
import { contentLength, createZstdContext, type ZstdContext } from '../kernels/zstd-context.ts'
import type { PackId } from './id.ts'
import type { RepositoryVersion } from './repository-config.ts'
import { type IndexColumns, SHORTEST_BLOB, SHORTEST_PACK } from './scan-index-file.ts'
import { COMPRESSED_JSON } from './unpacked.ts'

const PAGE = 4096
const ID_BYTES = 32
/** More than any index file has, and little enough for the memory of kernels. What is longer is for the plain parser. */
const MOST_JSON = 256 * 1024 * 1024

/**
 * Scans long index files one after the other, in memory that they are decompressed to and that is kept for the next one. Code that is
 * not compiled yet takes ten times as long for it, and a command reads its index once.
 */
export class IndexScanner {
  readonly #implementation: Implementation | undefined
  #memory: { readonly kernels: Kernels; readonly room: Region } | undefined
  #zstd: ZstdContext | undefined

  /** @param implementation instead of the best one. */
  constructor(implementation?: Implementation) {
    this.#implementation = implementation
  }

  /**
   * What the plaintext of an index file lists, as `scanIndexFile` has it; lent until the next call. Undefined where that or
   * `decodeUnpacked` has to say what it is: it is not written as always, is damaged, or too long.
   */
  scan(plaintext: Uint8Array, version: RepositoryVersion): IndexColumns | undefined {
    const frame = version === 2 && plaintext[0] === COMPRESSED_JSON ? plaintext.subarray(1) : undefined
    const length = frame === undefined ? plaintext.length : contentLength(frame)
    if (length === undefined || length > MOST_JSON) return undefined
    const blobs = Math.ceil(length / SHORTEST_BLOB)
    const packs = Math.ceil(length / SHORTEST_PACK)
    const toPacks = Math.ceil(length / PAGE) * PAGE
    const toBlobs = toPacks + Math.ceil((INDEX_PACKS_HEAD + INDEX_PACK_BYTES * packs) / PAGE) * PAGE
    const { kernels, room } = this.#memoryOf(toBlobs + INDEX_BLOB_BYTES * blobs)
    const { memory } = kernels
    const from = room.offset
    const json = memory.subarray(from, from + length)
    if (frame === undefined) copyBytes(plaintext, json)
    else if (!this.#decompress(frame, json)) return undefined

    const rooms = { to: from + toBlobs, blobs, packsTo: from + toPacks, packs }
    const count = kernels.scanIndex(from, from + length, version === 2, rooms)
    if (count < 0) return undefined
    const column = (at: number) => new Uint32Array(memory.buffer, rooms.to + at * blobs, count)
    return {
      packs: packsAt(memory, rooms.packsTo),
      count,
      ids: memory.subarray(rooms.to, rooms.to + ID_BYTES * count),
      offsets: column(ID_BYTES),
      lengths: column(ID_BYTES + 4),
      plainLengths: column(ID_BYTES + 8),
      kinds: memory.subarray(rooms.to + (ID_BYTES + 12) * blobs, rooms.to + (ID_BYTES + 12) * blobs + count),
    }
  }

  /** Gives the memory back, and with it what was lent. */
  close(): void {
    this.#zstd?.close()
    if (this.#memory) giveBackPages(this.#memory.kernels.memory.buffer, 0, this.#memory.kernels.memory.length)
    this.#memory = undefined
  }

  #memoryOf(length: number): { readonly kernels: Kernels; readonly room: Region } {
    if (this.#memory === undefined || this.#memory.room.length < length) {
      this.close()
      const kernels = createKernels({ memoryBytes: length, implementation: this.#implementation })
      this.#memory = { kernels, room: kernels.region('an index file', length) }
    }
    return this.#memory
  }

  #decompress(frame: Uint8Array, json: Uint8Array): boolean {
    this.#zstd ??= createZstdContext()
    try {
      return this.#zstd.decompress(frame, json)
    } catch (error) {
      if (!(error instanceof EngineError && error.code === 'CORRUPT')) throw error
      return false
    }
  }
}

function packsAt(memory: Buffer, at: number): IndexColumns['packs'] {
  const count = memory.readUInt32LE(at)
  return Array.from({ length: count }, (_, i) => {
    const start = at + INDEX_PACKS_HEAD + INDEX_PACK_BYTES * i
    const id = memory.toString('hex', start, start + ID_BYTES) as PackId
    return { id, start: memory.readUInt32LE(start + ID_BYTES) }
  })
}
