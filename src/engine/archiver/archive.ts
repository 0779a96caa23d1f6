import { readdirSync, statSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { EngineError } from '../error.ts'
import type { BlobId } from '../format/id.ts'
import { encodeNode, joinNodes } from '../format/tree.ts'
import type { FittingNode } from '../format/tree-cursor.ts'
import type { ExtendedAttribute, TreeNode } from '../format/tree-node.ts'
import type { Chunker } from '../kernels/chunker.ts'
import { EntryStats, FolderEntries } from '../os/entry-stats.ts'
import { listExtendedAttributes } from '../os/extended-attributes.ts'
import { below } from './below.ts'
import type { BlobSink } from './blob-sink.ts'
import { EncodedNode, NodeWriter } from './encoded-node.ts'
import {
  contentOf,
  type FileStore,
  type FileToStore,
  inlineFileStore,
  type StoredBlobs,
  type StoredFile,
  type Veto,
} from './file-store.ts'
import type { KnownFolders } from './known-folders.ts'
import type { LookAhead } from './look-ahead.ts'
import { bareFileFacts, nodeFacts } from './node-facts.ts'
import { nodeFromStats, nodeType } from './node-from-stats.ts'
import { isDamagedTree, type ParentEntry, ParentFolder } from './parent-folder.ts'
import { fromSource, hasVanished } from './source-error.ts'
import { type TargetEntry, type TargetFolder, targetTree } from './target-tree.ts'

/**
 * What stands in a snapshot in place of the file that lies on disk: nothing, the content of another file, or what the
 * parent snapshot holds at the path.
 */
export type Replacement =
  | { readonly kind: 'left-out' }
  | { readonly kind: 'copy'; readonly copy: Buffer; readonly storedAs: Buffer | undefined }
  | { readonly kind: 'unchanged' }

/** Something of the source that is not in the snapshot as it lies on disk. */
export interface ArchiveProblem {
  readonly path: Buffer
  /**
   * `unreadable`, `vetoed`: not in the snapshot; `vanished`: was gone when its turn came; `changed`: was written to or
   * replaced while it was read, so what is stored may never have existed as a whole; `metadata`: stored without its
   * extended attributes, or with one under another name; `socket`: sockets are not archived.
   */
  readonly kind: 'unreadable' | 'vetoed' | 'vanished' | 'changed' | 'metadata' | 'socket'
  /** A whole sentence, the path included. */
  readonly message: string
  readonly cause?: unknown
}

/** As restic counts: files and folders, those on the way to targets included; links, devices and the like are not counted. */
export interface ArchiveCounts {
  readonly filesNew: number
  readonly filesChanged: number
  readonly filesUnmodified: number
  readonly dirsNew: number
  readonly dirsChanged: number
  readonly dirsUnmodified: number
  readonly totalFiles: number
  readonly totalBytes: number
}

export interface ArchiveOptions {
  readonly sink: BlobSink
  readonly chunker: Chunker
  /** Where the content of files is stored; by default through `sink`, on this thread. Its veto is its own. */
  readonly files?: FileStore | undefined
  /** Root tree of the snapshot to compare with, and how to read the plaintext of its trees. */
  readonly parent?: { readonly tree: BlobId; readonly readTree: (id: BlobId) => Promise<Buffer> } | undefined
  /** What was found out about the targets just before, while there was nothing else to do. */
  readonly lookAhead?: LookAhead | undefined
  /**
   * Folders of the parent snapshot that are passed over, with all below them, when nothing that was looked at ahead has changed in them;
   * and where those are noted that could be next time. Not together with `replacements`.
   */
  readonly folders?: { readonly known: KnownFolders | undefined; readonly noted: KnownFolders } | undefined
  /** False leaves an entry out, with all below it but named targets. Not asked for those. */
  readonly select?: ((path: Buffer, stats: EntryStats) => boolean) | undefined
  /** By path, as `latin1` text of its bytes. */
  readonly replacements?: ReadonlyMap<string, Replacement>
  /**
   * Last word on a file that is about to be stored from disk: told its path and its first bytes as they were read, it
   * returns why the file must not enter the repository, or undefined. Not asked where nothing is read: for a file that
   * is unchanged since the parent snapshot, and for further links to a file that was read already.
   */
  readonly veto?: Veto
  readonly onProblem?: (problem: ArchiveProblem) => void
  /** Told of some files at most every 20 ms, and of the last one with the totals. */
  readonly onProgress?: (done: { readonly files: number; readonly bytes: number }, path: Buffer) => void
  readonly signal?: AbortSignal | undefined
}

export interface ArchivedTarget {
  readonly path: Buffer
  /** The target's own node; undefined when it could not be archived. */
  readonly node: TreeNode | undefined
  readonly files: number
  readonly bytes: number
}

export interface ArchiveResult {
  /** What the root tree holds, in order. */
  readonly nodes: readonly TreeNode[]
  /** The named targets, and those that `/`, `.` or `..` stands for. */
  readonly targets: readonly ArchivedTarget[]
  readonly counts: ArchiveCounts
}

/**
 * The event loop gets a turn at least this often, for signals, progress and uploads, and for threads that say where the next piece of a
 * large file begins: with 25 they waited for a fifth of their time.
 */
const TURN_MILLISECONDS = 5
/** Nobody sees more than some tens of them in a second, and each makes a text of its path. */
const PROGRESS_MILLISECONDS = 20

/**
 * Stores files and folders as blobs and trees. A file is read only when the parent snapshot holds no unchanged one at
 * its path (format reference 8.3); what cannot be read is reported and left out, the rest is stored. Rejects when the
 * repository fails, when interrupted, and with `SOURCE` when there is nothing to archive at all.
 *
 * System calls are synchronous: on a warm cache an asynchronous `lstat` costs ten times as much as the call itself.
 */
export async function archive(targets: readonly Buffer[], options: ArchiveOptions): Promise<ArchiveResult> {
  return new Archive(options).run(targets)
}

/**
 * A node that is there when the content of all files below it is stored. No promise: a first backup has one for each file, and
 * most of what a promise leaves to the collector lives until the file is stored.
 */
class Later {
  #isThere = false
  #node: EncodedNode | undefined
  #group: Group | undefined

  get isThere(): boolean {
    return this.#isThere
  }

  /** Undefined when the entry is not archived. */
  get node(): EncodedNode | undefined {
    return this.#node
  }

  settle(node: EncodedNode | undefined): void {
    this.#isThere = true
    this.#node = node
    this.#group?.oneIsThere()
    this.#group = undefined
  }

  /** Of one group at most. */
  join(group: Group): void {
    this.#group = group
  }
}

/** Whoever waits for several nodes. */
class Group {
  #toCome: number
  readonly #whenAll: () => void

  constructor(toCome: number, whenAll: () => void) {
    this.#toCome = toCome
    this.#whenAll = whenAll
  }

  oneIsThere(): void {
    this.#toCome -= 1
    if (this.#toCome === 0) this.#whenAll()
  }
}

type Found = EncodedNode | undefined | Later

/** A file whose content is being stored. */
class StoringFile extends Later implements FileToStore {
  readonly path: Buffer
  readonly name: Buffer
  readonly seen: EntryStats
  /** Whether the parent snapshot has something at the path. */
  readonly hasParent: boolean
  readonly part: Part
  /** Where further links to it are kept. */
  linked: LinkedFile | undefined
  readonly #archive: FilesInArchive

  constructor(archive: FilesInArchive, path: Buffer, name: Buffer, seen: EntryStats, hasParent: boolean, part: Part) {
    super()
    this.#archive = archive
    this.path = path
    this.name = name
    this.seen = seen
    this.hasParent = hasParent
    this.part = part
  }

  get size(): number {
    return this.seen.size
  }

  get asksVeto(): boolean {
    return true
  }

  whenStored(stored: StoredFile): void {
    this.#archive.fileIsStored(this, stored)
  }

  whenFailed(error: unknown): void {
    this.#archive.fail(error)
  }
}

/** What is told of files that were being stored. */
interface FilesInArchive {
  fileIsStored(file: StoringFile, stored: StoredFile): void
  fail(error: unknown): void
}

/** Extended attributes of an entry, and what is wrong with them. */
interface Attributes {
  readonly attributes: readonly ExtendedAttribute[]
  readonly problems: readonly ArchiveProblem[]
}

const NO_ATTRIBUTES: Attributes = { attributes: [], problems: [] }

/** A file with several links, and how many of them may still come. */
interface LinkedFile {
  readonly stats: EntryStats
  toCome: number
  /** Once it is. */
  stored: StoredFile | undefined
  /** Further links that wait for that. */
  readonly waiting: StoringFile[]
}

/** Of whom an entry is a part. */
interface Part {
  /** Counts of the target that it belongs to; those of targets inside it are their own. */
  readonly counts: { files: number; bytes: number }
  /** Whether it is a target itself: not to find it is more than that it vanished. */
  readonly isTarget: boolean
  /** The folder that it lies in, unless nothing is noted of that. */
  readonly folder?: FolderToNote | undefined
}

/** A folder that may be noted when it is archived. */
interface FolderToNote {
  files: number
  bytes: number
  /** Entries that were left out as they are to be. */
  leftOut: number
  /** Whether something was stored otherwise than it was seen in the folder. */
  hasChanged: boolean
}

/** Unchanged files between which nobody else gets a turn. */
const MOST_AT_ONCE = 256

/** Files whose content is being stored at a time. Each holds a path. */
const FILES_UNDER_WAY = 1024

class Archive implements FilesInArchive {
  readonly #options: ArchiveOptions
  readonly #files: FileStore
  /** By device and inode. */
  readonly #linked = new Map<string, LinkedFile>()
  readonly #targets: (ArchivedTarget | undefined)[] = []
  readonly #counts = {
    filesNew: 0,
    filesChanged: 0,
    filesUnmodified: 0,
    dirsNew: 0,
    dirsChanged: 0,
    dirsUnmodified: 0,
    totalFiles: 0,
    totalBytes: 0,
  }
  #underWay = 0
  #whenOneEnds: (() => void) | undefined
  #failure: { readonly error: unknown } | undefined
  /** Told of the failure: whoever waits for nodes that will not come. */
  readonly #waiting = new Set<(error: unknown) => void>()
  readonly #writer = new NodeWriter()
  #lastTurn = performance.now()
  #lastProgress = Number.NEGATIVE_INFINITY
  /** The last file, unless `onProgress` was told of it. */
  #untold: (() => Buffer) | undefined
  /** Whether somebody decides by its path what becomes of an entry. */
  readonly #asksPaths: boolean
  /** What changed before that second of the clock, and is in the parent's tree without extended attributes, still has none. */
  readonly #trustedBefore: number

  constructor(options: ArchiveOptions) {
    this.#options = options
    const { sink, chunker, veto, select, replacements } = options
    this.#asksPaths = select !== undefined || (replacements?.size ?? 0) > 0
    this.#trustedBefore = options.folders?.known?.trustedBefore ?? Number.NEGATIVE_INFINITY
    this.#files = options.files ?? inlineFileStore({ sink, chunker, veto, turn: () => this.#turn() })
  }

  async run(targets: readonly Buffer[]): Promise<ArchiveResult> {
    this.#options.signal?.throwIfAborted()
    const tree = targetTree(targets, (folder) => this.#expanded(folder))
    const parent = await this.#parentFolder(this.#options.parent?.tree)
    const found: Found[] = []
    for (const [key, entry] of tree.entries) {
      found.push(await this.#targetEntry(entry, Buffer.from(key, 'latin1'), parent?.entryOutOfOrder(key)))
    }
    this.#files.noMore()
    const nodes = await this.#resolved(found)
    if (this.#failure) throw this.#failure.error
    if (this.#untold) this.#tellProgress(this.#untold, performance.now())
    const archived = this.#targets.filter((target) => target !== undefined)
    return {
      nodes: this.#inOrder(nodes, '').map(({ node }) => node),
      targets: archived,
      counts: this.#counts,
    }
  }

  #expanded(folder: Buffer): Buffer[] {
    try {
      return fromSource(folder, () => readdirSync(folder, { encoding: 'buffer' }))
    } catch (error) {
      this.#sourceProblem(folder, error, 'unreadable')
      return []
    }
  }

  async #targetEntry(entry: TargetEntry, name: Buffer, parent: ParentEntry | undefined): Promise<Found> {
    return entry.kind === 'folder' ? this.#folderOfTargets(entry, name, parent) : this.#target(entry, name, parent)
  }

  async #target(target: TargetEntry, name: Buffer, parent: ParentEntry | undefined): Promise<Found> {
    const { path } = target
    const counts = { files: 0, bytes: 0 }
    const place = this.#targets.push(undefined) - 1
    let found: Found
    try {
      const stats = lstat(path)
      if (target.kind === 'expanded' && !this.#isSelected(path, stats)) {
        return target.entries.size > 0 ? await this.#folderOfTargets(target, name, parent) : undefined
      }
      if (target.entries.size > 0 && !stats.isDirectory()) {
        throw new EngineError('SOURCE', `Cannot back up ${path} itself: it is no folder, and targets lie behind it`, {
          facts: { path: path.toString() },
        })
      }
      found = await this.#entry(path, name, stats, parent, { counts, isTarget: target.kind === 'target' }, target)
    } catch (error) {
      // A target that is not there was asked for by name: that is more than a file that vanished.
      this.#sourceProblem(path, error, target.kind === 'target' ? 'unreadable' : undefined)
      // Targets inside it may be readable all the same.
      if (target.entries.size > 0) found = await this.#folderOfTargets(target, name, parent)
    }
    const note = (entry: EncodedNode | undefined) => {
      this.#targets[place] = { path, node: entry?.node, ...counts }
      return entry
    }
    if (!(found instanceof Later)) return note(found)
    return this.#later(this.#resolved([found]).then(([node]) => note(node)))
  }

  /** A folder on the way to targets: metadata of the real one, links followed (format reference 8.2). */
  async #folderOfTargets(entry: TargetEntry, name: Buffer, parent: ParentEntry | undefined): Promise<Found> {
    const { path } = entry
    const parentNode = parent?.node
    const parentFolder = await this.#parentFolder(parentNode?.subtree)
    const found: Found[] = []
    for (const [key, inner] of entry.entries) {
      found.push(await this.#targetEntry(inner, Buffer.from(key, 'latin1'), parentFolder?.entryOutOfOrder(key)))
    }
    return this.#whenResolved(found, async (children) => {
      if (children.length === 0) return undefined
      try {
        const stats = fromSource(path, () => EntryStats.of(statSync(path, { bigint: true })))
        const subtree = await this.#saveTree(children, name.toString('latin1'), parentFolder)
        return this.#savedFolder(this.#node(path, name, stats), subtree, parentNode)
      } catch (error) {
        this.#sourceProblem(path, error, 'unreadable')
        return undefined
      }
    })
  }

  /** At once when all are there, so that nothing is held longer than it must; otherwise later. */
  async #whenResolved(
    found: readonly Found[],
    then: (nodes: EncodedNode[]) => Promise<EncodedNode | undefined> | EncodedNode,
  ): Promise<Found> {
    if (found.some((one) => one instanceof Later && !one.isThere)) return this.#later(this.#resolved(found).then(then))
    return then(nodesOf(found))
  }

  #later(node: Promise<EncodedNode | undefined>): Later {
    const later = new Later()
    node.then(
      (there) => later.settle(there),
      (error: unknown) => this.fail(error),
    )
    return later
  }

  /** The nodes, once all are there. Rejects with the failure of the archive. */
  async #resolved(found: readonly Found[]): Promise<EncodedNode[]> {
    if (this.#failure) throw this.#failure.error
    const later = found.filter((one) => one instanceof Later && !one.isThere) as Later[]
    if (later.length > 0) {
      await new Promise<void>((resolve, reject) => {
        this.#waiting.add(reject)
        const group = new Group(later.length, () => {
          this.#waiting.delete(reject)
          resolve()
        })
        for (const one of later) one.join(group)
      })
    }
    return nodesOf(found)
  }

  /** Ends the walk. */
  fail(error: unknown): void {
    if (this.#failure) return
    this.#failure = { error }
    for (const reject of this.#waiting) reject(error)
    this.#waiting.clear()
    this.#whenOneEnds?.()
  }

  /** Undefined when the entry is not archived; why was reported. Throws `SOURCE` for an unreadable one. */
  #entry(
    path: Buffer,
    name: Buffer,
    stats: EntryStats,
    parent: ParentEntry | undefined,
    part: Part,
    inner?: TargetFolder,
  ): Found | Promise<Found> {
    const replacement = this.#options.replacements?.get(path.toString('latin1'))
    if (replacement?.kind === 'left-out') return undefined
    switch (nodeType(stats)) {
      case 'file':
        return replacement
          ? this.#replaced(path, name, stats, replacement, parent?.node, part)
          : this.#file(path, name, stats, parent, part)
      case 'dir':
        return this.#folder(path, name, stats, parent, part, inner)
      case 'socket':
        this.#problem(path, 'socket', `${path} is a socket: not archived`)
        return undefined
      default: {
        const { looked, fitting } = this.#compared(path, stats, parent)
        return fitting ? kept(parent!, fitting) : encoded(this.#node(path, name, stats, looked))
      }
    }
  }

  /** The entry's extended attributes, and the node in the parent's tree that says the same of it, word for word. */
  #compared(
    path: Buffer,
    stats: EntryStats,
    parent: ParentEntry | undefined,
  ): { readonly looked: Attributes; readonly fitting: FittingNode | undefined } {
    if (parent !== undefined && stats.isUnasked && stats.isOlderThan(this.#trustedBefore)) {
      const fitting = this.#fitting(path, stats, NO_ATTRIBUTES, parent)
      if (fitting) {
        stats.takeAsBare()
        return { looked: NO_ATTRIBUTES, fitting }
      }
    }
    const looked = this.#attributes(path, stats)
    return { looked, fitting: this.#fitting(path, stats, looked, parent) }
  }

  #fitting(
    path: Buffer,
    stats: EntryStats,
    looked: Attributes,
    parent: ParentEntry | undefined,
  ): FittingNode | undefined {
    if (parent === undefined) return undefined
    const facts = fromSource(path, () => nodeFacts(path, stats, looked.attributes))
    const fitting = facts && parent.fitting(facts, this.#isBlobStored)
    if (fitting !== undefined) this.#reportAttributes(looked)
    return fitting
  }

  readonly #isBlobStored = (tree: Buffer, at: number): boolean => this.#options.sink.hasAt('data', tree, at)

  /** `inner`: targets that lie in this folder. */
  async #folder(
    path: Buffer,
    name: Buffer,
    stats: EntryStats,
    parent: ParentEntry | undefined,
    part: Part,
    inner: TargetFolder | undefined,
  ): Promise<Found> {
    const { looked, fitting } = this.#compared(path, stats, parent)
    const { lookAhead, folders } = this.#options
    // Other targets are looked for where they are named, be they in the folder or not.
    const isWhole = (inner?.entries.size ?? 0) === 0
    if (fitting?.subtree && isWhole && lookAhead && folders?.known && this.#hasTree(fitting.subtree)) {
      const known = lookAhead.takeKnown(path, fitting.subtree, folders.known, folders.noted)
      if (known !== undefined) {
        this.#counts.dirsUnmodified += known.folders
        // They lie below the folder that `part.folder` stands for, not in it.
        const inside: Part = { counts: part.counts, isTarget: false }
        this.#countFiles(known.files, () => path, 'filesUnmodified', known.bytes, inside)
        return kept(parent!, fitting)
      }
    }
    const entries = lookAhead?.take(path) ?? fromSource(path, () => FolderEntries.in(path))
    const parentNode = fitting ? undefined : parent?.node
    const node = fitting ? undefined : this.#node(path, name, stats, looked)
    const parentFolder = await this.#parentFolder(fitting?.subtree ?? parentNode?.subtree)
    const found: Found[] = []
    const toNote = folders && isWhole ? { files: 0, bytes: 0, leftOut: 0, hasChanged: false } : undefined
    const childPart: Part = { counts: part.counts, isTarget: false, folder: toNote }
    const missing = new Map(inner?.entries)
    for (let i = 0; i < entries.names.length; ) {
      const same =
        parentFolder && missing.size === 0 ? this.#sameFiles(path, entries, i, parentFolder, childPart, found) : 0
      if (same > 0) i += same
      else {
        const key = entries.names[i]!
        const target = missing.get(key)
        missing.delete(key)
        const childName = Buffer.from(key, 'latin1')
        const childPath = below(path, childName)
        const seen = this.#seen(entries, i, parentFolder !== undefined)
        const child = this.#child(childPath, childName, seen, parentFolder?.entry(key), childPart, target)
        // Most are there at once, and a turn of the loop for each would cost as much as the `lstat`.
        const there = child instanceof Promise ? await child : child
        if (there !== undefined) found.push(there)
        i += 1
      }
      if (performance.now() - this.#lastTurn >= TURN_MILLISECONDS) await this.#turn()
    }
    const seen = entries.names.length
    // Targets that the folder does not list are not there, which their own turn will say.
    for (const [key, target] of missing) {
      const childName = Buffer.from(key, 'latin1')
      found.push(await this.#targetEntry(target, childName, parentFolder?.entryOutOfOrder(key)))
    }
    return this.#whenResolved(found, async (children) => {
      const subtree = await this.#saveTree(children, name.toString('latin1'), parentFolder)
      if (toNote && !toNote.hasChanged && children.length + toNote.leftOut === seen) {
        const fingerprint = entries.fingerprint()
        if (fingerprint) folders!.noted.add(fingerprint, { tree: subtree, files: toNote.files, bytes: toNote.bytes })
      }
      if (fitting && parentFolder?.id === subtree) {
        // Whatever its path leads to by now: each entry was found to be the one of the parent snapshot, and none was read.
        this.#counts.dirsUnmodified += 1
        return kept(parent!, fitting)
      }
      this.#reportReplacement(path, stats)
      if (node !== undefined) return this.#savedFolder(node, subtree, parentNode)
      // All but the content is as before.
      this.#counts.dirsChanged += 1
      return encoded({ ...nodeFromStats(path, name, stats, looked.attributes), subtree })
    })
  }

  /** What was seen of an entry. Where all is new, threads that read a file ask for its extended attributes: it is open there. */
  #seen(entries: FolderEntries, index: number, hasParent: boolean): EntryStats | undefined {
    const isRead = !hasParent && this.#files.isConcurrent && entries.isFile(index)
    return entries.stats(index, isRead ? Number.POSITIVE_INFINITY : this.#trustedBefore)
  }

  /**
   * Finds the nodes of files that are as nearly all are: without extended attributes, and in the parent's tree word for word. Begins
   * at one entry and ends before the first of which more is to be asked; returns how many there were. Spares very many files a
   * path that nobody reads; a loop of its own, and short, for it is compiled before it has done half of its work.
   */
  #sameFiles(
    folder: Buffer,
    entries: FolderEntries,
    from: number,
    parent: ParentFolder,
    part: Part,
    found: Found[],
  ): number {
    if (this.#asksPaths) return 0
    const to = Math.min(from + MOST_AT_ONCE, entries.names.length)
    let bytes = 0
    let i = from
    for (; i < to; i++) {
      const stats = entries.stats(i, this.#trustedBefore)
      if (!stats?.isFile() || !(stats.isBare || stats.isUnasked)) break
      const entry = parent.entry(entries.names[i]!)
      const facts = entry && bareFileFacts(stats)
      const fitting = facts && entry.fitting(facts, this.#isBlobStored)
      if (fitting === undefined) break
      stats.takeAsBare()
      found.push(kept(entry!, fitting))
      bytes += stats.size
    }
    if (i > from) {
      const last = () => below(folder, Buffer.from(entries.names[i - 1]!, 'latin1'))
      this.#countFiles(i - from, last, 'filesUnmodified', bytes, part)
    }
    return i - from
  }

  /** `stats`, when they are known already. */
  #child(
    path: Buffer,
    name: Buffer,
    known: EntryStats | undefined,
    parent: ParentEntry | undefined,
    part: Part,
    inner: TargetEntry | undefined,
  ): Found | Promise<Found> {
    if (inner !== undefined) return this.#childWithTargets(path, name, parent, part, inner)
    try {
      const stats = known ?? lstat(path)
      if (!this.#isSelected(path, stats)) {
        if (part.folder) part.folder.leftOut += 1
        return undefined
      }
      const found = this.#entry(path, name, stats, parent, part)
      if (!(found instanceof Promise)) return found
      return found.catch((error: unknown) => {
        this.#sourceProblem(path, error)
        return undefined
      })
    } catch (error) {
      this.#sourceProblem(path, error)
      return undefined
    }
  }

  async #childWithTargets(
    path: Buffer,
    name: Buffer,
    parent: ParentEntry | undefined,
    part: Part,
    inner: TargetEntry,
  ): Promise<Found> {
    if (inner.kind === 'target') return this.#target(inner, name, parent)
    try {
      const stats = lstat(path)
      // Not a folder, and yet targets lie behind it: a symbolic link, which is followed on the way to them.
      if (!stats.isDirectory() || !this.#isSelected(path, stats)) {
        return await this.#folderOfTargets(inner, name, parent)
      }
      return await this.#entry(path, name, stats, parent, part, inner)
    } catch (error) {
      this.#sourceProblem(path, error)
      return this.#folderOfTargets(inner, name, parent)
    }
  }

  #isSelected(path: Buffer, stats: EntryStats): boolean {
    return this.#options.select?.(path, stats) ?? true
  }

  /** Paths lead to another place when a folder is renamed while what is in it is read. */
  #reportReplacement(path: Buffer, before: EntryStats): void {
    let found = 'removed'
    try {
      const after = lstat(path)
      if (after.ino === before.ino && after.dev === before.dev) return
      found = 'replaced'
    } catch (error) {
      if (!(error instanceof EngineError && error.code === 'SOURCE')) throw error
    }
    this.#problem(path, 'changed', `${path} was ${found} while it was read`)
  }

  /** The ID of the tree of these nodes. The parent's, when it consists of them, is neither encoded nor hashed again. */
  async #saveTree(children: readonly EncodedNode[], name: string, parent: ParentFolder | undefined): Promise<BlobId> {
    const ordered = this.#inOrder(children, name)
    const { sink } = this.#options
    if (parent?.consistsOf(ordered) && this.#hasTree(parent.id)) return parent.id
    return (await sink.save('tree', joinNodes(ordered))).id
  }

  #savedFolder(node: TreeNode, subtree: BlobId, parent: TreeNode | undefined): EncodedNode {
    const folder = { ...node, subtree }
    const counts = this.#counts
    if (!parent) counts.dirsNew += 1
    else if (isSameFolder(parent, folder)) counts.dirsUnmodified += 1
    else counts.dirsChanged += 1
    return encoded(folder)
  }

  /**
   * Sorted by name. Of two of one name only the first stays: a file system may list a name twice while a folder
   * changes, and a replacement may be called like a file that lies beside it.
   */
  #inOrder(nodes: readonly EncodedNode[], folder: string): readonly EncodedNode[] {
    if (nodes.every(({ name }, i) => i === 0 || nodes[i - 1]!.name < name)) return nodes
    const sorted = nodes.toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    return sorted.filter(({ name }, i) => {
      if (i === 0 || name !== sorted[i - 1]!.name) return true
      const [shown, place] = [Buffer.from(name, 'latin1'), Buffer.from(folder, 'latin1')]
      this.#problem(
        shown,
        'unreadable',
        `Cannot keep both of two entries called ${shown} in ${folder === '' ? 'the root' : place}: one is left out`,
      )
      return false
    })
  }

  #file(
    path: Buffer,
    name: Buffer,
    stats: EntryStats,
    parent: ParentEntry | undefined,
    part: Part,
  ): Found | Promise<Found> {
    let before: TreeNode | undefined
    if (parent) {
      const { looked, fitting } = this.#compared(path, stats, parent)
      if (fitting) {
        this.#countFile(path, 'filesUnmodified', stats.size, part)
        return kept(parent, fitting)
      }
      before = parent.node
      if (before && isUnchanged(before, stats) && this.#isStored(before)) {
        const node = this.#node(path, name, stats, looked)
        this.#countFile(path, 'filesUnmodified', before.size, part)
        return encoded({ ...node, size: before.size, content: before.content! })
      }
    }
    return this.#changedFile(new StoringFile(this, path, name, stats, before !== undefined, part))
  }

  #changedFile(file: StoringFile): Found | Promise<Found> {
    const { path, seen } = file
    const linked = this.#linkTo(path, seen)
    if (linked?.stored?.kind === 'stored') return this.#storedFile(file, linked.stored)
    if (linked !== undefined && linked.stored === undefined) {
      linked.waiting.push(file)
      return file
    }
    if (linked === undefined && seen.nlink > 1) file.linked = this.#rememberLink(seen)
    this.#store(file)
    // Who stores files on this thread has one at a time.
    if (!this.#files.isConcurrent) return this.#resolved([file]).then(() => file)
    return this.#underWay < FILES_UNDER_WAY ? file : this.#room().then(() => file)
  }

  #store(file: StoringFile): void {
    this.#underWay += 1
    this.#files.store(file)
  }

  fileIsStored(file: StoringFile, stored: StoredFile): void {
    this.#underWay -= 1
    try {
      if (file.linked !== undefined) this.#furtherLinks(file.linked, stored)
      file.settle(this.#storedFile(file, stored))
    } catch (error) {
      this.fail(error)
    }
    this.#whenOneEnds?.()
  }

  /** Waits while too many files are under way: the walk must not run ahead of the work without bound. */
  async #room(): Promise<void> {
    while (this.#underWay >= FILES_UNDER_WAY && !this.#failure) {
      await new Promise<void>((resolve) => {
        this.#whenOneEnds = resolve
      })
    }
    this.#throwIfStopped()
  }

  #storedFile(file: StoringFile, stored: StoredFile): EncodedNode | undefined {
    const { path, name, seen, part } = file
    switch (stored.kind) {
      case 'vetoed':
        this.#problem(path, 'vetoed', `${path} is left out: ${stored.reason}`)
        return undefined
      case 'failed': {
        const { message, errno } = stored
        const error = new EngineError('SOURCE', message, { facts: { path: path.toString(), errno } })
        this.#sourceProblem(path, error, part.isTarget ? 'unreadable' : undefined)
        return undefined
      }
      case 'stored':
        try {
          const isAsSeen = stored.state.equals(seen)
          if (isAsSeen && stored.state.isBare) seen.takeAsBare()
          const node = this.#fileNode(path, name, isAsSeen ? seen : stored.state, stored)
          if (part.folder && (!isAsSeen || stored.changed)) part.folder.hasChanged = true
          if (stored.changed) this.#problem(path, 'changed', `${path} was written to while it was read`)
          this.#countFile(path, file.hasParent ? 'filesChanged' : 'filesNew', stored.size, part)
          return node
        } catch (error) {
          this.#sourceProblem(path, error, part.isTarget ? 'unreadable' : undefined)
          return undefined
        }
    }
  }

  /** Throws `SOURCE`. */
  #fileNode(path: Buffer, name: Buffer, stats: EntryStats, { ids, size }: StoredBlobs): EncodedNode {
    const looked = this.#attributes(path, stats)
    const facts = fromSource(path, () => nodeFacts(path, stats, looked.attributes))
    if (facts === undefined) {
      return encoded({ ...this.#node(path, name, stats, looked), size, content: contentOf(ids) })
    }
    this.#reportAttributes(looked)
    return this.#writer.write(name, facts.size === size ? facts : { ...facts, size }, ids)
  }

  /** An earlier link to the same, unaltered file. */
  #linkTo(path: Buffer, stats: EntryStats): LinkedFile | undefined {
    if (stats.nlink < 2) return undefined
    const key = linkKey(stats)
    const linked = this.#linked.get(key)
    // What was seen of both together, with the folder, was seen before the first one was read.
    if (!linked?.stats.equals(lstat(path))) return undefined
    linked.toCome -= 1
    if (linked.toCome === 0) this.#linked.delete(key)
    return linked
  }

  #rememberLink(stats: EntryStats): LinkedFile {
    const linked: LinkedFile = { stats, toCome: stats.nlink - 1, stored: undefined, waiting: [] }
    this.#linked.set(linkKey(stats), linked)
    return linked
  }

  /** Of one that was not stored, whatever it was, each further link is tried by its own path. */
  #furtherLinks(linked: LinkedFile, stored: StoredFile): void {
    linked.stored = stored
    for (const file of linked.waiting) {
      if (stored.kind === 'stored') file.settle(this.#storedFile(file, stored))
      else this.#store(file)
    }
    linked.waiting.length = 0
  }

  async #replaced(
    path: Buffer,
    name: Buffer,
    stats: EntryStats,
    replacement: Extract<Replacement, { kind: 'copy' | 'unchanged' }>,
    parent: TreeNode | undefined,
    part: Part,
  ): Promise<EncodedNode> {
    // One link, whatever the live file has: nothing else in the snapshot may be merged with what replaces it.
    const node = { ...this.#node(path, name, stats), links: 1 }
    if (replacement.kind === 'unchanged') {
      if (parent?.type !== 'file' || !this.#isStored(parent)) {
        throw new EngineError(
          'SOURCE',
          `Cannot keep ${path} from the previous snapshot: it does not hold the file any more`,
          {
            facts: { path: path.toString() },
            hint: 'Run the backup again with --force',
          },
        )
      }
      this.#countFile(path, 'filesUnmodified', parent.size, part)
      return encoded({ ...node, size: parent.size, content: parent.content! })
    }
    const { copy, storedAs } = replacement
    // A copy was admitted by whoever made it.
    const stored = await new Promise<StoredFile>((whenStored, whenFailed) => {
      this.#files.store({ path: copy, seen: undefined, size: node.size, asksVeto: false, whenStored, whenFailed })
    })
    if (stored.kind !== 'stored') {
      const [message, errno] = stored.kind === 'failed' ? [stored.message, stored.errno] : [stored.reason, undefined]
      throw new EngineError('SOURCE', message, { facts: { path: path.toString(), errno } })
    }
    this.#countFile(path, parent ? 'filesChanged' : 'filesNew', stored.size, part)
    return encoded({ ...node, name: storedAs ?? name, size: stored.size, content: contentOf(stored.ids) })
  }

  /** Throws `SOURCE`. */
  #node(path: Buffer, name: Buffer, stats: EntryStats, looked: Attributes = this.#attributes(path, stats)): TreeNode {
    const node = fromSource(path, () => nodeFromStats(path, name, stats, looked.attributes))
    this.#reportAttributes(looked)
    return node
  }

  /** A file without its attributes is better than no file; that they are missing is reported when the node is used. */
  #attributes(path: Buffer, { isBare }: EntryStats): Attributes {
    if (isBare) return NO_ATTRIBUTES
    try {
      const listed = fromSource(path, () => listExtendedAttributes(path))
      if (listed.length === 0) return NO_ATTRIBUTES
      const problems = listed.flatMap(({ name, rawName }): ArchiveProblem[] => {
        if (rawName === undefined) return []
        const message = `An extended attribute of ${path} is stored under another name, ${name}: its own is not UTF-8`
        return [{ path, kind: 'metadata', message }]
      })
      return { attributes: listed.map(({ name, value }) => ({ name, value })), problems }
    } catch (error) {
      if (!(error instanceof EngineError && error.code === 'SOURCE') || hasVanished(error)) throw error
      const message = `${path} is stored without its extended attributes: ${error.message}`
      return { attributes: [], problems: [{ path, kind: 'metadata', message, cause: error }] }
    }
  }

  #reportAttributes({ problems }: Attributes): void {
    if (problems.length > 0) this.#options.folders?.noted.distrust()
    for (const problem of problems) this.#options.onProblem?.(problem)
  }

  #hasTree(id: BlobId): boolean {
    return this.#options.sink.has('tree', id)
  }

  #isStored(node: TreeNode): boolean {
    return node.content?.every((id) => this.#options.sink.has('data', id)) ?? false
  }

  /** Undefined when there is none, or none that can be read: then everything is read afresh; `check` reports the damage. */
  async #parentFolder(id: BlobId | undefined): Promise<ParentFolder | undefined> {
    const { parent } = this.#options
    if (id === undefined || parent === undefined) return undefined
    try {
      return new ParentFolder(id, await parent.readTree(id))
    } catch (error) {
      if (isDamagedTree(error)) return undefined
      throw error
    }
  }

  #countFile(path: Buffer, as: 'filesNew' | 'filesChanged' | 'filesUnmodified', bytes: number, part: Part): void {
    this.#countFiles(1, () => path, as, bytes, part)
  }

  #countFiles(
    files: number,
    last: () => Buffer,
    as: 'filesNew' | 'filesChanged' | 'filesUnmodified',
    bytes: number,
    { counts, folder }: Part,
  ): void {
    this.#counts[as] += files
    this.#counts.totalFiles += files
    this.#counts.totalBytes += bytes
    counts.files += files
    counts.bytes += bytes
    if (folder) {
      folder.files += files
      folder.bytes += bytes
    }
    const now = performance.now()
    if (now - this.#lastProgress < PROGRESS_MILLISECONDS) this.#untold = last
    else this.#tellProgress(last, now)
  }

  #tellProgress(path: () => Buffer, now: number): void {
    this.#lastProgress = now
    this.#untold = undefined
    const done = { files: this.#counts.totalFiles, bytes: this.#counts.totalBytes }
    this.#options.onProgress?.(done, path())
  }

  #problem(path: Buffer, kind: ArchiveProblem['kind'], message: string, cause?: unknown): void {
    this.#options.onProblem?.({ path, kind, message, cause })
  }

  /** `SOURCE` is a problem of one entry; everything else ends the archive. By default of the kind that the error tells. */
  #sourceProblem(path: Buffer, error: unknown, kind?: 'unreadable'): void {
    if (!(error instanceof EngineError && error.code === 'SOURCE')) throw error
    if (kind === undefined && hasVanished(error)) {
      this.#problem(path, 'vanished', `${path} was removed before its turn came`, error)
    } else this.#problem(path, 'unreadable', error.message, error)
  }

  async #turn(): Promise<void> {
    if (performance.now() - this.#lastTurn < TURN_MILLISECONDS) return
    await nextTurn()
    this.#lastTurn = performance.now()
    this.#throwIfStopped()
  }

  #throwIfStopped(): void {
    if (this.#failure) throw this.#failure.error
    this.#options.signal?.throwIfAborted()
  }
}

function encoded(node: TreeNode): EncodedNode {
  return new EncodedNode(node.name.toString('latin1'), encodeNode(node))
}

/** The node as it stands in the parent's tree. */
function kept({ name, tree }: ParentEntry, { start, end }: FittingNode): EncodedNode {
  return new EncodedNode(name, tree, start, end)
}

function nodesOf(found: readonly Found[]): EncodedNode[] {
  const nodes: EncodedNode[] = []
  for (const one of found) {
    const node = one instanceof Later ? one.node : one
    if (node) nodes.push(node)
  }
  return nodes
}

function linkKey({ dev, ino }: EntryStats): string {
  return `${dev}:${ino}`
}

function lstat(path: Buffer): EntryStats {
  return fromSource(path, () => EntryStats.atPath(path))
}

function isUnchanged(parent: TreeNode, stats: EntryStats): boolean {
  return (
    parent.type === 'file' &&
    parent.size === stats.size &&
    parent.inode === stats.ino &&
    parent.mtime.ns === stats.mtimeNs &&
    parent.ctime.ns === stats.ctimeNs
  )
}

/** Whether restic would count the folder as unmodified: all of its metadata is the same, and all below it. */
function isSameFolder(a: TreeNode, b: TreeNode): boolean {
  return (
    a.type === b.type &&
    a.subtree === b.subtree &&
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.user === b.user &&
    a.group === b.group &&
    a.inode === b.inode &&
    a.deviceId === b.deviceId &&
    a.mtime.ns === b.mtime.ns &&
    a.ctime.ns === b.ctime.ns &&
    a.extendedAttributes.length === b.extendedAttributes.length &&
    a.extendedAttributes.every(({ name, value }, i) => {
      const other = b.extendedAttributes[i]!
      return name === other.name && value.equals(other.value)
    })
  )
}
