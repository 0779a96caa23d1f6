import { EngineError } from '../error.ts'
import { hashId } from '../format/id.ts'
import { describeName } from '../storage/layout.ts'
import type { FileName, Storage } from '../storage/storage.ts'

/**
 * Stores a file under the hash of its content, and reads it back: for files that others rely on, or for the sake of which others
 * are removed, it must be known that the storage has them. Rejects as the storage does, and with `STORAGE` when it does not hand
 * out what it was given; such a file is removed again, for it would stand in everybody's way.
 */
export async function writeVerified(
  storage: Storage,
  name: FileName,
  content: Buffer | readonly Buffer[],
  signal?: AbortSignal,
): Promise<void> {
  await storage.write(name, content, signal)
  const stored = await storage.read(name, undefined, signal)
  if (hashId(stored) === name.id) return
  let isGone = true
  let cause: unknown
  try {
    await storage.remove(name, signal)
  } catch (error) {
    isGone = false
    cause = error
  }
  throw alteredByStorage(storage, name, isGone, cause)
}

function alteredByStorage({ location }: Storage, name: FileName, isGone: boolean, cause: unknown): EngineError {
  return new EngineError(
    'STORAGE',
    `Cannot store ${describeName(name)} in ${location}: what is read back is not what was written${isGone ? '' : ', and it could not be removed'}`,
    {
      facts: { location, type: name.type, id: name.id },
      cause,
      hint: `Nothing relies on that file yet. Have the disk and the memory of ${location} tested, then run \`holdfast check --read-data\``,
    },
  )
}
