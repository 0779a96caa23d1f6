import { extname } from 'node:path'
import type { MasterKey } from '../format/master-key.ts'
import { localPacksExceed } from '../repository/local-packs-exceed.ts'
import type { Repository } from '../repository/repository.ts'
import { JobThreads, ownMemory, unlessRefused } from '../threads.ts'
import type { ExpectedContent, KeptContent } from './compare-content.ts'
import type { WriteJob, WriteResult } from './write-job.ts'

export type RestoreJob =
  | { readonly kind: 'write'; readonly job: WriteJob }
  | { readonly kind: 'keep'; readonly expected: ExpectedContent; readonly temporary: Uint8Array }
  | { readonly kind: 'verify'; readonly expected: ExpectedContent }

const PROGRAM = new URL(`./restore-worker-main${extname(import.meta.url)}`, import.meta.url)

/** What the packs of a repository have, compressed, from which threads are started before it is known how much there is to restore. */
const BYTES_WITHOUT_THREADS = 48 * 1024 * 1024

/**
 * Starts the threads for restoring a whole snapshot of a local repository, if they are likely to be worth it: for who loads its index
 * meanwhile. Not before that: where two processors derive a key and load a program, threads that start are in the way.
 */
export async function startRestoreThreads(
  { storage, masterKey }: Repository,
  signal: AbortSignal | undefined,
): Promise<RestoreThreads | undefined> {
  return (await localPacksExceed(storage, BYTES_WITHOUT_THREADS, signal))
    ? RestoreThreads.start(masterKey, undefined, signal)
    : undefined
}

/** Threads that write, compare and verify files. The failure of one ends all: every call rejects with it. */
export class RestoreThreads implements AsyncDisposable {
  readonly #threads: JobThreads<RestoreJob, unknown>

  /** Undefined where the system gives no threads. */
  static start(
    key: MasterKey,
    count: number | undefined,
    signal: AbortSignal | undefined,
    program = PROGRAM,
  ): RestoreThreads | undefined {
    const threads = unlessRefused(
      () => new JobThreads<RestoreJob, unknown>({ program, setUp: key, count, youngMegabytes: 1, signal }),
    )
    return threads && new RestoreThreads(threads)
  }

  private constructor(threads: JobThreads<RestoreJob, unknown>) {
    this.#threads = threads
  }

  get capacity(): number {
    return this.#threads.capacity
  }

  /** Takes the bytes that the job has, if it has any. */
  write(job: WriteJob): Promise<WriteResult> {
    const transfer = typeof job.from === 'string' ? [] : ownMemory(job.from)
    return this.#threads.run({ kind: 'write', job }, transfer) as Promise<WriteResult>
  }

  /** As `keepContent`. */
  keep(expected: ExpectedContent, temporary: Uint8Array): Promise<KeptContent> {
    return this.#threads.run({ kind: 'keep', expected, temporary }) as Promise<KeptContent>
  }

  /** What is wrong with a file, or undefined. */
  verify(expected: ExpectedContent): Promise<string | undefined> {
    return this.#threads.run({ kind: 'verify', expected }) as Promise<string | undefined>
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#threads[Symbol.asyncDispose]()
  }
}
