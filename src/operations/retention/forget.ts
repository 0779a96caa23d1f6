import type { SnapshotId } from '../../engine/format/id.ts'
import {
  applyForget,
  type ForgetOptions,
  type ForgetPlan,
  type ForgetReport,
  planForget,
} from '../../engine/repository/forget.ts'
import type { RepositoryAccess } from '../access.ts'
import { phaseOf, runInRepository, type Surroundings } from '../run-in-repository.ts'
import { type PruneChoices, type PruneRunReport, pruneSummary, pruneUnderLock } from './prune.ts'

export type ForgetChoices = Pick<ForgetOptions, 'names' | 'filter' | 'policy' | 'grouping' | 'removeAll'>

export interface ForgetRunReport {
  /** `incomplete`: some snapshots could not be removed; then nothing was pruned either. */
  readonly outcome: 'succeeded' | 'incomplete'
  readonly plan: ForgetPlan
  /** Undefined after a dry run. */
  readonly done: ForgetReport | undefined
  /** When a prune was asked for, and anything was, or would be, forgotten. */
  readonly prune: PruneRunReport | undefined
}

/**
 * Forgets the snapshots that are named, or those that the policy does not keep; with `prune` removes what only they needed, under
 * the same lock. With `dryRun` only says what it would do.
 */
export async function forget(
  access: RepositoryAccess,
  options: ForgetChoices &
    Surroundings & {
      readonly dryRun?: boolean
      readonly prune?: PruneChoices | undefined
      /** Shown what is going to happen, before anything is removed. */
      readonly onPlan?: (plan: ForgetPlan) => void
    },
): Promise<ForgetRunReport> {
  const { dryRun = false, observe } = options
  return runInRepository<ForgetRunReport>(
    access,
    { ...options, operation: 'forget', lock: 'exclusive', changes: !dryRun },
    async (repository, signal) => {
      phaseOf(observe, 'plan')
      const plan = await planForget(repository, { ...options, signal })
      options.onPlan?.(plan)
      const done = dryRun ? undefined : await remove()
      for (const { id, error } of done?.failed ?? []) {
        const message = `Snapshot ${id.slice(0, 8)} could not be removed: ${error.message}`
        observe({ type: 'finding', finding: { severity: 'error', code: 'snapshot-not-removed', message } })
      }
      for (const snapshot of done?.removed ?? []) {
        observe({ type: 'snapshot', news: { kind: 'forgotten', snapshot } })
      }
      if (done && done.failed.length > 0) return { outcome: 'incomplete', plan, done, prune: undefined }
      const without = new Set<SnapshotId>(plan.remove.map(({ id }) => id))
      const prune =
        options.prune && without.size > 0
          ? await pruneUnderLock(repository, {
              ...options.prune,
              observe,
              signal,
              dryRun,
              ...(dryRun ? { without } : {}),
            })
          : undefined
      return { outcome: prune?.outcome ?? 'succeeded', plan, done, prune }

      async function remove(): Promise<ForgetReport> {
        const progress = phaseOf(observe, 'forget')
        const total = { files: plan.remove.length, bytes: 0 }
        let files = 0
        return applyForget(repository, plan, {
          signal,
          onRemoved: () => {
            files += 1
            progress({ files, bytes: 0 }, total)
          },
        })
      }
    },
    ({ plan, done, prune }) => ({
      dry_run: done === undefined,
      groups: plan.groups.length,
      kept: plan.groups.reduce((sum, { keep }) => sum + keep.length, 0),
      removed: done?.removed ?? [],
      ...(done ? { failed: done.failed.map(({ id }) => id) } : { would_remove: plan.remove.map(({ id }) => id) }),
      ...(prune ? { prune: pruneSummary(prune) } : {}),
    }),
  )
}
