import type { EntryStats } from '../../os/entry-stats.ts'
import type { FileStore, FileToStore, StoredFile } from '../file-store.ts'
import type { StorePool } from './store-pool.ts'

/** A file, as somebody has seen it. */
export interface SeenFile {
  readonly path: Buffer
  readonly stats: EntryStats
}

/** Enough to keep every thread busy until the archive gets there. */
const MOST_FILES = 1024

/**
 * A pool of threads that is handed files before the archive comes to them, so that it need not wait: what the archive then asks
 * for is under way, or done. Whatever it does not ask for, or has seen in another state, was stored in vain.
 */
export class StoreAhead implements FileStore, AsyncDisposable {
  readonly #pool: StorePool
  /** By path, as `latin1` text. */
  readonly #ahead = new Map<string, FileAhead>()
  readonly #over: Promise<void>[] = []

  constructor(pool: StorePool) {
    this.#pool = pool
  }

  get isConcurrent(): boolean {
    return this.#pool.isConcurrent
  }

  /** Begins to store those that were not begun before. */
  begin(files: readonly SeenFile[]): void {
    for (const { path, stats } of files) {
      const key = path.toString('latin1')
      if (this.#over.length === MOST_FILES) return
      if (this.#ahead.has(key)) continue
      const file = new FileAhead(path, stats)
      this.#ahead.set(key, file)
      this.#over.push(file.over)
      this.#pool.store(file)
    }
  }

  store(file: FileToStore): void {
    const ahead = this.#taken(file.path)
    if (file.seen !== undefined && ahead?.seen.equals(file.seen)) ahead.giveTo(file)
    else this.#pool.store(file)
  }

  #taken(path: Buffer): FileAhead | undefined {
    if (this.#ahead.size === 0) return undefined
    const key = path.toString('latin1')
    const ahead = this.#ahead.get(key)
    this.#ahead.delete(key)
    return ahead
  }

  noMore(): void {
    this.#pool.noMore()
  }

  /** As `StorePool.finish`. No file that was handed in by `store` may be under way. */
  async finish(): Promise<void> {
    await Promise.all(this.#over)
    await this.#pool.finish()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#pool[Symbol.asyncDispose]()
  }
}

class FileAhead implements FileToStore {
  readonly path: Buffer
  readonly seen: EntryStats
  readonly asksVeto = true
  readonly #over = Promise.withResolvers<void>()
  #tell: ((file: FileToStore) => void) | undefined
  #asked: FileToStore | undefined

  constructor(path: Buffer, seen: EntryStats) {
    this.path = path
    this.seen = seen
  }

  get size(): number {
    return this.seen.size
  }

  /** Resolves, and never rejects, when nobody works on it any more. */
  get over(): Promise<void> {
    return this.#over.promise
  }

  whenStored(stored: StoredFile): void {
    this.#end((file) => file.whenStored(stored))
  }

  whenFailed(error: unknown): void {
    this.#end((file) => file.whenFailed(error))
  }

  /** Tells it what this one comes to; never at once. */
  giveTo(file: FileToStore): void {
    const tell = this.#tell
    if (tell === undefined) this.#asked = file
    else queueMicrotask(() => tell(file))
  }

  #end(tell: (file: FileToStore) => void): void {
    this.#tell = tell
    if (this.#asked) tell(this.#asked)
    this.#over.resolve()
  }
}
