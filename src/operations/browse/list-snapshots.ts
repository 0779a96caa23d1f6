import type { CodedError } from '../../engine/error.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import {
  byTime,
  fitsFilter,
  readSnapshots,
  type SnapshotFilter,
  type StoredSnapshot,
} from '../../engine/repository/snapshots.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import type { Manifest } from '../manifest.ts'
import { readManifest } from '../snapshot-files.ts'

export interface ListedSnapshot extends StoredSnapshot {
  /** What it says about itself; only when asked for, and not of snapshots that say nothing. */
  readonly manifest?: Manifest | undefined
}

export interface SnapshotList {
  /** Oldest first. */
  readonly snapshots: readonly ListedSnapshot[]
  readonly unreadable: readonly { readonly id: string; readonly error: CodedError }[]
}

export interface ListSnapshotsOptions {
  readonly filter: SnapshotFilter
  /** Read their manifests too: that takes the index and some blobs of each. */
  readonly manifests?: boolean
  readonly signal: AbortSignal
}

export async function listSnapshots(access: RepositoryAccess, options: ListSnapshotsOptions): Promise<SnapshotList> {
  const { filter, signal } = options
  return withRepository(access, { lock: 'shared', signal }, async (repository, lockSignal) => {
    const found: StoredSnapshot[] = []
    const unreadable: { id: string; error: CodedError }[] = []
    for await (const result of readSnapshots(repository, lockSignal)) {
      if ('error' in result) unreadable.push(result)
      else if (fitsFilter(result.snapshot, filter)) found.push(result)
    }
    const sorted = found.sort(byTime)
    const snapshots = options.manifests ? await withManifests(repository, sorted, lockSignal) : sorted
    return { snapshots, unreadable }
  })
}

async function withManifests(
  repository: Repository,
  snapshots: readonly StoredSnapshot[],
  signal: AbortSignal | undefined,
): Promise<ListedSnapshot[]> {
  const indexed = await loadIndex(repository, signal)
  const listed: ListedSnapshot[] = []
  for (const stored of snapshots) listed.push({ ...stored, manifest: await readManifest(indexed, stored, signal) })
  return listed
}
