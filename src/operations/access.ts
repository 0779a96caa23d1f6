import { EngineError } from '../engine/error.ts'
import { acquireLock, releaseAfter } from '../engine/repository/locks.ts'
import { openRepository, type Repository } from '../engine/repository/repository.ts'
import { storageFor } from '../engine/storage/open-storage.ts'
import type { Storage } from '../engine/storage/storage.ts'

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
  /** Reads without a lock: for copies on read-only media. */
  readonly noLock?: boolean
}

export type LockKind = 'shared' | 'exclusive' | 'none'

/**
 * Opens the repository, holds its lock while `task` runs and gives it back however that ends. The signal that `task` gets
 * also aborts when the lock is lost: what works under the lock must stop then.
 */
export async function withRepository<R>(
  access: RepositoryAccess,
  options: { readonly lock: LockKind; readonly signal?: AbortSignal | undefined },
  task: (repository: Repository, signal: AbortSignal | undefined) => Promise<R>,
): Promise<R> {
  const { signal } = options
  const repository = await open(access, signal)
  if (options.lock === 'none' || access.noLock) return task(repository, signal)
  const lock = await acquireLock(repository, {
    exclusive: options.lock === 'exclusive',
    retryFor: access.retryLock ?? 0,
    signal,
  })
  let result: R
  try {
    result = await task(repository, lock.signal)
  } catch (error) {
    await releaseAfter(lock, error)
    throw error
  }
  await lock.release()
  return result
}

async function open(access: RepositoryAccess, signal: AbortSignal | undefined): Promise<Repository> {
  const storage = storageAt(access)
  try {
    return await openRepository(storage, { password: access.password, signal })
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
