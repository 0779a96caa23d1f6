import { unlessRefused } from '../threads.ts'
import type { FileStore } from './file-store.ts'

/** Starting threads takes as long as storing this much without them. */
const FILES_WITHOUT_THREADS = 64
const BYTES_WITHOUT_THREADS = 4 * 1024 * 1024

/** Whether so much is stored sooner with threads. */
export function isWorthThreads({ files, bytes }: { readonly files: number; readonly bytes: number }): boolean {
  return files > FILES_WITHOUT_THREADS || bytes > BYTES_WITHOUT_THREADS
}

/**
 * Stores the first few files inline, and starts threads when there turns out to be more. Where the system gives no
 * threads (`SYSTEM`), all is stored inline: that is slower, and else the same.
 */
export function adaptiveFileStore(inline: FileStore, startPool: () => FileStore): FileStore {
  let pool: FileStore | undefined
  let files = 0
  let bytes = 0
  let triesThreads = true
  const start = (): void => {
    triesThreads = false
    pool = unlessRefused(startPool)
  }
  return {
    get isConcurrent() {
      return pool !== undefined
    },
    store(file) {
      files += 1
      bytes += file.size
      if (triesThreads && isWorthThreads({ files, bytes })) start()
      const to = pool ?? inline
      to.store(file)
    },
    noMore() {
      pool?.noMore()
    },
  }
}
