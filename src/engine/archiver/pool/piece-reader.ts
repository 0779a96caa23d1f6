import { readSync } from 'node:fs'
import { type BlobId, hashId } from '../../format/id.ts'
import type { Kernels } from '../../kernels/kernels.ts'
import { EntryStats } from '../../os/entry-stats.ts'
import { KnownBlobs } from '../../repository/known-blobs.ts'
import { ChunkFinder } from '../known-chunks.ts'
import type { OpenedFile } from '../opened-file.ts'
import { fromSource } from '../source-error.ts'
import { type FileJob, type FileResult, INPUT, type WorkerSetUp } from './protocol.ts'

/** The chunker is faster where so much memory follows. */
const INPUT_MARGIN = 32 * 1024

/** What a `PieceReader` takes of the memory of its kernels. */
export const PIECE_MEMORY = INPUT + INPUT_MARGIN

/** A piece of a file that was read and cut. */
export interface Piece {
  /** Of its chunks, which lie one after the other in `PieceReader.bytes`. */
  readonly lengths: readonly number[]
  /** Whether the file has other pieces: such files are large. */
  readonly isPart: boolean
  /** Bytes of all of them. */
  readonly size: number
  /** Where the next piece begins, and where the file ends for this backup; undefined at its end. */
  readonly next: { readonly from: number; readonly limit: number } | undefined
}

/** What comes of a piece, once its chunks are stored. */
export function resultOf(
  path: Buffer,
  file: OpenedFile,
  state: EntryStats,
  { size, next }: Piece,
  ids: Uint8Array,
): FileResult {
  const changed = next === undefined && fromSource(path, () => file.hasChanged(state))
  return { kind: 'stored', ids, bytes: size, state, changed, next: next?.from }
}

/** What comes of the rest of a file where another one is by now: nothing of that is taken. */
export function nothingOf(file: OpenedFile, { state = file.stats }: FileJob): FileResult {
  return { kind: 'stored', ids: new Uint8Array(0), bytes: 0, state, changed: true, next: undefined }
}

/** Reads pieces of files into the memory of its kernels, and cuts them into chunks. */
export class PieceReader {
  /** Of the last piece, until the next one is read. */
  readonly bytes: Buffer
  readonly #kernels: Kernels
  readonly #offset: number
  readonly #known: KnownBlobs
  readonly #chunks: ChunkFinder | undefined

  constructor(kernels: Kernels, { polynomial, known, chunks }: Pick<WorkerSetUp, 'polynomial' | 'known' | 'chunks'>) {
    kernels.setPolynomial(polynomial)
    const { bytes, offset } = kernels.region('input', PIECE_MEMORY)
    this.#kernels = kernels
    this.bytes = bytes
    this.#offset = offset
    this.#known = new KnownBlobs(known)
    this.#chunks = chunks && new ChunkFinder(chunks)
  }

  /** Reads on behind the first bytes, which are there; 0 of them: the file is over. */
  read(
    path: Buffer,
    file: OpenedFile,
    { from, limit }: Pick<FileJob, 'from' | 'limit'>,
    first: number,
    read: (into: Buffer) => number,
  ): Piece {
    let end = first
    let final = first === 0
    while (!final && end < INPUT) {
      const count = fromSource(path, () => read(this.bytes.subarray(end, INPUT)))
      if (count === 0) final = true
      end += count
    }
    // Also where there was just as much as is read at once: nothing may follow a piece that is to end there.
    if (limit > 0 && from + end >= limit) final = true
    const lengths = this.cut(end, final)
    const size = lengths.reduce((sum, length) => sum + length, 0)
    if (final) return { lengths, isPart: from > 0, size, next: undefined }
    // An empty file may have begun to grow, and would otherwise be followed for as long as it does.
    const whole = limit > 0 ? limit : fromSource(path, () => EntryStats.ofDescriptor(file.fd)).size
    return { lengths, isPart: true, size, next: { from: from + size, limit: whole } }
  }

  /** The rest of a file from some place on; undefined when another file than that of the job is there by now. */
  readRest(path: Buffer, file: OpenedFile, job: FileJob): Piece | undefined {
    const { from, limit, state } = job
    if (state === undefined || file.stats.dev !== state.dev || file.stats.ino !== state.ino) return undefined
    let position = from
    const read = (into: Buffer): number => {
      const length = limit === 0 ? into.length : Math.min(into.length, limit - position)
      if (length <= 0) return 0
      const count = readSync(file.fd, into, 0, length, position)
      position += count
      return count
    }
    const first = fromSource(path, () => read(this.bytes.subarray(0, INPUT)))
    return this.read(path, file, job, first, read)
  }

  /**
   * IDs of chunks of that which was read last, 32 bytes each. `use` is told of each chunk that was not stored by an earlier backup, with
   * the place of its ID among them; undefined as soon as it returns false.
   */
  ids(
    { lengths, isPart }: Pick<Piece, 'lengths' | 'isPart'>,
    use: (ids: Uint8Array, at: number, chunk: Buffer, id: BlobId) => boolean,
  ): Buffer | undefined {
    const chunks = isPart ? this.#chunks : undefined
    const ids = Buffer.alloc(32 * lengths.length)
    let start = 0
    for (let i = 0; i < lengths.length; i++) {
      const chunk = this.bytes.subarray(start, start + lengths[i]!)
      start += chunk.length
      const at = 32 * i
      const fingerprint = chunks?.fingerprintOf(chunk)
      if (fingerprint && chunks!.find(fingerprint, ids, at) && this.#known.has('data', ids, at)) continue
      const id = hashId<BlobId>(chunk)
      ids.write(id, at, 'hex')
      if (!this.#known.has('data', ids, at) && !use(ids, at, chunk, id)) return undefined
      if (fingerprint) chunks!.note(fingerprint, ids, at)
    }
    return ids
  }

  /** See `ChunkFinder.take`. */
  takeNoted(): Uint8Array | undefined {
    return this.#chunks?.take()
  }

  /** Lengths of the chunks of so much input; what is left, unless it is final, is for the next time. */
  cut(end: number, final: boolean): number[] {
    const lengths: number[] = []
    let cut = 0
    while (cut < end) {
      const length = this.#kernels.chunkLength(this.#offset + cut, this.#offset + end, final)
      if (length === 0) break
      lengths.push(length)
      cut += length
    }
    return lengths
  }
}
