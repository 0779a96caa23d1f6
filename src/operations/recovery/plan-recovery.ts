import type { Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import type { ApplicationService } from '../../application/host/application-service.ts'
import { accountCommands, type WantedAccount } from '../../application/host/make-account.ts'
import { isSystemdRunning } from '../../application/host/unit-state.ts'
import { applicationHere } from '../application-here.ts'
import { OperationError } from '../error.ts'
import type { Manifest } from '../manifest.ts'
import { type InPlacePlan, planInPlace, presence, type Rewrite, spaceNeeds } from '../restore/plan-in-place.ts'
import { planRewrites } from '../restore/plan-rewrites.ts'
import { type Relocation, relocatePath } from '../restore/relocation.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { componentRoots } from '../restore/unit-paths.ts'
import { findNode } from '../snapshot-files.ts'
import { describeChecks, nameOfService, stateOf } from '../steps/application-steps.ts'
import type { StepRecord } from '../steps/step-record.ts'
import { planBoot } from './boot-step.ts'
import { fileChanges } from './file-changes.ts'
import { preflight } from './preflight.ts'
import { measureReading } from './reading-speed.ts'
import type { OwnFile, PlannedStep, RecoveryCommand, RecoveryComponent, RecoveryPlan } from './recovery-plan.ts'
import type { SnapshotConfig } from './snapshot-config.ts'

export interface PlanRecoveryOptions {
  readonly config: SnapshotConfig
  readonly location: string
  readonly relocation: Relocation
  readonly alsoRewrite: readonly string[]
  readonly identities: readonly string[]
  readonly withoutSecrets: boolean
  readonly createUser: boolean
  readonly start: boolean
  /** Of a run that was cut off. */
  readonly record: StepRecord | undefined
  readonly stamp: string
  readonly signal: AbortSignal
}

/** Secrets first, as the rest may need them; then what the host runs it with, in the order in which it is brought up. */
const ORDER = ['secrets', 'files', 'sqlite', 'pm2', 'systemd', 'nginx']

/** Components in the order in which they are restored, but those of which the snapshot holds nothing. */
function restoredComponents(manifest: Manifest): Manifest['components'] {
  const place = ({ kind }: Manifest['components'][number]) => (ORDER.includes(kind) ? ORDER.indexOf(kind) : 1)
  return manifest.components
    .filter(({ name }) => componentRoots(manifest, name).length > 0)
    .toSorted((a, b) => place(a) - place(b))
}

/** Why, of those of which it holds nothing. */
function missingComponents(manifest: Manifest): Finding[] {
  return manifest.components
    .filter(({ name }) => componentRoots(manifest, name).length === 0)
    .map(({ name }) => {
      const why = manifest.findings.find(({ component, severity }) => component === name && severity === 'error')
      return {
        severity: 'warning',
        code: 'nothing-held',
        component: name,
        message: `The snapshot holds nothing of ${name}${why === undefined ? '' : `: ${why.message}`}`,
        hint: 'An older snapshot may hold it: see `holdfast snapshots`',
      }
    })
}

/**
 * Plans the recovery of a whole application. Reads only; what is missing on this machine is in the plan, not an error.
 * Rejects with what `planInPlace` rejects with.
 */
export async function planRecovery(chosen: ChosenSnapshot, options: PlanRecoveryOptions): Promise<RecoveryPlan> {
  const { config: both, relocation, record, createUser, start, signal } = options
  const { config } = both
  const manifest = chosen.manifest!
  const owner = await ownerOf(chosen, both)
  const isDone = (id: string) => record?.steps.find((step) => step.id === id)?.state === 'done'
  const { rewrites, findings: found } = await planRewrites(chosen, {
    relocation,
    alsoRewrite: options.alsoRewrite,
    identities: options.identities,
    signal,
  })
  const components: RecoveryComponent[] = []
  for (const { name, kind } of restoredComponents(manifest)) {
    const wasRestored = isDone(`restore:${name}`)
    const plan = wasRestored ? undefined : await planComponent(chosen, name, { ...options, rewrites })
    const changes = plan === undefined ? undefined : await fileChanges(chosen, plan.units, signal)
    components.push({ name, kind, plan, changes })
  }
  const planned = components.flatMap(({ plan }) => (plan === undefined ? [] : [plan]))
  const units = planned.flatMap((plan) => plan.units)
  const application = start ? applicationOf(config, chosen, relocation) : undefined
  const { boot, findings: bootFindings } = await planBoot(config, { start, restored: units.map(({ path }) => path) })
  const draft = {
    snapshot: chosen.stored.id,
    time: new Date(Number(chosen.stored.snapshot.time.ns / 1_000_000n)).toISOString(),
    app: config.app,
    host: manifest.host,
    snapshotOutcome: manifest.outcome,
    root: config.root,
    owner,
    accountCommands: owner !== undefined && createUser ? accountCommands(owner) : [],
    relocation,
    components,
    rewrites: [
      ...(both.lines.length === 0 ? [] : [{ path: config.file, lines: both.lines }]),
      ...rewrites.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    ],
    configFile: isDone('config') || !isConfigFile(config.file) ? undefined : await ownFile(config.file),
    passwordFile: isDone('config') ? undefined : await missingPassword(config, options.location),
    commands: commandsOf(config, start),
    service: application === undefined ? undefined : await serviceOf(application, signal),
    unit: unitOf(config, start),
    boot,
    webServer: manifest.components.some(({ kind }) => kind === 'nginx'),
    units: manifest.components.some(({ kind }) => kind === 'systemd') && (await isSystemdRunning()),
    checks: application === undefined ? undefined : config.service,
    files: planned.reduce((sum, { files }) => sum + files, 0),
    bytes: planned.reduce((sum, { bytes }) => sum + bytes, 0),
    space: await spaceNeeds(units),
    reading: await measureReading(chosen, units, signal),
    resumes: record?.begun,
    findings: [
      ...missingComponents(manifest),
      ...planned.flatMap(({ findings }) => findings),
      ...bootFindings,
      ...repositoryMoved(config, options.location),
    ],
  }
  const sealed = found.filter(({ code }) => code === 'secrets-sealed')
  const others = found.filter(({ code }) => code !== 'secrets-sealed')
  const missing = await preflight(chosen, draft, { ...options, config, application, manifest, sealed })
  const plan = { ...draft, preflight: missing, findings: [...draft.findings, ...others] }
  return { ...plan, steps: stepsOf(plan, record) }
}

/** One component as a restore in place of its own, so that a run that is cut off goes on with the next. */
export async function planComponent(
  chosen: ChosenSnapshot,
  name: string,
  options: Pick<PlanRecoveryOptions, 'config' | 'relocation' | 'stamp' | 'signal'> & {
    readonly rewrites: readonly Rewrite[]
  },
): Promise<InPlacePlan> {
  const { config, relocation, stamp, rewrites, signal } = options
  return planInPlace(chosen, {
    components: [name],
    config: config.config,
    relocation,
    rewrites,
    stamp,
    stoppedLater: true,
    signal,
  })
}

/** How the application of a config runs here, from what a snapshot holds; undefined when the config does not say. */
export function applicationOf(
  config: Config,
  { manifest }: ChosenSnapshot,
  relocation: Relocation,
): ApplicationService | undefined {
  const pm2 = manifest?.components.find(({ kind }) => kind === 'pm2')
  const sealed = manifest?.secrets?.files.find(({ component }) => component === pm2?.name)
  const ecosystem = pm2?.paths.at(-1)?.path ?? sealed?.path
  const application = applicationHere(config)
  return application && { ...application, ecosystem: ecosystem && relocatePath(ecosystem, relocation) }
}

async function ownerOf(
  chosen: ChosenSnapshot,
  { config, original }: SnapshotConfig,
): Promise<WantedAccount | undefined> {
  if (config.owner === undefined) return undefined
  const node = await findNode(chosen.repository, chosen.stored.snapshot.tree, original.root)
  const isSame = node?.user === config.owner.user && node.group === config.owner.group
  return { ...config.owner, ...(node && isSame ? { uid: node.uid, gid: node.gid } : {}) }
}

/** The manifest says where it lies: no file of another program gets its content. */
function isConfigFile(path: string): boolean {
  return /\.ya?ml$/.test(path)
}

function unitOf({ service }: Config, start: boolean): RecoveryPlan['unit'] {
  return service?.manager === 'systemd' && service.name !== undefined
    ? { name: service.name, enable: start }
    : undefined
}

async function ownFile(path: string): Promise<OwnFile> {
  return { path, change: (await presence(path)) === 'nothing' ? 'created' : 'changed' }
}

/** Where the repository is the one of the config, its password is put where the config says: the next backup needs it. */
async function missingPassword({ passwordFile, repository }: Config, location: string): Promise<OwnFile | undefined> {
  if (passwordFile === undefined || repository !== location) return undefined
  return (await presence(passwordFile)) === 'nothing' ? { path: passwordFile, change: 'created' } : undefined
}

function repositoryMoved({ repository, file }: Config, location: string): Finding[] {
  if (repository === location) return []
  return [
    {
      severity: 'warning',
      code: 'other-repository',
      path: file,
      message: `The config names the repository ${repository}, and this is ${location}: backups will go to the former`,
      hint: `Once all is well, correct repository and password-file in ${file}, or bring the repository there`,
    },
  ]
}

function commandsOf(config: Config, start: boolean): RecoveryCommand[] {
  const { service, owner } = config
  const user = owner?.user ?? 'root'
  const commands: RecoveryCommand[] = []
  if (service?.install !== undefined) commands.push({ what: 'install', command: service.install, user })
  if (service?.build !== undefined) commands.push({ what: 'build', command: service.build, user })
  if (start && service?.start !== undefined) commands.push({ what: 'start', command: service.start, user })
  return commands
}

async function serviceOf(application: ApplicationService, signal: AbortSignal): Promise<RecoveryPlan['service']> {
  return { name: nameOfService(application), state: await stateOf(application, signal) }
}

type Draft = Omit<RecoveryPlan, 'steps'>

function stepsOf(plan: Draft, record: StepRecord | undefined): PlannedStep[] {
  const { owner, components, service, commands, checks } = plan
  const planned: Omit<PlannedStep, 'state'>[] = []
  const add = (id: string, title: string, detail: string) => planned.push({ id, title, detail })
  const wasPlanned = (id: string) => record?.steps.some((step) => step.id === id) === true
  if (plan.accountCommands.length > 0 || wasPlanned('account')) {
    add(
      'account',
      `Make the account ${owner?.user}`,
      plan.accountCommands.map((command) => command.join(' ')).join('; '),
    )
  }
  const running = service?.state === 'running' || service?.state === 'changing'
  add('stop', 'Stop what runs now', running ? `stop ${service?.name}` : 'nothing of it runs')
  for (const { name, plan: inPlace } of components) {
    const paths = inPlace?.units.map(({ path }) => path).join(', ') ?? 'restored by an earlier run'
    add(`restore:${name}`, `Restore ${name}`, paths)
  }
  const own = [plan.configFile?.path, plan.passwordFile?.path].filter((path) => path !== undefined)
  add('config', "Put Holdfast's own files in place", own.join(', '))
  add(
    'permissions',
    'Folders, owners and modes',
    `${plan.root}${owner === undefined ? '' : ` for ${owner.user}:${owner.group}`}`,
  )
  for (const { what, command, user } of commands) {
    if (what !== 'start')
      add(what, what === 'install' ? 'Install what it depends on' : 'Build it', `${command}  (as ${user})`)
  }
  if (plan.units) {
    const { unit } = plan
    const enable = unit === undefined ? '' : `; systemctl ${unit.enable ? 'enable' : 'disable'} ${unit.name}`
    add('systemd', 'Tell systemd', `systemctl daemon-reload${enable}`)
  }
  if (plan.webServer) add('nginx', 'Tell nginx', 'nginx -t; reload, or start where it does not run')
  if (service !== undefined) {
    const start = commands.find(({ what }) => what === 'start')
    add('start', 'Start it', start === undefined ? service.name : `${start.command}  (as ${start.user})`)
  }
  if (plan.boot !== undefined) {
    const { unit, command } = plan.boot
    add('boot', 'Have it started at boot', `pm2 save; ${command?.join(' ') ?? `systemctl enable ${unit}`}`)
  }
  if (checks !== undefined) add('check', 'See that it is healthy', describeChecks(checks))
  // A run that is gone on with has the steps that it began with.
  if (record === undefined) return planned.map((step) => ({ ...step, state: 'pending' }))
  return record.steps.map(({ id, title, state }) => {
    return { id, title, state, detail: planned.find((step) => step.id === id)?.detail ?? '' }
  })
}

/** Rejects with `PREFLIGHT` while something is missing. */
export function requirePreflight({ preflight: missing }: RecoveryPlan): void {
  const errors = missing.filter(({ severity }) => severity === 'error')
  const [first] = errors
  if (first === undefined) return
  const more = errors.length === 1 ? '' : `, and ${errors.length - 1} more`
  const list = errors.map(({ message, hint }) => `- ${message}${hint === undefined ? '' : `: ${hint}`}`)
  throw new OperationError('PREFLIGHT', `Nothing was changed: ${first.message}${more}`, {
    facts: { missing: errors.map(({ code }) => code) },
    hint: `Put it right and run the same again:\n${list.join('\n')}`,
  })
}
