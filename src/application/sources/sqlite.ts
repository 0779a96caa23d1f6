import { chmod, realpath, rm, stat, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ApplicationError } from '../error.ts'
import type { Finding } from '../finding.ts'
import { whoHasOpen } from '../host/open-files.ts'
import type { DatabaseRecord } from './capture.ts'
import { beside, type DatabaseState, provesUnchanged, readDatabaseState, untilSettled } from './database-state.ts'
import { makePrivateFolder } from './private-folder.ts'
import { isSqliteHeader } from './sqlite-header.ts'
import {
  type CheckReply,
  type CopyRequest,
  latin1,
  openSqliteProcess,
  SqliteFailure,
  type SqliteProcess,
} from './sqlite-process.ts'

/** How long an application may keep a database locked before the capture gives up. */
const PATIENCE_MS = 60_000
/** A database that was replaced or written this often while we looked at it without locks is not going to hold still. */
const MAX_ATTEMPTS = 6
/** How often we wait for it to hold still before we read it under locks after all. */
const MAX_WAITS = 2
/** Lines of `integrity_check` that are remembered. */
const KEPT_PROBLEMS = 5

// Primary result codes, https://www.sqlite.org/rescode.html
const BUSY = 5
const LOCKED = 6
const READONLY = 8
const CORRUPT = 11
const FULL = 13
const CANTOPEN = 14
const NOTADB = 26

export interface DatabaseCaptureOptions {
  /** Where copies are made; created if need be. Every copy lies in a folder of its own that only we can enter. */
  readonly workDirectory: string
  /** What was remembered of this database at the snapshot that the next one builds on. */
  readonly previous?: DatabaseRecord | undefined
  readonly signal?: AbortSignal | undefined
  /** Shared by the captures of one component; by default each has its own. */
  readonly sqlite?: SqliteProcess
  readonly patienceMs?: number
  /** Nanoseconds since the epoch. */
  readonly now?: () => bigint
}

/** Raw bytes of a damaged database, for those who try to rescue something from it. */
export interface RawCopy {
  /** The live file. */
  readonly path: Buffer
  readonly copy: string
  /** Name in the snapshot: never the name under which an application would open it. */
  readonly storedAs: string
}

export type DatabaseCapture =
  | {
      readonly kind: 'copied'
      readonly record: DatabaseRecord
      /** The caller removes it, with the folder that it lies in. */
      readonly copy: string
      readonly findings: readonly Finding[]
    }
  | { readonly kind: 'unchanged'; readonly record: DatabaseRecord; readonly findings: readonly Finding[] }
  | {
      readonly kind: 'corrupt'
      readonly record: DatabaseRecord
      readonly rawCopies: readonly RawCopy[]
      readonly findings: readonly Finding[]
    }

/**
 * A consistent copy of a database that may be in use: one transaction's state, with every row that was committed before
 * the call, through SQLite's online backup from a read-only connection. The live file is not changed, and no `-wal` or
 * `-shm` appears beside it. The copy keeps the page layout (only change counter and schema cookie differ), has passed
 * `PRAGMA integrity_check` and has mode 0600.
 *
 * While the copy is made a database in rollback mode cannot be written, one in WAL mode can.
 *
 * Throws `ApplicationError`: `DATABASE_IN_USE` when it stays locked or does not hold still, `DATABASE` when it cannot be
 * read or is none (`facts.reason`: `vanished`, `not-a-database`, `empty`, `no-space`, `permission`, `unreadable`).
 * Nothing stays in the work directory then, nor after an abort.
 */
export async function captureDatabase(
  path: string | Buffer,
  options: DatabaseCaptureOptions,
): Promise<DatabaseCapture> {
  const { workDirectory, signal, now = wallClock } = options
  signal?.throwIfAborted()
  const live = await resolve(path)
  const name = path.toString()

  if (options.previous !== undefined) {
    const { fingerprint } = await readState(live)
    if (provesUnchanged(options.previous, fingerprint)) {
      return { kind: 'unchanged', record: options.previous, findings: [] }
    }
  }

  const folder = await makePrivateFolder(workDirectory, 'database')
  const sqlite = options.sqlite ?? openSqliteProcess()
  try {
    const copy = join(folder, 'copy.db')
    const context = { live, name, copy, sqlite, signal, now, patienceMs: options.patienceMs ?? PATIENCE_MS }
    let outcome = await copyAndCheck(context)
    // Once more, so that what a failing bus or a file system without locks did to one copy is not held against the file.
    if (outcome.problems.damage.length > 0) outcome = await copyAndCheck(context)
    const { state, capturedAt, check, problems, way } = outcome
    const record: DatabaseRecord = {
      path: name,
      bytes: check === undefined ? state.bytes : (await stat(copy)).size,
      journalMode: state.header?.journalMode ?? 'rollback',
      pageSize: state.header?.pageSize ?? 0,
      integrity: [...problems.damage, ...problems.constraints].slice(0, KEPT_PROBLEMS).join('\n') || 'ok',
      fingerprint: state.fingerprint,
      capturedAt: String(capturedAt),
    }
    if (problems.damage.length > 0) {
      const rawCopies = await copyRaw(context, Buffer.from(path), folder)
      return { kind: 'corrupt', record, rawCopies, findings: [damageFinding(name, record.integrity)] }
    }
    const findings = [...(way === 'recover' ? [recoveryFinding(name)] : []), ...checkFindings(name, problems, check)]
    return { kind: 'copied', record, copy, findings }
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  } finally {
    if (options.sqlite === undefined) await sqlite[Symbol.asyncDispose]()
  }
}

/**
 * Whether a restored database is usable: header, size, `PRAGMA integrity_check`, `PRAGMA foreign_key_check`. An empty
 * list says that all of it holds; the file is not changed. Throws when it cannot be read at all.
 */
export async function verifyDatabase(
  path: string | Buffer,
  options: { readonly signal?: AbortSignal; readonly sqlite?: SqliteProcess } = {},
): Promise<Finding[]> {
  const live = await resolve(path)
  const name = path.toString()
  const state = await readState(live)
  if (!isSqliteHeader(state.first)) {
    const message = `Cannot use ${name} as a database: found ${state.first.length === 0 ? 'an empty file' : 'other bytes'}, expected a SQLite header`
    return [{ severity: 'error', code: 'database-corrupt', message, path: name }]
  }
  const sqlite = options.sqlite ?? openSqliteProcess()
  try {
    const request = {
      kind: 'check',
      path: live.toString('latin1'),
      immutable: !state.hasLog && state.shared === undefined,
    } as const
    const check = await sqlite.run(request, options.signal)
    const problems = classify(check.problems)
    if (problems.damage.length > 0) return [damageFinding(name, summary(problems.damage))]
    return checkFindings(name, problems, check)
  } catch (error) {
    if (isDamage(error)) return [damageFinding(name, error.message)]
    throw error instanceof SqliteFailure ? readFailure(name, error) : error
  } finally {
    if (options.sqlite === undefined) await sqlite[Symbol.asyncDispose]()
  }
}

interface Context {
  /** Links resolved. */
  readonly live: Buffer
  /** As given, for people. */
  readonly name: string
  readonly copy: string
  readonly sqlite: SqliteProcess
  readonly signal: AbortSignal | undefined
  readonly now: () => bigint
  readonly patienceMs: number
}

interface Outcome {
  /** The state just before the copy was begun. */
  readonly state: DatabaseState
  readonly capturedAt: bigint
  readonly way: CopyRequest['way']
  /** `undefined` when not even a copy could be made. */
  readonly check: CheckReply | undefined
  readonly problems: Problems
}

async function copyAndCheck(context: Context): Promise<Outcome> {
  const { copy, sqlite, signal } = context
  const copied = await copyDatabase(context)
  if ('damage' in copied) {
    return { ...copied, check: undefined, problems: { damage: [copied.damage], constraints: [] } }
  }
  await chmod(copy, 0o600)
  try {
    const check = await sqlite.run({ kind: 'check', path: latin1(copy), immutable: true }, signal)
    return { ...copied, check, problems: classify(check.problems) }
  } catch (error) {
    if (!isDamage(error)) throw error instanceof SqliteFailure ? readFailure(context.name, error) : error
    return { ...copied, check: undefined, problems: { damage: [error.message], constraints: [] } }
  }
}

type Copied = Pick<Outcome, 'state' | 'capturedAt' | 'way'>

/**
 * SQLite's locks make the copy consistent wherever some program shares the log with us or none is needed. In two cases
 * they would leave traces: a database with a log, or in WAL mode, that nobody has open (a reader creates `-wal` and `-shm`), and one that a
 * crashed program left in the middle of a transaction (only a writer may roll it back). Then nobody is writing, and we
 * read without locks: the fingerprint shows afterwards whether that was true. It can only show it when all its stamps
 * are old, which is worth two seconds of waiting.
 */
async function copyDatabase(context: Context): Promise<Copied | (Copied & { readonly damage: string })> {
  const { live, name, copy, sqlite, signal, now, patienceMs } = context
  let needsRecovery = false
  let waits = 0
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const capturedAt = now()
    const state = await readState(live)
    refuseNonDatabase(name, state)
    let way = wayToCopy(state, needsRecovery)
    const wait = way === 'live' ? 0n : untilSettled(state.fingerprint, capturedAt)
    if (wait > 0n) {
      // A program that opens the database for each request writes so often that it never holds still.
      if (waits >= MAX_WAITS && !needsRecovery && mayShareLog(state)) {
        way = 'live'
      } else {
        waits++
        needsRecovery = false // the application may come back and recover it
        await sleep(Number(wait / 1_000_000n) + 10, undefined, signal === undefined ? {} : { signal }).catch(
          rethrow(signal),
        )
        continue
      }
    }
    await rm(copy, { force: true })
    await expectSpace(context, way === 'recover' ? 2 * state.bytes : state.bytes)
    try {
      const reply = await sqlite.run(
        {
          kind: 'copy',
          path: live.toString('latin1'),
          copy: latin1(copy),
          way,
          patienceMs,
          shared: state.shared,
        },
        signal,
      )
      const after = await readState(live)
      const sameFile = after.dev === state.dev && after.inode === state.inode
      const copiedIt = reply.dev === String(state.dev) && reply.inode === String(state.inode)
      if (sameFile && copiedIt && (way === 'live' || after.fingerprint === state.fingerprint)) {
        return { state, capturedAt, way }
      }
      needsRecovery = false
    } catch (error) {
      if (isDamage(error)) {
        const { fingerprint } = await readState(live)
        if (way !== 'live' && fingerprint !== state.fingerprint) continue // read while it was written
        return { state, capturedAt, way, damage: error.message }
      }
      if (!(error instanceof SqliteFailure)) throw error
      if (error.primary === BUSY || error.primary === LOCKED) throw await inUse(context, error)
      if (error.primary === READONLY || error.primary === CANTOPEN) {
        await readState(live) // says what is wrong when the file is gone or closed to us
        if (way !== 'live' && attempt > 1) throw readFailure(name, error)
        needsRecovery = true
      } else if (error.systemCode !== 'ENOENT') {
        throw readFailure(name, error)
      }
    }
  }
  throw await inUse(context, new Error(`it changed or was replaced in each of ${MAX_ATTEMPTS} attempts`))
}

/** Whether a `-wal` and `-shm` that our connection creates for a moment are open to the application too. */
function mayShareLog({ uid }: DatabaseState): boolean {
  const own = process.geteuid?.()
  return own === 0 || own === Number(uid) // SQLite gives them to the owner of the database when it runs as root
}

function wayToCopy(state: DatabaseState, needsRecovery: boolean): CopyRequest['way'] {
  if (needsRecovery) return 'recover'
  if (state.shared !== undefined) return 'live'
  // Whatever the header says: a connection of ours would be the last one, and take the log away with it.
  if (state.hasLog) return 'recover'
  return state.header?.journalMode === 'wal' ? 'immutable' : 'live'
}

async function copyRaw({ live, name, sqlite, signal }: Context, path: Buffer, folder: string): Promise<RawCopy[]> {
  const copy = join(folder, 'raw')
  const request = { kind: 'raw', path: live.toString('latin1'), copy: latin1(copy) } as const
  const { suffixes } = await sqlite.run(request, signal).catch((error: unknown) => {
    throw error instanceof SqliteFailure ? readFailure(name, error) : error
  })
  const base = path.subarray(path.lastIndexOf(0x2f) + 1).toString()
  return ['', ...suffixes].map((suffix) => ({
    path: suffix === '' ? path : beside(path, suffix as '-wal' | '-journal'),
    copy: copy + suffix,
    // In this order the log still belongs to the database: `sqlite3 app.db.corrupt .recover` finds it.
    storedAs: `${base}.corrupt${suffix}`,
  }))
}

/** A copy that fills the disk would stop the application that shares it. */
async function expectSpace({ name, copy }: Context, needed: number): Promise<void> {
  const { bavail, bsize, blocks } = await statfs(dirname(copy))
  const free = bavail * bsize
  if (free > needed || blocks === 0) return // 0: a file system that does not count
  throw new ApplicationError(
    'DATABASE',
    `Cannot copy ${name}: found ${free} bytes free in the work folder, expected more than ${needed}`,
    {
      facts: { path: name, reason: 'no-space', free, needed },
      hint: 'Free some space, or set `work-dir` to a folder on a larger disk',
    },
  )
}

function refuseNonDatabase(name: string, state: DatabaseState): void {
  if (isSqliteHeader(state.first)) return
  const empty = state.first.length === 0
  throw new ApplicationError(
    'DATABASE',
    `Cannot capture ${name}: found ${empty ? 'an empty file' : 'no SQLite header'}, expected a SQLite database`,
    {
      facts: { path: name, reason: empty ? 'empty' : 'not-a-database' },
      hint: empty
        ? undefined
        : 'If it is encrypted, back it up through a `command` component that asks the application for a copy',
    },
  )
}

async function inUse({ live, name, patienceMs }: Context, cause: Error): Promise<ApplicationError> {
  const { processes, complete } = await whoHasOpen(live)
  const holders = processes.map(({ pid, command }) => `${command} (${pid})`)
  const waited =
    cause instanceof SqliteFailure ? `still locked after ${Math.round(patienceMs / 1000)} s` : 'not at rest'
  const by = holders.length === 0 ? 'by a program that we cannot see' : `open in ${holders.join(', ')}`
  return new ApplicationError('DATABASE_IN_USE', `Cannot capture ${name}: found it ${waited}, ${by}`, {
    facts: { path: name, holders, complete },
    cause,
    hint: 'Find out what holds a transaction open, or back up at a quieter time',
  })
}

function readFailure(name: string, error: SqliteFailure): ApplicationError {
  const full = error.primary === FULL || error.systemCode === 'ENOSPC' || error.systemCode === 'EDQUOT'
  const permission = error.systemCode === 'EACCES' || error.systemCode === 'EPERM' || error.primary === CANTOPEN
  const reason = full ? 'no-space' : permission ? 'permission' : 'unreadable'
  return new ApplicationError('DATABASE', `Cannot copy ${name}: ${error.message}`, {
    facts: { path: name, reason, result: error.result },
    cause: error,
    hint: full
      ? 'Free some space, or set `work-dir` to a folder on a larger disk'
      : permission
        ? 'Run the backup as root or as the user that owns the database'
        : undefined,
  })
}

/** The file itself: SQLite looks for `-wal` beside it, wherever a symbolic link to it lies. */
async function resolve(path: string | Buffer): Promise<Buffer> {
  try {
    return await realpath(path, { encoding: 'buffer' })
  } catch (error) {
    throw systemFailure(path.toString(), error as NodeJS.ErrnoException)
  }
}

async function readState(live: Buffer): Promise<DatabaseState> {
  try {
    return await readDatabaseState(live)
  } catch (error) {
    throw systemFailure(live.toString(), error as NodeJS.ErrnoException)
  }
}

function systemFailure(name: string, cause: NodeJS.ErrnoException): ApplicationError {
  const vanished = cause.code === 'ENOENT' || cause.code === 'ENOTDIR'
  const permission = cause.code === 'EACCES' || cause.code === 'EPERM'
  return new ApplicationError(
    'DATABASE',
    vanished
      ? `Cannot capture ${name}: found nothing there, expected a database`
      : `Cannot read ${name}: ${cause.message}`,
    {
      facts: { path: name, reason: vanished ? 'vanished' : permission ? 'permission' : 'unreadable' },
      cause,
      hint: permission ? 'Run the backup as root or as the user that owns the database' : undefined,
    },
  )
}

interface Problems {
  /** Pages or indexes that contradict each other. */
  readonly damage: readonly string[]
  /** Rows that contradict a constraint of the schema: SQLite lets that happen, and the file is sound. */
  readonly constraints: readonly string[]
}

function classify(lines: readonly string[]): Problems {
  const isConstraint = (line: string): boolean =>
    /^(NULL value in |CHECK constraint failed in |(?:non-)?[A-Z]+ value in )/.test(line)
  return { damage: lines.filter((line) => !isConstraint(line)), constraints: lines.filter(isConstraint) }
}

function isDamage(error: unknown): error is SqliteFailure {
  return error instanceof SqliteFailure && (error.primary === CORRUPT || error.primary === NOTADB)
}

function damageFinding(name: string, problem: string): Finding {
  return {
    severity: 'error',
    code: 'database-corrupt',
    message: `${name} is damaged: ${problem.split('\n')[0]}`,
    path: name,
    hint: 'Restore it from the last snapshot in which it was sound, or try `sqlite3 FILE .recover`',
  }
}

function recoveryFinding(name: string): Finding {
  return {
    severity: 'warning',
    code: 'database-recovered',
    message: `${name} was left in the middle of a transaction by a program that ended; the copy holds what SQLite recovers`,
    path: name,
    hint: 'Look at why the application stopped; the live file was not touched',
  }
}

function checkFindings(name: string, problems: Problems, check: CheckReply | undefined): Finding[] {
  const findings: Finding[] = []
  if (problems.constraints.length > 0) {
    findings.push({
      severity: 'warning',
      code: 'database-constraints',
      message: `${name} holds rows that its schema forbids: ${summary(problems.constraints)}`,
      path: name,
    })
  }
  if (check?.foreignKeys !== undefined && check.foreignKeys > 0) {
    findings.push({
      severity: 'warning',
      code: 'database-foreign-keys',
      message: `${name} holds rows that refer to rows that are not there: ${check.foreignKeys}`,
      path: name,
    })
  }
  const unchecked = [...(check?.unchecked ?? [])]
  if (check !== undefined && check.foreignKeys === undefined) unchecked.push('foreign keys')
  if (unchecked.length > 0) {
    findings.push({
      severity: 'note',
      code: 'database-partly-checked',
      message: `${name} could be checked in part only, the rest needs the application: ${summary(unchecked)}`,
      path: name,
    })
  }
  return findings
}

function summary(lines: readonly string[]): string {
  const more = lines.length - KEPT_PROBLEMS
  return lines.slice(0, KEPT_PROBLEMS).join('; ') + (more > 0 ? `; and ${more} more` : '')
}

function rethrow(signal: AbortSignal | undefined): (error: unknown) => never {
  return (error) => {
    signal?.throwIfAborted() // timers reject with an error of their own
    throw error
  }
}

function wallClock(): bigint {
  return BigInt(Date.now()) * 1_000_000n
}
