import { EngineError } from '../error.ts'
import type { BlobId, PackId, SnapshotId } from '../format/id.ts'
import { SEAL_OVERHEAD } from '../format/master-key.ts'
import { type PackedBlob, packHeaderSize } from '../format/pack-header.ts'
import type { BlobMap } from './blob-map.ts'
import { DEFAULT_PACK_SIZE } from './blob-writer.ts'
import type { LoadedRepository } from './load-index.ts'
import { DEFAULT_MAX_UNUSED, type MaxUnused, unusedLimit } from './max-unused.ts'
import type { PackAction, PackDecision, PackReason, PrunePlan, PruneTotals } from './prune-plan.ts'
import type { IndexedRepository } from './repository.ts'
import { readSnapshots } from './snapshots.ts'
import { findUsedBlobs } from './used-blobs.ts'

// restic's choices (format reference 11.3):
//
//   used blobs    what any snapshot needs. One copy of each counts as used, the others as duplicates: rather one in a pack
//                 that has other used blobs, or that holds duplicates only, for a prune that was interrupted made such packs
//   nothing used  → remove
//   all used      → keep; unless it holds data and trees, or raw trees where they can be compressed, or is small
//   else          → a candidate: trees first, then small ones, then those with the largest unused share, until what is left
//                 unused is little enough, or enough was repacked

export interface PruneOptions {
  /** Of what will be left; 5 % by default. */
  readonly maxUnused?: MaxUnused | undefined
  /** Bytes of packs to rewrite at most. */
  readonly maxRepackSize?: number | undefined
  /** Bytes below which a pack is small; by default that depends on the packs that there are. */
  readonly smallerThan?: number | undefined
  /** Rewrite packs with raw blobs, in a repository that can compress them. */
  readonly repackUncompressed?: boolean | undefined
  /** Plan as if these were gone. */
  readonly without?: ReadonlySet<SnapshotId> | undefined
  readonly onProgress?: (trees: number) => void
  readonly signal?: AbortSignal | undefined
}

/** Small packs are left alone while there are fewer than this: otherwise the last one would be rewritten for ever. */
const MIN_SMALL_PACKS = 10
/** What restic takes for the smallest sensible size of a pack. */
const MIN_PACK_SIZE = 4 * 1024 * 1024

/**
 * What has to be done so that the packs hold what the snapshots need, and little else. Reads only, but reads everything that
 * must be known: rejects when any snapshot or tree cannot be read, when a blob that is used is in no index (`CORRUPT`), and when
 * a pack that is needed is missing or not of the size that the index makes it.
 */
export async function planPrune(repository: LoadedRepository, options: PruneOptions = {}): Promise<PrunePlan> {
  assertOptions(repository, options)
  const { signal, onProgress, without = new Set() } = options
  const snapshots: SnapshotId[] = []
  const roots: BlobId[] = []
  for await (const result of readSnapshots(repository, signal)) {
    if (without.has(result.id)) continue
    if ('error' in result) throw result.error
    snapshots.push(result.id)
    roots.push(result.snapshot.tree)
  }
  const used = await findUsedBlobs(repository, roots, { signal, ...(onProgress ? { onTrees: onProgress } : {}) })
  const { packs, blobs } = countBlobs(repository, used)
  const sizes = new Map<PackId, number>()
  for await (const { name, size } of repository.storage.list('pack', signal)) sizes.set(name.id as PackId, size)
  const { decisions, totals } = decide(repository, packs, sizes, blobs, options)
  return {
    packs: chooseCopies(repository, decisions, used),
    totals,
    snapshots,
    without: [...without],
    indexFiles: repository.indexFiles,
  }
}

function assertOptions({ config }: IndexedRepository, { repackUncompressed, smallerThan }: PruneOptions): void {
  if (config.version < 2 && repackUncompressed) {
    throw new EngineError(
      'UNSUPPORTED',
      `Cannot compress what is stored: the repository is of version ${config.version}, expected 2`,
    )
  }
  if (smallerThan !== undefined && smallerThan > DEFAULT_PACK_SIZE) {
    throw new EngineError(
      'REFUSED',
      `Cannot take packs below ${smallerThan} bytes for small: new ones have ${DEFAULT_PACK_SIZE}, so they would be rewritten each time`,
      { facts: { smallerThan, packSize: DEFAULT_PACK_SIZE } },
    )
  }
}

interface PackUse {
  readonly id: PackId
  kind: PackDecision['kind']
  /** Blobs that are stored raw though they need not be. */
  isUncompressed: boolean
  usedBlobs: number
  unusedBlobs: number
  duplicateBlobs: number
  usedBytes: number
  unusedBytes: number
}

interface BlobCounts {
  readonly blobs: { used: number; duplicate: number; unused: number }
  readonly bytes: { used: number; duplicate: number; unused: number }
}

/** A value that says of a used blob: all copies but one are counted as duplicates, this must be the one that is used. */
const LAST_COPY = 0
const CHOSEN = 1
const MANY = 0xffff_ffff

/** Counts for each pack what is used of it. Every used blob has the value 1 afterwards. */
function countBlobs({ index }: IndexedRepository, used: BlobMap): { packs: PackUse[]; blobs: BlobCounts } {
  for (const { blobs } of index.packs()) {
    for (const { type, id } of blobs) {
      const copies = used.get(type, id)
      if (copies !== undefined && copies < MANY) used.set(type, id, copies + 1)
    }
  }
  assertComplete(used)

  const counts: BlobCounts = {
    blobs: { used: 0, duplicate: 0, unused: 0 },
    bytes: { used: 0, duplicate: 0, unused: 0 },
  }
  const packs: PackUse[] = []
  for (const { id, blobs } of index.packs()) {
    if (blobs.length === 0) continue // such an entry says no more than no entry
    const pack: PackUse = {
      id,
      kind: blobs[0]!.type,
      isUncompressed: false,
      usedBlobs: 0,
      unusedBlobs: 0,
      duplicateBlobs: 0,
      usedBytes: packHeaderSize(blobs),
      unusedBytes: 0,
    }
    for (const blob of blobs) {
      if (blob.type !== pack.kind) pack.kind = 'mixed'
      if (blob.uncompressedLength === undefined && blob.length > SEAL_OVERHEAD) pack.isUncompressed = true
      const copies = used.get(blob.type, blob.id) ?? 0
      const what = copies >= 2 ? 'duplicate' : copies === 1 ? 'used' : 'unused'
      counts.blobs[what] += 1
      counts.bytes[what] += blob.length
      if (what === 'duplicate') pack.duplicateBlobs += 1
      pack[what === 'used' ? 'usedBlobs' : 'unusedBlobs'] += 1
      pack[what === 'used' ? 'usedBytes' : 'unusedBytes'] += blob.length
    }
    packs.push(pack)
  }
  if (counts.blobs.duplicate > 0) chooseDuplicates(index, used, packs, counts)
  return { packs, blobs: counts }
}

function assertComplete(used: BlobMap): void {
  let missing = 0
  let example: string | undefined
  for (const { type, id } of used.blobs()) {
    if (used.get(type, id) !== 0) continue
    missing += 1
    example ??= `${type} blob ${id}`
  }
  if (missing === 0) return
  throw new EngineError(
    'CORRUPT',
    `Cannot prune: ${missing} of ${used.size} blobs that snapshots need are in no index, ${example} for one`,
    {
      facts: { missing, used: used.size },
      hint: 'Nothing was removed. Run `holdfast check`; `repair index` finds blobs whose packs are there, `repair snapshots` gives up those that are lost',
    },
  )
}

/** Of each blob with several copies makes one count as used. */
function chooseDuplicates(
  index: IndexedRepository['index'],
  used: BlobMap,
  packs: readonly PackUse[],
  counts: BlobCounts,
): void {
  for (const pack of packs) {
    for (const { type, id, length } of index.packBlobs(pack.id)!) {
      const copies = used.get(type, id)
      if (copies === undefined || copies === CHOSEN) continue
      const isChosen = pack.usedBlobs > 0 || pack.duplicateBlobs === pack.unusedBlobs || copies === LAST_COPY
      if (!isChosen) {
        used.set(type, id, copies === 2 ? LAST_COPY : copies - 1)
        continue
      }
      used.set(type, id, CHOSEN)
      pack.usedBlobs += 1
      pack.usedBytes += length
      pack.unusedBlobs -= 1
      pack.unusedBytes -= length
      counts.blobs.used += 1
      counts.bytes.used += length
      counts.blobs.duplicate -= 1
      counts.bytes.duplicate -= length
    }
  }
}

type Decision = Omit<PackDecision, 'copy'>

function decide(
  { config }: IndexedRepository,
  packs: readonly PackUse[],
  sizes: ReadonlyMap<PackId, number>,
  counts: BlobCounts,
  options: PruneOptions,
): { decisions: Decision[]; totals: PruneTotals } {
  const decisions: Decision[] = []
  const note = (pack: PackUse, action: PackAction, reason: PackReason) =>
    decisions.push({
      pack: pack.id,
      action,
      reason,
      kind: pack.kind,
      bytes: sizes.get(pack.id) ?? 0,
      usedBlobs: pack.usedBlobs,
      unusedBlobs: pack.unusedBlobs,
      usedBytes: pack.usedBytes,
      unusedBytes: pack.unusedBytes,
    })
  const blobs = { repack: 0, repackRemove: 0, remove: 0 }
  const bytes = { repack: 0, repackRemove: 0, remove: 0, unindexed: 0, uncompressed: 0 }
  const use = { used: 0, partlyUsed: 0, unused: 0 }
  const smallBelow = smallSize(packs, options)
  const candidates: { readonly pack: PackUse; readonly reason: PackReason; readonly mustRepack: boolean }[] = []
  const small: typeof candidates = []

  for (const pack of packs) {
    const size = sizes.get(pack.id)
    if (pack.usedBlobs > 0) assertIntact(pack, size)
    if (size !== undefined) use[pack.usedBlobs === 0 ? 'unused' : pack.unusedBlobs === 0 ? 'used' : 'partlyUsed'] += 1
    if (size !== undefined && pack.isUncompressed && config.version >= 2) bytes.uncompressed += sizeOf(pack)
    const mustCompress =
      config.version >= 2 && pack.isUncompressed && (pack.kind === 'tree' || (options.repackUncompressed ?? false))
    if (pack.usedBlobs === 0) {
      blobs.remove += pack.unusedBlobs
      bytes.remove += pack.unusedBytes
      if (size === undefined) note(pack, 'forget-missing', 'missing')
      else note(pack, 'remove', 'unused')
    } else if (mustCompress) {
      candidates.push({ pack, reason: 'uncompressed', mustRepack: true })
    } else if (pack.kind === 'mixed') {
      candidates.push({ pack, reason: 'mixed', mustRepack: true })
    } else if (pack.unusedBlobs > 0) {
      candidates.push({ pack, reason: 'partly-used', mustRepack: pack.kind === 'tree' })
    } else if (sizeOf(pack) < smallBelow) {
      small.push({ pack, reason: 'small', mustRepack: pack.kind === 'tree' })
    } else {
      note(pack, 'keep', 'used')
    }
  }
  if (small.length >= MIN_SMALL_PACKS) candidates.push(...small)
  else for (const { pack } of small) note(pack, 'keep', 'used')

  const maxUnused = unusedLimit(options.maxUnused ?? DEFAULT_MAX_UNUSED, counts.bytes.used)
  const unusedLeft = () => counts.bytes.duplicate + counts.bytes.unused - bytes.remove - bytes.repackRemove
  candidates.sort((a, b) => byUrgency(a.pack, b.pack, smallBelow))
  for (const { pack, reason, mustRepack } of candidates) {
    const isSmall = sizeOf(pack) < smallBelow
    if (bytes.repack + sizeOf(pack) >= (options.maxRepackSize ?? Number.POSITIVE_INFINITY)) {
      note(pack, 'keep', 'enough-repacked')
    } else if (!mustRepack && !isSmall && unusedLeft() < maxUnused) {
      note(pack, 'keep', 'tolerated')
    } else {
      note(pack, 'repack', reason)
      blobs.repack += pack.usedBlobs + pack.unusedBlobs
      blobs.repackRemove += pack.unusedBlobs
      bytes.repack += sizeOf(pack)
      bytes.repackRemove += pack.unusedBytes
      if (pack.isUncompressed && config.version >= 2) bytes.uncompressed -= sizeOf(pack)
    }
  }
  const indexed = new Set(packs.map(({ id }) => id))
  for (const [id, size] of sizes) {
    if (indexed.has(id)) continue
    bytes.unindexed += size
    decisions.push({
      pack: id,
      action: 'remove-unindexed',
      reason: 'not-indexed',
      kind: 'unknown',
      bytes: size,
      usedBlobs: 0,
      unusedBlobs: 0,
      usedBytes: 0,
      unusedBytes: 0,
    })
  }

  const count = (action: PackAction) => decisions.filter((decision) => decision.action === action).length
  const unindexed = count('remove-unindexed')
  const totalBlobs = counts.blobs.used + counts.blobs.unused + counts.blobs.duplicate
  const removeBlobs = blobs.remove + blobs.repackRemove
  const totalBytes = counts.bytes.used + counts.bytes.duplicate + counts.bytes.unused + bytes.unindexed
  const removeBytes = bytes.remove + bytes.repackRemove + bytes.unindexed
  const totals: PruneTotals = {
    blobs: {
      ...counts.blobs,
      total: totalBlobs,
      ...blobs,
      removeTotal: removeBlobs,
      remaining: totalBlobs - removeBlobs,
    },
    bytes: {
      ...counts.bytes,
      total: totalBytes,
      ...bytes,
      removeTotal: removeBytes,
      remaining: totalBytes - removeBytes,
      remainingUnused: unusedLeft(),
    },
    packs: {
      ...use,
      unindexed,
      total: use.used + use.partlyUsed + use.unused + unindexed,
      keep: count('keep'),
      repack: count('repack'),
      remove: count('remove'),
      removeTotal: count('remove') + unindexed,
    },
  }
  return { decisions, totals }
}

function sizeOf(pack: PackUse): number {
  return pack.usedBytes + pack.unusedBytes
}

function assertIntact(pack: PackUse, size: number | undefined): void {
  if (size === sizeOf(pack)) return
  const found =
    size === undefined ? 'it is not in the storage' : `it has ${size} bytes, its index entry makes ${sizeOf(pack)}`
  throw new EngineError('CORRUPT', `Cannot prune: pack ${pack.id} is needed, but ${found}`, {
    facts: { pack: pack.id, size, expected: sizeOf(pack) },
    hint: 'Nothing was removed. Bring the file back from a copy of the repository, or run `repair index`, `repair packs` and `repair snapshots`',
  })
}

/** 0.8 · max(4 MiB, third percentile of the sizes): few packs of a repository are ever smaller than that. */
function smallSize(packs: readonly PackUse[], { smallerThan }: PruneOptions): number {
  if (smallerThan !== undefined) return smallerThan
  if (packs.length === 0) return 0
  const sizes = packs.map(sizeOf).sort((a, b) => a - b)
  return Math.floor((Math.max(MIN_PACK_SIZE, sizes[Math.floor((sizes.length * 3) / 100)]!) * 4) / 5)
}

function byUrgency(a: PackUse, b: PackUse, smallBelow: number): number {
  if ((a.kind === 'data') !== (b.kind === 'data')) return a.kind === 'data' ? 1 : -1
  if (sizeOf(a) < smallBelow !== sizeOf(b) < smallBelow) return sizeOf(a) < smallBelow ? -1 : 1
  const [x, y] = [a.unusedBytes / sizeOf(a), b.unusedBytes / sizeOf(b)]
  if (x !== y) return y - x
  return a.id < b.id ? -1 : 1
}

/** Says of every pack that is repacked which blobs to copy: those that are used, in no pack that stays, and not copied from another. */
function chooseCopies({ index }: IndexedRepository, decisions: readonly Decision[], used: BlobMap): PackDecision[] {
  const blobsOf = (pack: PackId): readonly PackedBlob[] => index.packBlobs(pack) ?? []
  const CARED_FOR = 2
  for (const { pack, action } of decisions) {
    if (action !== 'keep') continue
    for (const { type, id } of blobsOf(pack)) if (used.has(type, id)) used.set(type, id, CARED_FOR)
  }
  return decisions.map((decision) => {
    if (decision.action !== 'repack') return decision
    const copy: number[] = []
    for (const [place, { type, id }] of blobsOf(decision.pack).entries()) {
      if (used.get(type, id) !== CHOSEN) continue
      used.set(type, id, CARED_FOR)
      copy.push(place)
    }
    return { ...decision, copy }
  })
}
