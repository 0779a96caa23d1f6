import type { SnapshotId } from '../../engine/format/id.ts'
import { applyPrune, type PruneReport } from '../../engine/repository/apply-prune.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import { type PruneOptions, planPrune } from '../../engine/repository/plan-prune.ts'
import type { PrunePlan } from '../../engine/repository/prune-plan.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import type { RepositoryAccess } from '../access.ts'
import { phaseOf, runInRepository, type Surroundings } from '../run-in-repository.ts'

export type PruneChoices = Pick<PruneOptions, 'maxUnused' | 'maxRepackSize' | 'smallerThan' | 'repackUncompressed'>

export interface PruneRunReport {
  /** `incomplete`: some packs could not be removed. They take up room, and the next prune tries again. */
  readonly outcome: 'succeeded' | 'incomplete'
  readonly plan: PrunePlan
  /** Undefined after a dry run. */
  readonly done: PruneReport | undefined
}

/** Removes what no snapshot needs. With `dryRun` only says what it would do. */
export async function prune(
  access: RepositoryAccess,
  options: PruneChoices & Surroundings & { readonly dryRun?: boolean },
): Promise<PruneRunReport> {
  const { dryRun = false, observe } = options
  return runInRepository(
    access,
    { ...options, operation: 'prune', lock: 'exclusive', changes: !dryRun },
    (repository, signal) => pruneUnderLock(repository, { ...options, observe, signal }),
    pruneSummary,
  )
}

/** The same in a repository that is open and locked exclusively. */
export async function pruneUnderLock(
  repository: Repository,
  options: PruneChoices &
    Surroundings & {
      readonly dryRun?: boolean
      /** Snapshots that would be gone by now, but for a dry run. */
      readonly without?: ReadonlySet<SnapshotId>
    },
): Promise<PruneRunReport> {
  const { observe, signal, dryRun = false } = options
  const walk = phaseOf(observe, 'find-used')
  const indexed = await loadIndex(repository, signal)
  const plan = await planPrune(indexed, { ...options, onProgress: (trees) => walk({ files: trees, bytes: 0 }) })
  if (dryRun) return { outcome: 'succeeded', plan, done: undefined }
  let progress = walk
  const done = await applyPrune(indexed, plan, {
    signal,
    onPhase: (phase) => {
      progress = phaseOf(observe, phase)
    },
    onProgress: (files, total) => progress(files, total),
  })
  for (const { pack, error } of done.leftBehind) {
    observe({
      type: 'finding',
      finding: {
        severity: 'warning',
        code: 'pack-left-behind',
        message: `Pack ${pack} is needed no longer and could not be removed: ${error.message}`,
        hint: 'Nothing is lost; the next prune removes it',
      },
    })
  }
  return { outcome: done.leftBehind.length > 0 ? 'incomplete' : 'succeeded', plan, done }
}

/** restic's names and numbers. */
export function pruneSummary({ plan, done }: PruneRunReport): Readonly<Record<string, unknown>> {
  const { blobs, bytes, packs } = plan.totals
  return {
    dry_run: done === undefined,
    blobs: {
      used: blobs.used,
      duplicate: blobs.duplicate,
      unused: blobs.unused,
      total: blobs.total,
      repack: blobs.repack,
      repack_remove: blobs.repackRemove,
      remove: blobs.remove,
      remove_total: blobs.removeTotal,
      remaining: blobs.remaining,
    },
    bytes: {
      used: bytes.used,
      duplicate: bytes.duplicate,
      unused: bytes.unused,
      unreferenced: bytes.unindexed,
      uncompressed: bytes.uncompressed,
      total: bytes.total,
      repack: bytes.repack,
      repack_remove: bytes.repackRemove,
      remove: bytes.remove,
      remove_total: bytes.removeTotal,
      remaining: bytes.remaining,
      remaining_unused: bytes.remainingUnused,
    },
    packfiles: {
      used: packs.used,
      unused: packs.unused,
      partly_used: packs.partlyUsed,
      unreferenced: packs.unindexed,
      total: packs.total,
      keep: packs.keep,
      repack: packs.repack,
      remove: packs.remove,
      remove_total: packs.removeTotal,
    },
    ...(done === undefined
      ? {}
      : {
          packs_removed: done.packsRemoved,
          bytes_removed: done.bytesRemoved,
          packs_written: done.packsWritten,
          bytes_written: done.bytesWritten,
          packs_left_behind: done.leftBehind.length,
        }),
  }
}
