import { mapConcurrent } from '../concurrency.ts'
import { CodedError, EngineError } from '../error.ts'
import type { IndexId, PackId } from '../format/id.ts'
import type { PackedBlob } from '../format/pack-header.ts'
import { decodeBlob } from './blob-codec.ts'
import { BlobMap } from './blob-map.ts'
import { BlobWriter } from './blob-writer.ts'
import { isDamage } from './file-problem.ts'
import { listIds } from './list-ids.ts'
import { readPackHeader } from './read-pack-header.ts'
import { readSealedBlobs } from './read-sealed-blobs.ts'
import { readTwice } from './read-twice.ts'
import type { IndexedRepository } from './repository.ts'
import { rewriteIndex } from './rewrite-index.ts'
import { sizeOfPack } from './size-of-pack.ts'
import { transferBlobs } from './transfer-blobs.ts'

export interface PackRepair {
  readonly pack: PackId
  /** False when only the index knows it. */
  readonly isThere: boolean
  /** Blobs that are intact, and not among those of an earlier pack of the plan. */
  readonly salvage: readonly PackedBlob[]
  /** Blobs that are not, and that no other pack has. */
  readonly lost: readonly PackedBlob[]
}

export interface RepairPacksPlan {
  readonly packs: readonly PackRepair[]
}

/**
 * Reads what the index and the packs themselves say they hold, and finds out what of it is intact. Rejects with `NOT_FOUND` for a
 * pack that neither storage nor index knows, and when the storage does not hand out what may be intact.
 */
export async function planRepairPacks(
  repository: IndexedRepository,
  ids: readonly PackId[],
  options: { readonly signal?: AbortSignal | undefined; readonly onPack?: () => void } = {},
): Promise<RepairPacksPlan> {
  const { signal, onPack } = options
  const { index, storage, masterKey } = repository
  const going = new Set(ids)
  const sizes = new Map<PackId, number>()
  for await (const { name, size } of storage.list('pack', signal)) {
    if (going.has(name.id as PackId)) sizes.set(name.id as PackId, size)
  }
  for (const id of going) {
    const size = sizes.get(id) ?? (await sizeOfPack(repository, id, signal))
    if (size !== undefined) sizes.set(id, size)
  }
  const unknown = [...going].find((id) => !sizes.has(id) && !index.hasPack(id))
  if (unknown !== undefined) {
    throw new EngineError('NOT_FOUND', `No pack ${unknown} in the repository at ${storage.location}`, {
      facts: { pack: unknown },
      hint: '`holdfast check --read-data` names the packs that are damaged',
    })
  }
  const packs: PackRepair[] = []
  const salvaged = new BlobMap()
  for (const pack of going) {
    const size = sizes.get(pack)
    const blobs = await blobsOf(repository, pack, size, signal)
    const salvage: PackedBlob[] = []
    const damaged: PackedBlob[] = []
    if (size === undefined) damaged.push(...blobs)
    else {
      let unread = blobs
      // Again, before anything is given up: the fault may lie with the line, not with what is stored.
      for (let attempt = 0; attempt < 2 && unread.length > 0; attempt++) {
        const parts = [{ pack, blobs: unread }]
        unread = []
        for await (const reading of readSealedBlobs(repository, parts, signal)) {
          if ('error' in reading && !isDamage(reading.error)) throw reading.error
          const { blob } = reading
          const isIntact = 'sealed' in reading && opens(() => decodeBlob(masterKey, blob, reading.sealed))
          if (!isIntact) unread.push(blob)
          else if (salvaged.add(blob.type, blob.id)) salvage.push(blob)
        }
      }
      damaged.push(...unread)
    }
    packs.push({ pack, isThere: size !== undefined, salvage, lost: damaged })
    onPack?.()
  }
  const isElsewhere = ({ type, id }: PackedBlob) =>
    salvaged.has(type, id) || index.findAll(type, id).some(({ pack }) => !going.has(pack))
  return { packs: packs.map((pack) => ({ ...pack, lost: pack.lost.filter((blob) => !isElsewhere(blob)) })) }
}

/** What the index lists of the pack, and then what only its header does: either may be wrong. */
async function blobsOf(
  { index, masterKey, storage }: IndexedRepository,
  pack: PackId,
  size: number | undefined,
  signal: AbortSignal | undefined,
): Promise<PackedBlob[]> {
  const indexed = index.packBlobs(pack) ?? []
  if (size === undefined) return indexed
  try {
    const read = (offset: number, length: number) =>
      storage.read({ type: 'pack', id: pack }, { offset, length }, signal)
    const known = new Set(indexed.map(({ type, id }) => type + id))
    const listed = await readTwice(() => readPackHeader(masterKey, { size, read }))
    return [...indexed, ...listed.filter(({ type, id }) => !known.has(type + id))]
  } catch (error) {
    if (!isDamage(error)) throw error
    return indexed
  }
}

function opens(open: () => unknown): boolean {
  try {
    open()
    return true
  } catch (error) {
    if (!isDamage(error)) throw error
    return false
  }
}

export interface RepairPacksReport {
  readonly salvaged: number
  readonly lost: number
  readonly packsWritten: number
  readonly packsRemoved: number
  /** Packs that could not be removed; no index names them any more. */
  readonly leftBehind: readonly { readonly pack: PackId; readonly error: CodedError }[]
}

/** Stores what is intact in new packs, takes the old ones out of the index and removes them, in this order. Needs the exclusive lock. */
export async function applyRepairPacks(
  repository: IndexedRepository,
  plan: RepairPacksPlan,
  options: {
    readonly signal?: AbortSignal | undefined
    readonly onProgress?: (done: { files: number; bytes: number }) => void
  } = {},
): Promise<RepairPacksReport> {
  const { signal, onProgress } = options
  const done = { files: 0, bytes: 0 }
  await using writer = new BlobWriter(repository, { verify: true, signal })
  const parts = plan.packs.map(({ pack, salvage }) => ({ pack, blobs: salvage }))
  await transferBlobs(repository, parts, repository, writer, {
    again: true,
    signal,
    onBlob: ({ length }) => {
      done.files += 1
      done.bytes += length
      onProgress?.({ ...done })
    },
  })
  await writer.finish()
  const files = await listIds<IndexId>(repository, 'index', signal)
  await rewriteIndex(repository, { without: new Set(plan.packs.map(({ pack }) => pack)), files, signal })
  const leftBehind: { pack: PackId; error: CodedError }[] = []
  let packsRemoved = 0
  const present = plan.packs.filter(({ isThere }) => isThere)
  const removals = mapConcurrent(present, 2, async ({ pack }) => {
    signal?.throwIfAborted()
    try {
      await repository.storage.remove({ type: 'pack', id: pack }, signal)
      packsRemoved += 1
    } catch (error) {
      if (!(error instanceof CodedError) || signal?.aborted) throw error
      leftBehind.push({ pack, error })
    }
  })
  for await (const _ of removals);
  const lost = plan.packs.reduce((sum, pack) => sum + pack.lost.length, 0)
  return { salvaged: done.files, lost, packsWritten: writer.totals.packs, packsRemoved, leftBehind }
}
