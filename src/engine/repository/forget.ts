import { mapConcurrent } from '../concurrency.ts'
import { CodedError, EngineError } from '../error.ts'
import type { SnapshotId } from '../format/id.ts'
import { loadSnapshots } from './load-snapshots.ts'
import type { Repository } from './repository.ts'
import { applyPolicy, isEmptyPolicy, type KeptSnapshot, type RetentionPolicy } from './retention-policy.ts'
import { DEFAULT_GROUPING, groupSnapshots, type SnapshotGrouping, type SnapshotGroupKey } from './snapshot-groups.ts'
import type { SnapshotFilter, StoredSnapshot } from './snapshots.ts'

export interface ForgetGroup extends SnapshotGroupKey {
  /** Newest first. */
  readonly keep: readonly KeptSnapshot[]
  /** Newest first. */
  readonly remove: readonly StoredSnapshot[]
}

export interface ForgetPlan {
  /** What the policy says of each group; empty when snapshots were named. */
  readonly groups: readonly ForgetGroup[]
  /** Every snapshot that goes. */
  readonly remove: readonly StoredSnapshot[]
}

export interface ForgetOptions {
  /** IDs or their beginnings, or `latest`: these go, and no policy is asked. */
  readonly names?: readonly string[] | undefined
  /** Which snapshots the policy is about; with `latest`, which is meant. */
  readonly filter?: SnapshotFilter | undefined
  readonly policy?: RetentionPolicy | undefined
  readonly grouping?: SnapshotGrouping | undefined
  /** Without a policy, and only together with a filter: everything that fits the filter goes. */
  readonly removeAll?: boolean | undefined
  /** ns since the epoch */
  readonly now?: bigint
  readonly signal?: AbortSignal | undefined
}

/**
 * Which snapshots restic's `forget` would remove, and why the others stay. Rejects with `REFUSED` when there is no policy, or when
 * it would leave nothing of a group; with `CORRUPT` when a snapshot cannot be read: what a policy counts must be known.
 */
export async function planForget(repository: Repository, options: ForgetOptions): Promise<ForgetPlan> {
  const { names = [], filter = {}, policy = {}, signal } = options
  if (names.length > 0) return { groups: [], remove: await loadSnapshots(repository, { names, filter }, signal) }
  const isEmpty = isEmptyPolicy(policy)
  if (isEmpty) assertRemoveAll(options.removeAll ?? false, filter)
  const now = options.now ?? BigInt(Date.now()) * 1_000_000n
  const snapshots = await loadSnapshots(repository, { filter }, signal)
  const groups = groupSnapshots(snapshots, options.grouping ?? DEFAULT_GROUPING).map(
    ({ snapshots: members, ...key }) => ({
      ...key,
      ...applyPolicy(members, policy, now),
    }),
  )
  const emptied = groups.find(({ keep }) => keep.length === 0)
  if (emptied && !isEmpty) throw emptiedGroup(emptied)
  return { groups, remove: groups.flatMap(({ remove }) => remove) }
}

function assertRemoveAll(removeAll: boolean, { hosts = [], tags = [], paths = [] }: SnapshotFilter): void {
  const isFiltered = hosts.length + tags.length + paths.length > 0
  if (removeAll && isFiltered) return
  throw new EngineError(
    'REFUSED',
    removeAll
      ? 'Cannot forget all snapshots: expected a host, tag or path that says which ones'
      : 'Cannot forget snapshots: there is no policy that says which to keep',
    { hint: removeAll ? 'Add --host, --tag or --path' : 'Give at least one --keep-… option, or the IDs of snapshots' },
  )
}

function emptiedGroup({ host, paths, tags, remove }: ForgetGroup): EngineError {
  const named = [
    host && `host ${host}`,
    paths.length > 0 && `paths ${paths.join(', ')}`,
    tags.length > 0 && `tags ${tags.join(', ')}`,
  ]
  const group = named.filter(Boolean).join(', ') || 'all snapshots'
  return new EngineError(
    'REFUSED',
    `Cannot forget all ${remove.length} snapshots of a group (${group}): the policy keeps none of them`,
    {
      facts: { host, paths, tags, snapshots: remove.length },
      hint: 'Keep at least one, with --keep-last 1 for example; snapshots that are named by ID are forgotten without a policy',
    },
  )
}

export interface ForgetReport {
  readonly removed: readonly SnapshotId[]
  /** These could not be removed, and are still there. */
  readonly failed: readonly { readonly id: SnapshotId; readonly error: CodedError }[]
}

/** How many snapshots are removed at once: on remote storage each is a request that mostly waits. */
const CONCURRENCY = 8

/** Removes what the plan says; goes on when one cannot be removed. Needs the exclusive lock. */
export async function applyForget(
  repository: Repository,
  plan: ForgetPlan,
  options: { readonly signal?: AbortSignal | undefined; readonly onRemoved?: (id: SnapshotId) => void } = {},
): Promise<ForgetReport> {
  const { signal, onRemoved } = options
  const removed: SnapshotId[] = []
  const failed: { id: SnapshotId; error: CodedError }[] = []
  const removals = mapConcurrent(plan.remove, CONCURRENCY, async ({ id }) => {
    signal?.throwIfAborted()
    try {
      await repository.storage.remove({ type: 'snapshot', id }, signal)
      removed.push(id)
      onRemoved?.(id)
    } catch (error) {
      if (!(error instanceof CodedError) || signal?.aborted) throw error
      failed.push({ id, error })
    }
  })
  for await (const _ of removals);
  return { removed, failed }
}
