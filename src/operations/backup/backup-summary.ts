import type { Finding } from '../../application/finding.ts'
import type { ArchiveCounts } from '../../engine/archiver/archive.ts'
import type { SnapshotId } from '../../engine/format/id.ts'
import type { SnapshotSummary } from '../../engine/format/snapshot.ts'
import { formatTimestamp, now, type Timestamp } from '../../engine/format/timestamp.ts'
import type { BlobWriterTotals } from '../../engine/repository/blob-writer.ts'

export interface BackupFacts {
  /** Undefined after a dry run. */
  readonly snapshot: SnapshotId | undefined
  readonly parent: SnapshotId | undefined
  readonly summary: SnapshotSummary
  readonly findings: readonly Finding[]
}

/** What a snapshot says of the backup that made it, which ends now. */
export function snapshotSummary(
  backupStart: Timestamp,
  { totalFiles, totalBytes, ...counts }: ArchiveCounts,
  { dataBlobs, treeBlobs, added, addedPacked }: Omit<BlobWriterTotals, 'packs'>,
): SnapshotSummary {
  return {
    backupStart,
    backupEnd: now(),
    ...counts,
    dataBlobs,
    treeBlobs,
    dataAdded: added,
    dataAddedPacked: addedPacked,
    totalFilesProcessed: totalFiles,
    totalBytesProcessed: totalBytes,
  }
}

/** Of the `finished` event of a backup; the keys are those of restic's `backup --json`. */
export function backupSummary({ snapshot, parent, summary, findings }: BackupFacts): Readonly<Record<string, unknown>> {
  const count = (severity: Finding['severity']) => findings.filter((finding) => finding.severity === severity).length
  return {
    ...(snapshot === undefined ? { dry_run: true } : { snapshot_id: snapshot }),
    ...(parent === undefined ? {} : { parent }),
    files_new: summary.filesNew,
    files_changed: summary.filesChanged,
    files_unmodified: summary.filesUnmodified,
    dirs_new: summary.dirsNew,
    dirs_changed: summary.dirsChanged,
    dirs_unmodified: summary.dirsUnmodified,
    data_blobs: summary.dataBlobs,
    tree_blobs: summary.treeBlobs,
    data_added: summary.dataAdded,
    data_added_packed: summary.dataAddedPacked,
    total_files_processed: summary.totalFilesProcessed,
    total_bytes_processed: summary.totalBytesProcessed,
    backup_start: formatTimestamp(summary.backupStart),
    backup_end: formatTimestamp(summary.backupEnd),
    errors: count('error'),
    warnings: count('warning'),
  }
}
