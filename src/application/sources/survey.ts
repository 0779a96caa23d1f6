import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync, type Stats } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { setImmediate as yieldToOthers } from 'node:timers/promises'
import { holdsPrivateKey, looksSecret, PRIVATE_KEY_MARKER_BYTES } from './secret-looking.ts'
import { isDatabaseSize, isJournalHeader, isSetAside, isSqliteHeader } from './sqlite-header.ts'

export interface SurveyOptions {
  /** Not asked about the target itself. */
  readonly excluded?: (path: Buffer, isDirectory: boolean) => boolean
  /** Asked about every folder in which there is a `CACHEDIR.TAG`; its content is left out when the answer is yes. */
  readonly isTaggedCache?: (directory: Buffer) => Promise<boolean>
  readonly signal?: AbortSignal | undefined
}

export interface PathAndReason {
  readonly path: Buffer
  readonly reason: string
}

/** A symbolic link whose name or target matters, but whose target does not lie below it. */
export interface TellingLink {
  readonly path: Buffer
  /** What it leads to, links resolved. */
  readonly target: Buffer
  readonly to: 'database' | 'secret'
}

/** What lies in a tree, as far as it must not simply be copied. Lists are sorted by path. */
export interface Survey {
  /** Files that begin with a SQLite header. */
  readonly databases: readonly Buffer[]
  /** `-wal`, `-shm`, `-journal` and super-journals that lie beside `databases`. */
  readonly databaseSidecars: readonly Buffer[]
  /** Files without a SQLite header that have a SQLite log or journal beside them: encrypted databases, most likely. */
  readonly opaqueDatabases: readonly Buffer[]
  readonly secrets: readonly Buffer[]
  readonly links: readonly TellingLink[]
  readonly excluded: readonly PathAndReason[]
  /** Folders that could not be listed, and files that had to be looked into and could not. */
  readonly unreadable: readonly PathAndReason[]
  /** Regular files, and their sizes in all. */
  readonly files: number
  readonly bytes: number
}

/** Longest time without giving others a turn. Synchronous calls are some five times as fast as promised ones. */
const TURN_MS = 8
const READ_BYTES = 256 * 1024
const DATABASE_NAME = /\.(db|db3|sqlite|sqlite3|s3db|sl3)$/i
/** `app.db-mj01234567A`: ties the journals of a transaction over several databases together. */
const SUPER_JOURNAL = /^(.+)-mj[0-9A-F]{9}$/

/**
 * Walks `target` (a file or a folder) without following symbolic links: one `lstat` per file, and a look into those
 * files only that may be databases (size of whole pages, a name like `x.db`, a log beside it) or hold a private key.
 * What vanishes meanwhile is left out in silence; an absent target rejects with `ENOENT`.
 */
export async function surveyFiles(target: Buffer, options: SurveyOptions = {}): Promise<Survey> {
  const { excluded = () => false, isTaggedCache = async () => false, signal } = options
  const survey = {
    databases: [] as Buffer[],
    databaseSidecars: [] as Buffer[],
    opaqueDatabases: [] as Buffer[],
    secrets: [] as Buffer[],
    links: [] as TellingLink[],
    excluded: [] as PathAndReason[],
    unreadable: [] as PathAndReason[],
    files: 0,
    bytes: 0,
  }
  let turnEnds = performance.now() + TURN_MS
  const isTurnOver = (): boolean => performance.now() >= turnEnds
  const letOthersWork = async (): Promise<void> => {
    await yieldToOthers()
    signal?.throwIfAborted()
    turnEnds = performance.now() + TURN_MS
  }

  /** Looks at one regular file. `siblings` are names in its folder that end in `-wal` and the like, without that end. */
  function lookAt(path: Buffer, name: string, stats: Stats, siblings: ReadonlySet<string>): void {
    survey.files++
    survey.bytes += stats.size
    const hasSidecar = siblings.has(name)
    const secret = looksSecret(path)
    const mayBeDatabase =
      !isSetAside(name) && (isDatabaseSize(stats.size) || hasSidecar || (DATABASE_NAME.test(name) && stats.size > 0))
    if (!mayBeDatabase && secret !== 'by-content') {
      if (secret === 'yes') survey.secrets.push(path)
      return
    }
    try {
      const content = lookInto(path, secret === 'by-content')
      if (content === 'database') survey.databases.push(path)
      else if (secret === 'yes' || content === 'private key') survey.secrets.push(path)
      else if (hasSidecar && hasJournal(path)) survey.opaqueDatabases.push(path)
    } catch (error) {
      if (hasVanished(error)) return
      // A secret need not be looked into to be one: whoever reads it will say that it cannot.
      if (secret === 'yes') survey.secrets.push(path)
      else survey.unreadable.push({ path, reason: reasonOf(error) })
    }
  }

  async function lookAtLink(path: Buffer): Promise<void> {
    try {
      const stats = await stat(path)
      if (!stats.isFile()) return
      const target = await realpath(path, { encoding: 'buffer' })
      if (isDatabaseSize(stats.size) && lookInto(target, false) === 'database') {
        survey.links.push({ path, target, to: 'database' })
      } else if (looksSecret(path) === 'yes' || looksSecret(target) === 'yes') {
        survey.links.push({ path, target, to: 'secret' })
      }
    } catch (error) {
      // The link itself is stored whatever it leads to; what cannot be reached through it tells us nothing.
      if (!(error instanceof Error) || (error as NodeJS.ErrnoException).code === undefined) throw error
    }
  }

  async function lookAtFolder(directory: Buffer, open: Buffer[]): Promise<void> {
    let entries: ReturnType<typeof list>
    try {
      entries = list(directory)
    } catch (error) {
      if (!hasVanished(error)) survey.unreadable.push({ path: directory, reason: reasonOf(error) })
      return
    }
    const names = entries.map(({ name }) => name.toString('latin1'))
    if (names.includes('CACHEDIR.TAG') && (await isTaggedCache(directory))) {
      survey.excluded.push({ path: directory, reason: 'tagged as a cache (CACHEDIR.TAG)' })
      return
    }
    const siblings = new Set(names.flatMap((name) => databaseNameIn(name) ?? []))
    const found = survey.databases.length
    for (const [index, entry] of entries.entries()) {
      const path = Buffer.concat([directory, SLASH, entry.name])
      if (excluded(path, entry.isDirectory())) {
        survey.excluded.push({ path, reason: 'excluded by a pattern' })
      } else if (entry.isDirectory()) {
        open.push(path)
      } else if (entry.isSymbolicLink()) {
        await lookAtLink(path)
      } else if (entry.isFile()) {
        const stats = statOf(path)
        if (stats?.isFile()) lookAt(path, names[index]!, stats, siblings)
      }
      if (isTurnOver()) await letOthersWork()
    }
    const databases = new Set(survey.databases.slice(found).map(nameOf))
    if (databases.size === 0) return
    for (const [index, entry] of entries.entries()) {
      if (!databases.has(databaseNameIn(names[index]!) ?? '')) continue
      survey.databaseSidecars.push(Buffer.concat([directory, SLASH, entry.name]))
    }
  }

  function statOf(path: Buffer): Stats | undefined {
    try {
      return lstatSync(path, { throwIfNoEntry: false })
    } catch (error) {
      survey.unreadable.push({ path, reason: reasonOf(error) })
      return undefined
    }
  }

  signal?.throwIfAborted()
  const stats = lstatSync(target)
  if (stats.isFile()) {
    const suffixes = ['-wal', '-journal', '-shm'].filter((suffix) => {
      const path = Buffer.concat([target, Buffer.from(suffix)])
      return lstatSync(path, { throwIfNoEntry: false }) !== undefined
    })
    lookAt(target, nameOf(target), stats, new Set(suffixes.length > 0 ? [nameOf(target)] : []))
    if (survey.databases.length > 0) {
      for (const suffix of suffixes) survey.databaseSidecars.push(Buffer.concat([target, Buffer.from(suffix)]))
    }
  } else if (stats.isDirectory()) {
    const open = [target]
    for (let directory = open.pop(); directory !== undefined; directory = open.pop()) {
      await lookAtFolder(directory, open)
      if (isTurnOver()) await letOthersWork()
    }
  }
  for (const paths of [survey.databases, survey.databaseSidecars, survey.opaqueDatabases, survey.secrets]) {
    paths.sort(Buffer.compare)
  }
  for (const found of [survey.links, survey.excluded, survey.unreadable]) {
    found.sort((a: { path: Buffer }, b: { path: Buffer }) => Buffer.compare(a.path, b.path))
  }
  return survey
}

const SLASH = Buffer.from('/')

function list(directory: Buffer) {
  return readdirSync(directory, { encoding: 'buffer', withFileTypes: true })
}

function nameOf(path: Buffer): string {
  return path.subarray(path.lastIndexOf(0x2f) + 1).toString('latin1')
}

/** The name of the database that a file of this name would belong to. */
function databaseNameIn(name: string): string | undefined {
  for (const suffix of ['-wal', '-shm', '-journal']) if (name.endsWith(suffix)) return name.slice(0, -suffix.length)
  return SUPER_JOURNAL.exec(name)?.[1]
}

function hasJournal(path: Buffer): boolean {
  return ['-wal', '-journal'].some((suffix) => {
    try {
      return withFile(Buffer.concat([path, Buffer.from(suffix)]), (read) => isJournalHeader(read(0, 8)))
    } catch (error) {
      if (hasVanished(error)) return false
      throw error
    }
  })
}

function lookInto(path: Buffer, forKeys: boolean): 'database' | 'private key' | 'neither' {
  return withFile(path, (read) => {
    if (isSqliteHeader(read(0, 16))) return 'database'
    if (!forKeys) return 'neither'
    for (let position = 0; ; position += READ_BYTES - PRIVATE_KEY_MARKER_BYTES) {
      const bytes = read(position, READ_BYTES)
      if (holdsPrivateKey(bytes)) return 'private key'
      if (bytes.length < READ_BYTES) return 'neither'
    }
  })
}

/** `read` returns fewer bytes than asked for at the end of the file only. */
function withFile<Result>(path: Buffer, use: (read: (position: number, length: number) => Buffer) => Result): Result {
  // Whatever the name leads to by now: no link is followed, and no FIFO is waited for.
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    if (!fstatSync(file).isFile()) return use(() => Buffer.alloc(0))
    return use((position, length) => {
      const buffer = Buffer.allocUnsafe(length)
      let filled = 0
      while (filled < length) {
        const bytes = readSync(file, buffer, filled, length - filled, position + filled)
        if (bytes === 0) break
        filled += bytes
      }
      return buffer.subarray(0, filled)
    })
  } finally {
    closeSync(file)
  }
}

function hasVanished(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOENT' || code === 'ELOOP' || code === 'ENOTDIR'
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === undefined) throw error
  return code === 'EACCES' || code === 'EPERM' ? 'permission denied' : message
}
