import { resolve } from 'node:path'
import type { Config } from '../application/config/config.ts'
import { ApplicationError } from '../application/error.ts'
import type { RepositoryAccess } from '../operations/access.ts'
import type { Outcome } from '../operations/event.ts'
import type { RecoveryPart } from '../operations/recovery/recovery-part.ts'
import type { DatabaseRescuePlan } from '../operations/rescue/database-plan.ts'
import type { SealKeyPlan } from '../operations/rescue/replace-seal-key.ts'
import type { ServiceRescuePlan } from '../operations/rescue/rescue-service.ts'
import { confirm, requireAnswers } from './ask.ts'
import type { Invocation } from './command.ts'
import { CliError } from './error.ts'
import { carryOut, rollbackAsker, type StepsOptions } from './recover-application.ts'
import { shellWord } from './shell-word.ts'

/** Options of every playbook. */
export interface RescueOptions extends StepsOptions {
  readonly app?: string
}

export interface RestoringOptions extends RescueOptions {
  readonly snapshot?: string
  readonly at?: bigint
  readonly identity: readonly string[]
  readonly withoutSecrets: boolean
}

/** Where an application is, as far as it can be told. */
export interface Surroundings {
  readonly access: RepositoryAccess
  /** The one in force, or where there is none the one in the newest snapshot. */
  readonly config: Config
  readonly configFrom: 'machine' | 'snapshot'
}

export async function surroundings(invocation: Invocation<Pick<RescueOptions, 'app'>>): Promise<Surroundings> {
  const [{ findRepositoryConfig, repositoryAccess }, { configInRepository }] = await Promise.all([
    import('./repository-access.ts'),
    import('../operations/rescue/config-in-repository.ts'),
  ])
  const found = await findRepositoryConfig(invocation).catch(withWayOut)
  const access = await repositoryAccess(invocation, found).catch(withWhatIsKnown)
  if (found !== undefined) return { access, config: found, configFrom: 'machine' }
  const config = await configInRepository(access, invocation.options.app, invocation.signal)
  return { access, config, configFrom: 'snapshot' }
}

/** Nobody said which application, nor which repository: what an emergency can do about that, and what was begun here. */
async function withWhatIsKnown(error: unknown): Promise<never> {
  if (!(error instanceof CliError) || error.code !== 'NO_LOCATION') throw error
  const { begunRecoveriesHere } = await import('../operations/recovery/begun-recovery.ts')
  const begun = (await begunRecoveriesHere()).map(({ app, repository = 'REPOSITORY' }) => {
    return `A recovery of ${app} was begun here and is not at its end: holdfast -r ${shellWord(repository)} -p PASSWORD-FILE rescue`
  })
  const hint = [
    'Go to the folder of the application, or name its config: holdfast --config FILE rescue',
    'Where that is gone, name the repository: holdfast -r REPOSITORY -p PASSWORD-FILE rescue',
    ...begun,
  ]
  throw new CliError('NO_LOCATION', 'Cannot tell which application is meant: there is no holdfast.yaml here or above', {
    facts: error.facts,
    hint: hint.join('\n'),
    cause: error.cause,
  })
}

/** A config that cannot be read is as good as gone. */
function withWayOut(error: unknown): never {
  if (!(error instanceof ApplicationError) || error.code !== 'CONFIG') throw error
  const way =
    'To go on without it, name the repository: holdfast -r … -p … rescue. The config is then read out of the newest snapshot'
  throw new ApplicationError('CONFIG', error.message, {
    facts: error.facts,
    hint: error.hint === undefined ? way : `${error.hint}\n${way}`,
    cause: error.cause,
  })
}

export function requireConsent(invocation: Invocation<StepsOptions>): void {
  const { yes, dryRun } = invocation.options
  if (yes || dryRun) return
  requireAnswers(invocation, 'whether this may be done', 'Add --yes to go ahead, or --dry-run to only look')
}

const QUESTION = 'Do this now?'

export async function restartService(
  invocation: Invocation<RescueOptions>,
  { config }: Surroundings,
): Promise<Outcome> {
  const { globals, options, screen, signal, style } = invocation
  const [{ planRescueService, rescueService }, { restartedLines, servicePlanJson, servicePlanLines }] =
    await Promise.all([import('../operations/rescue/rescue-service.ts'), import('./rescue-service-text.ts')])
  const request = { config, anew: options.anew, signal }
  const show = (plan: ServiceRescuePlan) => {
    screen.live(undefined)
    if (globals.json) screen.json(servicePlanJson(plan))
    else screen.print(`${servicePlanLines(plan, style).join('\n')}\n`)
  }
  if (options.dryRun) {
    show(await planRescueService(request))
    return sayDryRun(invocation)
  }
  const { outcome } = await rescueService({
    ...request,
    withinMs: options.wait * 1000,
    rollback: options.rollback,
    confirm: async (plan) => {
      show(plan)
      return options.yes || confirm(invocation, QUESTION, false)
    },
    askRollback: rollbackAsker(invocation, 'Stop it again, as before?'),
    observe: invocation.observe({ config, summarise: restartedLines }),
  })
  return outcome === 'declined' ? 'interrupted' : outcome
}

/** Brings back components, or the secrets, of an application that is here. */
export async function restorePart(
  invocation: Invocation<RestoringOptions>,
  { access, config, configFrom }: Surroundings,
  part: RecoveryPart,
): Promise<Outcome> {
  const { io, options, signal } = invocation
  const request = {
    choice: {
      name: options.snapshot ?? 'latest',
      app: config.app,
      ...(options.at === undefined ? {} : { notAfter: options.at }),
    },
    // That of the machine is in force; where there is none, the one of the snapshot that is taken.
    config: configFrom === 'machine' ? config : undefined,
    part,
    relocate: { ports: [] },
    alsoRewrite: [],
    identities: [...options.identity.map((file) => resolve(io.cwd, file)), ...config.unsealIdentities],
    withoutSecrets: options.withoutSecrets,
    createUser: false,
    start: true,
    anew: options.anew,
    signal,
  }
  return carryOut(invocation, access, request, { verify: false, question: QUESTION })
}

export interface CompromisedOptions extends RescueOptions {
  readonly seal: readonly string[]
}

/** Says what a key that others have opens, and seals for another one from now on where that is named. */
export async function replaceKey(
  invocation: Invocation<CompromisedOptions>,
  { access, config, configFrom }: Surroundings,
): Promise<Outcome> {
  const { globals, options, screen, signal, style } = invocation
  const [{ planReplaceSealKey, replaceSealKey }, { replacedKeyLines, sealKeyPlanJson, sealKeyPlanLines }] =
    await Promise.all([import('../operations/rescue/replace-seal-key.ts'), import('./seal-key-text.ts')])
  const request = { config, recipients: options.seal, signal }
  const show = (plan: SealKeyPlan) => {
    screen.live(undefined)
    if (globals.json) screen.json(sealKeyPlanJson(plan))
    else screen.print(`${sealKeyPlanLines(plan, style).join('\n')}\n`)
  }
  if (options.dryRun || options.seal.length === 0) {
    show(await planReplaceSealKey(access, request))
    return options.dryRun ? sayDryRun(invocation) : 'succeeded'
  }
  if (configFrom === 'snapshot') {
    throw new CliError('NO_CONFIG', 'Cannot seal for another key: the config, which names it, is not on this machine', {
      hint: 'Without --seal it is said what the old key opens',
    })
  }
  const { outcome } = await replaceSealKey(access, {
    ...request,
    rollback: options.rollback,
    confirm: async (plan) => {
      show(plan)
      return options.yes || confirm(invocation, QUESTION, false)
    },
    askRollback: rollbackAsker(invocation, 'Put the old config back?'),
    observe: invocation.observe({ config, access, summarise: replacedKeyLines }),
  })
  return outcome === 'declined' ? 'interrupted' : outcome
}

export interface DatabaseOptions extends RescueOptions {
  readonly prefer?: 'recovered' | 'snapshot'
}

/** @param path absolute; undefined: the one that is damaged */
export async function replaceDatabase(
  invocation: Invocation<DatabaseOptions>,
  { access, config }: Surroundings,
  path: string | undefined,
): Promise<Outcome> {
  const { globals, io, options, screen, signal, style } = invocation
  const [{ planRescueDatabase, rescueDatabase }, { databasePlanJson, databasePlanLines, rescuedDatabaseLines }] =
    await Promise.all([import('../operations/rescue/rescue-database.ts'), import('./rescue-database-text.ts')])
  const request = { config, path, prefer: options.prefer, anew: options.anew, signal }
  const show = (plan: DatabaseRescuePlan) => {
    screen.live(undefined)
    if (globals.json) return screen.json(databasePlanJson(plan))
    const width = io.isTerminal('stdout') ? io.columns() : undefined
    screen.print(`${databasePlanLines(plan, { style, now: io.now(), width }).join('\n')}\n`)
  }
  if (options.dryRun) {
    show(await planRescueDatabase(access, request))
    return sayDryRun(invocation)
  }
  const { outcome } = await rescueDatabase(access, {
    ...request,
    withinMs: options.wait * 1000,
    rollback: options.rollback,
    confirm: async (plan) => {
      show(plan)
      return plan.steps.length === 0 || options.yes || confirm(invocation, QUESTION, false)
    },
    askRollback: rollbackAsker(invocation),
    observe: invocation.observe({ config, access, summarise: rescuedDatabaseLines }),
    signal,
  })
  return outcome === 'declined' ? 'interrupted' : outcome
}

function sayDryRun({ globals, screen }: Invocation<unknown>): Outcome {
  if (!globals.json) screen.print('Nothing was changed: this was a dry run')
  return 'succeeded'
}
