import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { isSqliteHeader, SQLITE_HEADER_BYTES } from './sqlite-header.ts'

// What the bytes of a database file say without SQLite, which refuses to open what has no sound header. Format:
// https://www.sqlite.org/fileformat2.html, sections 1.3 and 1.6.

export interface DatabaseBytes {
  readonly size: number
  /** The first bytes, as many of `SQLITE_HEADER_BYTES` as there are. */
  readonly header: Buffer
  readonly hasMagic: boolean
  /** Why the header cannot be right; undefined when its fixed fields are what they must be. */
  readonly headerProblem: string | undefined
  /** As the header says; undefined when it says no size that a page can have. */
  readonly pageSize: number | undefined
  /** The size with which the file looks most like pages of a database; undefined when it does not with any. */
  readonly likelyPageSize: number | undefined
  /** Pages that the header counts, where it claims that the count is valid. */
  readonly pages: number | undefined
  /** Share of the sampled bytes that are zero. */
  readonly zeros: number
}

const PAGE_SIZES = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]
/** Pages looked at for each size that they might have. */
const SAMPLED = 64
/** Of the pages that are not empty, this share must look like a page of a tree. */
const LIKELY = 0.6

export function inspectDatabaseBytes(path: string | Buffer): DatabaseBytes {
  const file = openSync(path, 'r')
  try {
    const { size } = fstatSync(file)
    const header = read(file, 0, SQLITE_HEADER_BYTES)
    const claimed = header.length >= 18 ? header.readUInt16BE(16) : 0
    const pageSize = PAGE_SIZES.find((each) => each === (claimed === 1 ? 65_536 : claimed))
    const counted = header.length >= 100 && header.readUInt32BE(24) === header.readUInt32BE(92)
    return {
      size,
      header,
      hasMagic: isSqliteHeader(header),
      headerProblem: headerProblem(header),
      pageSize,
      likelyPageSize: likelyPageSize(file, size),
      pages: counted && header.readUInt32BE(28) > 0 ? header.readUInt32BE(28) : undefined,
      zeros: zeros(file, size),
    }
  } finally {
    closeSync(file)
  }
}

function headerProblem(header: Buffer): string | undefined {
  if (header.length < SQLITE_HEADER_BYTES) return `it has ${header.length} bytes`
  if (!isSqliteHeader(header)) return 'it does not begin as a database does'
  const claimed = header.readUInt16BE(16)
  if (!PAGE_SIZES.includes(claimed === 1 ? 65_536 : claimed)) return `it says that a page has ${claimed} bytes`
  if (header[18]! < 1 || header[18]! > 2 || header[19]! < 1 || header[19]! > 2) return 'its format versions are unknown'
  if (header[21] !== 64 || header[22] !== 32 || header[23] !== 32) return 'its payload fractions are not 64, 32 and 32'
  if (header.readUInt32BE(44) > 4) return 'its schema format is unknown'
  if (header.readUInt32BE(56) > 3) return 'its text encoding is unknown'
  return undefined
}

/** The size for which the most pages begin as a page of a tree: type 2, 5, 10 or 13, and cells that fit. */
function likelyPageSize(file: number, size: number): number | undefined {
  let best: { readonly pageSize: number; readonly share: number } | undefined
  for (const pageSize of PAGE_SIZES) {
    const pages = Math.floor(size / pageSize)
    if (pages < 2) continue
    let trees = 0
    let others = 0
    const step = Math.max(1, Math.floor((pages - 1) / SAMPLED))
    for (let page = 1; page < pages; page += step) {
      const start = read(file, page * pageSize, 12)
      if (isTreePage(start, pageSize)) trees += 1
      else if (start.some((byte) => byte !== 0)) others += 1
    }
    const share = trees / Math.max(1, trees + others)
    // Of a size that fits, multiples fit too: every second page begins as it should. The smallest is the page.
    if (trees > 0 && share >= LIKELY && (best === undefined || share > best.share * 1.1)) best = { pageSize, share }
  }
  return best?.pageSize
}

function isTreePage(start: Buffer, pageSize: number): boolean {
  if (start.length < 12 || ![2, 5, 10, 13].includes(start[0]!)) return false
  const cells = start.readUInt16BE(3)
  const content = start.readUInt16BE(5) || 65_536
  const headerSize = start[0] === 2 || start[0] === 5 ? 12 : 8
  return (
    start.readUInt16BE(1) < pageSize &&
    cells <= pageSize / 4 &&
    content <= pageSize &&
    headerSize + 2 * cells <= content &&
    start[7]! <= 60
  )
}

function zeros(file: number, size: number): number {
  let seen = 0
  let empty = 0
  for (let i = 0; i < SAMPLED; i++) {
    const sample = read(file, Math.floor((size * i) / SAMPLED), 512)
    seen += sample.length
    for (const byte of sample) if (byte === 0) empty += 1
  }
  return seen === 0 ? 1 : empty / seen
}

function read(file: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  return bytes.subarray(0, readSync(file, bytes, 0, length, position))
}
