import { stat } from 'node:fs/promises'
import type { Config, ServiceConfig } from '../../application/config/config.ts'
import { ApplicationError } from '../../application/error.ts'
import {
  type ApplicationService,
  applicationState,
  serviceSpec,
  startApplication,
  stopApplication,
} from '../../application/host/application-service.ts'
import { type ApplicationCheck, checkApplication, isAnswering } from '../../application/host/health.ts'
import { isForeign } from '../../application/host/run-as.ts'
import { forgetInPm2, type ServiceState } from '../../application/host/service.ts'
import { markLog, readServiceLog } from '../../application/host/service-log.ts'
import type { Account } from '../../engine/os/accounts.ts'
import { accountOf } from '../application-here.ts'
import { OperationError } from '../error.ts'
import type { StepTools } from './run-steps.ts'

export interface ApplicationInSteps {
  /** Asked anew each time: its account may have been made meanwhile. Undefined: nothing says how it runs. */
  readonly application: () => ApplicationService | undefined
  readonly config: Pick<Config, 'service' | 'owner'>
  /** What it is asked once it runs. */
  readonly checks: Pick<ServiceConfig, 'health' | 'metrics' | 'expectLog'> | undefined
  /** What pm2 remembers of it is how it was started once; with this it is started by its ecosystem file as that is now. */
  readonly forgetsInPm2: boolean
  /** Whether it counts as running where nobody can tell, and so is started when all is taken back. */
  readonly presumedRunning: boolean
  /** How long it may take until it is healthy, in milliseconds. */
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

/** What is asked of an application once it runs, for a plan. */
export function describeChecks(checks: ApplicationInSteps['checks']): string {
  const { health, metrics, expectLog = [] } = checks ?? {}
  const asked = [health, ...expectLog.map((words) => `"${words}" in the log`), metrics]
  return asked.filter((each) => each !== undefined).join(', ') || 'that it runs on'
}

/** Stopping, starting and asking an application, as steps that can be cut off and taken back. */
export class ApplicationSteps {
  readonly #with: ApplicationInSteps

  constructor(surroundings: ApplicationInSteps) {
    this.#with = surroundings
  }

  /** Undefined where nobody can tell: nobody keeps an eye on a command, and this one does not answer. */
  async isRunning(signal: AbortSignal): Promise<boolean | undefined> {
    const { config } = this.#with
    const application = this.#with.application()
    if (application === undefined) return undefined
    // The account that pm2 belongs to may not be there yet.
    if (application.manager === 'pm2' && config.owner !== undefined && application.account === undefined) return false
    const state = await stateOf(application, signal)
    if (state !== undefined) return state === 'running' || state === 'changing'
    if (application.manager !== 'command') return false // what would run it is not installed
    const health = config.service?.health
    return health !== undefined && (await isAnswering(health, signal)) ? true : undefined
  }

  async stop({ facts, note, signal }: StepTools): Promise<string> {
    const application = this.#with.application()
    if (application === undefined) return 'nothing is known to run'
    const isRunning = await this.isRunning(signal)
    // Noted first: an attempt that was cut off must not make it seem down.
    if (facts.wasRunning !== true) await note({ wasRunning: isRunning ?? this.#with.presumedRunning })
    if (isRunning === false) return 'nothing of it runs'
    if (isRunning === undefined) return this.stopIfStarted(signal)
    return this.stopNow(signal)
  }

  async stopNow(signal: AbortSignal): Promise<string> {
    const application = this.#with.application()
    if (application === undefined) return 'it was not started'
    await stopApplication(application, signal)
    const { manager, name, account, ecosystem } = application
    if (this.#with.forgetsInPm2 && manager === 'pm2' && name !== undefined && ecosystem !== undefined) {
      await forgetInPm2(name, { account, signal })
    }
    return `${nameOfService(application)} is stopped`
  }

  /** A stop command may fail because there is nothing to stop, which must not keep the rest from being done. */
  async stopIfStarted(signal: AbortSignal): Promise<string> {
    const application = this.#with.application()
    if (application?.manager === 'command' && !(await isFolder(application.root))) return 'nothing of it runs'
    try {
      return await this.stopNow(signal)
    } catch (error) {
      if (error instanceof ApplicationError && error.code === 'COMMAND') return error.message
      throw error
    }
  }

  /** The end of taking back, when all files are as they were. */
  async startAsBefore({ facts, signal }: Pick<StepTools, 'facts' | 'signal'>): Promise<string> {
    const application = this.#with.application()
    if (application === undefined || facts.wasRunning !== true) return 'nothing of it ran before'
    await startApplication(application, signal)
    return `${nameOfService(application)} runs again, as before`
  }

  async start({ note, signal }: StepTools): Promise<string> {
    this.requireOwner()
    const application = this.#with.application()!
    // After a power cut in the middle, an enabled unit has started at boot what was not ready; and an earlier attempt, what was unwell.
    await this.stopIfStarted(signal)
    await note({ log: [...(await markLog(application, signal))] })
    await startApplication(application, signal)
    return `${nameOfService(application)} is started`
  }

  /** Whose rights commands have. Where the config names an owner that is not there, nothing runs as root in their place. */
  requireOwner(): Account | undefined {
    const { owner } = this.#with.config
    const account = accountOf(this.#with.config)
    if (owner === undefined || account !== undefined) return account
    throw new OperationError('PREFLIGHT', `There is no user ${owner.user}, to whom the application belongs`, {
      facts: { user: owner.user },
      hint: 'Add --create-user, or make the account',
    })
  }

  async check({ factsOf, signal }: Pick<StepTools, 'factsOf' | 'signal'>): Promise<string> {
    const { checks, withinMs, onCheck } = this.#with
    const application = this.#with.application()!
    const { log } = factsOf('start')
    const mark = new Map((log ?? []) as [string, number][])
    // When it was cut off here, the machine may have been started anew since. Of a command nobody can tell.
    if (log !== undefined && serviceSpec(application) !== undefined) await startApplication(application, signal)
    const results = await checkApplication({
      ...checks,
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
        { facts: { failed: failed.map((each) => each.check) }, hint: logHint(application) },
      )
    }
    if (results.length > 0) return results.map(describe).join('; ')
    const state = await applicationState(application, signal)
    return state === undefined
      ? 'the config names no health check, and nothing says how it is'
      : `the service is ${state}`
  }
}

export function logHint({ manager, name, outputFile, account }: ApplicationService): string {
  if (manager === 'systemd') return `See \`journalctl -u ${name} -n 50\``
  // Another user's pm2 knows nothing of it.
  const whose = isForeign(account) ? ` as ${account.name}` : ''
  return manager === 'pm2' ? `See \`pm2 logs ${name} --lines 50\`${whose}` : `See ${outputFile}`
}

function describe({ check, subject, detail }: ApplicationCheck): string {
  return `${check} ${subject}: ${detail}`
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false, // closed or not there: no command can be run in it
  )
}
