import { type ChildProcess, fork } from 'node:child_process'
import { extname } from 'node:path'
import { ApplicationError } from '../error.ts'
import type { TableComparison } from './compare-tables.ts'
import type { SalvageReply } from './salvage-tables.ts'

// SQLite runs in a process of its own, because
// - a POSIX lock is gone as soon as its process closes any descriptor of the file: a reader of the same file elsewhere in
//   our process (survey, archiver) would silently end the read transaction of a capture;
// - `DatabaseSync` blocks its thread: seconds for the integrity check of a large database;
// - nothing but a kill stops SQLite in the middle of a backup or a check.

/** A path as the channel carries it, which takes text: each byte a character. */
export function latin1(path: string): string {
  return Buffer.from(path).toString('latin1')
}

/** Paths are `latin1` texts of their bytes: the channel carries text. */
export interface CopyRequest {
  readonly kind: 'copy'
  readonly path: string
  /**
   * - `live`: under SQLite's own locks
   * - `immutable`: without locks and without touching the folder; the caller makes sure that nothing changed meanwhile
   * - `recover`: database, log and journal are first copied beside the copy and recovered there; same duty
   */
  readonly way: 'live' | 'immutable' | 'recover'
  readonly copy: string
  /** How long to wait for locks. */
  readonly patienceMs: number
  /** `inode:birth` of the `-shm` that was there. Another one afterwards may be ours, and must not stay because of us. */
  readonly shared: string | undefined
}

export interface CheckRequest {
  readonly kind: 'check'
  readonly path: string
  /** A file nobody else has open, with no log or journal beside it. */
  readonly immutable: boolean
}

export interface RawRequest {
  readonly kind: 'raw'
  readonly path: string
  readonly copy: string
}

/** Looks for all that is wrong with a private copy; whatever SQLite needs to write beside it is written. */
export interface DiagnoseRequest {
  readonly kind: 'diagnose'
  readonly path: string
}

export interface DiagnoseReply {
  /** What `PRAGMA integrity_check` said, `ok` left out; undefined when the database cannot be read so far. */
  readonly problems: readonly string[] | undefined
  /** Why it cannot be read. */
  readonly unreadable: string | undefined
  /** Root pages of its indexes: `Tree N` in a problem is an index when N is one of them. */
  readonly indexRoots: readonly number[]
}

export interface MendRequest {
  readonly kind: 'mend'
  /** A private copy, which is written to. */
  readonly path: string
  /** The new file. */
  readonly target: string
  /** Build all indexes anew before everything is copied. */
  readonly reindex: boolean
}

export interface SalvageRequest {
  readonly kind: 'salvage'
  /** A private copy. */
  readonly path: string
  /** The new file. */
  readonly target: string
  /** A sound database of the same application. */
  readonly schemaFrom: string | undefined
}

export interface CompareRequest {
  readonly kind: 'compare'
  /** The database of the snapshot, a private copy. */
  readonly path: string
  /** What was recovered. */
  readonly other: string
}

export interface SetModeRequest {
  readonly kind: 'set-mode'
  readonly path: string
  readonly journalMode: 'wal' | 'rollback'
}

export type DatabaseRequest =
  | CopyRequest
  | CheckRequest
  | RawRequest
  | DiagnoseRequest
  | MendRequest
  | SalvageRequest
  | CompareRequest
  | SetModeRequest

export interface CopyReply {
  /** What the path led to once the read transaction had begun: the file that was copied, unless it was replaced. */
  readonly dev: string
  readonly inode: string
}

export interface CheckReply {
  /** What `PRAGMA integrity_check` said, `ok` left out. */
  readonly problems: readonly string[]
  /** Objects that cannot be checked here, with the reason: they need a collation or function of the application. */
  readonly unchecked: readonly string[]
  /** Rows that violate a foreign key, counted up to a limit; `undefined` when the schema does not allow the check. */
  readonly foreignKeys: number | undefined
}

export interface RawReply {
  /** Which of the files beside the database were there. */
  readonly suffixes: readonly string[]
}

export interface ReplyTo {
  readonly copy: CopyReply
  readonly check: CheckReply
  readonly raw: RawReply
  readonly diagnose: DiagnoseReply
  readonly mend: Record<never, never>
  readonly salvage: SalvageReply
  readonly compare: readonly TableComparison[]
  readonly 'set-mode': Record<never, never>
}

/** A result of SQLite that is not success, or a failed system call. */
export class SqliteFailure extends Error {
  override readonly name = 'SqliteFailure'
  /** Extended result code (https://www.sqlite.org/rescode.html); 0 for a failed system call. */
  readonly result: number
  /** `ENOENT`… of a system call. */
  readonly systemCode: string | undefined

  constructor(message: string, result: number, systemCode: string | undefined) {
    super(message)
    this.result = result
    this.systemCode = systemCode
  }

  /** The result code without its extension. */
  get primary(): number {
    return this.result & 0xff
  }
}

export interface SqliteProcess extends AsyncDisposable {
  /**
   * Requests run one after another. Rejects with `SqliteFailure`, or with the reason of the signal: the process has then
   * been killed and its locks are released; the next request starts another.
   */
  run<Request extends DatabaseRequest>(request: Request, signal?: AbortSignal): Promise<ReplyTo[Request['kind']]>
}

export type WireReply =
  | { readonly reply: unknown }
  | { readonly failure: { readonly message: string; readonly result: number; readonly systemCode: string | undefined } }

/** A process that starts with the first request. Whoever opens it disposes of it. */
export function openSqliteProcess(): SqliteProcess {
  let child: ChildProcess | undefined
  let last: Promise<unknown> = Promise.resolve()

  async function run<Request extends DatabaseRequest>(
    request: Request,
    signal?: AbortSignal,
  ): Promise<ReplyTo[Request['kind']]> {
    signal?.throwIfAborted()
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) child = start()
    const current = child
    const abort = (): void => void current.kill('SIGKILL')
    signal?.addEventListener('abort', abort, { once: true })
    try {
      return (await exchange(current, request)) as ReplyTo[Request['kind']]
    } catch (error) {
      if (!(error instanceof SqliteFailure)) {
        await stop(current)
        child = undefined
      }
      signal?.throwIfAborted()
      throw error
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  return {
    run(request, signal) {
      const result = last.then(() => run(request, signal))
      last = result.catch(() => {}) // the caller has it; the queue goes on
      return result
    },
    async [Symbol.asyncDispose]() {
      if (child !== undefined) await stop(child)
      child = undefined
    },
  }
}

function start(): ChildProcess {
  const program = new URL(`./sqlite-process-main${extname(import.meta.url)}`, import.meta.url)
  // Without our environment and options: no secret in it is SQLite's business.
  const child = fork(program, [], {
    env: process.env.LD_LIBRARY_PATH === undefined ? {} : { LD_LIBRARY_PATH: process.env.LD_LIBRARY_PATH },
    execArgv: ['--disable-warning=ExperimentalWarning'],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    serialization: 'json',
  })
  child.on('error', () => {}) // between requests nobody waits; the next one finds the process ended and starts another
  return child
}

function exchange(child: ChildProcess, request: DatabaseRequest): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let complaint = ''
    const onComplaint = (part: Buffer): void => {
      complaint = (complaint + part.toString()).slice(-4096)
    }
    const settle = (action: () => void): void => {
      child.off('message', onMessage).off('close', onClose).off('error', onError)
      child.stderr?.off('data', onComplaint)
      action()
    }
    const onMessage = (wire: WireReply): void =>
      settle(() => {
        if ('reply' in wire) resolve(wire.reply)
        else reject(new SqliteFailure(wire.failure.message, wire.failure.result, wire.failure.systemCode))
      })
    const onClose = (code: number | null, signal: string | null): void =>
      settle(() =>
        reject(
          new ApplicationError(
            'DATABASE',
            `The process that reads databases ended with ${signal ?? `exit code ${code}`}, expected an answer`,
            { facts: { request: request.kind }, cause: new Error(complaint.trim()) },
          ),
        ),
      )
    const onError = (cause: Error): void =>
      settle(() =>
        reject(
          new ApplicationError('DATABASE', `Cannot run the process that reads databases: ${cause.message}`, { cause }),
        ),
      )
    child.on('message', onMessage).on('close', onClose).on('error', onError)
    child.stderr?.on('data', onComplaint)
    child.send(request, (error) => {
      // Closing the channel and the end of the process race; `close` says more.
      if (error !== null && child.exitCode === null && child.signalCode === null && child.connected) onError(error)
    })
  })
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const closed = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await closed
}
