import { mkdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import type { Config } from '../../application/config/config.ts'
import { after, approximateSeconds } from '../../application/config/duration.ts'
import type { Finding } from '../../application/finding.ts'
import { verifyDatabase } from '../../application/sources/sqlite.ts'
import { CodedError } from '../../engine/error.ts'
import { currentUser } from '../../engine/os/current-user.ts'
import { isolationProblem } from '../../engine/os/isolation.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import { findSnapshot, type StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { appSnapshots, PARTIAL } from '../app-snapshots.ts'
import { inspectSnapshot } from '../backup/inspect-snapshot.ts'
import { OperationError } from '../error.ts'
import type { Observer } from '../event.ts'
import type { Manifest } from '../manifest.ts'
import { drillPhases } from '../recovery/measured-runs.ts'
import { type MeasuredRun, predictRecovery, type RecoveryPhase } from '../recovery/predict-recovery.ts'
import { countFindings, restoreChosen } from '../restore/restore-to-target.ts'
import { type ChosenSnapshot, chooseSnapshot, refuseDamagedManifest } from '../restore/snapshot-choice.ts'
import { runOperation } from '../run-operation.ts'
import { verifyManifest, verifyManifestSignature } from '../verify/verify-manifest.ts'
import { openWorkFolder } from '../work-folder.ts'
import type { CheckState, DrillCheck, DrillLevel, DrillPhase, DrillReport } from './drill-report.ts'
import type { InsideMessage } from './inside-protocol.ts'
import { type Pick, pickSnapshot } from './pick-snapshot.ts'
import { type DrillFolders, drillFolders, planInside } from './plan-drill.ts'
import { recommend } from './recommend.ts'
import { runInside } from './run-inside.ts'
import { writeReports } from './write-reports.ts'

export interface DrillOptions {
  readonly config: Config
  /** `latest` or the beginning of an ID; by default one by chance, of the configured age. */
  readonly snapshot?: string | undefined
  /** False: restored and verified, and not started. */
  readonly start: boolean
  /** age identity files; gpg finds its keys itself. */
  readonly identities: readonly string[]
  /** Shown what is to be done before anything is; false ends it there. */
  readonly confirm?: (plan: DrillPlan) => Promise<boolean>
  readonly random?: () => number
  readonly now?: () => Date
  readonly observe: Observer
  readonly signal: AbortSignal
}

export interface DrillPlan {
  readonly snapshot: string
  readonly time: Date
  readonly note: string | undefined
  readonly bytes: number
  /** What is done, a line each. */
  readonly steps: readonly string[]
  /** Why the application will not be started; undefined when it will. */
  readonly noStart: string | undefined
}

export type DrillResult =
  | ({ readonly kind: 'done'; readonly reports: readonly string[] } & DrillReport)
  | { readonly kind: 'declined'; readonly outcome: 'declined'; readonly plan: DrillPlan }

/**
 * Rehearses a recovery: restores a snapshot into a folder of its own, verifies everything in it, runs the application from it in
 * namespaces of its own, asks it how it is, and writes a report. Nothing of the live application is touched. Whatever is found
 * wrong is in the report; rejects only where there is nothing to rehearse or the machine gets in the way.
 */
export async function runDrill(access: RepositoryAccess, options: DrillOptions): Promise<DrillResult> {
  const { config, observe, signal } = options
  return runOperation<DrillResult>(
    { operation: 'drill', subject: config.app, observe, signal },
    () =>
      withRepository(access, { lock: 'shared', signal }, (plain, lockSignal) =>
        new DrillRun({ ...options, signal: lockSignal ?? signal }).run(plain),
      ),
    (result) =>
      result.kind === 'declined'
        ? { snapshot_id: result.plan.snapshot, declined: true }
        : {
            snapshot_id: result.snapshot.id,
            snapshot_time: result.snapshot.time.toISOString(),
            proof_level: result.level,
            checks_passed: result.checks.filter(({ state }) => state === 'passed').length,
            checks_failed: result.checks.filter(({ state }) => state === 'failed').length,
            checks_skipped: result.checks.filter(({ state }) => state === 'skipped').length,
            files_restored: result.files,
            bytes_restored: result.bytes,
            phases: result.phases,
            ...(result.predicted === undefined
              ? {}
              : {
                  predicted_recovery_ms: result.predicted.milliseconds,
                  not_predicted: result.predicted.unknown,
                }),
            ...(result.objective === undefined ? {} : { objective_ms: result.objective }),
            ...(result.nextDue === undefined ? {} : { next_test_due: result.nextDue.toISOString().slice(0, 10) }),
            reports: result.reports,
            ...countFindings(result.issues),
          },
  )
}

class DrillRun {
  readonly #options: DrillOptions
  readonly #checks: DrillCheck[] = []
  readonly #phases: DrillPhase[] = []
  readonly #issues: Finding[] = []
  readonly #notes: string[] = []
  readonly #now: () => Date

  constructor(options: DrillOptions) {
    this.#options = options
    this.#now = options.now ?? (() => new Date())
  }

  async run(plain: Repository): Promise<DrillResult> {
    const { config, observe, signal } = this.#options
    observe({ type: 'phase', phase: 'pick' })
    const snapshots = (await appSnapshots(plain, config.app, signal, (error) => this.#noteUnreadable(error))).filter(
      ({ snapshot }) => !snapshot.tags.includes(PARTIAL),
    )
    const picked = await this.#pick(plain, snapshots)
    const chosen = await chooseSnapshot(plain, { name: picked.snapshot.id }, signal)
    refuseDamagedManifest(chosen)
    const manifest = manifestOf(chosen)
    const noStart = this.#whyNoStart()
    const plan = this.#plan(picked, manifest, noStart)
    if (this.#options.confirm !== undefined && !(await this.#options.confirm(plan))) {
      return { kind: 'declined', outcome: 'declined', plan }
    }
    const start = this.#now()
    if (picked.note !== undefined) this.#notes.push(picked.note)
    await using work = await openWorkFolder(config.workDirectory, 'drill')
    const folders = drillFolders(work.path)
    for (const folder of Object.values(folders)) await mkdir(folder, { mode: 0o700 })

    const restored = await this.#timed('restore', () => this.#restore(chosen, folders))
    let level: DrillLevel = 'stored'
    if (restored !== undefined) {
      const isRestored = this.#hasNoFailure()
      const isSealed = this.#issues.some(({ code }) => code === SEALED)
      await this.#timed('verify', () => this.#verify(plain, chosen, manifest, folders, snapshots))
      const isOpened = this.#hasNoFailure() && !isSealed
      const isRunning =
        noStart === undefined ? await this.#runApplication(manifest, folders, isSealed) : this.#skipStart(noStart)
      if (isRestored) level = !isOpened ? 'restored' : isRunning ? 'running' : 'opened'
    }
    const newest = Number(snapshots.at(-1)?.snapshot.summary?.totalBytesProcessed ?? restored?.bytes ?? 0)
    const report = this.#report(chosen, picked, level, start, restored, newest)
    const reports = await writeReports(report, config, signal)
    this.#tell(report, reports)
    return { kind: 'done', reports, ...report }
  }

  async #pick(plain: Repository, snapshots: readonly StoredSnapshot[]): Promise<Pick> {
    const { config, snapshot: named, random, signal } = this.#options
    if (named !== undefined && named !== 'latest') {
      return { snapshot: await findSnapshot(plain, { name: named }, signal), note: undefined }
    }
    const pick = named === 'latest' ? 'latest' : (config.drill?.pick ?? 'latest')
    const picked = pickSnapshot(snapshots, pick, this.#now(), random)
    if (picked !== undefined) return picked
    throw new OperationError(
      'NOTHING',
      `Cannot rehearse a restore: no whole snapshot of ${config.app} in the repository`,
      {
        facts: { app: config.app },
        hint: 'Make one: `holdfast backup`',
      },
    )
  }

  #plan({ snapshot, note }: Pick, manifest: Manifest, noStart: string | undefined): DrillPlan {
    const { service, workDirectory, drill } = this.#options.config
    const bytes = manifest.components.reduce((sum, component) => sum + component.bytes, 0)
    const steps = [
      `restore all of it into a private folder in ${workDirectory}, and read it again`,
      `check ${manifest.databases.length} databases, the seals and the manifest`,
    ]
    if (noStart === undefined) {
      steps.push('make a root of its own, with the restored files at their paths; loopback is its only network')
      if (service?.install !== undefined) steps.push(`install: ${service.install}`)
      if (service?.build !== undefined) steps.push(`build: ${service.build}`)
      steps.push(`start it as ${service?.manager}${service?.name === undefined ? '' : ` ${service.name}`} does`)
      for (const url of [service?.health, service?.metrics]) if (url !== undefined) steps.push(`ask ${url}`)
      for (const { name } of drill?.checks ?? []) steps.push(`your check: ${name}`)
    }
    steps.push('end it, remove everything, write the report')
    const time = new Date(Number(snapshot.snapshot.time.ns / 1_000_000n))
    return { snapshot: snapshot.id, time, note, bytes, steps, noStart }
  }

  #hasNoFailure(): boolean {
    return !this.#checks.some(({ state }) => state === 'failed')
  }

  #noteUnreadable(error: CodedError): void {
    this.#find({
      severity: 'warning',
      code: 'snapshot-unreadable',
      message: error.message,
      hint: 'Run `holdfast check`',
    })
  }

  #whyNoStart(): string | undefined {
    const { config, start } = this.#options
    if (!start) return 'it was not asked for (--no-start)'
    if (config.service === undefined) return 'the config does not say how the application runs (`service`)'
    const problem = isolationProblem()
    return problem === undefined ? undefined : `it cannot be isolated on this machine: ${problem}`
  }

  /** What was restored; undefined when nothing could be. */
  async #restore(chosen: ChosenSnapshot, folders: DrillFolders): Promise<Amount | undefined> {
    const { observe, identities, signal } = this.#options
    const title = 'Files restored and read again'
    try {
      const report = await restoreChosen(chosen, {
        target: folders.restored,
        unseal: { identities },
        verify: true,
        observe: (event) => {
          if (event.type !== 'finding') observe(event)
        },
        signal,
      })
      // That it stays sealed where the key is not at hand is as it should be on a server.
      for (const finding of report.findings) {
        this.#find(finding.code === SEALED ? { ...finding, severity: 'warning' } : finding)
      }
      const wrong = report.findings.find(isWrong)
      this.#check(title, wrong ? 'failed' : 'passed', wrong?.message ?? `${report.verifiedFiles} files`)
      this.#checkSecrets(chosen.manifest, report)
      return report
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CodedError) || GETS_IN_THE_WAY.has(error.code)) throw error
      this.#findError(error)
      this.#check(title, 'failed', error.message)
      return undefined
    }
  }

  #checkSecrets(manifest: Manifest | undefined, { secrets, findings }: Restored): void {
    const title = 'Secrets decrypted'
    const sealed = findings.find(({ code }) => code === SEALED)
    if (manifest?.secrets === undefined) this.#check(title, 'skipped', 'the snapshot holds no secrets')
    else if (sealed === undefined) this.#check(title, 'passed', `${secrets} files`)
    else this.#check(title, 'skipped', 'the private key is not on this machine, as it should be: try it where it is')
  }

  async #verify(
    plain: Repository,
    chosen: ChosenSnapshot,
    manifest: Manifest,
    folders: DrillFolders,
    snapshots: readonly StoredSnapshot[],
  ): Promise<void> {
    const { config, signal } = this.#options
    const { stored } = chosen
    const before = snapshots.filter(({ snapshot }) => snapshot.time.ns < stored.snapshot.time.ns)
    await this.#during(
      'Repository and seals sound',
      'structure, sizes, and what a seal shows without its key',
      async (find) => {
        for (const finding of await inspectSnapshot(plain, stored, { config, older: before, signal })) find(finding)
      },
    )
    await this.#during('Manifest agrees with the snapshot', 'every component, every file beside it', async (find) => {
      await verifyManifest(chosen, find, signal)
      const state = await verifyManifestSignature(chosen, config.sign, find, signal)
      if (state === 'valid') this.#notes.push('The signature of the manifest is valid')
    })
    for (const { path } of manifest.databases) {
      await this.#during(`Database ${path}`, 'opened; integrity and foreign keys hold', async (find) => {
        const copy = folders.restored + path
        for (const finding of await verifyDatabase(copy, { signal })) {
          find({ ...finding, path, message: finding.message.replaceAll(copy, path) })
        }
      })
    }
  }

  async #runApplication(manifest: Manifest, folders: DrillFolders, isSealed: boolean): Promise<boolean> {
    const { config, observe, signal } = this.#options
    const plan = await planInside(config, manifest, folders, isSealed ? 'machine' : 'restored')
    if (plan === undefined) return false
    if (isSealed) this.#notes.push('The secrets are those of the machine: those of the snapshot stay sealed')
    this.#notes.push('What is not in the snapshot, as the program itself, is as it lies on this machine now')
    const seen = { healthy: false }
    const onMessage = (message: InsideMessage): void => {
      switch (message.type) {
        case 'phase':
          observe({ type: 'phase', phase: message.phase })
          return
        case 'ended':
          this.#phases.push({ phase: message.phase, milliseconds: message.milliseconds })
          return
        case 'note':
          this.#notes.push(message.message)
          return
        case 'check':
          if (message.check.startsWith('health ')) seen.healthy = message.passed
          this.#check(TITLES[message.check] ?? message.check, message.passed ? 'passed' : 'failed', message.detail)
          if (!message.passed) this.#findCheck(message.check, message.detail)
          return
        case 'failed':
          this.#check(TITLES[message.phase] ?? message.phase, 'failed', message.message)
          this.#findCheck(message.phase, message.message, message.hint)
          return
        case 'finished':
          return
      }
    }
    await runInside(plan, onMessage, signal)
    if (plan.health === undefined)
      this.#notes.push('The config names no `health` to ask: that it started is all that is known')
    return seen.healthy && !this.#checks.some(({ state }) => state === 'failed')
  }

  #skipStart(why: string): false {
    this.#check('Application started', 'skipped', why)
    return false
  }

  #report(
    { stored }: ChosenSnapshot,
    { note }: Pick,
    level: DrillLevel,
    start: Date,
    restored: Amount | undefined,
    newest: number,
  ): DrillReport {
    const { config } = this.#options
    const outcome = this.#checks.some(({ state }) => state === 'failed')
      ? 'failed'
      : this.#checks.some(({ state, title }) => state === 'skipped' && title !== 'Secrets decrypted') ||
          this.#issues.some(({ severity }) => severity === 'error')
        ? 'incomplete'
        : 'succeeded'
    const end = this.#now()
    const objective = config.objectives.rto && approximateSeconds(config.objectives.rto) * 1000
    const report: DrillReport = {
      outcome,
      app: config.app,
      host: hostname(),
      tester: process.env.SUDO_USER ?? currentUser().username,
      snapshot: { id: stored.id, time: new Date(Number(stored.snapshot.time.ns / 1_000_000n)), note },
      start,
      end,
      checks: this.#checks,
      phases: this.#phases,
      issues: this.#issues,
      notes: this.#notes,
      recommendations: [],
      level,
      files: restored?.files ?? 0,
      bytes: restored?.bytes ?? 0,
      predicted:
        restored &&
        predict(
          { by: 'drill', at: start, host: hostname(), bytes: restored.bytes, phases: drillPhases(this.#phases) },
          newest,
          config,
        ),
      objective,
      nextDue: config.drill && after(end, config.drill.every),
    }
    return { ...report, recommendations: recommend(report) }
  }

  async #timed<R>(phase: string, task: () => Promise<R>): Promise<R> {
    this.#options.observe({ type: 'phase', phase })
    const begun = performance.now()
    const result = await task()
    this.#phases.push({ phase, milliseconds: Math.round(performance.now() - begun) })
    return result
  }

  /** What the snapshot is worth now. */
  #tell({ level, snapshot: { id }, end }: DrillReport, reports: readonly string[]): void {
    if (level === 'stored') {
      this.#options.observe({
        type: 'snapshot',
        news: { kind: 'damaged', snapshot: id, at: end, evidence: { reports } },
      })
      return
    }
    for (const shown of ['restored', 'opened', 'running'] as const) {
      this.#options.observe({
        type: 'snapshot',
        news: { kind: 'proven', snapshot: id, level: shown, at: end, evidence: { drill: true, reports } },
      })
      if (shown === level) return
    }
  }

  /** One check of findings: it fails with the first that is wrong. */
  async #during(
    title: string,
    passes: string,
    task: (find: (finding: Finding) => void) => Promise<void>,
  ): Promise<void> {
    let wrong: Finding | undefined
    try {
      await task((finding) => {
        if (isWrong(finding)) wrong ??= finding
        this.#find(finding)
      })
      this.#check(title, wrong ? 'failed' : 'passed', wrong?.message ?? passes)
    } catch (error) {
      this.#options.signal.throwIfAborted()
      if (!(error instanceof CodedError) || GETS_IN_THE_WAY.has(error.code)) throw error
      this.#findError(error)
      this.#check(title, 'failed', error.message)
    }
  }

  #check(title: string, state: CheckState, detail: string): void {
    this.#checks.push({ title, state, detail })
    const states = { passed: 'done', failed: 'failed', skipped: 'skipped' } as const
    this.#options.observe({ type: 'step', step: `check:${title}`, title, state: states[state], result: detail })
  }

  #find(finding: Finding): void {
    // The restore, the inspection and the manifest may each find the same.
    if (this.#issues.some(({ code, message }) => code === finding.code && message === finding.message)) return
    this.#issues.push(finding)
    this.#options.observe({ type: 'finding', finding })
  }

  #findError({ code, message, hint }: CodedError): void {
    this.#find({
      severity: 'error',
      code: code.toLowerCase().replaceAll('_', '-'),
      message,
      ...(hint === undefined ? {} : { hint }),
    })
  }

  #findCheck(check: string, detail: string, hint?: string): void {
    const message = `The restored application did not pass "${check}": ${detail}`
    this.#find({ severity: 'error', code: 'drill-check-failed', message, ...(hint === undefined ? {} : { hint }) })
  }
}

interface Amount {
  readonly files: number
  readonly bytes: number
}

type Restored = Readonly<{ secrets: number; findings: readonly Finding[] }>

const SEALED = 'secrets-sealed'

/** What keeps a drill from being made, rather than what it finds. */
const GETS_IN_THE_WAY: ReadonlySet<string> = new Set(['NO_SPACE', 'INTERRUPTED', 'SYSTEM', 'TOOL_MISSING', 'LOCK_LOST'])

/** As the report calls what the isolated place does. */
const TITLES: Readonly<Record<string, string>> = {
  isolate: 'Isolated place made',
  install: 'Dependencies installed',
  build: 'Application built',
  start: 'Application started',
}

/** What the backup itself said is missing, and a seal whose key is elsewhere, do not make a drill fail. */
function isWrong({ severity, code }: Finding): boolean {
  return severity === 'error' && code !== SEALED && !code.startsWith('snapshot-')
}

function manifestOf({ manifest, stored }: ChosenSnapshot): Manifest {
  if (manifest !== undefined) return manifest
  throw new OperationError(
    'NOTHING',
    `Cannot rehearse with snapshot ${stored.id.slice(0, 8)}: it does not say what it is made of`,
    {
      facts: { snapshot: stored.id },
      hint: 'Only what `holdfast backup` made with a config describes itself',
    },
  )
}

/**
 * How long a whole recovery of the newest snapshot would take on a machine like this, by what was measured. Getting a server and
 * noticing that one is needed come on top.
 */
function predict(run: MeasuredRun, newest: number, { service }: Config): DrillReport['predicted'] {
  const wanted: RecoveryPhase[] = ['restore']
  if (service?.install !== undefined) wanted.push('install')
  if (service?.build !== undefined) wanted.push('build')
  if (service !== undefined) wanted.push('start', 'health')
  const bytes = Math.max(newest, run.bytes)
  const { milliseconds, phases } = predictRecovery({
    phases: new Set(wanted),
    bytes,
    runs: [run],
    reading: undefined,
  })
  const unknown = phases.filter(({ basis }) => basis === 'unknown').map(({ phase }) => phase)
  return { milliseconds, bytes, unknown }
}
