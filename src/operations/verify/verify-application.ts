import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import type { ProofLevel } from '../../application/journal/proof-level.ts'
import { verifyDatabase } from '../../application/sources/sqlite.ts'
import { CodedError } from '../../engine/error.ts'
import { checkRepository } from '../../engine/repository/check.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import { restore } from '../../engine/restorer/restore.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { appSnapshots } from '../app-snapshots.ts'
import { inspectSnapshot } from '../backup/inspect-snapshot.ts'
import type { Observer, SnapshotNews } from '../event.ts'
import type { Manifest } from '../manifest.ts'
import { countFindings, restoreFinding } from '../restore/restore-to-target.ts'
import { type ChosenSnapshot, chooseSnapshot, type SnapshotChoice } from '../restore/snapshot-choice.ts'
import { runOperation } from '../run-operation.ts'
import { findNode } from '../snapshot-files.ts'
import { openWorkFolder } from '../work-folder.ts'
import { checkFinding } from './check.ts'
import { type SignatureState, verifyManifest, verifyManifestSignature } from './verify-manifest.ts'

export interface VerifyOptions {
  readonly config: Config
  readonly choice: SnapshotChoice
  /** Read every byte of the repository again first. */
  readonly readData: boolean
  readonly observe: Observer
  readonly signal: AbortSignal
}

export interface VerifyReport {
  /** `incomplete`: what the snapshot holds is good, but the backup itself said that something is missing. */
  readonly outcome: 'succeeded' | 'incomplete' | 'failed'
  readonly snapshot: string
  readonly findings: readonly Finding[]
  /** Databases that were restored and opened. */
  readonly databases: number
  readonly archives: number
  readonly signature: SignatureState
}

/**
 * Verifies a snapshot of an application beyond the repository's structure: manifest against tree, signature, databases
 * restored to a private folder and opened, seals, sizes. What the backup found missing is found again, in the same words.
 */
export async function verifyApplication(access: RepositoryAccess, options: VerifyOptions): Promise<VerifyReport> {
  const { config, observe, signal } = options
  return runOperation(
    { operation: 'verify', subject: config.app, observe, signal },
    () =>
      withRepository(access, { lock: 'shared', uncached: true, signal }, (plain, lockSignal) =>
        new Verification({ ...options, signal: lockSignal ?? signal }).run(plain),
      ),
    ({ snapshot, databases, archives, signature, findings }) => ({
      snapshot_id: snapshot,
      databases_opened: databases,
      sealed_archives: archives,
      signature,
      ...countFindings(findings),
    }),
  )
}

class Verification {
  readonly #options: VerifyOptions
  readonly #findings: Finding[] = []
  /** Something is wrong that the backup did not say: anywhere in the repository, or with the snapshot. */
  #failed = false
  #snapshotFailed = false
  #isReading = false
  #sealsOpened = 0

  constructor(options: VerifyOptions) {
    this.#options = options
  }

  async run(plain: Repository): Promise<VerifyReport> {
    const { config, choice, observe, signal } = this.#options
    if (this.#options.readData) await this.#readAll(plain)
    const older = await appSnapshots(plain, config.app, signal, (error) =>
      this.#find({
        severity: 'warning',
        code: 'snapshot-unreadable',
        message: error.message,
        hint: 'Run `holdfast check`',
      }),
    )
    const chosen = await chooseSnapshot(plain, choice, signal)
    const { stored, manifest } = chosen
    for (const finding of knownGaps(manifest)) this.#note(finding)

    observe({ type: 'phase', phase: 'inspect' })
    const before = older.filter(({ snapshot }) => snapshot.time.ns < stored.snapshot.time.ns)
    await this.#attempt(async () => {
      const onSealOpened = () => {
        this.#sealsOpened += 1
      }
      const options = { config, older: before, onSealOpened, signal }
      for (const finding of await inspectSnapshot(plain, stored, options)) this.#find(finding)
    })
    for (const finding of componentsNotHeld(config, manifest)) this.#find(finding)
    await this.#attempt(() => verifyManifest(chosen, (finding) => this.#find(finding), signal))
    const signature = await this.#attempt(() =>
      verifyManifestSignature(chosen, config.sign, (finding) => this.#find(finding), signal),
    )
    const databases = await this.#openDatabases(chosen)
    for (const news of this.#news(chosen, databases)) observe({ type: 'snapshot', news })
    return {
      outcome: this.#outcome(),
      snapshot: stored.id,
      findings: this.#findings,
      databases,
      archives: manifest?.secrets?.archives.length ?? 0,
      signature: signature ?? 'none',
    }
  }

  #outcome(): VerifyReport['outcome'] {
    if (this.#failed) return 'failed'
    return this.#findings.some(({ severity }) => severity === 'error') ? 'incomplete' : 'succeeded'
  }

  /** What is proven by now. `opened` only when something was, and everything that there is. */
  #news({ stored: { id: snapshot }, manifest }: ChosenSnapshot, databases: number): SnapshotNews[] {
    const at = new Date()
    const archives = manifest?.secrets?.archives.length ?? 0
    const evidence = {
      operation: 'verify',
      databases_opened: databases,
      databases: manifest?.databases.length ?? 0,
      seals_opened: this.#sealsOpened,
      seals: archives,
    }
    if (this.#snapshotFailed) return [{ kind: 'damaged', snapshot, at, evidence }]
    const isOpened =
      databases + archives > 0 && databases === evidence.databases && this.#sealsOpened === evidence.seals
    const levels: ProofLevel[] = ['checked']
    if (this.#options.readData && !this.#failed) levels.push('re-read')
    if (isOpened) levels.push('opened')
    return levels.map((level) => ({ kind: 'proven', snapshot, level, at, evidence }))
  }

  #find(finding: Finding): void {
    if (finding.severity === 'error') {
      this.#failed = true
      if (!this.#isReading) this.#snapshotFailed = true
    }
    this.#note(finding)
  }

  /** Several looks at the same repository find the same damage. */
  #note(finding: Finding): void {
    const { code, message, path } = finding
    if (this.#findings.some((other) => other.code === code && other.message === message && other.path === path)) return
    this.#findings.push(finding)
    this.#options.observe({ type: 'finding', finding })
  }

  /** Damage that keeps one look from ending is a finding, and the others go on. */
  async #attempt<R>(look: () => Promise<R>): Promise<R | undefined> {
    try {
      return await look()
    } catch (error) {
      this.#options.signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      const hint = error.hint === undefined ? {} : { hint: error.hint }
      this.#find({ severity: 'error', code: 'snapshot-damaged', message: error.message, ...hint })
      return undefined
    }
  }

  async #readAll(plain: Repository): Promise<void> {
    const { observe, signal } = this.#options
    observe({ type: 'phase', phase: 're-read' })
    this.#isReading = true // what is damaged there need not be of this snapshot; that shows when it is inspected
    await checkRepository(plain, {
      readData: true,
      onFinding: (finding) => this.#find(checkFinding(finding)),
      onProgress: (phase, done, total) => observe({ type: 'progress', phase, done, ...(total ? { total } : {}) }),
      signal,
    })
    this.#isReading = false
  }

  /** Each database as the repository holds it now, restored one by one into a private folder, opened and checked. */
  async #openDatabases(chosen: ChosenSnapshot): Promise<number> {
    const { config, observe } = this.#options
    const databases = (chosen.manifest?.databases ?? []).filter(({ path }) => !isKnownGap(chosen.manifest, path))
    if (databases.length === 0) return 0
    observe({ type: 'phase', phase: 'open databases' })
    await using folder = await openWorkFolder(config.workDirectory, 'verify')
    let opened = 0
    for (const { path } of databases) {
      if (await this.#attempt(() => this.#openDatabase(chosen, path, join(folder.path, `${opened}.db`)))) opened += 1
    }
    return opened
  }

  async #openDatabase({ repository, stored }: ChosenSnapshot, path: string, copy: string): Promise<boolean> {
    const { signal } = this.#options
    const node = await findNode(repository, stored.snapshot.tree, path, signal)
    if (!node) {
      const message = `The snapshot does not hold ${path}, which its manifest names`
      this.#find({ severity: 'error', code: 'database-missing', path, message })
      return false
    }
    let whole = true
    await restore(repository, [{ node, destination: Buffer.from(copy) }], {
      onProblem: (problem) => {
        if (problem.kind === 'metadata') return // the copy is private to this check
        whole = false
        this.#find({ ...restoreFinding(problem), path })
      },
      signal,
    })
    if (!whole) return false
    try {
      // What is said is said of the database, not of the copy in which it was found.
      for (const finding of await verifyDatabase(copy, { signal })) {
        this.#find({ ...finding, path, message: finding.message.replaceAll(copy, path) })
      }
      return true
    } finally {
      await rm(copy)
    }
  }
}

/** What the backup itself said was missing. */
function knownGaps(manifest: Manifest | undefined): Finding[] {
  return (manifest?.findings ?? []).filter(({ severity }) => severity === 'error').map(asFinding)
}

function isKnownGap(manifest: Manifest | undefined, path: string): boolean {
  return knownGaps(manifest).some((finding) => finding.path === path)
}

function asFinding({ severity, code, message, component, path, hint }: Manifest['findings'][number]): Finding {
  return {
    severity,
    code,
    message,
    ...(component === undefined ? {} : { component }),
    ...(path === undefined ? {} : { path }),
    ...(hint === undefined ? {} : { hint }),
  }
}

/** What the config names and a whole snapshot does not know: it was added since. */
function componentsNotHeld(config: Config, manifest: Manifest | undefined): Finding[] {
  if (!manifest || manifest.only) return []
  return config.components
    .filter(({ name }) => !manifest.components.some((component) => component.name === name))
    .map(({ name }) => ({
      severity: 'warning',
      code: 'component-not-held',
      component: name,
      message: `The snapshot knows no component ${name}, which the config names`,
      hint: 'Run `holdfast backup`',
    }))
}
