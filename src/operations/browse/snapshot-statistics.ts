import {
  countBlobsPerFile,
  countByContents,
  countRawData,
  countRestoreSize,
  type FileCount,
  type RawCount,
  type ReferenceCount,
} from '../../engine/repository/count-snapshots.ts'
import type { SnapshotsWanted } from '../../engine/repository/load-snapshots.ts'
import type { RepositoryAccess } from '../access.ts'
import { searchSnapshots } from './search-snapshots.ts'

/** Restic's names of what is counted. */
export type StatisticsMode = 'restore-size' | 'files-by-contents' | 'blobs-per-file' | 'raw-data'

export interface SnapshotStatistics {
  readonly snapshots: number
  /** False in version 1 of the format. */
  readonly canCompress: boolean
  readonly restoreSize?: FileCount
  readonly byContents?: FileCount
  readonly blobsPerFile?: ReferenceCount
  readonly rawData?: RawCount
}

/** Counts over the snapshots that are named or fit, each once, what the modes ask for. */
export async function snapshotStatistics(
  access: RepositoryAccess,
  options: SnapshotsWanted & {
    readonly modes: readonly StatisticsMode[]
    readonly signal: AbortSignal
    readonly onTrees: (trees: number) => void
    readonly onUnreadable: (message: string) => void
  },
): Promise<SnapshotStatistics> {
  return searchSnapshots(access, { ...options, reverse: true }, async ({ repository, snapshots, signal }) => {
    const roots = snapshots.map(({ snapshot }) => snapshot.tree)
    const has = (mode: StatisticsMode) => options.modes.includes(mode)
    const counting = { signal, onTrees: options.onTrees }
    return {
      snapshots: snapshots.length,
      canCompress: repository.config.version > 1,
      ...(has('restore-size') && { restoreSize: await countRestoreSize(repository, roots, counting) }),
      ...(has('files-by-contents') && { byContents: await countByContents(repository, roots, counting) }),
      ...(has('blobs-per-file') && { blobsPerFile: await countBlobsPerFile(repository, roots, counting) }),
      ...(has('raw-data') && { rawData: await countRawData(repository, roots, counting) }),
    }
  })
}
