import type { Snapshot } from '../format/snapshot.ts'
import type { StoredSnapshot } from './snapshots.ts'

/** By what snapshots are grouped before a policy is applied to each group. */
export interface SnapshotGrouping {
  readonly host: boolean
  readonly paths: boolean
  readonly tags: boolean
}

/** What restic groups by unless it is told otherwise. */
export const DEFAULT_GROUPING: SnapshotGrouping = { host: true, paths: true, tags: false }

/** What the snapshots of a group have in common; empty what they are not grouped by. Paths and tags are sorted. */
export interface SnapshotGroupKey {
  readonly host: string
  readonly paths: readonly string[]
  readonly tags: readonly string[]
}

export interface SnapshotGroup<S extends StoredSnapshot = StoredSnapshot> extends SnapshotGroupKey {
  readonly snapshots: readonly S[]
}

/** Reads restic's `--group-by`: `host`, `paths` and `tags` between commas, `''` for one group of all. Undefined for anything else. */
export function parseGrouping(text: string): SnapshotGrouping | undefined {
  const names = text.split(',').map((name) => name.replace(/s$/, ''))
  if (!names.every((name) => ['host', 'path', 'tag', ''].includes(name))) return undefined
  return { host: names.includes('host'), paths: names.includes('path'), tags: names.includes('tag') }
}

/** The groups in order of host, paths and tags; the snapshots of each as they came. */
export function groupSnapshots<S extends StoredSnapshot>(
  snapshots: readonly S[],
  grouping: SnapshotGrouping,
): SnapshotGroup<S>[] {
  const groups = new Map<string, SnapshotGroupKey & { readonly snapshots: S[] }>()
  for (const stored of snapshots) {
    const key = keyOf(stored.snapshot, grouping)
    const text = JSON.stringify([key.host, key.paths, key.tags])
    const group = groups.get(text)
    if (group) group.snapshots.push(stored)
    else groups.set(text, { ...key, snapshots: [stored] })
  }
  return [...groups.keys()].sort().map((text) => groups.get(text)!)
}

function keyOf({ hostname, paths, tags }: Snapshot, grouping: SnapshotGrouping): SnapshotGroupKey {
  return {
    host: grouping.host ? hostname : '',
    paths: grouping.paths ? sortedByBytes(paths) : [],
    tags: grouping.tags ? sortedByBytes(tags) : [],
  }
}

/** As Go sorts: UTF-16 has another order. */
function sortedByBytes(texts: readonly string[]): string[] {
  return texts.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}
