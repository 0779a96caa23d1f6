import type { CodedError } from '../../engine/error.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import { loadSnapshots, type SnapshotsWanted } from '../../engine/repository/load-snapshots.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
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

export interface ListSnapshotsOptions extends SnapshotsWanted {
  /** Read their manifests too: that takes the index and some blobs of each. */
  readonly manifests?: boolean
  readonly signal: AbortSignal
}

export async function listSnapshots(access: RepositoryAccess, options: ListSnapshotsOptions): Promise<SnapshotList> {
  const { names, filter, signal } = options
  return withRepository(access, { lock: 'shared', early: true, signal }, async (repository, lockSignal) => {
    const unreadable: { id: string; error: CodedError }[] = []
    const found = await loadSnapshots(repository, { names, filter }, lockSignal, (id, error) => {
      unreadable.push({ id, error })
    })
    const snapshots = options.manifests ? await withManifests(repository, found, lockSignal) : found
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
