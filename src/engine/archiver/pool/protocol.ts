import type { MasterKey } from '../../format/master-key.ts'
import type { PackedBlob } from '../../format/pack-header.ts'
import type { FileState } from '../file-store.ts'

// What the archiver's thread and its workers say to each other.

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
  /** Where to begin. Above 0, only while the file is still `state`. */
  readonly from: number
  /** About how many bytes there are from there on. */
  readonly size: number
  readonly state: FileState | undefined
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

export type FromWorker =
  | { readonly kind: 'ready' }
  /** Sent as soon as it is known where the next job can begin, before the blobs up to there are stored; `file` counts those of the job. */
  | {
      readonly kind: 'continue'
      readonly job: number
      readonly file: number
      readonly next: number
      readonly state: FileState
    }
  | { readonly kind: 'done'; readonly job: number; readonly results: readonly FileResult[] }
  | {
      readonly kind: 'pack'
      readonly id: string
      readonly blobs: readonly PackedBlob[]
      readonly bytes: Uint8Array<ArrayBuffer>
    }
  | { readonly kind: 'finished' }
  | {
      readonly kind: 'failed'
      readonly error: { readonly code: string | undefined; readonly message: string; readonly hint: string | undefined }
    }
