import { type BlobId, hashId, type PackId } from '../../src/engine/format/id.ts'
import type { BlobType } from '../../src/engine/format/pack-header.ts'
import type { Snapshot } from '../../src/engine/format/snapshot.ts'
import { parseTimestamp } from '../../src/engine/format/timestamp.ts'
import { BlobWriter } from '../../src/engine/repository/blob-writer.ts'
import { loadIndex } from '../../src/engine/repository/load-index.ts'
import { createRepository, type IndexedRepository, type Repository } from '../../src/engine/repository/repository.ts'
import { memoryStorage } from '../../src/engine/storage/memory.ts'
import type { FileName, FileType, Storage, StorageReader } from '../../src/engine/storage/storage.ts'

export const PASSWORD = Buffer.from('of a repository that lives for one test')

/** A key derivation that costs nothing. Only for passwords that protect nothing. */
export const CHEAP_KDF = { N: 2, r: 1, p: 1 }

/** Irreducible and of degree 53; finding one takes longer than most tests. */
export const POLYNOMIAL = 0x25b468838dcb75n

/** A real repository, made fast: in memory unless told otherwise, with a cheap key. */
export async function testRepository(
  options: { readonly storage?: Storage; readonly version?: 1 | 2 } = {},
): Promise<Repository> {
  const { storage = memoryStorage(), version = 2 } = options
  return createRepository(storage, { password: PASSWORD, kdf: CHEAP_KDF, polynomial: POLYNOMIAL, version })
}

/** The repository as a process would see it that comes to it through this storage. */
export function through(repository: Repository, storage: Storage): Repository {
  const { config, masterKey, keyId } = repository
  return { storage, config, masterKey, keyId }
}

export interface StoredBlobs {
  readonly repository: IndexedRepository
  readonly ids: readonly BlobId[]
  /** The packs that this made. */
  readonly packs: readonly PackId[]
}

/** Stores blobs in packs of their own and answers with a freshly loaded index. */
export async function storeBlobs(
  repository: Repository,
  blobs: readonly (readonly [BlobType, string | Buffer])[],
): Promise<StoredBlobs> {
  const before = new Set(await namesOf(repository.storage, 'pack'))
  await using writer = new BlobWriter(await loadIndex(repository))
  const ids: BlobId[] = []
  for (const [type, content] of blobs) ids.push((await writer.save(type, Buffer.from(content))).id)
  await writer.finish()
  const packs = (await namesOf(repository.storage, 'pack')).filter((id) => !before.has(id)) as PackId[]
  return { repository: await loadIndex(repository), ids, packs }
}

export async function namesOf(storage: StorageReader, type: FileType): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of storage.list(type)) names.push(name.id)
  return names.sort()
}

/** Puts other content under a name, as damage or an attacker would. */
export async function overwrite(storage: Storage, name: FileName, content: Buffer): Promise<void> {
  await storage.remove(name)
  await storage.write(name, content)
}

/** A snapshot of a tree, with nothing special about it but the changes. */
export function snapshotOf(tree: BlobId = hashId(Buffer.from('no tree')), changes: Partial<Snapshot> = {}): Snapshot {
  return {
    time: parseTimestamp('2026-11-01T12:00:00Z'),
    tree,
    paths: ['/srv/app'],
    hostname: 'server',
    username: 'operator',
    uid: 1000,
    gid: 1000,
    excludes: [],
    tags: [],
    programVersion: 'test',
    ...changes,
  }
}
