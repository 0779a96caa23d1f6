import { mapConcurrent } from '../concurrency.ts'
import { hashId, type IndexId, type PackId } from '../format/id.ts'
import { type PackIndex, parseIndexFile } from '../format/index-file.ts'
import { MAX_PACK_BLOBS } from '../format/pack-header.ts'
import { FULL_INDEX_BLOBS } from './blob-writer.ts'
import { IndexFileWriter } from './index-file-writer.ts'
import type { Repository } from './repository.ts'
import { readParsed } from './unpacked-files.ts'

/** Index files under way at once, reading or removing. */
const CONCURRENCY = 4

/** A file with so many blobs is split when it is rewritten: restic allows a full one and one more pack. */
const OVERSIZED_INDEX_BLOBS = FULL_INDEX_BLOBS + MAX_PACK_BLOBS

export interface RewriteIndexOptions {
  /** Packs that no index shall name any more. */
  readonly without: ReadonlySet<PackId>
  /** The index files to go through: all that are there, but for those written since the packs to remove were chosen. */
  readonly files: readonly IndexId[]
  /** Index files that are removed without being read. */
  readonly obsolete?: readonly IndexId[]
  readonly signal?: AbortSignal | undefined
}

export interface RewriteIndexReport {
  readonly written: number
  readonly removed: number
  readonly untouched: number
}

/**
 * Takes packs out of the index. As restic does (format reference 6), a file stays as it is when it is full, not oversized, and
 * names neither a pack to take out nor one that another file named in the same way; the rest of all others goes into new files.
 * Every new file is stored before the first old one is removed, so that at no time a blob is in no index.
 */
export async function rewriteIndex(repository: Repository, options: RewriteIndexOptions): Promise<RewriteIndexReport> {
  const { without, files, obsolete = [], signal } = options
  const kept = new Set<string>()
  const merged: IndexId[] = [...obsolete]
  const outdated: IndexId[] = []
  let untouched = 0
  const writer = new IndexFileWriter(repository, signal)
  const parse = (json: Buffer) => parseIndexFile(json, repository.config.version)
  const read = async (id: IndexId) => ({ id, packs: await readParsed(repository, 'index', id, parse, signal) })
  for await (const { id, packs } of mapConcurrent(files, CONCURRENCY, read)) {
    const entries = packs.map((pack) => ({ pack, fingerprint: fingerprintOf(pack) }))
    const blobs = packs.reduce((sum, pack) => sum + pack.blobs.length, 0)
    const isFull = blobs >= FULL_INDEX_BLOBS && blobs < OVERSIZED_INDEX_BLOBS
    if (isFull && entries.every(({ pack, fingerprint }) => !without.has(pack.id) && !kept.has(fingerprint))) {
      for (const { fingerprint } of entries) kept.add(fingerprint)
      untouched += 1
      continue
    }
    if (packs.some((pack) => without.has(pack.id))) outdated.push(id)
    else merged.push(id)
    for (const { pack, fingerprint } of entries) {
      if (without.has(pack.id) || kept.has(fingerprint) || pack.blobs.length === 0) continue
      kept.add(fingerprint)
      await writer.add(pack)
    }
  }
  const written = await writer.finish()
  // Those that name packs to take out go last: while one of them is left, so is the reason to go through the index again.
  for (const files of [merged, outdated]) {
    const removals = mapConcurrent(files, CONCURRENCY, async (id) => {
      signal?.throwIfAborted()
      await repository.storage.remove({ type: 'index', id }, signal)
    })
    for await (const _ of removals);
  }
  return { written, removed: merged.length + outdated.length, untouched }
}

/** The same for the same pack with the same blobs only: what contradicts itself is kept, for `check` to name it. */
function fingerprintOf({ id, blobs }: PackIndex): string {
  const places = blobs.map(
    (blob) => `${blob.offset} ${blob.length} ${blob.uncompressedLength ?? 0} ${blob.type} ${blob.id}`,
  )
  return id + hashId(Buffer.from(places.sort().join('\n')))
}
