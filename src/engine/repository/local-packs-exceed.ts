import { localPath } from '../storage/local.ts'
import type { Storage } from '../storage/storage.ts'
import { isFileProblem } from './file-problem.ts'

/**
 * Whether the packs of a local repository have more bytes than this, for who decides something before the index is loaded. False also
 * for a repository elsewhere, where one more list may take longer than what it is to spare, and when nothing can be listed: why not is
 * for who needs the packs to say.
 */
export async function localPacksExceed(
  storage: Storage,
  bytes: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (localPath(storage, { type: 'config', id: '' }) === undefined) return false
  let total = 0
  try {
    for await (const { size } of storage.list('pack', signal)) {
      total += size
      if (total > bytes) return true
    }
  } catch (error) {
    if (!isFileProblem(error)) throw error
  }
  return false
}
