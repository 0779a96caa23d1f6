import { chmod, chown, copyFile, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import type { ApplicationService } from '../../application/host/application-service.ts'
import type { ApplicationCheck } from '../../application/host/health.ts'
import { type RecoveredDatabase, recoverDatabase } from '../../application/sources/recover-database.ts'
import { SIDECAR_SUFFIXES } from '../../application/sources/sqlite-header.ts'
import { latin1, openSqliteProcess, type SqliteProcess } from '../../application/sources/sqlite-process.ts'
import { CodedError } from '../../engine/error.ts'
import { permissions } from '../../engine/format/mode.ts'
import { processIdentity } from '../../engine/os/process-identity.ts'
import { synchronizeFolder } from '../../engine/os/write-file-durably.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { applicationHere } from '../application-here.ts'
import { OperationError } from '../error.ts'
import type { Observer } from '../event.ts'
import { type ReplacedPath, takeBack } from '../recovery/take-back.ts'
import { released } from '../restore/apply-in-place.ts'
import { beforeName } from '../restore/before-name.ts'
import { presence } from '../restore/plan-in-place.ts'
import { stamp as stampOf } from '../restore/restore-in-place.ts'
import {
  activeStages,
  findInterrupted,
  identityOf,
  type RestoreRecord,
  STAGE_PREFIX,
  settleInterrupted,
  stagedIn,
  writeRecord,
} from '../restore/restore-record.ts'
import { isBelow } from '../restore/restore-to-target.ts'
import { swapUnits } from '../restore/swap-units.ts'
import { runOperation } from '../run-operation.ts'
import { ApplicationSteps, describeChecks, nameOfService, stateOf } from '../steps/application-steps.ts'
import { runSteps, type Step, type StepTools, undoSteps } from '../steps/run-steps.ts'
import { beginStepRecord, readStepRecord, type StepRecord } from '../steps/step-record.ts'
import { openWorkFolder } from '../work-folder.ts'
import { applicationDatabases, realPath } from './application-databases.ts'
import { chooseDatabase } from './choose-database.ts'
import type { DatabaseFacts, DatabaseRescuePlan } from './database-plan.ts'
import { type ExaminedDatabase, examineDatabase } from './examine-database.ts'
import { newestGoodDatabase, storedDatabases } from './good-database.ts'

export interface RescueDatabaseOptions {
  readonly config: Config
  /** Absolute; undefined: the one that is damaged. */
  readonly path?: string | undefined
  readonly prefer?: 'recovered' | 'snapshot' | undefined
  /** How long the application may take until it is healthy, in milliseconds. */
  readonly withinMs: number
  /** Put the original back when a step fails. */
  readonly rollback: boolean
  /** Do not go on with a rescue that was cut off. */
  readonly anew: boolean
  /** Shown the plan; false leaves everything as it is. */
  readonly confirm: (plan: DatabaseRescuePlan) => Promise<boolean>
  /** Asked, without `rollback`, when a step fails: whether the original is put back. */
  readonly askRollback?: ((step: string, error: Error) => Promise<boolean>) | undefined
  readonly observe: Observer
  readonly signal: AbortSignal
}

export type RescueDatabaseReport =
  | {
      readonly outcome: 'succeeded'
      readonly plan: DatabaseRescuePlan
      /** As found once the application was stopped; `use` is `nothing` when the database was sound then. */
      readonly facts: DatabaseFacts
      /** Where the original is; undefined when it stayed, or there was none. */
      readonly kept: string | undefined
      readonly checks: readonly ApplicationCheck[]
    }
  | { readonly outcome: 'declined'; readonly plan: DatabaseRescuePlan }

const RECORD = 'rescue-database.json'

/**
 * Puts a sound database in the place of a damaged one: what can be recovered of it, or the copy of the newest snapshot that has
 * a sound one, whichever loses fewer rows. The damaged file is only read until it is moved aside, whole and with what lies beside it;
 * nothing is removed. All of it is found out on private copies before anything is asked, and again once the application is stopped.
 *
 * A rescue that is cut off before the database was replaced has changed nothing but that the application may be stopped; one that is
 * cut off afterwards is gone on with by the next. Rejects with `NOTHING` when there is no database to be rescued, or nothing that
 * could take its place; with `IN_USE`, `UNHEALTHY`, `RESCUE`.
 */
export async function rescueDatabase(
  access: RepositoryAccess,
  options: RescueDatabaseOptions,
): Promise<RescueDatabaseReport> {
  const { config, observe, signal } = options
  return runOperation<RescueDatabaseReport>(
    { operation: 'rescue', subject: `the database of ${config.app}`, observe, signal },
    () =>
      withRepository(access, { lock: 'shared', signal }, async (repository, lockSignal) => {
        const inner = { ...options, signal: lockSignal ?? signal }
        await using work = await openWorkFolder(config.workDirectory, 'rescue')
        await using sqlite = openSqliteProcess()
        return await new DatabaseRescue(repository, work.path, sqlite, inner).run()
      }),
    summaryOf,
  )
}

/** What `rescueDatabase` would do. Changes nothing. */
export async function planRescueDatabase(
  access: RepositoryAccess,
  options: Pick<RescueDatabaseOptions, 'config' | 'path' | 'prefer' | 'anew' | 'signal'>,
): Promise<DatabaseRescuePlan> {
  return withRepository(access, { lock: 'shared', signal: options.signal }, async (repository, lockSignal) => {
    await using work = await openWorkFolder(options.config.workDirectory, 'rescue')
    await using sqlite = openSqliteProcess()
    const inner = { ...options, observe: () => {}, signal: lockSignal ?? options.signal }
    return (await new DatabaseRescue(repository, work.path, sqlite, inner).plan()).plan
  })
}

/** What takes the place of the database, a private copy. */
interface Replacement {
  readonly copy: string
  readonly owner: { readonly uid: number; readonly gid: number }
  readonly mode: number
}

interface Found {
  readonly facts: DatabaseFacts
  readonly replacement: Replacement | undefined
}

interface Prepared {
  readonly plan: DatabaseRescuePlan
  readonly record: StepRecord | undefined
}

type Inner = Pick<RescueDatabaseOptions, 'config' | 'path' | 'prefer' | 'anew' | 'observe' | 'signal'>

class DatabaseRescue<Options extends Inner> {
  readonly #repository: Repository
  readonly #folder: string
  readonly #sqlite: SqliteProcess
  readonly #options: Options
  readonly #application: ApplicationService | undefined
  readonly #recordFile: string
  #found: Found | undefined
  readonly #checks: ApplicationCheck[] = []

  constructor(repository: Repository, folder: string, sqlite: SqliteProcess, options: Options) {
    this.#repository = repository
    this.#folder = folder
    this.#sqlite = sqlite
    this.#options = options
    this.#application = applicationHere(options.config)
    this.#recordFile = posix.join(options.config.stateDirectory, RECORD)
  }

  get #tools() {
    return { folder: this.#folder, sqlite: this.#sqlite, signal: this.#options.signal }
  }

  async plan(): Promise<Prepared> {
    const { config, observe, signal } = this.#options
    observe({ type: 'phase', phase: 'look' })
    const earlier = await this.#unfinished()
    const replaced = earlier && (await this.#look(earlier.subject))
    // What was put in its place may have been damaged since.
    const record = earlier?.state === 'running' && replaced?.trouble !== 'sound' ? undefined : earlier
    const { subject, others } =
      record === undefined || replaced === undefined ? await this.#choose() : { subject: replaced, others: [] }
    const found = await this.#find(subject)
    this.#found = found
    const application = this.#application
    const service =
      application === undefined
        ? undefined
        : { name: nameOfService(application), state: await stateOf(application, signal) }
    const aside = beforeName(
      subject.path,
      record?.request.stamp === undefined ? stampOf(new Date()) : String(record.request.stamp),
      'corrupt',
    )
    const draft = { ...found.facts, app: config.app, path: subject.path, aside, service, others }
    const plan = { ...draft, resumes: record?.begun, steps: stepsOf(draft, config, record !== undefined) }
    return { plan, record }
  }

  /** The record of a rescue that was cut off after it had replaced the database; what one before that had begun is nothing. */
  async #unfinished(): Promise<StepRecord | undefined> {
    if (this.#options.anew) return undefined
    const record = await readStepRecord(this.#recordFile)
    if (record?.state !== 'running' && record?.state !== 'undoing') return undefined
    const { path, prefer } = this.#options
    if (path !== undefined && (await realPath(path)) !== record.subject) return undefined
    if (record.state === 'undoing') return record
    if (prefer !== undefined && prefer !== record.request.prefer) return undefined
    return (await hasReplaced(record)) ? record : undefined
  }

  async #choose(): Promise<{ readonly subject: ExaminedDatabase; readonly others: readonly ExaminedDatabase[] }> {
    const { config, path } = this.#options
    if (path !== undefined) {
      const wanted = await realPath(path)
      if ((await this.#paths()).every((known) => known !== wanted) && (await presence(wanted)) === 'nothing') {
        throw new OperationError('NOTHING', `There is no database ${path}, and no snapshot knows one`, {
          facts: { path },
          hint: 'Without a path, all databases of the application are looked at',
        })
      }
      return { subject: await this.#look(wanted), others: [] }
    }
    const looked: ExaminedDatabase[] = []
    for (const each of await this.#paths()) looked.push(await this.#look(each))
    const damaged = looked.filter(({ trouble }) => trouble !== 'sound')
    const candidates = damaged.length > 0 ? damaged : looked
    const [subject] = candidates
    if (subject === undefined) {
      throw new OperationError('NOTHING', `${config.app} has no database: none on disk, none in a snapshot`, {
        facts: { app: config.app },
        hint: 'Name its path, where the config does not cover it',
      })
    }
    if (candidates.length > 1) {
      const names = candidates.map((each) => `${each.path} (${each.trouble}: ${each.seen})`)
      throw new OperationError(
        'USAGE',
        damaged.length > 0
          ? `${damaged.length} databases are damaged: name one`
          : 'All databases are sound: name one to compare it with its snapshot',
        {
          facts: { databases: candidates.map((each) => each.path) },
          hint: `holdfast rescue database PATH, one after the other:\n${names.map((name) => `- ${name}`).join('\n')}`,
        },
      )
    }
    return { subject, others: looked.filter((each) => each !== subject) }
  }

  async #paths(): Promise<readonly string[]> {
    const { config, signal } = this.#options
    return applicationDatabases(config, await storedDatabases(this.#repository, config.app, signal), signal)
  }

  async #look(path: string): Promise<ExaminedDatabase> {
    return examineDatabase(path, this.#tools)
  }

  /** Recovers, compares and chooses. */
  async #find(subject: ExaminedDatabase): Promise<Found> {
    const { config, path, prefer, observe, signal } = this.#options
    const { diagnosis, copy, trouble } = subject
    observe({ type: 'phase', phase: 'compare' })
    const names = [subject.path, ...(path === undefined ? [] : [path]), ...(await linksTo(subject.path, config))]
    const { good, passedOver } = await newestGoodDatabase(this.#repository, config.app, names, this.#tools)
    const recovered =
      diagnosis === undefined || copy === undefined || trouble === 'sound'
        ? undefined
        : await this.#recover(copy, diagnosis, good?.copy)
    const other = recovered?.path ?? (trouble === 'sound' ? copy : undefined)
    const tables =
      good === undefined || other === undefined
        ? []
        : await this.#sqlite.run({ kind: 'compare', path: latin1(good.copy), other: latin1(other) }, signal)
    const choice = chooseDatabase({
      trouble,
      way: recovered?.way,
      hasSnapshot: good !== undefined,
      tables,
      hasLog: subject.hasLog,
      journalMode: diagnosis?.journalMode,
      prefer,
    })
    if (choice === undefined) throw beyondHelp(subject, passedOver)
    const lastWritten = subject.lastWritten?.toISOString()
    const facts: DatabaseFacts = {
      ...choice,
      trouble,
      seen: subject.seen,
      lastWritten,
      snapshot: good && { id: good.snapshot, time: good.time.toISOString() },
      passedOver,
      way: recovered?.way,
      notRecovered: recovered?.lost ?? [],
      tables,
      timeLost:
        choice.use === 'snapshot' && good !== undefined
          ? { from: good.time.toISOString(), to: new Date().toISOString() }
          : undefined,
    }
    const chosen = choice.use === 'recovered' ? recovered?.path : choice.use === 'snapshot' ? good?.copy : undefined
    if (chosen === undefined) return { facts, replacement: undefined }
    const live = await stat(subject.path).catch(ignoreMissing)
    const owner = live
      ? { uid: live.uid, gid: live.gid }
      : (good?.owner ?? { uid: process.geteuid!(), gid: process.getegid!() })
    const mode = live ? permissions(live.mode) : (good?.mode ?? 0o600)
    return { facts, replacement: { copy: chosen, owner, mode } }
  }

  async #recover(
    copy: string,
    diagnosis: NonNullable<ExaminedDatabase['diagnosis']>,
    snapshot: string | undefined,
  ): Promise<RecoveredDatabase | undefined> {
    const folder = posix.join(this.#folder, `recovered-${process.hrtime.bigint()}`)
    await mkdir(folder, { mode: 0o700 })
    const { sqlite, signal } = this.#tools
    return recoverDatabase(copy, diagnosis, { folder, snapshot, sqlite, signal })
  }

  async run(this: DatabaseRescue<RescueDatabaseOptions>): Promise<RescueDatabaseReport> {
    const { prefer, confirm, observe, signal } = this.#options
    await settle([
      ...(await this.#paths()),
      ...(this.#options.path === undefined ? [] : [await realPath(this.#options.path)]),
    ])
    const { plan, record: earlier } = await this.plan()
    const file = this.#recordFile
    if (earlier?.state === 'undoing') return this.#finishUndoing(plan, earlier)
    if (plan.steps.length === 0 && earlier === undefined) {
      await confirm(plan) // there is nothing to agree to, but something to read
      return { outcome: 'succeeded', plan, facts: this.#found!.facts, kept: undefined, checks: [] }
    }
    if (!(await confirm(plan))) return { outcome: 'declined', plan }
    const steps = this.#steps(plan, earlier !== undefined)
    const at = plan.aside.slice(-15)
    const request = { prefer: prefer ?? null, stamp: at }
    const record =
      (earlier && startingAnew(earlier)) ??
      (await beginStepRecord(file, { operation: 'rescue database', subject: plan.path, request, steps }))
    const running = { file, steps, observe, signal }
    try {
      await runSteps({ ...running, record })
    } catch (error) {
      await this.#failed(error as Error, running, plan)
    }
    const kept = (await presence(plan.aside)) === 'nothing' ? undefined : plan.aside
    return { outcome: 'succeeded', plan, facts: this.#found!.facts, kept, checks: this.#checks }
  }

  #steps(this: DatabaseRescue<RescueDatabaseOptions>, plan: DatabaseRescuePlan, isReplaced: boolean): readonly Step[] {
    const { config, withinMs } = this.#options
    const application = this.#application
    const service = new ApplicationSteps({
      application: () => application,
      config,
      checks: config.service,
      forgetsInPm2: false,
      // A damaged database keeps an application from answering.
      presumedRunning: true,
      withinMs,
      onCheck: (check) => this.#checks.push(check),
    })
    const stop = async (tools: StepTools) => {
      const stopped = await service.stop(tools)
      await released([plan.path], tools.signal, ...(application === undefined ? [0] : []))
      return stopped
    }
    const examine = async () => {
      if (isReplaced) return 'by the earlier run'
      const found = await this.#find(await this.#look(plan.path))
      this.#found = found
      return `${found.facts.trouble}: ${found.facts.why}`
    }
    return [
      { id: 'stop', title: 'Stop the application', run: stop, undo: (tools) => service.startAsBefore(tools) },
      { id: 'examine', title: 'Look again, now that nobody writes to it', run: examine },
      {
        id: 'replace',
        title: 'Put the sound database in its place',
        run: (tools) => this.#replace(plan, tools),
        undo: (tools) => this.#putBack(plan, tools),
      },
      ...(application === undefined
        ? []
        : [
            {
              id: 'start',
              title: 'Start the application',
              run: (tools: StepTools) => service.start(tools),
              undo: ({ signal }: StepTools) => service.stopIfStarted(signal),
            },
            { id: 'check', title: 'See that it is healthy', run: (tools: StepTools) => service.check(tools) },
          ]),
    ]
  }

  async #replace(plan: DatabaseRescuePlan, { note }: StepTools): Promise<string> {
    const { path, aside } = plan
    const replacement = this.#found?.replacement
    if (replacement === undefined) return 'it is sound now, and stays as it is'
    const live = await identityOf(path)
    const unit: ReplacedPath = {
      path,
      live,
      before: live === undefined ? undefined : aside,
      kept: [],
      isDatabase: true,
    }
    await mkdir(posix.dirname(path), { recursive: true })
    const stage = `${posix.dirname(path)}/${STAGE_PREFIX}${plan.aside.slice(-15)}-${process.pid}-0`
    activeStages.add(stage)
    try {
      await mkdir(stage, { mode: 0o700 })
      const sidecars: string[] = []
      for (const suffix of SIDECAR_SUFFIXES)
        if ((await presence(path + suffix)) !== 'nothing') sidecars.push(path + suffix)
      const shared: RestoreRecord = { format: 1, path, before: aside, kept: [], sidecars, process: processIdentity() }
      await writeRecord(stage, shared)
      const staged = stagedIn(stage)
      await copyFile(replacement.copy, staged)
      await own(staged, replacement)
      const identities = { staged: (await identityOf(staged))!, ...(live === undefined ? {} : { live }) }
      await writeRecord(stage, { ...shared, identities })
      await note({ unit })
      // A log without its database would be played into the new one.
      if (live === undefined) for (const log of sidecars) await rename(log, aside + log.slice(path.length))
      await swapUnits([{ path, stage, before: aside, kept: [], isDatabase: true }])
      await synchronizeFolder(posix.dirname(path))
      await rm(stage, { recursive: true, force: true })
    } finally {
      activeStages.delete(stage)
    }
    return live === undefined ? `${path} is back` : `the original is kept as ${aside}`
  }

  async #putBack({ path, aside }: DatabaseRescuePlan, { facts, note }: StepTools): Promise<string> {
    const unit = facts.unit as ReplacedPath | undefined
    if (unit === undefined) return 'nothing was replaced'
    await settle([path])
    const kept = await takeBack(unit, aside.slice(-15))
    if (unit.live === undefined) {
      for (const suffix of SIDECAR_SUFFIXES) {
        if ((await presence(aside + suffix)) !== 'nothing') await rename(aside + suffix, path + suffix)
      }
    }
    await note({ unit: undefined })
    return kept === undefined ? 'the original is back' : `the original is back; the other is kept as ${kept}`
  }

  async #finishUndoing(
    this: DatabaseRescue<RescueDatabaseOptions>,
    plan: DatabaseRescuePlan,
    record: StepRecord,
  ): Promise<never> {
    const { observe, signal } = this.#options
    await undoSteps({ file: this.#recordFile, record, steps: this.#steps(plan, true), observe, signal })
    throw new OperationError('RESUME', 'An earlier rescue was being taken back, which is finished now', {
      facts: { begun: record.begun },
      hint: 'The original is back in its place. Run the same again to look at it anew',
    })
  }

  async #failed(
    this: DatabaseRescue<RescueDatabaseOptions>,
    error: Error,
    running: Omit<Parameters<typeof undoSteps>[0], 'record'>,
    plan: DatabaseRescuePlan,
  ): Promise<never> {
    const { rollback, askRollback, signal } = this.#options
    if (signal.aborted) throw error
    const record = (await readStepRecord(running.file))!
    const step = record.steps.find(({ state }) => state === 'failed')
    const isReplaced = await hasReplaced(record)
    const code = error instanceof CodedError && error.code === 'UNHEALTHY' ? 'UNHEALTHY' : 'RESCUE'
    const hint = error instanceof CodedError && error.hint !== undefined ? `${error.hint}\n` : ''
    const title = step?.title ?? 'a step'
    // Before the database was replaced there is nothing to keep of the attempt: the application goes on as it did.
    if (!isReplaced || rollback || (await askRollback?.(title, error)) === true) {
      await undoSteps({ ...running, record })
      throw new OperationError(code, `"${title}" failed, and the original is in its place: ${error.message}`, {
        facts: { step: step?.id, rolled_back: true },
        hint: `${hint}Nothing is lost. Put it right and run the same again, or have the other copy: --prefer snapshot, --prefer recovered`,
        cause: error,
      })
    }
    throw new OperationError(code, `"${title}" failed: ${error.message}`, {
      facts: { step: step?.id, rolled_back: false, kept: plan.aside },
      hint: `${hint}The sound database is in place, the original is kept as ${plan.aside}. See the log of the application, put it right and run the same again: it goes on with this step. With --rollback the original comes back when it fails again`,
      cause: error,
    })
  }
}

/** Ends what was cut off in the middle of changing places: the log of a database may lie aside, and the database not yet. */
async function settle(paths: readonly string[]): Promise<void> {
  for (const left of await findInterrupted(paths.map((path) => posix.dirname(path)))) {
    // Without a record, nothing had been staged.
    if (left.record === undefined || paths.includes(left.record.path)) await settleInterrupted(left)
  }
}

/** Of a rescue that has replaced the database: what is left is to start the application, whatever came of that before. */
function startingAnew(record: StepRecord): StepRecord {
  const steps = record.steps.map((step) => {
    return step.id === 'start' || step.id === 'check'
      ? { ...step, state: 'pending' as const }
      : { ...step, state: 'done' as const }
  })
  return { ...record, steps }
}

async function hasReplaced({ steps }: StepRecord): Promise<boolean> {
  const unit = steps.find(({ id }) => id === 'replace')?.facts.unit as ReplacedPath | undefined
  if (unit === undefined) return false
  const there = await identityOf(unit.path)
  return there !== undefined && there !== unit.live
}

function stepsOf(
  draft: Omit<DatabaseRescuePlan, 'steps' | 'resumes'>,
  config: Config,
  resumes: boolean,
): DatabaseRescuePlan['steps'] {
  const { use, path, aside, service, trouble } = draft
  if (use === 'nothing' && !resumes) return []
  const what = use === 'snapshot' ? 'the copy of the snapshot' : 'what was recovered'
  const keeps =
    trouble === 'missing' ? 'nothing is there now' : `the original becomes ${aside}, with what lies beside it`
  const by = config.service?.manager === 'command' ? config.service : undefined
  const replacing = [
    {
      id: 'stop',
      title: 'Stop the application',
      detail: by?.stop ?? service?.name ?? 'the config does not say how it runs: stop it yourself',
    },
    { id: 'examine', title: 'Look again, now that nobody writes to it', detail: 'on a private copy, as before' },
    { id: 'replace', title: `Put ${what} in its place`, detail: `${path}; ${keeps}` },
  ]
  const starting = [
    { id: 'start', title: 'Start the application', detail: by?.start ?? service?.name ?? '' },
    { id: 'check', title: 'See that it is healthy', detail: describeChecks(config.service) },
  ]
  return [...(resumes ? [] : replacing), ...(service === undefined ? [] : starting)]
}

function beyondHelp({ path, seen }: ExaminedDatabase, passedOver: readonly string[]): OperationError {
  const others =
    passedOver.length === 0 ? '' : `\nSnapshots that cannot help:\n${passedOver.map((line) => `- ${line}`).join('\n')}`
  return new OperationError(
    'NOTHING',
    `Nothing can be recovered of ${path} (${seen}), and no snapshot has a sound copy`,
    {
      facts: { path },
      hint: `Nothing was changed. Look for copies elsewhere: another repository (-r), an off-site copy, a file like it on another machine${others}`,
    },
  )
}

/** Other names under which the config's paths lead to it, as the manifest may have it. */
async function linksTo(path: string, config: Config): Promise<string[]> {
  const names: string[] = []
  for (const target of config.components.flatMap(({ paths }) => paths.filter(posix.isAbsolute))) {
    const there = await realPath(target)
    if (there !== target && isBelow(path, there)) names.push(target + path.slice(there.length))
  }
  return names
}

/** On disk when it resolves. */
async function own(path: string, { owner, mode }: Replacement): Promise<void> {
  if (process.geteuid?.() === 0) await chown(path, owner.uid, owner.gid)
  await chmod(path, mode) // after the owner, whose change takes bits away
  await using file = await open(path, 'r')
  await file.sync()
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
  throw error
}

function summaryOf(report: RescueDatabaseReport): Readonly<Record<string, unknown>> {
  const { plan } = report
  if (report.outcome === 'declined') return { database: plan.path, declined: true }
  const { facts } = report
  return {
    database: plan.path,
    trouble: facts.trouble,
    seen: facts.seen,
    used: facts.use,
    why: facts.why,
    ...(facts.way === undefined ? {} : { recovered_by: facts.way }),
    ...(facts.snapshot === undefined ? {} : { snapshot_id: facts.snapshot.id, snapshot_time: facts.snapshot.time }),
    tables: facts.tables.map(tableJson),
    rows_lost: facts.rowsLost,
    may_lose_more: facts.mayLoseMore,
    ...(facts.timeLost === undefined ? {} : { time_lost: facts.timeLost }),
    not_recovered: facts.notRecovered,
    ...(report.kept === undefined ? {} : { original: report.kept }),
    checks: report.checks,
  }
}

/** The same of a plan and of a summary. */
export function tableJson({ table, before, after, onlyBefore, onlyAfter }: DatabaseFacts['tables'][number]) {
  return {
    table,
    rows_in_snapshot: before,
    rows_recovered: after,
    rows_only_in_snapshot: onlyBefore,
    rows_only_recovered: onlyAfter,
  }
}
