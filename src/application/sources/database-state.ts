import { constants } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import type { DatabaseRecord } from './capture.ts'
import { parseSqliteHeader, SQLITE_HEADER_BYTES, type SqliteHeader } from './sqlite-header.ts'

// A fingerprint tells whether a database can have changed between two looks at it, without reading it:
//
//   v1 db=<dev>:<inode>:<size>:<mtime>:<ctime>:<change counter> wal=<dev>:<inode>:<size>:<mtime>:<ctime>:<salts> journal=…
//
// Times are ns since the epoch. A log or journal that is absent or empty is `-`: SQLite makes no difference either.
// The kernel stamps a write with the time of its last tick, so that two writes within some milliseconds (two seconds on
// FAT) may leave one and the same stamp. Equal fingerprints therefore prove nothing while a stamp in them is young;
// Git calls such an index entry "racily clean". `ctime` cannot be set by a program, so that putting back an old mtime
// does not deceive.

/** A time stamp younger than this may still be given to another write. */
export const RACY_NS = 2_000_000_000n

export interface DatabaseState {
  readonly fingerprint: string
  readonly dev: bigint
  readonly inode: bigint
  /** Owner of the database. */
  readonly uid: bigint
  /** Bytes of the database with its log and journal: no copy is larger. */
  readonly bytes: number
  /** `undefined`: this is no database, or one that is encrypted or whose header is damaged. */
  readonly header: SqliteHeader | undefined
  readonly first: Buffer
  /** Whether the `-wal` holds anything. */
  readonly hasLog: boolean
  /** Which `-shm` is there, and `-wal` too: some program has the database open, or died while it had. */
  readonly shared: string | undefined
}

/**
 * Looks at a database and the files beside it. `path` must not be a symbolic link: SQLite looks for `-wal` beside the
 * file itself. Rejects with the errors of `open`, `ENOENT` among them.
 *
 * Closing a file drops every POSIX lock that the process has on it, also those of a SQLite connection: never call this
 * in a process that has the database open.
 */
export async function readDatabaseState(path: Buffer): Promise<DatabaseState> {
  const database = (await look(path, SQLITE_HEADER_BYTES)) as Look
  const log = await look(beside(path, '-wal'), 32, 'may be absent')
  const journal = await look(beside(path, '-journal'), 12, 'may be absent')
  const header = parseSqliteHeader(database.first)
  return {
    fingerprint: [
      'v1',
      `db=${describe(database, String(header?.changeCounter ?? ''))}`,
      `wal=${describe(log, log?.first.toString('hex', 16, 24) ?? '')}`,
      `journal=${describe(journal, '')}`,
    ].join(' '),
    dev: database.dev,
    inode: database.ino,
    uid: database.uid,
    bytes: Number(database.size + (log?.size ?? 0n) + (journal?.size ?? 0n)),
    header,
    first: database.first,
    hasLog: log !== undefined && log.size > 0n,
    shared: log === undefined ? undefined : await identityOf(beside(path, '-shm')),
  }
}

/** The path of a file that belongs to a database. */
export function beside(path: Buffer, suffix: '-wal' | '-shm' | '-journal'): Buffer {
  return Buffer.concat([path, Buffer.from(suffix)])
}

/** Whether the database that `previous` was captured from certainly has the same content now. */
export function provesUnchanged(previous: DatabaseRecord, fingerprint: string): boolean {
  if (previous.fingerprint !== fingerprint || previous.integrity !== 'ok') return false
  const stamps = stampsOf(fingerprint)
  if (stamps === undefined || !/^\d{1,20}$/.test(previous.capturedAt)) return false
  const capturedAt = BigInt(previous.capturedAt)
  return stamps.every((stamp) => stamp + RACY_NS <= capturedAt)
}

/**
 * Nanoseconds to wait until every later write shows in the fingerprint, 0 when it would already. A stamp from the
 * future counts as old: a write now would set the clock's time in its place.
 */
export function untilSettled(fingerprint: string, at: bigint): bigint {
  let wait = 0n
  for (const stamp of stampsOf(fingerprint) ?? []) {
    const age = at - stamp
    if (age > -RACY_NS && age < RACY_NS && RACY_NS - age > wait) wait = RACY_NS - age
  }
  return wait
}

interface Look {
  readonly dev: bigint
  readonly ino: bigint
  readonly uid: bigint
  readonly size: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
  readonly first: Buffer
}

async function look(path: Buffer, bytes: number, absence?: 'may be absent'): Promise<Look | undefined> {
  let file: FileHandle
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (absence !== undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    const { dev, ino, uid, size, mtimeNs, ctimeNs } = await file.stat({ bigint: true })
    const first = Buffer.alloc(bytes)
    const { bytesRead } = await file.read(first, 0, bytes, 0)
    return { dev, ino, uid, size, mtimeNs, ctimeNs, first: first.subarray(0, bytesRead) }
  } finally {
    await file.close()
  }
}

/** The time of birth belongs to it: ext4 gives the inode of a deleted file to the next one. */
async function identityOf(path: Buffer): Promise<string | undefined> {
  try {
    const { ino, birthtimeNs } = await stat(path, { bigint: true })
    return `${ino}:${birthtimeNs}`
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function describe(file: Look | undefined, content: string): string {
  if (file === undefined || file.size === 0n) return '-'
  return [file.dev, file.ino, file.size, file.mtimeNs, file.ctimeNs, content].join(':')
}

function stampsOf(fingerprint: string): bigint[] | undefined {
  const [version, ...files] = fingerprint.split(' ')
  if (version !== 'v1' || files.length !== 3) return undefined
  const stamps: bigint[] = []
  for (const file of files) {
    const [, value = ''] = file.split('=')
    if (value === '-') continue
    const fields = /^\d+:\d+:\d+:(-?\d+):(-?\d+):/.exec(value)
    if (fields === null) return undefined
    stamps.push(BigInt(fields[1]!), BigInt(fields[2]!))
  }
  return stamps
}
