import { chmod, chown, lstat, mkdir, rename, rm, rmdir } from 'node:fs/promises'
import { posix } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Finding } from '../../application/finding.ts'
import { type ServiceSpec, serviceState, startService, stopService } from '../../application/host/service.ts'
import { programFailure, runProgram } from '../../application/program.ts'
import { verifyDatabase } from '../../application/sources/sqlite.ts'
import { SIDECAR_SUFFIXES } from '../../application/sources/sqlite-header.ts'
import { surveyFiles } from '../../application/sources/survey.ts'
import { CodedError } from '../../engine/error.ts'
import { permissions } from '../../engine/format/mode.ts'
import { ownerHere } from '../../engine/os/accounts.ts'
import { processIdentity } from '../../engine/os/process-identity.ts'
import { synchronizeFolder, writeFileDurably } from '../../engine/os/write-file-durably.ts'
import { restore } from '../../engine/restorer/restore.ts'
import { OperationError } from '../error.ts'
import type { Observer } from '../event.ts'
import { CONFIG, MANIFEST_LIMIT, SELF } from '../manifest.ts'
import { findNode, readWhole } from '../snapshot-files.ts'
import { type InPlacePlan, presence, type RestoreUnit, usersOf } from './plan-in-place.ts'
import { applyRewrite } from './plan-rewrites.ts'
import { originOf, relocateOwner, rewriteText } from './relocation.ts'
import {
  activeStages,
  type InterruptedRestore,
  identityOf,
  type RestoreRecord,
  settleInterrupted,
  stagedIn,
  writeRecord,
} from './restore-record.ts'
import { isBelow, restoreFinding } from './restore-to-target.ts'
import type { ChosenSnapshot } from './snapshot-choice.ts'
import { type Replaced, swapUnits } from './swap-units.ts'
import { outermost } from './unit-paths.ts'
import { unsealSecrets } from './unseal-secrets.ts'

export interface ApplyInPlaceOptions {
  readonly identities: readonly string[]
  readonly verify?: boolean
  readonly numericOwner?: boolean
  /** Remove what was there before once everything is in place. */
  readonly discardBefore?: boolean
  /** Go on although the secrets of a component cannot be unsealed: the live ones then stay where they are. */
  readonly withoutSecrets?: boolean
  readonly observe: Observer
  readonly signal: AbortSignal
}

export interface InPlaceReport {
  readonly findings: readonly Finding[]
  readonly files: number
  readonly bytes: number
  readonly verifiedFiles: number
  readonly secrets: number
  /** What was replaced, and where it is now. */
  readonly kept: readonly Replaced[]
}

/** How long a stopped service may take to let go of its databases. */
const RELEASE_MILLISECONDS = 10_000

/**
 * Carries out a plan: stages every unit beside its live path, verifies what was staged, and only then swaps. Until the
 * swap nothing live is touched; when a swap fails, those before it are undone. Whatever cannot be brought back whole
 * ends the restore before the swap.
 *
 * Killed at any moment it loses nothing: each unit is wholly old or wholly new, and the next restore beside the same paths
 * puts in order what was left. (A database that is a unit by itself is for a moment without its log, which then lies
 * beside it under its new name; so is a folder on a file system that cannot exchange two names.)
 */
export async function applyInPlace(
  chosen: ChosenSnapshot,
  plan: InPlacePlan,
  options: ApplyInPlaceOptions,
): Promise<InPlaceReport> {
  return new InPlaceRestore(chosen, plan, options).run()
}

class InPlaceRestore {
  readonly #chosen: ChosenSnapshot
  readonly #plan: InPlacePlan
  readonly #options: ApplyInPlaceOptions
  readonly #findings: Finding[] = []
  readonly #done = { files: 0, bytes: 0 }
  /** By the path of their unit: live secrets that stay because they cannot be unsealed. */
  readonly #keptSecrets = new Map<string, readonly string[]>()
  /** Folders that were missing on the way to units, outermost first. */
  readonly #madeFolders: string[] = []
  /** False while something of what was there may lie in a stage. */
  #mayClean = true
  #verifiedFiles = 0
  #secrets = 0

  constructor(chosen: ChosenSnapshot, plan: InPlacePlan, options: ApplyInPlaceOptions) {
    this.#chosen = chosen
    this.#plan = plan
    this.#options = options
  }

  async run(): Promise<InPlaceReport> {
    const { units, findings, interrupted } = this.#plan
    for (const finding of findings) this.#find(finding)
    for (const leftover of interrupted) await this.#settle(leftover)
    let replaced: Replaced[]
    try {
      for (const unit of units) await this.#stage(unit)
      await this.#verifyDatabases()
      await this.#record()
      await flush(units)
      replaced = await this.#swapAll()
    } catch (error) {
      if (this.#mayClean) await this.#removeMadeFolders()
      throw nothingChanged(error)
    } finally {
      for (const { stage } of units) activeStages.delete(stage)
    }
    for (const { path } of units) await synchronizeFolder(posix.dirname(path))
    await this.#afterwards('config-not-restored', () => this.#restoreConfig())
    if (this.#options.discardBefore) {
      await this.#afterwards('before-not-removed', () => removeReplaced(replaced))
    }
    return {
      findings: this.#findings,
      files: this.#done.files,
      bytes: this.#done.bytes,
      verifiedFiles: this.#verifiedFiles,
      secrets: this.#secrets,
      kept: this.#options.discardBefore ? [] : replaced,
    }
  }

  #find(finding: Finding): void {
    this.#findings.push(finding)
    this.#options.observe({ type: 'finding', finding })
  }

  #phase(phase: string, component?: string): void {
    this.#options.observe({ type: 'phase', phase, ...(component === undefined ? {} : { component }) })
  }

  async #settle(leftover: InterruptedRestore): Promise<void> {
    const how = await settleInterrupted(leftover)
    const path = leftover.record?.path ?? posix.dirname(leftover.stage)
    this.#find({
      severity: 'note',
      code: 'interrupted-restore',
      path,
      message:
        how === 'completed'
          ? `An earlier restore was killed after it had replaced ${path}: what was there is kept as ${leftover.record?.before}`
          : `An earlier restore was killed before it had replaced ${path}: what it had staged is removed`,
    })
  }

  async #stage(unit: RestoreUnit): Promise<void> {
    const { signal } = this.#options
    signal.throwIfAborted()
    this.#phase('restore', unit.component)
    await this.#makeParents(unit.path)
    activeStages.add(unit.stage)
    await mkdir(unit.stage, { mode: 0o700 })
    await writeRecord(unit.stage, await recordOf(unit, unit.kept))
    // Secrets first: the folders they lie in get their times when the rest is in place.
    if (unit.secrets.length > 0) await this.#stageSecrets(unit)
    await this.#stageFiles(unit)
    if ((await presence(stagedIn(unit.stage))) === 'nothing') return // all of it is secret and stays sealed
    await this.#rewrite(unit)
    for (const entry of this.#keptOf(unit)) await makeWayFor(entry, unit)
  }

  async #rewrite(unit: RestoreUnit): Promise<void> {
    const { rewrites, relocation } = this.#plan
    for (const planned of rewrites.filter(({ path }) => isBelow(path, unit.path))) {
      this.#options.signal.throwIfAborted()
      await applyRewrite(stagedIn(unit.stage) + planned.path.slice(unit.path.length), planned, relocation)
    }
  }

  #keptOf(unit: RestoreUnit): readonly string[] {
    return outermost([...unit.kept, ...(this.#keptSecrets.get(unit.path) ?? [])])
  }

  async #stageFiles(unit: RestoreUnit): Promise<void> {
    const { repository, stored } = this.#chosen
    const { signal, observe, numericOwner, verify } = this.#options
    const node = await findNode(repository, stored.snapshot.tree, unit.source, signal)
    if (!node) return
    const staged = stagedIn(unit.stage)
    const toLive = (text: string) => text.replaceAll(staged, unit.path)
    const failures: Finding[] = []
    const result = await restore(repository, [{ node, destination: Buffer.from(staged) }], {
      ...(numericOwner ? { numericOwner } : {}),
      ...(verify ? { verify } : {}),
      renamedOwners: relocateOwner(this.#plan.relocation),
      select: omitting(unit, staged),
      onProblem: (problem) => {
        const finding = restoreFinding(problem)
        const named = { ...finding, path: toLive(problem.path.toString()), message: toLive(finding.message) }
        this.#find(named)
        if (problem.kind !== 'metadata') failures.push(named)
      },
      onProgress: (phase, done, path) =>
        observe({
          type: 'progress',
          phase,
          done: { files: this.#done.files + done.files, bytes: this.#done.bytes + done.bytes },
          total: { files: this.#plan.files, bytes: this.#plan.bytes },
          current: toLive(path.toString()),
        }),
      signal,
    })
    this.#done.files += result.files
    this.#done.bytes += result.bytes
    this.#verifiedFiles += result.verifiedFiles
    const [first] = failures
    if (first) {
      throw new OperationError(
        'SWAP',
        `Nothing was changed: ${unit.path} cannot be restored whole (${first.message})`,
        {
          facts: { path: unit.path, problems: failures.length },
          hint: 'An older snapshot may hold it intact: see `holdfast snapshots`. What is intact can be had with --target',
        },
      )
    }
  }

  async #stageSecrets(unit: RestoreUnit): Promise<void> {
    const { identities, signal, withoutSecrets } = this.#options
    this.#phase('unseal', unit.component)
    const unsealed = `${unit.stage}/unsealed`
    await mkdir(unsealed, { mode: 0o700 })
    const wanted = new Map(unit.secrets.map((path) => [originOf(path, this.#plan.relocation), path]))
    // What somebody else sealed is known by its folder only.
    const isForeign = this.#chosen.manifest?.secrets?.base !== undefined
    const result = await unsealSecrets(this.#chosen, unsealed, {
      identities,
      select: (path) => wanted.has(path) || (isForeign && [...wanted.keys()].some((folder) => isBelow(path, folder))),
      renamedOwners: relocateOwner(this.#plan.relocation),
      signal,
    })
    if ('finding' in result) {
      this.#find(result.finding)
      if (!withoutSecrets) {
        throw new OperationError('SWAP', `Nothing was changed: the secrets in ${unit.path} cannot be unsealed`, {
          facts: { path: unit.path },
          hint: `${result.finding.hint ?? 'Import the private key'}. With --without-secrets the rest is restored and the live secrets stay`,
        })
      }
      await this.#keepLiveSecrets(unit)
    } else {
      for (const [path] of wanted) {
        // A name that is no text cannot be looked for under what stands in the manifest for it.
        if (path.includes('\ufffd') || (await presence(unsealed + path)) !== 'nothing') continue
        throw new OperationError('SWAP', `Nothing was changed: the sealed archive does not hold ${path}`, {
          facts: { path },
          hint: 'The snapshot contradicts its manifest: run `holdfast verify`',
        })
      }
      this.#secrets += result.files
      await rename(unsealed + unit.source, stagedIn(unit.stage))
    }
    await rm(unsealed, { recursive: true, force: true })
  }

  async #keepLiveSecrets(unit: RestoreUnit): Promise<void> {
    const live: string[] = []
    for (const path of unit.secrets) {
      if (path === unit.path) continue
      if ((await presence(path)) !== 'nothing') live.push(path)
      else {
        const message = `The secret ${path} is neither unsealed nor there to be kept`
        this.#find({ severity: 'error', code: 'secret-missing', path, message })
      }
    }
    this.#keptSecrets.set(unit.path, live)
  }

  /** Looked at before anything live is touched: a damaged database must not replace one that works. */
  async #verifyDatabases(): Promise<void> {
    const { signal } = this.#options
    for (const unit of this.#plan.units) {
      const staged = stagedIn(unit.stage)
      if ((await presence(staged)) === 'nothing') continue
      const { databases } = await surveyFiles(Buffer.from(staged), { signal })
      const sound = databases.map(String).filter((path) => !/\.corrupt$/.test(path)) // those are kept for a rescue
      if (sound.length > 0) this.#phase('verify', unit.component)
      for (const path of sound) await this.#verifyStaged(path, unit.path + path.slice(staged.length))
    }
  }

  async #verifyStaged(staged: string, path: string): Promise<void> {
    for (const finding of await verifyDatabase(staged, { signal: this.#options.signal })) {
      const message = finding.message.replaceAll(staged, path)
      this.#find({ ...finding, path, message })
      if (finding.severity !== 'error') continue
      throw new OperationError('SWAP', `Nothing was changed: the restored ${path} is not sound (${message})`, {
        facts: { path },
        hint: 'Restore an older snapshot: see `holdfast snapshots`',
      })
    }
  }

  /** From here on a killed restore can be told how far it came. */
  async #record(): Promise<void> {
    for (const unit of this.#plan.units) {
      const staged = await identityOf(stagedIn(unit.stage))
      if (staged === undefined) continue
      const live = await identityOf(unit.path)
      const record = await recordOf(unit, this.#keptOf(unit))
      await writeRecord(unit.stage, { ...record, identities: { staged, ...(live === undefined ? {} : { live }) } })
    }
  }

  async #swapAll(): Promise<Replaced[]> {
    const { stop, databases, units } = this.#plan
    const { signal } = this.#options
    signal.throwIfAborted()
    const running: ServiceSpec[] = []
    try {
      for (const service of stop) {
        const state = await serviceState(service, { signal })
        // One that is down already stays down.
        if (state === 'running' || state === 'changing') running.push(service)
        this.#phase(`stop ${service}`)
        await stopService(service, { signal })
      }
      await released(databases, signal)
      this.#phase('swap')
      const swap = units.map((unit) => ({ ...unit, before: beforeOf(unit), kept: this.#keptOf(unit) }))
      return await swapUnits(swap).catch((error: unknown) => {
        if (error instanceof OperationError && error.facts.undone === false) this.#mayClean = false
        throw error
      })
    } finally {
      if (this.#mayClean) await this.#removeStages()
      for (const service of running.reverse()) {
        this.#phase(`start ${service}`)
        await this.#afterwards('service-not-started', () => startService(service, {}))
      }
    }
  }

  /** A stage that cannot be removed is found by the next restore; the others are removed all the same. */
  async #removeStages(): Promise<void> {
    for (const { stage } of this.#plan.units) {
      await this.#afterwards('stage-not-removed', () => rm(stage, { recursive: true, force: true }))
    }
  }

  /** What is in place by now is not taken back because of what comes after it. */
  async #afterwards(code: string, task: () => Promise<void>): Promise<void> {
    try {
      await task()
    } catch (error) {
      if (!isFailureOfTheOutside(error)) throw error
      const hint = error instanceof CodedError && error.hint !== undefined ? { hint: error.hint } : {}
      this.#find({ severity: 'error', code, message: (error as Error).message, ...hint })
    }
  }

  async #restoreConfig(): Promise<void> {
    const { configFile } = this.#plan
    if (configFile === undefined || (await presence(configFile)) !== 'nothing') return // a component may have brought it back
    const { repository, stored } = this.#chosen
    const node = await findNode(repository, stored.snapshot.tree, `/${SELF}/${CONFIG}`, this.#options.signal)
    if (!node) return
    await this.#makeParents(configFile)
    const content = await readWhole(repository, node, MANIFEST_LIMIT, this.#options.signal)
    const { text } = rewriteText(content.toString('utf8'), this.#plan.relocation)
    await writeFileDurably(configFile, Buffer.from(text), { mode: 0o640, replace: false })
  }

  /** Folders on the way get mode and owner that they had when the snapshot was made. */
  async #makeParents(path: string): Promise<void> {
    const { repository, stored } = this.#chosen
    const missing: string[] = []
    let folder = posix.dirname(path)
    for (; (await presence(folder)) === 'nothing'; folder = posix.dirname(folder)) missing.unshift(folder)
    for (const each of missing) {
      await mkdir(each, { mode: 0o700 })
      this.#madeFolders.push(each)
      const origin = originOf(each, this.#plan.relocation)
      const node = await findNode(repository, stored.snapshot.tree, origin, this.#options.signal)
      await chmod(each, node?.type === 'dir' ? permissions(node.mode) : 0o755)
      if (!node || process.geteuid?.() !== 0) continue
      const renamed = relocateOwner(this.#plan.relocation)
      const { uid, gid } = ownerHere(node, { numeric: this.#options.numericOwner ?? false, renamed })
      await chown(each, uid, gid)
    }
  }

  /** After a failure: stages, and the folders that were made for them. */
  async #removeMadeFolders(): Promise<void> {
    await this.#removeStages()
    for (const folder of this.#madeFolders.reverse()) {
      await this.#afterwards('folder-not-removed', () => rmdir(folder))
    }
  }
}

function beforeOf(unit: RestoreUnit): string {
  // Of a path that was absent when the plan was made, and is there now.
  return unit.before ?? `${unit.path}.before-${/\d{8}-\d{6}/.exec(posix.basename(unit.stage))?.[0]}`
}

async function recordOf(unit: RestoreUnit, kept: readonly string[]): Promise<RestoreRecord> {
  return {
    format: 1,
    path: unit.path,
    before: beforeOf(unit),
    kept: [...kept],
    sidecars: unit.isDatabase ? SIDECAR_SUFFIXES.map((suffix) => unit.path + suffix) : [],
    process: processIdentity(),
  }
}

function omitting(unit: RestoreUnit, staged: string): (destination: Buffer) => 'whole' | 'skip' {
  const omitted = new Set(
    unit.omitted.map((path) => Buffer.from(staged + path.slice(unit.path.length)).toString('latin1')),
  )
  return (destination) => (omitted.has(destination.toString('latin1')) ? 'skip' : 'whole')
}

/** The folders in which an entry lies that stays: where the snapshot has none of them, they are made as they are now. */
async function makeWayFor(entry: string, unit: RestoreUnit): Promise<void> {
  const inside = posix.dirname(entry).slice(unit.path.length).split('/').filter(Boolean)
  let live = unit.path
  let staged = stagedIn(unit.stage)
  for (const part of ['', ...inside]) {
    live = posix.join(live, part)
    staged = posix.join(staged, part)
    const present = await presence(staged)
    if (present === 'folder') continue
    if (present !== 'nothing') {
      throw new OperationError(
        'SWAP',
        `Nothing was changed: ${entry} is to stay, and the snapshot has no folder at ${live}`,
        {
          facts: { path: entry },
          hint: `Move ${entry} away, or restore ${live} by itself with --path`,
        },
      )
    }
    const { mode, uid, gid } = await lstat(live)
    await mkdir(staged, { mode: 0o700 })
    if (process.geteuid?.() === 0) await chown(staged, uid, gid)
    await chmod(staged, mode & 0o7777)
  }
}

function nothingChanged(error: unknown): unknown {
  if (error instanceof CodedError || !isFailureOfTheOutside(error)) return error
  const { code, message } = error as NodeJS.ErrnoException
  const full = code === 'ENOSPC' || code === 'EDQUOT'
  return new OperationError(full ? 'NO_ROOM' : 'SWAP', `Nothing was changed: ${message}`, {
    hint: full ? 'Free some room, or restore a single component with --component' : undefined,
    cause: error,
  })
}

/** Ours, or the system's; anything else is a defect. */
function isFailureOfTheOutside(error: unknown): boolean {
  return error instanceof CodedError || typeof (error as NodeJS.ErrnoException).errno === 'number'
}

async function removeReplaced(replaced: readonly Replaced[]): Promise<void> {
  for (const { before } of replaced) {
    for (const suffix of ['', ...SIDECAR_SUFFIXES]) await rm(before + suffix, { recursive: true, force: true })
  }
}

/** Everything staged is on disk before anything live is moved (sync(1), -f: the file systems that hold them). */
async function flush(units: readonly RestoreUnit[]): Promise<void> {
  if (units.length === 0) return
  const end = await runProgram('sync', ['-f', ...units.map(({ stage }) => stage)], {})
  if (end.exitCode === 0) return
  throw new OperationError('SWAP', 'Nothing was changed: what was staged cannot be written to disk', {
    hint: 'Check the disk',
    cause: programFailure(end),
  })
}

/** Resolves when no process has any of these databases open; rejects with `IN_USE` when one goes on having one. */
export async function released(
  databases: readonly string[],
  signal: AbortSignal,
  withinMs = RELEASE_MILLISECONDS,
): Promise<void> {
  const deadline = Date.now() + withinMs
  for (;;) {
    const [user] = (await usersOf(databases)).users
    if (!user) return
    if (Date.now() >= deadline) {
      throw new OperationError(
        'IN_USE',
        `Nothing was changed: process ${user.pid} (${user.command}) still has ${user.path} open`,
        {
          facts: { path: user.path, pid: user.pid, command: user.command },
          hint: 'Stop the service that it belongs to (restore: name it with --stop), or end it',
        },
      )
    }
    await sleep(200, undefined, { signal })
  }
}
