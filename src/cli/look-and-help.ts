import { resolve } from 'node:path'
import type { Outcome } from '../operations/event.ts'
import type { Playbook, Proposal } from '../operations/rescue/diagnose.ts'
import { canAsk, confirm } from './ask.ts'
import type { Invocation } from './command.ts'
import { CliError } from './error.ts'
import { carryOut } from './recover-application.ts'
import {
  type RescueOptions,
  replaceDatabase,
  restartService,
  restorePart,
  type Surroundings,
  surroundings,
} from './rescue-application.ts'
import { shellWord } from './shell-word.ts'

export interface LookOptions extends Omit<RescueOptions, 'anew'> {
  readonly identity: readonly string[]
}

/** Looks at an application in trouble, says what can help, and does it where that is wanted. */
export async function lookAndHelp(invocation: Invocation<LookOptions>): Promise<Outcome> {
  const { globals, io, options, screen, signal, style } = invocation
  const here = await surroundings(invocation)
  const [{ look }, { diagnose }, { situationJson, situationLines }] = await Promise.all([
    import('../operations/rescue/look.ts'),
    import('../operations/rescue/diagnose.ts'),
    import('./situation-text.ts'),
  ])
  const situation = await look(here.access, {
    config: here.config,
    configFrom: here.configFrom,
    identities: identitiesOf(invocation, here),
    now: io.now(),
    signal,
  })
  const diagnosis = diagnose(situation)
  const commandOf = ({ playbook }: Proposal) => commandLine(playbook, invocation)
  if (globals.json) screen.json(situationJson(situation, diagnosis, commandOf))
  else {
    const verbose = globals.verbose > 0
    screen.print(`${situationLines(situation, diagnosis, { style, now: io.now(), verbose, commandOf }).join('\n')}\n`)
  }
  const { troubles, proposal } = diagnosis
  if (troubles.length === 0) return 'succeeded'
  if (proposal === undefined || options.dryRun || !(options.yes || canAsk(invocation))) return 'failed'
  const isDatabase = proposal.playbook.kind === 'again' && proposal.playbook.operation === 'rescue database'
  if (isDatabase && situation.unfinished?.isGoingBack && !options.yes) {
    // That is finished at once: there is no plan to be asked about.
    if (!(await confirm(invocation, 'Finish putting back what was there before?', false))) return 'interrupted'
  }
  const outcome = await apply(proposal.playbook, invocation, here)
  // That it runs and is well is what every playbook ends with.
  const more = troubles.slice(1).filter(({ code }) => code !== 'service-down' && code !== 'unhealthy')
  if (outcome === 'succeeded' && more.length > 0) screen.say('There was more: run `holdfast rescue` again')
  return outcome
}

function identitiesOf({ io, options }: Invocation<LookOptions>, { config }: Surroundings): string[] {
  return [...options.identity.map((file) => resolve(io.cwd, file)), ...config.unsealIdentities]
}

async function apply(playbook: Playbook, invocation: Invocation<LookOptions>, here: Surroundings): Promise<Outcome> {
  const options = { ...invocation.options, anew: false, withoutSecrets: false }
  const inner = { ...invocation, options }
  switch (playbook.kind) {
    case 'service':
      return restartService(inner, here)
    case 'database':
      return replaceDatabase(inner, here, playbook.path)
    case 'component': {
      const { names, install, snapshot, withoutSecrets } = playbook
      const chosen = snapshot === undefined ? {} : { snapshot }
      const part = { kind: 'components', names, install } as const
      return restorePart({ ...inner, options: { ...options, ...chosen, withoutSecrets } }, here, part)
    }
    case 'secrets':
      return restorePart(inner, here, { kind: 'secrets', which: 'missing' })
    case 'server':
      return recoverAll(inner, here)
    case 'again':
      return goOn(playbook.operation, inner, here)
  }
}

/** On the machine of the application its own config is in force, where there is one. */
function recoverAll(
  invocation: Invocation<LookOptions & { readonly anew: boolean }>,
  here: Surroundings,
): Promise<Outcome> {
  const { access, config, configFrom } = here
  const request = {
    choice: { name: 'latest', app: config.app },
    config: configFrom === 'machine' ? config : undefined,
    relocate: { ports: [] },
    alsoRewrite: [],
    identities: identitiesOf(invocation, here),
    withoutSecrets: false,
    createUser: false,
    start: true,
    anew: false,
    signal: invocation.signal,
  }
  return carryOut(invocation, access, request, { verify: false, question: 'Do all of this on this machine?' })
}

/** With the options that it was begun with, as its name says them. */
async function goOn(
  operation: string,
  invocation: Invocation<LookOptions & { readonly anew: boolean; readonly withoutSecrets: boolean }>,
  here: Surroundings,
): Promise<Outcome> {
  const words = operation.split(' ')
  const [verb, playbook, ...rest] = words
  const names = rest.filter((word) => !word.startsWith('--'))
  const withoutSecrets = rest.includes('--without-secrets')
  const inner = { ...invocation, options: { ...invocation.options, withoutSecrets } }
  if (verb === 'rescue' && playbook === 'component') {
    return restorePart(inner, here, { kind: 'components', names, install: rest.includes('--install') })
  }
  if (verb === 'rescue' && playbook === 'secrets')
    return restorePart(inner, here, { kind: 'secrets', which: rest.includes('--all') ? 'all' : 'missing' })
  if (verb === 'rescue' && playbook === 'database') return replaceDatabase(inner, here, undefined)
  return goOnWithAll(inner, here)
}

/** A recovery of a whole application, with all that it was begun with, but for how to get at the repository. */
async function goOnWithAll(
  invocation: Invocation<LookOptions & { readonly anew: boolean }>,
  here: Surroundings,
): Promise<Outcome> {
  const { begunRecovery } = await import('../operations/recovery/begun-recovery.ts')
  const begun = await begunRecovery(here.config)
  if (begun === undefined) {
    throw new CliError('USAGE', 'Nothing is left to go on with: the recovery has come to its end meanwhile', {
      hint: 'Look again: holdfast rescue',
    })
  }
  const { app, relocate, alsoRewrite, withoutSecrets, createUser, start, configFile } = begun
  const config =
    configFile === undefined
      ? undefined
      : await import('../application/config/load-config.ts').then(({ loadConfig }) => loadConfig(configFile))
  const request = {
    choice: { name: 'latest', app },
    config,
    relocate,
    alsoRewrite,
    identities: [...new Set([...identitiesOf(invocation, here), ...begun.identities])],
    withoutSecrets,
    createUser,
    start,
    anew: false,
    signal: invocation.signal,
  }
  return carryOut(invocation, here.access, request, { verify: false, question: 'Go on with it?' })
}

/** As it must be typed to work on the same application. */
function commandLine(playbook: Playbook, { globals, options }: Invocation<LookOptions>): string {
  const own = wordsOf(playbook)
  const opens = ['restore', 'component', 'secrets', 'server'].some((word) => own.slice(0, 2).includes(word))
  const identities = options.identity.filter((file) => !own.includes(file))
  const words = [
    ...own,
    ...(options.app === undefined ? [] : ['--app', options.app]),
    ...(opens ? identities.flatMap((file) => ['--identity', file]) : []),
    ...(globals.config === undefined || own.includes('--config') ? [] : ['--config', globals.config]),
    ...(globals.repo === undefined ? [] : ['-r', globals.repo]),
    ...(globals.repositoryFile === undefined ? [] : ['--repository-file', globals.repositoryFile]),
    ...(globals.passwordFile === undefined ? [] : ['-p', globals.passwordFile]),
    ...(globals.passwordCommand === undefined ? [] : ['--password-command', globals.passwordCommand]),
    ...(globals.unsealPassword === undefined ? [] : ['--unseal-password', globals.unsealPassword]),
  ]
  return `holdfast ${words.map(shellWord).join(' ')}`
}

function wordsOf(playbook: Playbook): readonly string[] {
  switch (playbook.kind) {
    case 'again':
      return playbook.words
    case 'database':
      return ['rescue', 'database', playbook.path]
    case 'component': {
      const { names, install, snapshot, withoutSecrets } = playbook
      const from = snapshot === undefined ? [] : ['--snapshot', snapshot.slice(0, 8)]
      const flags = [...(install ? ['--install'] : []), ...(withoutSecrets ? ['--without-secrets'] : [])]
      return ['rescue', 'component', ...names, ...flags, ...from]
    }
    default:
      return ['rescue', playbook.kind]
  }
}
