import {
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  type Stats,
  symlinkSync,
  unlinkSync,
} from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { mapConcurrent } from '../concurrency.ts'
import { EngineError, type EngineErrorCode } from '../error.ts'
import type { BlobId } from '../format/id.ts'
import { nameDefect } from '../format/node-name.ts'
import { quoteName } from '../format/quote.ts'
import type { TreeNode } from '../format/tree.ts'
import type { RenamedOwners } from '../os/accounts.ts'
import { describeErrno, errnoOf } from '../os/errno.ts'
import { makeDevice, makeFifo } from '../os/nodes.ts'
import { readBlob, readTree } from '../repository/read-blob.ts'
import type { IndexedRepository } from '../repository/repository.ts'
import { applyMetadata } from './apply-metadata.ts'
import { partName, removeLeftParts } from './part-name.ts'
import { contentDefect, type WrittenBlob } from './verify-content.ts'
import { writeSparsely } from './write-sparsely.ts'

/** One entry to bring back, with all below it, and where to. The destination's own folder exists. */
export interface RestoreItem {
  readonly node: TreeNode
  readonly destination: Buffer
}

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
  /** Further links to a file that was verified do not count. */
  readonly verifiedFiles: number
  readonly problems: number
}

/** Blobs of one file read ahead of the one being written; none where they are larger than any chunker makes them. */
const READ_AHEAD = 3
const LARGE_BLOB = 32 * 1024 * 1024

/** A storage that fails this often without one success in between is gone, rather than bad in one place. */
const STORAGE_FAILURES = 3

/** The event loop gets a turn at least this often, for signals and progress. */
const TURN_MILLISECONDS = 25

/**
 * Brings entries back. Every file appears under its name only when it is complete: written beside it as
 * `.holdfast-….part`, given its metadata, then renamed. What stood there before is replaced by files; folders are
 * merged into. What a restore that was killed left half-written in them is removed. Nothing is synchronized: a caller that needs it to survive a power cut does so when all is there.
 *
 * Safe against a hostile repository: names are checked before a path is used, names that a folder lists twice are
 * refused, nothing is written through a symbolic link below a destination, and existing files are replaced rather than
 * opened, so that their other links keep their content. A small repository can hold a huge tree: it ends at the length
 * of a path or at the end of the disk, and memory does not grow with it unless `verify` is asked for.
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

class Restore {
  readonly #repository: IndexedRepository
  readonly #options: RestoreOptions
  /** First restored path of each file with several links, by device and inode. */
  readonly #linked = new Map<string, { readonly path: Buffer; readonly content: readonly BlobId[] }>()
  /** Only with `verify`. */
  readonly #written: { readonly path: Buffer; readonly blobs: readonly WrittenBlob[] }[] = []
  #count = { files: 0, folders: 0, bytes: 0 }
  #verified = { files: 0, bytes: 0 }
  #problems = 0
  #storageFailures = 0
  #lastTurn = performance.now()

  constructor(repository: IndexedRepository, options: RestoreOptions) {
    this.#repository = repository
    this.#options = options
  }

  async run(items: readonly RestoreItem[]): Promise<RestoreResult> {
    this.#options.signal?.throwIfAborted()
    removeLeftPartsBeside(items)
    await this.#entries(items)
    for (const { path, blobs } of this.#written) await this.#verify(path, blobs)
    return { ...this.#count, verifiedFiles: this.#verified.files, problems: this.#problems }
  }

  async #entries(items: readonly RestoreItem[]): Promise<void> {
    const twice = repeated(items.map(({ destination }) => destination.toString('latin1')))
    for (const path of twice) {
      // Which of them is meant? A link and then a folder of one name is how archives are made to write outside.
      const destination = Buffer.from(path, 'latin1')
      this.#problem(destination, 'hostile', `Cannot restore ${destination}: its folder lists the name more than once`)
    }
    for (const item of items) if (!twice.has(item.destination.toString('latin1'))) await this.#entry(item)
  }

  async #entry(item: RestoreItem): Promise<void> {
    const { node, destination } = item
    await this.#turn()
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
        await this.#attempt(destination, () => this.#file(item))
        return
      case 'socket':
        return // a socket is made by the program that listens on it
      default:
        await this.#attempt(destination, () => this.#special(item))
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
    if (folder.wasPresent && wanted === 'folder') return
    // Last: what is made in it changes its times, and cannot be made in a folder without write permission.
    this.#metadata(destination, node)
    this.#count.folders += 1
  }

  /** Makes the folder unless it is there. */
  async #enter({ node, destination }: RestoreItem): Promise<{ children: readonly TreeNode[]; wasPresent: boolean }> {
    if (node.subtree === undefined) throw lacking(destination, 'a folder without a tree')
    const children = await readTree(this.#repository, node.subtree, this.#options.signal)
    this.#storageFailures = 0
    const present = lstatSync(destination, { throwIfNoEntry: false })
    if (present && !present.isDirectory()) throw obstructed(destination, `${kindOf(present)} stands in its place`)
    if (present) removeLeftParts(destination, new Set(children.map(({ name }) => name.toString('latin1'))))
    else mkdirSync(destination, 0o700)
    return { children, wasPresent: present !== undefined }
  }

  async #file({ node, destination }: RestoreItem): Promise<void> {
    const { content } = node
    if (content === undefined) throw lacking(destination, 'a file without a list of content')
    if (!(await this.#linkedTo(node, content, destination))) {
      let blobs: readonly WrittenBlob[] = []
      await this.#publish(destination, async (temporary) => {
        blobs = await this.#write(temporary, node, content, destination)
        this.#metadata(temporary, node, destination)
      })
      if (isLinked(node)) this.#linked.set(linkKey(node), { path: destination, content })
      if (this.#options.verify) this.#written.push({ path: destination, blobs })
    }
    this.#countFile(destination)
  }

  /** Makes a hard link where another link to the same file was restored. A pair with different content is no pair. */
  async #linkedTo(node: TreeNode, content: readonly BlobId[], destination: Buffer): Promise<boolean> {
    const first = isLinked(node) ? this.#linked.get(linkKey(node)) : undefined
    if (!first || first.content.length !== content.length || first.content.some((id, i) => id !== content[i]))
      return false
    try {
      await this.#publish(destination, (temporary) => linkSync(first.path, temporary))
      return true
    } catch (error) {
      const errno = systemErrno(error)
      if (errno === undefined || isFull(errno)) throw error
      // The file system has no links, no more of them for this file, or another one begins in between.
      const message = `${destination} is restored as a file of its own, not as a link to ${first.path}: ${describeErrno(errno)}`
      this.#problem(destination, 'metadata', message, error)
      return false
    }
  }

  async #write(
    temporary: Buffer,
    node: TreeNode,
    content: readonly BlobId[],
    destination: Buffer,
  ): Promise<WrittenBlob[]> {
    const { signal } = this.#options
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
    const blobs: WrittenBlob[] = []
    const fd = openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    try {
      let position = 0
      const read = (id: BlobId) => readBlob(this.#repository, 'data', id, signal)
      for await (const bytes of mapConcurrent(content, this.#readAhead(content), read)) {
        if (position + bytes.length > node.size)
          throw wrongSize(destination, position + bytes.length, node.size, 'at least ')
        writeSparsely(fd, bytes, position)
        blobs.push({ id: content[blobs.length]!, length: bytes.length })
        position += bytes.length
        this.#count.bytes += bytes.length
        this.#storageFailures = 0
        this.#options.onProgress?.('restore', this.#count, destination)
        await this.#turn()
      }
      if (position !== node.size) throw wrongSize(destination, position, node.size)
      ftruncateSync(fd, position) // a hole at the end has not been written
    } finally {
      closeSync(fd)
    }
    return blobs
  }

  #readAhead(content: readonly BlobId[]): number {
    const { index } = this.#repository
    const isLarge = (id: BlobId) =>
      index.findAll('data', id).some(({ uncompressedLength, length }) => (uncompressedLength ?? length) > LARGE_BLOB)
    return content.length > 1 && content.some(isLarge) ? 1 : READ_AHEAD
  }

  async #special({ node, destination }: RestoreItem): Promise<void> {
    await this.#publish(destination, (temporary) => {
      makeSpecial(temporary, node, destination)
      this.#metadata(temporary, node, destination)
    })
    this.#countFile(destination)
  }

  /** Renames what `make` makes over what stands at the destination; whatever fails, the temporary name goes. */
  async #publish(destination: Buffer, make: (temporary: Buffer) => void | Promise<void>): Promise<void> {
    const temporary = temporaryBeside(destination)
    try {
      await make(temporary)
      renameSync(temporary, destination)
    } catch (error) {
      this.#discard(temporary)
      if (errnoOf(error) !== 'EISDIR') throw error
      throw obstructed(destination, 'a folder stands in its place', error)
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
    applyMetadata(path, node, {
      numericOwner: this.#options.numericOwner ?? false,
      renamedOwners: this.#options.renamedOwners,
      onFailure: (what, cause) => {
        const errno = systemErrno(cause)
        const reason = errno === undefined ? (cause as Error).message : describeErrno(errno)
        this.#problem(shown, 'metadata', `Cannot set ${what} of ${shown}: ${reason}`, cause)
      },
    })
  }

  async #verify(path: Buffer, blobs: readonly WrittenBlob[]): Promise<void> {
    const failed = (reason: string, cause?: unknown) =>
      this.#problem(path, 'verify', `${path} does not read back as it was written: ${reason}`, cause)
    try {
      const defect = await contentDefect(path, blobs, (bytes) => {
        this.#verified.bytes += bytes
        this.#options.onProgress?.('verify', this.#verified, path)
        return this.#turn()
      })
      if (defect !== undefined) return failed(defect)
    } catch (error) {
      const errno = systemErrno(error)
      if (errno === undefined) throw error
      return failed(describeErrno(errno), error)
    }
    this.#verified.files += 1
    this.#options.onProgress?.('verify', this.#verified, path)
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

  async #turn(): Promise<void> {
    if (performance.now() - this.#lastTurn < TURN_MILLISECONDS) return
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

/** The error number of a system call that failed, in Node or through the C library. */
function systemErrno(error: unknown): string | undefined {
  if (!(error instanceof EngineError))
    return typeof (error as NodeJS.ErrnoException).errno === 'number' ? errnoOf(error) : undefined
  return typeof error.facts.errno === 'string' ? error.facts.errno : undefined
}

function isFull(errno: string): boolean {
  return errno === 'ENOSPC' || errno === 'EDQUOT'
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

/** In the same folder, hence on the same file system. */
function temporaryBeside(destination: Buffer): Buffer {
  const folder = destination.subarray(0, destination.lastIndexOf(0x2f) + 1)
  return Buffer.concat([folder, Buffer.from(partName())])
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

function obstructed(destination: Buffer, what: string, cause?: unknown): EngineError {
  const facts = { path: destination.toString() }
  return new EngineError('TARGET', `Cannot restore ${destination}: ${what}`, { facts, cause })
}

function wrongSize(destination: Buffer, bytes: number, size: number, atLeast = ''): EngineError {
  return new EngineError('CORRUPT', `its content has ${atLeast}${bytes} bytes, its size says ${size}`, {
    facts: { path: destination.toString(), bytes, size },
  })
}

function kindOf(stats: Stats): string {
  if (stats.isSymbolicLink()) return 'a symbolic link'
  return stats.isFile() ? 'a file' : 'something else'
}
