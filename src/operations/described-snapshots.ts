import { CodedError } from '../engine/error.ts'
import type { IndexedRepository, Repository } from '../engine/repository/repository.ts'
import type { StoredSnapshot } from '../engine/repository/snapshots.ts'
import { appSnapshots } from './app-snapshots.ts'
import type { Manifest } from './manifest.ts'
import { readManifest } from './snapshot-files.ts'

export interface DescribedSnapshot {
  readonly stored: StoredSnapshot
  readonly manifest: Manifest
}

/** Each snapshot of an application with what it says of itself, newest first. One that cannot be read is told of and passed over. */
export async function* describedSnapshots(
  repository: IndexedRepository,
  plain: Repository,
  app: string,
  passOver: (line: string) => void,
  signal: AbortSignal,
): AsyncGenerator<DescribedSnapshot> {
  const snapshots = await appSnapshots(plain, app, signal, (error) => passOver(error.message))
  for (const stored of snapshots.reverse()) {
    try {
      const manifest = await readManifest(repository, stored, signal)
      if (manifest !== undefined) yield { stored, manifest }
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      passOver(error.message)
    }
  }
}
