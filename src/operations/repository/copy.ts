import { applyCopy, type CopyPlan, type CopyReport, planCopy } from '../../engine/repository/copy-snapshots.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import { loadSnapshots, type SnapshotsWanted } from '../../engine/repository/load-snapshots.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { phaseOf, requireLock, type Surroundings } from '../run-in-repository.ts'
import { runOperation } from '../run-operation.ts'

export interface CopyRunReport {
  readonly outcome: 'succeeded'
  readonly plan: CopyPlan
  /** Undefined after a dry run. */
  readonly done: CopyReport | undefined
}

/** Copies the snapshots, all unless some are named or filtered, that the other repository does not have yet. */
export async function copy(
  from: RepositoryAccess,
  to: RepositoryAccess,
  options: SnapshotsWanted & Surroundings & { readonly dryRun?: boolean },
): Promise<CopyRunReport> {
  const { names, filter, dryRun = false, observe } = options
  return runOperation<CopyRunReport>(
    { operation: 'copy', subject: `${from.location} → ${to.location}`, observe, signal: options.signal },
    () => {
      if (!dryRun) requireLock(to, 'copy')
      return withRepository(from, { lock: 'shared', signal: options.signal }, (source, sourceSignal) =>
        withRepository(to, { lock: 'shared', signal: sourceSignal }, async (destination, bothSignal) => {
          const signal = bothSignal ?? options.signal
          const walk = phaseOf(observe, 'compare')
          // Snapshots before the index: whoever publishes one meanwhile has published its index first.
          const snapshots = await loadSnapshots(source, { names, filter }, signal)
          const indexedSource = await loadIndex(source, signal)
          const indexedDestination = await loadIndex(destination, signal)
          const onTrees = (trees: number) => walk({ files: trees, bytes: 0 })
          const plan = await planCopy(indexedSource, indexedDestination, snapshots, { signal, onTrees })
          if (dryRun) return { outcome: 'succeeded', plan, done: undefined }
          const onProgress = phaseOf(observe, 'copy')
          const done = await applyCopy(indexedSource, indexedDestination, plan, { signal, onProgress })
          return { outcome: 'succeeded', plan, done }
        }),
      )
    },
    ({ plan, done }) => ({
      dry_run: done === undefined,
      copied: done?.copied ?? [],
      present: plan.present.length,
      to_copy: plan.batches.flatMap(({ snapshots }) => snapshots.map(({ id }) => id)),
      blobs: plan.batches.reduce((sum, { blobs }) => sum + blobs, 0),
      bytes: plan.batches.reduce((sum, { bytes }) => sum + bytes, 0),
      same_key: plan.sameKey,
      same_chunker: plan.sameChunker,
    }),
  )
}
