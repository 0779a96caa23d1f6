import { randomBytes } from 'node:crypto'
import { chmod, lstat, mkdir, open, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'

const TAG = `Signature: 8a477f597d28d172789f06886806bc55
# Holdfast keeps copies of repository files here, encrypted as they are stored. All of it may be removed at any time.
`

/**
 * Makes the folder of a repository in the folder of all caches, for its owner only, and notes that it is used. Rejects when it belongs
 * to another user: nothing in it could be believed less, but files would end up where they choose.
 */
export async function prepareCacheFolder(base: string, repository: string): Promise<string> {
  const folder = join(base, repository)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const one of [base, folder]) {
    const stats = await stat(one)
    if (!stats.isDirectory() || stats.uid !== process.geteuid?.()) throw new Error(`${one} belongs to another user`)
  }
  await chmod(folder, 0o700)
  const tag = join(base, 'CACHEDIR.TAG')
  if (!(await lstat(tag).catch(() => undefined))) await writePrivately(tag, [Buffer.from(TAG)])
  const now = new Date()
  await utimes(folder, now, now)
  return folder
}

/** Not synchronized: what a power cut spoils is found out when it is read. */
export async function writePrivately(path: string, content: readonly Buffer[]): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const handle = await open(temporary, 'wx', 0o600)
    try {
      const size = content.reduce((sum, part) => sum + part.length, 0)
      const { bytesWritten } = await handle.writev([...content])
      if (bytesWritten !== size) throw new Error(`the system accepted ${bytesWritten} of ${size} bytes`)
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw error
  }
}
