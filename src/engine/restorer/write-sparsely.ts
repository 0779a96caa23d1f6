import { writeSync } from 'node:fs'

/** Zeros of this length become a hole where they lie at a multiple of it: a whole number of any file system's blocks. */
const HOLE = 64 * 1024
const ZEROS = Buffer.alloc(HOLE)

/**
 * Writes the bytes at a position of a file that has never been written there, and leaves long runs of zeros out: they
 * become holes. A hole at the very end is not there until the file is given its size: returns where the file ends without it, as far
 * as these bytes go.
 */
export function writeSparsely(fd: number, bytes: Buffer, position: number): number {
  let end = 0
  for (let start = 0; start < bytes.length; ) {
    const dataStart = skip(bytes, start, position, true)
    const dataEnd = skip(bytes, dataStart, position, false)
    for (let at = dataStart; at < dataEnd; ) at += writeSync(fd, bytes, at, dataEnd - at, position + at)
    if (dataEnd > dataStart) end = position + dataEnd
    start = dataEnd
  }
  return end
}

/** From `start`, the end of the blocks that are all holes, or all not. */
function skip(bytes: Buffer, start: number, position: number, holes: boolean): number {
  let at = start
  while (at < bytes.length) {
    const blockEnd = at + HOLE - ((position + at) % HOLE)
    if (isHole(bytes, at, blockEnd) !== holes) break
    at = Math.min(blockEnd, bytes.length)
  }
  return at
}

/** Whole blocks only: what ends within one, at a blob's beginning or end, is written. */
function isHole(bytes: Buffer, at: number, end: number): boolean {
  return end - at === HOLE && end <= bytes.length && bytes[at] === 0 && bytes.compare(ZEROS, 0, HOLE, at, end) === 0
}
