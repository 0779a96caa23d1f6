import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { EngineError } from '../error.ts'
import { type LockId, parseId } from '../format/id.ts'
import { encodeLock, type LockInfo, parseLock } from '../format/lock.ts'
import { now } from '../format/timestamp.ts'
import { currentUser } from '../os/current-user.ts'
import { processLives } from '../os/process-lives.ts'
import { pathOf } from '../storage/layout.ts'
import { isDamage } from './file-problem.ts'
import type { Repository } from './repository.ts'
import { readParsed, sealUnpacked } from './unpacked-files.ts'

// Restic's protocol (format reference 10). Shared locks go together; an exclusive one goes with nothing.
//
//   acquire   read all locks; conflict → LOCKED. Write mine. Wait 200 ms. Read again; conflict → remove mine, LOCKED.
//             Reading may begin meanwhile (`early`): see `HeldLock.acquire`.
//   refresh   every 5 min: write a new lock, remove the previous
//   lost      no refresh for 22.5 min → the holder stops, for others may call the lock stale after 30
//   stale     older than 30 min, or its process on this host is gone. Only `unlock` acts on it.
//
// Beyond restic: a holder whose lock somebody removed stops at its next refresh instead of writing a new lock, since
// whoever removed it may have gone on to change what this one relies on.

export interface LockTiming {
  /** Between writing a lock and looking whether somebody else wrote one at the same time, in milliseconds like the rest. */
  readonly settle: number
  /** Between looking whether anything is due. Short, because the clock may have jumped: a machine that slept. */
  readonly tick: number
  readonly refresh: number
  readonly lost: number
  /** An unreadable lock may be one that is being written: it is tried again after each of these, then it stands in the way. */
  readonly unreadable: readonly number[]
  /** Between two attempts to get a lock that somebody else stands in the way of: the first time, and at most. */
  readonly retry: readonly [first: number, last: number]
  /** What giving a lock back may take before it is left to `unlock`. */
  readonly release: number
}

const TIMING: LockTiming = {
  settle: 200,
  tick: 5000,
  refresh: 5 * 60_000,
  lost: 22.5 * 60_000,
  unreadable: [1000, 5000, 10_000],
  retry: [5000, 60_000],
  release: 60_000,
}

const STALE_MILLISECONDS = 30 * 60_000
/** Part of a wait that is left to chance. Of two that start together and get in each other's way neither would ever get a lock. */
const RETRY_SPREAD = 0.2

export interface LockOptions {
  readonly exclusive?: boolean
  /**
   * Resolve while the lock still settles: for who only reads until `Lock.settled` has resolved. Ignored with `retryFor`, since
   * what was begun could not be begun again, and where taking the lock was so slow that reading would not be safe.
   */
  readonly early?: boolean
  /** How long to keep trying while somebody else holds a lock, in milliseconds; 0 fails at once. */
  readonly retryFor?: number
  /** Told once, before the first wait, who holds the lock. */
  readonly onWaiting?: ((error: EngineError) => void) | undefined
  readonly signal?: AbortSignal | undefined
  /** Other intervals than restic's, for tests. */
  readonly timing?: Partial<LockTiming>
}

/** A held lock. `signal` aborts when it is lost, or when the caller's own signal does: work under the lock must stop then. */
export interface Lock extends AsyncDisposable {
  readonly signal: AbortSignal
  /** Resolves once nobody else is in the way; rejects with `LOCKED` otherwise. Nothing may be written before. */
  readonly settled: Promise<void>
  /** Gives the lock back, however the caller's signal stands. Rejects when its file could not be removed. */
  release(): Promise<void>
}

/** Rejects with `LOCKED`, naming who holds the lock. */
export async function acquireLock(repository: Repository, options: LockOptions = {}): Promise<Lock> {
  const { signal, exclusive = false, early = false, retryFor = 0 } = options
  const timing = { ...TIMING, ...options.timing }
  const deadline = performance.now() + retryFor
  let [wait, longest] = timing.retry
  let said = false
  for (;;) {
    const lock = new HeldLock(repository, exclusive, timing, signal)
    try {
      await lock.acquire(early && retryFor === 0)
      return lock
    } catch (error) {
      await releaseAfter(lock, error)
      const left = deadline - performance.now()
      if (!(error instanceof EngineError && error.code === 'LOCKED') || left <= 0) throw error
      if (!said) options.onWaiting?.(error)
      said = true
      await pause(Math.min(wait * (1 - RETRY_SPREAD * Math.random()), left), signal)
      wait = Math.min(wait * 2, longest)
    }
  }
}

/**
 * Gives a lock back after what was done under it, or getting it, failed with `failure`. That failure is what the operator
 * must see: a storage that breaks down fails twice, and a lock that stays is named by the next command.
 */
export async function releaseAfter(lock: Lock, failure: unknown): Promise<void> {
  try {
    await lock.release()
  } catch (error) {
    if (!(error instanceof EngineError)) throw new AggregateError([failure, error], (error as Error).message)
  }
}

class HeldLock implements Lock {
  readonly signal: AbortSignal
  settled: Promise<void> = Promise.resolve()
  readonly #repository: Repository
  readonly #exclusive: boolean
  readonly #timing: LockTiming
  readonly #lost = new AbortController()
  readonly #released = new AbortController()
  /**
   * Lock files of this one that may be there, the one in force last. Noted before they are written: a write that failed
   * may have happened all the same, and what is not noted would never be removed.
   */
  readonly #files = new Set<LockId>()
  /** When the lock in force was dated: others judge its age by that. */
  #refreshedAt = 0
  #refreshing: Promise<void> | undefined
  #lastFailure: unknown
  #timer: NodeJS.Timeout | undefined

  constructor(repository: Repository, exclusive: boolean, timing: LockTiming, signal: AbortSignal | undefined) {
    this.#repository = repository
    this.#exclusive = exclusive
    this.#timing = timing
    this.signal = signal ? AbortSignal.any([signal, this.#lost.signal]) : this.#lost.signal
  }

  /**
   * With `early` it resolves while the lock settles. What is read from then on is as right as what is read after it: whoever
   * wrote a lock that the first look did not show looks again a settling time after writing it, finds this one, which was
   * there by then, and does nothing. That holds only if this one was written within the settling time of the first look; half
   * of it leaves room for clocks and listings that lag.
   */
  async acquire(early: boolean): Promise<void> {
    const begun = performance.now()
    await this.#rejectConflict(this.signal)
    // `restic unlock` asks whether a holder lives by sending SIGHUP, which kills a process that does not handle it: from
    // before the lock can be seen until after it is gone.
    process.on('SIGHUP', ignoreHangup)
    await this.#write(this.signal)
    const isInTime = performance.now() - begun < this.#timing.settle / 2
    this.settled = this.#settle()
    // Who began early may have failed by then, and not wait for it any more.
    this.settled.catch(() => {})
    if (!(early && isInTime)) await this.settled
  }

  async #settle(): Promise<void> {
    const signal = AbortSignal.any([this.signal, this.#released.signal])
    try {
      await pause(this.#timing.settle, signal)
      await this.#rejectConflict(signal)
      signal.throwIfAborted()
    } catch (error) {
      this.#lost.abort(error)
      throw error
    }
    this.#timer = setInterval(() => this.#tick(), this.#timing.tick)
    this.#timer.unref()
  }

  async release(): Promise<void> {
    this.#released.abort(new EngineError('INTERRUPTED', 'The lock is given back'))
    await this.settled.catch(() => {}) // told to who waits for it
    clearInterval(this.#timer)
    await this.#refreshing
    // Not under the caller's signal: an interrupted operation must still give its lock back.
    const timeout = AbortSignal.timeout(this.#timing.release)
    const results = await Promise.allSettled([...this.#files].map((id) => this.#remove(id, timeout)))
    process.off('SIGHUP', ignoreHangup)
    const failed = results.find((result) => result.status === 'rejected')
    if (!failed) return
    const cause: unknown = failed.reason
    if (!(cause instanceof EngineError) && cause !== timeout.reason) throw cause
    throw new EngineError(
      cause instanceof EngineError ? cause.code : 'STORAGE',
      `Cannot give back the lock on the repository at ${this.#repository.storage.location}: ${(cause as Error).message}`,
      {
        facts: { locks: [...this.#files] },
        hint: 'What was done under the lock is done. Run `holdfast unlock` once the storage can be written again',
        cause,
      },
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release()
  }

  #tick(): void {
    const age = Date.now() - this.#refreshedAt
    if (age >= this.#timing.lost) {
      this.#lose(`it could not be refreshed for ${Math.round(age / 60_000)} minutes`, this.#lastFailure)
    } else if (age >= this.#timing.refresh) {
      this.#refreshing ??= this.#refresh().finally(() => {
        this.#refreshing = undefined
      })
    }
  }

  /** Never rejects: what fails is tried again at the next tick, and others honour the lock meanwhile. */
  async #refresh(): Promise<void> {
    const signal = this.#released.signal
    try {
      const current = [...this.#files].at(-1)!
      if (!(await this.#exists(current, signal))) return this.#lose('somebody removed it')
      await this.#write(signal)
      for (const id of [...this.#files].slice(0, -1)) await this.#remove(id, signal)
    } catch (error) {
      this.#lastFailure = error
    }
  }

  #lose(reason: string, cause?: unknown): void {
    clearInterval(this.#timer)
    this.#lost.abort(
      new EngineError('LOCKED', `Lost the lock on the repository at ${this.#repository.storage.location}: ${reason}`, {
        hint: 'Check that the storage can be written and that nobody unlocks it, then run the command again',
        cause,
      }),
    )
  }

  async #write(signal: AbortSignal): Promise<void> {
    const time = now()
    const info: LockInfo = {
      time,
      exclusive: this.#exclusive,
      hostname: hostname(),
      pid: process.pid,
      ...currentUser(),
    }
    const { name, content } = sealUnpacked(this.#repository, 'lock', encodeLock(info))
    const inForce = [...this.#files].at(-1)
    this.#files.add(name.id)
    try {
      await this.#repository.storage.write(name, content, signal)
    } catch (error) {
      // The one before stays in force, so it stays last.
      if (inForce !== undefined && this.#files.delete(inForce)) this.#files.add(inForce)
      throw error
    }
    this.#refreshedAt = milliseconds(info)
  }

  async #remove(id: LockId, signal: AbortSignal): Promise<void> {
    await this.#repository.storage.remove({ type: 'lock', id }, signal)
    this.#files.delete(id)
  }

  async #exists(id: LockId, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#repository.storage.size({ type: 'lock', id }, signal)
      return true
    } catch (error) {
      if (error instanceof EngineError && error.code === 'NOT_FOUND') return false
      throw error
    }
  }

  async #rejectConflict(signal: AbortSignal): Promise<void> {
    for await (const { id, info } of readLocks(this.#repository, this.#files, this.#timing, signal)) {
      if (!this.#exclusive && !info.exclusive) continue
      throw lockedBy(this.#repository, id, info)
    }
  }
}

function ignoreHangup(): void {}

/** Rejects with the reason of the signal, where Node's own rejects with an error around it. */
async function pause(duration: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(duration, undefined, { signal })
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  }
}

function lockedBy({ storage }: Repository, id: LockId, info: LockInfo): EngineError {
  const { username, hostname: host, pid, exclusive } = info
  const since = new Date(milliseconds(info)).toISOString()
  const holder = `${username || 'somebody'} on ${host || 'an unnamed host'} (process ${pid})`
  return new EngineError(
    'LOCKED',
    `Cannot lock the repository at ${storage.location}: ${holder} holds ${exclusive ? 'an exclusive' : 'a'} lock since ${since}`,
    {
      facts: { lock: id, hostname: host, username, pid, exclusive, since },
      hint: isStale(info)
        ? 'Its process is gone, or silent for half an hour: `holdfast unlock` removes such locks'
        : 'Wait for it to finish, or let `--retry-lock` wait; a lock that nobody holds any more is removed by `holdfast unlock`',
    },
  )
}

/** Those of others. */
async function* readLocks(
  repository: Repository,
  own: ReadonlySet<LockId>,
  timing: LockTiming,
  signal: AbortSignal,
): AsyncGenerator<{ readonly id: LockId; readonly info: LockInfo }> {
  for await (const { name, size } of repository.storage.list('lock', signal)) {
    if (size === 0) continue // restic ignores these: a write that got no further than its name
    const id = parseId<LockId>(name.id)
    if (own.has(id)) continue
    const info = await readLock(repository, id, timing, signal)
    if (info) yield { id, info }
  }
}

/** Null when the lock is gone by now. */
async function readLock(
  repository: Repository,
  id: LockId,
  timing: LockTiming,
  signal: AbortSignal,
): Promise<LockInfo | null> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await readParsed(repository, 'lock', id, parseLock, signal)
    } catch (error) {
      if (!isDamage(error)) throw error
      if (error.code === 'NOT_FOUND') return null
      const wait = timing.unreadable[attempt]
      if (wait === undefined) {
        throw new EngineError('LOCKED', `Cannot tell whether the repository is in use: ${error.message}`, {
          facts: { lock: id, file: pathOf({ type: 'lock', id }) },
          hint: 'When no other program uses the repository, `holdfast unlock --remove-all` removes the lock',
          cause: error,
        })
      }
      await pause(wait, signal)
    }
  }
}

/** Format reference 10: older than half an hour, or left by a process of this host that is no more. */
function isStale(lock: LockInfo): boolean {
  if (Date.now() - milliseconds(lock) > STALE_MILLISECONDS) return true
  return lock.hostname === hostname() && !processLives(lock.pid)
}

function milliseconds(lock: LockInfo): number {
  return Number(lock.time.ns / 1_000_000n)
}

export interface UnlockOptions {
  /** Also locks that are held, and those that cannot be read. */
  readonly all?: boolean
  readonly signal?: AbortSignal | undefined
}

/** Removes stale locks, or all of them. Resolves with how many; a lock that cannot be read counts as stale only with `all`. */
export async function unlockRepository(repository: Repository, options: UnlockOptions = {}): Promise<number> {
  const { all = false, signal } = options
  let removed = 0
  for await (const { name } of repository.storage.list('lock', signal)) {
    if (!all && !(await isRemovable(repository, parseId<LockId>(name.id), signal))) continue
    await repository.storage.remove(name, signal)
    removed += 1
  }
  return removed
}

async function isRemovable(repository: Repository, id: LockId, signal: AbortSignal | undefined): Promise<boolean> {
  try {
    return isStale(await readParsed(repository, 'lock', id, parseLock, signal))
  } catch (error) {
    if (isDamage(error)) return false
    throw error
  }
}
