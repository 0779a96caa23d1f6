import type { SnapshotRecord } from '../../application/journal/journal-record.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { PARTIAL } from '../app-snapshots.ts'
import type { Manifest } from '../manifest.ts'

/** What the journal keeps of a snapshot: from its backup, and when the journal is rebuilt from the repository. */
export function snapshotRecord({ id, snapshot }: StoredSnapshot, manifest: Manifest): SnapshotRecord {
  return {
    id,
    time: new Date(Number(snapshot.time.ns / 1_000_000n)),
    host: snapshot.hostname,
    whole: !snapshot.tags.includes(PARTIAL),
    outcome: manifest.outcome,
    added: snapshot.summary?.dataAddedPacked,
    copies: manifest.components.map(({ name, kind, files, bytes, outcome }) => ({
      component: name,
      kind,
      files,
      bytes,
      outcome,
    })),
  }
}
