import { mapConcurrent } from '../concurrency.ts'
import { CodedError, EngineError } from '../error.ts'
import type { IndexId, PackId, SnapshotId } from '../format/id.ts'
import { BlobWriter } from './blob-writer.ts'
import { listIds } from './list-ids.ts'
import type { PackDecision, PrunePlan } from './prune-plan.ts'
import type { PackPart } from './read-sealed-blobs.ts'
import type { IndexedRepository } from './repository.ts'
import { rewriteIndex } from './rewrite-index.ts'
import { transferBlobs } from './transfer-blobs.ts'

/** Files that are removed at once: on remote storage each is a request that mostly waits. */
const CONCURRENCY = 8

export type PrunePhase = 'remove-unindexed' | 'repack' | 'rewrite-index' | 'remove'

export interface PruneReport {
  readonly packsRemoved: number
  readonly bytesRemoved: number
  readonly packsWritten: number
  readonly bytesWritten: number
  /** Packs that could not be removed. No index names them, so that the next prune tries again. */
  readonly leftBehind: readonly { readonly pack: PackId; readonly error: CodedError }[]
}

/**
 * Does what the plan says, with the index that it was made with, under the exclusive lock. Nothing that is needed is ever absent:
 * new packs are stored before the index that names them, that before the old index is removed, and that before the packs
 * (format reference 11.3). Whatever fails on the way, the next prune puts in order. Rejects with `REFUSED`, before anything is
 * removed, when snapshots or index files are not those that the plan knows.
 */
export async function applyPrune(
  repository: IndexedRepository,
  plan: PrunePlan,
  options: {
    readonly signal?: AbortSignal | undefined
    readonly onPhase?: (phase: PrunePhase) => void
    /** Files and bytes of the phase so far, and in all. */
    readonly onProgress?: (done: { files: number; bytes: number }, total: { files: number; bytes: number }) => void
  } = {},
): Promise<PruneReport> {
  const { signal, onPhase, onProgress } = options
  await assertUnchanged(repository, plan, signal)
  const chosen = (...actions: PackDecision['action'][]) => plan.packs.filter(({ action }) => actions.includes(action))
  const removal = { removed: 0, bytes: 0, leftBehind: [] as { pack: PackId; error: CodedError }[] }
  const remove = async (packs: readonly PackDecision[]) => {
    const total = sum(packs)
    const done = { files: 0, bytes: 0 }
    const removals = mapConcurrent(packs, CONCURRENCY, async ({ pack, bytes }) => {
      signal?.throwIfAborted()
      try {
        await repository.storage.remove({ type: 'pack', id: pack }, signal)
        removal.removed += 1
        removal.bytes += bytes
      } catch (error) {
        if (!(error instanceof CodedError) || signal?.aborted) throw error
        removal.leftBehind.push({ pack, error })
      }
      done.files += 1
      done.bytes += bytes
      onProgress?.({ ...done }, total)
    })
    for await (const _ of removals);
  }

  const unindexed = chosen('remove-unindexed')
  if (unindexed.length > 0) {
    onPhase?.('remove-unindexed')
    await remove(unindexed)
  }
  const repacked = chosen('repack')
  let written = { packs: 0, addedPacked: 0 }
  if (repacked.length > 0) {
    onPhase?.('repack')
    written = await repack(repository, repacked, plan, signal, onProgress)
  }
  const going = chosen('repack', 'remove', 'forget-missing')
  if (going.length > 0) {
    onPhase?.('rewrite-index')
    const without = new Set(going.map(({ pack }) => pack))
    // Both lists: what a repack has published since, and what the storage may leave out of one answer.
    const files = new Set([...plan.indexFiles, ...(await listIds<IndexId>(repository, 'index', signal))])
    await rewriteIndex(repository, { without, files: [...files], signal })
    onPhase?.('remove')
    await remove(chosen('repack', 'remove'))
  }
  return {
    packsRemoved: removal.removed,
    bytesRemoved: removal.bytes,
    packsWritten: written.packs,
    bytesWritten: written.addedPacked,
    leftBehind: removal.leftBehind,
  }
}

/**
 * Under an exclusive lock nothing may have changed. What has, was written by a program that does not keep to locks, or was left
 * out of one of two answers of the storage: in either case nobody knows what is needed.
 */
async function assertUnchanged(
  repository: IndexedRepository,
  plan: PrunePlan,
  signal: AbortSignal | undefined,
): Promise<void> {
  const gone = new Set<string>(plan.without)
  const snapshots = (await listIds<SnapshotId>(repository, 'snapshot', signal)).filter((id) => !gone.has(id))
  const index = await listIds<IndexId>(repository, 'index', signal)
  for (const [what, now, then] of [
    ['snapshots', snapshots, plan.snapshots],
    ['index files', index, plan.indexFiles],
  ] as const) {
    if (now.length === then.length && new Set<string>([...now, ...then]).size === then.length) continue
    throw new EngineError(
      'REFUSED',
      `Cannot prune: there are ${now.length} ${what} now, and the plan was made with ${then.length}, or with others`,
      {
        facts: { now: now.length, planned: then.length },
        hint: 'Nothing was removed. Something writes to the repository in spite of the lock, or the storage lists it incompletely; run the prune again',
      },
    )
  }
}

async function repack(
  repository: IndexedRepository,
  decisions: readonly PackDecision[],
  plan: PrunePlan,
  signal: AbortSignal | undefined,
  onProgress: ((done: { files: number; bytes: number }, total: { files: number; bytes: number }) => void) | undefined,
) {
  const parts: PackPart[] = decisions.map(({ pack, copy = [] }) => {
    const blobs = repository.index.packBlobs(pack)!
    return { pack, blobs: copy.map((place) => blobs[place]!) }
  })
  const total = { files: parts.reduce((blobs, part) => blobs + part.blobs.length, 0), bytes: 0 }
  total.bytes = parts.reduce((bytes, part) => bytes + part.blobs.reduce((own, blob) => own + blob.length, 0), 0)
  const done = { files: 0, bytes: 0 }
  await using writer = new BlobWriter(repository, { verify: true, signal })
  await transferBlobs(repository, parts, repository, writer, {
    again: true,
    compress: true,
    signal,
    onBlob: ({ length }) => {
      done.files += 1
      done.bytes += length
      onProgress?.({ ...done }, total)
    },
  })
  await writer.finish()
  assertCopied(repository, parts, plan)
  return writer.totals
}

/** The last thing before anything is taken away: each blob has a place that stays. */
function assertCopied(repository: IndexedRepository, parts: readonly PackPart[], plan: PrunePlan): void {
  const staying = (pack: PackId) => !going.has(pack)
  const going = new Set(plan.packs.filter(({ action }) => action !== 'keep').map(({ pack }) => pack))
  for (const { blobs } of parts) {
    for (const { type, id } of blobs) {
      if (repository.index.findAll(type, id).some(({ pack }) => staying(pack))) continue
      throw new EngineError('SELF_CHECK', `Cannot prune: ${type} blob ${id} was to be copied, and is in no new pack`, {
        facts: { blob: id },
        hint: 'Nothing that is needed was removed. Please report this',
      })
    }
  }
}

function sum(packs: readonly PackDecision[]): { files: number; bytes: number } {
  return { files: packs.length, bytes: packs.reduce((bytes, pack) => bytes + pack.bytes, 0) }
}
