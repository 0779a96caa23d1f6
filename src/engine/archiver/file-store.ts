import { EngineError } from '../error.ts'
import type { BlobId } from '../format/id.ts'
import type { Chunker } from '../kernels/chunker.ts'
import type { EntryStats } from '../os/entry-stats.ts'
import type { BlobSink } from './blob-sink.ts'
import { OpenedFile } from './opened-file.ts'
import { fromSource } from './source-error.ts'
import { ContentStore } from './store-content.ts'

export type StoredFile =
  | {
      readonly kind: 'stored'
      readonly content: readonly BlobId[]
      /** Bytes that were stored. */
      readonly size: number
      /** Never younger than the content. */
      readonly state: EntryStats
      /** Whether the file was written to meanwhile. */
      readonly changed: boolean
    }
  | { readonly kind: 'vetoed'; readonly reason: string }
  | { readonly kind: 'failed'; readonly message: string; readonly errno: string | undefined }

/** Puts the content of regular files into a repository. */
export interface FileStore {
  /** Whether calls may go on side by side; otherwise each is to be awaited before the next. */
  readonly isConcurrent: boolean
  /**
   * Stores a file as it lies on disk. `size` is about how large it is, for planning. With `asksVeto` the store's veto has
   * the last word. What is wrong with the file is the result; rejects only with what ends the whole backup.
   */
  store(path: Buffer, size: number, asksVeto: boolean): Promise<StoredFile>
}

/**
 * Why a file must not enter the repository, or undefined: told its path and its first bytes as they were read.
 */
export type Veto = (path: Buffer, firstBytes: Buffer) => string | undefined

export interface InlineFileStoreOptions {
  readonly sink: Pick<BlobSink, 'save'>
  readonly chunker: Chunker
  readonly veto?: Veto | undefined
  /** Called between pieces, to give others a turn. */
  readonly turn: () => Promise<void>
}

/** A store that does the work on the caller's thread. */
export function inlineFileStore({ sink, chunker, veto, turn }: InlineFileStoreOptions): FileStore {
  let contents: ContentStore | undefined
  return {
    isConcurrent: false,
    async store(path, _size, asksVeto) {
      contents ??= new ContentStore(sink, chunker) // its buffer is 16 MiB: only for who stores anything
      try {
        using file = fromSource(path, () => new OpenedFile(path))
        await file.settle()
        const state = file.stats
        const read = file.reader()
        let reason: string | undefined
        let first = asksVeto && veto !== undefined
        const stored = await contents.store(async (into) => {
          if (reason !== undefined) return 0
          await turn()
          const count = fromSource(path, () => read(into))
          if (first) reason = veto?.(path, into.subarray(0, count))
          first = false
          return reason === undefined ? count : 0
        })
        if (reason !== undefined) return { kind: 'vetoed', reason }
        return { kind: 'stored', ...stored, state, changed: fromSource(path, () => file.hasChanged()) }
      } catch (error) {
        return failure(error)
      }
    },
  }
}

/** `SOURCE` is what is wrong with one file; anything else goes on. */
export function failure(error: unknown): Extract<StoredFile, { kind: 'failed' }> {
  if (!(error instanceof EngineError && error.code === 'SOURCE')) throw error
  const { errno } = error.facts
  return { kind: 'failed', message: error.message, errno: typeof errno === 'string' ? errno : undefined }
}
