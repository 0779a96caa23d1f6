import { closeSync, openSync, readSync, statSync, writeSync } from 'node:fs'
import { chmod, copyFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ApplicationError } from '../error.ts'
import { filterThrough, minimalEnvironment, noInput, type ProgramEnd, programFailure } from '../program.ts'
import { type DatabaseDiagnosis, diagnoseDatabase } from './diagnose-database.ts'
import { SQLITE_HEADER_BYTES } from './sqlite-header.ts'
import { latin1, SqliteFailure, type SqliteProcess } from './sqlite-process.ts'

/** `reindex`, `vacuum`: nothing was lost; `header`: the first bytes were written anew; `recover`: what could be read was read. */
export type RecoveryWay = 'reindex' | 'vacuum' | 'header' | 'sqlite3 .recover' | 'built-in salvage'

export interface RecoveredDatabase {
  /** The new file, sound by `integrity_check`; in the folder that was given. */
  readonly path: string
  readonly way: RecoveryWay
  /** What could not be made anew, of the ways that tell. */
  readonly lost: readonly string[]
}

export interface RecoverOptions {
  /** A private folder. Damaged copies and what was made of them lie in it. */
  readonly folder: string
  /** A sound older state of the same database, a private copy: lends its header and its schema. */
  readonly snapshot: string | undefined
  /** `sqlite3`, unless a test wants to do without. */
  readonly program?: string
  readonly sqlite: SqliteProcess
  readonly signal: AbortSignal
}

/** A file in which there is nothing of the database cannot be recovered from. */
const NOTHING_IN_IT: ReadonlySet<string> = new Set(['sound', 'missing', 'empty', 'zeroed', 'another-file'])

/**
 * Makes a sound database of what is in a damaged one, in the gentlest way that works. The damaged file is only read. Undefined when
 * nothing of it can be had.
 *
 * @param damaged a private copy, with what lies beside it
 */
export async function recoverDatabase(
  damaged: string,
  diagnosis: DatabaseDiagnosis,
  options: RecoverOptions,
): Promise<RecoveredDatabase | undefined> {
  const { folder, sqlite, signal } = options
  if (NOTHING_IN_IT.has(diagnosis.trouble)) return undefined
  let attempts = 0
  const target = () => join(folder, `recovered-${attempts++}.db`)
  const mended = async (path: string, way: RecoveryWay, reindex: boolean): Promise<RecoveredDatabase | undefined> => {
    const result = target()
    try {
      await sqlite.run({ kind: 'mend', path: latin1(path), target: latin1(result), reindex }, signal)
      return (await isSound(result, options)) ? { path: result, way, lost: [] } : undefined
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof SqliteFailure)) throw error
      return undefined // the next way may
    }
  }
  const gentle: Partial<Record<DatabaseDiagnosis['trouble'], () => Promise<RecoveredDatabase | undefined>>> = {
    index: () => mended(damaged, 'reindex', true),
    freelist: () => mended(damaged, 'vacuum', false),
    header: () => withNewHeader(),
    'page-size': () => withNewHeader(),
  }
  let source = damaged
  const withNewHeader = async () => {
    const patched = join(folder, 'patched.db')
    if (!(await patchHeader(damaged, patched, diagnosis, options.snapshot))) return undefined
    source = patched
    return mended(patched, 'header', false)
  }
  const result =
    (await gentle[diagnosis.trouble]?.()) ??
    (await byCommand(source, target(), options)) ??
    (await bySalvage(source, target(), options))
  if (result !== undefined && diagnosis.journalMode === 'wal') {
    await sqlite.run({ kind: 'set-mode', path: latin1(result.path), journalMode: 'wal' }, signal)
  }
  return result
}

async function isSound(path: string, { sqlite, signal }: RecoverOptions): Promise<boolean> {
  return (await diagnoseDatabase(path, sqlite, signal)).trouble === 'sound'
}

/**
 * A copy with a header that SQLite accepts: the older state's, or the file's own where only the page size is wrong; with the page
 * size that the pages have, the page count of the file, and no free list, which only costs room.
 */
async function patchHeader(
  damaged: string,
  patched: string,
  { bytes }: DatabaseDiagnosis,
  snapshot: string | undefined,
): Promise<boolean> {
  const { likelyPageSize: pageSize, header: own, hasMagic } = bytes
  if (pageSize === undefined) return false
  const header = hasMagic ? Buffer.from(own) : snapshot === undefined ? undefined : readHeader(snapshot)
  if (header === undefined || header.length < SQLITE_HEADER_BYTES) return false
  if (snapshot !== undefined && bytes.headerProblem !== undefined) readHeader(snapshot).copy(header)
  header.writeUInt16BE(pageSize === 65_536 ? 1 : pageSize, 16)
  header.writeUInt32BE(Math.floor(statSync(damaged).size / pageSize), 28)
  header.writeUInt32BE(header.readUInt32BE(24), 92)
  header.writeUInt32BE(0, 32)
  header.writeUInt32BE(0, 36)
  // Without its log: the copy is read as it is.
  header[18] = 1
  header[19] = 1
  await copyFile(damaged, patched)
  await chmod(patched, 0o600)
  const file = openSync(patched, 'r+')
  try {
    writeSync(file, header, 0, SQLITE_HEADER_BYTES, 0)
  } finally {
    closeSync(file)
  }
  return true
}

function readHeader(path: string): Buffer {
  const file = openSync(path, 'r')
  try {
    const header = Buffer.alloc(SQLITE_HEADER_BYTES)
    return header.subarray(0, readSync(file, header, 0, SQLITE_HEADER_BYTES, 0))
  } finally {
    closeSync(file)
  }
}

/** What the SQLite project's own program makes of it; undefined when it is not installed or makes nothing sound. */
async function byCommand(
  source: string,
  target: string,
  options: RecoverOptions,
): Promise<RecoveredDatabase | undefined> {
  const { program = 'sqlite3', signal } = options
  const ends: ProgramEnd[] = []
  const settings = { env: minimalEnvironment(), signal }
  try {
    const sql = filterThrough(program, ['-batch', source, '.recover'], noInput(), settings, (end) => ends.push(end))
    for await (const _ of filterThrough(program, ['-batch', target], sql, settings, (end) => ends.push(end)));
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof ApplicationError) || error.code !== 'TOOL_MISSING') throw error
    return undefined
  }
  const failed = ends.find(({ exitCode }) => exitCode === null)
  if (failed !== undefined)
    throw new ApplicationError('DATABASE', `${program} could not recover ${source}`, { cause: programFailure(failed) })
  const made = statSync(target, { throwIfNoEntry: false })
  if (made === undefined || made.size === 0) return undefined
  await chmod(target, 0o600)
  const isUsable = (await isSound(target, options)) && (await holdsTables(target, options))
  return isUsable ? { path: target, way: 'sqlite3 .recover', lost: [] } : undefined
}

/** A recovery of nothing is sound, too. */
async function holdsTables(path: string, { sqlite, signal }: RecoverOptions): Promise<boolean> {
  const tables = await sqlite.run({ kind: 'compare', path: latin1(path), other: latin1(path) }, signal)
  return tables.length > 0
}

async function bySalvage(
  source: string,
  target: string,
  options: RecoverOptions,
): Promise<RecoveredDatabase | undefined> {
  const { sqlite, snapshot, signal } = options
  try {
    const { tables, lost } = await sqlite.run(
      { kind: 'salvage', path: latin1(source), target: latin1(target), schemaFrom: snapshot && latin1(snapshot) },
      signal,
    )
    if (!tables.some(({ rows }) => rows > 0) || !(await isSound(target, options))) return undefined
    return { path: target, way: 'built-in salvage', lost }
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof SqliteFailure)) throw error
    await rm(target, { force: true })
    return undefined
  }
}
