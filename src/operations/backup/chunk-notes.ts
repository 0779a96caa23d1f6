import { hash } from 'node:crypto'
import { FINGERPRINT_KEY, KnownChunks } from '../../engine/archiver/known-chunks.ts'
import { derivedKey, readNoteAs, writeNote } from '../../engine/repository/notes.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import type { RepositoryCache } from '../access.ts'

/** One note of each repository, whatever is backed up into it: a chunk is the same in any file. */
const NOTE = hash('sha256', 'chunks of large files')

/**
 * What backups on this machine noted of chunks of large files; nothing of it with `force`, which has everything read and hashed again.
 * Undefined without a cache, where nothing can be noted. Rejects for nothing that is wrong with the note.
 */
export async function knownChunks(
  repository: Repository,
  cache: RepositoryCache | undefined,
  { force = false }: { readonly force?: boolean | undefined },
): Promise<KnownChunks | undefined> {
  if (cache === undefined) return undefined
  const key = derivedKey(repository, 'fingerprints of chunks', FINGERPRINT_KEY)
  const known = force ? undefined : await readNoteAs(repository, NOTE, cache, (note) => KnownChunks.parse(key, note))
  return known ?? KnownChunks.none(key)
}

/** Notes what a backup found new, once what it stored is in the repository's index. */
export async function noteChunks(
  repository: Repository,
  chunks: KnownChunks | undefined,
  cache: RepositoryCache | undefined,
): Promise<void> {
  const note = chunks?.encode()
  if (note && cache) await writeNote(repository, NOTE, note, cache)
}
