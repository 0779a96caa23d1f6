import { EngineError } from '../error.ts'
import type { PackId } from '../format/id.ts'
import type { Repository } from './repository.ts'

/**
 * In bytes; undefined when the pack is not there. Asked of each pack that a list leaves out before its blobs are given up: a list
 * that is incomplete must not cost what is intact.
 */
export async function sizeOfPack(
  { storage }: Repository,
  id: PackId,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  try {
    return await storage.size({ type: 'pack', id }, signal)
  } catch (error) {
    if (error instanceof EngineError && error.code === 'NOT_FOUND') return undefined
    throw error
  }
}
