import { closeSync, ftruncateSync, linkSync, lstatSync, mkdirSync, type Stats, symlinkSync, unlinkSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Semaphore } from '../concurrency.ts'
import { EngineError, type EngineErrorCode } from '../error.ts'
import type { BlobId, PackId } from '../format/id.ts'
import { SEAL_OVERHEAD } from '../format/master-key.ts'
import { nameDefect } from '../format/node-name.ts'
import { plaintextLength } from '../format/pack-header.ts'
import { quoteName } from '../format/quote.ts'
import type { TreeNode } from '../format/tree-node.ts'
import type { OwnerOptions, RenamedOwners } from '../os/accounts.ts'
import { describeErrno, errnoOf } from '../os/errno.ts'
import { makeDevice, makeFifo } from '../os/nodes.ts'
import { isFileProblem } from '../repository/file-problem.ts'
import { readBlob } from '../repository/read-blob.ts'
import type { IndexedRepository } from '../repository/repository.ts'
import { TreeReader } from '../repository/tree-reader.ts'
import { localPath } from '../storage/local.ts'
import { applyMetadata, entryAt, metadataOf } from './apply-metadata.ts'
import { BlobFileWriter, reasonOf } from './blob-file-writer.ts'
import { contentDefect, keepContent } from './compare-content.ts'
import { nextPartNumber, PART_TOKEN, removeLeftParts } from './part-name.ts'
import { type PlannedJob, planWrites } from './plan-writes.ts'
import { PlannedFile, type RestoreItem } from './planned-file.ts'
import { RestoreThreads } from './restore-threads.ts'
import { isFull, systemErrno } from './system-errno.ts'
import { createTemporary, obstructed, publish, reopenTemporary, temporaryBeside } from './temporary-file.ts'
import type { FileFailure, WriteResult } from './write-job.ts'
import { writeSparsely } from './write-sparsely.ts'

export interface RestoreProblem {
  readonly path: Buffer
  /**
   * `content`: could not be read from the repository; `unwritable`: the system refuses to write it; `metadata`: is there,
   * but not with all of its metadata; `hostile`: no honest program writes such a node; `obstructed`: something else
   * stands in its place; `verify`: what was written does not read back.
   */
  readonly kind: 'content' | 'unwritable' | 'metadata' | 'hostile' | 'obstructed' | 'verify'
  /** A whole sentence, the path included. */
  readonly message: string
  readonly cause?: unknown
}

export type Overwrite = 'always' | 'if-changed' | 'if-newer' | 'never'

export interface RestoreOptions {
  /**
   * `whole`: the entry and all below it; `folder`: a folder on the way to something wanted, made when absent and left
   * alone when present; `skip`: not wanted. By default everything.
   */
  readonly select?: (destination: Buffer, node: TreeNode) => 'whole' | 'folder' | 'skip'
  /** Owners by number even where an account of the stored name exists. */
  readonly numericOwner?: boolean
  /** Other accounts than the stored ones own the entries. */
  readonly renamedOwners?: RenamedOwners | undefined
  /**
   * Compare what stands in the place of a file before it is restored: what is right already is not read from the repository, and a
   * file that is right as a whole is not written. Without it every file is written anew.
   */
  readonly delta?: boolean
  /**
   * Which files and links that are there may be replaced: all; `if-changed`: all, taking those for unchanged that have the size and
   * the modification time of the node (implies `delta`); `if-newer`: those that are older than the node; `never`: none.
   */
  readonly overwrite?: Overwrite
  /**
   * To restore with, see `startRestoreThreads`, which the restore ends; or how many to start: by default one for each processor where
   * there is much to restore, otherwise none. 0: none.
   */
  readonly threads?: RestoreThreads | number | undefined
  /** What the threads run, if it is not `restore-worker-main.ts`. */
  readonly program?: URL | undefined
  /** Read every file again from disk and hold it against the hashes of its blobs. */
  readonly verify?: boolean
  readonly onProblem?: (problem: RestoreProblem) => void
  readonly onProgress?: (
    phase: 'restore' | 'verify',
    done: { readonly files: number; readonly bytes: number },
    path: Buffer,
  ) => void
  readonly signal?: AbortSignal | undefined
}

export interface RestoreResult {
  /** Everything but folders; further links to a file count, too. */
  readonly files: number
  readonly folders: number
  readonly bytes: number
  /** Of the files: those that `overwrite` kept, and those that `delta` found to be right already. */
  readonly skippedFiles: number
  /** Further links to a file that was verified do not count. */
  readonly verifiedFiles: number
  readonly problems: number
}

/** A storage that fails this often without one success in between is gone, rather than bad in one place. */
const STORAGE_FAILURES = 3

/** The event loop gets a turn at least this often, for signals and progress. */
const TURN_MILLISECONDS = 25

/**
 * Files are restored in windows of so many, or so many blobs: what memory holds of a tree, however large. A blob that files of two
 * windows share is read twice, everything else once.
 */
const WINDOW_FILES = 512
const WINDOW_BLOBS = 32 * 1024

/** Starting threads takes as long as restoring this much without them. */
const FILES_WITHOUT_THREADS = 500
const BYTES_WITHOUT_THREADS = 16 * 1024 * 1024

/** Jobs under way at once where the bytes of packs come through the storage. */
const READERS = 3

/**
 * Brings entries back, on all processors where there is much to do. Packs are read in the order of their bytes, and each blob once,
 * whatever files it belongs to, so files appear in no particular order. Every file appears under its name only when it is complete: written beside it as
 * `.holdfast-….part`, given its metadata, then renamed. What stood there before is replaced by files; folders are
 * merged into. What a restore that was killed left half-written in them is removed. Nothing is synchronized: a caller that needs it to survive a power cut does so when all is there.
 *
 * Safe against a hostile repository: names are checked before a path is used, names that a folder lists twice are
 * refused, nothing is written through a symbolic link below a destination, and existing files are replaced rather than
 * opened, so that their other links keep their content. A small repository can hold a huge tree: it ends at the length
 * of a path or at the end of the disk, and memory does not grow with it.
 * Not safe against another local user who can write to the target while this runs.
 *
 * Damage of one entry is a problem of that entry: it is left out, never restored with altered content. Rejects with
 * `NO_SPACE` when the disk is full, with `STORAGE` when the repository's storage is lost, and with the reason of the
 * signal; what is complete by then stays.
 */
export async function restore(
  repository: IndexedRepository,
  items: readonly RestoreItem[],
  options: RestoreOptions = {},
): Promise<RestoreResult> {
  return new Restore(repository, options).run(items)
}

/** A further link to a file. */
interface Link {
  readonly item: RestoreItem
  readonly first: PlannedFile
}

/** What is planned together. */
interface Window {
  readonly files: PlannedFile[]
  /** Further links to files, which may be of an earlier window. */
  readonly links: Link[]
  /** Those whose entries are all in this window or an earlier one; inner ones first. */
  readonly folders: RestoreItem[]
  blobs: number
}

class Restore {
  readonly #repository: IndexedRepository
  readonly #options: RestoreOptions
  readonly #owners: OwnerOptions
  readonly #trees: TreeReader
  /** The first of each file with several links, by device and inode. */
  readonly #linked = new Map<string, PlannedFile>()
  #window = emptyWindow()
  /** Windows that are not finished. */
  readonly #underWay = new Set<Window>()
  /** The window before, and with it all before that. */
  #previous: Promise<void> = Promise.resolve()
  readonly #inline
  #threads: RestoreThreads | undefined
  #triesThreads: boolean
  #jobs = new Semaphore(1)
  /** What ended the restore, while there may still be something under way. */
  #failure: { readonly error: unknown } | undefined
  #planned = { files: 0, bytes: 0 }
  #count = { files: 0, folders: 0, bytes: 0 }
  #skipped = 0
  #verified = { files: 0, bytes: 0 }
  #problems = 0
  #storageFailures = 0
  #lastTurn = performance.now()

  constructor(repository: IndexedRepository, options: RestoreOptions) {
    this.#repository = repository
    this.#options = options
    this.#owners = { numeric: options.numericOwner ?? false, renamed: options.renamedOwners }
    this.#trees = new TreeReader(repository, options.signal)
    this.#triesThreads = options.threads !== 0
    if (typeof options.threads === 'object') this.#use(options.threads)
    let writer: BlobFileWriter | undefined
    this.#inline = () => (writer ??= new BlobFileWriter(repository.masterKey))
  }

  async run(items: readonly RestoreItem[]): Promise<RestoreResult> {
    this.#options.signal?.throwIfAborted()
    removeLeftPartsBeside(items)
    try {
      await this.#entries(items)
      await this.#turnWindow()
      await this.#previous
    } catch (error) {
      this.#fail(error)
    } finally {
      await this.#threads?.[Symbol.asyncDispose]()
      await this.#previous.catch((error: unknown) => this.#fail(error))
      // Only now does nobody write to them any more.
      for (const { files } of this.#underWay) {
        for (const file of files) if (file.isTouched && file.state === 'planned') this.#discard(this.#temporaryOf(file))
      }
    }
    this.#throwIfFailed()
    return {
      ...this.#count,
      skippedFiles: this.#skipped,
      verifiedFiles: this.#verified.files,
      problems: this.#problems,
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= { error }
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error
  }

  async #entries(items: readonly RestoreItem[]): Promise<void> {
    const twice = repeated(items.map(({ destination }) => destination.toString('latin1')))
    for (const path of twice) {
      // Which of them is meant? A link and then a folder of one name is how archives are made to write outside.
      const destination = Buffer.from(path, 'latin1')
      this.#problem(destination, 'hostile', `Cannot restore ${destination}: its folder lists the name more than once`)
    }
    for (const item of items) {
      if (twice.size === 0 || !twice.has(item.destination.toString('latin1'))) await this.#entry(item)
    }
  }

  async #entry(item: RestoreItem): Promise<void> {
    const { node, destination } = item
    if (this.#isTurn()) await this.#turn()
    const defect = nameDefect(node.name)
    if (defect) {
      const folder = parentOf(destination, node.name)
      const message = `Cannot restore an entry of ${folder}, "${quoteName(node.name)}": ${defect}`
      return this.#problem(folder, 'hostile', message)
    }
    const wanted = this.#options.select?.(destination, node) ?? 'whole'
    if (wanted === 'skip') return
    switch (node.type) {
      case 'dir':
        return this.#folder(item, wanted)
      case 'file':
        await this.#attempt(destination, () => this.#file(item, this.#window))
        if (this.#isWindowFull()) await this.#turnWindow()
        return
      case 'socket':
        return // a socket is made by the program that listens on it
      default:
        await this.#attempt(destination, async () => this.#special(item))
    }
  }

  /** Undefined when the task failed and that is a problem of this entry alone. What ends the restore is thrown. */
  async #attempt<R>(destination: Buffer, task: () => Promise<R>): Promise<R | undefined> {
    try {
      return await task()
    } catch (error) {
      this.#entryFailed(destination, error)
      return undefined
    }
  }

  async #folder(item: RestoreItem, wanted: 'whole' | 'folder'): Promise<void> {
    const { node, destination } = item
    const folder = await this.#attempt(destination, () => this.#enter(item))
    if (!folder) return
    // Outside of the attempt: what ends the restore further down is no problem of this folder.
    const prefix = Buffer.concat([destination, Buffer.from('/')])
    await this.#entries(
      folder.children.map((child) => ({ node: child, destination: Buffer.concat([prefix, child.name]) })),
    )
    // Its metadata comes last: what is made in it changes its times, and cannot be made in a folder without write permission.
    if (!folder.wasPresent || wanted === 'whole') this.#window.folders.push({ destination, node })
  }

  /** Makes the folder unless it is there. */
  async #enter({ node, destination }: RestoreItem): Promise<{ children: readonly TreeNode[]; wasPresent: boolean }> {
    if (node.subtree === undefined) throw lacking(destination, 'a folder without a tree')
    const children = await this.#trees.nodes(node.subtree)
    this.#storageFailures = 0
    const present = lstatSync(destination, { throwIfNoEntry: false })
    if (present && !present.isDirectory()) throw obstructed(destination, `${kindOf(present)} stands in its place`)
    if (present) removeLeftParts(destination, new Set(children.map(({ name }) => name.toString('latin1'))))
    else mkdirSync(destination, 0o700)
    return { children, wasPresent: present !== undefined }
  }

  /** Plans a regular file; an empty one is made at once. */
  async #file(item: RestoreItem, window: Window): Promise<void> {
    const { node, destination } = item
    const { content } = node
    if (content === undefined) throw lacking(destination, 'a file without a list of content')
    const present = this.#presentBefore(destination)
    if (present && this.#mustKeep(node, present)) return this.#skip(destination)
    const first = this.#firstOf(node, content)
    if (first) {
      window.links.push({ item, first })
      return
    }
    const lengths = await this.#lengthsOf(content)
    const size = lengths.reduce((sum, length) => sum + length, 0)
    if (size !== node.size) throw wrongSize(destination, size, node.size)
    // Through another link the old file may be in use; what is restored is a file of its own.
    const isComparable = present?.isFile() === true && present.nlink === 1n
    const file = new PlannedFile(item, content, lengths, nextPartNumber(), isComparable && this.#compares())
    if (isLinked(node)) this.#linked.set(linkKey(node), file)
    window.files.push(file)
    window.blobs += content.length
    this.#planned.files += 1
    this.#planned.bytes += size
    if (file.compares && this.#options.overwrite === 'if-changed' && isUnchanged(present!, node)) this.#right(file)
    else if (size === 0 && !file.compares) await this.#completeEmpty(file)
    this.#startThreads()
  }

  /** Rejects as `readBlob` for a blob that is in no index. */
  async #lengthsOf(content: readonly BlobId[]): Promise<Uint32Array> {
    const lengths = new Uint32Array(content.length)
    for (const [i, id] of content.entries()) {
      const blob = this.#repository.index.find('data', id)
      lengths[i] = blob ? plaintextLength(blob) : (await readBlob(this.#repository, 'data', id)).length
    }
    return lengths
  }

  #compares(): boolean {
    return this.#options.delta === true || this.#options.overwrite === 'if-changed'
  }

  /** Undefined also where nobody asks. */
  #presentBefore(destination: Buffer) {
    const { overwrite = 'always' } = this.#options
    if (overwrite === 'always' && !this.#compares()) return undefined
    return lstatSync(destination, { bigint: true, throwIfNoEntry: false })
  }

  #mustKeep(node: TreeNode, present: { readonly mtimeNs: bigint; isDirectory(): boolean }): boolean {
    const { overwrite } = this.#options
    if (present.isDirectory()) return false // and so in the way
    return overwrite === 'never' || (overwrite === 'if-newer' && present.mtimeNs >= node.mtime.ns)
  }

  #skip(destination: Buffer): void {
    this.#skipped += 1
    this.#countFile(destination)
  }

  /** An earlier link to the same file. A pair with different content is no pair. */
  #firstOf(node: TreeNode, content: readonly BlobId[]): PlannedFile | undefined {
    const first = isLinked(node) ? this.#linked.get(linkKey(node)) : undefined
    if (!first || first.state === 'failed' || first.content.length !== content.length) return undefined
    return first.content.every((id, i) => id === content[i]) ? first : undefined
  }

  #startThreads(): void {
    const { files, bytes } = this.#planned
    const { threads, signal, program } = this.#options
    if (!this.#triesThreads || typeof threads === 'object') return
    if (threads === undefined && files <= FILES_WITHOUT_THREADS && bytes <= BYTES_WITHOUT_THREADS) return
    this.#triesThreads = false
    const started = RestoreThreads.start(this.#repository.masterKey, threads, signal, program)
    if (started) this.#use(started)
  }

  #use(threads: RestoreThreads): void {
    this.#threads = threads
    const isLocal = this.#pathOf('0'.repeat(64) as PackId) !== undefined
    this.#jobs = new Semaphore(isLocal ? threads.capacity : Math.min(READERS, threads.capacity))
  }

  #isWindowFull(): boolean {
    return this.#window.files.length >= WINDOW_FILES || this.#window.blobs >= WINDOW_BLOBS
  }

  /** Sets the window to work, and begins another one. At most two are under way, beside the one that is being planned. */
  async #turnWindow(): Promise<void> {
    const window = this.#window
    this.#window = emptyWindow()
    this.#underWay.add(window)
    const before = this.#previous
    const written = this.#writeFiles(window)
    written.catch(() => {}) // thrown below
    this.#previous = (async () => {
      try {
        await before
      } finally {
        await written
      }
      await this.#finish(window)
      this.#underWay.delete(window)
    })()
    this.#previous.catch(() => {}) // thrown by the next turn, or at the end
    await before
  }

  async #writeFiles(window: Window): Promise<void> {
    const compared = window.files.filter(({ state, compares }) => compares && state === 'planned')
    await this.#each(compared, (file) => this.#compare(file))
    const planned = window.files.filter(({ state }) => state === 'planned')
    for (const file of planned) if (file.content.length === 0) await this.#completeEmpty(file)
    const jobs = planWrites(
      planned.filter(({ content, state }) => content.length > 0 && state === 'planned'),
      this.#repository.index,
      { token: PART_TOKEN, owners: this.#owners },
    )
    await this.#each(jobs, (job) => this.#write(job))
    // What another job of this window completed counts there; what is left has no piece to write, for it was kept.
    for (const file of planned) if (file.state === 'planned' && file.left === 0) await this.#complete(file)
  }

  /** Runs a task for each, as many at once as there may be jobs. The first failure ends it, when those under way have come to an end. */
  async #each<T>(items: Iterable<T>, task: (item: T) => Promise<void>): Promise<void> {
    const iterator = items[Symbol.iterator]()
    const runners = Array.from({ length: this.#threads?.capacity ?? 1 }, async () => {
      for (;;) {
        if (this.#failure) return
        const next = iterator.next()
        if (next.done) return
        await this.#jobs.run(() => task(next.value)).catch((error: unknown) => this.#fail(error))
      }
    })
    await Promise.all(runners)
    this.#throwIfFailed()
  }

  async #compare(file: PlannedFile): Promise<void> {
    const temporary = this.#temporaryOf(file)
    file.isTouched = true
    const { state, kept, failure } = this.#threads
      ? await this.#threads.keep(file.expected, temporary)
      : keepContent(file.expected, temporary)
    if (!this.#threads) await this.#turn()
    if (failure) return this.#fileFailed(file, errorOf(failure))
    if (state === 'right') this.#right(file)
    else if (state === 'partly') file.kept = kept
    else file.isTouched = false
  }

  /** A file that is there with the right content gets the right metadata. */
  #right(file: PlannedFile): void {
    this.#metadata(file.destination, file.node)
    file.state = 'done'
    this.#skipped += 1
    this.#count.bytes += file.node.size
    this.#countFile(file.destination)
  }

  async #write(job: PlannedJob): Promise<void> {
    for (const [i, file] of job.files.entries()) {
      if (file.state !== 'planned') continue
      const isMade = file.isTouched
      file.isTouched = true // before anything is awaited: another job may be about to write to it as well
      if (isMade || job.columns.files.pieces[i] !== 0) continue
      await this.#attemptFile(file, async () => closeSync(createTemporary(this.#temporaryOf(file))))
    }
    const from = await this.#bytesOf(job)
    const everything = job.blobIds.map((_, blob) => blob)
    const result: WriteResult =
      from === undefined
        ? { missing: everything, failures: [], metadataFailures: [], full: false }
        : this.#threads
          ? await this.#threads.write({ ...job.columns, from })
          : await this.#writeInline(job, from)
    await this.#settle(job, result)
  }

  /** Where the pack lies, or its bytes; undefined when they cannot be had at once. */
  async #bytesOf({ pack, length, columns: { start } }: PlannedJob): Promise<string | Buffer | undefined> {
    const path = this.#pathOf(pack)
    if (path !== undefined) return path
    const { signal } = this.#options
    try {
      return await this.#repository.storage.read({ type: 'pack', id: pack }, { offset: start, length }, signal)
    } catch (error) {
      if (!isFileProblem(error)) throw error
      return undefined
    }
  }

  #pathOf(pack: PackId): string | undefined {
    return localPath(this.#repository.storage, { type: 'pack', id: pack })
  }

  async #writeInline(job: PlannedJob, from: string | Buffer): Promise<WriteResult> {
    const writing = this.#inline().write({ ...job.columns, from })
    try {
      for (;;) {
        const step = writing.next()
        if (step.done) return step.value
        const { file: number, bytes, done } = step.value
        const file = job.files[number]!
        this.#count.bytes += bytes
        if (done) this.#done(file)
        else this.#options.onProgress?.('restore', this.#count, file.destination)
        if (this.#isTurn()) await this.#turn()
      }
    } finally {
      writing.return({ missing: [], failures: [], metadataFailures: [], full: false })
    }
  }

  /** Makes of a result what it means for each file, and gets by other ways what could not be had. */
  async #settle(job: PlannedJob, { missing, failures, metadataFailures }: WriteResult): Promise<void> {
    const { blobs, files } = job.columns
    for (const { file, what, reason } of metadataFailures) {
      const { destination } = job.files[file]!
      this.#problem(destination, 'metadata', `Cannot set ${what} of ${destination}: ${reason}`)
    }
    const isMissing = new Set(missing)
    /** Files, by their number in the job, that miss something. */
    const lacking = new Set(missing.flatMap((blob) => usesOf(job, blob).map(({ number }) => number)))
    for (const blob of job.blobIds.keys()) {
      if (isMissing.has(blob)) continue
      this.#storageFailures = 0
      for (const { file } of usesOf(job, blob)) file.left -= 1
    }
    // The whole disk may be full: that is thrown before anything else is tried.
    for (const failure of failures) this.#fileFailed(job.files[failure.file]!, errorOf(failure))
    if (this.#threads) this.#countWritten(job, isMissing)
    for (const blob of missing) await this.#recover(job, blob, blobs.usePositions)
    for (const [number, file] of job.files.entries()) {
      if (file.state !== 'planned' || file.left > 0) continue
      if (files.pieces[number]! > 0 && !lacking.has(number)) this.#done(file)
      else await this.#complete(file)
      if (this.#isTurn()) await this.#turn()
    }
  }

  /** Bytes that threads have written, of files that are not failed. */
  #countWritten(job: PlannedJob, isMissing: ReadonlySet<number>): void {
    const { lengths, uncompressedLengths } = job.columns.blobs
    for (const blob of job.blobIds.keys()) {
      if (isMissing.has(blob)) continue
      const length = uncompressedLengths[blob]! || lengths[blob]! - SEAL_OVERHEAD
      for (const { file } of usesOf(job, blob)) if (file.state === 'planned') this.#count.bytes += length
    }
  }

  /** A blob that could not be had as usual: read again, or from another copy, or a problem of all files that need it. */
  async #recover(job: PlannedJob, blob: number, positions: Float64Array): Promise<void> {
    const uses = usesOf(job, blob).filter(({ file }) => file.state === 'planned')
    if (uses.length === 0) return
    let plaintext: Buffer
    try {
      plaintext = await readBlob(this.#repository, 'data', job.blobIds[blob]!, this.#options.signal)
      this.#storageFailures = 0
    } catch (error) {
      for (const file of new Set(uses.map(({ file }) => file))) this.#fileFailed(file, error)
      return
    }
    for (const { file, use } of uses) {
      if (file.state !== 'planned') continue
      await this.#attemptFile(file, async () => {
        const fd = this.#openTemporary(file)
        try {
          writeSparsely(fd, plaintext, positions[use]!)
        } finally {
          closeSync(fd)
        }
        file.left -= 1
        this.#count.bytes += plaintext.length
        this.#options.onProgress?.('restore', this.#count, file.destination)
      })
      if (this.#isTurn()) await this.#turn()
    }
  }

  /** One that nobody has written to yet is not there. */
  #openTemporary(file: PlannedFile): number {
    const temporary = this.#temporaryOf(file)
    try {
      return reopenTemporary(temporary)
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error
      return createTemporary(temporary)
    }
  }

  async #completeEmpty(file: PlannedFile): Promise<void> {
    await this.#attemptFile(file, async () => closeSync(createTemporary(this.#temporaryOf(file))))
    file.isTouched = true
    if (file.state === 'planned') await this.#complete(file)
  }

  /** Puts a file in its place whose pieces are all written. */
  async #complete(file: PlannedFile): Promise<void> {
    const { node, destination } = file
    const temporary = this.#temporaryOf(file)
    await this.#attemptFile(file, async () => {
      const fd = reopenTemporary(temporary)
      try {
        ftruncateSync(fd, node.size) // a hole at the end has not been written
      } finally {
        closeSync(fd)
      }
      this.#metadata(temporary, node, destination)
      publish(temporary, destination)
      this.#done(file)
    })
  }

  #done(file: PlannedFile): void {
    file.state = 'done'
    this.#countFile(file.destination)
  }

  async #attemptFile(file: PlannedFile, task: () => Promise<void>): Promise<void> {
    try {
      await task()
    } catch (error) {
      this.#fileFailed(file, error)
    }
  }

  #fileFailed(file: PlannedFile, error: unknown): void {
    if (file.state !== 'planned') return
    if (file.isTouched) this.#discard(this.#temporaryOf(file))
    file.state = 'failed'
    this.#entryFailed(file.destination, error)
  }

  #temporaryOf({ destination, number }: PlannedFile): Buffer {
    return temporaryBeside(destination, PART_TOKEN, number)
  }

  /** Links, then folders, then what verification there is: when all before it is in place. */
  async #finish(window: Window): Promise<void> {
    const again = emptyWindow()
    for (const { item, first } of window.links) {
      if (first.state === 'done' && this.#link(first, item)) continue
      await this.#attempt(item.destination, () => this.#file(item, again))
    }
    if (again.files.length > 0 || again.links.length > 0) {
      this.#underWay.add(again)
      await this.#writeFiles(again)
      await this.#finish(again)
      this.#underWay.delete(again)
    }
    for (const { destination, node } of window.folders) {
      this.#metadata(destination, node)
      this.#count.folders += 1
      if (this.#isTurn()) await this.#turn()
    }
    if (this.#options.verify) {
      await this.#each(
        window.files.filter(({ state }) => state === 'done'),
        (file) => this.#verify(file),
      )
    }
  }

  /** False when it has to be a file of its own. */
  #link(first: PlannedFile, { destination }: RestoreItem): boolean {
    const temporary = temporaryBeside(destination, PART_TOKEN, nextPartNumber())
    try {
      linkSync(first.destination, temporary)
      this.#publish(temporary, destination)
      this.#countFile(destination)
      return true
    } catch (error) {
      const errno = systemErrno(error)
      if (errno === undefined || isFull(errno)) {
        this.#entryFailed(destination, error)
        return true
      }
      // The file system has no links, no more of them for this file, or another one begins in between.
      const message = `${destination} is restored as a file of its own, not as a link to ${first.destination}: ${describeErrno(errno)}`
      this.#problem(destination, 'metadata', message, error)
      this.#linked.delete(linkKey(first.node))
      return false
    }
  }

  #special({ node, destination }: RestoreItem): void {
    const present = this.#presentBefore(destination)
    if (present && this.#mustKeep(node, present)) {
      this.#skip(destination)
      return
    }
    const temporary = temporaryBeside(destination, PART_TOKEN, nextPartNumber())
    try {
      makeSpecial(temporary, node, destination)
      this.#metadata(temporary, node, destination)
      publish(temporary, destination)
    } catch (error) {
      this.#discard(temporary)
      throw error
    }
    this.#countFile(destination)
  }

  /** Whatever fails, the temporary name goes. */
  #publish(temporary: Buffer, destination: Buffer): void {
    try {
      publish(temporary, destination)
    } catch (error) {
      this.#discard(temporary)
      throw error
    }
  }

  #discard(temporary: Buffer): void {
    try {
      unlinkSync(temporary)
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === undefined) throw error
      if (errno === 'ENOENT') return // was never made
      this.#problem(
        temporary,
        'unwritable',
        `Cannot remove the unfinished ${temporary}: ${describeErrno(errno)}`,
        error,
      )
    }
  }

  #metadata(path: Buffer, node: TreeNode, shown: Buffer = path): void {
    applyMetadata(entryAt(path), metadataOf(node, this.#owners), (what, cause) =>
      this.#problem(shown, 'metadata', `Cannot set ${what} of ${shown}: ${reasonOf(cause)}`, cause),
    )
  }

  async #verify(file: PlannedFile): Promise<void> {
    const path = file.destination
    const defect = this.#threads
      ? await this.#threads.verify(file.expected)
      : await this.#defectOf(path, contentDefect(file.expected))
    if (this.#threads && defect === undefined) this.#verified.bytes += file.node.size
    if (defect !== undefined) {
      return this.#problem(path, 'verify', `${path} does not read back as it was written: ${defect}`)
    }
    this.#verified.files += 1
    this.#options.onProgress?.('verify', this.#verified, path)
  }

  async #defectOf(path: Buffer, reading: ReturnType<typeof contentDefect>): Promise<string | undefined> {
    for (;;) {
      const step = reading.next()
      if (step.done) return step.value
      this.#verified.bytes += step.value
      this.#options.onProgress?.('verify', this.#verified, path)
      if (!this.#isTurn()) continue
      try {
        await this.#turn()
      } catch (error) {
        reading.return(undefined)
        throw error
      }
    }
  }

  /** Damage and refusals of the system are problems of the entry; a full disk or a lost storage would hit every next one too. */
  #entryFailed(destination: Buffer, error: unknown): void {
    this.#options.signal?.throwIfAborted()
    const errno = systemErrno(error)
    if (errno !== undefined && isFull(errno)) {
      throw new EngineError('NO_SPACE', `Cannot restore ${destination}: ${describeErrno(errno)}`, {
        facts: { path: destination.toString(), errno },
        hint: 'Free some room or choose another target, then run the restore again: files that are complete are replaced by the same',
        cause: error,
      })
    }
    if (errno !== undefined) {
      this.#problem(destination, 'unwritable', `Cannot restore ${destination}: ${describeErrno(errno)}`, error)
      return
    }
    if (!(error instanceof EngineError)) throw error
    const kind = PROBLEM_KINDS[error.code]
    if (kind === undefined) throw error
    if (error.code === 'STORAGE' && ++this.#storageFailures === STORAGE_FAILURES) throw error
    const message = kind === 'content' ? `Cannot restore ${destination}: ${error.message}` : error.message
    this.#problem(destination, kind, message, error)
  }

  #countFile(destination: Buffer): void {
    this.#count.files += 1
    this.#options.onProgress?.('restore', this.#count, destination)
  }

  #problem(path: Buffer, kind: RestoreProblem['kind'], message: string, cause?: unknown): void {
    this.#problems += 1
    this.#options.onProblem?.({ path, kind, message, cause })
  }

  #isTurn(): boolean {
    return performance.now() - this.#lastTurn >= TURN_MILLISECONDS
  }

  async #turn(): Promise<void> {
    await nextTurn()
    this.#lastTurn = performance.now()
    this.#options.signal?.throwIfAborted()
  }
}

/** Errors of one entry that no system call made; any other ends the restore. */
const PROBLEM_KINDS: Readonly<Partial<Record<EngineErrorCode, RestoreProblem['kind']>>> = {
  CORRUPT: 'content',
  NOT_FOUND: 'content',
  PERMISSION: 'content',
  STORAGE: 'content',
  TARGET: 'obstructed',
  HOSTILE: 'hostile',
  UNSUPPORTED: 'unwritable',
}

function repeated(texts: readonly string[]): Set<string> {
  const seen = new Set<string>()
  return new Set(texts.filter((text) => seen.size === seen.add(text).size))
}

/** Inode 0 means that nobody knew it: two such files have nothing to do with each other (format reference, trap 6). */
function isLinked(node: TreeNode): boolean {
  return node.links > 1 && node.inode !== 0n
}

function linkKey(node: TreeNode): string {
  return `${node.deviceId}:${node.inode}`
}

function parentOf(destination: Buffer, name: Buffer): Buffer {
  return destination.subarray(0, Math.max(destination.length - name.length - 1, 1))
}

/** In the folders that the entries themselves go to, which are none of the restore's own. */
function removeLeftPartsBeside(items: readonly RestoreItem[]): void {
  const names = new Map<string, Set<string>>()
  for (const { destination } of items) {
    const path = destination.toString('latin1')
    const slash = path.lastIndexOf('/')
    const folder = path.slice(0, Math.max(slash, 1))
    names.set(folder, (names.get(folder) ?? new Set()).add(path.slice(slash + 1)))
  }
  for (const [folder, belonging] of names) removeLeftParts(Buffer.from(folder, 'latin1'), belonging)
}

function makeSpecial(path: Buffer, node: TreeNode, destination: Buffer): void {
  if (node.type === 'fifo') makeFifo(path, 0o600)
  else if (node.type !== 'symlink') makeDevice(path, node.type === 'dev' ? 'block' : 'char', 0o600, node.device)
  else if (node.linkTarget === undefined || node.linkTarget.length === 0 || node.linkTarget.includes(0)) {
    throw lacking(
      destination,
      `a symbolic link ${node.linkTarget?.length ? 'whose target holds a NUL byte' : 'to nothing'}`,
    )
  } else symlinkSync(node.linkTarget, path)
}

function lacking(destination: Buffer, what: string): EngineError {
  return new EngineError('HOSTILE', `Cannot restore ${destination}: ${what}`, {
    facts: { path: destination.toString() },
  })
}

function wrongSize(destination: Buffer, bytes: number, size: number): EngineError {
  return new EngineError('CORRUPT', `its content has ${bytes} bytes, its size says ${size}`, {
    facts: { path: destination.toString(), bytes, size },
  })
}

function kindOf(stats: Stats): string {
  if (stats.isSymbolicLink()) return 'a symbolic link'
  return stats.isFile() ? 'a file' : 'something else'
}

function emptyWindow(): Window {
  return { files: [], links: [], folders: [], blobs: 0 }
}

/** As restic has it. */
function isUnchanged(present: { readonly size: bigint; readonly mtimeNs: bigint }, node: TreeNode): boolean {
  return present.size === BigInt(node.size) && present.mtimeNs === node.mtime.ns
}

interface Use {
  readonly file: PlannedFile
  /** Of the file, in the job. */
  readonly number: number
  /** Of the use. */
  readonly use: number
}

function usesOf({ files, columns: { blobs } }: PlannedJob, blob: number): Use[] {
  const uses: Use[] = []
  for (let use = blob === 0 ? 0 : blobs.useEnds[blob - 1]!; use < blobs.useEnds[blob]!; use++) {
    const number = blobs.useFiles[use]!
    uses.push({ file: files[number]!, number, use })
  }
  return uses
}

function errorOf({ code, message, errno }: Pick<FileFailure, 'code' | 'message' | 'errno'>): EngineError {
  return new EngineError(code, message, { facts: { errno } })
}
