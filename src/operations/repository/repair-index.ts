import {
  applyRepairIndex,
  planRepairIndex,
  type RepairIndexPlan,
  type RepairIndexReport,
} from '../../engine/repository/repair-index.ts'
import type { RepositoryAccess } from '../access.ts'
import { phaseOf, runInRepository, type Surroundings } from '../run-in-repository.ts'

export interface RepairIndexRunReport {
  /** `incomplete`: packs are damaged, and are for `repair packs`. */
  readonly outcome: 'succeeded' | 'incomplete'
  readonly plan: RepairIndexPlan
  /** Undefined after a dry run, and when there was nothing to repair. */
  readonly done: RepairIndexReport | undefined
}

/** Makes the index say what the packs hold. With `readAllPacks` nothing that it says now is believed of a pack that can be read. */
export async function repairIndex(
  access: RepositoryAccess,
  options: Surroundings & { readonly readAllPacks?: boolean; readonly dryRun?: boolean },
): Promise<RepairIndexRunReport> {
  const { observe, dryRun = false, readAllPacks } = options
  return runInRepository<RepairIndexRunReport>(
    access,
    { ...options, operation: 'repair-index', lock: 'exclusive', uncached: true, changes: !dryRun },
    async (repository, signal) => {
      phaseOf(observe, 'plan')
      const plan = await planRepairIndex(repository, { readAllPacks, signal })
      for (const { id, error } of plan.damaged) {
        observe({
          type: 'finding',
          finding: { severity: 'warning', code: 'index-damaged', message: `Index ${id}: ${error.message}` },
        })
      }
      for (const pack of plan.missing) {
        const message = `Pack ${pack} is in the index and not in the storage: the index forgets it`
        observe({
          type: 'finding',
          finding: { severity: 'warning', code: 'pack-missing', message, hint: REPAIR_SNAPSHOTS },
        })
      }
      if (dryRun || !plan.isNeeded) return { outcome: 'succeeded', plan, done: undefined }
      const onProgress = phaseOf(observe, 'read-headers')
      const done = await applyRepairIndex(repository, plan, { signal, onProgress })
      for (const { pack, error } of done.unreadable) {
        const message = `Pack ${pack} has no header that can be read: ${error.message}`
        observe({ type: 'finding', finding: { severity: 'error', code: 'pack-damaged', message, hint: REPAIR_PACKS } })
      }
      return { outcome: done.unreadable.length > 0 ? 'incomplete' : 'succeeded', plan, done }
    },
    ({ plan, done }) => ({
      dry_run: dryRun,
      index_files_damaged: plan.damaged.length,
      packs_to_read: plan.read.length,
      packs_missing: plan.missing.length,
      packs_listed_twice: plan.duplicates,
      packs_indexed: done?.indexed ?? 0,
      packs_unreadable: done?.unreadable.map(({ pack }) => pack) ?? [],
      index_files_written: done?.filesWritten ?? 0,
      index_files_removed: done?.filesRemoved ?? 0,
    }),
  )
}

const REPAIR_SNAPSHOTS =
  'Bring the file back from a copy of the repository if there is one; otherwise `repair snapshots` gives up what was in it'
const REPAIR_PACKS = '`repair packs` with its ID salvages what is intact in it'
