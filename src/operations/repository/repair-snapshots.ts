import { loadIndex } from '../../engine/repository/load-index.ts'
import {
  applyRepairSnapshots,
  planRepairSnapshots,
  type RepairSnapshotsOptions,
  type RepairSnapshotsPlan,
  type RepairSnapshotsReport,
  type TreeChange,
} from '../../engine/repository/repair-snapshots.ts'
import type { RepositoryAccess } from '../access.ts'
import { phaseOf, runInRepository, type Surroundings } from '../run-in-repository.ts'

export interface RepairSnapshotsRunReport {
  /** `incomplete`: snapshot files that cannot be read, or of which nothing is left, are still there. */
  readonly outcome: 'succeeded' | 'incomplete'
  readonly plan: RepairSnapshotsPlan
  /** Undefined after a dry run. */
  readonly done: RepairSnapshotsReport | undefined
}

/**
 * Makes snapshots that miss something do without it. With `forget` the repaired ones take the place of the damaged ones, otherwise
 * both are there and the repaired ones have the tag `repaired`.
 */
export async function repairSnapshots(
  access: RepositoryAccess,
  options: Pick<RepairSnapshotsOptions, 'names' | 'filter' | 'forget'> & Surroundings & { readonly dryRun?: boolean },
): Promise<RepairSnapshotsRunReport> {
  const { observe, dryRun = false } = options
  return runInRepository<RepairSnapshotsRunReport>(
    access,
    { ...options, operation: 'repair-snapshots', lock: 'exclusive', uncached: true, changes: !dryRun },
    async (repository, signal) => {
      const progress = phaseOf(observe, 'read-trees')
      const indexed = await loadIndex(repository, signal)
      const onSnapshot = (done: number, total: number) =>
        progress({ files: done, bytes: 0 }, { files: total, bytes: 0 })
      const plan = await planRepairSnapshots(indexed, { ...options, signal, onSnapshot })
      for (const { before, changes } of plan.repairs) {
        for (const { path, change } of changes) {
          const message = `Snapshot ${before.id.slice(0, 8)}: ${path}: ${CHANGES[change]}`
          observe({ type: 'finding', finding: { severity: 'warning', code: change, message, path } })
        }
      }
      const stays = plan.unreadable.filter(({ id }) => !plan.remove.includes(id))
      for (const { id, error } of stays) {
        const hint = `\`repair snapshots --forget ${id}\` removes the file`
        observe({
          type: 'finding',
          finding: { severity: 'error', code: 'snapshot-damaged', message: error.message, hint },
        })
      }
      if (dryRun) return { outcome: 'succeeded', plan, done: undefined }
      const done = await applyRepairSnapshots(indexed, plan, { signal })
      for (const snapshot of done.removed) observe({ type: 'snapshot', news: { kind: 'forgotten', snapshot } })
      const isLeft =
        stays.length > 0 || plan.repairs.some(({ before, after }) => !after && !plan.remove.includes(before.id))
      return { outcome: isLeft ? 'incomplete' : 'succeeded', plan, done }
    },
    ({ plan, done }) => ({
      dry_run: done === undefined,
      examined: plan.examined,
      changed_snapshots: plan.repairs.length,
      unreadable: plan.unreadable.map(({ id }) => id),
      repaired: done?.repaired ?? [],
      removed: done?.removed ?? [],
    }),
  )
}

const CHANGES: Readonly<Record<TreeChange, string>> = {
  'content-lost': 'parts of its content are lost, the file is shorter now',
  'size-corrected': 'its size was not that of its content',
  'folder-emptied': 'what was in the folder cannot be read',
  'entries-dropped': 'entries that cannot be read were left out',
  'root-lost': 'nothing of the snapshot can be read',
}
