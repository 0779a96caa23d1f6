import { mapConcurrent } from '../concurrency.ts'
import type { EngineError } from '../error.ts'
import { type IndexId, parseId } from '../format/id.ts'
import { type PackIndex, parseIndexFile } from '../format/index-file.ts'
import { columnsToPacks, type IndexColumns, scanIndexFile } from '../format/scan-index-file.ts'
import { listensForTreePacks } from '../storage/tree-pack-listener.ts'
import { BlobIndex } from './blob-index.ts'
import { isFileProblem } from './file-problem.ts'
import type { IndexedRepository, Repository } from './repository.ts'
import { readParsed } from './unpacked-files.ts'

/** Index files under way at once: enough to hide the latency of remote storage. */
const CONCURRENCY = 8

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

/** As `readIndexFiles`, without an object for each blob where that can be. */
export async function* readIndexContents(
  repository: Repository,
  signal?: AbortSignal,
): AsyncGenerator<IndexContentResult> {
  const files = repository.storage.list('index', signal)
  yield* mapConcurrent(files, CONCURRENCY, async ({ name }): Promise<IndexContentResult> => {
    const id = parseId<IndexId>(name.id)
    try {
      return { id, ...(await readContent(repository, id, signal)) }
    } catch (error) {
      if (isFileProblem(error)) return { id, error }
      throw error
    }
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
  const files = repository.storage.list('index', signal)
  const read = mapConcurrent(files, CONCURRENCY, async ({ name }) => {
    const id = parseId<IndexId>(name.id)
    return { id, ...(await readContent(repository, id, signal)) }
  })
  for await (const file of read) {
    indexFiles.push(file.id)
    if ('columns' in file) index.addColumns(file.columns)
    else for (const pack of file.packs) index.addPack(pack.id, pack.blobs)
  }
  if (listensForTreePacks(repository.storage)) await repository.storage.setTreePacks(index.treePacks())
  return { ...repository, index, indexFiles }
}

function readContent(repository: Repository, id: IndexId, signal: AbortSignal | undefined): Promise<IndexContent> {
  const { version } = repository.config
  const parse = (json: Buffer): IndexContent => {
    const columns = scanIndexFile(json, version)
    return columns ? { columns } : { packs: parseIndexFile(json, version) }
  }
  return readParsed(repository, 'index', id, parse, signal)
}
