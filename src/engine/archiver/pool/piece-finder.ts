import { type BlobTable, openBlobTable } from '../../kernels/blob-table.ts'
import { createKernels } from '../../kernels/kernels.ts'
import { failure } from '../file-store.ts'
import { OpenedFile } from '../opened-file.ts'
import { fromSource } from '../source-error.ts'
import { nothingOf, PIECE_MEMORY, PieceReader, resultOf } from './piece-reader.ts'
import type { FileJob, FileResult, WorkerSetUp } from './protocol.ts'

/** A piece that holds something new: it is for a thread that stores, which may stop where the piece ends. */
export interface Unfound {
  readonly kind: 'unfound'
  readonly end: number
}

/**
 * Does the work of a `FileStorer` where nothing is to be stored: of a large file of which little has changed nearly all is found. For
 * the caller's thread, once that has nothing else to do; without any of the memory that packs take.
 */
export class PieceFinder {
  readonly #pieces: PieceReader
  readonly #table: BlobTable

  constructor(setUp: Pick<WorkerSetUp, 'polynomial' | 'known' | 'chunks' | 'table'>) {
    this.#pieces = new PieceReader(createKernels({ memoryBytes: PIECE_MEMORY + 4096 }), setUp)
    this.#table = openBlobTable(setUp.table)
  }

  /** `job` is the rest of a file. `onContinue` is told where the next piece begins, before this one is looked through. */
  find(job: FileJob, onContinue: (next: number, limit: number) => void): FileResult | Unfound {
    const path = Buffer.from(job.path.buffer, job.path.byteOffset, job.path.length)
    try {
      using file = fromSource(path, () => new OpenedFile(path, job.descriptor))
      const piece = this.#pieces.readRest(path, file, job)
      if (!piece) return nothingOf(file, job)
      const { size, next } = piece
      if (next) onContinue(next.from, next.limit)
      const ids = this.#pieces.ids(piece, this.#isBeingStored)
      return ids ? resultOf(path, file, job.state!, piece, ids) : { kind: 'unfound', end: job.from + size }
    } catch (error) {
      return failure(error)
    }
  }

  /** See `ChunkFinder.take`. */
  takeNoted(): Uint8Array | undefined {
    return this.#pieces.takeNoted()
  }

  readonly #isBeingStored = (ids: Uint8Array, at: number): boolean => this.#table.find(ids, at) >= 0
}
