import { lstat } from 'node:fs/promises'
import { hostname } from 'node:os'
import type { ComponentConfig, ComponentKind, Config } from '../../application/config/config.ts'
import type { Exclusion } from '../../application/config/exclude.ts'
import type { Finding } from '../../application/finding.ts'
import type { DatabaseRecord, Substitute } from '../../application/sources/capture.ts'
import { type FilesPlan, type PlannedDatabase, planFiles } from '../../application/sources/files.ts'
import { type ArchiveProblem, archive, type Replacement } from '../../engine/archiver/archive.ts'
import { type BlobSink, discardingSink } from '../../engine/archiver/blob-sink.ts'
import type { SnapshotId } from '../../engine/format/id.ts'
import { createChunker } from '../../engine/kernels/chunker.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import type { IndexedRepository } from '../../engine/repository/repository.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { TreeReader } from '../../engine/repository/tree-reader.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { appSnapshots, PARTIAL } from '../app-snapshots.ts'
import type { Observer } from '../event.ts'
import { readManifest } from '../snapshot-files.ts'
import { selectionOf, vetoOf } from './admission.ts'
import { chosenComponents } from './backup-application.ts'
import { captureComponent, failureFindings, filesOptions } from './capture-components.ts'
import { leftOutOf } from './left-out.ts'
import { type SecretFile, usableSealers } from './seal-secrets.ts'

export interface PlanBackupOptions {
  /** Names of components; by default all. */
  readonly components?: readonly string[]
  /** Plan as if there were no previous snapshot. */
  readonly force?: boolean
  readonly hostRoot?: string
  readonly observe: Observer
  readonly signal: AbortSignal
}

export interface PlannedComponent {
  readonly name: string
  readonly kind: ComponentKind
  /** Files to be stored, without databases and secrets. */
  readonly files: number
  readonly bytes: number
  readonly filesNew: number
  readonly filesChanged: number
  /** Of new and changed files, what the repository does not hold yet. Without databases and secrets. */
  readonly dataAdded: number
  readonly databases: readonly PlannedDatabase[]
  /** Files to be sealed. */
  readonly secrets: number
}

/** What a backup would do; plain data. */
export interface BackupPlan {
  readonly app: string
  /** The snapshot that it was compared with. */
  readonly previous: SnapshotId | undefined
  readonly components: readonly PlannedComponent[]
  /** Whom secrets would be sealed for; empty when there are none, or nobody to seal them for. */
  readonly recipients: readonly string[]
  readonly findings: readonly Finding[]
}

/**
 * Finds out what a backup of the application would store. Reads what changed since the last one, and changes nothing:
 * the repository is neither written nor locked, databases are not opened but looked at from outside, nothing is sealed.
 */
export async function planBackup(
  config: Config,
  access: RepositoryAccess,
  options: PlanBackupOptions,
): Promise<BackupPlan> {
  const components = chosenComponents(config, options.components)
  return withRepository(access, { lock: 'none', signal: options.signal }, async (plain) => {
    const snapshots = await appSnapshots(plain, config.app, options.signal, () => {}) // `check` reports damaged ones
    const repository = await loadIndex(plain, options.signal)
    return new BackupPlanner(config, options, repository, await leftOutOf(config)).plan(components, snapshots)
  })
}

/** What a component holds, with the secrets and databases in it set apart. */
type Draft = FilesPlan & { readonly component: ComponentConfig }

class BackupPlanner {
  readonly #config: Config
  readonly #options: PlanBackupOptions
  readonly #repository: IndexedRepository
  readonly #leftOut: ReadonlyMap<string, Exclusion>
  readonly #findings: Finding[] = []
  /** Blobs counted once, whichever component has them first. */
  readonly #sink: BlobSink

  constructor(
    config: Config,
    options: PlanBackupOptions,
    repository: IndexedRepository,
    leftOut: ReadonlyMap<string, Exclusion>,
  ) {
    this.#config = config
    this.#options = options
    this.#repository = repository
    this.#leftOut = leftOut
    this.#sink = discardingSink(repository.index)
  }

  async plan(components: readonly ComponentConfig[], snapshots: readonly StoredSnapshot[]): Promise<BackupPlan> {
    const { signal } = this.#options
    const previous = this.#options.force
      ? undefined
      : snapshots.findLast(({ snapshot }) => snapshot.hostname === hostname() && !snapshot.tags.includes(PARTIAL))
    const databases = (previous && (await readManifest(this.#repository, previous, signal))?.databases) ?? []
    const drafts: Draft[] = []
    for (const component of components) drafts.push(await this.#draft(component, databases))
    const replacements = replacementsOf(drafts)
    const planned: PlannedComponent[] = []
    for (const draft of drafts) planned.push(await this.#component(draft, replacements, previous))
    return {
      app: this.#config.app,
      previous: previous?.id,
      components: planned,
      recipients: await this.#recipients(drafts),
      findings: this.#findings,
    }
  }

  #find(finding: Finding): void {
    this.#findings.push(finding)
    this.#options.observe({ type: 'finding', finding })
  }

  async #draft(component: ComponentConfig, previousDatabases: readonly DatabaseRecord[]): Promise<Draft> {
    const { signal, hostRoot = '/' } = this.#options
    this.#options.observe({ type: 'phase', phase: 'survey', component: component.name })
    const draft = await this.#look(component, previousDatabases, hostRoot)
    for (const finding of draft.findings) this.#find({ component: component.name, ...finding })
    signal.throwIfAborted()
    return draft
  }

  async #look(
    component: ComponentConfig,
    previousDatabases: readonly DatabaseRecord[],
    hostRoot: string,
  ): Promise<Draft> {
    const { signal } = this.#options
    const nothing = { targets: [], substitutes: new Map<string, Substitute>(), secrets: [], databases: [] }
    if (component.kind === 'files' || component.kind === 'sqlite') {
      try {
        const context = { config: this.#config, leftOut: this.#leftOut }
        const { options, withCachesLeftOut } = filesOptions(component, context)
        const plan = await planFiles(component, { ...options, previousDatabases, signal })
        return { component, ...withCachesLeftOut(plan) }
      } catch (error) {
        signal.throwIfAborted()
        return { component, ...nothing, findings: failureFindings(component, error) }
      }
    }
    // The other kinds hold no databases: their capture copies nothing.
    const { workDirectory } = this.#config
    const context = {
      config: this.#config,
      leftOut: this.#leftOut,
      keyFiles: [],
      hostRoot,
      workDirectory,
      previousDatabases,
      signal,
    }
    const { capture } = await captureComponent(component, context)
    await using _ = capture
    const { targets, substitutes, secrets, findings } = capture
    return { component, targets, substitutes, secrets, findings, databases: [] }
  }

  async #component(
    { component, targets, databases, secrets }: Draft,
    replacements: ReadonlyMap<string, Replacement>,
    previous: StoredSnapshot | undefined,
  ): Promise<PlannedComponent> {
    const { signal, observe } = this.#options
    const { sink, added } = countingData(this.#sink)
    observe({ type: 'phase', phase: 'compare', component: component.name })
    const trees = new TreeReader(this.#repository, signal)
    const compare = async () => {
      const { counts } = await archive(targets, {
        sink,
        chunker: createChunker(this.#repository.config.polynomial),
        parent: previous && {
          tree: previous.snapshot.tree,
          readTree: (id) => trees.bytes(id),
        },
        replacements,
        select: selectionOf([{ component, targets }], this.#leftOut),
        veto: vetoOf,
        signal,
        onProblem: (problem) => this.#problem(problem, component.name),
        onProgress: (done, path) => observe({ type: 'progress', phase: 'compare', done, current: path.toString() }),
      })
      return counts
    }
    const counts = targets.length === 0 ? undefined : await compare() // all of it may be secret
    return {
      name: component.name,
      kind: component.kind,
      files: counts?.totalFiles ?? 0,
      bytes: counts?.totalBytes ?? 0,
      filesNew: counts?.filesNew ?? 0,
      filesChanged: counts?.filesChanged ?? 0,
      dataAdded: added(),
      databases,
      secrets: await countFiles(secrets),
    }
  }

  #problem({ kind, path: bytes, message }: ArchiveProblem, component: string): void {
    const path = bytes.toString()
    if (kind === 'unreadable') {
      const hint = 'Run the backup as a user who may read it, or exclude it'
      this.#find({
        severity: 'error',
        code: 'file-unreadable',
        component,
        path,
        message: `Cannot read ${path}: ${message}`,
        hint,
      })
    } else if (kind === 'vetoed') {
      this.#find({ severity: 'error', code: 'file-vetoed', component, path, message })
    }
    // The others say what happened while the files were read, and a plan reads them for nobody.
  }

  async #recipients(drafts: readonly Draft[]): Promise<readonly string[]> {
    const files = drafts.flatMap(({ component, secrets }) =>
      secrets.map((path): SecretFile => ({ path, component: component.name })),
    )
    if (files.length === 0) return []
    const sealers = await usableSealers(files, this.#config, this.#options.signal)
    if (!('findings' in sealers)) return sealers.flatMap(({ recipients }) => recipients)
    for (const finding of sealers.findings) this.#find(finding)
    return []
  }
}

function replacementsOf(drafts: readonly Draft[]): ReadonlyMap<string, Replacement> {
  const left = drafts.flatMap(({ substitutes, secrets }) => [
    ...substitutes.keys(),
    ...secrets.map((path) => path.toString('latin1')),
  ])
  return new Map(left.map((path) => [path, { kind: 'left-out' }]))
}

/** Folders of secrets are sealed with their modes, but an operator counts files. */
async function countFiles(paths: readonly Buffer[]): Promise<number> {
  const files = await Promise.all(
    paths.map((path) =>
      lstat(path).then(
        (stats) => !stats.isDirectory(),
        (error: NodeJS.ErrnoException) => {
          if (error.syscall === undefined) throw error
          return true // whoever seals it says that it cannot be read
        },
      ),
    ),
  )
  return files.filter(Boolean).length
}

function countingData(sink: BlobSink): { readonly sink: BlobSink; readonly added: () => number } {
  let added = 0
  return {
    added: () => added,
    sink: {
      has: (type, id) => sink.has(type, id),
      hasAt: (type, text, at) => sink.hasAt(type, text, at),
      async save(type, plaintext) {
        const saved = await sink.save(type, plaintext)
        if (type === 'data' && saved.isNew) added += plaintext.length
        return saved
      },
    },
  }
}
