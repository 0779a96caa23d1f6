import { mapConcurrent } from '../concurrency.ts'
import { EngineError } from '../error.ts'
import { parseId, type SnapshotId } from '../format/id.ts'
import { encodeSnapshot, parseSnapshot, type Snapshot } from '../format/snapshot.ts'
import { isFileProblem } from './file-problem.ts'
import type { Repository } from './repository.ts'
import { hasTags } from './snapshot-tags.ts'
import { readParsed, writeUnpacked } from './unpacked-files.ts'

/** Snapshot files under way at once: enough to hide the latency of remote storage. */
const CONCURRENCY = 8

export interface StoredSnapshot {
  readonly id: SnapshotId
  readonly snapshot: Snapshot
}

export type SnapshotResult = StoredSnapshot | { readonly id: SnapshotId; readonly error: EngineError }

/**
 * Every snapshot file, parsed, or the reason why it cannot be; those of the given IDs only, where some are given. Rejects
 * when the files cannot be listed, or when interrupted.
 */
export async function* readSnapshots(
  repository: Repository,
  signal?: AbortSignal,
  ids: Iterable<SnapshotId> | AsyncIterable<SnapshotId> = snapshotIds(repository, signal),
): AsyncGenerator<SnapshotResult> {
  yield* mapConcurrent(ids, CONCURRENCY, async (id): Promise<SnapshotResult> => {
    try {
      return { id, snapshot: await readSnapshot(repository, id, signal) }
    } catch (error) {
      if (isFileProblem(error)) return { id, error }
      throw error
    }
  })
}

async function* snapshotIds(repository: Repository, signal: AbortSignal | undefined): AsyncGenerator<SnapshotId> {
  for await (const { name } of repository.storage.list('snapshot', signal)) yield parseId<SnapshotId>(name.id)
}

/** Rejects with `CORRUPT` naming the file, and as the storage does when it cannot be had. */
export async function readSnapshot(repository: Repository, id: SnapshotId, signal?: AbortSignal): Promise<Snapshot> {
  return readParsed(repository, 'snapshot', id, parseSnapshot, signal)
}

/** Everything that the snapshot refers to must be published before. */
export async function writeSnapshot(
  repository: Repository,
  snapshot: Snapshot,
  signal?: AbortSignal,
): Promise<SnapshotId> {
  return writeUnpacked(repository, 'snapshot', encodeSnapshot(snapshot), signal)
}

/** Oldest first; of equal times the lower ID first, so that the order is the same everywhere. */
export function byTime(a: StoredSnapshot, b: StoredSnapshot): number {
  const [x, y] = [a.snapshot.time.ns, b.snapshot.time.ns]
  if (x !== y) return x < y ? -1 : 1
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0
}

export interface SnapshotFilter {
  readonly hosts?: readonly string[]
  /** Lists of tags: a snapshot fits when it has all tags of one list. The tag `''` stands for having none. */
  readonly tags?: readonly (readonly string[])[]
  /** Absolute paths that a snapshot must all name. */
  readonly paths?: readonly string[]
}

export function fitsFilter(snapshot: Snapshot, filter: SnapshotFilter): boolean {
  const { hosts = [], tags = [], paths = [] } = filter
  if (hosts.length > 0 && !hosts.includes(snapshot.hostname)) return false
  if (tags.length > 0 && !tags.some((list) => hasTags(snapshot.tags, list))) return false
  return paths.every((path) => snapshot.paths.includes(path))
}

export interface SnapshotSelection extends SnapshotFilter {
  /** `latest`, or the beginning of an ID; the filter is for `latest` only. */
  readonly name: string
  /** With `latest`: the newest that is not newer than this, in ns since the epoch. */
  readonly notAfter?: bigint
}

/**
 * The snapshot that is meant. Rejects with `NOT_FOUND`, `AMBIGUOUS` when a prefix fits several, and `CORRUPT` when
 * the one named cannot be read. Unreadable others are passed over only for an explicit ID: while one cannot be read,
 * nobody knows whether it is the latest, and restoring an older one unasked loses data.
 */
export async function findSnapshot(
  repository: Repository,
  selection: SnapshotSelection,
  signal?: AbortSignal,
): Promise<StoredSnapshot> {
  if (selection.name === 'latest') return findLatest(repository, selection, signal)
  const id = await findByPrefix(repository, selection.name, signal)
  return { id, snapshot: await readSnapshot(repository, id, signal) }
}

async function findLatest(
  repository: Repository,
  selection: SnapshotSelection,
  signal: AbortSignal | undefined,
): Promise<StoredSnapshot> {
  let latest: StoredSnapshot | undefined
  for await (const result of readSnapshots(repository, signal)) {
    if ('error' in result) throw unknownLatest(result.id, result.error)
    if (!fitsFilter(result.snapshot, selection)) continue
    if (selection.notAfter !== undefined && result.snapshot.time.ns > selection.notAfter) continue
    if (!latest || byTime(latest, result) < 0) latest = result
  }
  if (latest) return latest
  const { location } = repository.storage
  throw new EngineError('NOT_FOUND', `No snapshot fits in the repository at ${location}`, {
    facts: { location },
    hint: 'See `holdfast snapshots`; the first one is made by `holdfast backup`',
  })
}

function unknownLatest(id: SnapshotId, cause: EngineError): EngineError {
  return new EngineError(cause.code, `Cannot tell which snapshot is the latest: ${cause.message}`, {
    facts: { snapshot: id },
    hint: 'Name the snapshot by its ID: `holdfast snapshots` lists those that can be read',
    cause,
  })
}

async function findByPrefix(
  repository: Repository,
  prefix: string,
  signal: AbortSignal | undefined,
): Promise<SnapshotId> {
  const fitting: SnapshotId[] = []
  if (/^[0-9a-f]{1,64}$/.test(prefix)) {
    for await (const id of snapshotIds(repository, signal)) if (id.startsWith(prefix)) fitting.push(id)
  }
  const [id] = fitting
  if (id !== undefined && fitting.length === 1) return id
  if (id === undefined) {
    const { location } = repository.storage
    throw new EngineError(
      'NOT_FOUND',
      `No snapshot "${prefix}" in the repository at ${location}: expected \`latest\` or the beginning of a snapshot's ID`,
      { facts: { snapshot: prefix, location }, hint: 'See `holdfast snapshots`' },
    )
  }
  const shown = fitting.slice(0, 4).map((each) => each.slice(0, prefix.length + 4))
  throw new EngineError(
    'AMBIGUOUS',
    `Snapshot "${prefix}" is ambiguous: ${fitting.length} IDs begin so (${shown.join(', ')}${fitting.length > 4 ? '…' : ''})`,
    { facts: { snapshot: prefix, fitting }, hint: 'Give more digits of the ID' },
  )
}
