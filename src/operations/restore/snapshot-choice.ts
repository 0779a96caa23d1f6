import { CodedError } from '../../engine/error.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import type { IndexedRepository, Repository } from '../../engine/repository/repository.ts'
import { findSnapshot, type SnapshotFilter, type StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { findAppSnapshot } from '../app-snapshots.ts'
import type { Manifest } from '../manifest.ts'
import { readManifest } from '../snapshot-files.ts'

/** Which snapshot is meant. */
export interface SnapshotChoice {
  /** `latest` or the beginning of an ID. */
  readonly name: string
  /** Only snapshots of this application count as the latest. */
  readonly app?: string | undefined
  /** With `app`: the latest must hold these components. */
  readonly components?: readonly string[] | undefined
  /** Without `app`, as restic's options of these names. */
  readonly filter?: SnapshotFilter
  /** The newest that is not newer, ns since the epoch. */
  readonly notAfter?: bigint | undefined
}

export interface ChosenSnapshot {
  readonly repository: IndexedRepository
  readonly stored: StoredSnapshot
  /** Undefined for snapshots that do not describe themselves, such as restic's, and where the description is damaged. */
  readonly manifest: Manifest | undefined
  /** Why the manifest that is there cannot be read. The files of the snapshot need not be affected. */
  readonly manifestProblem?: CodedError | undefined
}

/** The snapshot that is meant. Rejects as `findSnapshot` and `findAppSnapshot` do. */
export async function findStored(
  plain: Repository,
  { name, app, components, notAfter, filter }: SnapshotChoice,
  signal?: AbortSignal,
): Promise<StoredSnapshot> {
  return app === undefined
    ? findSnapshot(plain, { name, ...filter, ...(notAfter === undefined ? {} : { notAfter }) }, signal)
    : findAppSnapshot(plain, { app, name, components, notAfter }, signal)
}

export async function chooseSnapshot(
  plain: Repository,
  choice: SnapshotChoice,
  signal?: AbortSignal,
): Promise<ChosenSnapshot> {
  const stored = await findStored(plain, choice, signal)
  const repository = await loadIndex(plain, signal)
  try {
    return { repository, stored, manifest: await readManifest(repository, stored, signal) }
  } catch (error) {
    signal?.throwIfAborted()
    if (!(error instanceof CodedError) || error.code === 'INTERRUPTED') throw error
    return { repository, stored, manifest: undefined, manifestProblem: error }
  }
}

/** For what cannot be done without a manifest: rejects with what is wrong with it, if there is one. */
export function refuseDamagedManifest({ manifestProblem }: ChosenSnapshot): void {
  if (manifestProblem !== undefined) throw manifestProblem
}
