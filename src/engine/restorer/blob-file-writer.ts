import { hash } from 'node:crypto'
import { closeSync, constants, ftruncateSync, openSync, readSync } from 'node:fs'
import { EngineError } from '../error.ts'
import type { MasterKey } from '../format/master-key.ts'
import { copyBytes } from '../kernels/copy-bytes.ts'
import type { SealedPlace } from '../kernels/seals.ts'
import { describeErrno, errnoOf } from '../os/errno.ts'
import { BlobDecoder, LONGEST_SEALED } from '../repository/blob-decoder.ts'
import { isDamage } from '../repository/file-problem.ts'
import { applyMetadata, type GivenMetadata, openEntry } from './apply-metadata.ts'
import { isFull, systemErrno } from './system-errno.ts'
import { createTemporary, publish, reopenTemporary, temporaryBeside } from './temporary-file.ts'
import type { FileFailure, MetadataFailure, WriteJob, WriteResult } from './write-job.ts'
import { writeSparsely } from './write-sparsely.ts'

/** Blobs are read in stretches of about this size, which stay in the processor's cache while they are worked on. */
const STRETCH = 1024 * 1024
/** Read over rather than jumped over. */
const MAX_GAP = 16 * 1024
/** Files of a job that are open at once. */
const OPEN_FILES = 64
const SLASH = 0x2f

/** A piece that was written; `done` when with it the file is in its place. */
export interface WrittenPiece {
  readonly file: number
  readonly bytes: number
  readonly done: boolean
}

/** Reads blobs of a pack, holds them against their hashes, and writes them to where they belong. For one thread. */
export class BlobFileWriter {
  readonly #decoder: BlobDecoder

  constructor(key: MasterKey) {
    this.#decoder = new BlobDecoder(key)
  }

  /** Yields after each piece. Whoever stops asking leaves files of which only their temporary names exist. */
  *write(job: WriteJob): Generator<WrittenPiece, WriteResult> {
    using run = new Run(job, this.#decoder)
    yield* run.write()
    return run.result
  }
}

class Run implements Disposable {
  readonly result: { missing: number[]; failures: FileFailure[]; metadataFailures: MetadataFailure[]; full: boolean } =
    {
      missing: [],
      failures: [],
      metadataFailures: [],
      full: false,
    }
  readonly #job: WriteJob
  readonly #decoder: BlobDecoder
  readonly #ids: Buffer
  readonly #paths: Buffer
  /** Open files, the one that was opened first in front. */
  readonly #open = new Map<number, number>()
  /** Pieces that were written, of files that are completed here. */
  readonly #written: Uint32Array
  readonly #made: Uint8Array
  /** How far they reach: what follows is a hole. */
  readonly #ends: Float64Array
  /** To files that are made in a folder, by its path as `latin1` text. */
  readonly #given = new Map<string, GivenMetadata>()
  readonly #failed = new Set<number>()

  constructor(job: WriteJob, decoder: BlobDecoder) {
    this.#job = job
    this.#decoder = decoder
    const { ids } = job.blobs
    const { paths, numbers } = job.files
    this.#ids = Buffer.from(ids.buffer, ids.byteOffset, ids.length)
    this.#paths = Buffer.from(paths.buffer, paths.byteOffset, paths.length)
    this.#written = new Uint32Array(numbers.length)
    this.#made = new Uint8Array(numbers.length)
    this.#ends = new Float64Array(numbers.length)
  }

  *write(): Generator<WrittenPiece, void> {
    const { offsets, lengths } = this.#job.blobs
    using pack = openPack(this.#job)
    for (let next = 0; next < offsets.length && !this.result.full; ) {
      const first = next
      const start = offsets[first]!
      let end = start + lengths[first]!
      for (next += 1; next < offsets.length; next++) {
        const blobEnd = offsets[next]! + lengths[next]!
        if (offsets[next]! - end > MAX_GAP || blobEnd - start > STRETCH) break
        end = Math.max(end, blobEnd)
      }
      yield* this.#stretch(pack, first, next, start, end - start)
    }
  }

  *#stretch(pack: Pack, first: number, next: number, start: number, length: number): Generator<WrittenPiece, void> {
    const { input } = this.#decoder
    if (length > LONGEST_SEALED || !pack.read(input.bytes.subarray(0, length), start)) {
      for (let blob = first; blob < next; blob++) this.result.missing.push(blob)
      return
    }
    const { offsets, lengths } = this.#job.blobs
    const places: SealedPlace[] = []
    for (let blob = first; blob < next; blob++) {
      places.push({ offset: input.offset + offsets[blob]! - start, length: lengths[blob]! })
    }
    const unauthentic = new Set(this.#decoder.open(places))
    for (let blob = first; blob < next && !this.result.full; blob++) {
      const plaintext = unauthentic.has(blob - first) ? undefined : this.#plaintext(blob, places[blob - first]!)
      if (plaintext === undefined) this.result.missing.push(blob)
      else yield* this.#use(blob, plaintext)
    }
  }

  /** Undefined when the blob is not what its ID says: an authentic one may lie where another one should. */
  #plaintext(blob: number, place: SealedPlace): Buffer | undefined {
    try {
      const plaintext = this.#decoder.plaintext(place, this.#job.blobs.uncompressedLengths[blob]! || undefined)
      return hash('sha256', plaintext) === this.#ids.toString('hex', 32 * blob, 32 * (blob + 1)) ? plaintext : undefined
    } catch (error) {
      if (!isDamage(error)) throw error
      return undefined
    }
  }

  *#use(blob: number, plaintext: Buffer): Generator<WrittenPiece, void> {
    const { useEnds, useFiles, usePositions } = this.#job.blobs
    for (let use = blob === 0 ? 0 : useEnds[blob - 1]!; use < useEnds[blob]!; use++) {
      const file = useFiles[use]!
      if (this.#failed.has(file)) continue
      try {
        const end = writeSparsely(this.#fileToWrite(file), plaintext, usePositions[use]!)
        this.#ends[file] = Math.max(this.#ends[file]!, end)
        this.#written[file]! += 1
        const done = this.#written[file] === this.#job.files.pieces[file]
        if (done) this.#complete(file)
        yield { file, bytes: plaintext.length, done }
      } catch (error) {
        this.#fail(file, error)
        if (this.result.full) return
      }
    }
  }

  #fail(file: number, error: unknown): void {
    const errno = systemErrno(error)
    if (errno === undefined && !(error instanceof EngineError)) throw error
    this.#failed.add(file)
    const { code, message } =
      error instanceof EngineError ? error : { code: 'SYSTEM' as const, message: (error as Error).message }
    this.result.failures.push({ file, code, message, errno })
    this.result.full = errno !== undefined && isFull(errno)
    this.#close(file)
  }

  #fileToWrite(file: number): number {
    const open = this.#open.get(file)
    if (open !== undefined) return open
    if (this.#open.size >= OPEN_FILES) this.#close(this.#open.keys().next().value!)
    const { token, numbers, pieces } = this.#job.files
    const path = temporaryBeside(this.#destination(file), token, numbers[file]!)
    const isNew = pieces[file] !== 0 && this.#made[file] === 0
    const fd = isNew ? createTemporary(path) : reopenTemporary(path)
    this.#made[file] = 1
    this.#open.set(file, fd)
    return fd
  }

  #close(file: number): void {
    const fd = this.#open.get(file)
    if (fd === undefined) return
    this.#open.delete(file)
    closeSync(fd)
  }

  #destination(file: number): Buffer {
    const { pathEnds } = this.#job.files
    return this.#paths.subarray(file === 0 ? 0 : pathEnds[file - 1]!, pathEnds[file]!)
  }

  #givenTo(destination: Buffer): GivenMetadata {
    const folder = destination.toString('latin1', 0, destination.lastIndexOf(SLASH))
    let given = this.#given.get(folder)
    if (given === undefined) {
      given = {}
      this.#given.set(folder, given)
    }
    return given
  }

  #complete(file: number): void {
    const { token, numbers, sizes, uids, gids, modes, atimes, mtimes, attributes } = this.#job.files
    const fd = this.#open.get(file)!
    if (this.#ends[file]! < sizes[file]!) ftruncateSync(fd, sizes[file]!)
    const destination = this.#destination(file)
    const temporary = temporaryBeside(destination, token, numbers[file]!)
    const metadata = {
      uid: uids[file]!,
      gid: gids[file]!,
      mode: modes[file]!,
      atimeNs: atimes[file]!,
      mtimeNs: mtimes[file]!,
      extendedAttributes: attributes.get(file) ?? [],
    }
    const failures: MetadataFailure[] = []
    applyMetadata(openEntry(fd, temporary, this.#givenTo(destination)), metadata, (what, cause) =>
      failures.push({ file, what, reason: reasonOf(cause) }),
    )
    this.#close(file)
    publish(temporary, destination)
    this.result.metadataFailures.push(...failures)
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open.values()) closeSync(fd)
  }
}

/** For a message: what the system says, or what we say ourselves. */
export function reasonOf(cause: unknown): string {
  const errno = systemErrno(cause)
  return errno === undefined ? (cause as Error).message : describeErrno(errno)
}

interface Pack extends Disposable {
  /** False when the bytes cannot be had. */
  read(into: Buffer, offset: number): boolean
}

function openPack({ from, start }: WriteJob): Pack {
  if (typeof from !== 'string') {
    return {
      read(into, offset) {
        copyBytes(from.subarray(offset - start, offset - start + into.length), into)
        return offset - start + into.length <= from.length
      },
      [Symbol.dispose]() {},
    }
  }
  let fd: number | undefined
  return {
    read(into, offset) {
      try {
        // Not blocking, as of the storage: a named pipe in the place of a pack is no pack.
        fd ??= openSync(from, constants.O_RDONLY | constants.O_NONBLOCK)
        for (let done = 0; done < into.length; ) {
          const count = readSync(fd, into, done, into.length - done, offset + done)
          if (count === 0) return false
          done += count
        }
        return true
      } catch (error) {
        // Whatever it is, who reads it again will say it better.
        if (errnoOf(error) === undefined) throw error
        return false
      }
    },
    [Symbol.dispose]() {
      if (fd !== undefined) closeSync(fd)
    },
  }
}
