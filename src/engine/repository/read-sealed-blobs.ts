import { mapConcurrent } from '../concurrency.ts'
import type { EngineError } from '../error.ts'
import type { PackId } from '../format/id.ts'
import type { PackedBlob } from '../format/pack-header.ts'
import { isFileProblem } from './file-problem.ts'
import type { Repository } from './repository.ts'

/** Blobs that lie closer to each other than this are fetched at once, with what is between them. */
const MAX_GAP = 256 * 1024
/** A stretch is not made longer than this, unless one blob is. */
const MAX_STRETCH = 8 * 1024 * 1024
/** Stretches under way at once, so that memory stays near four of them. */
const READERS = 3

export interface PackPart {
  readonly pack: PackId
  readonly blobs: readonly PackedBlob[]
}

export type SealedReading =
  | { readonly pack: PackId; readonly blob: PackedBlob; readonly sealed: Buffer }
  | { readonly pack: PackId; readonly blob: PackedBlob; readonly error: EngineError }

interface Stretch extends PackPart {
  readonly offset: number
  readonly length: number
}

/**
 * The blobs as they lie in the packs, sealed and not held against anything: pack after pack, and by place in each. Blobs that lie
 * together are read together. One that cannot be had comes with the reason; rejects when interrupted. The bytes of several blobs
 * may share memory.
 */
export async function* readSealedBlobs(
  repository: Repository,
  parts: Iterable<PackPart>,
  signal?: AbortSignal,
): AsyncGenerator<SealedReading> {
  for await (const readings of mapConcurrent(stretches(parts), READERS, (one) =>
    readStretch(repository, one, signal),
  )) {
    yield* readings
  }
}

function* stretches(parts: Iterable<PackPart>): Generator<Stretch> {
  for (const { pack, blobs } of parts) {
    let together: PackedBlob[] = []
    let start = 0
    let end = 0
    for (const blob of blobs.toSorted((a, b) => a.offset - b.offset)) {
      const blobEnd = blob.offset + blob.length
      if (together.length > 0 && (blob.offset - end > MAX_GAP || blobEnd - start > MAX_STRETCH)) {
        yield { pack, blobs: together, offset: start, length: end - start }
        together = []
      }
      if (together.length === 0) [start, end] = [blob.offset, blobEnd]
      together.push(blob)
      end = Math.max(end, blobEnd)
    }
    if (together.length > 0) yield { pack, blobs: together, offset: start, length: end - start }
  }
}

async function readStretch(
  repository: Repository,
  { pack, blobs, offset, length }: Stretch,
  signal: AbortSignal | undefined,
): Promise<SealedReading[]> {
  signal?.throwIfAborted()
  const name = { type: 'pack', id: pack } as const
  try {
    const bytes = await repository.storage.read(name, { offset, length }, signal)
    return blobs.map((blob) => {
      const from = blob.offset - offset
      return { pack, blob, sealed: bytes.subarray(from, from + blob.length) }
    })
  } catch (error) {
    if (!isFileProblem(error)) throw error
    // A pack that was cut short still has the blobs before the cut.
    const [only] = blobs
    if (blobs.length === 1 && only) return [{ pack, blob: only, error }]
    const readings: SealedReading[] = []
    for (const blob of blobs) {
      const one = { pack, blobs: [blob], offset: blob.offset, length: blob.length }
      readings.push(...(await readStretch(repository, one, signal)))
    }
    return readings
  }
}
