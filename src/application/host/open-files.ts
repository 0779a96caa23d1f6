import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'

export interface OpenBy {
  readonly pid: number
  /** Name of the program. Not its arguments: they may hold a password. */
  readonly command: string
}

export interface OpenFiles {
  readonly processes: readonly OpenBy[]
  /** Whether every process could be looked at: others' files are open to root only, and not every system has `/proc`. */
  readonly complete: boolean
}

/** Which processes have a file open, or a `-wal` or `-shm` beside it; our own is left out. */
export async function whoHasOpen(path: string | Buffer, { procRoot = '/proc' } = {}): Promise<OpenFiles> {
  const wanted = new Set<string>()
  for (const suffix of ['', '-wal', '-shm']) {
    const id = await identify(Buffer.concat([Buffer.from(path), Buffer.from(suffix)]))
    if (id !== undefined) wanted.add(id)
  }
  let names: string[]
  try {
    names = await readdir(procRoot)
  } catch (error) {
    if (!absent(error)) throw error
    return { processes: [], complete: false }
  }
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number)
  const processes: OpenBy[] = []
  let complete = pids.length > 0
  for (const pid of pids) {
    const folder = join(procRoot, String(pid))
    if (pid === process.pid) continue
    try {
      if (!(await hasOpen(folder, wanted))) continue
      processes.push({ pid, command: await commandOf(folder) })
    } catch (error) {
      if (absent(error)) continue // the process has ended
      if (!denied(error)) throw error
      if (!(await isKernelThread(folder))) complete = false
    }
  }
  return { processes, complete }
}

async function hasOpen(folder: string, wanted: ReadonlySet<string>): Promise<boolean> {
  for (const descriptor of await readdir(join(folder, 'fd'))) {
    const id = await identify(join(folder, 'fd', descriptor))
    if (id !== undefined && wanted.has(id)) return true
  }
  return false
}

/** Name of the program of a process, `folder` being its folder in `/proc`. */
export async function commandOf(folder: string): Promise<string> {
  const command = (await readFile(join(folder, 'comm'), 'utf8')).trimEnd()
  // Node names its thread so, unless the program sets `process.title`.
  return command === 'MainThread' ? basename(await readlink(join(folder, 'exe'))) : command
}

async function isKernelThread(folder: string): Promise<boolean> {
  try {
    return (await readFile(join(folder, 'cmdline'))).length === 0
  } catch (error) {
    if (absent(error)) return true // ended meanwhile: nothing to hide
    if (denied(error)) return false // mounted with hidepid
    throw error
  }
}

async function identify(path: string | Buffer): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true })
    return `${dev}:${ino}`
  } catch (error) {
    if (absent(error)) return undefined
    throw error
  }
}

function absent(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOENT' || code === 'ESRCH' || code === 'ENOTDIR'
}

function denied(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'EACCES' || code === 'EPERM'
}
