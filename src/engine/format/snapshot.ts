import type { BlobId, SnapshotId } from './id.ts'
import { goJsonString, parseJson } from './json.ts'
import {
  asObject,
  idField,
  type JsonObject,
  MAX_UINT32,
  textField,
  textsField,
  timeField,
  unexpected,
  unsignedField,
} from './json-fields.ts'
import { formatTimestamp, type Timestamp } from './timestamp.ts'

/** What a backup did and cost. Counts are of regular files and of directories, parents of the targets included. */
export interface SnapshotSummary {
  readonly backupStart: Timestamp
  readonly backupEnd: Timestamp
  readonly filesNew: number
  readonly filesChanged: number
  readonly filesUnmodified: number
  readonly dirsNew: number
  readonly dirsChanged: number
  readonly dirsUnmodified: number
  readonly dataBlobs: number
  readonly treeBlobs: number
  /** Plaintext bytes of the blobs that were new. */
  readonly dataAdded: number
  /** Bytes that the new blobs take in packs, sealed and with their header entries. */
  readonly dataAddedPacked: number
  readonly totalFilesProcessed: number
  readonly totalBytesProcessed: number
}

/** A snapshot file. Its ID is the name of the file and nowhere inside. */
export interface Snapshot {
  /** When the backup began. */
  readonly time: Timestamp
  /** The snapshot that unchanged files were taken over from; it may be gone. */
  readonly parent?: SnapshotId | undefined
  readonly tree: BlobId
  /** Absolute paths of what was backed up, in the order it was asked for. */
  readonly paths: readonly string[]
  readonly hostname: string
  readonly username: string
  readonly uid: number
  readonly gid: number
  readonly excludes: readonly string[]
  readonly tags: readonly string[]
  /** Of a snapshot that replaces another: the first of them. */
  readonly original?: SnapshotId | undefined
  readonly programVersion: string
  readonly summary?: SnapshotSummary | undefined
}

type SummaryCount = Exclude<keyof SnapshotSummary, 'backupStart' | 'backupEnd'>

/** The counts of a summary in the order that they are written. */
const COUNTS: readonly (readonly [SummaryCount, string])[] = [
  ['filesNew', 'files_new'],
  ['filesChanged', 'files_changed'],
  ['filesUnmodified', 'files_unmodified'],
  ['dirsNew', 'dirs_new'],
  ['dirsChanged', 'dirs_changed'],
  ['dirsUnmodified', 'dirs_unmodified'],
  ['dataBlobs', 'data_blobs'],
  ['treeBlobs', 'tree_blobs'],
  ['dataAdded', 'data_added'],
  ['dataAddedPacked', 'data_added_packed'],
  ['totalFilesProcessed', 'total_files_processed'],
  ['totalBytesProcessed', 'total_bytes_processed'],
]

const WHAT = 'snapshot'

/** The JSON of a snapshot file, as restic writes it. */
export function encodeSnapshot(snapshot: Snapshot): Buffer {
  const { time, parent, tree, paths, hostname, username, uid, gid, excludes, tags, original, programVersion, summary } =
    snapshot
  let text = `{"time":"${formatTimestamp(time)}"`
  if (parent !== undefined) text += `,"parent":"${parent}"`
  text += `,"tree":"${tree}","paths":${encodeTexts(paths)}`
  if (hostname !== '') text += `,"hostname":${goJsonString(hostname)}`
  if (username !== '') text += `,"username":${goJsonString(username)}`
  if (uid !== 0) text += `,"uid":${uid}`
  if (gid !== 0) text += `,"gid":${gid}`
  if (excludes.length > 0) text += `,"excludes":${encodeTexts(excludes)}`
  if (tags.length > 0) text += `,"tags":${encodeTexts(tags)}`
  if (original !== undefined) text += `,"original":"${original}"`
  if (programVersion !== '') text += `,"program_version":${goJsonString(programVersion)}`
  if (summary !== undefined) text += `,"summary":${encodeSummary(summary)}`
  return Buffer.from(`${text}}`, 'utf8')
}

function encodeTexts(texts: readonly string[]): string {
  return `[${texts.map(goJsonString).join(',')}]`
}

function encodeSummary(summary: SnapshotSummary): string {
  const counts = COUNTS.map(([name, key]) => `"${key}":${summary[name]}`)
  const times = `"backup_start":"${formatTimestamp(summary.backupStart)}","backup_end":"${formatTimestamp(summary.backupEnd)}"`
  return `{${times},${counts.join(',')}}`
}

/** Reads the JSON of a snapshot file. Throws `CORRUPT`, also when no tree is named: a snapshot of nothing has a tree as well. */
export function parseSnapshot(bytes: Buffer): Snapshot {
  const place = { what: WHAT }
  const object = asObject(parseJson(bytes, WHAT), place)
  const tree = idField<BlobId>(object, 'tree', place)
  if (tree === undefined) throw unexpected(place, 'tree', tree, '64 hex digits')
  return {
    time: timeField(object, 'time', place),
    parent: idField<SnapshotId>(object, 'parent', place),
    tree,
    paths: textsField(object, 'paths', place),
    hostname: textField(object, 'hostname', place),
    username: textField(object, 'username', place),
    uid: unsignedField(object, 'uid', place, MAX_UINT32),
    gid: unsignedField(object, 'gid', place, MAX_UINT32),
    excludes: textsField(object, 'excludes', place),
    tags: textsField(object, 'tags', place),
    original: idField<SnapshotId>(object, 'original', place),
    programVersion: textField(object, 'program_version', place),
    summary: parseSummary(object.summary ?? undefined),
  }
}

function parseSummary(value: unknown): SnapshotSummary | undefined {
  if (value === undefined) return undefined
  const place = { what: `${WHAT} summary` }
  const object: JsonObject = asObject(value, place)
  const counts = Object.fromEntries(COUNTS.map(([name, key]) => [name, unsignedField(object, key, place)]))
  return {
    backupStart: timeField(object, 'backup_start', place),
    backupEnd: timeField(object, 'backup_end', place),
    ...(counts as Record<SummaryCount, number>),
  }
}
