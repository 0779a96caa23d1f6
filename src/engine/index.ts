/**
 * `holdfast/engine`: the restic repository format for JavaScript. Reads versions 1 and 2, writes both; what it writes,
 * restic reads, and the other way round. See docs/engine.md for an example.
 */
export { type ArchiveOptions, type ArchiveProblem, type ArchiveResult, archive } from './archiver/archive.ts'
export type { BlobSink } from './archiver/blob-sink.ts'
export { CodedError, EngineError, type EngineErrorCode } from './error.ts'
export {
  type BlobId,
  type IndexId,
  isId,
  type KeyId,
  type LockId,
  type PackId,
  parseId,
  type SnapshotId,
} from './format/id.ts'
export type { BlobType, PackedBlob } from './format/pack-header.ts'
export { encodeSnapshot, parseSnapshot, type Snapshot, type SnapshotSummary } from './format/snapshot.ts'
export { formatTimestamp, localTimestamp, now, parseTimestamp, type Timestamp } from './format/timestamp.ts'
export { encodeTree, parseTree } from './format/tree.ts'
export type { NodeType, TreeNode } from './format/tree-node.ts'
export { type Chunker, createChunker } from './kernels/chunker.ts'
export { BlobWriter, type SavedBlob } from './repository/blob-writer.ts'
export { type CheckOptions, type CheckReport, checkRepository } from './repository/check.ts'
export type { CheckFinding } from './repository/check-finding.ts'
export { loadIndex } from './repository/load-index.ts'
export { acquireLock, type Lock, unlockRepository } from './repository/locks.ts'
export { readBlob, readTree } from './repository/read-blob.ts'
export {
  addKey,
  createRepository,
  type IndexedRepository,
  openRepository,
  type Repository,
} from './repository/repository.ts'
export {
  findSnapshot,
  readSnapshot,
  readSnapshots,
  type SnapshotFilter,
  type StoredSnapshot,
  writeSnapshot,
} from './repository/snapshots.ts'
export type { RestoreItem } from './restorer/planned-file.ts'
export {
  type Overwrite,
  type RestoreOptions,
  type RestoreProblem,
  type RestoreResult,
  restore,
} from './restorer/restore.ts'
export { localStorage } from './storage/local.ts'
export { memoryStorage } from './storage/memory.ts'
export { storageFor } from './storage/open-storage.ts'
export type {
  ByteRange,
  FileName,
  FilesBeside,
  FileType,
  Storage,
  StorageReader,
  StoredFile,
} from './storage/storage.ts'
