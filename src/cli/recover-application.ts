import type { RepositoryAccess } from '../operations/access.ts'
import type { Outcome } from '../operations/event.ts'
import type { PlanOptions, RelocationRequest } from '../operations/recovery/recover.ts'
import type { RecoveryPlan } from '../operations/recovery/recovery-plan.ts'
import { canAsk, confirm, requireAnswers } from './ask.ts'
import type { Invocation } from './command.ts'
import { CliError } from './error.ts'
import type { SnapshotOptions } from './snapshot-options.ts'

/** Options of `restore --full`. */
export interface RecoveryOptions extends SnapshotOptions, StepsOptions {
  readonly app?: string
  readonly map?: RelocationRequest
  readonly rewrite: readonly string[]
  readonly createUser: boolean
  readonly start: boolean
  readonly verify: boolean
  readonly withoutSecrets: boolean
}

export async function recoverApplication(
  invocation: Invocation<RecoveryOptions>,
  name: string | undefined,
  identities: readonly string[],
): Promise<Outcome> {
  const { globals, options, signal } = invocation
  if (!options.yes && !options.dryRun) {
    requireAnswers(
      invocation,
      'whether this machine may be changed',
      'Add --yes to go ahead with all that the snapshot says, commands included, or --dry-run to see the plan',
    )
  }
  if (options.host.length > 0 || options.tag.length > 0) {
    throw new CliError('USAGE', 'Cannot use --host or --tag with --full', {
      hint: 'Use --app, --at or the ID of a snapshot',
    })
  }
  const { findRepositoryConfig, repositoryAccess } = await import('./repository-access.ts')
  const found = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, found)
  const app = options.app ?? found?.app
  const request: PlanOptions = {
    choice: {
      name: name ?? 'latest',
      ...(options.at === undefined ? {} : { notAfter: options.at }),
      ...(app === undefined ? {} : { app }),
    },
    // One that happens to lie here may be what is to be recovered; only one that is named is meant to be in force.
    config: globals.config === undefined ? undefined : found,
    relocate: options.map ?? { ports: [] },
    alsoRewrite: options.rewrite,
    identities,
    withoutSecrets: options.withoutSecrets,
    createUser: options.createUser,
    start: options.start,
    anew: options.anew,
    signal,
  }
  return carryOut(invocation, access, request, {
    verify: options.verify,
    question: 'Do all of this on this machine?',
  })
}

/** Options of whatever is done in the steps of a recovery. */
export interface StepsOptions {
  readonly yes: boolean
  readonly dryRun: boolean
  readonly rollback: boolean
  readonly anew: boolean
  /** Seconds. */
  readonly wait: number
}

/** Shows the plan, asks, does it. */
export async function carryOut(
  invocation: Invocation<StepsOptions>,
  access: RepositoryAccess,
  request: PlanOptions,
  { verify, question }: { readonly verify: boolean; readonly question: string },
): Promise<Outcome> {
  const { globals, io, options, screen, signal, style } = invocation
  const [{ planRecover, recover }, { recoveryPlanJson, recoveryPlanLines, recoveredLines }] = await Promise.all([
    import('../operations/recovery/recover.ts'),
    import('./recovery-text.ts'),
  ])
  const show = (plan: RecoveryPlan) => {
    screen.live(undefined)
    if (globals.json) return screen.json(recoveryPlanJson(plan))
    const width = io.isTerminal('stdout') ? io.columns() : undefined
    // Where nobody decides by it, what is found follows at once, as it is reported.
    const withFindings = options.dryRun || !options.yes
    const lines = recoveryPlanLines(plan, { style, now: io.now(), verbose: globals.verbose > 0, withFindings, width })
    screen.print(`${lines.join('\n')}\n`)
  }
  const isMissing = ({ goesBack, preflight }: RecoveryPlan) =>
    !goesBack && preflight.some(({ severity }) => severity === 'error')
  if (options.dryRun) {
    const plan = await planRecover(access, request)
    show(plan)
    if (!globals.json) screen.print('Nothing was changed: this was a dry run')
    return isMissing(plan) ? 'failed' : 'succeeded'
  }
  const { outcome } = await recover(access, {
    ...request,
    verify,
    withinMs: options.wait * 1000,
    rollback: options.rollback,
    confirm: async (plan) => {
      show(plan)
      // What is missing is refused in any case.
      return options.yes || isMissing(plan) || confirm(invocation, question, false)
    },
    askRollback: rollbackAsker(invocation),
    observe: invocation.observe({ summarise: recoveredLines }),
    signal,
  })
  return outcome === 'declined' ? 'interrupted' : outcome
}

export function rollbackAsker(
  invocation: Invocation<StepsOptions>,
  question = 'Put back what was there before?',
): ((step: string) => Promise<boolean>) | undefined {
  if (invocation.options.yes || !canAsk(invocation)) return undefined
  return (step) => confirm(invocation, `"${step}" failed. ${question}`, false)
}
