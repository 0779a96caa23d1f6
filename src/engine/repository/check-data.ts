import { createHash } from 'node:crypto'
import { mapConcurrent } from '../concurrency.ts'
import { EngineError } from '../error.ts'
import type { BlobId, PackId } from '../format/id.ts'
import type { PackedBlob } from '../format/pack-header.ts'
import { pathOf } from '../storage/layout.ts'
import { decodeBlob } from './blob-codec.ts'
import type { Report } from './check-finding.ts'
import { isFileProblem } from './file-problem.ts'
import { type PackContent, readPackHeader } from './read-pack-header.ts'
import type { IndexedRepository } from './repository.ts'
import { sameBlobs } from './same-blobs.ts'

export interface PackToRead {
  readonly id: PackId
  /** In bytes, as listed. */
  readonly size: number
}

/** Whole packs up to this size are read in one piece; larger ones, which only foreign programs write, blob by blob. */
const WHOLE_PACK_LIMIT = 160 * 1024 * 1024
const PIECE = 8 * 1024 * 1024
const READERS = 2
/** Damaged blobs that a message spells out; the facts name all of them. */
const SHOWN_BLOBS = 3

/** Reads the packs and holds every byte against name, index, header, seals and hashes. Resolves with how many bytes there were. */
export async function checkData(
  repository: IndexedRepository,
  packs: readonly PackToRead[],
  report: Report,
  options: {
    readonly onPack: (done: Amount, total: Amount, pack: PackId, sound: boolean) => void
    readonly signal: AbortSignal | undefined
  },
): Promise<number> {
  const { signal, onPack } = options
  const total = { files: packs.length, bytes: packs.reduce((sum, { size }) => sum + size, 0) }
  let done: Amount = { files: 0, bytes: 0 }
  const results = mapConcurrent(packs, READERS, async (pack) => {
    signal?.throwIfAborted()
    const first = await inspectPack(repository, pack, signal)
    // Read again before anything is called damaged: the fault may lie with the line, not with what is stored.
    return { pack, ...(isSound(first) ? first : await inspectPack(repository, pack, signal)) }
  })
  for await (const { pack, defects, blobs } of results) {
    reportPack(repository, pack.id, { defects, blobs }, report)
    done = { files: done.files + 1, bytes: done.bytes + pack.size }
    onPack(done, total, pack.id, isSound({ defects, blobs }))
  }
  return done.bytes
}

interface Amount {
  readonly files: number
  readonly bytes: number
}

interface Inspection {
  /** What is wrong with the file as a whole. */
  readonly defects: readonly string[]
  /** Those that cannot be read though the file can. */
  readonly blobs: readonly { readonly id: BlobId; readonly found: string }[]
}

function isSound({ defects, blobs }: Inspection): boolean {
  return defects.length === 0 && blobs.length === 0
}

function reportPack(repository: IndexedRepository, id: PackId, { defects, blobs }: Inspection, report: Report): void {
  const facts = { pack: id, file: pathOf({ type: 'pack', id }) }
  if (defects.length > 0) report('error', 'pack-damaged', `Pack ${id}: ${defects.join('; ')}`, facts)
  if (blobs.length === 0) return
  const of = repository.index.packBlobs(id)?.length ?? 0
  const shown = blobs.slice(0, SHOWN_BLOBS).map(({ found }) => found)
  const more = blobs.length > SHOWN_BLOBS ? '; …' : ''
  const message = `Pack ${id}: ${blobs.length} of its ${of} blobs cannot be read: ${shown.join('; ')}${more}`
  report('error', 'blob-damaged', message, { ...facts, blobs: blobs.map((blob) => blob.id) })
}

async function inspectPack(
  repository: IndexedRepository,
  pack: PackToRead,
  signal: AbortSignal | undefined,
): Promise<Inspection> {
  let content: PackContent
  try {
    content = await openPack(repository, pack, signal)
  } catch (error) {
    if (!isFileProblem(error)) throw error
    return { defects: [`it cannot be read: ${error.message}`], blobs: [] }
  }
  const indexed = repository.index.packBlobs(pack.id) ?? []
  const defects: string[] = []
  const blobs: { id: BlobId; found: string }[] = []
  const attempt = async (work: () => Promise<string | undefined>, failed: (found: string) => void) => {
    try {
      const found = await work()
      if (found !== undefined) failed(found)
    } catch (error) {
      if (!isFileProblem(error)) throw error
      failed(error.message)
    }
  }
  await attempt(
    () => nameContradiction(pack.id, content),
    (found) => defects.push(found),
  )
  await attempt(
    () => headerContradiction(repository, indexed, content),
    (found) => defects.push(found),
  )
  for (const blob of indexed) {
    await attempt(
      async () => {
        decodeBlob(repository.masterKey, blob, await content.read(blob.offset, blob.length))
        return undefined
      },
      (found) => blobs.push({ id: blob.id, found: `${blob.type} blob ${blob.id}: ${found}` }),
    )
  }
  if (defects.length > 0 && blobs.length === 0) defects.push('every blob that the index names in it is intact')
  return { defects, blobs }
}

async function openPack(
  repository: IndexedRepository,
  { id, size }: PackToRead,
  signal: AbortSignal | undefined,
): Promise<PackContent> {
  const name = { type: 'pack', id } as const
  if (size > WHOLE_PACK_LIMIT) {
    return { size, read: (offset, length) => repository.storage.read(name, { offset, length }, signal) }
  }
  const whole = await repository.storage.read(name, undefined, signal)
  return {
    size: whole.length,
    async read(offset, length) {
      if (offset + length <= whole.length) return whole.subarray(offset, offset + length)
      throw new EngineError('TRUNCATED', `it would end at byte ${offset + length}, the pack has ${whole.length}`)
    },
  }
}

async function nameContradiction(id: PackId, { size, read }: PackContent): Promise<string | undefined> {
  const digest = createHash('sha256')
  for (let offset = 0; offset < size; offset += PIECE) digest.update(await read(offset, Math.min(PIECE, size - offset)))
  const found = digest.digest('hex')
  return found === id ? undefined : `its content does not match its name, for its SHA-256 is ${found}`
}

async function headerContradiction(
  repository: IndexedRepository,
  indexed: readonly PackedBlob[],
  content: PackContent,
): Promise<string | undefined> {
  const listed = await readPackHeader(repository.masterKey, content)
  if (listed.length !== indexed.length) return `its header lists ${listed.length} blobs, the index ${indexed.length}`
  return sameBlobs(listed, indexed) ? undefined : 'its header and the index do not list the same blobs'
}
