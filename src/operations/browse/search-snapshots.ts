import type { EngineError } from '../../engine/error.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import { loadSnapshots, type SnapshotsWanted } from '../../engine/repository/load-snapshots.ts'
import type { IndexedRepository } from '../../engine/repository/repository.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { pathIn, type WalkedFolder } from '../../engine/repository/walk-paths.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'

export interface SearchOptions extends SnapshotsWanted {
  /** Oldest snapshot first; otherwise the newest. */
  readonly reverse?: boolean
  readonly signal: AbortSignal
  /** Of a snapshot or a folder that cannot be read. What else there is is searched all the same. */
  readonly onUnreadable: (message: string) => void
}

export interface Search {
  readonly repository: IndexedRepository
  /** In the order in which they are to be searched. */
  readonly snapshots: readonly StoredSnapshot[]
  readonly signal: AbortSignal
  unreadable(stored: StoredSnapshot, folder: WalkedFolder<unknown>, error: EngineError): void
}

/** Runs a search under the lock of the repository. */
export async function searchSnapshots<R>(
  access: RepositoryAccess,
  options: SearchOptions,
  search: (search: Search) => Promise<R>,
): Promise<R> {
  const { names, filter, reverse = false, onUnreadable } = options
  return withRepository(access, { lock: 'shared', signal: options.signal }, async (plain, lockSignal) => {
    const signal = lockSignal ?? options.signal
    const snapshots = await loadSnapshots(plain, { names, filter }, signal, (_, error) => onUnreadable(error.message))
    return search({
      repository: await loadIndex(plain, signal),
      snapshots: reverse ? snapshots : snapshots.toReversed(),
      signal,
      unreadable: ({ id }, folder, error) =>
        onUnreadable(`Folder ${pathIn(folder)} of snapshot ${id.slice(0, 8)} cannot be read: ${error.message}`),
    })
  })
}
