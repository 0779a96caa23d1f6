import type { IndexId, PackId, SnapshotId } from '../format/id.ts'

/** What becomes of a pack, and of its place in the index. */
export type PackAction =
  | 'keep'
  | 'repack' // the blobs that are needed go into new packs, then it is removed
  | 'remove'
  | 'remove-unindexed' // in no index: left by something that was interrupted
  | 'forget-missing' // in the index, not in the storage, and not needed

export type PackReason =
  | 'used' // all of it
  | 'unused' // all of it
  | 'partly-used'
  | 'small'
  | 'mixed' // data and trees
  | 'uncompressed'
  | 'tolerated' // partly used, and there is less unused than may be
  | 'enough-repacked' // it would be repacked, but for the limit
  | 'not-indexed'
  | 'missing'

export interface PackDecision {
  readonly pack: PackId
  readonly action: PackAction
  readonly reason: PackReason
  readonly kind: 'data' | 'tree' | 'mixed' | 'unknown'
  /** Of the file. */
  readonly bytes: number
  readonly usedBlobs: number
  readonly unusedBlobs: number
  /** Of the blobs and, with the used ones, of the header. */
  readonly usedBytes: number
  readonly unusedBytes: number
  /** Of a pack that is repacked: which of its blobs go into new packs, by their place in its index entry. */
  readonly copy?: readonly number[]
}

/** As restic counts: bytes are those of blobs as stored, without headers, but for the size of packs that are in no index. */
export interface PruneTotals {
  readonly blobs: {
    readonly used: number
    /** Further copies of used ones. */
    readonly duplicate: number
    readonly unused: number
    readonly total: number
    readonly repack: number
    readonly repackRemove: number
    readonly remove: number
    readonly removeTotal: number
    readonly remaining: number
  }
  readonly bytes: {
    readonly used: number
    readonly duplicate: number
    readonly unused: number
    readonly unindexed: number
    /** In packs with raw blobs, in a repository that could compress them. */
    readonly uncompressed: number
    readonly total: number
    readonly repack: number
    readonly repackRemove: number
    readonly remove: number
    readonly removeTotal: number
    readonly remaining: number
    readonly remainingUnused: number
  }
  readonly packs: {
    readonly used: number
    readonly partlyUsed: number
    readonly unused: number
    readonly unindexed: number
    readonly total: number
    readonly keep: number
    readonly repack: number
    readonly remove: number
    readonly removeTotal: number
  }
}

/** What a prune will do; of a repository that nobody changes meanwhile. */
export interface PrunePlan {
  readonly packs: readonly PackDecision[]
  readonly totals: PruneTotals
  /** The snapshots whose blobs count as used. */
  readonly snapshots: readonly SnapshotId[]
  /** Snapshots that are to be forgotten first, and whose blobs do not count. */
  readonly without: readonly SnapshotId[]
  readonly indexFiles: readonly IndexId[]
}
