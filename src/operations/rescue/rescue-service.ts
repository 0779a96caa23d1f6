import type { Config } from '../../application/config/config.ts'
import type { ApplicationService } from '../../application/host/application-service.ts'
import type { ApplicationCheck } from '../../application/host/health.ts'
import type { ServiceState } from '../../application/host/service.ts'
import { CodedError } from '../../engine/error.ts'
import { applicationHere } from '../application-here.ts'
import { OperationError } from '../error.ts'
import type { Observer } from '../event.ts'
import { runOperation } from '../run-operation.ts'
import { ApplicationSteps, describeChecks, logHint, nameOfService, stateOf } from '../steps/application-steps.ts'
import { runSteps, type Step, undoSteps } from '../steps/run-steps.ts'
import { beginStepRecord, readStepRecord, type StepState } from '../steps/step-record.ts'
import { refuseUnfinished, serviceRecordOf } from './unfinished-run.ts'

export interface ServiceRescuePlan {
  readonly app: string
  readonly service: { readonly name: string; readonly state: ServiceState | undefined }
  readonly steps: readonly { readonly id: string; readonly title: string; readonly detail: string }[]
}

export interface PlanServiceOptions {
  readonly config: Config
  /** Also when something that replaces files was begun and not brought to its end. */
  readonly anew: boolean
  readonly signal: AbortSignal
}

export interface RescueServiceOptions extends PlanServiceOptions {
  /** How long the application may take until it is healthy, in milliseconds. */
  readonly withinMs: number
  /** Stop it again when it is not healthy, where it did not run before. */
  readonly rollback: boolean
  /** Shown the plan; false leaves everything as it is. */
  readonly confirm: (plan: ServiceRescuePlan) => Promise<boolean>
  readonly askRollback?: ((step: string, error: Error) => Promise<boolean>) | undefined
  readonly observe: Observer
}

export type RescueServiceReport =
  | {
      readonly outcome: 'succeeded'
      readonly plan: ServiceRescuePlan
      readonly steps: readonly StepState[]
      readonly checks: readonly ApplicationCheck[]
    }
  | { readonly outcome: 'declined'; readonly plan: ServiceRescuePlan }

/**
 * Stops the application if it runs, starts it, and asks it how it is. Needs no repository. Rejects with `NOTHING` when the
 * config does not say how it runs, with `RESUME` and `IN_USE` while its files may be half replaced, with `UNHEALTHY`, `RESCUE`.
 */
export async function rescueService(options: RescueServiceOptions): Promise<RescueServiceReport> {
  const { config, confirm, observe, signal } = options
  return runOperation<RescueServiceReport>(
    { operation: 'rescue', subject: `the service of ${config.app}`, observe, signal },
    async () => {
      observe({ type: 'phase', phase: 'look' })
      const plan = await planRescueService(options)
      if (!(await confirm(plan))) return { outcome: 'declined', plan }
      return restart(plan, options)
    },
    summaryOf,
  )
}

/** What `rescueService` would do. Changes nothing. */
export async function planRescueService(options: PlanServiceOptions): Promise<ServiceRescuePlan> {
  const { config, anew, signal } = options
  const application = requireApplication(config)
  if (!anew) await refuseUnfinished(config)
  const service = { name: nameOfService(application), state: await stateOf(application, signal) }
  const { start, stop } = config.service ?? {}
  const isUp = service.state === undefined || service.state === 'running' || service.state === 'changing'
  const steps = [
    { id: 'stop', title: 'Stop the application', detail: isUp ? (stop ?? service.name) : 'it does not run' },
    { id: 'start', title: 'Start the application', detail: start ?? service.name },
    { id: 'check', title: 'See that it is healthy', detail: describeChecks(config.service) },
  ]
  return { app: config.app, service, steps }
}

function requireApplication(config: Config): ApplicationService {
  const application = applicationHere(config)
  if (application !== undefined) return application
  throw new OperationError('NOTHING', `Cannot restart ${config.app}: the config does not say how it runs`, {
    facts: { app: config.app },
    hint: `Add \`service\` to ${config.file}: manager, name, health`,
  })
}

async function restart(plan: ServiceRescuePlan, options: RescueServiceOptions): Promise<RescueServiceReport> {
  const { config, withinMs, observe, signal } = options
  const application = requireApplication(config)
  const checks: ApplicationCheck[] = []
  const service = new ApplicationSteps({
    application: () => application,
    config,
    checks: config.service,
    forgetsInPm2: false,
    presumedRunning: false,
    withinMs,
    onCheck: (check) => checks.push(check),
  })
  const steps: readonly Step[] = [
    { id: 'stop', title: 'Stop the application', run: (tools) => service.stop(tools) },
    {
      id: 'start',
      title: 'Start the application',
      run: (tools) => service.start(tools),
      undo: (tools) => service.stopIfStarted(tools.signal),
    },
    { id: 'check', title: 'See that it is healthy', run: (tools) => service.check(tools) },
  ]
  const file = serviceRecordOf(config)
  const last = await readStepRecord(file)
  const record = await beginStepRecord(file, { operation: 'rescue service', subject: config.app, request: {}, steps })
  // Of one that was cut off: whether it ran is known from before that one stopped it.
  const before = last?.state === 'running' ? last.steps.find(({ id }) => id === 'stop')?.facts : undefined
  const known = record.steps.map((step) => (step.id === 'stop' ? { ...step, facts: before ?? {} } : step))
  const running = { file, steps, observe, signal }
  try {
    const done = await runSteps({ ...running, record: { ...record, steps: known } })
    return { outcome: 'succeeded', plan, steps: done.steps, checks }
  } catch (error) {
    return await failed(error as Error, application, running, options)
  }
}

/** Takes it back where there is something to take back, if that is wanted; rejects in any case. */
async function failed(
  error: Error,
  application: ApplicationService,
  running: Omit<Parameters<typeof undoSteps>[0], 'record'>,
  { rollback, askRollback, signal }: RescueServiceOptions,
): Promise<never> {
  if (signal.aborted) throw error
  const record = (await readStepRecord(running.file))!
  const step = record.steps.find(({ state }) => state === 'failed')
  const title = step?.title ?? 'a step'
  const code = error instanceof CodedError && error.code === 'UNHEALTHY' ? 'UNHEALTHY' : 'RESCUE'
  const wasRunning = record.steps.find(({ id }) => id === 'stop')?.facts.wasRunning === true
  const wanted = !wasRunning && (rollback || (await askRollback?.(title, error)) === true)
  if (wanted) await undoSteps({ ...running, record })
  const own = error instanceof CodedError && error.hint !== undefined ? error.hint : logHint(application)
  throw new OperationError(
    code,
    `"${title}" failed${wanted ? ', and it is stopped as before' : ''}: ${error.message}`,
    {
      facts: { step: step?.id, rolled_back: wanted },
      hint: `${own}\nA restart does not help. \`holdfast rescue\` looks for what does`,
      cause: error,
    },
  )
}

function summaryOf(report: RescueServiceReport): Readonly<Record<string, unknown>> {
  const shared = { playbook: 'service', app: report.plan.app, service: report.plan.service.name }
  if (report.outcome === 'declined') return { ...shared, declined: true }
  return {
    ...shared,
    steps: report.steps.map(({ id, title, result, milliseconds }) => ({ step: id, title, result, milliseconds })),
    checks: report.checks,
  }
}
