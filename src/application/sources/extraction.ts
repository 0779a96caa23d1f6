import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import {
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readlink,
  realpath,
  rename,
  statfs,
  symlink,
  unlink,
} from 'node:fs/promises'
import { ownerHere, type RenamedOwners } from '../../engine/os/accounts.ts'
import { setTimes } from '../../engine/os/times.ts'
import { ApplicationError } from '../error.ts'
import type { ForeignTarEntry } from './tar.ts'

const DIRECTORY_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY
/** A folder that the archive does not describe; secrets have modes of their own. */
const PARENT_MODE = 0o755
const NAME_LIMIT = 255
const DEPTH_LIMIT = 256

export interface ExtractedSecret {
  /** Where it was when it was sealed, absolute; it lies at the same path under the target. */
  readonly path: string
  readonly bytes: number
}

/** Where an entry goes, below the target. */
export interface EntryPath {
  readonly segments: readonly Buffer[]
  /** Absolute, for people; invalid UTF-8 is replaced. */
  readonly path: string
}

interface Staged {
  readonly path: string
  readonly bytes: number
  readonly parent: FileHandle
  readonly name: Buffer
  readonly temporary: Buffer
}

/**
 * Writes the entries of an archive that nobody vouches for. First each is `claim`ed, wanted or not, then perhaps `stage`d:
 * written beside its place under a temporary name, at no moment open to more than its mode says. `publish` gives all of
 * them their names; what was not published is removed on disposal.
 *
 * Folders are walked by descriptor, so that nobody who owns a folder on the way can lead the writing elsewhere. Refused
 * with `SEAL`: absolute names, `..`, NUL, entries under one that is no folder, duplicates, hard links to anything but a
 * staged file, devices, pipes, sizes beyond the free space. The disk's errors are `SOURCE`.
 */
export async function startExtraction(targetRoot: string, owners: boolean, renamed?: RenamedOwners) {
  const root = await realpath(targetRoot).catch((error: unknown) => {
    throw diskProblem('open the target', targetRoot, error)
  })
  const handles: FileHandle[] = []
  const directories = new Map<string, FileHandle>()
  /** Every name in the archive, selected or not; parents that it only implies are folders. */
  const types = new Map<string, { readonly type: ForeignTarEntry['type']; readonly implied: boolean }>()
  const folders: { readonly entry: ForeignTarEntry; readonly handle: FileHandle }[] = []
  let staged: Staged[] = []

  async function openRoot(): Promise<FileHandle> {
    const handle = await open(root, DIRECTORY_FLAGS)
    handles.push(handle)
    return handle
  }

  /** The folder of these segments, made where it does not exist. */
  async function directory(segments: readonly Buffer[]): Promise<FileHandle> {
    const key = pathOf(segments)
    const known = directories.get(key)
    if (known !== undefined) return known
    const name = segments.at(-1)
    const handle =
      name === undefined ? await openRoot() : await openDirectory(await directory(segments.slice(0, -1)), name, key)
    directories.set(key, handle)
    return handle
  }

  async function openDirectory(parent: FileHandle, name: Buffer, path: string): Promise<FileHandle> {
    const at = inside(parent, name)
    try {
      await mkdir(at, { mode: 0o700 })
      const made = await open(at, DIRECTORY_FLAGS | constants.O_NOFOLLOW)
      handles.push(made)
      await made.chmod(PARENT_MODE)
      return made
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw diskProblem('make the folder', path, error)
    }
    try {
      const existing = await open(at, DIRECTORY_FLAGS | constants.O_NOFOLLOW)
      handles.push(existing)
      return existing
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'ELOOP' && code !== 'ENOTDIR') throw diskProblem('open the folder', path, error)
    }
    return followExisting(parent, at, path)
  }

  /**
   * A link that was there before. `/opt -> /srv/opt` is the administrator's; a link that the application's user made
   * leads only to folders of that same user, or a restore as root would write wherever they like.
   */
  async function followExisting(parent: FileHandle, at: Buffer, path: string): Promise<FileHandle> {
    let handle: FileHandle
    try {
      handle = await open(at, DIRECTORY_FLAGS)
    } catch (error) {
      throw diskProblem('open the folder', path, error)
    }
    handles.push(handle)
    const [folder, leadsTo] = [await parent.stat(), await handle.stat()]
    const ours = folder.uid === 0 || folder.uid === process.geteuid?.()
    const trusted = (ours && (folder.mode & 0o022) === 0) || leadsTo.uid === folder.uid
    const real = await readlink(descriptorPath(handle))
    const within = root === '/' || real === root || real.startsWith(`${root}/`)
    if (trusted && within) return handle
    const why = within ? 'another user could have made it' : `it leads out of ${root}`
    throw new ApplicationError('SEAL', `Cannot write into ${path}: it is a symbolic link to ${real}, and ${why}`, {
      facts: { path, target: real },
      hint: 'Remove the link, or restore into an empty folder',
    })
  }

  async function applyMetadata(at: Buffer, handle: FileHandle | undefined, entry: ForeignTarEntry): Promise<void> {
    if (owners && handle !== undefined) {
      const { uid, gid } = ownerHere(entry, { renamed })
      await handle.chown(uid, gid)
    }
    // After the owner, which takes such bits away; setuid and setgid have no business on a secret.
    if (handle !== undefined) await handle.chmod(entry.type === 'directory' ? entry.mode : entry.mode & 0o777)
    setTimes(at, entry.mtimeNs, entry.mtimeNs)
  }

  async function stageFile(at: Buffer, entry: ForeignTarEntry, content: AsyncIterable<Buffer>, parent: FileHandle) {
    const { bavail, bsize } = await statfs(descriptorPath(parent))
    if (entry.size > bavail * bsize) {
      throw hostile(entry, `it claims ${entry.size} bytes, and there is room for ${bavail * bsize}`)
    }
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
    const file = await open(at, flags, 0o600)
    try {
      for await (const chunk of content) await file.writeFile(chunk)
      await applyMetadata(at, file, entry)
      await file.sync()
    } finally {
      await file.close()
    }
  }

  return {
    claim(entry: ForeignTarEntry): EntryPath {
      const segments = safeSegments(entry)
      for (let depth = 1; depth < segments.length; depth++) {
        const key = keyOf(segments.slice(0, depth))
        const parent = types.get(key)
        if (parent !== undefined && parent.type !== 'directory')
          throw hostile(entry, 'it lies under an entry that is no folder')
        if (parent === undefined) types.set(key, { type: 'directory', implied: true })
      }
      const key = keyOf(segments)
      const before = types.get(key)
      if (before !== undefined && !(before.implied && entry.type === 'directory')) {
        throw hostile(entry, before.implied ? 'other entries lie under it, and it is no folder' : 'it occurs twice')
      }
      types.set(key, { type: entry.type, implied: false })
      return { segments, path: pathOf(segments) }
    },

    async stage(entry: ForeignTarEntry, { segments, path }: EntryPath, content: AsyncIterable<Buffer>): Promise<void> {
      if (segments.length === 0) return // the target itself
      if (entry.type === 'other') throw hostile(entry, 'it is no file, folder or link')
      if (entry.type === 'directory') {
        folders.push({ entry, handle: await directory(segments) })
        return
      }
      const parent = await directory(segments.slice(0, -1))
      const name = segments.at(-1) as Buffer
      const temporary = Buffer.from(`.holdfast-${randomBytes(9).toString('base64url')}`)
      const at = inside(parent, temporary)
      const file: Staged = { path, bytes: entry.type === 'file' ? entry.size : 0, parent, name, temporary }
      try {
        await refuseDirectory(inside(parent, name), path)
        staged.push(file)
        if (entry.type === 'file') await stageFile(at, entry, content, parent)
        else if (entry.type === 'symlink') {
          await symlink(entry.linkTarget as Buffer, at)
          setTimes(at, entry.mtimeNs, entry.mtimeNs)
        } else {
          const original = staged.find((other) => other.path === pathOf(linkSegments(entry)) && other !== file)
          if (original === undefined) throw hostile(entry, 'it is a hard link to something that was not extracted')
          await link(inside(original.parent, original.temporary), at)
          staged[staged.length - 1] = { ...file, bytes: original.bytes }
        }
      } catch (error) {
        throw diskProblem('write', path, error)
      }
    },

    async publish(): Promise<ExtractedSecret[]> {
      const published = staged.map(({ path, bytes }) => ({ path, bytes }))
      for (let next = staged[0]; next !== undefined; next = staged[0]) {
        const from = inside(next.parent, next.temporary)
        await rename(from, inside(next.parent, next.name)).catch((error: unknown) => {
          throw diskProblem('put in place', (next as Staged).path, error)
        })
        // rename(2) does nothing when both names are links to one file already.
        await unlink(from).catch(ignoreMissing)
        staged = staged.slice(1)
      }
      // The deepest first: a folder's time changes with what is put into it.
      for (const { entry, handle } of folders.reverse()) {
        const at = Buffer.from(`${descriptorPath(handle)}/.`)
        await applyMetadata(at, handle, entry).catch((error: unknown) => {
          throw diskProblem('set mode and owner of', pathOf(safeSegments(entry)), error)
        })
      }
      for (const handle of handles) await handle.sync()
      return published
    },

    async [Symbol.asyncDispose](): Promise<void> {
      for (const { parent, temporary } of staged) await unlink(inside(parent, temporary)).catch(ignoreMissing)
      for (const handle of handles) await handle.close()
    },
  }
}

/** The name's parts without `.`; throws when it could lead anywhere but below the target. */
function safeSegments(entry: ForeignTarEntry): readonly Buffer[] {
  return segmentsOf(entry, entry.name, 'its name')
}

function linkSegments(entry: ForeignTarEntry): readonly Buffer[] {
  return segmentsOf(entry, entry.linkTarget ?? Buffer.alloc(0), 'its original')
}

function segmentsOf(entry: ForeignTarEntry, name: Buffer, what: string): readonly Buffer[] {
  if (name.length === 0) throw hostile(entry, `${what} is empty`)
  if (name.includes(0)) throw hostile(entry, `${what} holds a NUL byte`)
  if (name[0] === 0x2f) throw hostile(entry, `${what} is absolute`)
  const segments = name
    .toString('latin1')
    .split('/')
    .filter((segment) => segment !== '' && segment !== '.')
  if (segments.includes('..')) throw hostile(entry, `${what} holds ".."`)
  if (segments.length > DEPTH_LIMIT) throw hostile(entry, `${what} has more than ${DEPTH_LIMIT} parts`)
  if (segments.some((segment) => segment.length > NAME_LIMIT)) throw hostile(entry, `${what} has too long a part`)
  return segments.map((segment) => Buffer.from(segment, 'latin1'))
}

/** For people and for `select`: invalid UTF-8 is replaced. */
function pathOf(segments: readonly Buffer[]): string {
  return `/${segments.map((segment) => segment.toString('utf8')).join('/')}`
}

function keyOf(segments: readonly Buffer[]): string {
  return segments.map((segment) => segment.toString('latin1')).join('/')
}

/**
 * A name in an open folder, as openat(2) would take it: the kernel resolves the descriptor, so nobody can put another
 * folder in between.
 */
function inside(folder: FileHandle, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${descriptorPath(folder)}/`), name])
}

function descriptorPath(handle: FileHandle): string {
  return `/proc/self/fd/${handle.fd}`
}

async function refuseDirectory(at: Buffer, path: string): Promise<void> {
  const existing = await lstat(at).catch(ignoreMissing)
  if (existing?.isDirectory()) {
    throw new ApplicationError('SOURCE', `Cannot write ${path}: a folder is there`, { facts: { path } })
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

function hostile(entry: ForeignTarEntry, why: string): ApplicationError {
  const name = entry.name.toString('utf8')
  return new ApplicationError('SEAL', `Cannot unpack ${JSON.stringify(name)} of the secrets: ${why}`, {
    facts: { entry: name },
    hint: 'Do not trust this archive: an honest backup holds no such entry',
  })
}

function diskProblem(action: string, path: string, cause: unknown): unknown {
  const { syscall, message } = cause as NodeJS.ErrnoException
  if (cause instanceof ApplicationError || syscall === undefined) return cause
  return new ApplicationError('SOURCE', `Cannot ${action} ${path}: ${message}`, { facts: { path }, cause })
}
