import { constants } from 'node:fs'
import { type FileHandle, lchown, link, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import type { ApplicationService } from '../../application/host/application-service.ts'
import type { ApplicationCheck } from '../../application/host/health.ts'
import { isWithin } from '../../application/host/host-path.ts'
import { makeAccount } from '../../application/host/make-account.ts'
import { neededFolders } from '../../application/host/needed-folders.ts'
import { runShell } from '../../application/host/run-shell.ts'
import { isEnabled, reloadUnits, setEnabled } from '../../application/host/unit-state.ts'
import { isWebServerRunning, reloadWebServer, stopWebServer, testWebServer } from '../../application/host/web-server.ts'
import { findAccount, groupId } from '../../engine/os/accounts.ts'
import { writeFileDurably } from '../../engine/os/write-file-durably.ts'
import type { Observer } from '../event.ts'
import { applyInPlace, type InPlaceReport } from '../restore/apply-in-place.ts'
import { beforeName } from '../restore/before-name.ts'
import { presence } from '../restore/plan-in-place.ts'
import { relocatePath } from '../restore/relocation.ts'
import { findInterrupted, settleInterrupted } from '../restore/restore-record.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { ApplicationSteps } from '../steps/application-steps.ts'
import type { Step, StepTools } from '../steps/run-steps.ts'
import { keepFromBoot, startAtBoot, startAtBootAsBefore } from './boot-step.ts'
import { applicationOf, planTarget } from './plan-recovery.ts'
import type { RecoveryPlan } from './recovery-plan.ts'
import type { SnapshotConfig } from './snapshot-config.ts'
import { describeReplaced, type ReplacedPath, takeBack } from './take-back.ts'

export interface RecoverySurroundings {
  readonly config: SnapshotConfig
  readonly identities: readonly string[]
  readonly withoutSecrets: boolean
  readonly verify: boolean
  /** Names what is kept aside: `20261101-020000`. */
  readonly stamp: string
  /** Of the repository; written to a file only where the plan says so. */
  readonly password: () => Promise<Buffer>
  /** How long the application may take until it is healthy. */
  readonly withinMs: number
  readonly observe: Observer
  readonly onRestored: (report: InPlaceReport) => void
  readonly onCheck: (check: ApplicationCheck) => void
}

/**
 * The steps of a plan, in its order. Each can be cut off and run again, and taken back: what was at a path before is known
 * by device and inode from before it was touched.
 */
export function recoverySteps(
  chosen: ChosenSnapshot,
  plan: RecoveryPlan,
  surroundings: RecoverySurroundings,
): readonly Step[] {
  return new RecoverySteps(chosen, plan, surroundings).all()
}

/** What `StepTools.facts` holds of a component that is being restored. */
interface RestoreFacts {
  readonly units?: readonly ReplacedPath[]
  readonly stamp?: string
}

class RecoverySteps {
  readonly #chosen: ChosenSnapshot
  readonly #plan: RecoveryPlan
  readonly #with: RecoverySurroundings
  readonly #config: Config
  readonly #service: ApplicationSteps

  constructor(chosen: ChosenSnapshot, plan: RecoveryPlan, surroundings: RecoverySurroundings) {
    this.#chosen = chosen
    this.#plan = plan
    this.#with = surroundings
    this.#config = surroundings.config.config
    this.#service = new ApplicationSteps({
      application: () => this.#application(),
      config: this.#config,
      checks: plan.checks,
      forgetsInPm2: true,
      presumedRunning: false,
      withinMs: surroundings.withinMs,
      onCheck: surroundings.onCheck,
    })
  }

  all(): readonly Step[] {
    return this.#plan.steps.map(({ id, title }) => {
      const [kind, name = ''] = id.split(/:(.*)/s)
      return { id, title, ...this.#step(kind!, name) }
    })
  }

  #step(kind: string, name: string): Pick<Step, 'run' | 'undo'> {
    switch (kind) {
      case 'account':
        return { run: ({ signal }) => this.#makeAccount(signal) }
      case 'stop':
        return { run: (tools) => this.#stop(tools), undo: (tools) => this.#startAsBefore(tools) }
      case 'restore':
        return { run: (tools) => this.#restore(name, tools), undo: (tools) => this.#takeBack(tools) }
      case 'config':
        return { run: (tools) => this.#ownFiles(tools), undo: (tools) => this.#removeOwnFiles(tools) }
      case 'permissions':
        return { run: (tools) => this.#permissions(tools) }
      case 'install':
      case 'build':
        return { run: ({ signal }) => this.#command(kind, signal) }
      case 'systemd':
        return { run: (tools) => this.#tellSystemd(tools), undo: (tools) => this.#enableAsBefore(tools) }
      case 'nginx':
        return { run: ({ signal }) => tellNginx(signal) }
      case 'start':
        return {
          run: (tools) => this.#service.start(tools),
          undo: ({ signal }) => this.#service.stopIfStarted(signal),
        }
      case 'boot': {
        const { stamp } = this.#with
        const run = this.#plan.starts ? startAtBoot : keepFromBoot
        return {
          run: (tools) => run(this.#config, stamp, tools),
          undo: (tools) => startAtBootAsBefore(this.#config, stamp, tools),
        }
      }
      case 'check':
        return { run: (tools) => this.#service.check(tools) }
      default:
        throw new Error(`no such step: ${kind}`)
    }
  }

  /** Asked anew each time: the account may have been made meanwhile. */
  #application(): ApplicationService | undefined {
    return this.#plan.service && applicationOf(this.#config, this.#chosen, this.#plan.relocation)
  }

  async #makeAccount(signal: AbortSignal): Promise<string> {
    const { owner } = this.#plan
    if (owner === undefined) return 'there is no owner'
    await makeAccount(owner, signal)
    const account = findAccount(owner.user)
    return account === undefined ? owner.user : `${owner.user}, uid ${account.uid}, home ${account.home}`
  }

  async #stop(tools: StepTools): Promise<string> {
    const { facts, note, signal } = tools
    // Noted before anything is stopped: an attempt that was cut off must not make it seem down.
    if (facts.webServerRan === undefined && this.#plan.webServer) {
      await note({ webServerRan: await isWebServerRunning(signal) })
    }
    return this.#plan.restarts ? this.#service.stop(tools) : 'the application runs on'
  }

  /** The end of taking back, when all files are as they were. */
  async #startAsBefore({ facts, signal }: StepTools): Promise<string> {
    if (this.#plan.units) await reloadUnits(signal)
    if (facts.webServerRan === true) await reloadWebServer(signal)
    else if (facts.webServerRan === false) await stopWebServer(signal)
    return this.#plan.restarts ? this.#service.startAsBefore({ facts, signal }) : 'as before'
  }

  async #restore(name: string, tools: StepTools): Promise<string> {
    const { config, stamp, identities, withoutSecrets, verify, observe } = this.#with
    const { relocation, rewrites } = this.#plan
    if ((tools.facts as RestoreFacts).units !== undefined) await this.#takeBack(tools)
    // After a power cut in the middle, an enabled unit has started at boot what is to be replaced.
    if (this.#plan.restarts && this.#plan.resumes !== undefined && (await this.#service.isRunning(tools.signal))) {
      await this.#service.stopNow(tools.signal)
    }
    const options = { config, relocation, rewrites, stamp, signal: tools.signal }
    const target = this.#plan.components.find((component) => component.name === name)!
    const plan = await planTarget(this.#chosen, target, options)
    await tools.note({ units: await describeReplaced(plan.units, { keepsSecrets: withoutSecrets }) })
    const report = await applyInPlace(this.#chosen, plan, {
      identities,
      withoutSecrets,
      verify,
      observe,
      signal: tools.signal,
    })
    this.#with.onRestored(report)
    const secrets = report.secrets === 0 ? '' : `, ${report.secrets} unsealed`
    const files = report.files + report.secrets
    // What is sealed is counted in files only.
    const bytes = report.files === 0 ? '' : `, ${report.bytes} bytes`
    return `${files} ${files === 1 ? 'file' : 'files'}${bytes}${secrets}`
  }

  /** Also of an attempt that was cut off, whose stages may lie about. */
  async #takeBack({ facts, note }: StepTools): Promise<string> {
    const { units } = facts as RestoreFacts
    if (units === undefined) return 'nothing was replaced'
    const stamp = (facts as RestoreFacts).stamp ?? (await freeStamp(units, this.#with.stamp))
    await note({ stamp })
    for (const left of await findInterrupted(units.map(({ path }) => posix.dirname(path)))) {
      if (units.some(({ path }) => path === left.record?.path)) await settleInterrupted(left)
    }
    const aside: string[] = []
    for (const unit of units.toReversed()) {
      const kept = await takeBack(unit, stamp)
      if (kept !== undefined) aside.push(kept)
    }
    await note({ units: undefined, stamp: undefined })
    return aside.length === 0 ? 'as before' : `as before; what was restored is kept as ${aside.join(', ')}`
  }

  async #ownFiles({ facts, note, signal }: StepTools): Promise<string> {
    const { config } = this.#with.config
    const written: string[] = []
    if (this.#plan.configFile !== undefined && (await this.#differs(config.file, config.text))) {
      const before = beforeName(config.file, this.#with.stamp)
      const isThere = (await presence(config.file)) !== 'nothing'
      if (facts.config === undefined) {
        await note(isThere ? { config: before, kept: [{ path: config.file, before }] } : { config: null })
      }
      if (isThere && (await presence(before)) === 'nothing') await link(config.file, before)
      await mkdir(posix.dirname(config.file), { recursive: true, mode: 0o755 })
      await writeFileDurably(config.file, Buffer.from(config.text), { mode: 0o640, signal })
      written.push(config.file)
    }
    const { passwordFile } = this.#plan
    if (passwordFile !== undefined && (await presence(passwordFile.path)) === 'nothing') {
      await note({ password: passwordFile.path })
      await mkdir(posix.dirname(passwordFile.path), { recursive: true, mode: 0o700 })
      const line = Buffer.concat([await this.#with.password(), Buffer.from('\n')])
      await writeFileDurably(passwordFile.path, line, { mode: 0o600, replace: false, signal })
      written.push(passwordFile.path)
    }
    return written.length === 0 ? 'they are there' : written.join(', ')
  }

  async #differs(file: string, text: string): Promise<boolean> {
    const present = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
      throw error
    })
    return present !== text
  }

  async #removeOwnFiles({ facts, note }: StepTools): Promise<string> {
    const { file } = this.#config
    if (typeof facts.config === 'string') {
      if ((await presence(facts.config)) !== 'nothing') await rename(facts.config, file)
    } else if (facts.config === null) await rm(file, { force: true })
    if (typeof facts.password === 'string') await rm(facts.password, { force: true })
    await note({ config: undefined, kept: undefined, password: undefined })
    return 'as before'
  }

  /** The rest is as the snapshot has it: owners and modes came with the files. */
  async #permissions({ factsOf, signal }: StepTools): Promise<string> {
    const { relocation, owner } = this.#plan
    const { manifest } = this.#chosen
    const root = this.#config.root
    const account = owner === undefined ? undefined : findAccount(owner.user)
    const gid = owner === undefined ? undefined : (groupId(owner.group) ?? account?.gid)
    const own = async (path: string) => {
      if (account !== undefined && gid !== undefined && process.geteuid?.() === 0) await lchown(path, account.uid, gid)
    }
    const pathsOf = (kind: string) =>
      manifest!.components
        .filter((component) => component.kind === kind)
        .flatMap(({ paths }) => paths.map(({ path }) => relocatePath(path, relocation)))
    const unitFiles: string[] = []
    for (const path of pathsOf('systemd')) if ((await presence(path)) === 'file') unitFiles.push(path)
    const ecosystem = this.#application()?.ecosystem
    const isThere = ecosystem !== undefined && (await presence(ecosystem)) !== 'nothing'
    const needed = await neededFolders({ root, unitFiles, ecosystem: isThere ? ecosystem : undefined, signal })
    const made: string[] = []
    for (const folder of new Set([root, ...this.#plan.folders, ...needed])) {
      for (const missing of await missingFolders(folder, root)) {
        await mkdir(missing, { mode: 0o750 })
        await own(missing)
        made.push(missing)
      }
    }
    let closed = 0
    for (const path of this.#secretPaths(factsOf)) if (await closeToOthers(path)) closed += 1
    const parts = [
      made.length === 0 ? undefined : `made ${made.join(', ')}`,
      closed === 0 ? undefined : `closed ${closed} ${closed === 1 ? 'secret' : 'secrets'} to others`,
    ].filter((part) => part !== undefined)
    return parts.length === 0 ? 'as they were' : parts.join('; ')
  }

  /** Of secrets components, their folders and files: only what a step has put in place, whatever the manifest says. */
  #secretPaths(factsOf: StepTools['factsOf']): string[] {
    const { components = [], secrets } = this.#chosen.manifest ?? {}
    return components
      .filter(({ kind }) => kind === 'secrets')
      .flatMap(({ name, configured }) => {
        const files = secrets?.files.filter(({ component }) => component === name).map(({ path }) => path) ?? []
        const { units = [] } = factsOf(`restore:${name}`) as RestoreFacts
        return [...configured.filter(posix.isAbsolute), ...files]
          .map((path) => relocatePath(path, this.#plan.relocation))
          .filter((path) => units.some((unit) => isWithin(unit.path, path)))
      })
  }

  async #command(what: 'install' | 'build', signal: AbortSignal): Promise<string> {
    const planned = this.#plan.commands.find((command) => command.what === what)!
    const account = this.#service.requireOwner()
    const said = await runShell(planned.command, { what, cwd: this.#config.root, account, signal })
    return said.trim().split('\n').at(-1)?.slice(0, 200) || 'done'
  }

  async #tellSystemd({ facts, note, signal }: StepTools): Promise<string> {
    await reloadUnits(signal)
    const { unit } = this.#plan
    if (unit === undefined) return 'units are read anew'
    if (facts.wasEnabled === undefined) await note({ wasEnabled: await isEnabled(unit.name, signal) })
    await setEnabled(unit.name, unit.enable, signal)
    return `${unit.name} is ${unit.enable ? 'enabled' : 'not enabled, as it is not to be started'}`
  }

  async #enableAsBefore({ facts, signal }: StepTools): Promise<string> {
    const { unit } = this.#plan
    if (unit === undefined || typeof facts.wasEnabled !== 'boolean') return 'as before'
    await setEnabled(unit.name, facts.wasEnabled, signal)
    return `${unit.name} is ${facts.wasEnabled ? 'enabled' : 'not enabled'}, as before`
  }
}

/** Under which nothing is kept yet: what an attempt that was cut off had restored has been put aside before. */
async function freeStamp(units: readonly ReplacedPath[], stamp: string): Promise<string> {
  for (let n = 0; ; n++) {
    const free = n === 0 ? stamp : `${stamp}-${n}`
    const kept = await Promise.all(units.map(({ path }) => presence(beforeName(path, free, 'restored'))))
    if (kept.every((each) => each === 'nothing')) return free
  }
}

async function tellNginx(signal: AbortSignal): Promise<string> {
  await testWebServer(signal)
  return `its configuration is fine, and nginx is ${await reloadWebServer(signal)}`
}

/** Those from the root down to a folder in it that are not there, outermost first. */
async function missingFolders(folder: string, root: string): Promise<string[]> {
  const missing: string[] = []
  for (let at = folder; isWithin(root, at) && (await presence(at)) === 'nothing'; at = posix.dirname(at)) {
    missing.unshift(at)
  }
  return missing
}

/** A folder of secrets is for its owner alone, a secret not for everybody. False where nothing had to be closed. */
async function closeToOthers(path: string): Promise<boolean> {
  let handle: FileHandle
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    // Not restored, or a link: what that leads to is not among the secrets.
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
  try {
    const stats = await handle.stat()
    const bits = stats.isDirectory() ? 0o077 : 0o007
    if ((stats.mode & bits) === 0) return false
    await handle.chmod(stats.mode & 0o7777 & ~bits)
    return true
  } finally {
    await handle.close()
  }
}
