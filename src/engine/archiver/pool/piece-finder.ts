import { type BlobTable, openBlobTable } from '../../kernels/blob-table.ts'
import { createKernels } from '../../kernels/kernels.ts'
import { KnownBlobs } from '../../repository/known-blobs.ts'
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
  readonly #known: KnownBlobs
  readonly #table: BlobTable

  constructor({ polynomial, known, table }: Pick<WorkerSetUp, 'polynomial' | 'known' | 'table'>) {
    this.#pieces = new PieceReader(createKernels({ memoryBytes: PIECE_MEMORY + 4096 }), polynomial)
    this.#known = new KnownBlobs(known)
    this.#table = openBlobTable(table)
  }

  /** `job` is the rest of a file. `onContinue` is told where the next piece begins, before this one is looked through. */
  find(job: FileJob, onContinue: (next: number, limit: number) => void): FileResult | Unfound {
    const path = Buffer.from(job.path.buffer, job.path.byteOffset, job.path.length)
    try {
      using file = fromSource(path, () => new OpenedFile(path, job.descriptor))
      const piece = this.#pieces.readRest(path, file, job)
      if (!piece) return nothingOf(file, job)
      const { lengths, size, next } = piece
      if (next) onContinue(next.from, next.limit)
      const ids = this.#pieces.ids(lengths, this.#isStored)
      return ids ? resultOf(path, file, job.state!, piece, ids) : { kind: 'unfound', end: job.from + size }
    } catch (error) {
      return failure(error)
    }
  }

  readonly #isStored = (ids: Uint8Array, at: number): boolean =>
    this.#known.has('data', ids, at) || this.#table.find(ids, at) >= 0
}
