import { type BlobId, hashId, type PackId } from '../format/id.ts'
import { SEAL_OVERHEAD } from '../format/master-key.ts'
import type { PackedBlob } from '../format/pack-header.ts'
import { parseTree } from '../format/tree.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { copyBytes } from '../kernels/copy-bytes.ts'
import { createKernels, type Region } from '../kernels/kernels.ts'
import { opensslAes } from '../kernels/openssl-aes.ts'
import { type BatchOpener, createBatchOpener, OPENER_MEMORY } from '../kernels/seals.ts'
import { createZstdContext, type ZstdContext } from '../kernels/zstd-context.ts'
import { isFileProblem } from './file-problem.ts'
import { readBlob, readTree } from './read-blob.ts'
import type { IndexedRepository } from './repository.ts'

/** Trees whose places begin in the same stretch of a pack are fetched together. */
const STRETCH = 1024 * 1024
/** What is fetched at once; a tree that goes beyond is fetched alone. */
const MOST = STRETCH + 512 * 1024
/** Stretches that are kept, opened: folders are visited nearly in the order in which their trees were stored. */
const KEPT = 12
/**
 * Trees of a stretch that are read one by one before all of it is: who asks for few, such as a backup for those of changed folders,
 * would open hundreds for each. Counted anew for a stretch that is kept no longer, so that going back and forth between many is bounded.
 */
const ONE_BY_ONE = 4
const MOST_PLAIN = 64 * 1024 * 1024
const IV_SIZE = 16

/**
 * Loads, compiles and tries out what opens trees, which is kept: for who waits for something else, such as a key that another
 * thread derives. Otherwise the first tree takes 40 ms longer.
 */
export function prepareTreeReading(): void {
  opensslAes()
  createKernels({ memoryBytes: 0 })
  createZstdContext().close()
}

interface Stretch {
  readonly bytes: Buffer
  /** Places of what was opened: the compressed or plain content. */
  readonly trees: Map<BlobId, { readonly start: number; readonly blob: PackedBlob }>
}

/**
 * Reads very many trees of a repository, most of which lie together: a stretch of a pack at a time, opened as a batch. What
 * cannot be read so is read by `readBlob`, which knows what to do about damage, and rejects as it does; every tree is held
 * against its hash.
 */
export class TreeReader {
  readonly #repository: IndexedRepository
  readonly #signal: AbortSignal | undefined
  readonly #stretches = new Map<string, Promise<Stretch>>()
  /** How many trees were read alone of stretches that are not kept. */
  readonly #alone = new Map<string, number>()
  #open: { readonly region: Region; readonly opener: BatchOpener; readonly zstd: ZstdContext } | undefined
  /** The pack that was asked for last, its trees in order of their places. */
  #listed: { readonly pack: PackId; readonly blobs: readonly PackedBlob[] } | undefined

  /** What a tree that is only parsed is decompressed to. */
  #scratch = Buffer.alloc(0)

  constructor(repository: IndexedRepository, signal?: AbortSignal) {
    this.#repository = repository
    this.#signal = signal
  }

  /** The plaintext of the tree. Rejects as `readBlob` does. */
  async bytes(id: BlobId): Promise<Buffer> {
    const stretch = await this.#stretchOf(id)
    const plaintext = stretch && this.#decode(stretch, id, Buffer.allocUnsafeSlow)
    return plaintext ?? readBlob(this.#repository, 'tree', id, this.#signal)
  }

  /** Its nodes. Rejects as `readTree` does. */
  nodes(id: BlobId): Promise<TreeNode[]> {
    return this.read<never>(id, () => undefined)
  }

  /** What `scan` makes of its plaintext, which is only lent; its nodes where that is undefined. Rejects as `readTree` does. */
  async read<Scanned>(id: BlobId, scan: (plaintext: Buffer) => Scanned | undefined): Promise<Scanned | TreeNode[]> {
    const stretch = await this.#stretchOf(id)
    const plaintext = stretch && this.#decode(stretch, id, (length) => this.#room(length))
    try {
      if (plaintext !== undefined) return scan(plaintext) ?? parseTree(plaintext)
    } catch (error) {
      if (!isFileProblem(error)) throw error
    }
    return readTree(this.#repository, id, this.#signal)
  }

  #room(length: number): Buffer {
    if (this.#scratch.length < length) this.#scratch = Buffer.allocUnsafeSlow(2 * length)
    return this.#scratch.subarray(0, length)
  }

  /** What the tree can be had from: the stretch that it lies in, or nothing but itself. */
  async #stretchOf(id: BlobId): Promise<Stretch | undefined> {
    const location = this.#repository.index.find('tree', id)
    if (location === undefined || location.length > MOST - STRETCH) return undefined
    const { pack } = location
    const number = Math.floor(location.offset / STRETCH)
    const key = `${pack} ${number}`
    let stretch = this.#stretches.get(key)
    if (stretch === undefined) {
      const alone = this.#alone.get(key) ?? 0
      if (alone < ONE_BY_ONE) {
        this.#alone.set(key, alone + 1)
        return this.#fetch(pack, [location])
      }
      this.#alone.delete(key)
      stretch = this.#fetch(pack, this.#blobsOf(pack, number))
    } else this.#stretches.delete(key)
    this.#stretches.set(key, stretch)
    for (const oldest of this.#stretches.keys()) {
      if (this.#stretches.size <= KEPT) break
      this.#stretches.delete(oldest)
    }
    return stretch
  }

  /** Trees of a stretch, in order of their places. */
  #blobsOf(pack: PackId, number: number): PackedBlob[] {
    if (this.#listed?.pack !== pack) {
      const trees = (this.#repository.index.packBlobs(pack) ?? []).filter(({ type }) => type === 'tree')
      this.#listed = { pack, blobs: trees.sort((a, b) => a.offset - b.offset) }
    }
    const from = number * STRETCH
    return this.#listed.blobs.filter(
      ({ offset, length }) => offset >= from && offset < from + STRETCH && offset + length <= from + MOST,
    )
  }

  /** `blobs` in order of their places, which lie together. */
  async #fetch(pack: PackId, blobs: readonly PackedBlob[]): Promise<Stretch> {
    const { masterKey, storage } = this.#repository
    const trees: Stretch['trees'] = new Map()
    const [first] = blobs
    if (first === undefined) return { bytes: Buffer.alloc(0), trees }
    const start = first.offset
    const end = blobs.reduce((last, { offset, length }) => Math.max(last, offset + length), 0)
    let bytes: Buffer
    try {
      bytes = await storage.read({ type: 'pack', id: pack }, { offset: start, length: end - start }, this.#signal)
    } catch (error) {
      if (!isFileProblem(error)) throw error
      return { bytes: Buffer.alloc(0), trees } // one by one there may be something, or another copy
    }
    if (this.#open === undefined) {
      const kernels = createKernels({ memoryBytes: MOST + 4096 + OPENER_MEMORY })
      const region = kernels.region('a stretch of trees', MOST)
      this.#open = { region, opener: createBatchOpener(kernels, masterKey), zstd: createZstdContext() }
    }
    const { region, opener } = this.#open
    // Damaged indexes may let places overlap: those are read one by one.
    const apart = blobs.filter(({ offset }, i) => i === 0 || offset >= blobs[i - 1]!.offset + blobs[i - 1]!.length)
    copyBytes(bytes, region.bytes)
    const failed = new Set(
      opener.open(apart.map(({ offset, length }) => ({ offset: region.offset + offset - start, length }))),
    )
    copyBytes(region.bytes.subarray(0, bytes.length), bytes)
    for (const [i, blob] of apart.entries()) {
      if (!failed.has(i)) trees.set(blob.id, { start: blob.offset - start + IV_SIZE, blob })
    }
    return { bytes, trees }
  }

  /** Undefined for what cannot be had from the stretch. */
  #decode({ bytes, trees }: Stretch, id: BlobId, room: (length: number) => Buffer): Buffer | undefined {
    const found = trees.get(id)
    if (found === undefined) return undefined
    const { start, blob } = found
    const stored = bytes.subarray(start, start + blob.length - SEAL_OVERHEAD)
    let plaintext: Buffer = stored
    if (blob.uncompressedLength !== undefined) {
      // A claim of gigabytes is for `readBlob` to look into.
      if (blob.uncompressedLength > MOST_PLAIN) return undefined
      plaintext = room(blob.uncompressedLength)
      try {
        if (!this.#open!.zstd.decompress(stored, plaintext)) return undefined
      } catch (error) {
        if (!isFileProblem(error)) throw error
        return undefined
      }
    }
    return hashId(plaintext) === id ? plaintext : undefined
  }
}
