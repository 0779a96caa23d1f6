import { join } from 'node:path'
import type { Finding } from '../../application/finding.ts'
import type { Journal } from '../../application/journal/journal.ts'
import type { RunRecord } from '../../application/journal/journal-record.ts'
import { isProofLevel } from '../../application/journal/proof-level.ts'
import { CodedError } from '../../engine/error.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import type { IndexedRepository, Repository } from '../../engine/repository/repository.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { appSnapshots } from '../app-snapshots.ts'
import { readManifest } from '../snapshot-files.ts'
import { withJournalCopy } from './journal-copy-in-snapshot.ts'
import { snapshotRecord } from './snapshot-record.ts'

/** Copies of the journal that are read at most: each is whole unless the machine was lost again soon after. */
const COPIES_READ = 10

export interface SyncOptions {
  readonly app: string
  /** A folder where a file may lie for the moment. */
  readonly folder: string
  /** Take over the past from the copies in snapshots also when the journal does not know that it lacks one. */
  readonly rebuild?: boolean
  readonly find: (finding: Finding) => void
  readonly signal: AbortSignal
}

export interface SyncReport {
  readonly snapshots: number
  /** Not known to the journal until now. */
  readonly added: number
  readonly forgotten: number
  /** Runs that were taken over from copies. */
  readonly runs: number
}

/**
 * Brings the journal in line with the repository: snapshots that others made or removed, and, when it was begun anew, the history
 * in the copies that snapshots hold. What cannot be read is a finding, and the rest is taken over all the same.
 */
export async function syncJournal(plain: Repository, journal: Journal, options: SyncOptions): Promise<SyncReport> {
  const { app, find, signal } = options
  let damaged = 0
  const stored = await appSnapshots(plain, app, signal, (error) => {
    damaged += 1
    find({ severity: 'error', code: 'snapshot-unreadable', message: error.message, hint: 'Run `holdfast check`' })
  })
  const known = new Set(journal.snapshots().map(({ id }) => id))
  const unknown = stored.filter(({ id }) => !known.has(id))
  const lacksPast = options.rebuild === true || journal.lacksPast
  let runs = 0
  if (unknown.length > 0 || (lacksPast && stored.length > 0)) {
    const indexed = await loadIndex(plain, signal)
    // Copies first: they say by what a level was proven, a manifest only that it was.
    if (lacksPast) runs = await takeOverCopies(indexed, journal, stored, options)
    for (const snapshot of unknown) await takeOver(indexed, journal, snapshot, options)
  }
  const present = new Set<string>(stored.map(({ id }) => id))
  // One that cannot be read is not gone, and which one it is is not known here.
  const gone = damaged > 0 ? [] : [...known].filter((id) => !present.has(id))
  journal.transaction(() => journal.forgetSnapshots(gone))
  if (lacksPast) journal.markWhole()
  return { snapshots: stored.length, added: unknown.length, forgotten: gone.length, runs }
}

async function takeOver(
  repository: IndexedRepository,
  journal: Journal,
  stored: StoredSnapshot,
  { find, signal }: SyncOptions,
): Promise<void> {
  const { original } = stored.snapshot
  if (original !== undefined) journal.renameSnapshot(original, stored.id)
  try {
    const manifest = await readManifest(repository, stored, signal)
    if (manifest === undefined) return
    journal.transaction(() => {
      journal.saveSnapshot(snapshotRecord(stored, manifest))
      for (const { snapshot, level, at } of manifest.proofs ?? []) {
        const time = new Date(at)
        if (!isProofLevel(level) || Number.isNaN(time.getTime())) continue
        journal.setProof(snapshot, level, time, { manifest_of: stored.id })
      }
    })
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof CodedError)) throw error
    const hint = error.hint ?? 'Run `holdfast check`'
    find({ severity: 'warning', code: 'manifest-unreadable', message: error.message, hint })
  }
}

/** Newest first, until one is reached that lacks nothing itself. */
async function takeOverCopies(
  repository: IndexedRepository,
  journal: Journal,
  stored: readonly StoredSnapshot[],
  options: SyncOptions,
): Promise<number> {
  const { folder, find, signal } = options
  let runs = 0
  let read = 0
  for (const snapshot of stored.toReversed()) {
    if (read >= COPIES_READ) break
    let isWhole = false
    const take = (copy: Journal) => {
      runs += adopt(journal, copy, snapshot)
      isWhole = !copy.lacksPast
    }
    try {
      const isThere = await withJournalCopy(repository, snapshot, join(folder, `copy-${read}.db`), take, signal)
      if (isThere) read += 1
      if (isWhole) break
    } catch (error) {
      read += 1
      signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      const message = `The copy of the journal in snapshot ${snapshot.id.slice(0, 8)} cannot be used: ${error.message}`
      find({ severity: 'warning', code: 'journal-copy-unusable', message })
    }
  }
  return runs
}

function adopt(journal: Journal, copy: Journal, snapshot: StoredSnapshot): number {
  return journal.transaction(() => {
    const before = journal.runs().length
    for (const run of copy.runs()) {
      journal.adoptRun(finishedBy(run, snapshot), copy.steps(run.id), copy.findings(run.id))
    }
    for (const { snapshot: id, level, at, evidence } of copy.proofs()) {
      if (isProofLevel(level)) journal.setProof(id, level, at, evidence)
    }
    for (const { snapshot: id, at, evidence } of copy.damages()) journal.setDamage(id, at, evidence)
    return journal.runs().length - before
  })
}

/** When the copy was made, the backup that made it was still at work; that its snapshot is there says how it went on. */
function finishedBy(run: RunRecord, { id, snapshot }: StoredSnapshot): RunRecord {
  const begun = Number(snapshot.time.ns / 1_000_000n)
  const isOwn = run.operation === 'backup' && run.finished === undefined && run.host === snapshot.hostname
  // The backup takes its time a moment after it has reported its start.
  if (!isOwn || Math.abs(run.started.getTime() - begun) > 60_000) return run
  const end = snapshot.summary === undefined ? begun : Number(snapshot.summary.backupEnd.ns / 1_000_000n)
  return {
    ...run,
    state: run.errors > 0 ? 'incomplete' : 'succeeded',
    finished: new Date(end),
    milliseconds: end - run.started.getTime(),
    summary: { snapshot_id: id },
  }
}
