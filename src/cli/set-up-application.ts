import { resolve } from 'node:path'
import { parseLocation } from '../application/config/location.ts'
import type { ConfigChoices } from '../application/config/write-config.ts'
import { type ProtectionPlan, planProtection } from '../operations/protect/plan-protection.ts'
import { type SetUpReport, setUp } from '../operations/protect/set-up.ts'
import { askText, confirm, requireAnswers } from './ask.ts'
import type { Invocation } from './command.ts'
import { detectionJson, detectionLines } from './detection-text.ts'
import { checkedRecipients, recipientProblem } from './recipient-options.ts'
import { absoluteLocation, resolveRepositoryLocation, withoutCredentials } from './repository-location.ts'
import { styleFor } from './style.ts'
import { escapeText, wrap } from './terminal-text.ts'

/** Beyond this, lines are hard to read. */
const WIDEST = 100

export interface SetUpOptions {
  readonly yes: boolean
  readonly dryRun: boolean
  readonly replace: boolean
  readonly seal: readonly string[]
  readonly hostRoot?: string
  readonly stateDir?: string
}

/**
 * Detects the application in a folder, shows what was found, asks what only a person knows, and sets up config, password
 * file and repository. Undefined when nothing was to be written: a dry run, or an operator who said no.
 */
export async function setUpApplication(
  invocation: Invocation<SetUpOptions>,
  folder: string,
): Promise<SetUpReport | 'dry run' | 'declined'> {
  const { globals, io, options, screen, signal, style } = invocation
  const asks = !options.yes && !options.dryRun
  if (asks) {
    requireAnswers(
      invocation,
      'where the backups go',
      'Add --yes to take what is suggested, or --dry-run to see it first',
    )
  }
  const recipients = await checkedRecipients(options.seal, io.cwd, signal)
  const plan = await planProtection(resolve(io.cwd, folder), {
    ...(options.hostRoot === undefined ? {} : { hostRoot: resolve(io.cwd, options.hostRoot) }),
    replace: options.replace || options.dryRun,
    configFile: globals.config === undefined ? undefined : resolve(io.cwd, globals.config),
    signal,
  })
  if (!globals.json) screen.say(`${detectionLines(plan.detection, io.columns(), style).join('\n')}\n`)

  const suggested: ConfigChoices = {
    repository: (await resolveRepositoryLocation(io, globals)) ?? plan.suggested.repository,
    passwordFile:
      globals.passwordFile === undefined ? plan.suggested.passwordFile : resolve(io.cwd, globals.passwordFile),
    seal: recipients,
    stateDirectory: options.stateDir === undefined ? undefined : resolve(io.cwd, options.stateDir),
  }
  if (options.dryRun) {
    showPlan(invocation, plan, suggested)
    return 'dry run'
  }
  const choices = asks ? await ask(invocation, plan, suggested) : suggested
  if (choices === undefined) return 'declined'
  const report = await setUp(plan, choices, signal)
  showSetUp(invocation, plan, report)
  if (choices.seal.length === 0 && hasSecrets(plan)) {
    invocation.warn(
      'Nobody is named who may open the secrets: they stay out of the backup, and every backup is incomplete',
      `Name a key in ${escapeText(report.configFile)}, for example: seal: [gpg:you@example.com]`,
    )
  }
  warnOfOtherPasswords(invocation)
  return report
}

async function ask(
  invocation: Invocation<SetUpOptions>,
  plan: ProtectionPlan,
  suggested: ConfigChoices,
): Promise<ConfigChoices | undefined> {
  const { io, signal } = invocation
  explain(
    invocation,
    'A folder, best on another disk or machine; or s3:, sftp:, rest:, rclone: with what belongs to it.',
  )
  const entered = await askText(invocation, {
    message: 'Where should the backups go?',
    initial: suggested.repository,
    validate: (value) => {
      const parsed = parseLocation(value)
      return 'problem' in parsed ? parsed.problem : undefined
    },
  })
  const repository = absoluteLocation(entered, io.cwd)
  const seal = suggested.seal.length === 0 && hasSecrets(plan) ? await askRecipients(invocation) : suggested.seal
  const agreed = await confirm(
    invocation,
    `Write ${escapeText(plan.configFile)}, and set up the repository at ${escapeText(withoutCredentials(repository))}?`,
    true,
  )
  signal.throwIfAborted()
  return agreed ? { ...suggested, repository, seal } : undefined
}

/** Keys are looked up before the next question: who mistypes an address should hear of it now. */
async function askRecipients(invocation: Invocation<SetUpOptions>): Promise<readonly string[]> {
  const { io, screen, signal } = invocation
  explain(
    invocation,
    'Secrets are sealed before they are stored: only who has the private key opens them. Name a GPG key by e-mail or fingerprint, an age recipient (age1…), or a file with public keys; several with commas.',
  )
  for (;;) {
    const entered = await askText(invocation, {
      message: 'Whose key may open the secrets?',
      placeholder: 'nobody: then secrets are not backed up',
    })
    const problem = await recipientProblem(entered, io.cwd, signal)
    if (problem === undefined) return checkedRecipients([entered], io.cwd, signal)
    screen.complain(wrap(escapeText(problem), Math.min(io.columns(), WIDEST)).join('\n'))
  }
}

function explain({ io, screen }: Invocation<SetUpOptions>, text: string): void {
  const lines = wrap(text, Math.min(io.columns(), WIDEST))
  screen.complain(styleFor(io.colour('stderr')).dim(lines.join('\n')))
}

function hasSecrets({ detection }: ProtectionPlan): boolean {
  return detection.components.some(({ kind }) => kind === 'secrets')
}

function showPlan(
  { globals, screen, style }: Invocation<SetUpOptions>,
  plan: ProtectionPlan,
  choices: ConfigChoices,
): void {
  if (globals.json) {
    screen.json({
      message_type: 'plan',
      ...detectionJson(plan.detection),
      config_file: plan.configFile,
      replaces_config: plan.replacesConfig,
      password_file: choices.passwordFile,
      repository: withoutCredentials(choices.repository),
      seal: choices.seal,
    })
    return
  }
  screen.print(
    [
      style.bold('Would be set up'),
      `  config      ${escapeText(plan.configFile)}${plan.replacesConfig ? ' (there is one: only with --replace)' : ''}`,
      `  password    ${escapeText(choices.passwordFile)}`,
      `  repository  ${escapeText(withoutCredentials(choices.repository))}`,
      `  sealed for  ${choices.seal.length === 0 ? 'nobody' : escapeText(choices.seal.join(', '))}`,
      '',
      'Nothing was written: this was a dry run',
    ].join('\n'),
  )
}

function showSetUp(
  { globals, io, screen, style }: Invocation<SetUpOptions>,
  plan: ProtectionPlan,
  report: SetUpReport,
): void {
  if (globals.json) {
    screen.json({
      message_type: 'initialized',
      ...detectionJson(plan.detection),
      config_file: report.configFile,
      kept_config: report.keptConfig,
      password_file: report.passwordFile,
      password_created: report.passwordCreated,
      repository: withoutCredentials(report.repository),
      repository_created: report.repositoryCreated,
    })
    return
  }
  screen.say(
    [
      style.bold('Set up'),
      `  config      ${escapeText(report.configFile)}`,
      ...(report.keptConfig === undefined ? [] : [`              the old one is ${escapeText(report.keptConfig)}`]),
      `  password    ${escapeText(report.passwordFile)} (${report.passwordCreated ? 'new, random, readable for its owner only' : 'was there'})`,
      `  repository  ${escapeText(withoutCredentials(report.repository))} (${report.repositoryCreated ? 'new' : 'was there'})`,
    ].join('\n'),
  )
  if (!report.passwordCreated) return
  const advice = `${escapeText(report.passwordFile)} is the only way into the backups. Copy it into a password manager, or print it into a safe: when this machine is lost, so is the file, and without it nobody can open the repository. You are not told again. \`holdfast key paper\` prints what else has to be in the safe; \`holdfast key escrow\` seals the password for the keys of the secrets.`
  const lines = wrap(advice, Math.min(io.columns(), WIDEST) - 2).map((line) => `  ${line}`)
  screen.say(['', style.bold('Store the password elsewhere, now'), ...lines].join('\n'))
}

/** They come before the password file of the config, so that the next command would use the wrong one. */
function warnOfOtherPasswords({ io, warn }: Invocation<SetUpOptions>): void {
  const names = ['HOLDFAST', 'RESTIC'].flatMap((prefix) =>
    ['_PASSWORD', '_PASSWORD_FILE', '_PASSWORD_COMMAND'].map((suffix) => prefix + suffix),
  )
  const set = names.filter((name) => io.env[name])
  if (set.length === 0) return
  warn(
    `${set.join(', ')} is set: it comes before the password file of the config`,
    'Unset it where you work on this application',
  )
}
