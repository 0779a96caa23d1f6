import { createHash } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readdir, rm, stat, unlink, utimes } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { EngineError } from '../error.ts'
import { hashId, isId } from '../format/id.ts'
import { errnoOf } from '../os/errno.ts'
import { resolveRange } from './byte-range.ts'
import { prepareCacheFolder, writePrivately } from './cache-folder.ts'
import { folderOf } from './layout.ts'
import type { ByteRange, FileName, FileType, Storage, StoredFile } from './storage.ts'
import type { TreePackListener } from './tree-pack-listener.ts'

// A cache of the files that are read again and again: index, snapshots, and the packs that hold trees.
//
//   CACHEDIR.TAG                           https://bford.info/cachedir: backups leave the folder out
//   <repository ID>/index/<2 digits>/<ID>  each file as it is stored, sealed; likewise snapshots, data
//   <repository ID>/notes                  what is noted for the next run: see `repository/notes.ts`
//   …/<ID>.<random>.tmp                    being written; left over where a process was killed
//
// Nothing in it is believed: a file is handed out when its SHA-256 is its name. So it needs no locks and no order, survives
// kill -9 and power cuts, and anything in it may be removed at any time, also by hand.

/** All repositories together. Index and trees of a repository of a million files take some hundred megabytes. */
const DEFAULT_LIMIT = 4 * 1024 ** 3
/** Room that is made at once when the limit is reached, as a share of it. */
const MAKE_ROOM = 0.1
/** Larger files are not kept, and not held in memory for it. Packs with trees have 16 MiB, and at most 128. */
const LARGEST_FILE = 128 * 1024 ** 2
/** What a process that was killed left half written. */
const LEFT_OVER_MILLISECONDS = 60 * 60 * 1000
/** A repository that was not used for so long is forgotten by `cleanUpCache`: restic's limit. */
const UNUSED_MILLISECONDS = 30 * 24 * 60 * 60 * 1000
const HASH_BLOCK = 1024 * 1024

export interface CacheOptions {
  /** Which repository: its ID, 64 hex digits. */
  readonly repository: string
  /** Of all files in the cache together, in bytes. */
  readonly limit?: number
  /** Told once why the cache cannot be used or written to; the work goes on without it. */
  readonly onProblem?: (error: EngineError) => void
}

/**
 * The storage with a cache in a folder of this machine. What is read again comes from there: whole index and snapshot files, and any
 * part of the packs of which it was told that they hold trees. Those are fetched as a whole the first time. What is written is
 * kept as well. Lists, sizes and everything else are always asked of the storage itself, and what a list no longer names goes.
 *
 * The folder and what is in it is for its owner only. Whatever goes wrong in it costs time, never a result.
 */
export function withCache(storage: Storage, folder: string, options: CacheOptions): Storage & TreePackListener {
  const cache = new FileCache(folder, options)
  let treePacks = new Set<string>()
  const fetching = new Map<string, Promise<void>>()

  /** Fetches a pack as a whole, once for all who ask at the same time. */
  async function keepPack(name: FileName, signal: AbortSignal | undefined): Promise<Buffer | undefined> {
    const size = await storage.size(name, signal)
    if (size > LARGEST_FILE) return undefined
    const content = await storage.read(name, undefined, signal)
    await cache.add(name, [content])
    return content
  }

  async function readPart(name: FileName, range: ByteRange, signal: AbortSignal | undefined): Promise<Buffer> {
    for (let attempt = 0; attempt < 2; attempt++) {
      const part = await cache.read(name, range, storage.location)
      if (part !== undefined) return part
      const others = fetching.get(name.id)
      if (others === undefined) break
      await others
      signal?.throwIfAborted()
    }
    if (!cache.isUsable) return storage.read(name, range, signal)
    const { promise, resolve: done } = Promise.withResolvers<void>()
    fetching.set(name.id, promise)
    try {
      const content = await keepPack(name, signal)
      if (content === undefined) return await storage.read(name, range, signal)
      const { offset, length } = resolveRange(name, range, content.length, storage.location)
      return Buffer.from(content.subarray(offset, offset + length))
    } finally {
      fetching.delete(name.id)
      done()
    }
  }

  return {
    location: storage.location,
    uncached: storage,
    ...(storage.beside === undefined ? {} : { beside: storage.beside }),
    create: () => storage.create(),
    size: (name, signal) => storage.size(name, signal),

    async *list(type, signal) {
      if (type !== 'index' && type !== 'snapshot') {
        yield* storage.list(type, signal)
        return
      }
      const listed = new Set<string>()
      for await (const file of storage.list(type, signal) as AsyncIterable<StoredFile>) {
        listed.add(file.name.id)
        yield file
      }
      await cache.keepOnly(type, listed)
    },

    async read(name, range, signal) {
      signal?.throwIfAborted()
      if (name.type === 'pack' && range !== undefined && treePacks.has(name.id)) return readPart(name, range, signal)
      if ((name.type !== 'index' && name.type !== 'snapshot') || range !== undefined) {
        return storage.read(name, range, signal)
      }
      const kept = await cache.read(name, undefined, storage.location)
      if (kept !== undefined) return kept
      const content = await storage.read(name, undefined, signal)
      await cache.add(name, [content])
      return content
    },

    async write(name, content, signal, onTaken) {
      const isKept = name.type === 'pack' && treePacks.has(name.id)
      await storage.write(name, content, signal, isKept ? undefined : onTaken)
      // Index files and snapshots are read back by whoever writes them, and kept then: from here they would prove nothing.
      if (isKept) await cache.add(name, Buffer.isBuffer(content) ? [content] : content)
    },

    async remove(name, signal) {
      await storage.remove(name, signal)
      await cache.drop(name)
    },

    async setTreePacks(packs) {
      treePacks = new Set(packs)
      await cache.keepOnly('pack', treePacks)
    },

    addTreePack(pack) {
      treePacks.add(pack)
    },
  }
}

/** The files of one repository. Every method does what it can, and none rejects. */
class FileCache {
  readonly #base: string
  readonly #folder: string
  readonly #limit: number
  readonly #onProblem: (error: EngineError) => void
  /** Of files that this process has held against their names: what they were then. */
  readonly #verified = new Map<string, string>()
  #ready: Promise<boolean> | undefined
  /** Bytes in the cache, as far as this process knows. */
  #size: Promise<number> | undefined
  #added = 0
  #hasFailed = false

  constructor(base: string, { repository, limit = DEFAULT_LIMIT, onProblem = () => {} }: CacheOptions) {
    if (!isId(repository)) throw new EngineError('INVALID_ID', 'Cannot cache a repository without an ID')
    this.#base = resolve(base)
    this.#folder = join(this.#base, repository)
    this.#limit = limit
    this.#onProblem = onProblem
  }

  get isUsable(): boolean {
    return !this.#hasFailed
  }

  /** Undefined where the file is not there, or not what its name says: then it is dropped. */
  async read(name: FileName, range: ByteRange | undefined, location: string): Promise<Buffer | undefined> {
    if (!(await this.#prepare())) return undefined
    const path = this.#pathOf(name)
    return this.#attempt(async () => {
      await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      const stats = await handle.stat()
      if (!stats.isFile() || stats.size > LARGEST_FILE) return undefined
      if (range === undefined) {
        const content = await readAll(handle, stats.size)
        if (hashId(content) === name.id) return await this.#touched(path, stats, content)
      } else if (this.#verified.get(path) === stateOf(stats) || (await hashOf(handle, stats.size)) === name.id) {
        const { offset, length } = resolveRange(name, range, stats.size, location)
        const part = Buffer.allocUnsafeSlow(length)
        if ((await handle.read(part, 0, length, offset)).bytesRead === length || length === 0) {
          return await this.#touched(path, stats, part)
        }
      }
      this.#verified.delete(path)
      await unlink(path)
      return undefined
    })
  }

  async add(name: FileName, content: readonly Buffer[]): Promise<void> {
    if (this.#hasFailed || !(await this.#prepare())) return
    const size = content.reduce((sum, part) => sum + part.length, 0)
    if (size > LARGEST_FILE || size > this.#limit / 4) return
    const hash = createHash('sha256')
    for (const part of content) hash.update(part)
    if (hash.digest('hex') !== name.id) return // damaged, or written by nobody honest: never kept
    const path = this.#pathOf(name)
    await this.#attempt(async () => {
      await this.#makeRoom(size)
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      await writePrivately(path, content)
      this.#added += size
    })
  }

  async drop(name: FileName): Promise<void> {
    if (!isCached(name.type)) return
    const path = this.#pathOf(name)
    this.#verified.delete(path)
    await rm(path, { force: true }).catch(() => {})
  }

  /** Drops what the repository no longer has. */
  async keepOnly(type: CachedType, ids: ReadonlySet<string>): Promise<void> {
    if (!(await this.#prepare())) return
    await this.#attempt(async () => {
      for await (const file of filesIn(join(this.#folder, folderOf(type)))) {
        if (isId(file.name) && !ids.has(file.name)) await rm(file.path, { force: true })
      }
    })
  }

  #pathOf({ type, id }: FileName): string {
    return join(this.#folder, folderOf(type), id.slice(0, 2), id)
  }

  async #touched(path: string, stats: Stats, bytes: Buffer): Promise<Buffer> {
    if (this.#verified.get(path) === stateOf(stats)) return bytes
    // What was used last goes last. Once a process is often enough.
    const now = new Date()
    await utimes(path, now, now).catch(() => {})
    this.#verified.set(path, stateOf(await stat(path)))
    return bytes
  }

  /** Makes the folder and its tag, once. False where it cannot be used. */
  #prepare(): Promise<boolean> {
    this.#ready ??= (async () => {
      try {
        await prepareCacheFolder(this.#base, basename(this.#folder))
        return true
      } catch (error) {
        this.#fail(error)
        return false
      }
    })()
    return this.#ready
  }

  async #attempt<R>(work: () => Promise<R>): Promise<R | undefined> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof EngineError) throw error // a range that the file does not have
      // Not there, or removed this moment: then it is fetched, as if it had never been there.
      if (errnoOf(error) !== 'ENOENT') this.#fail(error)
      return undefined
    }
  }

  /** From now on nothing is added; what is there is read as far as it can be. */
  #fail(cause: unknown): void {
    if (this.#hasFailed) return
    this.#hasFailed = true
    this.#onProblem(
      new EngineError('STORAGE', `Cannot use the cache in ${this.#base}: ${(cause as Error).message}`, {
        facts: { folder: this.#base },
        hint: 'Nothing is lost by that but time. Make room there, name another folder with --cache-dir, or add --no-cache',
        cause,
      }),
    )
  }

  /** What was not used for longest goes first, of whatever repository. */
  async #makeRoom(size: number): Promise<void> {
    this.#size ??= sizeOf(this.#base)
    if ((await this.#size) + this.#added + size <= this.#limit) return
    const files: CachedFile[] = []
    for await (const file of allFiles(this.#base)) files.push(file)
    let total = files.reduce((sum, file) => sum + file.size, 0)
    for (const file of files.sort((a, b) => a.usedAt - b.usedAt)) {
      if (total + size <= this.#limit * (1 - MAKE_ROOM)) break
      await rm(file.path, { force: true })
      total -= file.size
    }
    this.#size = Promise.resolve(total)
    this.#added = 0
  }
}

type CachedType = Extract<FileType, 'index' | 'snapshot' | 'pack'>

function isCached(type: FileType): type is CachedType {
  return type === 'index' || type === 'snapshot' || type === 'pack'
}

/** Whether a file is still the one that was looked at. */
function stateOf({ ino, size, mtimeMs }: Stats): string {
  return `${ino} ${size} ${mtimeMs}`
}

async function readAll(handle: FileHandle, size: number): Promise<Buffer> {
  const content = Buffer.allocUnsafeSlow(size)
  let done = 0
  while (done < size) {
    const { bytesRead } = await handle.read(content, done, size - done, done)
    if (bytesRead === 0) break // it shrank: its hash will tell
    done += bytesRead
  }
  return content.subarray(0, done)
}

async function hashOf(handle: FileHandle, size: number): Promise<string> {
  const hash = createHash('sha256')
  const block = Buffer.allocUnsafe(Math.min(size, HASH_BLOCK))
  for (let at = 0; at < size; ) {
    const { bytesRead } = await handle.read(block, 0, block.length, at)
    if (bytesRead === 0) break
    hash.update(block.subarray(0, bytesRead))
    at += bytesRead
  }
  return hash.digest('hex')
}

interface CachedFile {
  readonly path: string
  readonly name: string
  readonly size: number
  /** ms since the epoch. */
  readonly usedAt: number
}

/** The files in the folders of two digits. What somebody else removes meanwhile is passed by, what a killed process left is removed. */
async function* filesIn(folder: string): AsyncGenerator<CachedFile> {
  for (const digits of await namesIn(folder)) {
    if (!/^[0-9a-f]{2}$/.test(digits)) continue
    for (const name of await namesIn(join(folder, digits))) {
      const path = join(folder, digits, name)
      const stats = await lstat(path).catch(() => undefined)
      if (!stats?.isFile()) continue
      if (name.endsWith('.tmp') && Date.now() - stats.mtimeMs > LEFT_OVER_MILLISECONDS) await rm(path, { force: true })
      else yield { path, name, size: stats.size, usedAt: stats.mtimeMs }
    }
  }
}

async function* allFiles(base: string): AsyncGenerator<CachedFile> {
  for (const repository of await namesIn(base)) {
    if (!isId(repository)) continue
    for (const type of ['index', 'snapshot', 'pack'] as const) yield* filesIn(join(base, repository, folderOf(type)))
  }
}

async function sizeOf(base: string): Promise<number> {
  let size = 0
  for await (const file of allFiles(base)) size += file.size
  return size
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return []
    throw error
  })
}

/** Removes the folders of repositories that nobody has used for 30 days. Resolves with how many there were. */
export async function cleanUpCache(base: string, now = Date.now()): Promise<number> {
  let removed = 0
  for (const repository of await namesIn(base)) {
    if (!isId(repository)) continue
    const path = join(base, repository)
    const stats = await lstat(path).catch(() => undefined)
    if (!stats?.isDirectory() || now - stats.mtimeMs < UNUSED_MILLISECONDS) continue
    await rm(path, { recursive: true, force: true })
    removed += 1
  }
  return removed
}
