import { closeSync } from 'node:fs'
import type { EventLoopUtilization } from 'node:perf_hooks'
import { EngineError } from '../../error.ts'
import type { PackId } from '../../format/id.ts'
import { parsePackHeader } from '../../format/pack-header.ts'
import { createBlobTable } from '../../kernels/blob-table.ts'
import { EntryStats } from '../../os/entry-stats.ts'
import { type BlobWriter, DEFAULT_PACK_SIZE } from '../../repository/blob-writer.ts'
import { PackPlaces } from '../../repository/pack-places.ts'
import type { IndexedRepository } from '../../repository/repository.ts'
import { type FileStore, type FileToStore, failure, type StoredFile } from '../file-store.ts'
import type { KnownChunks } from '../known-chunks.ts'
import { OpenedFile } from '../opened-file.ts'
import { fromSource } from '../source-error.ts'
import { PieceFinder } from './piece-finder.ts'
import {
  decodeResults,
  encodeJobs,
  type FileJob,
  type FileResult,
  type FromWorker,
  INPUT,
  type WorkerSetUp,
} from './protocol.ts'
import { StoreThreads, type StoreThreadsOptions } from './store-threads.ts'

/** A job is closed at either: enough work to be worth a message, little enough to spread over threads. */
const BATCH_FILES = 128
const BATCH_BYTES = 4 * 1024 * 1024
/** Jobs that a worker has at a time: one to do, one so that it never waits. */
const JOBS_PER_WORKER = 2

/** How long it is watched whether one more thread is worth it, which takes a tenth of a second to start. */
const GROW_MILLISECONDS = 100
/** It is, when what waits would keep those that there are busy for so long. */
const GROW_FOR_MILLISECONDS = 400
/** Pieces with new content that this thread looks through in vain before it leaves the rest to the others. */
const MOST_MISSES = 2

/** A thread whose event loop is busy for more of the time has no processor to spare. */
const BUSY = 0.5

/** New blobs that the table of digests is made for; it grows beyond, but not beyond the limit: see `blob-table.ts`. */
const EXPECTED_NEW_BLOBS = 16 * 1024
const MOST_NEW_BLOBS = 2 ** 24

export interface StorePoolOptions {
  readonly repository: IndexedRepository
  readonly writer: BlobWriter
  /** Those to use, which end with the pool; or what to start some with. */
  readonly threads: StoreThreads | StoreThreadsOptions
  /** Chunks of large files that are known, and where what is new of them is noted. */
  readonly chunks?: KnownChunks | undefined
  readonly packSize?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** A file under way. It is its own first piece, and nearly always the only one. */
class Pending implements FileJob {
  readonly file: FileToStore
  readonly index = 0
  readonly from = 0
  readonly limit = 0
  /** Open, when the file is large. */
  descriptor: number | undefined
  missing = 1
  /** That were begun. */
  pieces = 1
  /** Of all pieces, and where they begin, once there are several. */
  results: ({ readonly from: number; readonly result: FileResult } | undefined)[] | undefined

  constructor(file: FileToStore) {
    this.file = file
  }
  get pending(): Pending {
    return this
  }
  get path(): Buffer {
    return this.file.path
  }
  get size(): number {
    return this.file.size
  }
  get state(): EntryStats | undefined {
    return this.file.seen
  }
  get asksVeto(): boolean {
    return this.file.asksVeto
  }
}

/** The rest of a file from some place on. */
interface Continued extends FileJob {
  readonly pending: Pending
  readonly index: number
  /** Whether it is known to hold something new. */
  readonly isNew?: boolean
}

type Piece = Pending | Continued

interface Thread {
  readonly number: number
  /** Pieces of each job under way, by its number. */
  readonly jobs: Map<number, readonly Piece[]>
  /** Which of its packs are still to be stored. */
  readonly places: PackPlaces
  /** Where they are, once it is ready. */
  memory: SharedArrayBuffer | undefined
  finished: boolean
}

/**
 * Threads that read, cut, compress and seal files, all into one repository. A large file is spread over all of them. The
 * first failure of any thread ends all: every file under way rejects with it. Dispose of it in any case.
 */
export class StorePool implements FileStore, AsyncDisposable {
  readonly isConcurrent = true
  readonly #options: StorePoolOptions
  readonly #running: StoreThreads
  readonly #threads: Thread[] = []
  readonly #common: Omit<WorkerSetUp, 'places'>
  /** Not handed out yet; continued files come first, for somebody holds their pieces already. */
  readonly #queue: Piece[] = []
  #queuedBytes = 0
  readonly #pending = new Set<Pending>()
  #jobNumber = 0
  #failure: { readonly error: unknown } | undefined
  /** Packs that are being stored. These do not reject. */
  readonly #packs = new Set<Promise<void>>()
  /** Of large files that are under way. */
  readonly #descriptors = new Set<number>()
  #whenFinished: (() => void) | undefined
  #flushing = false
  #pace = startPace()
  /** Whether this thread, too, looks through what may be stored already. */
  #helps = false
  /** Not where nothing was stored before: it takes memory. */
  readonly #canHelp: boolean
  #isAboutToHelp = false
  #misses = 0
  #finder: PieceFinder | undefined
  readonly #onAbort = () => this.#fail(this.#options.signal!.reason)

  /** `SYSTEM` when the system does not let a single thread start. */
  constructor(options: StorePoolOptions) {
    this.#options = options
    const { repository, writer, signal } = options
    this.#canHelp = repository.index.blobCount > 0
    const table = createBlobTable(EXPECTED_NEW_BLOBS, MOST_NEW_BLOBS)
    writer.forEachPending('data', (id) => table.claim(Buffer.from(id, 'hex')))
    const { threads } = options
    this.#running = threads instanceof StoreThreads ? threads : new StoreThreads(threads)
    this.#common = {
      key: repository.masterKey,
      version: repository.config.version,
      polynomial: repository.config.polynomial,
      packSize: options.packSize ?? DEFAULT_PACK_SIZE,
      known: repository.index.knownBlobs().memory,
      chunks: options.chunks?.setUp,
      table: table.buffer,
    }
    while (this.#threads.length < this.#running.count) this.#setUpNext()
    this.#running.answerTo({
      onMessage: (thread, message) => {
        try {
          this.#receive(this.#threads[thread]!, message)
        } catch (error) {
          this.#fail(error)
        }
      },
      onFailure: (error) => this.#fail(error),
    })
    signal?.addEventListener('abort', this.#onAbort)
    if (signal?.aborted) this.#onAbort()
  }

  store(file: FileToStore): void {
    if (this.#failure) {
      file.whenFailed(this.#failure.error)
      return
    }
    const pending = new Pending(file)
    this.#pending.add(pending)
    this.#queue.push(pending)
    this.#queuedBytes += file.size
    this.#handOut()
  }

  noMore(): void {
    this.#helps = this.#canHelp
    this.#handOut()
  }

  /** Hands over every pack, also those that are not full. No file may be under way. */
  async finish(): Promise<void> {
    if (this.#failure) throw this.#failure.error
    await new Promise<void>((resolve) => {
      this.#whenFinished = resolve
      for (const { number } of this.#threads) this.#running.post(number, { kind: 'finish' })
    })
    await Promise.all(this.#packs)
    if (this.#failure) throw (this.#failure as { error: unknown }).error
  }

  /** When it resolves no thread runs, and nothing that this pool handed over is being stored. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#fail(new EngineError('INTERRUPTED', 'Cannot store more files: the threads were ended'))
    for (const { places } of this.#threads) places.close()
    await this.#running[Symbol.asyncDispose]()
    for (const descriptor of this.#descriptors) closeSync(descriptor) // not before: its number may get another file
    this.#descriptors.clear()
    await Promise.all(this.#packs)
  }

  #setUpNext(): void {
    const number = this.#threads.length
    const places = new PackPlaces()
    this.#threads.push({ number, jobs: new Map(), places, memory: undefined, finished: false })
    this.#running.post(number, { kind: 'set up', setUp: { ...this.#common, places: places.buffer } })
  }

  #receive(thread: Thread, message: FromWorker): void {
    if (this.#failure) return
    switch (message.kind) {
      case 'ready':
        thread.memory = message.memory
        return
      case 'continue':
        this.#goOn(thread.jobs.get(message.job)![message.file]!, message)
        return
      case 'done': {
        const pieces = thread.jobs.get(message.job)!
        thread.jobs.delete(message.job)
        this.#note(message.chunks)
        const results = decodeResults(message.results)
        for (let i = 0; i < results.length; i++) {
          const result = results[i]!
          if (result.kind === 'stored') this.#pace.bytes += result.bytes
          this.#complete(pieces[i]!, result)
        }
        this.#handOut()
        return
      }
      case 'pack':
        this.#savePack(thread, message)
        return
      case 'finished':
        thread.finished = true
        if (this.#threads.every(({ finished }) => finished)) this.#whenFinished?.()
    }
  }

  #savePack(thread: Thread, message: Extract<FromWorker, { kind: 'pack' }>): void {
    const { id, header, place, offset, length } = message
    const blobs = parsePackHeader(Buffer.from(header.buffer, header.byteOffset, header.length))
    // The thread may take the place again at once: it must not be released twice.
    let isReleased = false
    const release = () => {
      if (!isReleased) thread.places.release(place)
      isReleased = true
    }
    const saving: Promise<void> = this.#options.writer
      .savePack({ id: id as PackId, blobs, bytes: new Uint8Array(thread.memory!, offset, length) }, release)
      .then(release)
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#packs.delete(saving))
    this.#packs.add(saving)
  }

  #goOn(
    { pending, index }: Piece,
    { next, limit, state }: Pick<Extract<FromWorker, { kind: 'continue' }>, 'next' | 'limit' | 'state'>,
  ): void {
    if (pending.pieces !== index + 1)
      throw new TypeError(`Cannot go on with a file: piece ${index + 1} was begun before`)
    pending.pieces += 1
    pending.results ??= []
    pending.missing += 1
    const size = Math.max(0, limit - next)
    const { path, descriptor } = pending
    this.#queue.unshift({
      pending,
      index: index + 1,
      path,
      descriptor,
      from: next,
      size,
      state: new EntryStats(state),
      limit,
      asksVeto: false,
    })
    this.#queuedBytes += size
    this.#handOut()
  }

  #complete({ pending, index, from }: Piece, result: FileResult): void {
    const { results } = pending
    if (results !== undefined) results[index] = { from, result }
    pending.missing -= 1
    if (pending.missing > 0) return
    this.#pending.delete(pending)
    if (pending.descriptor !== undefined) {
      this.#descriptors.delete(pending.descriptor)
      closeSync(pending.descriptor)
    }
    pending.file.whenStored(results === undefined ? asStored(result) : putTogether(results))
  }

  /** Hands work to whoever has least; waits for a batch to fill while all are busy, but never lets one idle. */
  #handOut(): void {
    while (this.#queue.length > 0) {
      const thread = this.#threads.reduce((least, other) => (other.jobs.size < least.jobs.size ? other : least))
      // What a thread has no time for now is left for this one.
      const helps = this.#helps && isHelpable(this.#queue[0]!)
      if (thread.jobs.size >= (helps ? 1 : JOBS_PER_WORKER)) {
        if (helps) this.#helpLater()
        else if (this.#grow()) continue
        return
      }
      if (thread.jobs.size > 0 && !this.#flushing && !this.#isBatchFull()) {
        // Whoever stores files one after the other gets them batched; whoever waits for one gets it at once.
        this.#flushing = true
        setImmediate(() => {
          this.#handOut()
          this.#flushing = false
        })
        return
      }
      this.#send(thread, this.#takeBatch())
    }
  }

  #helpLater(): void {
    if (this.#isAboutToHelp) return
    this.#isAboutToHelp = true
    setImmediate(() => {
      this.#isAboutToHelp = false
      try {
        this.#help()
      } catch (error) {
        this.#fail(error)
      }
    })
  }

  /** Looks through a piece of a large file. */
  #help(): void {
    const [piece] = this.#queue
    if (this.#failure || piece === undefined || !isHelpable(piece)) return
    this.#queue.shift()
    this.#queuedBytes -= piece.size
    this.#finder ??= new PieceFinder(this.#common)
    const state = piece.state!.toWords()
    const result = this.#finder.find(piece, (next, limit) => this.#goOn(piece, { next, limit, state }))
    if (result.kind === 'unfound') {
      const size = result.end - piece.from
      // The next piece is in the queue by now: this one ends where that begins.
      this.#queue.unshift({ ...piece, size, limit: result.end, isNew: true })
      this.#queuedBytes += size
      this.#misses += 1
      if (this.#misses === MOST_MISSES) this.#helps = false
    } else {
      if (result.kind === 'stored') this.#pace.bytes += result.bytes
      this.#complete(piece, result)
    }
    this.#note(this.#finder.takeNoted())
    this.#handOut()
  }

  #note(chunks: Uint8Array | undefined): void {
    if (chunks) this.#options.chunks?.add(chunks)
  }

  /** Another thread, where one more has enough to do and a processor to do it on: this thread's own, once that has little to do. */
  #grow(): boolean {
    if (this.#threads.length >= this.#running.most) return false
    const now = performance.now()
    const elapsed = now - this.#pace.since
    if (elapsed < GROW_MILLISECONDS || (this.#pace.bytes === 0 && elapsed < GROW_FOR_MILLISECONDS)) return false
    const { utilization } = performance.eventLoopUtilization(this.#pace.loop)
    const isWorthIt = this.#queuedBytes * elapsed > GROW_FOR_MILLISECONDS * this.#pace.bytes
    this.#pace = startPace()
    if (utilization > BUSY || !isWorthIt || !this.#running.start()) return false
    this.#setUpNext()
    return true
  }

  #isBatchFull(): boolean {
    return this.#queue.length >= BATCH_FILES || this.#queuedBytes >= BATCH_BYTES
  }

  #takeBatch(): Piece[] {
    let count = 0
    let bytes = 0
    while (count < this.#queue.length && count < BATCH_FILES && bytes < BATCH_BYTES) bytes += this.#queue[count++]!.size
    this.#queuedBytes -= bytes
    return this.#queue.splice(0, count)
  }

  #send(thread: Thread, batch: readonly Piece[]): void {
    const pieces = batch.filter((piece) => this.#isOpened(piece))
    if (pieces.length === 0) return
    const job = this.#jobNumber++
    thread.jobs.set(job, pieces)
    this.#running.post(thread.number, { kind: 'store', job, files: encodeJobs(pieces) })
  }

  /**
   * A file that several threads may read is opened here, once for all of them: at its path there may soon be another one.
   * False when it cannot be opened, and so is done with.
   */
  #isOpened(piece: Piece): boolean {
    const { pending, size, from } = piece
    if (size < INPUT || from > 0) return true
    try {
      const descriptor = fromSource(pending.path, () => new OpenedFile(pending.path).fd)
      this.#descriptors.add(descriptor)
      pending.descriptor = descriptor
      return true
    } catch (error) {
      this.#complete(piece, failure(error))
      return false
    }
  }

  #fail(error: unknown): void {
    if (this.#failure) return
    this.#failure = { error }
    const pending = [...this.#pending]
    this.#pending.clear()
    this.#queue.length = 0
    for (const { file } of pending) file.whenFailed(error)
    this.#whenFinished?.()
  }
}

/** Whether it may turn out that all of it is stored already. */
function isHelpable(piece: Piece): piece is Continued {
  return piece.from > 0 && !('isNew' in piece && piece.isNew)
}

/** What came of some time: bytes that were stored, and how busy the event loop was. */
interface Pace {
  readonly since: number
  readonly loop: EventLoopUtilization
  bytes: number
}

function startPace(): Pace {
  return { since: performance.now(), loop: performance.eventLoopUtilization(), bytes: 0 }
}

function asStored(result: FileResult): StoredFile {
  if (result.kind !== 'stored') return result
  const { ids, bytes, state, changed } = result
  return { kind: 'stored', ids, size: bytes, state, changed }
}

/** Throws when a piece does not begin where the one before it ends, unless the file was written to: a backup must not lose what lies between. */
function putTogether(pieces: NonNullable<Pending['results']>): StoredFile {
  const ids: Uint8Array[] = []
  let size = 0
  let changed = false
  let state: EntryStats | undefined
  for (const piece of pieces) {
    const { from, result } = piece!
    if (result.kind !== 'stored') return result
    if (from !== size && !changed) throw new TypeError(`Cannot put a file together: it has ${size} bytes up to ${from}`)
    ids.push(result.ids)
    size += result.bytes
    changed ||= result.changed
    state ??= result.state
  }
  // Of a file of /proc nobody knows the size before it is read.
  if (size !== state!.size && state!.size > 0) changed = true
  return { kind: 'stored', ids: Buffer.concat(ids), size, state: state!, changed }
}
