import type { EngineError } from '../error.ts'
import type { SnapshotId } from '../format/id.ts'
import type { Repository } from './repository.ts'
import {
  byTime,
  findSnapshot,
  fitsFilter,
  readSnapshots,
  type SnapshotFilter,
  type StoredSnapshot,
} from './snapshots.ts'

export interface SnapshotsWanted {
  /** IDs or their beginnings, or `latest`; none asks for everything that fits the filter. */
  readonly names?: readonly string[] | undefined
  readonly filter?: SnapshotFilter | undefined
}

/**
 * The snapshots that are meant, each once, oldest first. Rejects at the first that cannot be read: whether it is one of them
 * nobody knows. A caller that only looks takes note of it and gets the others.
 */
export async function loadSnapshots(
  repository: Repository,
  wanted: SnapshotsWanted,
  signal?: AbortSignal,
  onUnreadable?: (id: SnapshotId, error: EngineError) => void,
): Promise<StoredSnapshot[]> {
  const { names = [], filter = {} } = wanted
  const found = new Map<string, StoredSnapshot>()
  for (const name of names) {
    const stored = await findSnapshot(repository, { name, ...filter }, signal)
    found.set(stored.id, stored)
  }
  if (names.length === 0) {
    for await (const result of readSnapshots(repository, signal)) {
      if ('error' in result) {
        if (!onUnreadable) throw result.error
        onUnreadable(result.id, result.error)
      } else if (fitsFilter(result.snapshot, filter)) found.set(result.id, result)
    }
  }
  return [...found.values()].sort(byTime)
}
