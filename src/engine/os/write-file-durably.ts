import { randomBytes } from 'node:crypto'
import { type FileHandle, link, lstat, open, rename, rm, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { EngineError } from '../error.ts'
import { codeOfErrno, errnoOf } from './errno.ts'

export interface DurableWriteOptions {
  /** Mode of the finished file, whatever the umask. While it is written it is 0600; so is the default. */
  readonly mode?: number
  /** Whether an existing file may be replaced, in one step; otherwise it rejects with `EXISTS`. Default: yes. */
  readonly replace?: boolean
  readonly signal?: AbortSignal | undefined
  /** Told when the system has the content, which is not durable by then: its bytes may change. */
  readonly onTaken?: (() => void) | undefined
}

/**
 * Writes a file so that the name holds all of the content or what it held before, also after a power cut, and survives
 * one from the moment this resolves: temporary name in the same folder, fsync, rename, fsync of the folder.
 * The folder must exist. Leaves no temporary file behind unless the process or the machine dies meanwhile.
 *
 * Rejects with `EXISTS`, `NO_SPACE`, `PERMISSION`, `NOT_FOUND` (no such folder), `NOT_A_DIRECTORY`, `STORAGE`, or the reason of
 * the signal.
 */
export async function writeFileDurably(
  path: string,
  content: Buffer | readonly Buffer[],
  { mode = 0o600, replace = true, signal, onTaken }: DurableWriteOptions = {},
): Promise<void> {
  signal?.throwIfAborted()
  // The form that restic uses, so that it and its users recognise what an interrupted process left behind.
  const temporary = `${path}-tmp-${randomBytes(8).readBigUInt64LE()}`
  let exists = false
  try {
    const handle = await open(temporary, 'wx', 0o600)
    exists = true
    try {
      await writeAll(handle, Buffer.isBuffer(content) ? [content] : content, signal)
      onTaken?.()
      if (mode !== 0o600) await handle.chmod(mode)
      await synchronize(handle)
    } finally {
      // Network file systems report a failed write no earlier than here, so it must come before the new name.
      await handle.close()
    }
    signal?.throwIfAborted()
    if (replace) await rename(temporary, path)
    else await renameWithoutReplacing(temporary, path)
    exists = false
    await synchronizeFolder(dirname(path))
  } catch (error) {
    // `force` tolerates only that it is gone; if it cannot be removed, that must not hide what went wrong first.
    if (exists) await rm(temporary, { force: true }).catch(() => undefined)
    if (signal?.aborted && error === signal.reason) throw error
    throw writeError(path, error)
  }
}

/** Makes the names in a folder survive a power cut: those that were added to it, and that removed ones stay away. */
export async function synchronizeFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await synchronize(handle)
  } finally {
    await handle.close()
  }
}

/**
 * `rename` would silently replace a file of the new name, and looking first leaves a gap in which another process can
 * make one. `link` fails with EEXIST in one step. Between it and `unlink` the file has both names, which is harmless:
 * temporary names are never listed.
 */
async function renameWithoutReplacing(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    if (!NO_HARD_LINKS.has(errnoOf(error) ?? '')) throw error
    // FAT, exFAT and some FUSE and network file systems have no hard links. Node offers no renameat2(RENAME_NOREPLACE), and
    // most of these refuse it as well. The gap is left to them: names of content hold the same bytes either way.
    if (await nameExists(to)) throw Object.assign(new Error(`EEXIST: ${to}`), { code: 'EEXIST' })
    await rename(from, to)
    return
  }
  await unlink(from)
}

const NO_HARD_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EXDEV'])

async function nameExists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

// As many buffers as one writev(2) takes, and not so many bytes that a signal has to wait for long.
const MAX_BATCH_PARTS = 1024
const MAX_BATCH_BYTES = 4 * 1024 * 1024

async function writeAll(handle: FileHandle, parts: readonly Buffer[], signal: AbortSignal | undefined): Promise<void> {
  let next = 0
  let offset = 0 // within parts[next]
  while (next < parts.length) {
    signal?.throwIfAborted()
    const batch: Buffer[] = []
    let size = 0
    for (let index = next; index < parts.length && batch.length < MAX_BATCH_PARTS && size < MAX_BATCH_BYTES; index++) {
      const start = index === next ? offset : 0
      const part = parts[index]!.subarray(start, start + MAX_BATCH_BYTES - size)
      batch.push(part)
      size += part.length
    }
    let written = size === 0 ? 0 : (await handle.writev(batch)).bytesWritten
    if (written === 0 && size > 0) throw new Error(`the system accepted none of ${size} bytes`)
    while (next < parts.length && written >= parts[next]!.length - offset) {
      written -= parts[next]!.length - offset
      next++
      offset = 0
    }
    offset += written
  }
}

async function synchronize(handle: FileHandle): Promise<void> {
  try {
    await handle.sync()
  } catch (error) {
    // Some FUSE and network file systems cannot synchronize folders, or anything: nothing can be done about it there.
    if (!['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(errnoOf(error) ?? '')) throw error
  }
}

function writeError(path: string, cause: unknown): EngineError {
  const errno = errnoOf(cause)
  const code = codeOfErrno(errno)
  return new EngineError(
    code === undefined || code === 'UNSUPPORTED' ? 'STORAGE' : code,
    `Cannot write ${path}: ${errno ?? String(cause)}`,
    {
      cause,
      facts: { path, errno },
      hint: code === 'NO_SPACE' ? `Make room on the disk that holds ${dirname(path)}: \`df -h\` shows it` : undefined,
    },
  )
}
