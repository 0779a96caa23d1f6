import { hostname } from 'node:os'
import type { Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import { openSqliteProcess } from '../../application/sources/sqlite-process.ts'
import { ContentStore } from '../../engine/archiver/store-content.ts'
import type { SnapshotId } from '../../engine/format/id.ts'
import { localTimestamp } from '../../engine/format/timestamp.ts'
import { createChunker } from '../../engine/kernels/chunker.ts'
import { currentUser } from '../../engine/os/current-user.ts'
import { BlobWriter } from '../../engine/repository/blob-writer.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import { writeSnapshot } from '../../engine/repository/snapshots.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { appSnapshots, appTag } from '../app-snapshots.ts'
import { snapshotSummary } from '../backup/backup-summary.ts'
import { describeSnapshot } from '../backup/describe-snapshot.ts'
import type { Observer, Outcome } from '../event.ts'
import { snapshotRecord } from '../journal/snapshot-record.ts'
import { SELF } from '../manifest.ts'
import { countFindings } from '../restore/restore-to-target.ts'
import { requireLock } from '../run-in-repository.ts'
import { runOperation } from '../run-operation.ts'
import { PROGRAM_VERSION } from '../version.ts'
import { openWorkFolder } from '../work-folder.ts'
import { type BackupFolder, digestOf, findBackupFolders } from './backup-folder.ts'
import { importFolder } from './import-folder.ts'
import { placeRecoveryProgram } from './place-recovery-program.ts'

export interface ImportOptions {
  readonly directory: string
  readonly dryRun?: boolean
  readonly observe: Observer
  readonly signal: AbortSignal
}

export interface ImportedBackup {
  readonly name: string
  readonly time: Date
  readonly reason: string | undefined
  /**
   * - `imported`, or `new` in a dry run
   * - `present`: an earlier import has it
   * - `same`: another folder of this run has the same content, as copies under `monthly` have
   * - `refused`: nothing in it can be imported
   */
  readonly state: 'imported' | 'new' | 'present' | 'same' | 'refused'
  readonly snapshot: SnapshotId | undefined
  readonly errors: number
}

export interface ImportReport {
  readonly outcome: Extract<Outcome, 'succeeded' | 'incomplete'>
  readonly backups: readonly ImportedBackup[]
  readonly findings: readonly Finding[]
}

/** Tags every imported snapshot, and with the beginning of the digest of its folder says which one it is. */
const IMPORTED = 'imported'
const digestTag = (digest: string) => `import:${digest.slice(0, 20)}`

/**
 * Makes snapshots of the folders of a hand-made procedure, with the dates, reasons and servers that they name. A folder that
 * was imported before is passed over, whatever it is called now. `incomplete` where part of one is missing or damaged.
 */
export async function importFolders(
  config: Config,
  access: RepositoryAccess,
  options: ImportOptions,
): Promise<ImportReport> {
  const { directory, dryRun = false, observe, signal } = options
  return runOperation(
    { operation: 'import', subject: directory, observe, signal },
    async () => {
      if (!dryRun) requireLock(access, 'import')
      return withRepository(access, { lock: dryRun ? 'none' : 'shared', signal }, (repository, lockSignal) =>
        new Import(config, { ...options, signal: lockSignal ?? signal }).run(repository),
      )
    },
    ({ backups, findings }) => ({
      dry_run: dryRun,
      backups: backups.map(({ name, time, reason, state, snapshot, errors }) => ({
        name,
        time: time.toISOString(),
        reason: reason ?? null,
        state,
        snapshot_id: snapshot ?? null,
        errors,
      })),
      ...countFindings(findings),
    }),
  )
}

class Import {
  readonly #config: Config
  readonly #options: ImportOptions
  readonly #findings: Finding[] = []

  constructor(config: Config, options: ImportOptions) {
    this.#config = config
    this.#options = options
  }

  async run(plain: Repository): Promise<ImportReport> {
    const { directory, dryRun, observe, signal } = this.#options
    const { folders, findings } = await findBackupFolders(directory)
    for (const finding of findings) this.#find(finding)
    if (folders.length === 0) {
      const message = `${directory} holds no folder called YYYYMMDD or manual_YYYYMMDD_HHMMSS`
      this.#find({ severity: 'error', code: 'import-nothing', path: directory, message })
    }
    const known = new Map<string, SnapshotId>()
    for (const { id, snapshot } of await appSnapshots(plain, this.#config.app, signal)) {
      for (const tag of snapshot.tags) known.set(tag, id)
    }
    const seen = new Set<string>()
    const backups: ImportedBackup[] = []
    for (const [index, folder] of folders.entries()) {
      signal.throwIfAborted()
      observe({ type: 'progress', phase: 'import', done: { files: index, bytes: 0 }, current: folder.name })
      const before = this.#findings.length
      for (const finding of folder.findings) this.#find(finding)
      const tag = digestTag(await digestOf(folder, signal))
      const base = { name: folder.name, time: folder.time, reason: folder.reason }
      const errors = () => this.#findings.slice(before).filter(({ severity }) => severity === 'error').length
      const present = known.get(tag)
      let result: Pick<ImportedBackup, 'state' | 'snapshot'>
      if (folder.findings.some(({ severity }) => severity === 'error'))
        result = { state: 'refused', snapshot: undefined }
      else if (seen.has(tag)) result = { state: 'same', snapshot: undefined }
      else if (present !== undefined) result = { state: 'present', snapshot: present }
      else if (dryRun) result = { state: 'new', snapshot: undefined }
      else {
        observe({ type: 'phase', phase: 'import', component: folder.name })
        const snapshot = await this.#import(plain, folder, tag)
        result = { state: snapshot === undefined ? 'refused' : 'imported', snapshot }
      }
      seen.add(tag)
      backups.push({ ...base, ...result, errors: errors() })
    }
    if (!dryRun) for (const finding of await placeRecoveryProgram(plain.storage, signal)) this.#find(finding)
    return {
      outcome: this.#findings.some(({ severity }) => severity === 'error') ? 'incomplete' : 'succeeded',
      backups,
      findings: this.#findings,
    }
  }

  #find(finding: Finding): void {
    this.#findings.push(finding)
    this.#options.observe({ type: 'finding', finding })
  }

  async #import(plain: Repository, folder: BackupFolder, tag: string): Promise<SnapshotId | undefined> {
    const { signal } = this.#options
    const config = this.#config
    // Anew for each: what the one before stored is not stored again.
    const repository = await loadIndex(plain, signal)
    await using work = await openWorkFolder(config.workDirectory, 'import')
    await using sqlite = openSqliteProcess()
    await using writer = new BlobWriter(repository, { signal })
    const store = new ContentStore(writer, createChunker(repository.config.polynomial))
    const time = localTimestamp(BigInt(folder.time.getTime()) * 1_000_000n)
    const own: Finding[] = folder.findings.filter(({ severity }) => severity !== 'note')
    const onFinding = (finding: Finding) => {
      own.push(finding)
      this.#find(finding)
    }
    const context = { config, sink: writer, store, workDirectory: work.path, sqlite, time, onFinding, signal }
    const { captures, archived, seals } = await importFolder(folder, context)
    if (archived.nodes.length === 0 && seals.archives.length === 0) {
      const message = `${folder.name}: nothing in it can be imported`
      this.#find({ severity: 'error', code: 'import-nothing', path: folder.path, message })
      return undefined
    }
    const { username, uid, gid } = currentUser()
    const host = folder.server ?? hostname()
    const { tree, manifest } = await describeSnapshot(
      {
        config,
        time,
        reason: folder.reason ?? `imported from ${folder.path}`,
        only: undefined,
        captures,
        archived,
        seals,
        journal: undefined,
        findings: own,
        host,
        user: folder.by,
      },
      { sink: writer, store, onFinding, signal },
    )
    await writer.finish()
    const paths = archived.targets.map(({ path }) => path.toString())
    const snapshot = {
      time,
      tree,
      paths: paths.length > 0 ? paths : [`/${SELF}`],
      hostname: host,
      username,
      uid,
      gid,
      excludes: [],
      tags: [appTag(config.app), IMPORTED, tag],
      programVersion: PROGRAM_VERSION,
      summary: snapshotSummary(time, archived.counts, writer.totals),
    }
    const id = await writeSnapshot(repository, snapshot, signal)
    this.#options.observe({
      type: 'snapshot',
      news: { kind: 'saved', record: snapshotRecord({ id, snapshot }, manifest) },
    })
    return id
  }
}
