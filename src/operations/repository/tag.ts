import type { SnapshotId } from '../../engine/format/id.ts'
import { applyTags, planTags, type TagChange, type TagPlan } from '../../engine/repository/change-tags.ts'
import type { SnapshotsWanted } from '../../engine/repository/load-snapshots.ts'
import type { RepositoryAccess } from '../access.ts'
import { OperationError } from '../error.ts'
import { phaseOf, runInRepository, type Surroundings } from '../run-in-repository.ts'

export interface TagRunReport {
  readonly outcome: 'succeeded'
  readonly plan: TagPlan
  /** A snapshot with other tags is another file: these are its old and its new ID. Empty after a dry run. */
  readonly changed: readonly { readonly from: SnapshotId; readonly to: SnapshotId }[]
}

/** Changes the tags of the snapshots that are named or fit the filter; of all, when neither is given. */
export async function tag(
  access: RepositoryAccess,
  options: SnapshotsWanted & Surroundings & { readonly change: TagChange; readonly dryRun?: boolean },
): Promise<TagRunReport> {
  const { names, filter, change, observe, dryRun = false } = options
  return runInRepository<TagRunReport>(
    access,
    { ...options, operation: 'tag', lock: 'exclusive', changes: !dryRun },
    async (repository, signal) => {
      assertChange(change)
      const plan = await planTags(repository, change, { names, filter, signal })
      if (dryRun) return { outcome: 'succeeded', plan, changed: [] }
      const progress = phaseOf(observe, 'tag')
      const total = { files: plan.changes.length, bytes: 0 }
      let files = 0
      const onChanged = () => {
        files += 1
        progress({ files, bytes: 0 }, total)
      }
      const { changed } = await applyTags(repository, plan, { signal, onChanged })
      for (const { from, to } of changed) {
        observe({ type: 'snapshot', news: { kind: 'renamed', snapshot: from, to } })
      }
      return { outcome: 'succeeded', plan, changed }
    },
    ({ plan, changed }) => ({ dry_run: dryRun, changed_snapshots: plan.changes.length, changed }),
  )
}

function assertChange(change: TagChange): void {
  const asked = 'set' in change ? change.set : [...(change.add ?? []), ...(change.remove ?? [])]
  if (asked.length > 0) return
  throw new OperationError('USAGE', 'Cannot change tags: nobody said which', { hint: 'Give --set, --add or --remove' })
}
