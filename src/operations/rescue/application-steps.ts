import type { Config } from '../../application/config/config.ts'
import {
  type ApplicationService,
  applicationState,
  serviceSpec,
  startApplication,
  stopApplication,
} from '../../application/host/application-service.ts'
import { type ApplicationCheck, checkApplication } from '../../application/host/health.ts'
import type { ServiceState } from '../../application/host/service.ts'
import { markLog, readServiceLog } from '../../application/host/service-log.ts'
import { OperationError } from '../error.ts'
import { released } from '../restore/apply-in-place.ts'
import type { Step, StepTools } from '../steps/run-steps.ts'

export interface ApplicationStepsOptions {
  readonly application: ApplicationService
  readonly config: Config
  /** How long the application may take until it is healthy, in milliseconds. */
  readonly withinMs: number
  readonly onCheck: (check: ApplicationCheck) => void
}

/** `pm2:NAME`, `systemd:UNIT`, or in words. */
export function nameOfService(application: ApplicationService): string {
  return serviceSpec(application) ?? 'the application'
}

/** Undefined where nobody can tell: of a command, and where its manager is not installed. */
export async function stateOf(application: ApplicationService, signal: AbortSignal): Promise<ServiceState | undefined> {
  try {
    return await applicationState(application, signal)
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'TOOL_MISSING') throw error
    return undefined
  }
}

/** @param databases what nobody may have open afterwards; rejects with `IN_USE` when somebody goes on having it open */
export function stopStep(application: ApplicationService | undefined, databases: readonly string[]): Step {
  return {
    id: 'stop',
    title: 'Stop the application',
    async run({ facts, note, signal }) {
      if (application === undefined) {
        await released(databases, signal, 0)
        return 'the config does not say how it runs; nobody has the database open'
      }
      const state = await stateOf(application, signal)
      // Of a command nobody can tell. Noted first: an attempt that was cut off must not make it seem down.
      if (facts.wasRunning !== true) await note({ wasRunning: state === undefined || isUp(state) })
      await stopApplication(application, signal)
      await released(databases, signal)
      return `${nameOfService(application)} is stopped`
    },
    async undo({ facts, signal }) {
      if (application === undefined || facts.wasRunning !== true) return 'it did not run before'
      await startApplication(application, signal)
      return `${nameOfService(application)} runs again, as before`
    },
  }
}

function isUp(state: ServiceState): boolean {
  return state === 'running' || state === 'changing'
}

export function startSteps(options: ApplicationStepsOptions): readonly Step[] {
  const { application } = options
  return [
    {
      id: 'start',
      title: 'Start the application',
      async run({ facts, note, signal }) {
        // What an earlier attempt has started may be unwell because of what has been put right since.
        if (facts.log !== undefined) await stopApplication(application, signal)
        await note({ log: [...(await markLog(application, signal))] })
        await startApplication(application, signal)
        return `${nameOfService(application)} is started`
      },
      async undo({ signal }) {
        await stopApplication(application, signal)
        return `${nameOfService(application)} is stopped`
      },
    },
    { id: 'check', title: 'See that it is healthy', run: (tools) => check(options, tools) },
  ]
}

async function check(
  { application, config, withinMs, onCheck }: ApplicationStepsOptions,
  { factsOf, signal }: StepTools,
): Promise<string> {
  const mark = new Map((factsOf('start').log ?? []) as [string, number][])
  // When it was cut off here, the machine may have been started anew since. Of a command nobody can tell.
  if (serviceSpec(application) !== undefined) await startApplication(application, signal)
  const { health, metrics, expectLog = [] } = config.service!
  const results = await checkApplication({
    health,
    metrics,
    expectLog,
    readLog: (inner) => readServiceLog(application, mark, inner),
    givenUp: async (inner) => {
      const state = await applicationState(application, inner)
      return state === 'failed' || state === 'absent' ? `the service is ${state}` : undefined
    },
    withinMs,
    onCheck,
    signal,
  })
  const failed = results.filter(({ passed }) => !passed)
  if (failed.length > 0) {
    throw new OperationError(
      'UNHEALTHY',
      `The application does not answer as it should: ${failed.map(describe).join('; ')}`,
      { facts: { failed: failed.map((each) => each.check) } },
    )
  }
  if (results.length > 0) return results.map(describe).join('; ')
  const state = await applicationState(application, signal)
  return state === undefined
    ? 'the config names no health check, and nothing says how it is'
    : `the service is ${state}`
}

function describe({ check: what, subject, detail }: ApplicationCheck): string {
  return `${what} ${subject}: ${detail}`
}
