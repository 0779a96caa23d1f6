import type { FileStore } from './file-store.ts'

/** Starting threads takes as long as storing this much without them. */
const FILES_WITHOUT_THREADS = 64
const BYTES_WITHOUT_THREADS = 4 * 1024 * 1024

/** Stores the first few files inline, and starts threads when there turns out to be more. */
export function adaptiveFileStore(inline: FileStore, startPool: () => FileStore): FileStore {
  let pool: FileStore | undefined
  let files = 0
  let bytes = 0
  return {
    get isConcurrent() {
      return pool !== undefined
    },
    store(path, size, asksVeto) {
      files += 1
      bytes += size
      if (files > FILES_WITHOUT_THREADS || bytes > BYTES_WITHOUT_THREADS) pool ??= startPool()
      return (pool ?? inline).store(path, size, asksVeto)
    },
  }
}
