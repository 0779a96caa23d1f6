import type { SnapshotId } from '../format/id.ts'
import { loadSnapshots, type SnapshotsWanted } from './load-snapshots.ts'
import type { Repository } from './repository.ts'
import { type StoredSnapshot, writeSnapshot } from './snapshots.ts'

/** Either what the tags shall be, or what is added and removed. */
export type TagChange =
  | { readonly set: readonly string[] }
  | { readonly add?: readonly string[] | undefined; readonly remove?: readonly string[] | undefined }

export interface TagPlan {
  readonly changes: readonly { readonly before: StoredSnapshot; readonly tags: readonly string[] }[]
}

/** Which snapshots get other tags. Rejects at the first that cannot be read. */
export async function planTags(
  repository: Repository,
  change: TagChange,
  wanted: SnapshotsWanted & { readonly signal?: AbortSignal | undefined } = {},
): Promise<TagPlan> {
  const snapshots = await loadSnapshots(repository, wanted, wanted.signal)
  const changes = snapshots.map((before) => ({ before, tags: tagsAfter(before.snapshot.tags, change) }))
  return { changes: changes.filter(({ before, tags }) => !isSame(before.snapshot.tags, tags)) }
}

function tagsAfter(tags: readonly string[], change: TagChange): string[] {
  if ('set' in change) return distinct(change.set)
  const remove = change.remove ?? []
  return distinct([...tags, ...(change.add ?? [])]).filter((tag) => !remove.includes(tag))
}

/** The empty tag stands for having none. */
function distinct(tags: readonly string[]): string[] {
  return [...new Set(tags)].filter((tag) => tag !== '')
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((tag, i) => tag === b[i])
}

/**
 * Stores each snapshot anew, then removes the old file: what is cut short in between leaves both, and no snapshot less. The new one
 * names the first of its line as `original`. Needs the exclusive lock.
 */
export async function applyTags(
  repository: Repository,
  plan: TagPlan,
  options: {
    readonly signal?: AbortSignal | undefined
    readonly onChanged?: (from: SnapshotId, to: SnapshotId) => void
  } = {},
): Promise<{ readonly changed: readonly { readonly from: SnapshotId; readonly to: SnapshotId }[] }> {
  const { signal, onChanged } = options
  const changed: { from: SnapshotId; to: SnapshotId }[] = []
  for (const { before, tags } of plan.changes) {
    const { id, snapshot } = before
    const to = await writeSnapshot(repository, { ...snapshot, tags, original: snapshot.original ?? id }, signal)
    await repository.storage.remove({ type: 'snapshot', id }, signal)
    changed.push({ from: id, to })
    onChanged?.(id, to)
  }
  return { changed }
}
