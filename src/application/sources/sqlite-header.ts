// The header of a SQLite database, https://www.sqlite.org/fileformat2.html section 1.3. Integers are big-endian.
//
//   offset  size  field
//        0    16  "SQLite format 3\0"
//       16     2  page size: a power of two from 512 to 32768, or 1 for 65536
//       18     1  write version: 1 rollback journal, 2 write-ahead log
//       19     1  read version, likewise
//       24     4  change counter
//       28     4  size in pages, meaningful while the change counter equals the number at offset 92
//       92     4  the change counter for which the size is valid

const MAGIC = Buffer.from('SQLite format 3\0', 'latin1')

/** Bytes that `parseSqliteHeader` looks at; `isSqliteHeader` needs the first 16. */
export const SQLITE_HEADER_BYTES = 100

/** What SQLite appends to a database's name for the files that belong to it. */
export const SIDECAR_SUFFIXES = ['-wal', '-shm', '-journal'] as const

export interface SqliteHeader {
  readonly pageSize: number
  readonly journalMode: 'wal' | 'rollback'
  readonly changeCounter: number
}

/** Whether a file that begins with these bytes is a SQLite database. An encrypted one is not recognisable. */
export function isSqliteHeader(bytes: Uint8Array): boolean {
  return bytes.length >= MAGIC.length && MAGIC.equals(bytes.subarray(0, MAGIC.length))
}

/** `NAME.corrupt-TIME`: what a rescue has put aside is damaged, and is kept as plain bytes rather than as a database. */
export function isSetAside(path: string): boolean {
  return /\.corrupt-\d{8}-\d{6}$/.test(path)
}

/** Whether a file of this size can be a sound database: whole pages, the smallest of which has 512 bytes. */
export function isDatabaseSize(bytes: number): boolean {
  return bytes > 0 && bytes % 512 === 0
}

/** The fields that matter here, or `undefined` when this is no header or says something impossible. */
export function parseSqliteHeader(bytes: Buffer): SqliteHeader | undefined {
  if (bytes.length < SQLITE_HEADER_BYTES || !isSqliteHeader(bytes)) return undefined
  const claimed = bytes.readUInt16BE(16)
  const pageSize = claimed === 1 ? 65536 : claimed
  if (pageSize < 512 || (pageSize & (pageSize - 1)) !== 0) return undefined
  return {
    pageSize,
    journalMode: bytes[19] === 2 ? 'wal' : 'rollback',
    changeCounter: bytes.readUInt32BE(24),
  }
}

/**
 * Whether these are the first bytes of a write-ahead log or of a rollback journal that may hold a transaction
 * (file format, sections 3 and 4.1). An encrypted database has them in the clear beside it.
 */
export function isJournalHeader(bytes: Buffer): boolean {
  if (bytes.length < 8) return false
  const first = bytes.readUInt32BE(0)
  return first === 0x377f0682 || first === 0x377f0683 || bytes.readBigUInt64BE(0) === 0xd9d505f920a163d7n
}
