import { mapConcurrent } from '../concurrency.ts'
import type { EngineError } from '../error.ts'
import { type IndexId, parseId } from '../format/id.ts'
import { type PackIndex, parseIndexFile } from '../format/index-file.ts'
import { type IndexColumns, scanIndexFile } from '../format/scan-index-file.ts'
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

/** Every index file, parsed, or the reason why it cannot be. Rejects when the files cannot be listed, or when interrupted. */
export async function* readIndexFiles(repository: Repository, signal?: AbortSignal): AsyncGenerator<IndexFileResult> {
  const files = repository.storage.list('index', signal)
  const parse = (json: Buffer) => parseIndexFile(json, repository.config.version)
  yield* mapConcurrent(files, CONCURRENCY, async ({ name }): Promise<IndexFileResult> => {
    const id = parseId<IndexId>(name.id)
    try {
      return { id, packs: await readParsed(repository, 'index', id, parse, signal) }
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
  const { version } = repository.config
  const indexFiles: IndexId[] = []
  const files = repository.storage.list('index', signal)
  const read = mapConcurrent(files, CONCURRENCY, async ({ name }) => {
    const id = parseId<IndexId>(name.id)
    return { id, ...(await readParsed(repository, 'index', id, (json) => scanned(json, version), signal)) }
  })
  for await (const { id, columns, packs } of read) {
    indexFiles.push(id)
    if (columns) index.addColumns(columns)
    for (const pack of packs) index.addPack(pack.id, pack.blobs)
  }
  if (listensForTreePacks(repository.storage)) await repository.storage.setTreePacks(index.treePacks())
  return { ...repository, index, indexFiles }
}

function scanned(
  json: Buffer,
  version: 1 | 2,
): { readonly columns: IndexColumns | undefined; readonly packs: readonly PackIndex[] } {
  const columns = scanIndexFile(json, version)
  return { columns, packs: columns ? [] : parseIndexFile(json, version) }
}
