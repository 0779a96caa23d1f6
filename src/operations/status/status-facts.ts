import type { ComponentConfig, Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import type { GoodCopy, RunRecord, SnapshotRecord } from '../../application/journal/journal-record.ts'

/** What the state of an application is judged by. */
export interface StatusFacts {
  readonly config: Pick<Config, 'app' | 'environment' | 'objectives' | 'drill' | 'repository'>
  readonly components: readonly {
    readonly name: string
    readonly kind: ComponentConfig['kind']
    readonly copy: GoodCopy | undefined
  }[]
  /** Oldest first. */
  readonly snapshots: readonly SnapshotRecord[]
  /** Snapshots that were found damaged. */
  readonly damaged: readonly string[]
  readonly last: {
    readonly backup: RunRecord | undefined
    readonly verify: RunRecord | undefined
    readonly check: RunRecord | undefined
    readonly drill: RunRecord | undefined
  }
  /** The newest drill that ended well. */
  readonly rehearsed: RunRecord | undefined
  /** The newest recovery that took its measure: a drill, or a restore of everything to where it came from. */
  readonly recovery: RunRecord | undefined
  readonly sources: { readonly journal: SourceState; readonly repository: SourceState }
  /** Of the look itself: the journal or the repository could not be read. */
  readonly findings: readonly Finding[]
  readonly now: Date
}

/** `rebuilt`: there was no journal, and the repository has told what it knows. */
export type SourceState = 'used' | 'rebuilt' | 'unavailable'
