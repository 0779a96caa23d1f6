import type { MasterKey } from '../../format/master-key.ts'
import type { PackedBlob } from '../../format/pack-header.ts'
import { MAX_CHUNK } from '../../kernels/chunker.ts'
import type { FileState } from '../file-store.ts'

// What the archiver's thread and its workers say to each other.

/**
 * Bytes of a file that are read and cut at once. What is left behind the last cut is read again, so that less would cost
 * time; more would cost memory.
 */
export const INPUT = 1.5 * MAX_CHUNK

export interface WorkerSetUp {
  readonly key: MasterKey
  readonly version: 1 | 2
  readonly polynomial: bigint
  readonly packSize: number
  /** Data blobs that are stored, or that some thread stores; see `blob-table.ts`. */
  readonly table: SharedArrayBuffer
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
  readonly state: FileState | undefined
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
      readonly state: FileState
      readonly changed: boolean
      readonly next: number | undefined
    }
  | { readonly kind: 'vetoed'; readonly reason: string }
  /** The file cannot be read: what the system says. */
  | { readonly kind: 'failed'; readonly message: string; readonly errno: string | undefined }

export type ToWorker =
  | { readonly kind: 'store'; readonly job: number; readonly files: readonly FileJob[] }
  | { readonly kind: 'finish' }
  /** A pack of this worker is stored: it may make another, in the same memory. */
  | { readonly kind: 'stored'; readonly buffer: SharedArrayBuffer }

export type FromWorker =
  | { readonly kind: 'ready' }
  /** Sent as soon as it is known where the next job can begin, before the blobs up to there are stored; `file` counts those of the job. */
  | {
      readonly kind: 'continue'
      readonly job: number
      readonly file: number
      readonly next: number
      readonly limit: number
      readonly state: FileState
    }
  | { readonly kind: 'done'; readonly job: number; readonly results: readonly FileResult[] }
  | {
      readonly kind: 'pack'
      readonly id: string
      readonly blobs: readonly PackedBlob[]
      readonly bytes: Uint8Array<SharedArrayBuffer>
    }
  | { readonly kind: 'finished' }
