import type { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'

/**
 * Pipes bytes through a transform (gzip, gunzip). Nothing is started before the first byte is asked for, and source and
 * transform are released when the consumer stops early. Errors of either are thrown as they are.
 */
export async function* throughTransform(
  source: AsyncIterable<Uint8Array>,
  transform: Transform,
  signal?: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const piped = pipeline(source, transform, signal === undefined ? {} : { signal })
  piped.catch(() => {}) // the transform is destroyed with the same error, which the loop below throws
  try {
    for await (const chunk of transform) yield chunk as Buffer
    await piped
  } catch (error) {
    signal?.throwIfAborted() // the reason itself instead of an AbortError around it
    throw error
  } finally {
    transform.destroy()
  }
}
