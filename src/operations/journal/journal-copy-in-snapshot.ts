import { rm } from 'node:fs/promises'
import { type Journal, readJournal } from '../../application/journal/journal.ts'
import { writeFileDurably } from '../../engine/os/write-file-durably.ts'
import type { IndexedRepository } from '../../engine/repository/repository.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { MANIFEST_LIMIT, SELF } from '../manifest.ts'
import { findNode, readWhole } from '../snapshot-files.ts'
import { JOURNAL } from './journal-of.ts'

/**
 * Looks into the copy of the journal that a snapshot holds; false where it holds none.
 *
 * @param file where it lies for the moment, in a folder of our own
 */
export async function withJournalCopy(
  repository: IndexedRepository,
  { snapshot }: StoredSnapshot,
  file: string,
  look: (journal: Journal) => void,
  signal?: AbortSignal,
): Promise<boolean> {
  const node = await findNode(repository, snapshot.tree, `/${SELF}/${JOURNAL}`, signal)
  if (node === undefined) return false
  try {
    await writeFileDurably(file, await readWhole(repository, node, MANIFEST_LIMIT, signal), { mode: 0o600 })
    using copy = readJournal(file)
    if (copy !== undefined) look(copy)
    return true
  } finally {
    for (const suffix of ['', '-wal', '-shm']) await rm(file + suffix, { force: true })
  }
}
