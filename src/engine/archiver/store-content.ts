import type { BlobId } from '../format/id.ts'
import { type Chunker, MAX_CHUNK } from '../kernels/chunker.ts'
import type { BlobSink } from './blob-sink.ts'

export interface StoredContent {
  readonly content: readonly BlobId[]
  /** Bytes that were stored. */
  readonly size: number
}

/** Cuts streams of bytes into blobs and saves them, one stream after the other: it owns one buffer, whatever their length. */
export class ContentStore {
  readonly #sink: Pick<BlobSink, 'save'>
  readonly #chunker: Chunker
  readonly #buffer = Buffer.allocUnsafeSlow(2 * MAX_CHUNK)

  constructor(sink: Pick<BlobSink, 'save'>, chunker: Chunker) {
    this.#sink = sink
    this.#chunker = chunker
  }

  /**
   * Stores what `read` fills in, until it returns 0. `onBytes` is told of each blob as it is stored. The next stream may
   * begin when this one's promise has settled.
   */
  async store(
    read: (into: Buffer) => number | Promise<number>,
    onBytes?: (bytes: number) => void,
  ): Promise<StoredContent> {
    const buffer = this.#buffer
    const content: BlobId[] = []
    let size = 0
    let start = 0
    let end = 0
    let final = false
    while (!final || start < end) {
      // The chunker starts over at each call, so it is asked only when it can answer: enough bytes for the longest chunk.
      while (!final && end - start < MAX_CHUNK) {
        if (buffer.length - start < MAX_CHUNK) {
          buffer.copyWithin(0, start, end)
          end -= start
          start = 0
        }
        const count = await read(buffer.subarray(end))
        if (count === 0) final = true
        end += count
      }
      if (start === end) break
      const length = this.#chunker.nextLength(buffer, start, end, final)
      const { id } = await this.#sink.save('data', buffer.subarray(start, start + length))
      content.push(id)
      start += length
      size += length
      onBytes?.(length)
    }
    return { content, size }
  }
}
