import { EngineError } from '../engine/error.ts'
import { acquireLock, type Lock, releaseAfter } from '../engine/repository/locks.ts'
import { openRepository, type Repository } from '../engine/repository/repository.ts'
import { isLocal, storageFor } from '../engine/storage/open-storage.ts'
import type { Storage } from '../engine/storage/storage.ts'
import { writesAfter } from '../engine/storage/writes-after.ts'

/** How an operation gets at a repository. */
export interface RepositoryAccess {
  /** Absolute local path, or `s3:…`, `sftp:…`, `rest:…`, `rclone:…`. */
  readonly location: string
  /** A storage of the caller's own, in place of the one at the location. */
  readonly storage?: Storage
  /** Asked for once, when the repository is opened. */
  readonly password: () => Promise<Buffer>
  /** How long to wait for somebody else's lock, in milliseconds; 0 fails at once. */
  readonly retryLock?: number
  /** Told once when it waits, and for whom. */
  readonly onWaiting?: (error: EngineError) => void
  /** Reads without a lock: for copies on read-only media. */
  readonly noLock?: boolean
  /** Keeps index, snapshots and trees on this machine; without it nothing is kept. */
  readonly cache?: RepositoryCache | undefined
  /** The repository that is being opened already; see `openAhead`. */
  readonly opening?: OpeningRepository
}

export interface OpeningRepository {
  readonly repository: Promise<Repository>
  /** Resolves, and never rejects, when no other thread works on it any more: from then on it is waited for. */
  readonly derived: Promise<void>
}

export interface RepositoryCache {
  /** Holds the caches of all repositories. */
  readonly folder: string
  /** Also of a repository in a local folder: it may be mounted from far away. */
  readonly always: boolean
  /** First removes what belongs to repositories that were not used for 30 days. */
  readonly cleanUp: boolean
  readonly onProblem: (error: EngineError) => void
}

export type LockKind = 'shared' | 'exclusive' | 'none'

/**
 * Opens the repository, holds its lock while `task` runs and gives it back however that ends. The signal that `task` gets
 * also aborts when the lock is lost: what works under the lock must stop then.
 */
export async function withRepository<R>(
  access: RepositoryAccess,
  options: {
    readonly lock: LockKind
    /** Without the cache: for what is to find out how things stand in the storage itself. */
    readonly uncached?: boolean
    /**
     * Begin `task` while the lock settles, which spares that wait. What it writes into the repository waits, and its result is
     * handed out only after; before it does anything else that is not harmless when somebody else's lock stops it, it waits
     * for `settled`.
     */
    readonly early?: boolean
    readonly signal?: AbortSignal | undefined
  },
  task: (repository: Repository, signal: AbortSignal | undefined, settled: Promise<void>) => Promise<R>,
): Promise<R> {
  const { signal } = options
  const opened = await open(access, signal)
  const prepared = (repository: Repository) => (options.uncached ? repository : cached(repository, access))
  if (options.lock === 'none' || access.noLock) return task(await prepared(opened), signal, Promise.resolve())
  const lock = await acquireLock(opened, {
    exclusive: options.lock === 'exclusive',
    early: options.early ?? false,
    retryFor: access.retryLock ?? 0,
    onWaiting: access.onWaiting,
    signal,
  })
  let result: R
  try {
    const repository = await prepared({ ...opened, storage: writesAfter(opened.storage, lock.settled) })
    result = await task(repository, lock.signal, lock.settled)
    await lock.settled
  } catch (error) {
    // What failed while somebody else was at work failed because of that.
    const reason = options.early ? ((await conflictOf(lock)) ?? error) : error
    await releaseAfter(lock, reason)
    throw reason
  }
  await lock.release()
  return result
}

/** Who else turned up while the lock settled. */
async function conflictOf(lock: Lock): Promise<unknown> {
  try {
    await lock.settled
    return undefined
  } catch (error) {
    return error instanceof EngineError && error.code === 'LOCKED' ? error : undefined
  }
}

async function cached(repository: Repository, { cache, location, storage }: RepositoryAccess): Promise<Repository> {
  if (cache === undefined || !(cache.always || (storage === undefined && !isLocal(location)))) return repository
  const { withCache, cleanUpCache } = await import('../engine/storage/cache.ts')
  if (cache.cleanUp) await cleanUpCache(cache.folder)
  const { onProblem } = cache
  return {
    ...repository,
    storage: withCache(repository.storage, cache.folder, { repository: repository.config.id, onProblem }),
  }
}

/**
 * Begins to open the repository, for who has something to do while another thread derives its key: resolves when that has begun, or
 * when there is nothing to wait for. What goes wrong is said to who uses the access then.
 */
export async function openAhead(access: RepositoryAccess, signal: AbortSignal | undefined): Promise<RepositoryAccess> {
  const underWay = Promise.withResolvers<{ readonly derived: Promise<void> }>()
  const repository = open(access, signal, (derived) => underWay.resolve({ derived }))
  const over = () => underWay.resolve({ derived: Promise.resolve() })
  repository.then(over, over)
  return { ...access, opening: { repository, ...(await underWay.promise) } }
}

async function open(
  access: RepositoryAccess,
  signal: AbortSignal | undefined,
  onDerivation?: (derived: Promise<void>) => void,
): Promise<Repository> {
  if (access.opening) return access.opening.repository
  const storage = storageAt(access)
  try {
    return await openRepository(storage, { password: access.password, onDerivation, signal })
  } catch (cause) {
    if (!(cause instanceof EngineError && cause.code === 'NOT_A_DIRECTORY')) throw cause
    throw new EngineError('NOT_A_DIRECTORY', `No repository at ${storage.location}: part of its path is not a folder`, {
      facts: { location: storage.location },
      hint: 'Name the folder of a repository, which holds its file config',
      cause,
    })
  }
}

export function storageAt({ location, storage }: Pick<RepositoryAccess, 'location' | 'storage'>): Storage {
  return storage ?? storageFor(location)
}
