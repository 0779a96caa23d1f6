import { setImmediate as nextTurn } from 'node:timers/promises'
import type { BlobId } from '../format/id.ts'
import { type EntryStats, FolderEntries } from '../os/entry-stats.ts'
import { below } from './below.ts'
import { CLOCK_SECONDS, type KnownFolders } from './known-folders.ts'
import type { SeenFile } from './pool/store-ahead.ts'

/** Entries that are remembered at most: of about 150 bytes each with their names. */
const MOST_ENTRIES = 100_000
/** Short: a lock is taken meanwhile, in ten steps that wait for a slice each, and slowly taken it may not be used before it has settled. */
const SLICE_MILLISECONDS = 2

const MOST_PAUSE_MILLISECONDS = 200

interface SeenFolder {
  readonly entries: FolderEntries
  /** Keys of the folders in it that were selected. */
  readonly folders: readonly string[]
  fingerprint?: string | undefined
  /** What is known of it with all below it; null when something is not. Undefined until it is asked for. */
  known?: KnownSubtree | null
}

interface Changed {
  readonly files: number
  readonly bytes: number
}

/** A folder that is, with all below it, as it was in the snapshot before. */
export interface KnownSubtree {
  readonly tree: BlobId
  /** Itself included. */
  readonly folders: number
  readonly files: number
  readonly bytes: number
}

/**
 * Lists folders below the targets while the key of the repository is derived, which keeps another thread busy: the archiver
 * then finds its `lstat`s done. What cannot be read is left for the archiver to find out. Bounded by `MOST_ENTRIES`.
 */
export class LookAhead {
  readonly #folders = new Map<string, SeenFolder>()
  readonly #select: ((path: Buffer, stats: EntryStats) => boolean) | undefined
  /** When nothing had been looked at yet, in milliseconds since the epoch. */
  readonly begun = Date.now()
  #entries = 0
  #isStopped = false
  #paused: PromiseWithResolvers<void> | undefined
  #pauseEnd: NodeJS.Timeout | undefined
  readonly #allSeen = Promise.withResolvers<void>()

  constructor(select: ((path: Buffer, stats: EntryStats) => boolean) | undefined) {
    this.#select = select
  }

  /** Goes on until all is seen, enough is, or `stop` is called. Never rejects. */
  async run(targets: readonly Buffer[]): Promise<void> {
    const todo = targets.toReversed()
    let sliceEnd = performance.now() + SLICE_MILLISECONDS
    const turn = async () => {
      if (performance.now() < sliceEnd) return
      await nextTurn()
      await this.#paused?.promise
      sliceEnd = performance.now() + SLICE_MILLISECONDS
    }
    for (let folder = todo.pop(); folder !== undefined && !this.#isStopped; folder = todo.pop()) {
      todo.push(...this.#look(folder).reverse())
      if (this.#entries >= MOST_ENTRIES) break
      await turn()
    }
    this.#allSeen.resolve()
    // Last, for who knows a folder from before can do without.
    for (const { entries } of this.#folders.values()) {
      if (this.#isStopped) return
      entries.lookForAttributes(0, entries.names.length)
      await turn()
    }
  }

  /** Resolves when no more folders are looked at. */
  get allSeen(): Promise<void> {
    return this.#allSeen.promise
  }

  stop(): void {
    this.#isStopped = true
    this.goOn()
  }

  /** Leaves the thread to others until `goOn` is called, or for too long: they may wait for something far away. */
  pause(): void {
    if (this.#isStopped || this.#paused) return
    this.#paused = Promise.withResolvers()
    this.#pauseEnd = setTimeout(() => this.goOn(), MOST_PAUSE_MILLISECONDS)
  }

  goOn(): void {
    clearTimeout(this.#pauseEnd)
    this.#paused?.resolve()
    this.#paused = undefined
  }

  /** Files that were seen to have changed since a moment, in seconds since the epoch, and their sizes; no more once it is `enough`. */
  changedSince(second: number, enough: (changed: Changed) => boolean): Changed {
    let files = 0
    let bytes = 0
    for (const { entries } of this.#folders.values()) {
      const found = entries.changedSince(second - CLOCK_SECONDS)
      files += found.files
      bytes += found.bytes
      if (enough({ files, bytes })) break
    }
    return { files, bytes }
  }

  /** Files of at least so many bytes that were seen to have changed in a later second of the clock, and are selected; without further links. */
  changedFiles(after: number, leastBytes: number): SeenFile[] {
    const files: SeenFile[] = []
    for (const [key, { entries }] of this.#folders) {
      for (const index of entries.changedFiles(after + 1, leastBytes)) {
        const path = below(Buffer.from(key, 'latin1'), Buffer.from(entries.names[index]!, 'latin1'))
        const stats = entries.stats(index, Number.POSITIVE_INFINITY)!
        if (stats.nlink === 1 && (this.#select?.(path, stats) ?? true)) files.push({ path, stats })
      }
    }
    return files
  }

  /** What was found in the folder; it is forgotten then. */
  take(folder: Buffer): FolderEntries | undefined {
    if (this.#folders.size === 0) return undefined
    const key = folder.toString('latin1')
    const found = this.#folders.get(key)?.entries
    this.#folders.delete(key)
    return found
  }

  /**
   * What is known of the folder, when it and everything below it was seen, nothing of that is new, and this is its tree. All that
   * is known of is added to `kept` then.
   */
  takeKnown(
    folder: Buffer,
    tree: BlobId | undefined,
    known: KnownFolders,
    kept: KnownFolders,
  ): KnownSubtree | undefined {
    const key = folder.toString('latin1')
    const found = this.#known(key, known)
    if (found === undefined || found.tree !== tree) return undefined
    this.#keep(key, known, kept)
    return found
  }

  #known(key: string, known: KnownFolders): KnownSubtree | undefined {
    const seen = this.#folders.get(key)
    if (seen === undefined) return undefined
    if (seen.known === undefined) seen.known = this.#subtree(seen, known) ?? null
    return seen.known ?? undefined
  }

  #subtree(seen: SeenFolder, known: KnownFolders): KnownSubtree | undefined {
    const fingerprint = seen.entries.fingerprint(known.trustedBefore)
    const here = fingerprint === undefined ? undefined : known.find(fingerprint)
    if (here === undefined) return undefined
    seen.fingerprint = fingerprint
    let { files, bytes } = here
    let folders = 1
    for (const key of seen.folders) {
      const inner = this.#known(key, known)
      if (inner === undefined) return undefined
      folders += inner.folders
      files += inner.files
      bytes += inner.bytes
    }
    return { tree: here.tree, folders, files, bytes }
  }

  #keep(key: string, known: KnownFolders, kept: KnownFolders): void {
    const { fingerprint, folders } = this.#folders.get(key)!
    this.#folders.delete(key)
    kept.add(fingerprint!, known.find(fingerprint!)!)
    for (const inner of folders) this.#keep(inner, known, kept)
  }

  /** The folders in it. */
  #look(folder: Buffer): Buffer[] {
    let entries: FolderEntries
    try {
      entries = FolderEntries.in(folder)
    } catch {
      return [] // also for a target that is no folder
    }
    const { names } = entries
    entries.look(0, names.length)
    this.#entries += names.length
    const folders: Buffer[] = []
    const keys: string[] = []
    this.#folders.set(folder.toString('latin1'), { entries, folders: keys })
    for (let i = 0; i < names.length; i++) {
      if (!entries.isFolder(i)) continue
      const path = below(folder, Buffer.from(names[i]!, 'latin1'))
      if (!(this.#select?.(path, entries.stats(i, Number.POSITIVE_INFINITY)!) ?? true)) continue
      folders.push(path)
      keys.push(path.toString('latin1'))
    }
    return folders
  }
}
