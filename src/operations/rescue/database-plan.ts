import type { ServiceState } from '../../application/host/service.ts'
import type { TableComparison } from '../../application/sources/compare-tables.ts'
import type { DatabaseTrouble } from '../../application/sources/diagnose-database.ts'
import type { RecoveryWay } from '../../application/sources/recover-database.ts'
import type { DatabaseChoice } from './choose-database.ts'

/** What is known of a damaged database and of what could take its place; all of it found out on private copies. */
export interface DatabaseFacts extends DatabaseChoice {
  readonly trouble: DatabaseTrouble
  /** What was seen, one line. */
  readonly seen: string
  /** ISO 8601, UTC. */
  readonly lastWritten: string | undefined
  readonly snapshot: { readonly id: string; readonly time: string } | undefined
  /** Newer snapshots that cannot help, with the reason. */
  readonly passedOver: readonly string[]
  readonly way: RecoveryWay | undefined
  /** Objects that could not be recovered. */
  readonly notRecovered: readonly string[]
  /** The snapshot is `before`, the recovered (or sound) database `after`. */
  readonly tables: readonly TableComparison[]
  /** Of the snapshot, where it takes the place: what was committed between these times is not in it. */
  readonly timeLost: { readonly from: string; readonly to: string } | undefined
}

export interface DatabaseRescuePlan extends DatabaseFacts {
  readonly app: string
  readonly path: string
  /** Where the original is kept. */
  readonly aside: string
  readonly service: { readonly name: string; readonly state: ServiceState | undefined } | undefined
  readonly steps: readonly { readonly id: string; readonly title: string; readonly detail: string }[]
  /** When the rescue began that this one goes on with: the database is replaced already. */
  readonly resumes: string | undefined
  /** The other databases that were looked at, and how they are. */
  readonly others: readonly { readonly path: string; readonly trouble: DatabaseTrouble; readonly seen: string }[]
}
