import { type BigIntStats, lstatSync, readdirSync, statSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { EngineError } from '../error.ts'
import type { BlobId } from '../format/id.ts'
import { type ExtendedAttribute, encodeTree, type TreeNode } from '../format/tree.ts'
import type { Chunker } from '../kernels/chunker.ts'
import { listExtendedAttributes } from '../os/extended-attributes.ts'
import type { BlobSink } from './blob-sink.ts'
import { type FileState, type FileStore, inlineFileStore, type StoredFile, type Veto } from './file-store.ts'
import { nodeFromStats, nodeType } from './node-from-stats.ts'
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
  /** Root tree of the snapshot to compare with, and how to read its trees. */
  readonly parent?:
    | { readonly tree: BlobId; readonly readTree: (id: BlobId) => Promise<readonly TreeNode[]> }
    | undefined
  /** False leaves an entry out, with all below it but named targets. Not asked for those. */
  readonly select?: (path: Buffer, stats: BigIntStats) => boolean
  /** By path, as `latin1` text of its bytes. */
  readonly replacements?: ReadonlyMap<string, Replacement>
  /**
   * Last word on a file that is about to be stored from disk: told its path and its first bytes as they were read, it
   * returns why the file must not enter the repository, or undefined. Not asked where nothing is read: for a file that
   * is unchanged since the parent snapshot, and for further links to a file that was read already.
   */
  readonly veto?: Veto
  readonly onProblem?: (problem: ArchiveProblem) => void
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

/** The event loop gets a turn at least this often, for signals, progress and uploads. */
const TURN_MILLISECONDS = 25

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

type ParentNodes = ReadonlyMap<string, TreeNode>

const NO_NODES: ParentNodes = new Map()

/** A node that is there when the content of all files below it is stored. */
class Later {
  readonly node: Promise<TreeNode | undefined>

  constructor(node: Promise<TreeNode | undefined>) {
    this.node = node
  }
}

type Found = TreeNode | undefined | Later

/** A file with several links, and how many of them may still come. */
interface LinkedFile {
  readonly stored: Promise<StoredFile>
  readonly size: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
  toCome: bigint
}

/** Of whom an entry is a part. */
interface Part {
  /** Counts of the target that it belongs to; those of targets inside it are their own. */
  readonly counts: { files: number; bytes: number }
  /** Whether it is a target itself: not to find it is more than that it vanished. */
  readonly isTarget: boolean
}

/** Files whose content is being stored at a time. Each holds a promise and a path. */
const FILES_UNDER_WAY = 1024

class Archive {
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
  #lastTurn = performance.now()

  constructor(options: ArchiveOptions) {
    this.#options = options
    const { sink, chunker, veto } = options
    this.#files = options.files ?? inlineFileStore({ sink, chunker, veto, turn: () => this.#turn() })
  }

  async run(targets: readonly Buffer[]): Promise<ArchiveResult> {
    this.#options.signal?.throwIfAborted()
    const tree = targetTree(targets, (folder) => this.#expanded(folder))
    const parentNodes = this.#options.parent ? await this.#parentNodes(this.#options.parent.tree) : NO_NODES
    const found: Found[] = []
    for (const [key, entry] of tree.entries) {
      found.push(await this.#targetEntry(entry, Buffer.from(key, 'latin1'), parentNodes.get(key)))
    }
    const nodes = await resolved(found)
    if (this.#failure) throw this.#failure.error
    const archived = this.#targets.filter((target) => target !== undefined)
    return { nodes: this.#inOrder(nodes, Buffer.alloc(0)), targets: archived, counts: this.#counts }
  }

  #expanded(folder: Buffer): Buffer[] {
    try {
      return fromSource(folder, () => readdirSync(folder, { encoding: 'buffer' }))
    } catch (error) {
      this.#sourceProblem(folder, error, 'unreadable')
      return []
    }
  }

  async #targetEntry(entry: TargetEntry, name: Buffer, parent: TreeNode | undefined): Promise<Found> {
    return entry.kind === 'folder' ? this.#folderOfTargets(entry, name, parent) : this.#target(entry, name, parent)
  }

  async #target(target: TargetEntry, name: Buffer, parent: TreeNode | undefined): Promise<Found> {
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
    const note = (node: TreeNode | undefined) => {
      this.#targets[place] = { path, node, ...counts }
      return node
    }
    return found instanceof Later ? this.#later(found.node.then(note)) : note(found)
  }

  /** A folder on the way to targets: metadata of the real one, links followed (format reference 8.2). */
  async #folderOfTargets(entry: TargetEntry, name: Buffer, parent: TreeNode | undefined): Promise<Found> {
    const { path } = entry
    const parentNodes = await this.#childrenOf(parent)
    const found: Found[] = []
    for (const [key, inner] of entry.entries) {
      found.push(await this.#targetEntry(inner, Buffer.from(key, 'latin1'), parentNodes.get(key)))
    }
    return this.#whenResolved(found, async (children) => {
      if (children.length === 0) return undefined
      try {
        const stats = fromSource(path, () => statSync(path, { bigint: true }))
        return await this.#saveFolder(this.#node(path, name, stats), children, parent)
      } catch (error) {
        this.#sourceProblem(path, error, 'unreadable')
        return undefined
      }
    })
  }

  /** At once when all are there, so that nothing is held longer than it must; otherwise later. */
  async #whenResolved(
    found: readonly Found[],
    then: (nodes: TreeNode[]) => Promise<TreeNode | undefined>,
  ): Promise<Found> {
    if (!found.some((one) => one instanceof Later)) return then(found.filter((one) => one !== undefined) as TreeNode[])
    return this.#later(resolved(found).then(then))
  }

  /** What fails later ends the walk; until somebody waits for it, it is not unhandled. */
  #later(node: Promise<TreeNode | undefined>): Later {
    node.catch((error: unknown) => {
      this.#failure ??= { error }
    })
    return new Later(node)
  }

  /** Undefined when the entry is not archived; why was reported. Throws `SOURCE` for an unreadable one. */
  async #entry(
    path: Buffer,
    name: Buffer,
    stats: BigIntStats,
    parent: TreeNode | undefined,
    part: Part,
    inner?: TargetFolder,
  ): Promise<Found> {
    await this.#turn()
    const replacement = this.#options.replacements?.get(path.toString('latin1'))
    if (replacement?.kind === 'left-out') return undefined
    switch (nodeType(stats)) {
      case 'file':
        return replacement
          ? this.#replaced(path, name, stats, replacement, parent, part)
          : this.#file(path, name, stats, parent, part)
      case 'dir':
        return this.#folder(path, name, stats, parent, part, inner)
      case 'socket':
        this.#problem(path, 'socket', `${path} is a socket: not archived`)
        return undefined
      default:
        return this.#node(path, name, stats)
    }
  }

  /** `inner`: targets that lie in this folder. */
  async #folder(
    path: Buffer,
    name: Buffer,
    stats: BigIntStats,
    parent: TreeNode | undefined,
    { counts }: Part,
    inner: TargetFolder | undefined,
  ): Promise<Found> {
    const names = fromSource(path, () => readdirSync(path, { encoding: 'buffer' }))
    const node = this.#node(path, name, stats)
    const parentNodes = await this.#childrenOf(parent)
    const found: Found[] = []
    const part: Part = { counts, isTarget: false }
    const missing = new Map(inner?.entries)
    for (const childName of names) {
      const key = childName.toString('latin1')
      const target = missing.get(key)
      missing.delete(key)
      const child = await this.#child(below(path, childName), childName, parentNodes.get(key), part, target)
      if (child !== undefined) found.push(child)
    }
    // Targets that the folder does not list are not there, which their own turn will say.
    for (const [key, target] of missing) {
      found.push(await this.#targetEntry(target, Buffer.from(key, 'latin1'), parentNodes.get(key)))
    }
    return this.#whenResolved(found, (children) => {
      this.#reportReplacement(path, stats)
      return this.#saveFolder(node, children, parent)
    })
  }

  async #child(
    path: Buffer,
    name: Buffer,
    parent: TreeNode | undefined,
    part: Part,
    inner: TargetEntry | undefined,
  ): Promise<Found> {
    if (inner?.kind === 'target') return this.#target(inner, name, parent)
    try {
      const stats = lstat(path)
      // Not a folder, and yet targets lie behind it: a symbolic link, which is followed on the way to them.
      if (inner && (!stats.isDirectory() || !this.#isSelected(path, stats))) {
        return await this.#folderOfTargets(inner, name, parent)
      }
      return this.#isSelected(path, stats) ? await this.#entry(path, name, stats, parent, part, inner) : undefined
    } catch (error) {
      this.#sourceProblem(path, error)
      return inner && this.#folderOfTargets(inner, name, parent)
    }
  }

  #isSelected(path: Buffer, stats: BigIntStats): boolean {
    return this.#options.select?.(path, stats) ?? true
  }

  /** Paths lead to another place when a folder is renamed while what is in it is read. */
  #reportReplacement(path: Buffer, before: BigIntStats): void {
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

  async #saveFolder(node: TreeNode, children: readonly TreeNode[], parent: TreeNode | undefined): Promise<TreeNode> {
    const { id: subtree } = await this.#options.sink.save('tree', encodeTree(this.#inOrder(children, node.name)))
    const folder = { ...node, subtree }
    const counts = this.#counts
    if (!parent) counts.dirsNew += 1
    else if (isSameFolder(parent, folder)) counts.dirsUnmodified += 1
    else counts.dirsChanged += 1
    return folder
  }

  /**
   * Sorted by name. Of two of one name only the first stays: a file system may list a name twice while a folder
   * changes, and a replacement may be called like a file that lies beside it.
   */
  #inOrder(nodes: readonly TreeNode[], folder: Buffer): TreeNode[] {
    const sorted = nodes.toSorted((a, b) => Buffer.compare(a.name, b.name))
    return sorted.filter(({ name }, i) => {
      if (i === 0 || !name.equals(sorted[i - 1]!.name)) return true
      this.#problem(
        name,
        'unreadable',
        `Cannot keep both of two entries called ${name} in ${folder.length > 0 ? folder : 'the root'}: one is left out`,
      )
      return false
    })
  }

  async #file(
    path: Buffer,
    name: Buffer,
    stats: BigIntStats,
    parent: TreeNode | undefined,
    part: Part,
  ): Promise<Found> {
    if (parent && isUnchanged(parent, stats) && this.#isStored(parent)) {
      const node = this.#node(path, name, stats)
      this.#countFile(path, 'filesUnmodified', parent.size, part)
      return { ...node, size: parent.size, content: parent.content! }
    }
    const finish = (stored: StoredFile) => this.#stored(path, name, stats, parent, part, stored)
    const linked = this.#linkTo(stats)
    if (linked) {
      const storeAnew = (first: StoredFile) => (first.kind === 'stored' ? first : this.#store(path, stats))
      if (!this.#files.isConcurrent) return finish(await storeAnew(await linked))
      return this.#later(linked.then(storeAnew).then(finish))
    }
    const storing = this.#store(path, stats)
    if (stats.nlink > 1n) this.#rememberLink(stats, storing)
    if (!this.#files.isConcurrent) return finish(await storing)
    const later = this.#later(storing.then(finish))
    await this.#room()
    return later
  }

  async #store(path: Buffer, { size }: BigIntStats): Promise<StoredFile> {
    this.#underWay += 1
    try {
      return await this.#files.store(path, Number(size), true)
    } finally {
      this.#underWay -= 1
      this.#whenOneEnds?.()
    }
  }

  /** Waits while too many files are under way: the walk must not run ahead of the work without bound. */
  async #room(): Promise<void> {
    while (this.#underWay >= FILES_UNDER_WAY) {
      await new Promise<void>((resolve) => {
        this.#whenOneEnds = resolve
      })
      this.#throwIfStopped()
    }
  }

  #stored(
    path: Buffer,
    name: Buffer,
    stats: BigIntStats,
    parent: TreeNode | undefined,
    part: Part,
    stored: StoredFile,
  ): TreeNode | undefined {
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
          const node = this.#node(path, name, asStored(stats, stored.state))
          if (stored.changed) this.#problem(path, 'changed', `${path} was written to while it was read`)
          this.#countFile(path, parent ? 'filesChanged' : 'filesNew', stored.size, part)
          return { ...node, size: stored.size, content: stored.content }
        } catch (error) {
          this.#sourceProblem(path, error, part.isTarget ? 'unreadable' : undefined)
          return undefined
        }
    }
  }

  /** An earlier link to the same, unaltered file. */
  #linkTo({ dev, ino, nlink, size, mtimeNs, ctimeNs }: BigIntStats): Promise<StoredFile> | undefined {
    if (nlink < 2n) return undefined
    const key = `${dev}:${ino}`
    const linked = this.#linked.get(key)
    if (!linked || linked.size !== size || linked.mtimeNs !== mtimeNs || linked.ctimeNs !== ctimeNs) return undefined
    linked.toCome -= 1n
    if (linked.toCome === 0n) this.#linked.delete(key)
    return linked.stored
  }

  #rememberLink({ dev, ino, nlink, size, mtimeNs, ctimeNs }: BigIntStats, stored: Promise<StoredFile>): void {
    this.#linked.set(`${dev}:${ino}`, { stored, size, mtimeNs, ctimeNs, toCome: nlink - 1n })
  }

  async #replaced(
    path: Buffer,
    name: Buffer,
    stats: BigIntStats,
    replacement: Extract<Replacement, { kind: 'copy' | 'unchanged' }>,
    parent: TreeNode | undefined,
    part: Part,
  ): Promise<TreeNode> {
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
      return { ...node, size: parent.size, content: parent.content! }
    }
    const { copy, storedAs } = replacement
    // A copy was admitted by whoever made it.
    const stored = await this.#files.store(copy, node.size, false)
    if (stored.kind !== 'stored') {
      const [message, errno] = stored.kind === 'failed' ? [stored.message, stored.errno] : [stored.reason, undefined]
      throw new EngineError('SOURCE', message, { facts: { path: path.toString(), errno } })
    }
    this.#countFile(path, parent ? 'filesChanged' : 'filesNew', stored.size, part)
    return { ...node, name: storedAs ?? name, size: stored.size, content: stored.content }
  }

  /** Throws `SOURCE`. */
  #node(path: Buffer, name: Buffer, stats: BigIntStats): TreeNode {
    return fromSource(path, () => nodeFromStats(path, name, stats, this.#attributes(path)))
  }

  /** A file without its attributes is better than no file; that they are missing is reported. */
  #attributes(path: Buffer): readonly ExtendedAttribute[] {
    try {
      const listed = fromSource(path, () => listExtendedAttributes(path))
      for (const { name, rawName } of listed) {
        if (rawName)
          this.#problem(
            path,
            'metadata',
            `An extended attribute of ${path} is stored under another name, ${name}: its own is not UTF-8`,
          )
      }
      return listed.map(({ name, value }) => ({ name, value }))
    } catch (error) {
      if (!(error instanceof EngineError && error.code === 'SOURCE') || hasVanished(error)) throw error
      this.#problem(path, 'metadata', `${path} is stored without its extended attributes: ${error.message}`, error)
      return []
    }
  }

  #isStored(node: TreeNode): boolean {
    return node.content?.every((id) => this.#options.sink.has('data', id)) ?? false
  }

  async #childrenOf(parent: TreeNode | undefined): Promise<ParentNodes> {
    return parent?.type === 'dir' && parent.subtree !== undefined ? this.#parentNodes(parent.subtree) : NO_NODES
  }

  async #parentNodes(tree: BlobId): Promise<ParentNodes> {
    try {
      const nodes = await this.#options.parent!.readTree(tree)
      return new Map(nodes.map((node) => [node.name.toString('latin1'), node]))
    } catch (error) {
      // Without the parent's tree everything is read afresh, which is always right; `check` reports the damage.
      if (error instanceof EngineError && (error.code === 'CORRUPT' || error.code === 'NOT_FOUND')) return NO_NODES
      throw error
    }
  }

  #countFile(path: Buffer, as: 'filesNew' | 'filesChanged' | 'filesUnmodified', bytes: number, { counts }: Part): void {
    this.#counts[as] += 1
    this.#counts.totalFiles += 1
    this.#counts.totalBytes += bytes
    counts.files += 1
    counts.bytes += bytes
    this.#options.onProgress?.({ files: this.#counts.totalFiles, bytes: this.#counts.totalBytes }, path)
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

async function resolved(found: readonly Found[]): Promise<TreeNode[]> {
  const nodes: TreeNode[] = []
  for (const one of found) {
    const node = one instanceof Later ? await one.node : one
    if (node) nodes.push(node)
  }
  return nodes
}

/** What was known of a file before it was opened, with what is known since. */
function asStored(stats: BigIntStats, state: FileState): BigIntStats {
  const { dev, ino, mode, nlink, uid, gid, size, mtimeNs, ctimeNs } = state
  // As nearly always: then nothing needs to be made anew.
  const isSame =
    ctimeNs === stats.ctimeNs &&
    mtimeNs === stats.mtimeNs &&
    size === stats.size &&
    ino === stats.ino &&
    dev === stats.dev &&
    nlink === stats.nlink &&
    mode === stats.mode &&
    uid === stats.uid &&
    gid === stats.gid
  if (isSame) return stats
  return Object.assign(Object.create(Object.getPrototypeOf(stats)), stats, {
    dev,
    ino,
    mode,
    nlink,
    uid,
    gid,
    size,
    mtimeNs,
    ctimeNs,
  })
}

function lstat(path: Buffer): BigIntStats {
  return fromSource(path, () => lstatSync(path, { bigint: true }))
}

const SLASH = Buffer.from('/')

function below(folder: Buffer, name: Buffer): Buffer {
  return Buffer.concat([folder, SLASH, name])
}

function isUnchanged(parent: TreeNode, stats: BigIntStats): boolean {
  return (
    parent.type === 'file' &&
    BigInt(parent.size) === stats.size &&
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
