import { createHash } from 'node:crypto'
import { extname } from 'node:path'
import { mapConcurrent } from '../concurrency.ts'
import { EngineError } from '../error.ts'
import type { BlobId, PackId } from '../format/id.ts'
import type { MasterKey } from '../format/master-key.ts'
import { encodePackHeader, type PackedBlob } from '../format/pack-header.ts'
import { pathOf } from '../storage/layout.ts'
import { localPath } from '../storage/local.ts'
import type { Storage } from '../storage/storage.ts'
import { JobThreads, ownMemory, unlessRefused } from '../threads.ts'
import { decodeBlob } from './blob-codec.ts'
import type { Report } from './check-finding.ts'
import { isFileProblem } from './file-problem.ts'
import { localPacksExceed } from './local-packs-exceed.ts'
import { PackInspector, type PackToInspect } from './pack-inspector.ts'
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
/** Packs under way where there are no threads. */
const READERS = 2
/** Starting threads takes as long as reading this much without them. */
const BYTES_WITHOUT_THREADS = 48 * 1024 * 1024
/** Damaged blobs that a message spells out; the facts name all of them. */
const SHOWN_BLOBS = 3

/** What a thread is asked. The key comes with every pack: threads may have been started before it was known. */
export interface PackQuestion {
  readonly key: MasterKey
  readonly pack: PackToInspect
}

/** Threads that tell whether packs of one repository are sound. Their owner disposes of them. */
export type PackThreads = JobThreads<PackQuestion, boolean>

/**
 * Starts the threads for reading all packs of a local repository, if they are worth it: for who waits for its key meanwhile, which
 * the threads start without. Undefined also when nothing can be listed: why not is for the check to say.
 */
export async function startPackThreads(
  storage: Storage,
  signal: AbortSignal | undefined,
): Promise<PackThreads | undefined> {
  return (await localPacksExceed(storage, BYTES_WITHOUT_THREADS, signal)) ? startThreads(undefined, signal) : undefined
}

/** Reads the packs and holds every byte against name, index, header, seals and hashes. Resolves with how many bytes there were. */
export async function checkData(
  repository: IndexedRepository,
  packs: readonly PackToRead[],
  report: Report,
  options: {
    readonly onPack: (done: Amount, total: Amount, pack: PackId, sound: boolean) => void
    /** Those to ask, or how many to start: by default one for each processor where there is much to read, otherwise none. */
    readonly threads?: PackThreads | number | undefined
    readonly signal: AbortSignal | undefined
  },
): Promise<number> {
  const { signal, onPack } = options
  const total = { files: packs.length, bytes: packs.reduce((sum, { size }) => sum + size, 0) }
  await using inspect = inspection(repository, total.bytes, options)
  let done: Amount = { files: 0, bytes: 0 }
  const results = mapConcurrent(packs, inspect.capacity, async (pack) => {
    signal?.throwIfAborted()
    // Read again before anything is called damaged: the fault may lie with the line, not with what is stored.
    return { pack, ...((await inspect.isSound(pack)) ? SOUND : await inspectPack(repository, pack, signal)) }
  })
  for await (const { pack, defects, blobs } of results) {
    reportPack(repository, pack.id, { defects, blobs }, report)
    done = { files: done.files + 1, bytes: done.bytes + pack.size }
    onPack(done, total, pack.id, isSound({ defects, blobs }))
  }
  return done.bytes
}

/** Whether packs are sound, told by threads or, where there is little to read, by this one. */
interface PackInspection extends AsyncDisposable {
  /** Packs to ask for at a time. */
  readonly capacity: number
  isSound(pack: PackToRead): Promise<boolean>
}

function inspection(
  repository: IndexedRepository,
  bytes: number,
  {
    signal,
    threads,
  }: { readonly signal: AbortSignal | undefined; readonly threads?: PackThreads | number | undefined },
): PackInspection {
  const given = typeof threads === 'object' ? threads : undefined
  const count = typeof threads === 'object' ? undefined : threads
  const starts = given === undefined && (count === undefined ? bytes > BYTES_WITHOUT_THREADS : count > 0)
  const own = starts ? startThreads(count, signal) : undefined
  const pool = given ?? own
  const { masterKey: key } = repository
  let inline: PackInspector | undefined
  return {
    capacity: pool?.capacity ?? READERS,
    async isSound(pack) {
      const header = headerOf(repository.index.packBlobs(pack.id) ?? [])
      if (header === undefined) return false
      const { id } = pack
      const name = { type: 'pack', id } as const
      const path = localPath(repository.storage, name)
      if (path !== undefined && pool) return pool.run({ key, pack: { id, header, from: path } })
      if (pack.size > WHOLE_PACK_LIMIT) return false
      let from: Buffer
      try {
        from = await repository.storage.read(name, undefined, signal)
      } catch (error) {
        if (!isFileProblem(error)) throw error
        return false
      }
      if (pool) return pool.run({ key, pack: { id, header, from } }, ownMemory(from))
      inline ??= new PackInspector(key)
      return inline.isSound({ id, header, from })
    },
    async [Symbol.asyncDispose]() {
      await own?.[Symbol.asyncDispose]()
    },
  }
}

const PROGRAM = new URL(`./inspect-worker-main${extname(import.meta.url)}`, import.meta.url)

/** Undefined where the system gives no threads. */
function startThreads(count: number | undefined, signal: AbortSignal | undefined): PackThreads | undefined {
  return unlessRefused(() => new JobThreads({ program: PROGRAM, setUp: undefined, count, youngMegabytes: 1, signal }))
}

/** The header that fits the index entry; undefined for an entry that no header fits. */
function headerOf(blobs: readonly PackedBlob[]): Buffer | undefined {
  try {
    return encodePackHeader(blobs.toSorted((a, b) => a.offset - b.offset))
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return undefined
  }
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

const SOUND: Inspection = { defects: [], blobs: [] }

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
