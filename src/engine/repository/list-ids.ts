import type { Id } from '../format/id.ts'
import type { FileType } from '../storage/storage.ts'
import type { Repository } from './repository.ts'

/** The IDs of all files of a type, as the storage lists them. */
export async function listIds<K extends Id>(
  repository: Repository,
  type: Exclude<FileType, 'config'>,
  signal?: AbortSignal,
): Promise<K[]> {
  const ids: K[] = []
  for await (const { name } of repository.storage.list(type, signal)) ids.push(name.id as K)
  return ids
}
