import type { MasterKey } from '../../format/master-key.ts'
import { MAX_CHUNK } from '../../kernels/chunker.ts'
import { EntryStats, STATS_WORDS } from '../../os/entry-stats.ts'
import type { KnownChunksSetUp } from '../known-chunks.ts'

// What the archiver's thread and its workers say to each other.

/**
 * Bytes of a file that are read and cut at once. What is left behind the last cut is read again, so that less would cost
 * time; more would cost memory.
 */
export const INPUT = 1.125 * MAX_CHUNK

export interface WorkerSetUp {
  readonly key: MasterKey
  readonly version: 1 | 2
  readonly polynomial: bigint
  readonly packSize: number
  /** Of `KnownBlobs`: what was stored before. */
  readonly known: SharedArrayBuffer
  /** Where chunks of large files are noted. */
  readonly chunks: KnownChunksSetUp | undefined
  /** Other data blobs that some thread stores, or has stored; see `blob-table.ts`. */
  readonly table: SharedArrayBuffer
  /** Of `PackPlaces`. */
  readonly places: SharedArrayBuffer
}

/** A file, or the rest of one whose beginning another job has taken. */
export interface FileJob {
  readonly path: Uint8Array
  /** Of a large file: open in the archiver's thread until all of it is stored, so that all pieces are of the same file. */
  readonly descriptor: number | undefined
  /** Where to begin. Above 0, only while the file is still `state`. */
  readonly from: number
  /** About how many bytes there are from there on. */
  readonly size: number
  /** Of one to begin with: as it was seen just before. */
  readonly state: EntryStats | undefined
  /** Above `from`: where the file ends for this backup, however it grows. 0: nobody knows, as of a file of /proc. */
  readonly limit: number
  readonly asksVeto: boolean
}

export type FileResult =
  /** `ids`: 32 bytes for each blob. `next`: where another job goes on; undefined at the end of the file. */
  | {
      readonly kind: 'stored'
      readonly ids: Uint8Array
      readonly bytes: number
      readonly state: EntryStats
      readonly changed: boolean
      readonly next: number | undefined
    }
  | { readonly kind: 'vetoed'; readonly reason: string }
  /** The file cannot be read: what the system says. */
  | { readonly kind: 'failed'; readonly message: string; readonly errno: string | undefined }

// Of many small files: a few arrays for a whole job. An object for each file, with numbers of 64 bits and buffers of its own, takes
// longer to clone than a small file to store; and of a buffer that is part of a pool the whole pool is cloned.

export interface EncodedJobs {
  /** One after the other. */
  readonly paths: Uint8Array
  /** `JOB_NUMBERS` for each file. */
  readonly numbers: Float64Array
  /** `STATS_WORDS` for each file; zeros where there is none. */
  readonly states: Uint32Array
}

export interface EncodedResults {
  /** One after the other. */
  readonly ids: Uint8Array
  /** `RESULT_NUMBERS` for each file. */
  readonly numbers: Float64Array
  /** `STATS_WORDS` for each file. */
  readonly states: Uint32Array
  /** What is not stored, by its index. */
  readonly others: readonly (readonly [file: number, result: Exclude<FileResult, { kind: 'stored' }>])[]
}

const JOB_NUMBERS = 6
const RESULT_NUMBERS = 4
/** Where there is no descriptor, or nothing to go on with. */
const NONE = -1

export function encodeJobs(files: readonly FileJob[]): EncodedJobs {
  let pathBytes = 0
  for (const { path } of files) pathBytes += path.length
  const paths = new Uint8Array(pathBytes)
  const numbers = new Float64Array(JOB_NUMBERS * files.length)
  const states = new Uint32Array(STATS_WORDS * files.length)
  let end = 0
  for (let i = 0; i < files.length; i++) {
    const { path, descriptor = NONE, from, size, state, limit, asksVeto } = files[i]!
    paths.set(path, end)
    end += path.length
    const at = JOB_NUMBERS * i
    numbers[at] = path.length
    numbers[at + 1] = descriptor
    numbers[at + 2] = from
    numbers[at + 3] = size
    numbers[at + 4] = limit
    numbers[at + 5] = asksVeto ? 1 : 0
    state?.copyTo(states, STATS_WORDS * i)
  }
  return { paths, numbers, states }
}

export function decodeJobs({ paths, numbers, states }: EncodedJobs): FileJob[] {
  const files: FileJob[] = []
  let end = 0
  for (let at = 0; at < numbers.length; at += JOB_NUMBERS) {
    const start = end
    end += numbers[at]!
    const descriptor = numbers[at + 1]!
    const state = new EntryStats(states, STATS_WORDS * files.length)
    files.push({
      path: paths.subarray(start, end),
      descriptor: descriptor === NONE ? undefined : descriptor,
      from: numbers[at + 2]!,
      size: numbers[at + 3]!,
      limit: numbers[at + 4]!,
      asksVeto: numbers[at + 5] === 1,
      state: state.isKnown ? state : undefined,
    })
  }
  return files
}

export function encodeResults(results: readonly FileResult[]): EncodedResults {
  let idBytes = 0
  for (const one of results) if (one.kind === 'stored') idBytes += one.ids.length
  const ids = new Uint8Array(idBytes)
  const numbers = new Float64Array(RESULT_NUMBERS * results.length)
  const states = new Uint32Array(STATS_WORDS * results.length)
  const others: [number, Exclude<FileResult, { kind: 'stored' }>][] = []
  let end = 0
  for (let i = 0; i < results.length; i++) {
    const result = results[i]!
    if (result.kind !== 'stored') {
      others.push([i, result])
      continue
    }
    ids.set(result.ids, end)
    end += result.ids.length
    const at = RESULT_NUMBERS * i
    numbers[at] = result.ids.length
    numbers[at + 1] = result.bytes
    numbers[at + 2] = result.next ?? NONE
    numbers[at + 3] = result.changed ? 1 : 0
    result.state.copyTo(states, STATS_WORDS * i)
  }
  return { ids, numbers, states, others }
}

export function decodeResults({ ids, numbers, states, others }: EncodedResults): FileResult[] {
  const otherOf = new Map(others)
  const results: FileResult[] = []
  let end = 0
  for (let at = 0; at < numbers.length; at += RESULT_NUMBERS) {
    const file = results.length
    const start = end
    end += numbers[at]!
    const next = numbers[at + 2]!
    results.push(
      otherOf.get(file) ?? {
        kind: 'stored',
        ids: ids.subarray(start, end),
        bytes: numbers[at + 1]!,
        state: new EntryStats(states, STATS_WORDS * file),
        changed: numbers[at + 3] === 1,
        next: next === NONE ? undefined : next,
      },
    )
  }
  return results
}

export type ToWorker =
  /** The first one: threads may have been started before the key was known. */
  | { readonly kind: 'set up'; readonly setUp: WorkerSetUp }
  | { readonly kind: 'store'; readonly job: number; readonly files: EncodedJobs }
  | { readonly kind: 'finish' }

export type FromWorker =
  /** `memory` is where its packs will be. */
  | { readonly kind: 'ready'; readonly memory: SharedArrayBuffer }
  /** Sent as soon as it is known where the next job can begin, before the blobs up to there are stored; `file` counts those of the job. */
  | {
      readonly kind: 'continue'
      readonly job: number
      readonly file: number
      readonly next: number
      readonly limit: number
      readonly state: Uint32Array
    }
  /** `chunks` is what `ChunkFinder.take` gave. */
  | {
      readonly kind: 'done'
      readonly job: number
      readonly results: EncodedResults
      readonly chunks: Uint8Array | undefined
    }
  /** `header` is what `encodePackHeader` makes of the blobs. The bytes stay until the place is released. */
  | {
      readonly kind: 'pack'
      readonly id: string
      readonly header: Uint8Array
      readonly place: number
      readonly offset: number
      readonly length: number
    }
  | { readonly kind: 'finished' }
