import { EngineError } from '../error.ts'
import type { BlobId } from '../format/id.ts'
import type { Chunker } from '../kernels/chunker.ts'
import type { EntryStats } from '../os/entry-stats.ts'
import type { BlobSink } from './blob-sink.ts'
import { OpenedFile } from './opened-file.ts'
import { fromSource } from './source-error.ts'
import { ContentStore } from './store-content.ts'

export interface StoredBlobs {
  /** 32 bytes for each blob. */
  readonly ids: Uint8Array
  /** Bytes that were stored. */
  readonly size: number
}

export type StoredFile =
  | (StoredBlobs & {
      readonly kind: 'stored'
      /** Never younger than the content. */
      readonly state: EntryStats
      /** Whether the file was written to meanwhile. */
      readonly changed: boolean
    })
  | { readonly kind: 'vetoed'; readonly reason: string }
  | { readonly kind: 'failed'; readonly message: string; readonly errno: string | undefined }

/** A regular file that is to be stored as it lies on disk, and who is told once it is. */
export interface FileToStore {
  readonly path: Buffer
  /** As it was seen just before, if it was: then one look after reading it may be enough. */
  readonly seen: EntryStats | undefined
  /** About how large it is, for planning. */
  readonly size: number
  /** Whether the store's veto has the last word. */
  readonly asksVeto: boolean
  /** What is wrong with the file is a result as well. */
  whenStored(stored: StoredFile): void
  /** What ends the whole backup. */
  whenFailed(error: unknown): void
}

/** Puts the content of regular files into a repository. */
export interface FileStore {
  /** Whether files may be stored side by side; otherwise each is to be awaited before the next. */
  readonly isConcurrent: boolean
  /** Returns at once; one of the file's two functions is called when it is done with, or had to be given up. */
  store(file: FileToStore): void
  /** No more files come, and the caller's thread has nothing to do but wait for those that did. */
  noMore(): void
}

/** The blobs of a file, in order. */
export function contentOf(ids: Uint8Array): BlobId[] {
  const bytes = Buffer.from(ids.buffer, ids.byteOffset, ids.length)
  const content: BlobId[] = []
  for (let at = 0; at < bytes.length; at += 32) content.push(bytes.toString('hex', at, at + 32) as BlobId)
  return content
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
  const storeNow = async ({ path, asksVeto }: FileToStore): Promise<StoredFile> => {
    contents ??= new ContentStore(sink, chunker) // its buffer is 16 MiB: only for who stores anything
    try {
      using file = fromSource(path, () => new OpenedFile(path))
      await file.settle()
      const state = file.stats
      const read = file.reader()
      let reason: string | undefined
      let first = asksVeto && veto !== undefined
      const { content, size } = await contents.store(async (into) => {
        if (reason !== undefined) return 0
        await turn()
        const count = fromSource(path, () => read(into))
        if (first) reason = veto?.(path, into.subarray(0, count))
        first = false
        return reason === undefined ? count : 0
      })
      if (reason !== undefined) return { kind: 'vetoed', reason }
      const ids = Buffer.from(content.join(''), 'hex')
      return { kind: 'stored', ids, size, state, changed: fromSource(path, () => file.hasChanged()) }
    } catch (error) {
      return failure(error)
    }
  }
  return {
    isConcurrent: false,
    store(file) {
      storeNow(file).then(
        (stored) => file.whenStored(stored),
        (error: unknown) => file.whenFailed(error),
      )
    },
    noMore() {},
  }
}

/** `SOURCE` is what is wrong with one file; anything else goes on. */
export function failure(error: unknown): Extract<StoredFile, { kind: 'failed' }> {
  if (!(error instanceof EngineError && error.code === 'SOURCE')) throw error
  const { errno } = error.facts
  return { kind: 'failed', message: error.message, errno: typeof errno === 'string' ? errno : undefined }
}
