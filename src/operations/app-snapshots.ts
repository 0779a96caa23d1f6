import { type CodedError, EngineError } from '../engine/error.ts'
import type { Repository } from '../engine/repository/repository.ts'
import { byTime, findSnapshot, fitsFilter, readSnapshots, type StoredSnapshot } from '../engine/repository/snapshots.ts'
import { OperationError } from './error.ts'

// How the snapshots of an application are told from others in the same repository, by tags that restic shows too:
//   app:NAME        every snapshot of the application
//   partial         made with --component
//   component:NAME  of a partial snapshot: what is in it

/** What a tag that names an application begins with. */
export const APP_TAG = 'app:'

export function appTag(app: string): string {
  return APP_TAG + app
}

export const PARTIAL = 'partial'

export function componentTag(component: string): string {
  return `component:${component}`
}

/** Whether a snapshot holds what is asked for; a snapshot that is not partial holds everything there was. */
function holds(tags: readonly string[], components: readonly string[] | undefined): boolean {
  if (!tags.includes(PARTIAL)) return true
  return (
    components !== undefined && components.length > 0 && components.every((name) => tags.includes(componentTag(name)))
  )
}

export interface AppSnapshotSelection {
  readonly app: string
  /** `latest` or the beginning of an ID. */
  readonly name: string
  /** With `latest`: those that hold all of these; undefined asks for a snapshot of the whole application. */
  readonly components?: readonly string[] | undefined
  readonly notAfter?: bigint | undefined
}

/**
 * Rejects with `NOT_FOUND`, `AMBIGUOUS`, `CORRUPT` for an ID, with `NOTHING` when there is no such latest one, and with
 * `CORRUPT` while a snapshot cannot be read that might be the latest: restoring an older one unasked loses data.
 */
export async function findAppSnapshot(
  repository: Repository,
  selection: AppSnapshotSelection,
  signal?: AbortSignal,
): Promise<StoredSnapshot> {
  const { name, app, components, notAfter } = selection
  if (name !== 'latest') return findSnapshot(repository, { name }, signal)
  const snapshots = await appSnapshots(repository, app, signal, (error) => {
    throw new EngineError('CORRUPT', `Cannot tell which snapshot is the latest: ${error.message}`, {
      hint: 'Name the snapshot by its ID: `holdfast snapshots` lists those that can be read',
      cause: error,
    })
  })
  const newest = snapshots.findLast(
    ({ snapshot }) => holds(snapshot.tags, components) && (notAfter === undefined || snapshot.time.ns <= notAfter),
  )
  if (newest) return newest
  const what = components?.length ? `component ${components.join(', ')} of ${app}` : app
  const when = notAfter === undefined ? '' : ` at or before ${new Date(Number(notAfter / 1_000_000n)).toISOString()}`
  throw new OperationError(
    'NOTHING',
    `No snapshot of ${what}${when} in the repository at ${repository.storage.location}`,
    {
      facts: { app, location: repository.storage.location },
      hint: 'See `holdfast snapshots`; the first one is made by `holdfast backup`',
    },
  )
}

/**
 * All snapshots of an application, oldest first. One that cannot be read may be the one that matters: it rejects, unless
 * the caller takes note of it.
 */
export async function appSnapshots(
  repository: Repository,
  app: string,
  signal?: AbortSignal,
  onDamaged?: (error: CodedError) => void,
): Promise<StoredSnapshot[]> {
  const found: StoredSnapshot[] = []
  for await (const result of readSnapshots(repository, signal)) {
    if ('error' in result) {
      if (!onDamaged) throw result.error
      onDamaged(result.error)
    } else if (fitsFilter(result.snapshot, { tags: [[appTag(app)]] })) {
      found.push(result)
    }
  }
  return found.sort(byTime)
}
