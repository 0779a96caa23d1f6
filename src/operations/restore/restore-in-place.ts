import type { Config } from '../../application/config/config.ts'
import type { ServiceSpec } from '../../application/host/service.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import type { Observer, Outcome } from '../event.ts'
import { runOperation } from '../run-operation.ts'
import { applyInPlace, type InPlaceReport } from './apply-in-place.ts'
import { type InPlacePlan, type PlanInPlaceOptions, planInPlace } from './plan-in-place.ts'
import { countFindings, restoredNews } from './restore-to-target.ts'
import { chooseSnapshot, type SnapshotChoice } from './snapshot-choice.ts'

export interface RestoreInPlaceOptions {
  readonly choice: SnapshotChoice
  readonly components?: readonly string[]
  readonly paths?: readonly string[]
  readonly stop?: readonly ServiceSpec[]
  readonly config?: Config | undefined
  /** Replace also paths that the config does not name; see `PlanInPlaceOptions`. */
  readonly beyondConfig?: boolean
  readonly hostRoot?: string
  readonly identities: readonly string[]
  readonly verify?: boolean
  readonly numericOwner?: boolean
  readonly discardBefore?: boolean
  readonly withoutSecrets?: boolean
  /** Shown the plan; false leaves everything as it is. */
  readonly confirm: (plan: InPlacePlan) => Promise<boolean>
  readonly observe: Observer
  readonly signal: AbortSignal
}

export type RestoreInPlaceReport =
  | ({
      readonly outcome: Extract<Outcome, 'succeeded' | 'incomplete'>
      readonly plan: InPlacePlan
      readonly milliseconds: number
    } & InPlaceReport)
  | { readonly outcome: 'declined'; readonly plan: InPlacePlan }

/** Restores to where the files came from: plan, confirmation, then stage, verify and swap. */
export async function restoreInPlace(
  access: RepositoryAccess,
  options: RestoreInPlaceOptions,
): Promise<RestoreInPlaceReport> {
  const { observe, signal, config, components } = options
  const subject = components?.length
    ? components.join(', ')
    : (config?.app ?? options.paths?.join(', ') ?? access.location)
  return runOperation<RestoreInPlaceReport>(
    { operation: 'restore', subject: `${subject} in place`, observe, signal },
    () =>
      withRepository(access, { lock: 'shared', signal }, async (plain, lockSignal) => {
        const inner = { ...options, signal: lockSignal ?? signal }
        const chosen = await chooseSnapshot(plain, choiceOf(options), inner.signal)
        observe({ type: 'phase', phase: 'plan' })
        const plan = await planInPlace(chosen, { ...inner, stamp: stamp(new Date()) })
        if (!(await options.confirm(plan))) return { outcome: 'declined', plan }
        const begun = performance.now()
        const report = await applyInPlace(chosen, plan, inner)
        const incomplete = report.findings.some(({ severity }) => severity === 'error')
        const isWhole = !components?.length && !options.paths?.length && !options.withoutSecrets
        if (!incomplete && isWhole) observe({ type: 'snapshot', news: restoredNews(chosen, report) })
        return {
          outcome: incomplete ? 'incomplete' : 'succeeded',
          plan,
          ...report,
          milliseconds: performance.now() - begun,
        }
      }),
    (report) => ({
      snapshot_id: report.plan.snapshot,
      ...(report.outcome === 'declined'
        ? { declined: true }
        : {
            files_restored: report.files + report.secrets,
            bytes_restored: report.bytes,
            ...(options.verify ? { files_verified: report.verifiedFiles } : {}),
            secrets_unsealed: report.secrets,
            replaced: report.plan.units.map(({ path }) => path),
            kept: report.kept.map(({ path, before }) => ({ path, before })),
            ...countFindings(report.findings),
          }),
    }),
  )
}

/** What `restoreInPlace` would do. Reads only; who has a database open is in the plan, whatever is to be stopped. */
export async function planRestoreInPlace(
  access: RepositoryAccess,
  options: Omit<PlanInPlaceOptions, 'stamp'> & { readonly choice: SnapshotChoice },
): Promise<InPlacePlan> {
  return withRepository(access, { lock: 'shared', signal: options.signal }, async (plain, lockSignal) => {
    const signal = lockSignal ?? options.signal
    const chosen = await chooseSnapshot(plain, choiceOf(options), signal)
    return planInPlace(chosen, { ...options, planOnly: true, stamp: stamp(new Date()), signal })
  })
}

function choiceOf({
  choice,
  components,
}: {
  readonly choice: SnapshotChoice
  readonly components?: readonly string[]
}): SnapshotChoice {
  return { ...choice, components: components?.length ? components : choice.components }
}

/** `20261101-020000`, UTC. */
export function stamp(at: Date): string {
  return at.toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 15)
}
