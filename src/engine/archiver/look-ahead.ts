import { setImmediate as nextTurn } from 'node:timers/promises'
import { type EntryStats, FolderEntries } from '../os/entry-stats.ts'
import { below } from './below.ts'

/** Entries that are remembered at most: of about 150 bytes each with their names. */
const MOST_ENTRIES = 100_000
/** Short: a lock is taken meanwhile, in ten steps that wait for a slice each, and slowly taken it may not be used before it has settled. */
const SLICE_MILLISECONDS = 2

/**
 * Lists folders below the targets while the key of the repository is derived, which keeps another thread busy: the archiver
 * then finds its `lstat`s done. What cannot be read is left for the archiver to find out. Bounded by `MOST_ENTRIES`.
 */
export class LookAhead {
  readonly #folders = new Map<string, FolderEntries>()
  readonly #select: ((path: Buffer, stats: EntryStats) => boolean) | undefined
  #entries = 0
  #isStopped = false

  constructor(select: ((path: Buffer, stats: EntryStats) => boolean) | undefined) {
    this.#select = select
  }

  /** Goes on until all is seen, enough is, or `stop` is called. Never rejects. */
  async run(targets: readonly Buffer[]): Promise<void> {
    const todo = targets.toReversed()
    let sliceEnd = performance.now() + SLICE_MILLISECONDS
    for (let folder = todo.pop(); folder !== undefined && !this.#isStopped; folder = todo.pop()) {
      todo.push(...this.#look(folder).reverse())
      if (this.#entries >= MOST_ENTRIES) return
      if (performance.now() < sliceEnd) continue
      await nextTurn()
      sliceEnd = performance.now() + SLICE_MILLISECONDS
    }
  }

  stop(): void {
    this.#isStopped = true
  }

  /** What was found in the folder; it is forgotten then. */
  take(folder: Buffer): FolderEntries | undefined {
    if (this.#folders.size === 0) return undefined
    const key = folder.toString('latin1')
    const found = this.#folders.get(key)
    this.#folders.delete(key)
    return found
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
    this.#folders.set(folder.toString('latin1'), entries)
    const folders: Buffer[] = []
    for (let i = 0; i < names.length; i++) {
      if (!entries.isFolder(i)) continue
      const path = below(folder, Buffer.from(names[i]!, 'latin1'))
      if (this.#select?.(path, entries.stats(i)!) ?? true) folders.push(path)
    }
    return folders
  }
}
