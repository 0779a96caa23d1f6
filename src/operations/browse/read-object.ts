import { createHash } from 'node:crypto'
import { EngineError } from '../../engine/error.ts'
import { type BlobId, type Id, type IndexId, isId, type LockId } from '../../engine/format/id.ts'
import { encodeMasterKey } from '../../engine/format/key-file.ts'
import { encodeRepositoryConfig } from '../../engine/format/repository-config.ts'
import { findKey, readKeyFile } from '../../engine/repository/keys.ts'
import { listIds } from '../../engine/repository/list-ids.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import { readBlob } from '../../engine/repository/read-blob.ts'
import type { IndexedRepository, Repository } from '../../engine/repository/repository.ts'
import { readUnpacked } from '../../engine/repository/unpacked-files.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { findStored, type SnapshotChoice } from '../restore/snapshot-choice.ts'
import { findFolder } from './find-folder.ts'

/** What to show. IDs may be beginnings of IDs. */
export type WantedObject =
  | { readonly kind: 'config' | 'masterkey' }
  | { readonly kind: 'index' | 'key' | 'lock' | 'pack' | 'blob'; readonly id: string }
  | { readonly kind: 'snapshot'; readonly choice: SnapshotChoice }
  | { readonly kind: 'tree'; readonly choice: SnapshotChoice; readonly subfolder?: string | undefined }

/** A pack is handed on in pieces of this size. */
const PIECE = 4 * 1024 * 1024

/**
 * Hands out one of the objects of which a repository consists: JSON of what is JSON, decrypted; the plaintext of a blob; a pack as it
 * is stored, also a damaged one. `masterkey` is what opens everything else: whoever sees it needs no password any more.
 */
export async function readObject(
  access: RepositoryAccess,
  options: {
    readonly wanted: WantedObject
    readonly signal: AbortSignal
    readonly onDamaged: (message: string) => void
    readonly write: (bytes: Buffer) => Promise<void>
  },
): Promise<void> {
  const { wanted, write, onDamaged } = options
  await withRepository(access, { lock: 'shared', signal: options.signal }, async (plain, lockSignal) => {
    const signal = lockSignal ?? options.signal
    switch (wanted.kind) {
      case 'config':
        return write(encodeRepositoryConfig(plain.config))
      case 'masterkey':
        return write(encodeMasterKey(plain.masterKey))
      case 'index':
        return write(
          await readUnpacked(plain, 'index', await fullId<IndexId>(plain, 'index', wanted.id, signal), signal),
        )
      case 'lock':
        return write(await readUnpacked(plain, 'lock', await fullId<LockId>(plain, 'lock', wanted.id, signal), signal))
      case 'key':
        return write(await readKeyFile(plain, await findKey(plain, wanted.id, signal), signal))
      case 'snapshot':
        return write(await readUnpacked(plain, 'snapshot', (await findStored(plain, wanted.choice, signal)).id, signal))
      case 'pack':
        return writePack(plain, await fullId(plain, 'pack', wanted.id, signal), write, onDamaged, signal)
      case 'blob':
        return write(await readAnyBlob(await loadIndex(plain, signal), wanted.id, signal))
      case 'tree': {
        const stored = await findStored(plain, wanted.choice, signal)
        const repository = await loadIndex(plain, signal)
        const tree = await findFolder(repository, stored, wanted.subfolder, signal)
        return write(await readBlob(repository, 'tree', tree, signal))
      }
    }
  })
}

/** Rejects with `NOT_FOUND` or `AMBIGUOUS`. */
async function fullId<K extends Id>(
  repository: Repository,
  type: 'index' | 'lock' | 'pack',
  start: string,
  signal: AbortSignal,
): Promise<K> {
  return only(
    type,
    start,
    (await listIds<K>(repository, type, signal)).filter((id) => id.startsWith(start)),
  )
}

function only<K extends string>(what: string, start: string, fitting: readonly K[]): K {
  const [id] = fitting
  if (id !== undefined && fitting.length === 1) return id
  throw new EngineError(
    id === undefined ? 'NOT_FOUND' : 'AMBIGUOUS',
    id === undefined
      ? `No ${what} ${start} in the repository`
      : `The ${what} ${start} is ambiguous: ${fitting.length} IDs begin so`,
    { facts: { [what]: start }, ...(id === undefined ? {} : { hint: 'Give more digits of the ID' }) },
  )
}

async function writePack(
  { storage }: Repository,
  id: string,
  write: (bytes: Buffer) => Promise<void>,
  onDamaged: (message: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const name = { type: 'pack', id } as const
  const size = await storage.size(name, signal)
  const hash = createHash('sha256')
  for (let offset = 0; offset < size; offset += PIECE) {
    const bytes = await storage.read(name, { offset, length: Math.min(PIECE, size - offset) }, signal)
    hash.update(bytes)
    await write(bytes)
  }
  const found = hash.digest('hex')
  if (found !== id) onDamaged(`Pack ${id} is damaged: the hash of its content is ${found}`)
}

/** Data or, where there is none of that ID, a tree. */
async function readAnyBlob(repository: IndexedRepository, start: string, signal: AbortSignal): Promise<Buffer> {
  for (const type of ['data', 'tree'] as const) {
    const fitting = isId(start)
      ? repository.index.has(type, start as Id as BlobId)
        ? [start as Id as BlobId]
        : []
      : blobsBeginningWith(repository, type, start)
    if (fitting.length > 0) return readBlob(repository, type, only('blob', start, fitting), signal)
  }
  return only<never>('blob', start, [])
}

function blobsBeginningWith({ index }: IndexedRepository, type: 'data' | 'tree', start: string): BlobId[] {
  const fitting = new Set<BlobId>()
  const bytes = Math.ceil(start.length / 2)
  index.forEachId(type, (ids, offset) => {
    if (!ids.toString('hex', offset, offset + bytes).startsWith(start)) return
    fitting.add(ids.toString('hex', offset, offset + 32) as BlobId)
  })
  return [...fitting]
}
