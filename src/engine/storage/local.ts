import { constants } from 'node:fs'
import { chmod, mkdir, open, readdir, rm, stat, unlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { EngineError, type EngineErrorCode } from '../error.ts'
import { isId } from '../format/id.ts'
import { lengthForLargePages } from '../kernels/large-pages.ts'
import { codeOfErrno, errnoOf } from '../os/errno.ts'
import { synchronizeFolder, writeFileDurably } from '../os/write-file-durably.ts'
import { resolveRange, truncated } from './byte-range.ts'
import { BESIDE_LIMIT, describeName, folderOf, PACK_FOLDERS, pathBeside, pathOf, TYPE_FOLDERS } from './layout.ts'
import type { FileName, FileType, Storage, StorageReader, StoredFile } from './storage.ts'

/** What an aborting signal waits for at most. */
const READ_BLOCK = 4 * 1024 * 1024

/** Sizes asked for at a time while listing: enough to keep a disk's queue filled. */
const STAT_BATCH = 32

/**
 * A repository in a folder of this machine, as restic keeps one. Folders are 0700 and files 0400; where `config` is
 * readable by its group, the group gets as much (0770 less the umask, and 0440).
 *
 * Missing folders of the layout are empty when read and made when written to, but never the repository's own folder:
 * if that is on a disk that is not mounted, a write would land underneath the mount point.
 */
export function localStorage(directory: string): Storage {
  const location = resolve(directory)
  const storage = storageIn(location)
  LOCATIONS.set(storage, location)
  return storage
}

/** Not a property of the storage: what wraps one, to limit or record what is read, must not pass it on by accident. */
const LOCATIONS = new WeakMap<StorageReader, string>()

/** Says of a storage that what is read from it are the very files of another one. */
export function readsFilesOf<Wrapping extends StorageReader>(storage: Wrapping, wrapped: StorageReader): Wrapping {
  const location = LOCATIONS.get(wrapped)
  if (location !== undefined) LOCATIONS.set(storage, location)
  return storage
}

/** Where a stored file lies on this machine, for who reads it without the storage; undefined where it does not. */
export function localPath(storage: StorageReader, name: FileName): string | undefined {
  const location = LOCATIONS.get(storage)
  return location === undefined ? undefined : join(location, pathOf(name))
}

function storageIn(location: string): Storage {
  /** Runs one method: whatever goes wrong in it becomes an `EngineError` about `name`, except the signal's own reason. */
  async function attempt<T>(
    action: string,
    name: FileName | undefined,
    signal: AbortSignal | undefined,
    work: () => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      if (signal?.aborted && error === signal.reason) throw error
      throw localError(action, error, location, name)
    }
  }

  async function isGroupReadable(): Promise<boolean> {
    try {
      return ((await stat(join(location, 'config'))).mode & constants.S_IRGRP) !== 0
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false // a new repository is for its owner alone
      throw error
    }
  }

  const folderMode = async () => ((await isGroupReadable()) ? 0o770 : 0o700)

  /** Makes the folders between the location and the file, outermost first. */
  async function makeFoldersOf(path: string): Promise<void> {
    const missing: string[] = []
    for (let folder = dirname(path); folder !== location; folder = dirname(folder)) missing.unshift(folder)
    const mode = await folderMode()
    for (const folder of missing) {
      await makeFolder(folder, mode)
      await synchronizeFolder(dirname(folder))
    }
  }

  /** The names in one folder of the layout; a missing one is empty, unless all of the repository is missing. */
  async function namesIn(folder: string): Promise<string[]> {
    try {
      return await readdir(join(location, folder))
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error
      await stat(location)
      return []
    }
  }

  /** The IDs of all files of a type, by the folder they are in. */
  async function* idsByFolder(type: Exclude<FileType, 'config'>): AsyncGenerator<[folder: string, ids: string[]]> {
    const top = folderOf(type)
    const names = await namesIn(top)
    if (type !== 'pack') {
      yield [top, names.filter(isId)]
      return
    }
    for (const digits of names) {
      if (!/^[0-9a-f]{2}$/.test(digits)) continue
      const folder = join(top, digits)
      // A pack in another one's folder could be listed, but would never be found there when it is read.
      yield [folder, (await namesIn(folder)).filter((id) => isId(id) && id.startsWith(digits))]
    }
  }

  async function* listFiles(type: FileType, signal: AbortSignal | undefined): AsyncGenerator<StoredFile> {
    signal?.throwIfAborted()
    if (type === 'config') {
      await stat(location)
      const size = await sizeIfFile(join(location, 'config'))
      if (size !== undefined) yield { name: { type, id: '' }, size }
      return
    }
    for await (const [folder, ids] of idsByFolder(type)) {
      for (let start = 0; start < ids.length; start += STAT_BATCH) {
        signal?.throwIfAborted()
        const batch = ids.slice(start, start + STAT_BATCH)
        const sizes = await Promise.all(batch.map((id) => sizeIfFile(join(location, folder, id))))
        for (const [index, size] of sizes.entries()) {
          if (size !== undefined) yield { name: { type, id: batch[index]! }, size }
        }
      }
    }
  }

  return {
    location,

    beside: {
      async read(name, signal) {
        const path = join(location, pathBeside(name))
        return attempt(`read ${name}`, undefined, signal, async () => {
          const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
            if (errnoOf(error) === 'ENOENT') return undefined
            throw error
          })
          if (handle === undefined) return undefined
          await using file = handle
          const stats = await file.stat()
          if (!stats.isFile()) throw new Error('found something else than a regular file')
          if (stats.size > BESIDE_LIMIT) {
            throw new EngineError('HOSTILE', `Cannot read ${path}: it has ${stats.size} bytes`, { facts: { path } })
          }
          return file.readFile()
        })
      },

      async write(name, content, signal) {
        const path = join(location, pathBeside(name))
        await attempt(`write ${name}`, undefined, signal, async () => {
          await writeFileDurably(path, content, { mode: (await isGroupReadable()) ? 0o440 : 0o400, signal })
        })
      },

      async remove(name, signal) {
        const path = join(location, pathBeside(name))
        await attempt(`remove ${name}`, undefined, signal, async () => {
          await rm(path, { force: true })
          await synchronizeFolder(location)
        })
      },
    },

    async *list(type, signal) {
      const files = listFiles(type, signal)
      for (;;) {
        const next = await attempt(`list the ${type} files`, undefined, signal, () => files.next())
        if (next.done) return
        yield next.value
      }
    },

    async read(name, range, signal) {
      const path = join(location, pathOf(name))
      return attempt(`read ${describeName(name)}`, name, signal, async () => {
        // Not blocking, so that a named pipe in the place of a file is an error and not a wait without end.
        await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
        const stats = await handle.stat()
        if (!stats.isFile()) throw new Error('found something else than a regular file')
        const { offset, length } = resolveRange(name, range, stats.size, location)

        // A whole file is used at once, part of a pack may be one of many.
        const room = range === undefined ? lengthForLargePages(length) : length
        const buffer = Buffer.allocUnsafeSlow(room).subarray(0, length)
        for (let done = 0; done < length; ) {
          signal?.throwIfAborted()
          const { bytesRead } = await handle.read(buffer, done, Math.min(length - done, READ_BLOCK), offset + done)
          if (bytesRead === 0) throw truncated(name, offset + done, offset + length, location) // it shrank meanwhile
          done += bytesRead
        }
        return buffer
      })
    },

    async size(name, signal) {
      const path = join(location, pathOf(name))
      return attempt(`find the size of ${describeName(name)}`, name, signal, async () => {
        const stats = await stat(path)
        if (!stats.isFile()) throw new Error('found something else than a regular file')
        return stats.size
      })
    },

    async create() {
      await attempt('create a repository', undefined, undefined, async () => {
        const outermost = await makeFolder(location, 0o700, true)
        const mode = await folderMode()
        for (const folder of TYPE_FOLDERS) await makeFolder(join(location, folder), mode)
        await Promise.all(PACK_FOLDERS.map((folder) => makeFolder(join(location, folder), mode)))
        await synchronizeFolder(join(location, folderOf('pack')))
        await synchronizeFolder(location)
        if (outermost === undefined) return
        for (let made = location; made.length >= outermost.length; made = dirname(made)) {
          await synchronizeFolder(dirname(made))
        }
      })
    },

    async write(name, content, signal, onTaken) {
      const path = join(location, pathOf(name))
      await attempt(`write ${describeName(name)}`, name, signal, async () => {
        let isTaken = false
        const take =
          onTaken &&
          (() => {
            isTaken = true
            onTaken()
          })
        try {
          await writeFileDurably(path, content, { replace: false, signal, onTaken: take })
        } catch (error) {
          // A folder may go away also behind the bytes, which may be others by now.
          if (isTaken || !(error instanceof EngineError && error.code === 'NOT_FOUND')) throw error
          await makeFoldersOf(path)
          await writeFileDurably(path, content, { replace: false, signal, onTaken })
        }
        await makeReadOnly(path, (await isGroupReadable()) ? 0o440 : 0o400)
      })
    },

    async remove(name, signal) {
      const path = join(location, pathOf(name))
      await attempt(`remove ${describeName(name)}`, name, signal, async () => {
        try {
          await unlink(path)
        } catch (error) {
          if (errnoOf(error) === 'ENOENT') return
          throw error
        }
        // A pack that a power cut brings back is only garbage, and pruning removes thousands of them. But an index that
        // comes back names packs that are gone, and a key lets somebody in again.
        if (name.type !== 'pack') await synchronizeFolder(dirname(path))
      })
    },
  }
}

/** What is there already is left as it is, unless it is no folder: `NOT_A_DIRECTORY`. Resolves with the outermost folder made. */
async function makeFolder(path: string, mode: number, recursive = false): Promise<string | undefined> {
  try {
    return (await mkdir(path, { mode, recursive })) ?? undefined
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    if ((await stat(path)).isDirectory()) return undefined
    throw new EngineError('NOT_A_DIRECTORY', `Cannot make the folder ${path}: a file of that name is there`, {
      facts: { path },
    })
  }
}

/** `undefined` for what is no regular file, or was removed since its folder was read. */
async function sizeIfFile(path: string): Promise<number | undefined> {
  try {
    const stats = await stat(path)
    return stats.isFile() ? stats.size : undefined
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Guards against accidents only, so a file system that has no modes is good enough. */
async function makeReadOnly(path: string, mode: number): Promise<void> {
  try {
    await chmod(path, mode)
  } catch (error) {
    if (!['EPERM', 'EACCES', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(errnoOf(error) ?? '')) throw error
  }
}

const FOUND: Readonly<Partial<Record<EngineErrorCode, string>>> = {
  NOT_FOUND: 'it does not exist',
  EXISTS: 'it exists already',
  NO_SPACE: 'no space is left',
  PERMISSION: 'the system does not permit it',
  NOT_A_DIRECTORY: 'part of its path is not a folder',
}

function localError(action: string, error: unknown, location: string, name: FileName | undefined): EngineError {
  // The writer of files knows paths only; said again of the stored file, from the same cause.
  const cause = error instanceof EngineError && error.cause !== undefined ? error.cause : error
  if (cause instanceof EngineError) return cause
  const errno = errnoOf(cause)
  const known = codeOfErrno(errno)
  const code = known === undefined || known === 'UNSUPPORTED' ? 'STORAGE' : known
  const found = FOUND[code] ?? (cause instanceof Error ? cause.message : String(cause))
  return new EngineError(code, `Cannot ${action} in ${location}: ${found}`, {
    cause,
    facts: { location, errno, ...(name === undefined ? {} : { type: name.type, id: name.id }) },
    hint: hintFor(code, location, name),
  })
}

function hintFor(code: EngineErrorCode, location: string, name: FileName | undefined): string | undefined {
  if (code === 'NO_SPACE') return `Make room on the disk that holds ${location}`
  if (code === 'PERMISSION') return `Run as the owner of ${location}, and check that its disk is not mounted read-only`
  if (code === 'NOT_FOUND' && name === undefined) return `Check the path, and that the disk of ${location} is mounted`
  return undefined
}
