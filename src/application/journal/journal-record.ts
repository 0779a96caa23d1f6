import type { Finding } from '../finding.ts'
import type { ProofLevel } from './proof-level.ts'

/** Values that JSON can carry, by names in snake_case. */
export type JournalFacts = Readonly<Record<string, unknown>>

/**
 * Names a run: the time of its start in base 36, eight characters. So IDs sort by time, also those that come from the journal of
 * another host.
 */
export type RunId = string

export type RunOutcome = 'succeeded' | 'incomplete' | 'failed' | 'interrupted'

/** `running`: its process still works on it; `interrupted`: stopped on request, or its process is gone without a word. */
export type RunState = RunOutcome | 'running'

export interface RunRecord {
  readonly id: RunId
  /** The verb: `backup`, `restore`, … */
  readonly operation: string
  readonly subject: string
  readonly host: string
  readonly started: Date
  /** Undefined while it runs, and for good when its process was killed. */
  readonly finished: Date | undefined
  readonly state: RunState
  /** Undefined as long as it is not finished. */
  readonly milliseconds: number | undefined
  /** What was known at its beginning. */
  readonly facts: JournalFacts
  /** What it came to; empty until it is finished. */
  readonly summary: JournalFacts
  readonly errors: number
  readonly warnings: number
}

export interface StepRecord {
  /** Counts from 0 within the run. */
  readonly number: number
  readonly name: string
  readonly component: string | undefined
  readonly started: Date
  readonly finished: Date | undefined
  /** Undefined until it is finished: it runs, or it was cut off. */
  readonly outcome: StepOutcome | undefined
  readonly milliseconds: number | undefined
  readonly facts: JournalFacts
}

/** `skipped`: it was done before; `undone`: taken back. */
export type StepOutcome = RunOutcome | 'skipped' | 'undone'

export interface FindingRecord extends Finding {
  readonly at: Date
}

export interface SnapshotCopy {
  /** Name of the component. */
  readonly component: string
  readonly kind: string
  readonly files: number
  readonly bytes: number
  readonly outcome: 'succeeded' | 'incomplete'
}

/** What is known of a snapshot without looking into the repository. */
export interface SnapshotRecord {
  /** 64 hex digits. */
  readonly id: string
  /** When its backup began. */
  readonly time: Date
  readonly host: string
  /** False for one that was made with some of the components only. */
  readonly whole: boolean
  readonly outcome: 'succeeded' | 'incomplete'
  /** What the backup added to the repository, in stored bytes, where that is known. */
  readonly added: number | undefined
  readonly copies: readonly SnapshotCopy[]
}

export interface Proof {
  /** The snapshot, 64 hex digits. */
  readonly snapshot: string
  readonly level: ProofLevel
  readonly at: Date
  /** By what it was proven: the operation, counts, a report. */
  readonly evidence: JournalFacts
}

/** The newest copy of a component that was stored whole and is not known to be damaged. */
export interface GoodCopy extends SnapshotCopy {
  readonly snapshot: string
  readonly time: Date
  readonly host: string
  /** The strongest that was proven of its snapshot; undefined: nothing beyond that it was stored. */
  readonly proof: Proof | undefined
}

export interface RunFilter {
  readonly operation?: string | readonly string[] | undefined
  /** Also `running`. */
  readonly state?: RunState | readonly RunState[] | undefined
  /** Started at or after. */
  readonly since?: Date | undefined
  /** Started before. */
  readonly before?: Date | undefined
  /** The newest ones only. */
  readonly limit?: number | undefined
}
