import type { Config } from '../../application/config/config.ts'
import { parseConfig } from '../../application/config/load-config.ts'
import type { Finding } from '../../application/finding.ts'
import type { ApplicationCheck } from '../../application/host/health.ts'
import { CodedError } from '../../engine/error.ts'
import { findAccount, groupName } from '../../engine/os/accounts.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import { isLocal } from '../../engine/storage/open-storage.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { OperationError } from '../error.ts'
import type { Observer, OperationEvent, Outcome } from '../event.ts'
import { journalOf } from '../journal/journal-of.ts'
import { type EventRecorder, recordEvents } from '../journal/record-events.ts'
import type { InPlaceReport } from '../restore/apply-in-place.ts'
import { presence } from '../restore/plan-in-place.ts'
import type { Relocation } from '../restore/relocation.ts'
import { stamp } from '../restore/restore-in-place.ts'
import { countFindings } from '../restore/restore-to-target.ts'
import { type ChosenSnapshot, chooseSnapshot, type SnapshotChoice } from '../restore/snapshot-choice.ts'
import type { Replaced } from '../restore/swap-units.ts'
import { namedBy, refuseSystemFolders } from '../restore/unit-paths.ts'
import { runOperation } from '../run-operation.ts'
import { type RunStepsOptions, runSteps, undoSteps } from '../steps/run-steps.ts'
import { beginStepRecord, isInPlace, readStepRecord, type StepRecord, type StepState } from '../steps/step-record.ts'
import { FULL_RECOVERY, recoveryRecordOf, wordsOfRun } from './begun-recovery.ts'
import { chooseGoodSnapshot, type GoodSnapshot, olderAndDifferent } from './choose-good-snapshot.ts'
import { planRecovery, requirePreflight } from './plan-recovery.ts'
import { missingSecrets, type RecoveryPart, targetsOf, whatItLacks } from './recovery-part.ts'
import type { RecoveryPlan } from './recovery-plan.ts'
import { recoverySteps } from './recovery-steps.ts'
import { chooseApp, readSnapshotConfig, relocateConfig, type SnapshotConfig } from './snapshot-config.ts'
import type { ReplacedPath } from './take-back.ts'

/** What is to be different on this machine. */
export interface RelocationRequest {
  /** Absolute. */
  readonly root?: string | undefined
  readonly user?: string | undefined
  /** Default: the group of the user. */
  readonly group?: string | undefined
  /** Without `from`: the port of the config's health check. */
  readonly ports: readonly { readonly from: number | undefined; readonly to: number }[]
}

export interface PlanOptions {
  /** Which snapshot; `app` counts where the repository holds several applications. */
  readonly choice: Pick<SnapshotChoice, 'name' | 'notAfter' | 'app'>
  /** The operator's own, in place of the one in the snapshot: then the repository does not say what is run. */
  readonly config?: Config | undefined
  /** What is brought back of an application that is here; undefined: all of it, onto whatever machine. */
  readonly part?: RecoveryPart | undefined
  readonly relocate: RelocationRequest
  /** Further files in which root, port and user are rewritten. */
  readonly alsoRewrite: readonly string[]
  /** Absolute paths of age identity files; gpg finds its keys itself. */
  readonly identities: readonly string[]
  readonly withoutSecrets: boolean
  /** Make the owner's account where there is none. */
  readonly createUser: boolean
  /** False: all is put in place, and nothing is started. */
  readonly start: boolean
  /** Do not go on with a run that was cut off. */
  readonly anew: boolean
  readonly signal: AbortSignal
}

export interface RecoverOptions extends PlanOptions {
  readonly verify: boolean
  /** How long the application may take until it is healthy, in milliseconds. */
  readonly withinMs: number
  /** Put back what was there before when a step fails. */
  readonly rollback: boolean
  /** Shown the plan; false leaves everything as it is. */
  readonly confirm: (plan: RecoveryPlan) => Promise<boolean>
  /** Asked, without `rollback`, when a step fails: whether what was there before is put back. */
  readonly askRollback?: ((step: string, error: Error) => Promise<boolean>) | undefined
  readonly observe: Observer
}

export type RecoverReport =
  | {
      readonly outcome: Extract<Outcome, 'succeeded' | 'incomplete'>
      readonly plan: RecoveryPlan
      readonly steps: readonly StepState[]
      readonly checks: readonly ApplicationCheck[]
      readonly findings: readonly Finding[]
      /** What was there before, and where it is now. */
      readonly kept: readonly Replaced[]
      readonly files: number
      readonly bytes: number
      readonly secrets: number
    }
  | { readonly outcome: 'declined'; readonly plan: RecoveryPlan }

/**
 * Brings back a whole application onto this machine from the repository alone: accounts, files, unit, web server, dependencies,
 * start, health; or a part of one that is here. In steps that are noted in the state folder: a run that fails or is cut off is gone on with by the next.
 *
 * What is run and what is replaced is said by the config and the manifest in the snapshot, so by whoever can write to the
 * repository: `confirm` is the operator's consent to all of it.
 */
export async function recover(access: RepositoryAccess, options: RecoverOptions): Promise<RecoverReport> {
  const { signal } = options
  const { operation, subject } = frameOf(access, options)
  using journal = lateJournal(options.observe)
  const { observe } = journal
  return await runOperation<RecoverReport>(
    { operation, subject, observe, signal },
    () =>
      withRepository(access, { lock: 'shared', signal }, (repository, lockSignal) => {
        return recoverUnderLock(repository, access, journal, { ...options, observe, signal: lockSignal ?? signal })
      }),
    summaryOf,
  )
}

/** What `recover` would do. Reads only. */
export async function planRecover(access: RepositoryAccess, options: PlanOptions): Promise<RecoveryPlan> {
  return withRepository(access, { lock: 'shared', signal: options.signal }, async (repository, lockSignal) => {
    const inner = { ...options, signal: lockSignal ?? options.signal }
    return (await prepare(repository, access, inner)).plan
  })
}

/** What it is called in the journal. A recovery in full is told from other restores by its subject. */
function frameOf({ location }: RepositoryAccess, { choice, part }: PlanOptions) {
  const app = choice.app ?? location
  if (part === undefined) return { operation: 'restore', subject: `${app} in full` }
  return {
    operation: 'rescue',
    subject: `${part.kind === 'secrets' ? 'the secrets' : part.names.join(', ')} of ${app}`,
  }
}

/** What an operator types to go on with it. */
function commandOf({ part, withoutSecrets }: PlanOptions): string {
  if (part === undefined) return FULL_RECOVERY
  if (part.kind === 'secrets') return part.which === 'all' ? 'rescue secrets --all' : 'rescue secrets'
  const options = [...(part.install ? ['--install'] : []), ...(withoutSecrets ? ['--without-secrets'] : [])]
  return ['rescue component', ...part.names, ...options].join(' ')
}

interface Prepared {
  readonly chosen: ChosenSnapshot
  readonly config: SnapshotConfig
  readonly plan: RecoveryPlan
  /** Of the run that is gone on with. */
  readonly record: StepRecord | undefined
  readonly recordFile: string
  readonly request: StepRecord['request']
  readonly stamp: string
}

async function prepare(repository: Repository, access: RepositoryAccess, options: PlanOptions): Promise<Prepared> {
  const { choice, signal } = options
  const app = await chooseApp(repository, choice.app, signal)
  const { chosen: first, passedOver } = await choose(repository, app, options)
  let chosen = first
  let config = await configFor(chosen, options)
  const recordFile = recoveryRecordOf(config.config)
  const record = options.anew ? undefined : await unfinished(recordFile, options)
  const pinned = record?.request.snapshot
  if (typeof pinned === 'string' && pinned !== chosen.stored.id) {
    // Backups may have been made since; what was begun is brought to its end.
    if (choice.name !== 'latest' || choice.notAfter !== undefined) throw otherRequest(recordFile, record!)
    chosen = await chooseSnapshot(repository, { name: pinned, app }, signal)
    config = await configFor(chosen, options)
  }
  const relocation = relocationFor(config.original, options.relocate)
  const request = {
    snapshot: chosen.stored.id,
    relocation: { ...relocation },
    without_secrets: options.withoutSecrets,
    also_rewrite: [...options.alsoRewrite],
    start: options.start,
    part: options.part,
    only: await secretsWanted(chosen, config, record, options),
  }
  if (record !== undefined && JSON.stringify(record.request) !== JSON.stringify(jsonOf(request))) {
    throw otherRequest(recordFile, record)
  }
  const at = stamp(record === undefined ? new Date() : new Date(record.begun))
  const plan = await planRecovery(chosen, {
    ...options,
    part: options.part,
    only: request.only,
    config,
    relocation,
    location: access.location,
    record,
    recordFile,
    stamp: at,
  })
  const findings = [
    ...passedOverFindings(passedOver),
    ...plan.findings,
    ...(await sameAsHere(repository, chosen, plan, signal)),
  ]
  return { chosen, config, plan: { ...plan, findings }, record, recordFile, request, stamp: at }
}

/** A part is brought back also after another one that was put in place whole, and did not help. */
async function unfinished(file: string, options: PlanOptions): Promise<StepRecord | undefined> {
  const record = await readStepRecord(file)
  if (record?.state !== 'running' && record?.state !== 'undoing') return undefined
  const isOther = options.part !== undefined && record.operation !== commandOf(options)
  return isOther && isInPlace(record) ? undefined : record
}

/** Of a part the newest that brings it back whole, where none is named. */
async function choose(
  plain: Repository,
  app: string,
  { choice, part, config, signal }: PlanOptions,
): Promise<GoodSnapshot> {
  if (part !== undefined && choice.name === 'latest') {
    return chooseGoodSnapshot(plain, { app, part, config, notAfter: choice.notAfter, signal })
  }
  const chosen = await chooseSnapshot(plain, { ...choice, app }, signal)
  const why = part === undefined || chosen.manifest === undefined ? undefined : whatItLacks(chosen.manifest, part)
  if (why !== undefined && targetsOf(chosen.manifest!, part).length === 0) {
    throw new OperationError('NOTHING', `Snapshot ${chosen.stored.id.slice(0, 8)} cannot help: ${why}`, {
      facts: { snapshot: chosen.stored.id },
      hint: 'Leave its ID out: then the newest that can help is taken',
    })
  }
  return { chosen, passedOver: [] }
}

/** Of a run that is gone on with those that were missing when it began. Rejects with `NOTHING` when none is. */
async function secretsWanted(
  { manifest, stored }: ChosenSnapshot,
  { config }: SnapshotConfig,
  record: StepRecord | undefined,
  { part }: PlanOptions,
): Promise<readonly string[] | undefined> {
  if (part?.kind !== 'secrets' || part.which === 'all') return undefined
  const before = record?.request.only
  if (Array.isArray(before)) return before.map(String)
  const missing = await missingSecrets(manifest!, await namedBy(config, '/'))
  if (missing.length > 0) return missing
  throw new OperationError('NOTHING', `No secret of ${config.app} is missing`, {
    facts: { snapshot: stored.id },
    hint: 'With --all, every secret comes back as the snapshot has it: also those that were replaced since',
  })
}

function passedOverFindings(lines: readonly string[]): Finding[] {
  return lines.map((line) => ({ severity: 'note', code: 'passed-over', message: `Passed over: ${line}` }))
}

/** What is as it was cannot be put right by bringing it back. */
async function sameAsHere(
  plain: Repository,
  chosen: ChosenSnapshot,
  { part, components, resumes }: RecoveryPlan,
  signal: AbortSignal,
): Promise<Finding[]> {
  const isSame = components.every(({ changes }) => {
    return changes !== undefined && changes.list.length === 0
  })
  if (part === undefined || resumes !== undefined || !isSame) return []
  const older = await olderAndDifferent(plain, chosen, part, signal)
  return [
    {
      severity: 'warning',
      code: 'same-as-here',
      message: 'All of it is as this snapshot has it: to bring it back changes nothing',
      hint:
        older === undefined
          ? 'No older snapshot has it otherwise'
          : `Snapshot ${older.snapshot.slice(0, 8)} of ${older.time.toISOString().slice(0, 16).replace('T', ' ')} UTC is the newest that has it otherwise: --snapshot ${older.snapshot.slice(0, 8)}`,
    },
  ]
}

/** As it reads when it was written and read again: what is undefined is not there. */
function jsonOf(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

async function configFor(
  chosen: ChosenSnapshot,
  { config, relocate, part, signal }: PlanOptions,
): Promise<SnapshotConfig> {
  const stored = await readSnapshotConfig(chosen, signal)
  // The one that is in force here stays where it is; on a new machine it is put where it was.
  const file = part === undefined ? stored.file : config?.file
  const original = config === undefined ? stored : parseConfig(config.text, file!)
  if (original.app !== stored.app) {
    throw new OperationError('USAGE', `The config is of ${original.app}, the snapshot of ${stored.app}`, {
      facts: { config: original.app, snapshot: stored.app },
      hint: 'Leave --config out: the config is taken from the snapshot',
    })
  }
  const from = config === undefined ? 'snapshot' : 'operator'
  return relocateConfig(original, relocationFor(original, relocate), from)
}

function relocationFor(original: Config, { root, user, group, ports }: RelocationRequest): Relocation {
  const { owner, service } = original
  if (user !== undefined && owner === undefined) {
    throw new OperationError('USAGE', 'Cannot map the user: the config names no owner', {
      hint: 'Leave --map user=… out, or add --config with a config that names the owner',
    })
  }
  if (root !== undefined) {
    refuseSystemFolders([root])
    refuseNesting(original, root)
  }
  const healthPort = service?.health === undefined ? undefined : Number(new URL(service.health).port || 80)
  const account = user === undefined ? undefined : findAccount(user)
  const newGroup = group ?? (account === undefined ? user : groupName(account.gid))
  return {
    ...(root === undefined || root === original.root ? {} : { root: { from: original.root, to: root } }),
    ...(user === undefined || owner === undefined ? {} : { user: { from: owner.user, to: user } }),
    ...(newGroup === undefined || owner === undefined ? {} : { group: { from: owner.group, to: newGroup } }),
    ports: ports.map(({ from = healthPort, to }) => {
      if (from !== undefined) return { from, to }
      throw new OperationError('USAGE', 'Cannot tell which port is meant: the config has no health check', {
        hint: `Name both: --map port=OLD:${to}`,
      })
    }),
  }
}

/** A component that holds the root itself would be split by another root. */
function refuseNesting(original: Config, root: string): void {
  const outer = original.components.find(({ paths }) => paths.some((path) => original.root.startsWith(`${path}/`)))
  if (outer === undefined) return
  throw new OperationError('USAGE', `Cannot map the root: component ${outer.name} holds more than ${original.root}`, {
    facts: { component: outer.name, root },
    hint: 'Bring it back to where it was, or restore it to a folder with --target',
  })
}

function otherRequest(file: string, record: StepRecord): OperationError {
  const { operation, request, begun } = record
  const snapshot = String(request.snapshot)
  const words = wordsOfRun(record).join(' ')
  return new OperationError(
    'RESUME',
    `Another recovery was begun and not brought to its end: \`${operation}\` of snapshot ${snapshot.slice(0, 8)}, at ${begun}`,
    {
      facts: { file, snapshot, operation },
      hint: `\`holdfast rescue\` goes on with it, and so does the same command: \`${words}\`. Or add --anew: what is in place by now is kept beside the new`,
    },
  )
}

/**
 * Where the journal lies is said by the config, which is read out of the snapshot: what was reported until then follows. It is
 * history; how far a recovery came is told by its own record, also where no journal can be written.
 */
function lateJournal(observe: Observer) {
  const early: OperationEvent[] = []
  let recorder: EventRecorder | undefined
  return {
    observe(event: OperationEvent): void {
      if (recorder === undefined) early.push(event)
      else recorder.observe(event)
      observe(event)
    },
    begin({ config }: SnapshotConfig, location: string): void {
      const warn = (message: string, hint: string | undefined) =>
        observe({
          type: 'finding',
          finding: { severity: 'warning', code: 'not-in-journal', message, ...(hint === undefined ? {} : { hint }) },
        })
      const path = journalOf(config)
      recorder = recordEvents(path, { ownRepository: config.repository === location, warn })
      for (const event of early.splice(0)) recorder.observe(event)
    },
    [Symbol.dispose]: () => recorder?.[Symbol.dispose](),
  }
}

async function recoverUnderLock(
  repository: Repository,
  access: RepositoryAccess,
  journal: ReturnType<typeof lateJournal>,
  options: RecoverOptions,
): Promise<RecoverReport> {
  const { signal, identities, withoutSecrets, verify, withinMs } = options
  const findings: Finding[] = []
  const observe = once(options.observe, findings)
  observe({ type: 'phase', phase: 'plan' })
  const prepared = await prepare(repository, access, options)
  const { chosen, config, plan } = prepared
  const isGoingBack = prepared.record?.state === 'undoing'
  if (!(await options.confirm(plan))) return { outcome: 'declined', plan }
  if (!isGoingBack) requirePreflight(plan)
  // Not before: until here nothing was changed.
  journal.begin(config, access.location)
  for (const finding of [...plan.preflight, ...plan.findings, ...gapsOf(plan)]) observe({ type: 'finding', finding })

  const totals = { files: 0, bytes: 0, secrets: 0 }
  const checks: ApplicationCheck[] = []
  const steps = recoverySteps(chosen, plan, {
    config,
    identities,
    withoutSecrets,
    verify,
    withinMs,
    stamp: prepared.stamp,
    password: access.password,
    observe,
    onRestored: (report: InPlaceReport) => {
      totals.files += report.files
      totals.bytes += report.bytes
      totals.secrets += report.secrets
    },
    onCheck: (check) => checks.push(check),
  })
  const file = prepared.recordFile
  const record =
    prepared.record ??
    (await beginStepRecord(file, {
      operation: commandOf(options),
      subject: plan.app,
      request: prepared.request,
      surroundings: {
        // Of another one the address may hold a password.
        ...(isLocal(access.location) ? { repository: access.location } : {}),
        ...(options.config === undefined ? {} : { config: options.config.file }),
        identities,
      },
      steps,
    }))
  const running = { file, steps, observe, signal }
  if (isGoingBack) {
    await undoSteps({ ...running, record })
    throw new OperationError('RESUME', 'An earlier recovery was being taken back, which is finished now', {
      facts: { begun: record.begun },
      hint: 'What was there before is back. Run the same again to recover anew',
    })
  }
  const done = await runSteps({ ...running, record }).catch((error: Error) => failed(error, running, options))
  return {
    outcome: findings.some(({ severity }) => severity === 'error') ? 'incomplete' : 'succeeded',
    plan,
    steps: done.steps,
    checks,
    findings,
    kept: await keptBy(done),
    ...totals,
  }
}

/** Puts back what was there, if that is wanted; rejects in any case. */
async function failed(
  error: Error,
  running: Omit<RunStepsOptions, 'record'>,
  { rollback, askRollback, signal }: RecoverOptions,
): Promise<never> {
  if (signal.aborted) throw error
  const record = (await readStepRecord(running.file))!
  const step = record.steps.find(({ state }) => state === 'failed')
  const title = step?.title ?? 'a step'
  const code = error instanceof CodedError && error.code === 'UNHEALTHY' ? 'UNHEALTHY' : 'RECOVERY'
  const hint = error instanceof CodedError && error.hint !== undefined ? `${error.hint}\n` : ''
  const facts = { step: step?.id, cause: error instanceof CodedError ? error.code : undefined }
  if (rollback || (await askRollback?.(title, error)) === true) {
    await undoSteps({ ...running, record })
    throw new OperationError(code, `"${title}" failed, and what was there before is back: ${error.message}`, {
      facts: { ...facts, rolled_back: true },
      hint: `${hint}What had been restored is kept as NAME.restored-TIME`,
      cause: error,
    })
  }
  throw new OperationError(code, `"${title}" failed: ${error.message}`, {
    facts: { ...facts, rolled_back: false },
    hint: `${hint}Put it right and run the same again: it goes on with this step. With --rollback, what was there before comes back when it fails again`,
    cause: error,
  })
}

/** The same finding of several components is told once; all are gathered. */
function once(observe: Observer, findings: Finding[]): Observer {
  const told = new Set<string>()
  return (event) => {
    if (event.type === 'finding') {
      const key = JSON.stringify(event.finding)
      if (told.has(key)) return
      told.add(key)
      findings.push(event.finding)
    }
    observe(event)
  }
}

/** What the snapshot lacks does not come back, whatever else succeeds. */
function gapsOf({ snapshotOutcome, snapshot, time }: RecoveryPlan): Finding[] {
  if (snapshotOutcome === 'succeeded') return []
  return [
    {
      severity: 'error',
      code: 'snapshot-incomplete',
      message: `Snapshot ${snapshot.slice(0, 8)} of ${time} is incomplete: what its backup could not store does not come back`,
      hint: 'The warnings say what it is. An older snapshot may hold it: see `holdfast snapshots --long`',
    },
  ]
}

async function keptBy({ steps }: StepRecord): Promise<Replaced[]> {
  const kept: Replaced[] = []
  for (const { facts } of steps) {
    const units = (facts.units ?? []) as readonly ReplacedPath[]
    const replaced = units.flatMap(({ path, before, live }) => (before && live ? [{ path, before }] : []))
    for (const each of [...replaced, ...((facts.kept ?? []) as readonly Replaced[])]) {
      if ((await presence(each.before)) !== 'nothing') kept.push(each)
    }
  }
  return kept
}

function summaryOf(report: RecoverReport): Readonly<Record<string, unknown>> {
  const { plan } = report
  const shared = {
    snapshot_id: plan.snapshot,
    app: plan.app,
    ...(plan.part === undefined
      ? {}
      : { playbook: playbookOf(plan.part), components: plan.components.map(({ name }) => name) }),
  }
  if (report.outcome === 'declined') return { ...shared, declined: true }
  return {
    ...shared,
    files_restored: report.files + report.secrets,
    bytes_restored: report.bytes,
    secrets_unsealed: report.secrets,
    steps: report.steps.map(({ id, title, result, milliseconds }) => ({ step: id, title, result, milliseconds })),
    checks: report.checks,
    kept: report.kept,
    ...countFindings(report.findings),
  }
}

/** As `rescue` calls it; the same of a plan and of a summary. */
export function playbookOf(part: RecoveryPart): 'component' | 'secrets' {
  return part.kind === 'secrets' ? 'secrets' : 'component'
}
