import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseId } from '../../src/engine/format/id.ts'
import { readBlob } from '../../src/engine/repository/read-blob.ts'
import type { IndexedRepository } from '../../src/engine/repository/repository.ts'
import { readUnpacked } from '../../src/engine/repository/unpacked-files.ts'

/**
 * Everything that the owner of the password can read in a repository (each blob, snapshot, index and lock, decrypted and
 * decompressed), and everything that anybody can: the files as they lie there. Each with a name.
 */
export async function* repositoryContent(
  repository: IndexedRepository,
  location: string,
): AsyncGenerator<readonly [name: string, bytes: Buffer]> {
  for (const { blobs } of repository.index.packs()) {
    for (const { type, id } of blobs) yield [`${type} blob ${id}`, await readBlob(repository, type, id)]
  }
  for (const type of ['snapshot', 'index', 'lock'] as const) {
    for await (const { name } of repository.storage.list(type)) {
      yield [`${type} ${name.id}`, await readUnpacked(repository, type, parseId(name.id))]
    }
  }
  for (const name of readdirSync(location, { recursive: true, encoding: 'utf8' })) {
    const file = join(location, name)
    if (statSync(file).isFile()) yield [name, readFileSync(file)]
  }
}
