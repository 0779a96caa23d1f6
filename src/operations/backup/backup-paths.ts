import { hash } from 'node:crypto'
import { hostname } from 'node:os'
import { posix } from 'node:path'
import { createExclusion } from '../../application/config/exclude.ts'
import type { Finding } from '../../application/finding.ts'
import { isWorthThreads } from '../../engine/archiver/adaptive-file-store.ts'
import { type ArchiveProblem, archive } from '../../engine/archiver/archive.ts'
import {
  type ArchiveIntoOptions,
  archiveInto,
  startStoreThreads,
  storeAhead,
} from '../../engine/archiver/archive-into.ts'
import { discardingSink } from '../../engine/archiver/blob-sink.ts'
import { KnownFolders, type KnownFoldersKey, parseKnownFolders } from '../../engine/archiver/known-folders.ts'
import { LookAhead } from '../../engine/archiver/look-ahead.ts'
import { EngineError } from '../../engine/error.ts'
import type { SnapshotId } from '../../engine/format/id.ts'
import type { SnapshotSummary } from '../../engine/format/snapshot.ts'
import { now, type Timestamp } from '../../engine/format/timestamp.ts'
import { encodeTree } from '../../engine/format/tree.ts'
import { createChunker } from '../../engine/kernels/chunker.ts'
import { currentUser } from '../../engine/os/current-user.ts'
import { BlobWriter } from '../../engine/repository/blob-writer.ts'
import { type LoadedRepository, loadIndex } from '../../engine/repository/load-index.ts'
import { readNoteAs, writeNote } from '../../engine/repository/notes.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import {
  byTime,
  findSnapshot,
  readSnapshots,
  type StoredSnapshot,
  writeSnapshot,
} from '../../engine/repository/snapshots.ts'
import { prepareTreeReading, TreeReader } from '../../engine/repository/tree-reader.ts'
import { type RepositoryAccess, type RepositoryCache, withRepository } from '../access.ts'
import { OperationError } from '../error.ts'
import type { Observer, Outcome } from '../event.ts'
import { placeRecoveryProgram } from '../interop/place-recovery-program.ts'
import { runOperation } from '../run-operation.ts'
import { PROGRAM_VERSION } from '../version.ts'
import { backupSummary, snapshotSummary } from './backup-summary.ts'
import { knownChunks, noteChunks } from './chunk-notes.ts'

/** Bytes of a changed file that threads begin to store before the archive comes to it. */
const LARGE = 1024 * 1024

export interface BackupPathsOptions {
  /** Files and folders, absolute or relative to the working folder; where they lie in the snapshot follows restic. */
  readonly paths: readonly string[]
  /** Patterns in the syntax of `.gitignore`, relative to each path. */
  readonly exclude?: readonly string[]
  readonly tags?: readonly string[]
  readonly host?: string | undefined
  /** ID or its beginning, instead of the newest snapshot of the same host and paths. */
  readonly parent?: string | undefined
  readonly force?: boolean
  /** Find out what would be stored, and store nothing. */
  readonly dryRun?: boolean
  readonly time?: Timestamp | undefined
  readonly observe: Observer
  readonly signal: AbortSignal
}

export interface BackupPathsReport {
  readonly outcome: Extract<Outcome, 'succeeded' | 'incomplete'>
  /** Undefined after a dry run. */
  readonly snapshot: SnapshotId | undefined
  readonly parent: SnapshotId | undefined
  readonly findings: readonly Finding[]
  readonly summary: SnapshotSummary
  readonly milliseconds: number
}

/**
 * Backs up paths as restic's `backup` does: no application, no config, nothing sealed. Rejects with `NOTHING` when none
 * of the paths can be read.
 */
export async function backupPaths(access: RepositoryAccess, options: BackupPathsOptions): Promise<BackupPathsReport> {
  return runOperation(
    { operation: 'backup', subject: options.paths.join(', '), observe: options.observe, signal: options.signal },
    async () => {
      const select = selectionOf(options)
      const lookAhead = new LookAhead(select)
      // While the key is derived, which takes another thread a while, this one looks at what will be archived.
      const look = () => {
        void lookAhead.run(options.paths.map((path) => Buffer.from(path)))
        // And then gets ready for what comes next.
        void lookAhead.allSeen.then(prepareTreeReading)
      }
      if (access.opening) {
        look()
        void access.opening.derived.then(() => lookAhead.pause())
      }
      const password = async () => {
        const bytes = await access.password()
        look()
        return bytes
      }
      try {
        return await withRepository(
          { ...access, password },
          { lock: options.dryRun ? 'none' : 'shared', early: true, signal: options.signal },
          (repository, signal) =>
            backupInto(repository, {
              ...options,
              signal: signal ?? options.signal,
              select,
              lookAhead,
              cache: access.cache,
            }),
        )
      } finally {
        lookAhead.stop()
      }
    },
    backupSummary,
  )
}

interface BackupIntoOptions extends BackupPathsOptions {
  readonly select: ArchiveIntoOptions['select']
  readonly lookAhead: LookAhead
  readonly cache: RepositoryCache | undefined
}

async function backupInto(plain: Repository, options: BackupIntoOptions): Promise<BackupPathsReport> {
  const { signal, observe, select, lookAhead, cache } = options
  const begun = performance.now()
  const time = options.time ?? now()
  const host = options.host ?? hostname()
  const paths = options.paths.map((path) => posix.resolve(path))
  const parent = await parentOf(plain, { ...options, time, host, paths })
  // Before anything else: while they start, there is no other work for their processors.
  const since = parent === undefined ? Number.NEGATIVE_INFINITY : Number(parent.snapshot.time.ns / 1_000_000_000n)
  await using threads = options.dryRun
    ? undefined
    : startStoreThreads(lookAhead.changedSince(since, isWorthThreads), { oneLess: parent !== undefined })
  const chunksKnown = options.dryRun ? undefined : knownChunks(plain, cache, options)
  const repository = await loadIndex(plain, signal)
  const chunks = await chunksKnown
  await using writer = options.dryRun ? undefined : new BlobWriter(repository, { signal })
  await using ahead = writer && threads && storeAhead(repository, writer, threads, { chunks, signal })
  const storeChanged = () => {
    if (parent !== undefined) ahead?.begin(lookAhead.changedFiles(since, LARGE))
  }
  storeChanged()
  // Until here each step would have waited for a slice of it.
  lookAhead.goOn()
  const sink = writer ?? discardingSink(repository.index)
  const findings: Finding[] = []
  const find = (finding: Finding) => {
    findings.push(finding)
    observe({ type: 'finding', finding })
  }
  const request = requestOf({ ...options, host, paths })
  const known = parent && cache && (await knownFolders(repository, { snapshot: parent.id, request }, cache))
  // Only what was looked at to the end can be known.
  if (known !== undefined && !signal.aborted) {
    signal.addEventListener('abort', () => lookAhead.stop(), { once: true })
    await lookAhead.allSeen
    storeChanged()
  }
  lookAhead.stop()
  const noted = new KnownFolders(Math.floor(lookAhead.begun / 1000))
  observe({ type: 'phase', phase: 'archive' })
  const targets = options.paths.map((path) => Buffer.from(path))
  const trees = new TreeReader(repository, signal)
  const archiveOptions: ArchiveIntoOptions = {
    parent: parent && { tree: parent.snapshot.tree, readTree: (id) => trees.bytes(id) },
    select,
    lookAhead,
    folders: cache && { known, noted },
    ahead,
    chunks,
    signal,
    onProblem: (problem) => find(findingOf(problem)),
    onProgress: (done, path) => observe({ type: 'progress', phase: 'archive', done, current: path.toString() }),
  }
  const archived = writer
    ? await archiveInto(repository, writer, targets, archiveOptions)
    : await archive(targets, { ...archiveOptions, sink, chunker: createChunker(repository.config.polynomial) })
  if (archived.nodes.length === 0) {
    throw new OperationError('NOTHING', `Nothing was backed up: ${findings[0]?.message ?? 'the paths hold nothing'}`, {
      facts: { paths },
      hint: 'Name at least one file or folder that exists and can be read',
    })
  }
  const { id: tree } = await sink.save('tree', encodeTree(archived.nodes))
  const { username, uid, gid } = currentUser()
  const { counts } = archived
  observe({ type: 'phase', phase: 'publish' })
  await writer?.finish()
  const { totals } = sink
  const summary: SnapshotSummary = snapshotSummary(time, counts, totals)
  const snapshot = writer
    ? await writeSnapshot(
        repository,
        {
          time,
          ...(parent ? { parent: parent.id } : {}),
          tree,
          paths,
          hostname: host,
          username,
          uid,
          gid,
          excludes: [...(options.exclude ?? [])],
          tags: [...(options.tags ?? [])],
          programVersion: PROGRAM_VERSION,
          summary,
        },
        signal,
      )
    : undefined
  if (writer && snapshot && cache) {
    const note = noted.encode({ snapshot, request }, [...repository.indexFiles, ...writer.indexFiles])
    await writeNote(repository, request.toString('hex'), note, cache)
    await noteChunks(repository, chunks, cache)
  }
  if (writer) for (const finding of await placeRecoveryProgram(plain.storage, signal)) find(finding)
  return {
    outcome: findings.some(({ severity }) => severity === 'error') ? 'incomplete' : 'succeeded',
    snapshot,
    parent: parent?.id,
    findings,
    summary,
    milliseconds: performance.now() - begun,
  }
}

/** All that decides which entries are archived, beside what they are themselves. */
function requestOf(options: Pick<BackupPathsOptions, 'paths' | 'exclude'> & { readonly host: string }): Buffer {
  const { paths, exclude = [], host } = options
  return hash('sha256', JSON.stringify([PROGRAM_VERSION, host, process.cwd(), paths, exclude]), 'buffer')
}

/** What was noted of the folders of the parent snapshot; undefined where nothing was, or nothing that holds still. */
async function knownFolders(
  repository: LoadedRepository,
  key: KnownFoldersKey,
  cache: RepositoryCache,
): Promise<KnownFolders | undefined> {
  return readNoteAs(repository, key.request.toString('hex'), cache, (note) =>
    parseKnownFolders(note, key, new Set(repository.indexFiles)),
  )
}

/** Paths are as they were given; patterns are about where files really lie. */
function selectionOf({ exclude = [] }: BackupPathsOptions): ArchiveIntoOptions['select'] {
  if (exclude.length === 0) return undefined
  const excluded = createExclusion(exclude, '/')
  return (path, stats) => !excluded(absolute(path), stats.isDirectory())
}

function absolute(path: Buffer): Buffer {
  const folder = Buffer.from(process.cwd()).toString('latin1')
  return Buffer.from(posix.resolve(folder, path.toString('latin1')), 'latin1')
}

/** Format reference 8.3: the newest that is not newer than this backup, of the same host, and names at least these paths. */
async function parentOf(
  repository: Repository,
  options: Pick<BackupPathsOptions, 'force' | 'parent' | 'signal'> & {
    readonly time: Timestamp
    readonly host: string
    readonly paths: readonly string[]
  },
): Promise<StoredSnapshot | undefined> {
  if (options.force) return undefined
  if (options.parent !== undefined) return findSnapshot(repository, { name: options.parent }, options.signal)
  let newest: StoredSnapshot | undefined
  for await (const result of readSnapshots(repository, options.signal)) {
    if ('error' in result) continue // costs at most time, since what it might have spared is read again; `check` reports it
    const { snapshot } = result
    if (snapshot.hostname !== options.host || snapshot.time.ns > options.time.ns) continue
    if (!options.paths.every((path) => snapshot.paths.includes(path))) continue
    if (!newest || byTime(newest, result) < 0) newest = result
  }
  return newest
}

function findingOf({ kind, path: bytes, message, cause }: ArchiveProblem): Finding {
  const path = bytes.toString()
  const isAbsent = cause instanceof EngineError && cause.facts.errno === 'ENOENT'
  switch (kind) {
    case 'unreadable':
      return {
        severity: 'error',
        code: 'file-unreadable',
        path,
        message,
        hint: isAbsent
          ? 'Correct the path, or leave it out'
          : 'Run the backup as a user who may read it, or exclude it',
      }
    case 'vetoed':
      return { severity: 'error', code: 'file-vetoed', path, message }
    case 'metadata':
      return { severity: 'error', code: 'metadata-not-stored', path, message }
    case 'changed':
      return { severity: 'warning', code: 'file-changed', path, message }
    case 'vanished':
      return { severity: 'note', code: 'file-vanished', path, message }
    case 'socket':
      return { severity: 'note', code: 'socket-skipped', path, message }
  }
}
