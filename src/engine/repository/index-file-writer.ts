import { encodeIndexFile, type PackIndex } from '../format/index-file.ts'
import { FULL_INDEX_BLOBS } from './blob-writer.ts'
import type { Repository } from './repository.ts'
import { writeUnpacked } from './unpacked-files.ts'

/** Puts packs into index files, each as soon as it is full; what is left over is stored by `finish`. */
export class IndexFileWriter {
  readonly #repository: Repository
  readonly #signal: AbortSignal | undefined
  #packs: PackIndex[] = []
  #blobs = 0
  #written = 0

  constructor(repository: Repository, signal?: AbortSignal) {
    this.#repository = repository
    this.#signal = signal
  }

  async add(pack: PackIndex): Promise<void> {
    this.#packs.push(pack)
    this.#blobs += pack.blobs.length
    if (this.#blobs >= FULL_INDEX_BLOBS) await this.#flush()
  }

  /** Resolves with how many files there are. */
  async finish(): Promise<number> {
    if (this.#packs.length > 0) await this.#flush()
    return this.#written
  }

  async #flush(): Promise<void> {
    await writeUnpacked(this.#repository, 'index', encodeIndexFile(this.#packs), this.#signal)
    this.#written += 1
    this.#packs = []
    this.#blobs = 0
  }
}
