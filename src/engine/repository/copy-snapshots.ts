import { EngineError } from '../error.ts'
import type { BlobId, PackId, SnapshotId } from '../format/id.ts'
import type { BlobType, PackedBlob } from '../format/pack-header.ts'
import type { Snapshot } from '../format/snapshot.ts'
import { BlobMap } from './blob-map.ts'
import { BlobWriter } from './blob-writer.ts'
import { loadSnapshots } from './load-snapshots.ts'
import type { PackPart } from './read-sealed-blobs.ts'
import type { IndexedRepository } from './repository.ts'
import { isSameKey } from './reseal-blob.ts'
import { type StoredSnapshot, writeSnapshot } from './snapshots.ts'
import { transferBlobs } from './transfer-blobs.ts'
import { walkTrees } from './walk-trees.ts'

/** Snapshots are published whenever about so many bytes were copied: what was copied by then need not be copied again. */
const BATCH_BYTES = 1024 * 1024 * 1024

export interface CopyBatch {
  readonly snapshots: readonly StoredSnapshot[]
  /** Blobs that the destination does not have, where they lie in the source. */
  readonly parts: readonly PackPart[]
  readonly blobs: number
  /** Of the blobs as stored in the source. */
  readonly bytes: number
}

export interface CopyPlan {
  readonly batches: readonly CopyBatch[]
  /** Snapshots that the destination has already, and under which ID. */
  readonly present: readonly { readonly snapshot: StoredSnapshot; readonly as: SnapshotId }[]
  /** Both repositories share their master key: nothing has to be sealed again. */
  readonly sameKey: boolean
  /** Both cut files in the same way: what both have backed up is stored once. */
  readonly sameChunker: boolean
}

/**
 * What has to be copied so that the destination has the snapshots too. They were listed before the index of the source was loaded:
 * whoever writes a snapshot has published its index first. A snapshot is there already when one of the destination has
 * the same origin and says the same in every field but parent and origin, as in restic. Reads every tree, from the source only:
 * rejects at the first snapshot or tree that cannot be read, and with `NOT_FOUND` when a blob is in no index of the source.
 */
export async function planCopy(
  source: IndexedRepository,
  destination: IndexedRepository,
  wanted: readonly StoredSnapshot[],
  options: {
    readonly onTrees?: (trees: number) => void
    readonly signal?: AbortSignal | undefined
    readonly batchBytes?: number
  } = {},
): Promise<CopyPlan> {
  const { signal, onTrees, batchBytes = BATCH_BYTES } = options
  const there = await copiesByOrigin(destination, signal)
  const present: { snapshot: StoredSnapshot; as: SnapshotId }[] = []
  const batches: CopyBatch[] = []
  const seen = new BlobMap()
  let trees = 0
  let snapshots: StoredSnapshot[] = []
  let chosen = new ChosenBlobs(source)
  const finishBatch = () => {
    if (snapshots.length > 0) batches.push({ snapshots, ...chosen.finish() })
    snapshots = []
    chosen = new ChosenBlobs(source)
  }
  for (const stored of wanted) {
    const copy = (there.get(stored.snapshot.original ?? stored.id) ?? []).find(({ snapshot }) =>
      saysTheSame(snapshot, stored.snapshot),
    )
    if (copy) {
      present.push({ snapshot: stored, as: copy.id })
      continue
    }
    const choose = (type: BlobType, id: BlobId) => {
      if (!destination.index.has(type, id)) chosen.add(type, id)
    }
    await walkTrees(
      source,
      [stored.snapshot.tree],
      seen,
      (tree, nodes) => {
        choose('tree', tree)
        for (const { content } of nodes) {
          for (const id of content ?? []) if (seen.add('data', id)) choose('data', id)
        }
        trees += 1
        onTrees?.(trees)
      },
      signal,
    )
    snapshots.push(stored)
    if (chosen.bytes >= batchBytes) finishBatch()
  }
  finishBatch()
  return {
    batches,
    present,
    sameKey: isSameKey(source.masterKey, destination.masterKey),
    sameChunker: source.config.polynomial === destination.config.polynomial,
  }
}

/** Blobs of the source by the pack that they are taken from. */
class ChosenBlobs {
  readonly #source: IndexedRepository
  readonly #parts = new Map<PackId, PackedBlob[]>()
  #blobs = 0
  bytes = 0

  constructor(source: IndexedRepository) {
    this.#source = source
  }

  add(type: BlobType, id: BlobId): void {
    const blob = this.#source.index.find(type, id)
    if (blob === undefined) {
      throw new EngineError(
        'NOT_FOUND',
        `Cannot copy ${type} blob ${id}: no index of ${this.#source.storage.location} names it`,
        {
          facts: { blob: id, type },
          hint: 'Run `holdfast check` on the source; snapshots that are intact can be copied by ID',
        },
      )
    }
    const blobs = this.#parts.get(blob.pack)
    if (blobs) blobs.push(blob)
    else this.#parts.set(blob.pack, [blob])
    this.#blobs += 1
    this.bytes += blob.length
  }

  finish(): Omit<CopyBatch, 'snapshots'> {
    return { parts: [...this.#parts].map(([pack, blobs]) => ({ pack, blobs })), blobs: this.#blobs, bytes: this.bytes }
  }
}

/** The snapshots of the destination by the ID that they had at first, and by the one that they have. */
async function copiesByOrigin(
  destination: IndexedRepository,
  signal: AbortSignal | undefined,
): Promise<Map<SnapshotId, StoredSnapshot[]>> {
  const found = new Map<SnapshotId, StoredSnapshot[]>()
  for (const stored of await loadSnapshots(destination, {}, signal)) {
    for (const id of new Set([stored.id, stored.snapshot.original ?? stored.id]))
      found.set(id, [...(found.get(id) ?? []), stored])
  }
  return found
}

function saysTheSame(a: Snapshot, b: Snapshot): boolean {
  const facts = ({ time, tree, hostname, username, uid, gid, excludes, paths, tags }: Snapshot) =>
    JSON.stringify([String(time.ns), tree, hostname, username, uid, gid, excludes, paths.toSorted(), tags.toSorted()])
  return facts(a) === facts(b)
}

export interface CopyReport {
  readonly copied: readonly { readonly from: SnapshotId; readonly to: SnapshotId }[]
  readonly blobs: number
  /** What they take up in the destination. */
  readonly bytes: number
}

/**
 * Copies blobs, publishes them, then the snapshots; batch by batch. What was published before an interruption is not copied
 * again. Needs a shared lock on either repository.
 */
export async function applyCopy(
  source: IndexedRepository,
  destination: IndexedRepository,
  plan: CopyPlan,
  options: {
    readonly signal?: AbortSignal | undefined
    readonly onProgress?: (done: { files: number; bytes: number }, total: { files: number; bytes: number }) => void
    readonly onCopied?: (from: SnapshotId, to: SnapshotId) => void
  } = {},
): Promise<CopyReport> {
  const { signal, onProgress, onCopied } = options
  const total = {
    files: plan.batches.reduce((sum, { blobs }) => sum + blobs, 0),
    bytes: plan.batches.reduce((sum, { bytes }) => sum + bytes, 0),
  }
  const done = { files: 0, bytes: 0 }
  const copied: { from: SnapshotId; to: SnapshotId }[] = []
  // Blobs that were stored raw in version 1 had no choice; in version 2 somebody chose so.
  const compress = source.config.version < destination.config.version
  await using writer = new BlobWriter(destination, { signal })
  for (const { snapshots, parts } of plan.batches) {
    await transferBlobs(source, parts, destination, writer, {
      compress,
      signal,
      onBlob: ({ length }) => {
        done.files += 1
        done.bytes += length
        onProgress?.({ ...done }, total)
      },
    })
    await writer.finish()
    for (const { id, snapshot } of snapshots) {
      const to = await writeSnapshot(
        destination,
        { ...snapshot, parent: undefined, original: snapshot.original ?? id },
        signal,
      )
      copied.push({ from: id, to })
      onCopied?.(id, to)
    }
  }
  const { dataBlobs, treeBlobs, addedPacked } = writer.totals
  return { copied, blobs: dataBlobs + treeBlobs, bytes: addedPacked }
}
