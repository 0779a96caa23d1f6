import { hostname } from 'node:os'
import { extname } from 'node:path'
import type { ComponentConfig, Config } from '../../application/config/config.ts'
import type { Exclusion } from '../../application/config/exclude.ts'
import type { Finding } from '../../application/finding.ts'
import type { DatabaseRecord, Substitute } from '../../application/sources/capture.ts'
import type { ArchiveProblem, ArchiveResult, Replacement } from '../../engine/archiver/archive.ts'
import { archiveInto } from '../../engine/archiver/archive-into.ts'
import type { KnownChunks } from '../../engine/archiver/known-chunks.ts'
import { ContentStore } from '../../engine/archiver/store-content.ts'
import { CodedError } from '../../engine/error.ts'
import type { BlobId, SnapshotId } from '../../engine/format/id.ts'
import type { Snapshot, SnapshotSummary } from '../../engine/format/snapshot.ts'
import { now, type Timestamp } from '../../engine/format/timestamp.ts'
import { createChunker } from '../../engine/kernels/chunker.ts'
import { currentUser } from '../../engine/os/current-user.ts'
import { BlobWriter } from '../../engine/repository/blob-writer.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import type { IndexedRepository, Repository } from '../../engine/repository/repository.ts'
import { type StoredSnapshot, writeSnapshot } from '../../engine/repository/snapshots.ts'
import { TreeReader } from '../../engine/repository/tree-reader.ts'
import { withoutCache } from '../../engine/storage/tree-pack-listener.ts'
import { type RepositoryAccess, type RepositoryCache, withRepository } from '../access.ts'
import { appSnapshots, appTag, componentTag, PARTIAL } from '../app-snapshots.ts'
import { OperationError } from '../error.ts'
import type { Observer, Outcome } from '../event.ts'
import { placeRecoveryProgram } from '../interop/place-recovery-program.ts'
import { snapshotRecord } from '../journal/snapshot-record.ts'
import { type Manifest, SELF } from '../manifest.ts'
import { runOperation } from '../run-operation.ts'
import { readManifest } from '../snapshot-files.ts'
import { PROGRAM_VERSION } from '../version.ts'
import { openWorkFolder, type WorkFolder } from '../work-folder.ts'
import { otherNamesOf, selectionOf, vetoOf } from './admission.ts'
import { backupSummary, snapshotSummary } from './backup-summary.ts'
import { type CaptureContext, type ComponentCapture, captureComponent, isInside } from './capture-components.ts'
import { knownChunks, noteChunks } from './chunk-notes.ts'
import { describeSnapshot } from './describe-snapshot.ts'
import { inspectSnapshot } from './inspect-snapshot.ts'
import { copyOfJournal } from './journal-copy.ts'
import { keyFilesOf, leftOutOf } from './left-out.ts'
import { newestWhole, type PreviousSnapshot, previousDatabases, previousSeal } from './previous-snapshot.ts'
import { type SecretFile, sealSecrets } from './seal-secrets.ts'

/** Asks the same veto. */
const STORE_WORKER = new URL(`./store-worker-main${extname(import.meta.url)}`, import.meta.url)

export interface BackupOptions {
  /** Names of components; by default all. */
  readonly components?: readonly string[]
  readonly reason?: string | undefined
  readonly tags?: readonly string[]
  /** Read every file again and copy every database, whatever the previous snapshot holds. */
  readonly force?: boolean
  /** Where the host's own files begin: `/`, or the root of a mounted system. */
  readonly hostRoot?: string
  readonly observe: Observer
  readonly signal: AbortSignal
}

export interface BackupReport {
  readonly outcome: Extract<Outcome, 'succeeded' | 'incomplete'>
  readonly snapshot: SnapshotId
  readonly manifest: Manifest
  /** Of the backup and of the inspection of its result. */
  readonly findings: readonly Finding[]
  readonly files: number
  readonly bytes: number
  /** What this run added to the repository, in stored bytes. */
  readonly addedPacked: number
  /** The snapshot that unchanged files were taken over from. */
  readonly parent: SnapshotId | undefined
  readonly summary: SnapshotSummary
  readonly milliseconds: number
}

/**
 * Backs up the components of an application into one snapshot that describes itself, then inspects what was stored.
 *
 * `incomplete` when anything that was asked for is not in it; the findings say what. Rejects only when no snapshot could
 * be made: repository, lock, full disk, interruption.
 */
export async function backupApplication(
  config: Config,
  access: RepositoryAccess,
  options: BackupOptions,
): Promise<BackupReport> {
  const components = chosenComponents(config, options.components)
  const begun = performance.now()
  return runOperation(
    { operation: 'backup', subject: config.app, observe: options.observe, signal: options.signal },
    () =>
      withRepository(
        access,
        { lock: 'shared', early: true, signal: options.signal },
        async (repository, lockSignal) => {
          const signal = lockSignal ?? options.signal
          const report = await new ApplicationBackup(config, components, { ...options, signal }).run(
            repository,
            access.cache,
          )
          return { ...report, milliseconds: performance.now() - begun }
        },
      ),
    ({ snapshot, parent, summary, manifest, findings }) => ({
      ...backupSummary({ snapshot, parent, summary, findings }),
      components: manifest.components.map(({ name, kind, files, bytes, outcome, paths }) => ({
        name,
        kind,
        files,
        bytes,
        databases: manifest.databases.filter((database) =>
          paths.some(({ path }) => isInside(Buffer.from(database.path), Buffer.from(path))),
        ).length,
        secrets_sealed: paths.reduce((rest, path) => rest - path.files, files),
        outcome,
      })),
      signed: config.sign !== undefined,
    }),
  )
}

export function chosenComponents(config: Config, names: readonly string[] | undefined): readonly ComponentConfig[] {
  if (names === undefined || names.length === 0) return config.components
  return names.map((name) => {
    const component = config.components.find((candidate) => candidate.name === name)
    if (component) return component
    throw new OperationError('NO_COMPONENT', `No component "${name}" in ${config.file}`, {
      facts: { component: name, known: config.components.map((known) => known.name) },
      hint: `Choose among ${config.components.map((known) => known.name).join(', ')}`,
    })
  })
}

class ApplicationBackup {
  readonly #config: Config
  readonly #components: readonly ComponentConfig[]
  readonly #options: BackupOptions
  readonly #findings: Finding[] = []
  readonly #time: Timestamp = now()

  constructor(config: Config, components: readonly ComponentConfig[], options: BackupOptions) {
    this.#config = config
    this.#components = components
    this.#options = options
  }

  async run(plain: Repository, cache: RepositoryCache | undefined): Promise<Omit<BackupReport, 'milliseconds'>> {
    const { signal, observe } = this.#options
    const snapshots = await appSnapshots(plain, this.#config.app, signal, (error) =>
      this.#find({
        severity: 'warning',
        code: 'snapshot-unreadable',
        message: error.message,
        hint: 'Run `holdfast check`',
      }),
    )
    const repository = await loadIndex(plain, signal)
    const chunks = await knownChunks(plain, cache, this.#options)
    const previous = this.#options.force ? undefined : await this.#previous(repository, snapshots)
    await using work = await openWorkFolder(this.#config.workDirectory, 'backup')
    const leftOut = await leftOutOf(this.#config)
    const databases = previous === undefined ? [] : await previousDatabases(repository, previous, signal)
    await using captured = await this.#capture(work, leftOut, databases)

    await using writer = new BlobWriter(repository, { signal })
    const store = new ContentStore(writer, createChunker(repository.config.polynomial))
    const archived = await this.#archive(captured.list, leftOut, repository, writer, previous, chunks)

    observe({ type: 'phase', phase: 'seal' })
    const seals = await sealSecrets(secretsOf(captured.list), {
      config: this.#config,
      store,
      previous: previous && (await previousSeal(repository, previous, signal)),
      signal,
    })
    for (const finding of seals.findings) this.#find(finding)
    if (archived.nodes.length === 0 && seals.archives.length === 0) throw this.#nothing()

    observe({ type: 'phase', phase: 'publish' })
    const journal = await copyOfJournal(this.#config, work.path, (finding) => this.#find(finding))
    const { tree, manifest } = await describeSnapshot(
      {
        config: this.#config,
        time: this.#time,
        reason: this.#options.reason,
        only: this.#options.components?.length ? this.#options.components : undefined,
        captures: captured.list,
        archived,
        seals,
        journal,
        findings: this.#findings,
      },
      { sink: writer, store, onFinding: (finding) => this.#find(finding), signal },
    )
    await writer.finish()
    const snapshot = this.#snapshot(tree, archived, writer, previous)
    const id = await writeSnapshot(repository, snapshot, signal)
    await noteChunks(plain, chunks, cache)
    const stored = { id, snapshot }
    observe({ type: 'snapshot', news: { kind: 'saved', record: snapshotRecord(stored, manifest) } })

    for (const finding of await placeRecoveryProgram(plain.storage, signal)) this.#find(finding)
    observe({ type: 'phase', phase: 'verify' })
    await this.#inspect(plain, stored, snapshots)
    return {
      outcome: this.#outcome(),
      snapshot: id,
      manifest,
      findings: this.#findings,
      files: archived.counts.totalFiles,
      bytes: archived.counts.totalBytes,
      addedPacked: writer.totals.addedPacked,
      parent: previous?.stored.id,
      summary: snapshot.summary,
    }
  }

  /** The snapshot is there: whatever keeps it from being inspected is said of it, and does not take it back. */
  async #inspect(plain: Repository, stored: StoredSnapshot, older: readonly StoredSnapshot[]): Promise<void> {
    const { signal, observe } = this.#options
    const evidence = { operation: 'backup' }
    try {
      // What counts is what lies in the storage, not a copy that is kept elsewhere.
      const inStorage = { ...plain, storage: withoutCache(plain.storage) }
      const findings = await inspectSnapshot(inStorage, stored, { config: this.#config, older, signal })
      for (const finding of findings) this.#find(finding)
      const isDamaged = findings.some(({ severity }) => severity === 'error')
      const what = { snapshot: stored.id, at: new Date(), evidence }
      observe({
        type: 'snapshot',
        news: isDamaged ? { kind: 'damaged', ...what } : { kind: 'proven', level: 'checked', ...what },
      })
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      this.#find({
        severity: 'error',
        code: 'not-inspected',
        message: `Snapshot ${stored.id.slice(0, 8)} is stored, and could not be inspected: ${error.message}`,
        hint: error.hint ?? 'Run `holdfast verify`',
      })
    }
  }

  #find(finding: Finding): void {
    this.#findings.push(finding)
    this.#options.observe({ type: 'finding', finding })
  }

  #outcome(): 'succeeded' | 'incomplete' {
    return this.#findings.some(({ severity }) => severity === 'error') ? 'incomplete' : 'succeeded'
  }

  async #previous(
    repository: IndexedRepository,
    snapshots: readonly StoredSnapshot[],
  ): Promise<PreviousSnapshot | undefined> {
    const stored = newestWhole(snapshots, hostname())
    if (!stored) return undefined
    try {
      return { stored, manifest: await readManifest(repository, stored, this.#options.signal) }
    } catch (error) {
      this.#options.signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      this.#find({
        severity: 'warning',
        code: 'previous-unreadable',
        message: `Cannot compare with the previous snapshot ${stored.id.slice(0, 8)}, everything is read afresh: ${error.message}`,
        hint: 'Run `holdfast check`',
      })
      return undefined
    }
  }

  async #capture(work: WorkFolder, leftOut: ReadonlyMap<string, Exclusion>, databases: readonly DatabaseRecord[]) {
    const { signal, observe, hostRoot = '/' } = this.#options
    const list: ComponentCapture[] = []
    const release = async () => {
      for (const { capture } of list) await capture[Symbol.asyncDispose]()
    }
    const context: CaptureContext = {
      config: this.#config,
      leftOut,
      keyFiles: await keyFilesOf(this.#config),
      hostRoot,
      workDirectory: work.path,
      previousDatabases: databases,
      signal,
    }
    try {
      for (const component of this.#components) {
        signal.throwIfAborted()
        observe({ type: 'phase', phase: 'capture', component: component.name })
        const captured = await captureComponent(component, context)
        list.push(captured)
        for (const finding of captured.capture.findings) this.#find({ component: component.name, ...finding })
      }
    } catch (error) {
      await release()
      throw error
    }
    return { list, [Symbol.asyncDispose]: release }
  }

  async #archive(
    captures: readonly ComponentCapture[],
    leftOut: ReadonlyMap<string, Exclusion>,
    repository: IndexedRepository,
    writer: BlobWriter,
    previous: PreviousSnapshot | undefined,
    chunks: KnownChunks | undefined,
  ): Promise<ArchiveResult> {
    const { signal, observe } = this.#options
    const targets = captures.flatMap(({ component, capture }) => capture.targets.map((path) => ({ component, path })))
    const secrets = captures.flatMap(({ capture }) => capture.secrets)
    if (targets.length === 0) return NOTHING_ARCHIVED // perhaps there are secrets to seal
    observe({ type: 'phase', phase: 'archive' })
    const isOtherName = await otherNamesOf(secrets, (path, secret) => {
      this.#find({
        severity: 'error',
        code: 'secret-linked',
        ...componentAt(path, targets),
        path: path.toString(),
        message: `${path} is left out: it is a hard link to the secret ${secret}, which is sealed under that name`,
        hint: 'Replace the hard link by a symbolic one, which is stored',
      })
    })
    const isSelected = selectionOf(
      captures.map(({ component, capture }) => ({ component, targets: capture.targets })),
      leftOut,
    )
    const expected = previous?.stored.snapshot.summary
    const total = expected && { files: expected.totalFilesProcessed, bytes: expected.totalBytesProcessed }
    const trees = new TreeReader(repository, signal)
    return archiveInto(
      repository,
      writer,
      targets.map(({ path }) => path),
      {
        parent: previous && {
          tree: previous.stored.snapshot.tree,
          readTree: (id) => trees.bytes(id),
        },
        replacements: replacementsOf(captures),
        select: (path, stats) => isSelected(path, stats) && !isOtherName(path, stats),
        veto: vetoOf,
        program: STORE_WORKER,
        chunks,
        signal,
        onProblem: (problem) => this.#find({ ...problemFinding(problem), ...componentAt(problem.path, targets) }),
        onProgress: (done, path) =>
          observe({
            type: 'progress',
            phase: 'archive',
            done,
            current: path.toString(),
            // What the previous snapshot came to, as long as that is more than there is by now.
            ...(total && total.bytes >= done.bytes && total.files >= done.files ? { total } : {}),
          }),
      },
    )
  }

  #snapshot(
    tree: BlobId,
    archived: ArchiveResult,
    writer: BlobWriter,
    previous: PreviousSnapshot | undefined,
  ): Snapshot & { readonly summary: SnapshotSummary } {
    const { components, tags = [] } = this.#options
    const { counts } = archived
    const { totals } = writer
    const paths = archived.targets.filter(({ node }) => node !== undefined).map(({ path }) => path.toString())
    const partial = components?.length ? [PARTIAL, ...components.map(componentTag)] : []
    return {
      time: this.#time,
      ...(previous ? { parent: previous.stored.id } : {}),
      tree,
      paths: paths.length > 0 ? paths : [`/${SELF}`], // a snapshot of nothing but seals
      hostname: hostname(),
      ...currentUser(),
      excludes: [...this.#config.exclude],
      tags: [...new Set([appTag(this.#config.app), ...partial, ...tags])],
      programVersion: PROGRAM_VERSION,
      summary: snapshotSummary(this.#time, counts, totals),
    }
  }

  #nothing(): OperationError {
    const { app } = this.#config
    const first = this.#findings.find(({ severity }) => severity === 'error')
    return new OperationError(
      'NOTHING',
      `Nothing of ${app} can be backed up: ${first?.message ?? 'it holds nothing'}`,
      {
        facts: { app, findings: this.#findings.map(({ message }) => message) },
        hint: 'The findings above say what is missing; `holdfast protect` looks for the components again',
      },
    )
  }
}

const NOTHING_ARCHIVED: ArchiveResult = {
  nodes: [],
  targets: [],
  counts: {
    filesNew: 0,
    filesChanged: 0,
    filesUnmodified: 0,
    dirsNew: 0,
    dirsChanged: 0,
    dirsUnmodified: 0,
    totalFiles: 0,
    totalBytes: 0,
  },
}

/** The component of the innermost target that a path lies in. */
function componentAt(
  path: Buffer,
  targets: readonly { readonly component: ComponentConfig; readonly path: Buffer }[],
): { component?: string } {
  let innermost: (typeof targets)[number] | undefined
  for (const target of targets) {
    if (isInside(path, target.path) && (innermost?.path.length ?? 0) < target.path.length) innermost = target
  }
  return innermost === undefined ? {} : { component: innermost.component.name }
}

function problemFinding({ kind, path: bytes, message }: ArchiveProblem): Finding {
  const path = bytes.toString()
  switch (kind) {
    case 'unreadable':
      return {
        severity: 'error',
        code: 'file-unreadable',
        path,
        message,
        hint: 'Run the backup as a user who may read it, or exclude it',
      }
    case 'vetoed':
      return { severity: 'error', code: 'file-vetoed', path, message, hint: 'Run the backup again' }
    case 'metadata':
      return { severity: 'error', code: 'metadata-not-stored', path, message }
    case 'changed':
      return {
        severity: 'warning',
        code: 'file-changed',
        path,
        message,
        hint: 'What is stored of it may be half of one state and half of the next',
      }
    case 'vanished':
      return { severity: 'note', code: 'file-vanished', path, message }
    case 'socket':
      return { severity: 'note', code: 'socket-skipped', path, message }
  }
}

function secretsOf(captures: readonly ComponentCapture[]): SecretFile[] {
  const byPath = new Map<string, SecretFile>()
  for (const { component, capture } of captures) {
    for (const path of capture.secrets) {
      const key = path.toString('latin1')
      if (!byPath.has(key)) byPath.set(key, { path, component: component.name })
    }
  }
  return [...byPath.values()]
}

function replacementsOf(captures: readonly ComponentCapture[]): ReadonlyMap<string, Replacement> {
  const replacements = new Map<string, Replacement>()
  for (const { capture } of captures) {
    for (const [path, substitute] of capture.substitutes) replacements.set(path, replacement(substitute))
  }
  // After all of those: a secret of one component stays out whatever another one makes of it.
  for (const { capture } of captures) {
    for (const path of capture.secrets) replacements.set(path.toString('latin1'), { kind: 'left-out' })
  }
  return replacements
}

function replacement(substitute: Substitute): Replacement {
  switch (substitute.kind) {
    case 'left-out':
      return { kind: 'left-out' }
    case 'unchanged':
      return { kind: 'unchanged' }
    case 'copy': {
      const { copy, storedAs } = substitute
      return {
        kind: 'copy',
        copy: Buffer.from(copy),
        storedAs: storedAs === undefined ? undefined : Buffer.from(storedAs),
      }
    }
  }
}
