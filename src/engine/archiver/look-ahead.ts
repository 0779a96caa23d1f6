import { lstatSync, readdirSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { listExtendedAttributes } from '../os/extended-attributes.ts'
import { below } from './below.ts'
import type { EntryStats } from './node-from-stats.ts'

/** Entries that are remembered at most: of about 150 bytes each with their names. */
const MOST_ENTRIES = 100_000
const SLICE_MILLISECONDS = 15

const FIELDS = 10
const S_IFMT = 0o170000

/** What a folder holds, in the order of names. */
export interface LookedAt {
  /** `latin1` text of their bytes. */
  readonly names: readonly string[]
  /** Undefined when it could not be had: then it is tried again in its turn, which reports what is wrong. */
  stats(index: number): EntryStats | undefined
}

/**
 * Lists folders below the targets while the key of the repository is derived, which keeps another thread busy: the archiver
 * then finds its `lstat`s done. What cannot be read is left for the archiver to find out. Bounded by `MOST_ENTRIES`.
 */
export class LookAhead {
  readonly #folders = new Map<string, LookedAt>()
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
  take(folder: Buffer): LookedAt | undefined {
    if (this.#folders.size === 0) return undefined
    const key = folder.toString('latin1')
    const found = this.#folders.get(key)
    this.#folders.delete(key)
    return found
  }

  /** The folders in it. */
  #look(folder: Buffer): Buffer[] {
    let names: string[]
    try {
      names = readdirSync(folder, { encoding: 'latin1' }).sort()
    } catch {
      return [] // also for a target that is no folder
    }
    const table = new BigInt64Array(FIELDS * names.length)
    const bare = new Uint8Array(names.length)
    const stats = (index: number) =>
      table[FIELDS * index + 2] === 0n ? undefined : new PackedStats(table, index, bare)
    const folders: Buffer[] = []
    for (const [i, name] of names.entries()) {
      const path = below(folder, Buffer.from(name, 'latin1'))
      try {
        const found = lstatSync(path, { bigint: true })
        const { dev, ino, mode, nlink, uid, gid, rdev, size, mtimeNs, ctimeNs } = found
        table.set([dev, ino, mode, nlink, uid, gid, rdev, size, mtimeNs, ctimeNs], FIELDS * i)
        if (listExtendedAttributes(path).length === 0) bare[i] = 1
        if (found.isDirectory() && (this.#select?.(path, found) ?? true)) folders.push(path)
      } catch {
        table[FIELDS * i + 2] = 0n
      }
    }
    this.#entries += names.length
    this.#folders.set(folder.toString('latin1'), { names, stats })
    return folders
  }
}

class PackedStats implements EntryStats {
  readonly #table: BigInt64Array
  readonly #at: number
  readonly isBare: boolean

  constructor(table: BigInt64Array, index: number, bare: Uint8Array) {
    this.#table = table
    this.#at = FIELDS * index
    this.isBare = bare[index] === 1
  }

  get dev(): bigint {
    return this.#table[this.#at]!
  }
  get ino(): bigint {
    return this.#table[this.#at + 1]!
  }
  get mode(): bigint {
    return this.#table[this.#at + 2]!
  }
  get nlink(): bigint {
    return this.#table[this.#at + 3]!
  }
  get uid(): bigint {
    return this.#table[this.#at + 4]!
  }
  get gid(): bigint {
    return this.#table[this.#at + 5]!
  }
  get rdev(): bigint {
    return this.#table[this.#at + 6]!
  }
  get size(): bigint {
    return this.#table[this.#at + 7]!
  }
  get mtimeNs(): bigint {
    return this.#table[this.#at + 8]!
  }
  get ctimeNs(): bigint {
    return this.#table[this.#at + 9]!
  }
  isDirectory(): boolean {
    return (Number(this.mode) & S_IFMT) === 0o040000
  }
  isFile(): boolean {
    return (Number(this.mode) & S_IFMT) === 0o100000
  }
}
