import { extname } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createChunker } from '../kernels/chunker.ts'
import type { BlobWriter } from '../repository/blob-writer.ts'
import type { IndexedRepository } from '../repository/repository.ts'
import { adaptiveFileStore } from './adaptive-file-store.ts'
import { type ArchiveOptions, type ArchiveResult, archive } from './archive.ts'
import { inlineFileStore } from './file-store.ts'
import { StorePool } from './pool/store-pool.ts'

export interface ArchiveIntoOptions extends Omit<ArchiveOptions, 'sink' | 'chunker' | 'files'> {
  /** The program of the threads. With a `veto` it is one that asks that veto; see `store-worker.ts`. */
  readonly program?: URL | undefined
  readonly workers?: number | undefined
}

const PROGRAM = new URL(`./pool/store-worker-main${extname(import.meta.url)}`, import.meta.url)

/** `archive` into a repository, on all processors. Every blob is handed to the writer when this resolves. */
export async function archiveInto(
  repository: IndexedRepository,
  writer: BlobWriter,
  targets: readonly Buffer[],
  options: ArchiveIntoOptions,
): Promise<ArchiveResult> {
  const { program = PROGRAM, workers, veto, signal } = options
  const chunker = createChunker(repository.config.polynomial)
  const turn = async () => {
    await nextTurn()
    signal?.throwIfAborted()
  }
  await using threads = new AsyncDisposableStack()
  let pool: StorePool | undefined
  const files = adaptiveFileStore(inlineFileStore({ sink: writer, chunker, veto, turn }), () => {
    pool = threads.use(new StorePool({ repository, writer, program, workers, signal }))
    return pool
  })
  const result = await archive(targets, { ...options, sink: writer, chunker, files })
  await pool?.finish()
  return result
}
