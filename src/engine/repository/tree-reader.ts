import type { BlobId, PackId } from '../format/id.ts'
import { parseTree, type TreeNode } from '../format/tree.ts'
import { blobCompressor, decodeBlob } from './blob-codec.ts'
import type { BlobLocation } from './blob-index.ts'
import { isFileProblem } from './file-problem.ts'
import { readTree } from './read-blob.ts'
import type { IndexedRepository } from './repository.ts'

/** Packs are read in blocks of this size: archivers store the trees of a folder's folders next to it. */
const BLOCK = 1024 * 1024
const KEPT_BLOCKS = 4

interface Block {
  readonly pack: PackId
  readonly offset: number
  readonly bytes: Buffer
}

/** For who reads most trees of a snapshot, folder by folder: most are in memory already when it asks for them. */
export class TreeReader {
  readonly #repository: IndexedRepository
  readonly #signal: AbortSignal | undefined
  /** The one that was used last is the last. */
  readonly #blocks: Block[] = []
  /** Where the blobs of a pack end. */
  readonly #ends = new Map<PackId, number>()
  readonly #zstd = blobCompressor()

  constructor(repository: IndexedRepository, signal: AbortSignal | undefined) {
    this.#repository = repository
    this.#signal = signal
  }

  /** As `readTree`, which has the last word: what cannot be read here is asked for again, and from other copies. */
  async read(id: BlobId): Promise<TreeNode[]> {
    const location = this.#repository.index.find('tree', id)
    if (location !== undefined) {
      try {
        const sealed = this.#kept(location) ?? (await this.#fetch(location))
        return parseTree(decodeBlob(this.#repository.masterKey, location, sealed, this.#zstd))
      } catch (error) {
        if (!isFileProblem(error)) throw error
      }
    }
    return readTree(this.#repository, id, this.#signal)
  }

  #kept({ pack, offset, length }: BlobLocation): Buffer | undefined {
    const at = this.#blocks.findLastIndex(
      (block) => block.pack === pack && block.offset <= offset && offset + length <= block.offset + block.bytes.length,
    )
    if (at < 0) return undefined
    const [block] = this.#blocks.splice(at, 1)
    this.#blocks.push(block!)
    return block!.bytes.subarray(offset - block!.offset, offset - block!.offset + length)
  }

  async #fetch(location: BlobLocation): Promise<Buffer> {
    const { pack, offset, length } = location
    const start = offset - (offset % BLOCK)
    const end = Math.max(offset + length, Math.min(start + BLOCK, this.#endOf(pack)))
    const range = { offset: start, length: end - start }
    const bytes = await this.#repository.storage.read({ type: 'pack', id: pack }, range, this.#signal)
    this.#blocks.push({ pack, offset: start, bytes })
    if (this.#blocks.length > KEPT_BLOCKS) this.#blocks.shift()
    return bytes.subarray(offset - start, offset - start + length)
  }

  #endOf(pack: PackId): number {
    let end = this.#ends.get(pack)
    if (end === undefined) {
      end = 0
      for (const { offset, length } of this.#repository.index.packBlobs(pack) ?? [])
        end = Math.max(end, offset + length)
      this.#ends.set(pack, end)
    }
    return end
  }
}
