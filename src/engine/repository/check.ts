import { hashId, type PackId, type SnapshotId } from '../format/id.ts'
import { parseKeyFile } from '../format/key-file.ts'
import { columnsToPacks, type IndexColumns, TREE } from '../format/scan-index-file.ts'
import { pathOf } from '../storage/layout.ts'
import { BlobIndex } from './blob-index.ts'
import { checkData, type PackThreads, type PackToRead } from './check-data.ts'
import type { CheckFinding, Report } from './check-finding.ts'
import { checkTrees, type SnapshotRoot } from './check-trees.ts'
import { isFileProblem } from './file-problem.ts'
import { readIndexContents } from './load-index.ts'
import type { Repository } from './repository.ts'
import { sameBlobs } from './same-blobs.ts'
import { readSnapshots } from './snapshots.ts'

export interface CheckReport {
  /** All that could be read of it. */
  readonly index: BlobIndex
  readonly findings: readonly CheckFinding[]
  readonly errors: number
  readonly snapshots: number
  /** Those that could be read. */
  readonly readable: readonly SnapshotId[]
  readonly packs: number
  readonly blobs: number
  /** Bytes of packs that were read again; 0 without `readData`. */
  readonly bytesRead: number
}

export interface CheckProgress {
  readonly files: number
  readonly bytes: number
}

export interface CheckOptions {
  /** Read every pack, or those that are chosen, and hold every byte against hashes and authentication codes. */
  readonly readData?: boolean | ((packs: readonly PackToRead[]) => readonly PackToRead[])
  /** False leaves the folders out, and with them whether snapshots are complete. */
  readonly trees?: boolean
  /** Check only what these snapshots hold, beside keys, index and packs. One that is not there is damage. */
  readonly snapshots?: readonly SnapshotId[]
  /** To read packs with, see `startPackThreads`, or how many; by default one for each processor where there is much to read. 0: none. */
  readonly threads?: PackThreads | number | undefined
  readonly onFinding?: (finding: CheckFinding) => void
  /** A pack was read to its end. */
  readonly onPackRead?: (pack: PackId, sound: boolean) => void
  readonly onProgress?: (phase: 'structure' | 'trees' | 'data', done: CheckProgress, total?: CheckProgress) => void
  readonly signal?: AbortSignal | undefined
}

/**
 * Checks a repository as restic's `check` does (format reference 12), and what restic leaves out: key files, names and
 * order of nodes, sizes against content, and uncompressed lengths. The caller holds the lock. Damage is a finding, never
 * an exception, and so is a file that the storage does not hand out; rejects only when interrupted, or when the storage
 * cannot even say what it holds.
 */
export async function checkRepository(repository: Repository, options: CheckOptions = {}): Promise<CheckReport> {
  const { signal, onFinding, onProgress } = options
  const findings: CheckFinding[] = []
  const report: Report = (severity, code, message, facts) => {
    const finding = { severity, code, message, facts }
    findings.push(finding)
    onFinding?.(finding)
  }
  await checkKeys(repository, report, signal)
  // Snapshots before the index, the index before the packs: a backup that goes on meanwhile publishes in the opposite
  // order (format reference 11.1), so what it has not finished is not taken for damage.
  const roots = await checkSnapshots(repository, options.snapshots, report, signal)
  const index = await checkIndex(repository, report, signal)
  const packs = await checkPacks(repository, index, report, signal)
  onProgress?.('structure', { files: index.packCount, bytes: 0 })
  const indexed = { ...repository, index }
  const { readData = false, onPackRead, threads } = options
  const chosen = typeof readData === 'function' ? readData(packs) : readData ? packs : []
  // What is found in packs comes after what is found in trees, though both are read at the same time.
  const later: Parameters<Report>[] = []
  let treesAreDone = options.trees === false
  const ended = new AbortController()
  const both = signal ? AbortSignal.any([signal, ended.signal]) : ended.signal
  const reportLater: Report = (...finding) => (treesAreDone ? report(...finding) : later.push(finding))
  const walk = async () => {
    if (treesAreDone) return
    await checkTrees(indexed, roots, report, { signal: both, onFolder: (folders) => onProgress?.('trees', folders) })
    treesAreDone = true
    for (const finding of later.splice(0)) report(...finding)
  }
  const read = () =>
    checkData(indexed, chosen, reportLater, {
      threads,
      signal: both,
      onPack: (done, total, pack, sound) => {
        onPackRead?.(pack, sound)
        onProgress?.('data', done, total)
      },
    })
  const [, bytesRead] = await together(ended, walk, read)
  return {
    index,
    findings,
    errors: findings.filter(({ severity }) => severity === 'error').length,
    snapshots: roots.length,
    readable: roots.map(({ snapshot }) => snapshot),
    packs: index.packCount,
    blobs: index.blobCount,
    bytesRead,
  }
}

/** Runs both; the failure of one aborts the other, and is thrown when both have come to their end. */
async function together<A, B>(ended: AbortController, a: () => Promise<A>, b: () => Promise<B>): Promise<[A, B]> {
  let failure: { readonly error: unknown } | undefined
  const guarded = async <R>(task: () => Promise<R>): Promise<R | undefined> => {
    try {
      return await task()
    } catch (error) {
      failure ??= { error }
      ended.abort(error)
      return undefined
    }
  }
  const results = await Promise.all([guarded(a), guarded(b)])
  if (failure) throw failure.error
  return results as [A, B]
}

async function checkKeys(repository: Repository, report: Report, signal: AbortSignal | undefined): Promise<void> {
  for await (const { name } of repository.storage.list('key', signal)) {
    const file = pathOf(name)
    try {
      const bytes = await repository.storage.read(name, undefined, signal)
      if (hashId(bytes) === name.id) parseKeyFile(bytes)
      else report('error', 'key-damaged', `${file} was altered: its content does not match its name`, { file })
    } catch (error) {
      if (!isFileProblem(error)) throw error
      report('error', 'key-damaged', `${file} cannot be used: ${error.message}`, { file })
    }
  }
}

async function checkSnapshots(
  repository: Repository,
  only: readonly SnapshotId[] | undefined,
  report: Report,
  signal: AbortSignal | undefined,
): Promise<SnapshotRoot[]> {
  const roots: SnapshotRoot[] = []
  for await (const result of readSnapshots(repository, signal, only)) {
    const { id } = result
    if ('snapshot' in result) roots.push({ snapshot: id, tree: result.snapshot.tree })
    else {
      const facts = { snapshot: id, file: pathOf({ type: 'snapshot', id }) }
      report('error', 'snapshot-damaged', result.error.message, facts)
    }
  }
  return roots
}

async function checkIndex(repository: Repository, report: Report, signal: AbortSignal | undefined): Promise<BlobIndex> {
  const index = new BlobIndex()
  const listedIn = new Map<PackId, string>()
  for await (const result of readIndexContents(repository, signal)) {
    const file = pathOf({ type: 'index', id: result.id })
    if ('error' in result) {
      report('error', 'index-damaged', result.error.message, { file })
      continue
    }
    const isNew = (id: PackId, isMixed: boolean) => {
      listedIn.set(id, file)
      if (!isMixed) return
      const message = `Pack ${id} holds both data and trees; \`prune\` separates them`
      report('hint', 'pack-mixed', message, { pack: id, file })
    }
    if ('columns' in result && namesNewPacks(result.columns, index)) {
      const { packs, count, kinds } = result.columns
      for (const [i, { id, start }] of packs.entries()) {
        const end = packs[i + 1]?.start ?? count
        let trees = 0
        for (let blob = start; blob < end; blob++) trees += kinds[blob]! & TREE
        isNew(id, trees > 0 && trees < end - start)
      }
      index.addColumns(result.columns)
      continue
    }
    for (const { id, blobs } of 'columns' in result ? columnsToPacks(result.columns) : result.packs) {
      const known = index.packBlobs(id)
      if (known === undefined) isNew(id, new Set(blobs.map(({ type }) => type)).size > 1)
      else reportKnown(id, sameBlobs(known, blobs), listedIn.get(id)!, file, report)
      index.addPack(id, blobs)
    }
  }
  return index
}

/** Only packs that the index does not know, each once. */
function namesNewPacks({ packs }: IndexColumns, index: BlobIndex): boolean {
  const ids = new Set(packs.map(({ id }) => id))
  return ids.size === packs.length && packs.every(({ id }) => !index.hasPack(id))
}

function reportKnown(id: PackId, isSame: boolean, first: string, file: string, report: Report): void {
  const facts = { pack: id, file }
  if (isSame) {
    const message = `Pack ${id} is listed in ${first} and again in ${file}; \`repair index\` removes one`
    report('hint', 'index-duplicate', message, facts)
  } else {
    const message = `Pack ${id} is listed with different blobs in ${first} and in ${file}`
    report('error', 'index-contradicts', message, facts)
  }
}

/** Resolves with the packs that are there and in the index. */
async function checkPacks(
  repository: Repository,
  index: BlobIndex,
  report: Report,
  signal: AbortSignal | undefined,
): Promise<PackToRead[]> {
  const sizes = new Map<string, number>()
  for await (const { name, size } of repository.storage.list('pack', signal)) sizes.set(name.id, size)
  const present: PackToRead[] = []
  for (const { id, blobs, bytes: expected } of index.packSizes()) {
    if (blobs === 0) continue // such an entry says no more than no entry
    const size = sizes.get(id)
    sizes.delete(id)
    const facts = factsOf(id)
    if (size === undefined) {
      const message = `Pack ${id} is in the index but not in the storage, and with it the ${count(blobs)} listed for it`
      report('error', 'pack-missing', message, { ...facts, blobs })
      continue
    }
    if (size !== expected) {
      const message = `Pack ${id} has ${size} bytes, its index entry makes ${expected}`
      report('error', 'pack-size', message, { ...facts, size, expected })
    }
    present.push({ id, size })
  }
  for (const id of sizes.keys() as Iterable<PackId>) {
    const message = `Pack ${id} is in no index: left by an interrupted backup, or an index file is missing`
    report('hint', 'pack-unindexed', message, factsOf(id))
  }
  return present
}

function factsOf(pack: PackId) {
  return { pack, file: pathOf({ type: 'pack', id: pack }) }
}

function count(blobs: number): string {
  return blobs === 1 ? '1 blob' : `${blobs} blobs`
}
