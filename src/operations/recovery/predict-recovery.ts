import type { ReadingSpeed } from './reading-speed.ts'

/** What a recovery spends time on; `rest`: accounts, owners and modes, systemd, nginx. */
export const RECOVERY_PHASES = ['restore', 'install', 'build', 'start', 'health', 'rest'] as const

export type RecoveryPhase = (typeof RECOVERY_PHASES)[number]

/** A drill or a recovery that took its measure. */
export interface MeasuredRun {
  readonly by: 'drill' | 'recovery'
  readonly at: Date
  readonly host: string
  /** What was restored in the phase `restore`. */
  readonly bytes: number
  /** Milliseconds of what was done to its end. */
  readonly phases: Readonly<Partial<Record<RecoveryPhase, number>>>
}

export interface PredictedPhase {
  readonly phase: RecoveryPhase
  /** Undefined: nobody knows. */
  readonly milliseconds: number | undefined
  /** `estimated`: from a measure of something else, as another amount, or how fast the repository is read now. */
  readonly basis: 'measured' | 'estimated' | 'unknown'
  /** What was measured; undefined where it is the repository, just now. */
  readonly from: { readonly by: MeasuredRun['by']; readonly at: string; readonly host: string } | undefined
}

export interface Prediction {
  readonly phases: readonly PredictedPhase[]
  /** Of all that is known; more where something is unknown. Getting a server and noticing that one is needed come on top. */
  readonly milliseconds: number
}

export interface PredictionOptions {
  /** What will be done. */
  readonly phases: ReadonlySet<RecoveryPhase>
  readonly bytes: number
  /** Newest first: of each phase the newest measure counts. */
  readonly runs: readonly MeasuredRun[]
  /** How fast the repository can be read; undefined: that was not tried. */
  readonly reading: ReadingSpeed | undefined
}

/** How long a recovery will take, as far as earlier ones, drills and the repository tell. */
export function predictRecovery(options: PredictionOptions): Prediction {
  const phases = RECOVERY_PHASES.filter((phase) => options.phases.has(phase)).map((phase) =>
    phase === 'restore' ? predictRestore(options) : predictPhase(phase, options),
  )
  return { phases, milliseconds: phases.reduce((sum, { milliseconds = 0 }) => sum + milliseconds, 0) }
}

function predictPhase(phase: RecoveryPhase, { runs }: PredictionOptions): PredictedPhase {
  const run = runs.find(({ phases }) => phases[phase] !== undefined)
  if (run === undefined) return { phase, milliseconds: undefined, basis: 'unknown', from: undefined }
  return { phase, milliseconds: run.phases[phase], basis: 'measured', from: measureOf(run) }
}

/** In proportion to the size; and where the repository is further away than it was then, as long as reading it takes. */
function predictRestore({ bytes, runs, reading }: PredictionOptions): PredictedPhase {
  const run = runs.find((each) => each.phases.restore !== undefined)
  const before = run && run.phases.restore! * (run.bytes > 0 ? bytes / run.bytes : 1)
  const now = reading && (bytes * reading.milliseconds) / reading.bytes
  if (before === undefined && now === undefined) {
    return { phase: 'restore', milliseconds: undefined, basis: 'unknown', from: undefined }
  }
  const isSlower = before === undefined || (now !== undefined && now > before)
  return {
    phase: 'restore',
    milliseconds: Math.round(isSlower ? now! : before),
    basis: !isSlower && bytes === run!.bytes ? 'measured' : 'estimated',
    from: isSlower ? undefined : measureOf(run!),
  }
}

function measureOf({ by, at, host }: MeasuredRun): PredictedPhase['from'] {
  return { by, at: at.toISOString(), host }
}
