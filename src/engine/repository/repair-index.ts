import { mapConcurrent } from '../concurrency.ts'
import type { EngineError } from '../error.ts'
import type { IndexId, PackId } from '../format/id.ts'
import { type PackedBlob, packHeaderSize } from '../format/pack-header.ts'
import { BlobIndex } from './blob-index.ts'
import { FULL_INDEX_BLOBS } from './blob-writer.ts'
import { isDamage } from './file-problem.ts'
import { IndexFileWriter } from './index-file-writer.ts'
import { readIndexFiles } from './load-index.ts'
import { readPackHeader } from './read-pack-header.ts'
import { readTwice } from './read-twice.ts'
import type { Repository } from './repository.ts'
import { rewriteIndex } from './rewrite-index.ts'
import { sameBlobs } from './same-blobs.ts'
import { sizeOfPack } from './size-of-pack.ts'

/** Headers under way at once. */
const CONCURRENCY = 8

export interface PackToIndex {
  readonly pack: PackId
  readonly bytes: number
  /** `size`: the index makes it another size; `asked`: all packs are read. */
  readonly reason: 'not-indexed' | 'size' | 'asked'
}

export interface RepairIndexPlan {
  /** Index files that can be read. */
  readonly files: readonly IndexId[]
  /** Index files that cannot: they are removed. */
  readonly damaged: readonly { readonly id: IndexId; readonly error: EngineError }[]
  readonly read: readonly PackToIndex[]
  /** Packs that the index names and the storage does not have: the index forgets them. */
  readonly missing: readonly PackId[]
  /** Packs that are listed more than once in the same way. */
  readonly duplicates: number
  /** False when the index is as it should be. */
  readonly isNeeded: boolean
}

/** What is wrong with the index. An index file that the storage does not hand out rejects: it may be intact. */
export async function planRepairIndex(
  repository: Repository,
  options: { readonly readAllPacks?: boolean | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<RepairIndexPlan> {
  const { readAllPacks = false, signal } = options
  const files: IndexId[] = []
  const damaged: { id: IndexId; error: EngineError }[] = []
  const index = new BlobIndex()
  let duplicates = 0
  let filesToMerge = 0
  for await (const file of readIndexFiles(repository, signal)) {
    if ('error' in file) {
      if (!isDamage(file.error)) throw file.error
      damaged.push(file)
      continue
    }
    files.push(file.id)
    let blobs = 0
    for (const pack of file.packs) {
      const known = index.packBlobs(pack.id)
      if (known && sameBlobs(known, pack.blobs)) duplicates += 1
      index.addPack(pack.id, pack.blobs)
      blobs += pack.blobs.length
    }
    if (blobs < FULL_INDEX_BLOBS) filesToMerge += 1
  }
  const read: PackToIndex[] = []
  const listed = new Set<PackId>()
  for await (const { name, size } of repository.storage.list('pack', signal)) {
    const pack = name.id as PackId
    if (listed.has(pack)) continue
    listed.add(pack)
    const blobs = index.packBlobs(pack) ?? []
    if (readAllPacks) read.push({ pack, bytes: size, reason: 'asked' })
    else if (blobs.length === 0) read.push({ pack, bytes: size, reason: 'not-indexed' })
    else if (sizeOf(blobs) !== size) read.push({ pack, bytes: size, reason: 'size' })
  }
  const missing: PackId[] = []
  for (const { id } of index.packs()) {
    if (!listed.has(id) && (await sizeOfPack(repository, id, signal)) === undefined) missing.push(id)
  }
  const isNeeded = damaged.length + read.length + missing.length + duplicates > 0 || filesToMerge > 1
  return { files, damaged, read, missing, duplicates, isNeeded }
}

function sizeOf(blobs: readonly PackedBlob[]): number {
  return blobs.reduce((sum, { length }) => sum + length, packHeaderSize(blobs))
}

export interface RepairIndexReport {
  /** Packs whose header was read and is in the index now. */
  readonly indexed: number
  /**
   * Packs without a header that can be read. What the index says of them stays: without it nothing of them could be salvaged. They
   * are for `repair packs`; those in no index hold nothing that anybody could find, and a prune removes them.
   */
  readonly unreadable: readonly { readonly pack: PackId; readonly error: EngineError }[]
  readonly missing: number
  readonly filesWritten: number
  readonly filesRemoved: number
}

/**
 * Does what the plan says, under the exclusive lock. New index files are stored before any is removed. A pack whose header the
 * storage does not hand out rejects, before anything is removed: it may be intact.
 */
export async function applyRepairIndex(
  repository: Repository,
  plan: RepairIndexPlan,
  options: {
    readonly signal?: AbortSignal | undefined
    readonly onProgress?: (done: { files: number; bytes: number }, total: { files: number; bytes: number }) => void
  } = {},
): Promise<RepairIndexReport> {
  const { signal, onProgress } = options
  const indexed = new Set<PackId>()
  const unreadable: { pack: PackId; error: EngineError }[] = []
  const total = { files: plan.read.length, bytes: plan.read.reduce((sum, { bytes }) => sum + bytes, 0) }
  const done = { files: 0, bytes: 0 }
  const writer = new IndexFileWriter(repository, signal)
  const headers = mapConcurrent(plan.read, CONCURRENCY, async ({ pack, bytes }) => {
    signal?.throwIfAborted()
    const read = (offset: number, length: number) =>
      repository.storage.read({ type: 'pack', id: pack }, { offset, length }, signal)
    try {
      return { pack, bytes, blobs: await readTwice(() => readPackHeader(repository.masterKey, { size: bytes, read })) }
    } catch (error) {
      if (!isDamage(error)) throw error
      return { pack, bytes, error }
    }
  })
  for await (const header of headers) {
    if ('error' in header) unreadable.push({ pack: header.pack, error: header.error })
    else {
      indexed.add(header.pack)
      await writer.add({ id: header.pack, blobs: header.blobs })
    }
    done.files += 1
    done.bytes += header.bytes
    onProgress?.({ ...done }, total)
  }
  const added = await writer.finish()
  const { written, removed } = await rewriteIndex(repository, {
    without: new Set([...indexed, ...plan.missing]),
    files: plan.files,
    obsolete: plan.damaged.map(({ id }) => id),
    signal,
  })
  return {
    indexed: indexed.size,
    unreadable,
    missing: plan.missing.length,
    filesWritten: added + written,
    filesRemoved: removed,
  }
}
