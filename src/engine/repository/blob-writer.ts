import { createHash } from 'node:crypto'
import { Semaphore } from '../concurrency.ts'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type IndexId, idAt, type PackId } from '../format/id.ts'
import { encodeIndexFile, type PackIndex } from '../format/index-file.ts'
import { SEAL_OVERHEAD } from '../format/master-key.ts'
import {
  type BlobType,
  encodePackHeader,
  type PackedBlob,
  packHeaderSize,
  parsePackHeader,
  plaintextLength,
} from '../format/pack-header.ts'
import { listensForTreePacks } from '../storage/tree-pack-listener.ts'
import type { SealedBlob } from './blob-codec.ts'
import { BlobEncoder } from './blob-encoder.ts'
import { BlobMap } from './blob-map.ts'
import type { FinishedPack } from './pack-assembler.ts'
import type { IndexedRepository } from './repository.ts'
import { isSame } from './same-blobs.ts'
import { sealLong } from './seal-long.ts'
import { writeUnpacked } from './unpacked-files.ts'
import { writeVerified } from './write-verified.ts'

/** A pack is closed when its blobs reach this size: restic's default (format reference 5.2). */
export const DEFAULT_PACK_SIZE = 16 * 1024 * 1024

/** Header entries after which a pack is closed whatever its size: far below the format's limit of 409,199. */
const MAX_PACK_BLOBS = 100_000

/** An index file is written when it would list this many blobs, or is this old (format reference 6). */
export const FULL_INDEX_BLOBS = 50_000
const FULL_INDEX_MILLISECONDS = 10 * 60 * 1000

/** Packs held in memory while they are being stored, beside the one of each type that is being filled. */
const UPLOADS = 2

/** What an interrupted run takes at most to publish what it stored: somebody waits for it to end. */
const PUBLISH_MILLISECONDS = 10_000

/** What the end of a pack takes up whatever it holds. */
const PACK_OVERHEAD = packHeaderSize([])

export interface SavedBlob {
  readonly id: BlobId
  /** False when the repository, or this run, had the blob already. */
  readonly isNew: boolean
  /** Bytes that the blob takes up in its pack, header entry included; 0 unless new. */
  readonly storedBytes: number
}

export interface BlobWriterTotals {
  readonly dataBlobs: number
  readonly treeBlobs: number
  /** Plaintext bytes of the new blobs. */
  readonly added: number
  /** What they take up in packs. */
  readonly addedPacked: number
  /** Packs that are stored. */
  readonly packs: number
}

export interface BlobWriterOptions {
  /** Bytes of blobs after which a pack is closed. */
  readonly packSize?: number
  /** Blobs after which an index file is written. */
  readonly indexSize?: number
  /** Read every pack back before an index names it: for blobs whose other copy is going to be removed. */
  readonly verify?: boolean
  readonly signal?: AbortSignal | undefined
  /** Milliseconds of a clock that does not jump. */
  readonly clock?: () => number
}

interface OpenPack {
  readonly blobs: PackedBlob[]
  readonly content: PackContent
}

/** Small blobs lie side by side in blocks: a buffer for each takes as much memory again, and a call of the hash. */
const BLOCK = 64 * 1024

/** The bytes of blobs, end to end. */
class PackContent {
  readonly #parts: Buffer[] = []
  size = 0
  #block = Buffer.alloc(0)
  #used = 0

  /** What is lent is copied. */
  add(bytes: Buffer, isLent: boolean): void {
    this.size += bytes.length
    if (isLent || bytes.length < BLOCK) {
      this.#copy(bytes)
    } else {
      this.#endBlock()
      this.#parts.push(bytes)
    }
  }

  /** Everything that was added; nothing can be added to it any more. */
  end(): readonly Buffer[] {
    this.#endBlock()
    return this.#parts
  }

  #copy(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#used === this.#block.length) {
        this.#endBlock()
        this.#block = Buffer.allocUnsafeSlow(BLOCK)
      }
      const copied = bytes.copy(this.#block, this.#used, at)
      this.#used += copied
      at += copied
    }
  }

  #endBlock(): void {
    if (this.#used > 0) this.#parts.push(this.#block.subarray(0, this.#used))
    this.#block = this.#block.subarray(this.#used)
    this.#used = 0
  }
}

/**
 * Adds blobs to a repository: each is stored once, packed with others of its type; trees and data keep apart.
 *
 * Durable order (format reference 11.1): a pack is named by an index file only after it is stored, and enters the
 * repository's index in memory only after that file is stored. Nothing may refer to a blob, in a snapshot, before
 * `finish` has resolved. After a failure every further call rejects with it: packs that were stored by then and are in no
 * index file are harmless, and collected by a prune.
 *
 * Dispose of it before the lock on the repository is given back: an upload must not outlive the lock.
 */
export class BlobWriter implements AsyncDisposable {
  readonly #repository: IndexedRepository
  readonly #packSize: number
  readonly #indexSize: number
  readonly #verify: boolean
  readonly #signal: AbortSignal | undefined
  readonly #clock: () => number
  readonly #open: Partial<Record<BlobType, OpenPack>> = {}
  /** Blobs of packs that no index file names yet, whether they are open, under way or stored. */
  readonly #unpublished = new Set<readonly PackedBlob[]>()
  /** These blobs, to look for. */
  #pending = new BlobMap()
  readonly #uploads = new Set<Promise<void>>()
  readonly #slots = new Semaphore(UPLOADS)
  readonly #encoder: BlobEncoder
  /** Packs that are stored and in no index file yet. */
  #stored: PackIndex[] = []
  #storedBlobs = 0
  #storedSince = 0
  #failure: { readonly error: unknown } | undefined
  readonly #indexFiles: IndexId[] = []
  readonly #totals = { dataBlobs: 0, treeBlobs: 0, added: 0, addedPacked: 0, packs: 0 }

  constructor(repository: IndexedRepository, options: BlobWriterOptions = {}) {
    this.#repository = repository
    this.#encoder = new BlobEncoder(repository)
    this.#packSize = options.packSize ?? DEFAULT_PACK_SIZE
    this.#indexSize = options.indexSize ?? FULL_INDEX_BLOBS
    this.#verify = options.verify ?? false
    this.#signal = options.signal
    this.#clock = options.clock ?? (() => performance.now())
  }

  get totals(): BlobWriterTotals {
    return { ...this.#totals }
  }

  /** Those that were written. */
  get indexFiles(): readonly IndexId[] {
    return this.#indexFiles
  }

  /** True when the blob is stored, or will be once `finish` has resolved. */
  has(type: BlobType, id: BlobId): boolean {
    return this.#repository.index.has(type, id) || this.#pending.has(type, id)
  }

  /** As `has`, of the ID whose digits begin at this place. */
  hasAt(type: BlobType, text: Buffer, at: number): boolean {
    if (this.#repository.index.hasAt(type, text, at)) return true
    return this.#pending.size > 0 && this.#pending.has(type, idAt(text, at))
  }

  /** The plaintext may be reused by the caller when the call resolves. */
  async save(type: BlobType, plaintext: Buffer): Promise<SavedBlob> {
    this.#throwIfStopped()
    const id = hashId<BlobId>(plaintext)
    if (this.has(type, id)) return { id, isNew: false, storedBytes: 0 }
    return this.#add(this.#encoder.encode(type, id, plaintext), plaintext.length, true)
  }

  /**
   * Adds a blob that is sealed already, under the key of this repository; that it opens to what its ID says is the caller's to
   * know. With `again` it is stored although the repository has it, for a copy that is about to be removed. The bytes must not
   * change any more.
   */
  async saveSealed(sealed: SealedBlob, options: { readonly again?: boolean } = {}): Promise<SavedBlob> {
    this.#throwIfStopped()
    const { type, id } = sealed
    const isThere = options.again ? this.#pending.has(type, id) : this.has(type, id)
    if (isThere) return { id, isNew: false, storedBytes: 0 }
    return this.#add(sealed, sealed.uncompressedLength ?? sealed.bytes.length - SEAL_OVERHEAD, false)
  }

  /**
   * Stores a pack that another thread has put together, with the key of this repository; that its blobs are new, and that
   * they open to what their IDs say, is the caller's to know. Resolves when it is stored, and the bytes are the caller's
   * again; `onTaken` may be told that they are before. Calls may go on side by side; only so many packs are stored at a time.
   */
  async savePack({ id, blobs, bytes }: FinishedPack, onTaken?: () => void): Promise<void> {
    this.#throwIfStopped()
    this.#unpublished.add(blobs)
    for (const blob of blobs) {
      this.#pending.add(blob.type, blob.id)
      this.#totals[blob.type === 'tree' ? 'treeBlobs' : 'dataBlobs'] += 1
      this.#totals.added += plaintextLength(blob)
      this.#totals.addedPacked += packHeaderSize([blob]) - PACK_OVERHEAD + blob.length
    }
    const content = [Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)]
    await this.#upload(() => this.#storePack(id, blobs, content, onTaken)).settled
    this.#throwIfStopped()
  }

  /** Calls `use` with the ID of each blob that is on its way and not in the repository's index yet. */
  forEachPending(type: BlobType, use: (id: BlobId) => void): void {
    for (const pending of this.#pending.blobs()) {
      if (pending.type === type) use(pending.id)
    }
  }

  async #add(sealed: SealedBlob, plaintextLength: number, isLent: boolean): Promise<SavedBlob> {
    const { type, id } = sealed
    this.#pending.add(type, id)
    const pack = this.#append(sealed, isLent)
    const storedBytes = packHeaderSize([pack.blobs.at(-1)!]) - PACK_OVERHEAD + sealed.bytes.length
    this.#totals[type === 'tree' ? 'treeBlobs' : 'dataBlobs'] += 1
    this.#totals.added += plaintextLength
    this.#totals.addedPacked += storedBytes
    if (pack.content.size >= this.#packSize || pack.blobs.length >= MAX_PACK_BLOBS) await this.#close(type)
    return { id, isNew: true, storedBytes }
  }

  /** Stores what is left and publishes the index of everything new. */
  async finish(): Promise<void> {
    this.#throwIfStopped()
    await this.#close('data')
    await this.#close('tree')
    await this.#settle()
    this.#throwIfStopped()
    try {
      await this.#publish()
    } catch (error) {
      this.#failure ??= { error }
      throw error
    }
  }

  /**
   * Resolves when nothing is under way any more. After an interruption the packs that are stored are published, so that the next
   * run need not store them again; after anything else, a lost lock above all, what was not finished stays unpublished.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#failure ??= { error: new TypeError('Cannot store more blobs: the writer was disposed of') }
    await this.#settle()
    const reason: unknown = this.#signal?.reason
    if (!(reason instanceof EngineError && reason.code === 'INTERRUPTED')) return
    try {
      // Not under the caller's signal, which is what ended this.
      await this.#publish(AbortSignal.timeout(PUBLISH_MILLISECONDS))
    } catch (error) {
      // It costs the next run time, and the operator must hear of the interruption. A defect must be heard of.
      if (!(error instanceof EngineError || (error as Error).name === 'TimeoutError')) throw error
    }
  }

  async #settle(): Promise<void> {
    await Promise.all(this.#uploads) // they do not reject: the first failure is noted in `#failure`
  }

  #throwIfStopped(): void {
    if (this.#failure) throw this.#failure.error
    this.#signal?.throwIfAborted()
  }

  #append({ type, id, bytes, uncompressedLength }: SealedBlob, isLent: boolean): OpenPack {
    let pack = this.#open[type]
    if (pack === undefined) {
      pack = { blobs: [], content: new PackContent() }
      this.#open[type] = pack
      this.#unpublished.add(pack.blobs)
    }
    const { blobs, content } = pack
    blobs.push({ type, id, offset: content.size, length: bytes.length, uncompressedLength })
    content.add(bytes, isLent)
    return pack
  }

  /** Hands the open pack over to be stored; waits only while `UPLOADS` others are still being stored. */
  async #close(type: BlobType): Promise<void> {
    const pack = this.#open[type]
    if (!pack) return
    delete this.#open[type]
    await this.#upload(() => this.#store(pack)).started
  }

  /** Neither promise rejects: the first failure is noted in `#failure`. */
  #upload(store: () => Promise<void>): { readonly started: Promise<void>; readonly settled: Promise<void> } {
    const { promise: started, resolve: start } = Promise.withResolvers<void>()
    const settled = this.#slots
      .run(async () => {
        start()
        if (!this.#failure) await store()
      })
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => this.#uploads.delete(settled))
    this.#uploads.add(settled)
    return { started, settled }
  }

  async #store({ blobs, content }: OpenPack): Promise<void> {
    const { masterKey } = this.#repository
    const plaintext = encodePackHeader(blobs)
    verifyHeader(parsePackHeader(plaintext), blobs)
    const header = sealLong(masterKey, plaintext)
    const length = Buffer.alloc(4)
    length.writeUInt32LE(header.length)
    const parts = [...content.end(), header, length]
    const digest = createHash('sha256')
    for (const part of parts) digest.update(part)
    await this.#storePack(digest.digest('hex') as PackId, blobs, parts)
  }

  async #storePack(
    id: PackId,
    blobs: readonly PackedBlob[],
    content: readonly Buffer[],
    onTaken?: () => void,
  ): Promise<void> {
    const { storage } = this.#repository
    if (listensForTreePacks(storage) && blobs.some(({ type }) => type === 'tree')) storage.addTreePack(id)
    const name = { type: 'pack', id } as const
    if (this.#verify) await writeVerified(storage, name, content, this.#signal)
    else await storage.write(name, content, this.#signal, onTaken)

    this.#totals.packs += 1
    this.#totals.addedPacked += PACK_OVERHEAD
    if (this.#stored.length === 0) this.#storedSince = this.#clock()
    this.#stored.push({ id, blobs })
    this.#storedBlobs += blobs.length
    const isFull = this.#storedBlobs >= this.#indexSize || this.#clock() - this.#storedSince >= FULL_INDEX_MILLISECONDS
    if (isFull) await this.#publish()
  }

  /** Writes the index file of the packs that are stored by now. */
  async #publish(signal: AbortSignal | undefined = this.#signal): Promise<void> {
    const packs = this.#stored
    if (packs.length === 0) return
    this.#stored = []
    this.#storedBlobs = 0
    this.#indexFiles.push(await writeUnpacked(this.#repository, 'index', encodeIndexFile(packs), signal))
    for (const { id, blobs } of packs) {
      this.#repository.index.addPack(id, blobs)
      this.#unpublished.delete(blobs)
    }
    this.#pending = new BlobMap()
    for (const blobs of this.#unpublished) {
      for (const { type, id } of blobs) this.#pending.add(type, id)
    }
  }
}

/** A header that does not say what the pack holds is never stored: nothing could be found by it again. */
function verifyHeader(parsed: readonly PackedBlob[], packed: readonly PackedBlob[]): void {
  if (parsed.length === packed.length && parsed.every((blob, i) => isSame(blob, packed[i]!))) return
  throw new EngineError('SELF_CHECK', 'Cannot store a pack: its header does not decode to what was encoded', {
    hint: 'The memory or processor of this machine is likely faulty: test it before the next backup',
  })
}
