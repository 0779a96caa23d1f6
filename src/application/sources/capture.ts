import type { Finding } from '../finding.ts'

/**
 * What stands in a snapshot in place of the file that lies on disk.
 *
 * - `left-out`: nothing, for the reason given (sealed instead, part of a database, corrupt…)
 * - `copy`: the content of `copy`, under the name and metadata of the live file
 * - `unchanged`: the content that the previous snapshot holds at this path
 */
export type Substitute =
  | { readonly kind: 'left-out'; readonly reason: string }
  | { readonly kind: 'copy'; readonly copy: string; readonly storedAs?: string }
  | { readonly kind: 'unchanged' }

/** What is remembered of a database, so that an unchanged one need not be copied again. */
export interface DatabaseRecord {
  /** Absolute path of the live file. */
  readonly path: string
  readonly bytes: number
  readonly journalMode: 'wal' | 'rollback'
  readonly pageSize: number
  /** Outcome of `PRAGMA integrity_check` on the captured copy: `ok`, or its first lines. */
  readonly integrity: string
  /** State of the live files just before the capture; see `sqlite.ts` for what it proves. */
  readonly fingerprint: string
  /** When the capture began, ns since the epoch, decimal. */
  readonly capturedAt: string
}

/**
 * A consistent copy of one component, readable until disposed. Paths are absolute; those that come from the disk are
 * bytes, and as keys of a map they are the `latin1` text of those bytes.
 */
export interface Capture extends AsyncDisposable {
  /** Files and folders that go into the snapshot as they lie on disk, apart from what `substitutes` says. */
  readonly targets: readonly Buffer[]
  readonly substitutes: ReadonlyMap<string, Substitute>
  /** Files that go into the sealed archive, never into the snapshot. */
  readonly secrets: readonly Buffer[]
  readonly databases: readonly DatabaseRecord[]
  /** Folders that must be there before what was captured can be started, in the backup or not; absent: nothing is known. */
  readonly needs?: readonly string[]
  readonly findings: readonly Finding[]
}
