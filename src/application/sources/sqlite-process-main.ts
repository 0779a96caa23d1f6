// The process that `sqlite-process.ts` starts. One request at a time, one answer each.

import { chmodSync, constants, copyFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { backup, DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TableComparison } from './compare-tables.ts'
import { quoteIdentifier } from './quote-identifier.ts'
import type { SalvageReply } from './salvage-tables.ts'
import { SIDECAR_SUFFIXES } from './sqlite-header.ts'
import type {
  CheckReply,
  CheckRequest,
  CompareRequest,
  CopyReply,
  CopyRequest,
  DatabaseRequest,
  DiagnoseReply,
  DiagnoseRequest,
  MendRequest,
  RawReply,
  RawRequest,
  SalvageRequest,
  SetModeRequest,
  WireReply,
} from './sqlite-process.ts'

/**
 * All pages in one step: `rate` takes positive 32-bit integers only. A database of more pages (8 TiB) takes two, which
 * the open read transaction makes one state all the same.
 */
const ALL_PAGES = 2 ** 31 - 1

const MAX_PROBLEMS = 100
const MAX_FOREIGN_KEYS = 10_000

const BUSY = 5
const LOCKED = 6
const CORRUPT = 11

// What we write is for us alone; SQLite asks for 0644.
process.umask(0o077)
process.on('disconnect', () => process.exit())
process.on('message', (request: DatabaseRequest) => {
  answer(request).then(
    (reply) => send({ reply }),
    (error: unknown) => send({ failure: describe(error) }),
  )
})

function send(reply: WireReply): void {
  process.send?.(reply)
}

async function answer(request: DatabaseRequest): Promise<unknown> {
  switch (request.kind) {
    case 'copy':
      return request.way === 'recover' ? await copyRecovered(request) : await copy(request)
    case 'check':
      return check(request)
    case 'raw':
      return copyRaw(request)
    case 'diagnose':
      return diagnose(request)
    case 'mend':
      return mend(request)
    case 'salvage':
      return await salvage(request)
    case 'compare':
      return await compare(request)
    case 'set-mode':
      return setMode(request)
  }
}

async function copy(request: CopyRequest): Promise<CopyReply> {
  try {
    return await backupFrom(request.path, request.way === 'immutable', request)
  } finally {
    if (request.way === 'live') removeOwnLog(request)
  }
}

/**
 * The read transaction is opened here and not left to `backup`, which gives up at the first lock it meets, without a
 * code that says so. It stays open until the copy is complete, so that there is exactly one state to be copied.
 */
async function backupFrom(path: string, immutable: boolean, request: CopyRequest): Promise<CopyReply> {
  const source = open(path, immutable ? 'immutable' : 'read')
  try {
    await beginReading(source, request.patienceMs)
    const { dev, ino } = statSync(bytes(path), { bigint: true })
    await backup(source, bytes(request.copy), { rate: ALL_PAGES })
    return { dev: String(dev), inode: String(ino) }
  } finally {
    source.close()
  }
}

/**
 * SQLite's own way of waiting (25, 50, 100 ms) starves in rollback mode under a program that commits without pause:
 * measured, one success in 2 to 5 seconds. Its unlocked moments are short but many, so we knock often for a moment, then
 * let it work: 10 ms.
 */
async function beginReading(source: DatabaseSync, patienceMs: number): Promise<void> {
  const end = performance.now() + patienceMs
  for (;;) {
    const pause = performance.now() + 10
    do {
      try {
        source.exec('BEGIN')
        source.prepare('SELECT count(*) FROM sqlite_schema').get()
        return
      } catch (error) {
        if (source.isTransaction) source.exec('ROLLBACK')
        const { result } = describe(error)
        if ((result & 0xff) !== BUSY && (result & 0xff) !== LOCKED) throw error
        if (performance.now() > end) throw error
      }
    } while (performance.now() < pause)
    await sleep(2 + Math.random() * 8)
  }
}

/**
 * A read-only connection in WAL mode creates `-wal` and `-shm` where there are none, and cannot remove them. A
 * connection that may write does so when it is the last one, under the lock that makes this safe. When a program has
 * opened the database meanwhile the files are its own now.
 */
function removeOwnLog({ path, shared }: CopyRequest): void {
  const present = statSync(bytes(`${path}-shm`), { bigint: true, throwIfNoEntry: false })
  if (present === undefined || `${present.ino}:${present.birthtimeNs}` === shared) return
  const connection = open(path, 'write')
  try {
    connection.prepare('SELECT count(*) FROM sqlite_schema').get()
  } catch (error) {
    const { result } = describe(error)
    if ((result & 0xff) !== BUSY) throw error // busy: a program has it open
  } finally {
    connection.close()
  }
}

/** SQLite does the recovery on a private copy, as the application would on the live file. */
async function copyRecovered(request: CopyRequest): Promise<CopyReply> {
  const scratch = `${request.copy}-scratch`
  try {
    copyAll(request.path, scratch, ['-wal', '-journal'])
    const { dev, ino } = statSync(bytes(request.path), { bigint: true })
    const connection = open(scratch, 'write')
    try {
      connection.prepare('SELECT count(*) FROM sqlite_schema').get()
      await backup(connection, bytes(request.copy), { rate: ALL_PAGES })
    } finally {
      connection.close()
    }
    return { dev: String(dev), inode: String(ino) }
  } finally {
    for (const suffix of ['', ...SIDECAR_SUFFIXES]) rmSync(bytes(scratch + suffix), { force: true })
  }
}

function copyRaw(request: RawRequest): RawReply {
  return { suffixes: copyAll(request.path, request.copy, ['-wal', '-journal']) }
}

function copyAll(from: string, to: string, suffixes: readonly string[]): string[] {
  const copyOne = (suffix: string): void => {
    copyFileSync(bytes(from + suffix), bytes(to + suffix), constants.COPYFILE_FICLONE)
    chmodSync(bytes(to + suffix), 0o600) // the copy came with the mode of the file
  }
  copyOne('')
  const copied: string[] = []
  for (const suffix of suffixes) {
    try {
      copyOne(suffix)
      copied.push(suffix)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  return copied
}

/**
 * The connection is read-only, and then SQLite does not load CHECK constraints: rows that violate them go unreported.
 * They say nothing about the file being sound.
 */
function check(request: CheckRequest): CheckReply {
  const database = open(request.path, request.immutable ? 'immutable' : 'read')
  try {
    const unchecked: string[] = []
    const problems: string[] = []
    try {
      problems.push(...integrity(database))
    } catch (error) {
      if (!needsApplication(error)) throw error
      for (const table of tables(database)) {
        try {
          problems.push(...integrity(database, table))
        } catch (reason) {
          if (!needsApplication(reason)) throw reason
          unchecked.push(`${table}: ${describe(reason).message}`)
        }
      }
    }
    return { problems: problems.slice(0, MAX_PROBLEMS), unchecked, foreignKeys: violations(database) }
  } finally {
    database.close()
  }
}

function integrity(database: DatabaseSync, table?: string): string[] {
  const argument = table === undefined ? MAX_PROBLEMS : quoteIdentifier(table)
  const rows = database.prepare(`PRAGMA integrity_check(${argument})`).all()
  const lines = rows.flatMap((row) => String(row.integrity_check).split('\n'))
  if (lines.length === 0) return ['integrity_check gave no answer']
  return lines.filter((line) => line !== 'ok')
}

function tables(database: DatabaseSync): string[] {
  const rows = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all()
  return ['sqlite_schema', ...rows.map((row) => String(row.name))]
}

function violations(database: DatabaseSync): number | undefined {
  let count = 0
  try {
    for (const _row of database.prepare('PRAGMA foreign_key_check').iterate()) {
      if (++count === MAX_FOREIGN_KEYS) break
    }
  } catch (error) {
    // "foreign key mismatch", or a function of the application: the schema does not allow the check.
    if (!needsApplication(error)) throw error
    return undefined
  }
  return count
}

function diagnose({ path }: DiagnoseRequest): DiagnoseReply {
  const database = open(path, 'write')
  try {
    return { problems: allProblems(database), unreadable: undefined, indexRoots: indexRoots(database) }
  } catch (error) {
    const { message, systemCode } = describe(error)
    if (systemCode !== undefined) throw error
    return { problems: undefined, unreadable: message, indexRoots: [] }
  } finally {
    database.close()
  }
}

/** Looking up rows in a damaged index ends the thorough check with an error; the quick one looks at the pages of each tree alone. */
function allProblems(database: DatabaseSync): string[] {
  try {
    return integrity(database)
  } catch (error) {
    if ((describe(error).result & 0xff) !== CORRUPT) throw error
    const rows = database.prepare(`PRAGMA quick_check(${MAX_PROBLEMS})`).all()
    const lines = rows.flatMap((row) => String(row.quick_check).split('\n')).filter((line) => line !== 'ok')
    return lines.length > 0 ? lines : [describe(error).message]
  }
}

function indexRoots(database: DatabaseSync): number[] {
  return database
    .prepare("SELECT rootpage FROM sqlite_schema WHERE type = 'index' AND rootpage > 0")
    .all()
    .map(({ rootpage }) => Number(rootpage))
}

function mend({ path, target, reindex }: MendRequest): Record<never, never> {
  const database = open(path, 'write')
  try {
    const indexes = reindex ? dropIndexes(database) : []
    database.prepare('VACUUM INTO ?').run(ownPath(target))
    const made = open(target, 'write')
    try {
      for (const sql of indexes) made.exec(sql)
    } finally {
      made.close()
    }
    return {}
  } finally {
    database.close()
  }
}

/**
 * Takes the indexes out of the schema, without a look at their pages: to build them anew or to drop them the usual way would read
 * them. Answers with what makes them. Those that belong to constraints are built anew by VACUUM.
 */
function dropIndexes(database: DatabaseSync): string[] {
  const made = database.prepare("SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL").all()
  database.enableDefensive(false) // which forbids just this
  database.exec(`
    PRAGMA writable_schema = ON;
    DELETE FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL;
    PRAGMA writable_schema = RESET;
  `)
  return made.map(({ sql }) => String(sql))
}

/** Of a file in a folder of ours, whose name is plain text. */
function ownPath(path: string): string {
  return bytes(path).toString()
}

async function salvage({ path, target, schemaFrom }: SalvageRequest): Promise<SalvageReply> {
  const { salvageTables } = await import('./salvage-tables.ts') // every backup starts this process, and none salvages
  writeFileSync(bytes(target), '', { flag: 'wx', mode: 0o600 })
  const made = open(target, 'write')
  try {
    return salvageTables(ownPath(path), made, schemaFrom === undefined ? undefined : ownPath(schemaFrom))
  } finally {
    made.close()
  }
}

async function compare({ path, other }: CompareRequest): Promise<readonly TableComparison[]> {
  const { compareTables } = await import('./compare-tables.ts')
  const database = open(path, 'read')
  try {
    database.prepare('ATTACH ? AS other').run(ownPath(other))
    return compareTables(database)
  } finally {
    database.close()
  }
}

function setMode({ path, journalMode }: SetModeRequest): Record<never, never> {
  const database = open(path, 'write')
  try {
    database.exec(`PRAGMA journal_mode = ${journalMode === 'wal' ? 'WAL' : 'DELETE'}`)
    return {}
  } finally {
    database.close()
  }
}

/** Result SQLITE_ERROR: a collation, function or tokenizer that only the application has, never a damaged page. */
function needsApplication(error: unknown): boolean {
  return (describe(error).result & 0xff) === 1
}

function open(path: string, access: 'read' | 'write' | 'immutable'): DatabaseSync {
  // A URI takes any bytes, so it serves names that are not UTF-8 too.
  const encoded = [...bytes(path)].map(encode).join('')
  const location = new URL(`file://${encoded}${access === 'immutable' ? '?immutable=1' : ''}`)
  return new DatabaseSync(location, { readOnly: access !== 'write', timeout: 0 })
}

function encode(byte: number): string {
  const character = String.fromCharCode(byte)
  return /[A-Za-z0-9/_.-]/.test(character) ? character : `%${byte.toString(16).padStart(2, '0')}`
}

function bytes(path: string): Buffer {
  return Buffer.from(path, 'latin1')
}

function describe(error: unknown): { message: string; result: number; systemCode: string | undefined } {
  const { message, errcode, code } = error as { message: string; errcode?: number; code?: string }
  if (code === 'ERR_SQLITE_ERROR') {
    // `backup` reports a lock as 0, "not an error".
    return { message: errcode === 0 ? 'database is locked' : message, result: errcode || BUSY, systemCode: undefined }
  }
  return { message, result: 0, systemCode: code }
}
