import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BlobId } from '../../src/engine/format/id.ts'
import type { BlobType } from '../../src/engine/format/pack-header.ts'
import type { IndexedRepository } from '../../src/engine/repository/repository.ts'

/** The file of the pack in which a blob lies, in a repository on disk. */
export function packFileOf(repository: IndexedRepository, location: string, type: BlobType, id: string): string {
  const found = repository.index.find(type, id as BlobId)
  if (found === undefined) throw new Error(`no ${type} blob ${id}`)
  return join(location, 'data', found.pack.slice(0, 2), found.pack)
}

/** Flips a bit in the middle of a stored blob. */
export function damagePackOf(repository: IndexedRepository, location: string, type: BlobType, id: string): void {
  const found = repository.index.find(type, id as BlobId)!
  const file = packFileOf(repository, location, type, id)
  const bytes = readFileSync(file)
  bytes[found.offset + (found.length >> 1)]! ^= 1
  chmodSync(file, 0o600)
  writeFileSync(file, bytes)
}

export function losePackOf(repository: IndexedRepository, location: string, type: BlobType, id: string): void {
  rmSync(packFileOf(repository, location, type, id))
}
