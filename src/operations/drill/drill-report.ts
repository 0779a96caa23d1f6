import type { Finding } from '../../application/finding.ts'

/** How far a drill came; the levels of proof that it can give. */
export type DrillLevel = 'stored' | 'restored' | 'opened' | 'running'

/** `skipped`: could not be done here, or there is nothing to do. */
export type CheckState = 'passed' | 'failed' | 'skipped'

export interface DrillCheck {
  readonly title: string
  readonly state: CheckState
  /** What was found, one line. */
  readonly detail: string
}

export interface DrillPhase {
  readonly phase: string
  readonly milliseconds: number
}

export interface DrillReport {
  readonly outcome: 'succeeded' | 'incomplete' | 'failed'
  readonly app: string
  readonly host: string
  /** Who rehearsed. */
  readonly tester: string
  readonly snapshot: { readonly id: string; readonly time: Date; readonly note: string | undefined }
  readonly start: Date
  readonly end: Date
  readonly checks: readonly DrillCheck[]
  readonly phases: readonly DrillPhase[]
  /** What was found wrong. */
  readonly issues: readonly Finding[]
  readonly notes: readonly string[]
  readonly recommendations: readonly string[]
  /** What of the snapshot is shown by this drill. */
  readonly level: DrillLevel
  readonly files: number
  readonly bytes: number
  /** A whole recovery of the newest snapshot, from what was measured. Undefined when nothing was restored. */
  readonly predicted:
    | {
        readonly milliseconds: number
        readonly bytes: number
        /** What comes on top: parts of it that were not measured. */
        readonly unknown: readonly string[]
      }
    | undefined
  /** The promised time of a recovery, milliseconds. */
  readonly objective: number | undefined
  /** Undefined where no drills are configured. */
  readonly nextDue: Date | undefined
}

/** Everything of the report that programs may want, in snake_case. */
export function reportJson(report: DrillReport): Record<string, unknown> {
  const { snapshot, predicted, objective } = report
  return {
    format: 1,
    outcome: report.outcome,
    app: report.app,
    host: report.host,
    tester: report.tester,
    snapshot: {
      id: snapshot.id,
      time: snapshot.time.toISOString(),
      ...(snapshot.note === undefined ? {} : { note: snapshot.note }),
    },
    start: report.start.toISOString(),
    end: report.end.toISOString(),
    milliseconds: report.end.getTime() - report.start.getTime(),
    proof_level: report.level,
    files_restored: report.files,
    bytes_restored: report.bytes,
    checks: report.checks,
    phases: report.phases,
    issues: report.issues,
    notes: report.notes,
    recommendations: report.recommendations,
    ...(predicted === undefined ? {} : { predicted_recovery: predicted }),
    ...(objective === undefined ? {} : { objective_milliseconds: objective }),
    ...(report.nextDue === undefined ? {} : { next_test_due: report.nextDue.toISOString().slice(0, 10) }),
  }
}
