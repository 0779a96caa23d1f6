import { once } from 'node:events'
import type { Writable } from 'node:stream'

/** Writes data to a stream and waits while its reader has enough to do. Rejects with the signal's reason. */
export async function writeOutput(stream: Writable, bytes: Buffer, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  if (!stream.write(bytes)) await once(stream, 'drain', { signal })
}
