import { lstat, open } from 'node:fs/promises'
import { join } from 'node:path'

/** When the code of an application was changed last, as far as a deploy leaves a trace that is known. */
export interface Deploy {
  readonly by: 'git' | 'link' | 'npm'
  readonly at: Date
  /** What git says of it; of the others where the trace is. */
  readonly what: string
}

/** Of a reflog, as much as holds its last line. */
const TAIL = 16 * 1024

/** The newest trace: git's reflog, a link to the current release (`current`, or the root itself), what npm installed. */
export async function lastDeploy(root: string): Promise<Deploy | undefined> {
  const traces = [await byGit(root), await byLink(root), await byLink(join(root, 'current')), await byNpm(root)]
  return traces
    .filter((trace) => trace !== undefined)
    .toSorted((a, b) => b.at.getTime() - a.at.getTime())
    .at(0)
}

/** gitrepository-layout(5), `logs/HEAD`: `OLD NEW NAME <MAIL> SECONDS ZONE<TAB>MESSAGE`, the newest last. */
async function byGit(root: string): Promise<Deploy | undefined> {
  const text = await readTail(join(root, '.git/logs/HEAD'))
  const line = text?.trimEnd().split('\n').at(-1) ?? ''
  const [, commit, seconds, message] =
    /^[0-9a-f]{40,64} ([0-9a-f]{40,64}) .*> (\d{1,12}) [+-]\d{4}\t(.*)$/.exec(line) ?? []
  if (commit === undefined) return undefined
  return { by: 'git', at: new Date(Number(seconds) * 1000), what: `${commit.slice(0, 8)} ${message}`.slice(0, 200) }
}

async function byLink(path: string): Promise<Deploy | undefined> {
  const stats = await lstatOf(path)
  return stats?.isSymbolicLink() ? { by: 'link', at: stats.mtime, what: path } : undefined
}

/** npm writes it at the end of each installation. */
async function byNpm(root: string): Promise<Deploy | undefined> {
  const path = join(root, 'node_modules/.package-lock.json')
  const stats = await lstatOf(path)
  return stats && { by: 'npm', at: stats.mtime, what: path }
}

/** Undefined when it cannot be seen: a trace is a help, not a condition. */
async function lstatOf(path: string) {
  return lstat(path).catch(unseen)
}

async function readTail(path: string): Promise<string | undefined> {
  try {
    await using handle = await open(path)
    const { size } = await handle.stat()
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(TAIL), 0, TAIL, Math.max(0, size - TAIL))
    return buffer.subarray(0, bytesRead).toString('utf8')
  } catch (error) {
    return unseen(error as NodeJS.ErrnoException)
  }
}

function unseen(error: NodeJS.ErrnoException): undefined {
  if (error.syscall === undefined) throw error
  return undefined
}
