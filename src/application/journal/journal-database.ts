import { chmodSync, closeSync, existsSync, mkdirSync, openSync, renameSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { ApplicationError } from '../error.ts'
import { MIGRATIONS, SCHEMA_VERSION } from './journal-schema.ts'

/** How long a write waits for another process. It blocks the thread: long enough for any honest write, and no longer. */
const PATIENCE_MS = 2000

const SQLITE_BUSY = 5
const SQLITE_READONLY = 8
const SQLITE_CORRUPT = 11
const SQLITE_CANTOPEN = 14
const SQLITE_NOTADB = 26

/** Set aside first, wherever one is replaced: `-wal` alone would be taken for the log of the next database. */
const SIDECARS = ['-wal', '-shm', '-journal']

/** Loaded when the first journal is opened: commands without one do not wait for it. */
function sqlite(): typeof import('node:sqlite') {
  return process.getBuiltinModule('node:sqlite')
}

/**
 * Opens the file for reading and writing: made with its folder where there is none (0600 in 0700), brought to the tables of this
 * version. Throws `JOURNAL_DAMAGED`, and `JOURNAL` where it cannot be used for another reason: no permission, a full or read-only
 * disk, locked for too long, written by a later version.
 */
export function openForWriting(path: string): DatabaseSync {
  return guarded(path, 'write', () => {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    // SQLite would make it readable for everybody; what it puts beside it has the mode of the file itself.
    closeSync(openSync(path, 'a', 0o600))
    const database = new (sqlite().DatabaseSync)(path, { timeout: PATIENCE_MS })
    try {
      database.exec('PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON')
      assertSound(database, path)
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
      migrate(database, path)
      return database
    } catch (error) {
      database.close()
      throw error
    }
  })
}

/**
 * Opens the file for reading and changes nothing, or undefined where there is none. Throws as `openForWriting` does, also for a
 * journal of an earlier version, which only a writer brings up to date.
 */
export function openForReading(path: string): DatabaseSync | undefined {
  return guarded(path, 'read', () => {
    if (statSync(path, { throwIfNoEntry: false }) === undefined) return undefined
    const database = openReadOnly(path)
    try {
      database.exec('PRAGMA trusted_schema = OFF')
      assertSound(database, path)
      const version = versionOf(database)
      if (version === SCHEMA_VERSION) return database
      throw new ApplicationError(
        'JOURNAL',
        `Cannot read the journal ${path}: it has version ${version}, expected ${SCHEMA_VERSION}`,
        {
          facts: { path, version },
          hint:
            version > SCHEMA_VERSION
              ? 'A later Holdfast wrote it: use that one'
              : 'The next backup brings it up to date',
        },
      )
    } catch (error) {
      database.close()
      throw error
    }
  })
}

/** A reader needs the shared memory beside the file; in a folder that it cannot write to there may be none. */
function openReadOnly(path: string): DatabaseSync {
  const { DatabaseSync } = sqlite()
  const database = new DatabaseSync(path, { readOnly: true, timeout: PATIENCE_MS })
  try {
    database.prepare('SELECT count(*) FROM sqlite_schema').get()
    return database
  } catch (error) {
    database.close()
    const code = resultCode(error)
    if ((code !== SQLITE_CANTOPEN && code !== SQLITE_READONLY) || existsSync(`${path}-wal`)) throw error
    const url = pathToFileURL(path)
    url.search = '?immutable=1' // nobody else writes there either, and there is no log
    return new DatabaseSync(url, { readOnly: true })
  }
}

/** Milliseconds for a journal of a year, and damage shows before anything is built on it. */
function assertSound(database: DatabaseSync, path: string): void {
  const problem = database.prepare('PRAGMA quick_check(1)').get()?.quick_check
  if (problem === 'ok') return
  throw damaged(path, String(problem))
}

function migrate(database: DatabaseSync, path: string): void {
  if (versionOf(database) === SCHEMA_VERSION) return
  database.exec('BEGIN IMMEDIATE') // another process may be at it: the version is read again under the lock
  try {
    const version = versionOf(database)
    if (version > SCHEMA_VERSION) {
      throw new ApplicationError('JOURNAL', `Cannot write the journal ${path}: a later Holdfast wrote it`, {
        facts: { path, version },
        hint: 'Use that one, here and in the schedule',
      })
    }
    for (const step of MIGRATIONS.slice(version)) database.exec(step)
    database.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`)
    database.exec('COMMIT')
  } catch (error) {
    database.exec('ROLLBACK')
    throw error
  }
}

function versionOf(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.user_version)
}

/**
 * Renames a damaged journal, with what lies beside it, and answers with its new name; undefined when it is another file by now,
 * for another process has set it aside.
 *
 * @param inode of the damaged file
 */
export function setAside(path: string, inode: bigint, now: Date): string | undefined {
  return guarded(path, 'set aside', () => {
    if (inodeOf(path) !== inode) return undefined
    const stamp = now.toISOString().replaceAll(/[-:]/g, '').replace('T', '-').slice(0, 15)
    const aside = freeName(`${path}.damaged-${stamp}`)
    for (const suffix of SIDECARS) if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix)
    renameSync(path, aside)
    chmodSync(aside, 0o600)
    return aside
  })
}

function freeName(name: string): string {
  if (!existsSync(name)) return name
  for (let number = 2; ; number++) if (!existsSync(`${name}-${number}`)) return `${name}-${number}`
}

export function inodeOf(path: string): bigint | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino
}

/** Copies the journal as it is at one moment, also while others write; the copy is one file, with nothing beside it. */
export async function copyDatabase(source: DatabaseSync, destination: string): Promise<void> {
  closeSync(openSync(destination, 'wx', 0o600))
  await sqlite().backup(source, destination, { rate: 2 ** 31 - 1 })
  const copy = new (sqlite().DatabaseSync)(destination)
  try {
    copy.exec('PRAGMA journal_mode = DELETE')
  } finally {
    copy.close()
  }
}

/** Runs what works on the journal's file: failures of SQLite and of the system come out as errors that say what to do. */
export function guarded<R>(path: string, verb: string, action: () => R): R {
  try {
    return action()
  } catch (error) {
    throw journalError(path, verb, error)
  }
}

export function journalError(path: string, verb: string, error: unknown): unknown {
  if (error instanceof ApplicationError) return error
  const result = resultCode(error)
  if (result === undefined && (error as NodeJS.ErrnoException).syscall === undefined) return error // a defect of ours
  if (result === SQLITE_CORRUPT || result === SQLITE_NOTADB) return damaged(path, (error as Error).message, error)
  const busy = result === SQLITE_BUSY
  return new ApplicationError('JOURNAL', `Cannot ${verb} the journal ${path}: ${(error as Error).message}`, {
    facts: { path, busy },
    cause: error,
    hint: busy
      ? 'Another process holds it; see which with `fuser`'
      : 'See that `state-dir` in the config names a folder that can be written to; `holdfast doctor` looks for the cause',
  })
}

function damaged(path: string, message: string, cause?: unknown): ApplicationError {
  return new ApplicationError('JOURNAL_DAMAGED', `The journal ${path} is damaged: ${message}`, {
    facts: { path },
    cause,
    hint: 'Run `holdfast history --rebuild`: it sets the damaged file aside and brings back what the repository knows',
  })
}

/** SQLite's primary result code (https://www.sqlite.org/rescode.html); undefined for other errors. */
function resultCode(error: unknown): number | undefined {
  const { errcode } = error as { errcode?: unknown }
  return typeof errcode === 'number' ? errcode & 0xff : undefined
}
