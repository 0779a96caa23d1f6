import { readFile } from 'node:fs/promises'
import { posix } from 'node:path'
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
import { isBelow } from '../restore/restore-to-target.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { componentRoots } from '../restore/unit-paths.ts'
import { findNode } from '../snapshot-files.ts'
import { describeChecks, nameOfService, stateOf } from '../steps/application-steps.ts'
import type { StepRecord } from '../steps/step-record.ts'
import { planBoot } from './boot-step.ts'
import { fileChanges } from './file-changes.ts'
import { measuredRuns, phaseOfStep } from './measured-runs.ts'
import { neededInSnapshot } from './needed-in-snapshot.ts'
import { otherChanges } from './other-changes.ts'
import { type Pm2Units, pm2UnitsOf, withoutWrongUnits } from './pm2-units.ts'
import { predictRecovery } from './predict-recovery.ts'
import { preflight } from './preflight.ts'
import { measureReading } from './reading-speed.ts'
import { narrow, type RecoveryPart, type RestoreTarget, targetsOf } from './recovery-part.ts'
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
  /** Undefined: all of the application. */
  readonly part: RecoveryPart | undefined
  /** Of secrets those at or below these paths; undefined: all. */
  readonly only: readonly string[] | undefined
  /** Of a run that was cut off. */
  readonly record: StepRecord | undefined
  readonly stamp: string
  /** Where it is noted how far it came. */
  readonly recordFile: string
  readonly signal: AbortSignal
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
  const { config: both, relocation, record, createUser, start, part, signal } = options
  const { config } = both
  const wanted = targetsOf(chosen.manifest!, part, options.only)
  const pm2 = await pm2UnitsOf(chosen, both, relocation, signal)
  const { manifest, targets } = withoutWrongUnits(narrow(chosen.manifest!, wanted), wanted, pm2)
  const owner = await ownerOf(chosen, both)
  const isDone = (id: string) => record?.steps.find((step) => step.id === id)?.state === 'done'
  const holdsSecrets = part === undefined || manifest.secrets !== undefined
  const { rewrites, findings: found } = await planRewrites(chosen, {
    relocation,
    alsoRewrite: options.alsoRewrite,
    identities: holdsSecrets ? options.identities : undefined,
    signal,
  })
  const made = new Set<string>()
  const components: RecoveryComponent[] = []
  for (const target of targets) {
    const wasRestored = isDone(`restore:${target.name}`)
    const plan = wasRestored ? undefined : await planTarget(chosen, target, { ...options, rewrites })
    const changes = plan === undefined ? undefined : await fileChanges(chosen, plan.units, { relocation, made, signal })
    components.push({ ...target, plan, changes })
  }
  const planned = components.flatMap(({ plan }) => (plan === undefined ? [] : [plan]))
  const units = planned.flatMap((plan) => plan.units)
  const application = applicationOf(config, chosen, relocation)
  const service = application === undefined ? undefined : await serviceOf(application, signal)
  const restarts = part === undefined || targets.some(({ kind }) => kind !== 'nginx')
  const hasUnits = manifest.components.some(({ kind }) => kind === 'systemd')
  const restored = units.map(({ path }) => path)
  // What pm2 starts at boot is what it started last; only another ecosystem file changes that.
  const changesBoot = part === undefined || targets.some(({ kind }) => kind === 'pm2')
  const { boot, findings: bootFindings } = changesBoot
    ? await planBoot(config, { start, isKnown: isKnown(service), restored, restoredUnit: unitAmong(restored, pm2) })
    : { boot: undefined, findings: [] }
  const needed = await neededInSnapshot(chosen, {
    root: config.root,
    relocation,
    restored: new Set(targets.map(({ name }) => name)),
    signal,
  })
  const measured: Finding[] = []
  const runs = await measuredRuns(chosen, config, (finding) => measured.push(finding), signal)
  const draft = {
    snapshot: chosen.stored.id,
    time: new Date(Number(chosen.stored.snapshot.time.ns / 1_000_000n)).toISOString(),
    app: config.app,
    part,
    host: manifest.host,
    snapshotOutcome: part === undefined ? manifest.outcome : worstOf(manifest.components),
    root: config.root,
    owner,
    accountCommands: owner !== undefined && createUser ? accountCommands(owner) : [],
    relocation,
    components,
    rewrites: [
      ...(both.lines.length === 0 ? [] : [{ path: config.file, lines: both.lines }]),
      ...rewrites.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    ],
    configFile: isDone('config') || !isConfigFile(config.file) ? undefined : await ownFile(config, part, restored),
    passwordFile: isDone('config') ? undefined : await missingPassword(config, options.location),
    configFrom: both.from,
    commands: commandsOf(config, { start: start && restarts, part }),
    folders: needed.folders,
    service,
    restarts,
    starts: start && restarts && application !== undefined,
    unit: part === undefined || hasUnits ? unitOf(config, start) : undefined,
    boot,
    webServer: manifest.components.some(({ kind }) => kind === 'nginx'),
    units: hasUnits && (await isSystemdRunning()),
    checks: start && application !== undefined ? checksOf(config, restarts) : undefined,
    files: planned.reduce((sum, { files }) => sum + files, 0),
    bytes: planned.reduce((sum, { bytes }) => sum + bytes, 0),
    space: await spaceNeeds(units),
    reading: await measureReading(chosen, units, signal),
    resumes: record?.begun,
    goesBack: record?.state === 'undoing',
    findings: [
      ...(part === undefined ? missingComponents(manifest) : dependenciesChanged(components, config, part)),
      ...planned.flatMap(({ findings }) => findings),
      ...bootFindings,
      ...pm2.findings.filter(() => wanted.some(({ kind }) => kind === 'systemd')),
      ...needed.findings,
      ...measured,
      ...repositoryMoved(config, options.location),
    ],
  }
  const sealed = found.filter(({ code }) => code === 'secrets-sealed')
  const others = found.filter(({ code }) => code !== 'secrets-sealed')
  const missing = await preflight(chosen, draft, { ...options, config, application, manifest, sealed })
  const changes = await otherChanges(chosen, draft, { ...options, config, manifest, units, made, isDone })
  const plan = { ...draft, preflight: missing, findings: [...draft.findings, ...others], others: changes }
  const steps = stepsOf(plan, record)
  const phases = new Set(steps.filter(({ state }) => state !== 'done').map(({ id }) => phaseOfStep(id)))
  const prediction = predictRecovery({ phases, bytes: plan.bytes, runs, reading: plan.reading })
  return { ...plan, steps, prediction }
}

function unitAmong(restored: readonly string[], { right }: Pm2Units): string | undefined {
  return restored.some((path) => posix.basename(path) === right) ? right : undefined
}

function worstOf(components: Manifest['components']): Manifest['outcome'] {
  return components.some(({ outcome }) => outcome === 'incomplete') ? 'incomplete' : 'succeeded'
}

/** What it says as it starts is looked for only where it is started. */
function checksOf({ service }: Config, restarts: boolean): RecoveryPlan['checks'] {
  return service && (restarts ? service : { ...service, expectLog: [] })
}

/** Says what an application is made of besides its own code, and so what `install` does. */
const DEPENDENCIES =
  /^(package(-lock)?\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|requirements.*\.txt|poetry\.lock|Pipfile\.lock|Gemfile\.lock|composer\.lock|go\.sum|Cargo\.lock)$/

export function isDependencyList(path: string): boolean {
  return DEPENDENCIES.test(posix.basename(path))
}

function dependenciesChanged(
  components: readonly RecoveryComponent[],
  { service }: Config,
  part: RecoveryPart,
): Finding[] {
  if (part.kind === 'components' && part.install) return []
  if (service?.install === undefined && service?.build === undefined) return []
  const list = components.flatMap(({ changes }) => changes?.list ?? [])
  const changed = list.find(({ path }) => isDependencyList(path))
  if (changed === undefined) return []
  return [
    {
      severity: 'warning',
      code: 'dependencies-changed',
      path: changed.path,
      message: `${changed.path} changes, and with it what the application depends on`,
      hint: 'With --install the install and build commands of the config are run, too',
    },
  ]
}

/**
 * One component as a restore in place of its own, so that a run that is cut off goes on with the next. Rejects with what
 * `planInPlace` rejects with, also for paths of it that the config does not name: it is the snapshot that names them.
 */
export async function planTarget(
  chosen: ChosenSnapshot,
  { name, paths }: RestoreTarget,
  options: Pick<PlanRecoveryOptions, 'config' | 'relocation' | 'stamp' | 'signal'> & {
    readonly rewrites: readonly Rewrite[]
  },
): Promise<InPlacePlan> {
  const { config, relocation, stamp, rewrites, signal } = options
  const plan = await planInPlace(chosen, {
    ...(paths === undefined ? { components: [name] } : { paths }),
    config: config.config,
    relocation,
    rewrites,
    stamp,
    stoppedLater: true,
    signal,
  })
  const beyond = plan.units.filter(({ beyondConfig }) => beyondConfig).map(({ path }) => path)
  if (beyond.length === 0) return plan
  throw new OperationError(
    'BEYOND_CONFIG',
    `Cannot restore ${name}: the snapshot wants to replace ${beyond.join(', ')}, which the config does not name`,
    { facts: { paths: beyond }, hint: 'Find out who can write to the repository' },
  )
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

/** With a part of an application it comes back only where it is gone. */
async function ownFile(
  { file: path, text }: Config,
  part: RecoveryPart | undefined,
  restored: readonly string[],
): Promise<OwnFile | undefined> {
  const there = await presence(path)
  if (there === 'nothing') return { path, change: 'created' }
  const isReplaced = restored.some((unit) => isBelow(path, unit))
  if (part !== undefined || (!isReplaced && there === 'file' && (await readFile(path, 'utf8')) === text))
    return undefined
  return { path, change: 'changed' }
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

function commandsOf(
  { service, owner }: Config,
  { start, part }: Pick<PlanRecoveryOptions, 'start' | 'part'>,
): RecoveryCommand[] {
  const user = owner?.user ?? 'root'
  const commands: RecoveryCommand[] = []
  const installs = part === undefined || (part.kind === 'components' && part.install)
  if (installs && service?.install !== undefined) commands.push({ what: 'install', command: service.install, user })
  if (installs && service?.build !== undefined) commands.push({ what: 'build', command: service.build, user })
  if (start && service?.start !== undefined) commands.push({ what: 'start', command: service.start, user })
  return commands
}

/** Whether its manager has it, running or not. */
function isKnown(service: RecoveryPlan['service']): boolean {
  return service?.state !== undefined && service.state !== 'absent'
}

async function serviceOf(application: ApplicationService, signal: AbortSignal): Promise<RecoveryPlan['service']> {
  return { name: nameOfService(application), state: await stateOf(application, signal) }
}

type Draft = Omit<RecoveryPlan, 'steps' | 'prediction'>

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
  add('stop', plan.restarts ? 'Stop what runs now' : 'See what runs now', whatStops(plan))
  for (const { name, plan: inPlace } of components) {
    const paths = inPlace?.units.map(({ path }) => path).join(', ') ?? 'restored by an earlier run'
    add(`restore:${name}`, `Restore ${name}`, paths)
  }
  const own = [plan.configFile?.path, plan.passwordFile?.path].filter((path) => path !== undefined)
  if (plan.part === undefined || own.length > 0) add('config', "Put Holdfast's own files in place", own.join(', '))
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
  if (plan.starts) {
    const start = commands.find(({ what }) => what === 'start')
    add('start', 'Start it', start === undefined ? service!.name : `${start.command}  (as ${start.user})`)
  }
  if (plan.boot?.starts === false) add('boot', 'Have it not started at boot', 'pm2 save --force')
  else if (plan.boot !== undefined) {
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

function whatStops({ service, restarts }: Draft): string {
  if (!restarts) return 'the application runs on'
  if (service === undefined) return 'nothing is known to run'
  if (service.state === undefined) return service.name
  return service.state === 'running' || service.state === 'changing' ? `stop ${service.name}` : 'nothing of it runs'
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
