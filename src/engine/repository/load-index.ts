import { mapConcurrent } from '../concurrency.ts'
import type { EngineError } from '../error.ts'
import { type IndexId, parseId } from '../format/id.ts'
import { type PackIndex, parseIndexFile } from '../format/index-file.ts'
import type { IndexScanner } from '../format/index-scanner.ts'
import type { RepositoryVersion } from '../format/repository-config.ts'
import { columnsToPacks, type IndexColumns, scanIndexFile } from '../format/scan-index-file.ts'
import { decodeUnpacked } from '../format/unpacked.ts'
import type { StoredFile } from '../storage/storage.ts'
import { listensForTreePacks } from '../storage/tree-pack-listener.ts'
import { BlobIndex } from './blob-index.ts'
import { isFileProblem } from './file-problem.ts'
import type { IndexedRepository, Repository } from './repository.ts'
import { attemptToRead, LONG, readPlaintext } from './unpacked-files.ts'

/** Index files under way at once: enough to hide the latency of remote storage. */
const CONCURRENCY = 8

/** Bytes of an index file for each blob, at the least: a hash does not compress. */
const SHORTEST_SEALED = 32

export type IndexFileResult =
  | { readonly id: IndexId; readonly packs: readonly PackIndex[] }
  | { readonly id: IndexId; readonly error: EngineError }

/** What an index file lists: in columns if it is written as always, otherwise pack by pack. */
type IndexContent = { readonly columns: IndexColumns } | { readonly packs: readonly PackIndex[] }

export type IndexContentResult =
  | ({ readonly id: IndexId } & IndexContent)
  | { readonly id: IndexId; readonly error: EngineError }

/** Every index file, parsed, or the reason why it cannot be. Rejects when the files cannot be listed, or when interrupted. */
export async function* readIndexFiles(repository: Repository, signal?: AbortSignal): AsyncGenerator<IndexFileResult> {
  for await (const file of readIndexContents(repository, signal)) {
    yield 'columns' in file ? { id: file.id, packs: columnsToPacks(file.columns) } : file
  }
}

/** As `readIndexFiles`, without an object for each blob where that can be. Columns are lent until the next result is asked for. */
export function readIndexContents(repository: Repository, signal?: AbortSignal): AsyncGenerator<IndexContentResult> {
  return readContents(repository, repository.storage.list('index', signal), signal)
}

async function* readContents(
  repository: Repository,
  files: Iterable<StoredFile> | AsyncIterable<StoredFile>,
  signal: AbortSignal | undefined,
): AsyncGenerator<IndexContentResult> {
  using scanner = new LazyScanner()
  const read = mapConcurrent(files, CONCURRENCY, async ({ name }) => {
    const id = parseId<IndexId>(name.id)
    return orProblem(id, async () => ({ id, plaintext: await readPlaintext(repository, 'index', id, signal) }))
  })
  for await (const file of read) {
    if ('error' in file) yield file
    else yield await orProblem(file.id, () => parseContent(repository, file.id, file.plaintext, scanner))
  }
}

async function orProblem<R>(
  id: IndexId,
  work: () => Promise<R>,
): Promise<R | { readonly id: IndexId; readonly error: EngineError }> {
  try {
    return await work()
  } catch (error) {
    if (isFileProblem(error)) return { id, error }
    throw error
  }
}

/** Loaded for the first long file. */
class LazyScanner {
  #scanner: IndexScanner | undefined

  async scan(plaintext: Buffer, version: RepositoryVersion): Promise<IndexColumns | undefined> {
    if (plaintext.length < LONG) return undefined
    this.#scanner ??= new (await import('../format/index-scanner.ts')).IndexScanner()
    return this.#scanner.scan(plaintext, version)
  }

  [Symbol.dispose](): void {
    this.#scanner?.close()
  }
}

async function parseContent(
  repository: Repository,
  id: IndexId,
  plaintext: Buffer,
  scanner: LazyScanner,
): Promise<{ readonly id: IndexId } & IndexContent> {
  const { version } = repository.config
  const scanned = await scanner.scan(plaintext, version)
  if (scanned) return { id, columns: scanned }
  return attemptToRead('index', id, () => {
    const json = decodeUnpacked(version, plaintext)
    const columns = scanIndexFile(json, version)
    return columns ? { id, columns } : { id, packs: parseIndexFile(json, version) }
  })
}

/** A repository with the index that was loaded, and where it came from. */
export interface LoadedRepository extends IndexedRepository {
  /** The index files that there were. What was in no list is not in the index. */
  readonly indexFiles: readonly IndexId[]
}

/**
 * Loads the whole index. Snapshots that must be readable with it are to be listed before this is called: whoever writes
 * a snapshot has published its index first (format reference 11.1). Rejects at the first index file that cannot be read.
 */
export async function loadIndex(repository: Repository, signal?: AbortSignal): Promise<LoadedRepository> {
  const index = new BlobIndex()
  const indexFiles: IndexId[] = []
  const files = await Array.fromAsync(repository.storage.list('index', signal))
  for await (const file of readContents(repository, files, signal)) {
    if ('error' in file) throw file.error
    if ('columns' in file) {
      if (indexFiles.length === 0) index.reserve(blobsOfAll(files, file.columns.count))
      index.addColumns(file.columns)
    } else {
      for (const pack of file.packs) index.addPack(pack.id, pack.blobs)
    }
    indexFiles.push(file.id)
  }
  if (listensForTreePacks(repository.storage)) await repository.storage.setTreePacks(index.treePacks())
  return { ...repository, index, indexFiles }
}

/** How many blobs all index files list, if they are as long for each as the first one. */
function blobsOfAll(files: readonly StoredFile[], blobsOfFirst: number): number {
  const bytes = files.reduce((sum, { size }) => sum + size, 0)
  return Math.min(Math.ceil((blobsOfFirst * bytes) / files[0]!.size), Math.ceil(bytes / SHORTEST_SEALED))
}
