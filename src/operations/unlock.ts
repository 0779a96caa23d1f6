import { unlockRepository } from '../engine/repository/locks.ts'
import { type RepositoryAccess, withRepository } from './access.ts'

/** Removes stale locks, or every lock. Resolves with how many there were. */
export async function unlock(
  access: RepositoryAccess,
  options: { readonly all: boolean; readonly signal: AbortSignal },
): Promise<number> {
  return withRepository(access, { lock: 'none', signal: options.signal }, (repository) =>
    unlockRepository(repository, options),
  )
}
