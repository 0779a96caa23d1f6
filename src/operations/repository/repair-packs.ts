import { join } from 'node:path'
import { EngineError } from '../../engine/error.ts'
import { type PackId, parseId } from '../../engine/format/id.ts'
import { writeFileDurably } from '../../engine/os/write-file-durably.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import {
  applyRepairPacks,
  planRepairPacks,
  type RepairPacksPlan,
  type RepairPacksReport,
} from '../../engine/repository/repair-packs.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import type { RepositoryAccess } from '../access.ts'
import { phaseOf, runInRepository, type Surroundings } from '../run-in-repository.ts'

export interface RepairPacksRunReport {
  /** `incomplete`: blobs are lost; `repair snapshots` makes the snapshots do without them. */
  readonly outcome: 'succeeded' | 'incomplete'
  readonly plan: RepairPacksPlan
  /** Undefined after a dry run. */
  readonly done: RepairPacksReport | undefined
}

/**
 * Salvages what is intact in packs that are damaged, and removes them.
 *
 * @param options.packs full IDs
 * @param options.copiesTo a folder that gets the packs as they were, as `pack-ID`, before anything is changed
 */
export async function repairPacks(
  access: RepositoryAccess,
  options: Surroundings & {
    readonly packs: readonly string[]
    readonly copiesTo?: string | undefined
    readonly dryRun?: boolean
  },
): Promise<RepairPacksRunReport> {
  const { observe, dryRun = false, copiesTo } = options
  return runInRepository<RepairPacksRunReport>(
    access,
    { ...options, operation: 'repair-packs', lock: 'exclusive', uncached: true, changes: !dryRun },
    async (repository, signal) => {
      const ids = options.packs.map((text) => parseId<PackId>(text))
      const progress = phaseOf(observe, 'read-packs')
      const indexed = await loadIndex(repository, signal)
      const total = { files: ids.length, bytes: 0 }
      let files = 0
      const onPack = () => {
        files += 1
        progress({ files, bytes: 0 }, total)
      }
      const plan = await planRepairPacks(indexed, ids, { signal, onPack })
      const lost = plan.packs.some((pack) => pack.lost.length > 0)
      for (const { pack, salvage, lost } of plan.packs) {
        if (lost.length === 0) continue
        const message = `Pack ${pack}: ${lost.length} blobs are lost, ${salvage.length} can be salvaged`
        observe({
          type: 'finding',
          finding: {
            severity: 'error',
            code: 'blob-damaged',
            message,
            hint: '`repair snapshots` makes the snapshots do without them',
          },
        })
      }
      if (dryRun) return { outcome: 'succeeded', plan, done: undefined }
      if (copiesTo !== undefined) await copyPacks(repository, ids, copiesTo, signal)
      const done = await applyRepairPacks(indexed, plan, { signal, onProgress: phaseOf(observe, 'salvage') })
      return { outcome: lost || done.leftBehind.length > 0 ? 'incomplete' : 'succeeded', plan, done }
    },
    ({ plan, done }) => ({
      dry_run: dryRun,
      packs: plan.packs.length,
      salvaged: plan.packs.reduce((sum, { salvage }) => sum + salvage.length, 0),
      lost: plan.packs.flatMap((pack) => pack.lost.map(({ type, id }) => ({ type, id }))),
      packs_written: done?.packsWritten ?? 0,
      packs_removed: done?.packsRemoved ?? 0,
      packs_left_behind: done?.leftBehind.length ?? 0,
    }),
  )
}

async function copyPacks(
  repository: Repository,
  ids: readonly PackId[],
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  for (const id of ids) {
    const bytes = await readPack(repository, id, signal)
    if (bytes) await writeFileDurably(join(folder, `pack-${id}`), bytes, { mode: 0o600, replace: false, signal })
  }
}

/** Undefined when the storage does not have it. That it does not hand out what it has is another matter. */
async function readPack(repository: Repository, id: PackId, signal: AbortSignal): Promise<Buffer | undefined> {
  try {
    return await repository.storage.read({ type: 'pack', id }, undefined, signal)
  } catch (error) {
    if (!(error instanceof EngineError && error.code === 'NOT_FOUND')) throw error
    return undefined
  }
}
