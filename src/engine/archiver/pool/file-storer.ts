import { closeSync, readSync } from 'node:fs'
import type { BlobId } from '../../format/id.ts'
import { openBlobTable } from '../../kernels/blob-table.ts'
import { createKernels, type Kernels } from '../../kernels/kernels.ts'
import { EntryStats, isBareDescriptor } from '../../os/entry-stats.ts'
import { assemblerMemory, PackAssembler, type PlacedPack } from '../../repository/pack-assembler.ts'
import { PackPlaces } from '../../repository/pack-places.ts'
import { failure, type Veto } from '../file-store.ts'
import { isInLastTick, OpenedFile, openWithoutAccessTime } from '../opened-file.ts'
import { fromSource } from '../source-error.ts'
import { nothingOf, PIECE_MEMORY, type Piece, PieceReader, resultOf } from './piece-reader.ts'
import { type FileJob, type FileResult, INPUT, type WorkerSetUp } from './protocol.ts'

export interface FileStorerOptions extends WorkerSetUp {
  readonly veto: Veto | undefined
  /** The pack's place is the caller's to release. */
  readonly onPack: (pack: PlacedPack) => void
  /** Told where the next piece of a file begins, before this piece is stored. */
  readonly onContinue: (next: number, limit: number, state: EntryStats) => void
}

/** Reads files from disk, cuts them into blobs and packs those that are new. The work of one thread. */
export class FileStorer {
  readonly #options: FileStorerOptions
  readonly #kernels: Kernels
  readonly #pieces: PieceReader
  readonly #table
  readonly #assembler: PackAssembler

  constructor(options: FileStorerOptions) {
    this.#options = options
    this.#kernels = createKernels({ memoryBytes: PIECE_MEMORY + assemblerMemory(options.packSize) + 4096 })
    this.#pieces = new PieceReader(this.#kernels, options)
    this.#table = openBlobTable(options.table)
    this.#assembler = new PackAssembler({ ...options, kernels: this.#kernels, places: new PackPlaces(options.places) })
  }

  /** Everything that is wrong with one file is its result; what is thrown, or rejects, ends the backup. */
  store(job: FileJob): FileResult | Promise<FileResult> {
    const path = Buffer.from(job.path.buffer, job.path.byteOffset, job.path.length)
    return this.#storeAsSeen(path, job) ?? this.#storeAsFound(path, job)
  }

  /**
   * A file that is, after all of it was read at once, what was seen of it before: then it was so all the time, and one look is
   * enough. Anything else is for `#storeAsFound`, also to tell what is wrong.
   */
  #storeAsSeen(path: Buffer, { from, state, descriptor, asksVeto }: FileJob): FileResult | undefined {
    if (from > 0 || state === undefined || descriptor !== undefined) return undefined
    const { size } = state
    if (size === 0 || size > INPUT || isInLastTick(state)) return undefined
    const { bytes } = this.#pieces
    try {
      const file = openWithoutAccessTime(path)
      try {
        let end = 0
        for (let count = -1; end < size && count !== 0; end += count)
          count = readSync(file, bytes, end, size - end, end)
        if (end < size || !EntryStats.ofDescriptor(file).equals(state)) return undefined
        if (state.isUnasked && isBareDescriptor(file)) state.takeAsBare()
      } finally {
        closeSync(file)
      }
    } catch {
      return undefined
    }
    const { veto } = this.#options
    const reason = asksVeto ? veto?.(path, bytes.subarray(0, size)) : undefined
    if (reason !== undefined) return { kind: 'vetoed', reason }
    const ids = this.#storeChunks({ lengths: this.#pieces.cut(size, true), isPart: false })
    return { kind: 'stored', ids, bytes: size, state, changed: false, next: undefined }
  }

  async #storeAsFound(path: Buffer, job: FileJob): Promise<FileResult> {
    try {
      using file = fromSource(path, () => new OpenedFile(path, job.descriptor))
      return job.from === 0 ? await this.#begin(path, file, job) : this.#goOn(path, file, job)
    } catch (error) {
      return failure(error)
    }
  }

  /** What the bytes of packs are views of. */
  get memory(): SharedArrayBuffer {
    return this.#kernels.memory.buffer
  }

  finish(): void {
    this.#assembler.close()
  }

  async #begin(path: Buffer, file: OpenedFile, { asksVeto }: FileJob): Promise<FileResult> {
    await file.settle()
    const state = file.stats
    const { veto } = this.#options
    const { bytes } = this.#pieces
    const read = file.reader()
    const first = fromSource(path, () => read(bytes.subarray(0, INPUT)))
    if (asksVeto && veto) {
      const reason = veto(path, bytes.subarray(0, first))
      if (reason !== undefined) return { kind: 'vetoed', reason }
    }
    return this.#store(path, file, state, this.#pieces.read(path, file, { from: 0, limit: state.size }, first, read))
  }

  #goOn(path: Buffer, file: OpenedFile, job: FileJob): FileResult {
    const piece = this.#pieces.readRest(path, file, job)
    return piece ? this.#store(path, file, job.state!, piece) : nothingOf(file, job)
  }

  #store(path: Buffer, file: OpenedFile, state: EntryStats, piece: Piece): FileResult {
    const { next } = piece
    if (next !== undefined) this.#options.onContinue(next.from, next.limit, state)
    return resultOf(path, file, state, piece, this.#storeChunks(piece))
  }

  /** See `ChunkFinder.take`. */
  takeNoted(): Uint8Array | undefined {
    return this.#pieces.takeNoted()
  }

  #storeChunks(chunks: Pick<Piece, 'lengths' | 'isPart'>): Uint8Array {
    return this.#pieces.ids(chunks, this.#storeChunk)!
  }

  readonly #storeChunk = (ids: Uint8Array, at: number, chunk: Buffer, id: BlobId): boolean => {
    if (this.#table.claim(ids, at) < 0) this.#assembler.add(id, chunk)
    return true
  }
}
