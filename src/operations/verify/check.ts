import type { Finding } from '../../application/finding.ts'
import { type CheckReport, checkRepository } from '../../engine/repository/check.ts'
import { startPackThreads } from '../../engine/repository/check-data.ts'
import type { CheckFinding } from '../../engine/repository/check-finding.ts'
import { choosePacks, type PackSubset } from '../../engine/repository/pack-subset.ts'
import { prepareTreeReading } from '../../engine/repository/tree-reader.ts'
import { type RepositoryAccess, storageAt, withRepository } from '../access.ts'
import { type Observer, type SnapshotNews, sayAfter } from '../event.ts'
import { runOperation } from '../run-operation.ts'

export interface CheckRunReport extends CheckReport {
  readonly outcome: 'succeeded' | 'failed'
}

/** Checks the repository, as restic's command of this name does. Damage makes the outcome `failed`. */
export async function check(
  access: RepositoryAccess,
  options: {
    readonly readData: boolean
    /** Read these packs only. */
    readonly readDataSubset?: PackSubset | undefined
    readonly observe: Observer
    readonly signal: AbortSignal
  },
): Promise<CheckRunReport> {
  const { observe, signal, readData, readDataSubset: subset } = options
  return runOperation(
    { operation: 'check', subject: access.location, observe, signal },
    async () => {
      const readsAll = readData && subset === undefined
      await using threads = readsAll ? await startPackThreads(storageAt(access), signal) : undefined
      prepareTreeReading()
      return await withRepository(
        access,
        { lock: 'exclusive', uncached: true, early: true, signal },
        async (repository, lockSignal, settled) => {
          // What is read while somebody else's lock may turn up may look like damage, and be none.
          const { say, flush } = sayAfter(settled, observe)
          const report = await checkRepository(repository, {
            readData: subset ? (packs) => choosePacks(packs, subset) : readData,
            threads,
            onFinding: (finding) => say({ type: 'finding', finding: checkFinding(finding) }),
            onProgress: (phase, done, total) => say({ type: 'progress', phase, done, ...(total ? { total } : {}) }),
            signal: lockSignal ?? signal,
          })
          await settled
          flush()
          for (const news of newsOf(report, readsAll)) observe({ type: 'snapshot', news })
          return { ...report, outcome: report.errors > 0 ? 'failed' : 'succeeded' }
        },
      )
    },
    ({ errors, snapshots, packs, blobs, bytesRead, findings }) => ({
      num_errors: errors,
      hints: findings.length - errors,
      snapshots,
      packs,
      blobs,
      bytes_read: bytesRead,
      read_data: readData || subset !== undefined,
    }),
  )
}

/** What the check says of each snapshot: with damage anywhere, nothing good of any. */
function newsOf({ errors, readable, findings, bytesRead }: CheckReport, allRead: boolean): SnapshotNews[] {
  const at = new Date()
  if (errors === 0) {
    const level = allRead ? 're-read' : 'checked'
    const evidence = { operation: 'check', ...(allRead ? { bytes_read: bytesRead } : {}) }
    return readable.map((snapshot) => ({ kind: 'proven', snapshot, level, at, evidence }))
  }
  const damaged = findings.flatMap(({ severity, facts }) =>
    severity === 'error' && typeof facts.snapshot === 'string' ? [facts.snapshot] : [],
  )
  return [...new Set(damaged)].map((snapshot) => ({ kind: 'damaged', snapshot, at, evidence: { operation: 'check' } }))
}

/** A hint is a warning: nothing is lost. */
export function checkFinding({ severity, code, message }: CheckFinding): Finding {
  const hint = HINTS[code]
  return {
    severity: severity === 'error' ? 'error' : 'warning',
    code,
    message,
    ...(hint === undefined ? {} : { hint }),
  }
}

const SNAPSHOTS =
  'Bring back from a copy of the repository what is missing; otherwise `holdfast repair snapshots` makes the snapshots do without it'

const PACKS =
  'Bring the file back from a copy of the repository; otherwise `holdfast repair packs` with its ID salvages what is intact, and `holdfast repair snapshots` makes the snapshots do without the rest'

const HINTS: Partial<Record<CheckFinding['code'], string>> = {
  'key-damaged': 'The repository opens with its other keys; `holdfast key list` shows them',
  'index-damaged': 'The packs still hold what it listed: `holdfast repair index` builds the index again from them',
  'index-contradicts': '`holdfast repair index --read-all-packs` builds the index again from the packs',
  'index-duplicate': 'Nothing is lost; `holdfast repair index` tidies it up',
  'pack-missing':
    'Bring the file back from a copy of the repository; otherwise `holdfast repair index`, then `holdfast repair snapshots`. Snapshots that do not need it restore as before',
  'pack-size': PACKS,
  'pack-damaged': PACKS,
  'blob-damaged': PACKS,
  'snapshot-damaged':
    'Bring the file back from a copy of the repository; otherwise `holdfast repair snapshots --forget` with its ID removes it. The other snapshots restore as before',
  'tree-damaged': SNAPSHOTS,
  'blob-missing': `If a pack still holds it, \`holdfast repair index\` finds it. ${SNAPSHOTS}`,
  'pack-unindexed': 'Nothing is lost; `holdfast prune` removes it',
}
