import { isPublicOnly, processLibrary } from '../process-library.ts'

/** `MADV_HUGEPAGE` of madvise(2), on Linux. */
const HUGE_PAGE = 14
/** Below two large pages there is nothing to win. */
const LEAST = 4 * 1024 * 1024

/**
 * Asks the system for pages of 2 MiB under memory that starts a page, before it is written to. A wish: where it cannot be asked, or
 * declines, nothing changes.
 */
export function wishForLargePages(memory: Uint8Array): void {
  if (memory.length < LEAST || process.platform !== 'linux' || isPublicOnly()) return
  try {
    const madvise = processLibrary().library.func('int madvise(void *, size_t, int)')
    madvise(memory, memory.length, HUGE_PAGE)
  } catch {
    // Without the native module.
  }
}
