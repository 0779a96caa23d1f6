import { processLibrary } from '../process-library.ts'

/** Of madvise(2), on Linux. */
const [DO_NOT_NEED, HUGE_PAGE] = [4, 14]
const LARGE_PAGE = 2 * 1024 * 1024
/** Below two large pages there is nothing to win. */
const LEAST = 4 * 1024 * 1024

/**
 * Asks the system for pages of 2 MiB under memory that starts a page, before it is written to. A wish: where it cannot be asked, or
 * declines, nothing changes. A system call and no interface of the runtime, so nothing that `isPublicOnly` is about.
 */
export function wishForLargePages(memory: Uint8Array): void {
  if (memory.length < LEAST || process.platform !== 'linux') return
  advise(memory, HUGE_PAGE)
}

/** What the C library puts before memory that it has mapped for itself. */
const HEADER = 64

/**
 * How much to allocate for so many bytes that will all be written to. Linux starts a mapping at a large page only if it is as long as
 * some of them, and the launcher has the C library wish for such. With small pages in a virtual machine, the first use of 2 MB costs
 * 8 ms, and otherwise 0.5.
 */
export function lengthForLargePages(length: number): number {
  return length < LARGE_PAGE / 2 ? length : Math.ceil((length + HEADER) / LARGE_PAGE) * LARGE_PAGE - HEADER
}

/**
 * Gives the system back the pages under some bytes of memory that starts a page: what they held is lost, and they may be written
 * to again at once. Only of the large pages that lie within; as much of a wish as the above.
 */
export function giveBackPages(memory: SharedArrayBuffer, offset: number, length: number): void {
  const start = Math.ceil(offset / LARGE_PAGE) * LARGE_PAGE
  const end = Math.floor((offset + length) / LARGE_PAGE) * LARGE_PAGE
  if (end <= start || process.platform !== 'linux') return
  advise(new Uint8Array(memory, start, end - start), DO_NOT_NEED)
}

let madvise: ((memory: Uint8Array, length: number, advice: number) => number) | undefined

function advise(memory: Uint8Array, advice: number): void {
  try {
    madvise ??= processLibrary().library.func('int madvise(void *, size_t, int)')
    madvise(memory, memory.length, advice)
  } catch {
    // Without the native module.
  }
}
