import { createHmac, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, type FileHandle, link, lstat, mkdir, open, readdir, readFile, readlink, unlink } from 'node:fs/promises'
import { join, posix } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGunzip, createGzip } from 'node:zlib'
import { groupName, type RenamedOwners, userName } from '../../engine/os/accounts.ts'
import { ApplicationError } from '../error.ts'
import type { Finding } from '../finding.ts'
import { throughTransform } from './byte-stream.ts'
import type { Capture } from './capture.ts'
import { type ExtractedSecret, startExtraction } from './extraction.ts'
import { plainCapture } from './plain-capture.ts'
import { isSqliteHeader } from './sqlite-header.ts'
import { type ForeignTarEntry, packTar, type TarEntry, unpackTar } from './tar.ts'

/** Files up to this size are read whole before they are announced, so that one that changes meanwhile is read again. */
const WHOLE_LIMIT = 4 * 1024 * 1024
const PIECE = 256 * 1024
/** More entries than this are no set of secrets. */
const ENTRIES_LIMIT = 100_000
const ATTEMPTS = 5
const RETRY_MS = 20
const DIGEST_KEY_SIZE = 32
const DIGEST_KEY_NAME = 'seal-digest.key'

/**
 * Hears of paths that are left out because they are gone, unreadable or no files, and of files that changed while they
 * were read.
 */
export type ArchiveReport = (finding: Finding) => void

/**
 * A tar.gz of exactly these paths, in the order of their bytes; a folder stands for itself, not for what is in it.
 * Names are the absolute paths without the leading slash. The same files give the same bytes, apart from the operating
 * system that gzip notes. Opens with `tar -xz`. Without `report`, what it would hear of is an error: `SOURCE`.
 */
export function secretsArchive(
  paths: readonly Buffer[],
  signal?: AbortSignal,
  report?: ArchiveReport,
): AsyncIterable<Buffer> {
  return throughTransform(secretsTar(paths, { signal, report }), createGzip(), signal)
}

/**
 * Tells sets of secrets apart without telling anything about them: HMAC-SHA-256 of the archive (names, contents, modes,
 * owners, times) and of whom it is sealed for. Hex.
 */
export async function digestSecrets(
  paths: readonly Buffer[],
  key: Buffer,
  recipients: readonly string[],
  signal?: AbortSignal,
  report?: ArchiveReport,
): Promise<string> {
  const hmac = createHmac('sha256', key)
  hmac.update(`${JSON.stringify([...recipients].sort())}\n`)
  for await (const chunk of secretsTar(paths, { signal, report })) hmac.update(chunk)
  return hmac.digest('hex')
}

/**
 * The key of `digestSecrets`, made at first use. It stays on this machine: a plain hash in a manifest would let whoever
 * reads it try out guesses of a short secret. A lost key costs one sealing more.
 */
export async function loadSealDigestKey(stateDirectory: string): Promise<Buffer> {
  const path = join(stateDirectory, DIGEST_KEY_NAME)
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const existing = await readFile(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw cannotRead(path, error)
    })
    if (existing?.length === DIGEST_KEY_SIZE) {
      await chmod(path, 0o600)
      return existing
    }
    if (existing !== undefined) await unlink(path) // cut short by a crash
    await mkdir(stateDirectory, { recursive: true, mode: 0o700 })
    await createDigestKey(path)
  }
  throw new ApplicationError('SOURCE', `Cannot keep a key in ${path}: it changes all the time`, { facts: { path } })
}

/** Published whole, and never over another: two processes at once agree on the first one's key. */
async function createDigestKey(path: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(randomBytes(DIGEST_KEY_SIZE))
    await file.sync()
    await link(temporary, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  } finally {
    await file.close()
    await unlink(temporary)
  }
}

/**
 * Everything under the component's paths is secret: files, links, and the folders with their modes. Nothing goes into the
 * snapshot in the clear. `excluded` is asked with absolute paths.
 */
export async function captureSecrets(
  component: { readonly name: string; readonly paths: readonly string[] },
  options: {
    readonly excluded?: (path: Buffer, isDirectory: boolean) => boolean
    readonly signal?: AbortSignal | undefined
  } = {},
): Promise<Capture> {
  const secrets: Buffer[] = []
  const findings: Finding[] = []
  const find = (severity: Finding['severity'], code: string, message: string, path: Buffer, hint?: string): void => {
    const where = { component: component.name, path: path.toString() }
    findings.push({ severity, code, message, ...where, ...(hint === undefined ? {} : { hint }) })
  }

  async function visit(path: Buffer, top: boolean): Promise<void> {
    options.signal?.throwIfAborted()
    const info = await lstat(path).catch((error: NodeJS.ErrnoException) => error)
    if (info instanceof Error) {
      const missing = info.code === 'ENOENT' || info.code === 'ENOTDIR'
      if (missing && !top) return // gone since the folder was read
      const hint = missing ? 'Correct the path in the config file, or create it' : 'Run as a user who may read it'
      find(
        'error',
        missing ? 'missing' : 'unreadable',
        `Cannot ${missing ? 'find' : 'read'} ${path}: ${info.message}`,
        path,
        hint,
      )
      return
    }
    if (!top && options.excluded?.(path, info.isDirectory())) return
    if (info.isSymbolicLink()) {
      secrets.push(path)
      await visitTarget(path, top)
    } else if (info.isDirectory()) {
      secrets.push(path)
      const names = await readdir(path, { encoding: 'buffer' }).catch((error: Error) => error)
      if (names instanceof Error) {
        find(
          'error',
          'unreadable',
          `Cannot read folder ${path}: ${names.message}`,
          path,
          'Run as a user who may read it',
        )
        return
      }
      for (const name of names.sort(Buffer.compare)) await visit(child(path, name), false)
    } else if (info.isFile()) {
      await visitFile(path, info.mode)
    } else {
      find('note', 'not-a-file', `${path} is neither file, folder nor link: it is left out`, path)
    }
  }

  /** A path that the operator names means what it leads to; a link inside a folder is only a link. */
  async function visitTarget(path: Buffer, top: boolean): Promise<void> {
    const target = await readlink(path, { encoding: 'buffer' })
    const absolute = resolvePath(path, target)
    if (top) {
      await visit(absolute, true)
    } else if (!component.paths.some((root) => lies(absolute, Buffer.from(root)))) {
      const message = `${path} links to ${absolute}, which lies outside: only the link is stored`
      find('warning', 'secret-target-outside', message, path, `Add ${absolute} to the paths of ${component.name}`)
    }
  }

  async function visitFile(path: Buffer, mode: number): Promise<void> {
    try {
      const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      try {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(100), 0, 100, 0)
        if (isSqliteHeader(buffer.subarray(0, bytesRead))) {
          const hint = 'Move it to the data component, where it is captured consistently'
          find('warning', 'database-among-secrets', `${path} is a database: it is sealed as it lies there`, path, hint)
        }
      } finally {
        await file.close()
      }
    } catch (error) {
      find(
        'error',
        'unreadable',
        `Cannot read ${path}: ${(error as Error).message}`,
        path,
        'Run as a user who may read it',
      )
      return
    }
    if (mode & 0o007)
      find('warning', 'secret-open-to-all', `${path} can be read by every user`, path, `chmod 600 ${path}`)
    secrets.push(path)
  }

  for (const path of component.paths) await visit(Buffer.from(path), true)
  return plainCapture({ secrets, findings })
}

export interface ExtractOptions {
  /** The folder, absolute, that names in the archive are relative to; otherwise `/`. */
  readonly base?: string | undefined
  /** Which entries to write, by their absolute path; all when left out. */
  readonly select?: (path: string) => boolean
  readonly signal?: AbortSignal | undefined
  /** Whether files get the owners that the archive names (by name, else by number); as root they do unless told otherwise. */
  readonly owners?: boolean
  readonly renamedOwners?: RenamedOwners | undefined
}

/**
 * Unpacks a tar.gz of secrets under `targetRoot` and returns what was written.
 *
 * Anybody can seal an archive for a public key, so it is not trusted: see `startExtraction` for what is refused.
 *
 * Files are written beside their place under a temporary name, at no moment open to more than their mode says, and take
 * their names when the whole archive has been read: nothing is published of a damaged one. Throws `SEAL` for what the
 * archive says, `SOURCE` for what the disk says; the errors of the plaintext as they are.
 */
export async function extractSecrets(
  plaintextTarGz: AsyncIterable<Uint8Array>,
  targetRoot: string,
  options: ExtractOptions = {},
): Promise<ExtractedSecret[]> {
  const { signal } = options
  signal?.throwIfAborted()
  await using extraction = await startExtraction(
    targetRoot,
    options.owners ?? process.geteuid?.() === 0,
    options.renamedOwners,
  )
  const archive = unpackTar(throughTransform(plaintextTarGz, createGunzip(), signal))
  try {
    let entries = 0
    for await (const [bare, content] of archive) {
      const entry = below(options.base, bare)
      signal?.throwIfAborted()
      if (++entries > ENTRIES_LIMIT) throw tooMany()
      const place = extraction.claim(entry)
      if (options.select?.(place.path) !== false) await extraction.stage(entry, place, content)
    }
    return await extraction.publish()
  } catch (error) {
    throw unpackError(error, signal)
  }
}

/** An entry of an archive of secrets, at hand in memory only. */
export interface UnsealedEntry {
  /** Absolute. */
  readonly path: string
  readonly type: 'file' | 'symlink' | 'other'
  readonly size: number
  readonly linkTarget: string | undefined
  /** To be read, if at all, before the next entry is asked for. */
  readonly content: AsyncIterable<Buffer>
}

/**
 * Reads a tar.gz of secrets to its end and writes nothing. The names are as the archive has them, nobody has checked them.
 * Throws as `extractSecrets` does.
 */
export async function* readSecrets(
  plaintextTarGz: AsyncIterable<Uint8Array>,
  { base, signal }: Pick<ExtractOptions, 'base' | 'signal'> = {},
): AsyncGenerator<UnsealedEntry, void, undefined> {
  let entries = 0
  try {
    for await (const [bare, content] of unpackTar(throughTransform(plaintextTarGz, createGunzip(), signal))) {
      signal?.throwIfAborted()
      if (++entries > ENTRIES_LIMIT) throw tooMany()
      const { name, type, size, linkTarget } = below(base, bare)
      const known = type === 'file' || type === 'symlink' ? type : 'other'
      yield { path: posix.normalize(`/${name}`), type: known, size, linkTarget: linkTarget?.toString(), content }
    }
  } catch (error) {
    throw unpackError(error, signal)
  }
}

function tooMany(): ApplicationError {
  return new ApplicationError('SEAL', `Cannot unpack the secrets: they are more than ${ENTRIES_LIMIT} entries`)
}

/** An error of zlib speaks of the archive. */
function unpackError(error: unknown, signal: AbortSignal | undefined): unknown {
  signal?.throwIfAborted()
  if (!(error instanceof Error && 'code' in error && /^Z_/.test(String(error.code)))) return error
  return new ApplicationError('SEAL', `Cannot unpack the secrets: ${error.message}`, { cause: error })
}

interface ArchiveOptions {
  readonly signal: AbortSignal | undefined
  readonly report: ArchiveReport | undefined
}

function secretsTar(paths: readonly Buffer[], options: ArchiveOptions): AsyncIterable<Buffer> {
  const byName = new Map(paths.map((path) => [path.toString('latin1'), path]))
  const sorted = [...byName.values()].sort(Buffer.compare)
  return packTar(
    (async function* () {
      for (const path of sorted) {
        options.signal?.throwIfAborted()
        yield* entriesFor(path, options)
      }
    })(),
  )
}

type Entry = readonly [entry: TarEntry, content: AsyncIterable<Buffer> | undefined]

async function* entriesFor(path: Buffer, options: ArchiveOptions): AsyncGenerator<Entry> {
  let file: FileHandle | undefined
  try {
    let prepared: Entry | undefined
    try {
      const info = await lstat(path, { bigint: true })
      if (info.isDirectory()) prepared = [describe(path, 'directory', info), undefined]
      else if (info.isSymbolicLink()) {
        const linkTarget = await readlink(path, { encoding: 'buffer' })
        prepared = [{ ...describe(path, 'symlink', info), linkTarget }, undefined]
      } else if (info.isFile()) {
        file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
        prepared = await readSecret(path, file, options)
      } else {
        throw new Error('it is neither file, folder nor link')
      }
    } catch (error) {
      options.signal?.throwIfAborted()
      if (options.report === undefined) throw cannotRead(path, error)
      const message = `Cannot read ${path}, it is not sealed: ${(error as Error).message}`
      options.report({ severity: 'error', code: 'secret-not-sealed', message, path: path.toString() })
      return
    }
    yield prepared
  } finally {
    await file?.close()
  }
}

async function readSecret(path: Buffer, file: FileHandle, options: ArchiveOptions): Promise<Entry> {
  for (let attempt = 1; ; attempt++) {
    const before = await file.stat({ bigint: true })
    if (!before.isFile()) throw new Error('it is not a file any more')
    const entry = describe(path, 'file', before)
    if (before.size > WHOLE_LIMIT)
      return [{ ...entry, size: Number(before.size) }, pieces(path, file, Number(before.size))]
    const content = await readWhole(file)
    const after = await file.stat({ bigint: true })
    const steady = after.size === before.size && after.mtimeNs === before.mtimeNs && after.ctimeNs === before.ctimeNs
    if (!steady && attempt < ATTEMPTS) {
      await sleep(RETRY_MS)
      continue
    }
    if (!steady) {
      const message = `${path} changed each of the ${ATTEMPTS} times it was read: it is sealed as it was the last time`
      if (options.report === undefined) throw new Error('it changes while it is read')
      options.report({ severity: 'warning', code: 'secret-changing', message, path: path.toString() })
    }
    return [{ ...entry, size: content.length }, only(content)]
  }
}

/** At most one byte more than would still be read whole: a file that grows without end is not followed. */
async function readWhole(file: FileHandle): Promise<Buffer> {
  const chunks: Buffer[] = []
  for (let position = 0; position <= WHOLE_LIMIT; ) {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(PIECE), 0, PIECE, position)
    if (bytesRead === 0) break
    chunks.push(buffer.subarray(0, bytesRead))
    position += bytesRead
  }
  return Buffer.concat(chunks)
}

/** Exactly `size` bytes: what a file grew by meanwhile stays out, and one that shrank cannot be sealed. */
async function* pieces(path: Buffer, file: FileHandle, size: number): AsyncGenerator<Buffer> {
  for (let position = 0; position < size; ) {
    const wanted = Math.min(PIECE, size - position)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(wanted), 0, wanted, position)
    if (bytesRead === 0) {
      throw new ApplicationError(
        'SOURCE',
        `Cannot seal ${path}: it shrank from ${size} to ${position} bytes meanwhile`,
        {
          facts: { path: path.toString(), size },
          hint: 'Run the backup again',
        },
      )
    }
    yield buffer.subarray(0, bytesRead)
    position += bytesRead
  }
}

interface FileInfo {
  readonly mode: bigint
  readonly uid: bigint
  readonly gid: bigint
  readonly mtimeNs: bigint
}

function describe(path: Buffer, type: TarEntry['type'], info: FileInfo): TarEntry {
  const uid = Number(info.uid)
  const gid = Number(info.gid)
  return {
    name: path.subarray(1),
    type,
    mode: Number(info.mode) & 0o7777,
    uid,
    gid,
    user: userName(uid),
    group: groupName(gid),
    mtimeNs: info.mtimeNs,
    size: 0,
    linkTarget: undefined,
  }
}

function child(folder: Buffer, name: Buffer): Buffer {
  return Buffer.concat([folder, Buffer.from(folder.at(-1) === 0x2f ? '' : '/'), name])
}

/** Where a link leads, without looking at the disk. */
function resolvePath(link: Buffer, target: Buffer): Buffer {
  const joined = target[0] === 0x2f ? target : child(link.subarray(0, link.lastIndexOf(0x2f) + 1), target)
  // `latin1` keeps every byte, and join() touches only slashes and dots.
  return Buffer.from(join('/', joined.toString('latin1')), 'latin1')
}

function lies(path: Buffer, folder: Buffer): boolean {
  return path.equals(folder) || path.subarray(0, folder.length + 1).equals(child(folder, Buffer.alloc(0)))
}

function cannotRead(path: Buffer | string, cause: unknown): ApplicationError {
  if (cause instanceof ApplicationError) return cause
  return new ApplicationError('SOURCE', `Cannot read ${path}: ${(cause as Error).message}`, {
    facts: { path: path.toString() },
    cause,
  })
}

async function* only(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}

/** The entry under the name that it would have in an archive of ours. Names that are refused stay as they are. */
function below(base: string | undefined, entry: ForeignTarEntry): ForeignTarEntry {
  if (base === undefined || base === '/' || entry.name.length === 0 || entry.name[0] === 0x2f) return entry
  const under = (name: Buffer) => Buffer.concat([Buffer.from(`${base.slice(1)}/`), name])
  const { linkTarget } = entry
  const isHardLink = entry.type === 'link' && linkTarget !== undefined && linkTarget[0] !== 0x2f
  return { ...entry, name: under(entry.name), linkTarget: isHardLink ? under(linkTarget) : linkTarget }
}
