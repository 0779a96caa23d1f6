import { extname } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createChunker } from '../kernels/chunker.ts'
import type { BlobWriter } from '../repository/blob-writer.ts'
import type { IndexedRepository } from '../repository/repository.ts'
import { unlessRefused } from '../threads.ts'
import { adaptiveFileStore, isWorthThreads } from './adaptive-file-store.ts'
import { type ArchiveOptions, type ArchiveResult, archive } from './archive.ts'
import { inlineFileStore } from './file-store.ts'
import type { KnownChunks } from './known-chunks.ts'
import { StoreAhead } from './pool/store-ahead.ts'
import { StorePool, type StorePoolOptions } from './pool/store-pool.ts'
import { StoreThreads, type StoreThreadsOptions } from './pool/store-threads.ts'

export interface ArchiveIntoOptions extends Omit<ArchiveOptions, 'sink' | 'chunker' | 'files'> {
  /** The program of the threads. With a `veto` it is one that asks that veto; see `store-worker.ts`. */
  readonly program?: URL | undefined
  readonly workers?: number | undefined
  /** See `StorePoolOptions`. */
  readonly chunks?: KnownChunks | undefined
  /** Instead of both: threads that are at work already; see `storeAhead`. They end with the archive. */
  readonly ahead?: StoreAhead | undefined
}

const PROGRAM = new URL(`./pool/store-worker-main${extname(import.meta.url)}`, import.meta.url)

/**
 * Starts threads for `archiveInto`, if so much is to be stored that they are worth it: for who has something else to do before. Who
 * started them disposes of them. Undefined also where the system gives none. `oneLess`: there is as much to compare as to store.
 */
export function startStoreThreads(
  amount: Parameters<typeof isWorthThreads>[0],
  { oneLess }: Pick<StoreThreadsOptions, 'oneLess'>,
): StoreThreads | undefined {
  return isWorthThreads(amount) ? unlessRefused(() => new StoreThreads({ program: PROGRAM, oneLess })) : undefined
}

/** Lets threads store files before `archiveInto` comes to them. Who calls this disposes of it. */
export function storeAhead(
  repository: IndexedRepository,
  writer: BlobWriter,
  threads: StoreThreads,
  options: Pick<StorePoolOptions, 'chunks' | 'signal'> = {},
): StoreAhead {
  return new StoreAhead(new StorePool({ repository, writer, threads, ...options }))
}

/** `archive` into a repository, on all processors. Every blob is handed to the writer when this resolves. */
export async function archiveInto(
  repository: IndexedRepository,
  writer: BlobWriter,
  targets: readonly Buffer[],
  options: ArchiveIntoOptions,
): Promise<ArchiveResult> {
  const { program = PROGRAM, workers, veto, chunks, signal } = options
  const chunker = createChunker(repository.config.polynomial)
  const turn = async () => {
    await nextTurn()
    signal?.throwIfAborted()
  }
  await using pools = new AsyncDisposableStack()
  let pool: StorePool | StoreAhead | undefined = options.ahead && pools.use(options.ahead)
  const startPool = () => {
    pool = pools.use(new StorePool({ repository, writer, threads: { program, workers }, chunks, signal }))
    return pool
  }
  const files = pool ?? adaptiveFileStore(inlineFileStore({ sink: writer, chunker, veto, turn }), startPool)
  const result = await archive(targets, { ...options, sink: writer, chunker, files })
  await pool?.finish()
  return result
}
