import { isUtf8 } from 'node:buffer'
import { constants, type Dirent } from 'node:fs'
import { lstat, open, readdir } from 'node:fs/promises'
import { holdsPrivateKey, looksSecret } from '../sources/secret-looking.ts'
import { isDatabaseSize, isSqliteHeader } from '../sources/sqlite-header.ts'
import { isTaggedCache } from './exclude.ts'

/** Folders that are installed or made again, and too large to look through. */
const SKIPPED = new Set([
  'node_modules',
  'bower_components',
  '.git',
  '.hg',
  '.svn',
  '.venv',
  'venv',
  '__pycache__',
  '.cache',
  '.npm',
  '.yarn',
  '.pnpm-store',
])

export interface SearchLimits {
  /** Looking at an application is done while an operator waits. */
  readonly entries: number
  readonly depth: number
}

const defaultLimits: SearchLimits = { entries: 200_000, depth: 24 }

/** Keys and certificates are shorter; what is larger is a bundle of something else. */
const LARGEST_KEY_FILE = 64 * 1024

/** What lies in a folder that a backup must treat with care. Paths are absolute. */
export interface FolderSearch {
  readonly databases: readonly string[]
  readonly secrets: readonly string[]
  readonly unreadable: readonly { readonly path: string; readonly reason: string }[]
  /** Databases and secrets whose names are not UTF-8, as shown to people: a config file cannot name them. */
  readonly unnameable: readonly string[]
  /** Folders that were not looked into because a limit was reached. */
  readonly unseen: readonly string[]
}

/** Follows no symbolic links, and passes over dependencies, version control and tagged caches. */
export async function searchFolder(
  folder: string,
  {
    limits = defaultLimits,
    signal,
  }: { readonly limits?: SearchLimits; readonly signal?: AbortSignal | undefined } = {},
): Promise<FolderSearch> {
  const databases: string[] = []
  const secrets: string[] = []
  const unreadable: { path: string; reason: string }[] = []
  const unnameable: string[] = []
  const unseen: string[] = []
  let entries = 0
  const queue: { path: Buffer; depth: number }[] = [{ path: Buffer.from(folder), depth: 0 }]
  // Breadth first, so that a limit cuts off what lies deep and not what comes late in the alphabet.
  for (const { path, depth } of queue) {
    signal?.throwIfAborted()
    if (entries >= limits.entries || depth > limits.depth) {
      unseen.push(path.toString())
      continue
    }
    const found = await readFolder(path)
    if (found instanceof Error) {
      unreadable.push({ path: path.toString(), reason: found.message })
      continue
    }
    if (depth > 0 && (await isTaggedCache(path))) continue
    for (const entry of found) {
      entries += 1
      const child = Buffer.concat([path, Buffer.from('/'), entry.name])
      if (entry.isDirectory()) {
        if (!SKIPPED.has(entry.name.toString())) queue.push({ path: child, depth: depth + 1 })
      } else if (entry.isFile()) {
        const kind = await judge(child)
        if (kind === 'plain') continue
        if (kind instanceof Error) unreadable.push({ path: child.toString(), reason: kind.message })
        else if (!isUtf8(child)) unnameable.push(child.toString())
        else (kind === 'database' ? databases : secrets).push(child.toString())
      }
    }
  }
  return { databases: databases.sort(), secrets: secrets.sort(), unreadable, unnameable, unseen }
}

async function readFolder(path: Buffer): Promise<Dirent<Buffer>[] | Error> {
  return readdir(path, { encoding: 'buffer', withFileTypes: true }).catch(asFinding)
}

/** Only a database or a possible key is opened, and of a database only its first bytes are read. */
async function judge(path: Buffer): Promise<'database' | 'secret' | 'plain' | Error> {
  try {
    const looks = looksSecret(path)
    if (looks === 'yes') return 'secret'
    const { size } = await lstat(path)
    if (looks === 'by-content' && size <= LARGEST_KEY_FILE && holdsPrivateKey(await readStart(path, size)))
      return 'secret'
    return isDatabaseSize(size) && isSqliteHeader(await readStart(path, 16)) ? 'database' : 'plain'
  } catch (error) {
    // Gone since the folder was read: then it is nobody's.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'plain'
    return asFinding(error as NodeJS.ErrnoException)
  }
}

async function readStart(path: Buffer, length: number): Promise<Buffer> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, 0)
  return buffer.subarray(0, bytesRead)
}

/** What the file system refuses is something to tell; anything else is a defect. */
function asFinding(error: NodeJS.ErrnoException): Error {
  if (error.code === undefined || error.syscall === undefined) throw error
  return error
}
