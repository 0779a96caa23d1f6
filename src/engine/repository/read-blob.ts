import { EngineError } from '../error.ts'
import type { BlobId } from '../format/id.ts'
import type { BlobType } from '../format/pack-header.ts'
import { parseTree } from '../format/tree.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { decodeBlob } from './blob-codec.ts'
import { isDamage, isFileProblem } from './file-problem.ts'
import type { IndexedRepository } from './repository.ts'

/**
 * The plaintext of a blob, held against its hash. Where several copies are stored, one that is damaged or out of reach is
 * passed over. Rejects with `NOT_FOUND` when the index knows no such blob, `CORRUPT` when no copy of it is intact, and
 * with the storage's own code when a copy may be intact but cannot be read (`PERMISSION`, `STORAGE`).
 */
export async function readBlob(
  repository: IndexedRepository,
  type: BlobType,
  id: BlobId,
  signal?: AbortSignal,
): Promise<Buffer> {
  const locations = repository.index.findAll(type, id)
  if (locations.length === 0) {
    throw new EngineError('NOT_FOUND', `Cannot read ${type} blob ${id}: no index names it`, {
      facts: { blob: id, type },
      hint: 'Run `holdfast check`; when packs are there that no index names, `repair index` finds their blobs again',
    })
  }
  let damage: EngineError | undefined
  let outOfReach: EngineError | undefined
  for (const location of locations) {
    const range = { offset: location.offset, length: location.length }
    try {
      const sealed = await repository.storage.read({ type: 'pack', id: location.pack }, range, signal)
      return decodeBlob(repository.masterKey, location, sealed)
    } catch (error) {
      if (!isFileProblem(error)) throw error
      if (isDamage(error)) damage ??= error
      else outOfReach ??= error
    }
  }
  // What cannot be reached may be intact: it must not be called corrupt while that is not known.
  const cause = (outOfReach ?? damage)!
  const packs = locations.map(({ pack }) => pack)
  throw new EngineError(
    outOfReach?.code ?? 'CORRUPT',
    `Cannot read ${type} blob ${id} from pack ${packs.join(', ')}: ${cause.message}`,
    {
      facts: { blob: id, type, packs },
      hint: outOfReach ? outOfReach.hint : 'Run `holdfast check --read-data` to learn what else is damaged',
      cause,
    },
  )
}

/** A folder's nodes. Errors as of `readBlob`, and `CORRUPT` for a tree that does not parse. */
export async function readTree(repository: IndexedRepository, id: BlobId, signal?: AbortSignal): Promise<TreeNode[]> {
  const bytes = await readBlob(repository, 'tree', id, signal)
  try {
    return parseTree(bytes)
  } catch (cause) {
    if (!isDamage(cause)) throw cause
    throw new EngineError('CORRUPT', `Cannot read tree ${id}: ${cause.message}`, { facts: { blob: id }, cause })
  }
}
