import type { Snapshot } from '../engine/format/snapshot.ts'
import { formatTimestamp } from '../engine/format/timestamp.ts'
import { shortId } from './format.ts'

/** A snapshot with the keys that restic prints. */
export function snapshotJson(id: string, snapshot: Snapshot): Record<string, unknown> {
  const { summary } = snapshot
  return {
    time: formatTimestamp(snapshot.time),
    parent: snapshot.parent,
    tree: snapshot.tree,
    paths: snapshot.paths,
    hostname: snapshot.hostname,
    username: snapshot.username,
    uid: snapshot.uid,
    gid: snapshot.gid,
    excludes: snapshot.excludes.length === 0 ? undefined : snapshot.excludes,
    tags: snapshot.tags.length === 0 ? undefined : snapshot.tags,
    original: snapshot.original,
    program_version: snapshot.programVersion === '' ? undefined : snapshot.programVersion,
    summary: summary && {
      backup_start: formatTimestamp(summary.backupStart),
      backup_end: formatTimestamp(summary.backupEnd),
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
    },
    id,
    short_id: shortId(id),
  }
}

/** Of a `Timestamp`, as the `Date` that is shown. */
export function dateOf({ ns }: { readonly ns: bigint }): Date {
  return new Date(Number(ns / 1_000_000n))
}
