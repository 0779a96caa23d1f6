import type { SnapshotId } from '../../engine/format/id.ts'
import { diffTrees, type TreeChange, type TreeDiff } from '../../engine/repository/diff-trees.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { findStored, type SnapshotChoice } from '../restore/snapshot-choice.ts'
import { findFolder } from './find-folder.ts'

/** One side of a comparison. */
export interface DiffSide {
  readonly choice: SnapshotChoice
  /** Restic's `SNAPSHOT:/folder`: only what is in it. */
  readonly subfolder?: string | undefined
}

export interface SnapshotDiff extends TreeDiff {
  readonly before: SnapshotId
  readonly after: SnapshotId
}

/** What changed from one snapshot to another, as restic's command of this name says it. */
export async function diffSnapshots(
  access: RepositoryAccess,
  options: {
    readonly before: DiffSide
    readonly after: DiffSide
    readonly metadata: boolean
    readonly signal: AbortSignal
    readonly onStart: (before: SnapshotId, after: SnapshotId) => void
    readonly onChange: (change: TreeChange) => void
    readonly onUnreadable: (message: string) => void
  },
): Promise<SnapshotDiff> {
  const { before, after, metadata, onStart, onChange, onUnreadable } = options
  return withRepository(access, { lock: 'shared', signal: options.signal }, async (plain, lockSignal) => {
    const signal = lockSignal ?? options.signal
    const one = await findStored(plain, before.choice, signal)
    const other = await findStored(plain, after.choice, signal)
    const repository = await loadIndex(plain, signal)
    const from = await findFolder(repository, one, before.subfolder, signal)
    const to = await findFolder(repository, other, after.subfolder, signal)
    onStart(one.id, other.id)
    const diff = await diffTrees(repository, from, to, {
      metadata,
      onChange,
      onUnreadable: (path, error) => onUnreadable(`Cannot compare ${path}: ${error.message}`),
      signal,
    })
    return { ...diff, before: one.id, after: other.id }
  })
}
