import { readlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { ApplicationError } from '../error.ts'

/** As many as the kernel follows. */
const LINK_LIMIT = 40

/** Whether `path` is `directory` or lies in it. Both absolute. */
export function isWithin(directory: string, path: string): boolean {
  const from = resolve(directory)
  const to = resolve(path)
  return to === from || to.startsWith(from === '/' ? '/' : `${from}/`)
}

/** Where a path that a file of the host names lies for us, when the host's root is `hostRoot` (a restored copy). */
export function onHost(hostRoot: string, path: string): string {
  return isWithin(hostRoot, path) ? resolve(path) : join(hostRoot, path)
}

/**
 * The symbolic links from `path` on, and at the end what they lead to, which need not exist: `[link, link, file]`.
 * Absolute links are taken relative to `hostRoot`.
 */
export async function followLinks(path: string, hostRoot: string): Promise<readonly string[]> {
  const chain = [path]
  for (let current = path; ; ) {
    const target = await linkTarget(current, hostRoot)
    if (target === undefined) return chain
    if (chain.length > LINK_LIMIT) {
      throw new ApplicationError('SOURCE', `Cannot follow ${path}: more than ${LINK_LIMIT} symbolic links`, {
        facts: { path },
      })
    }
    chain.push(target)
    current = target
  }
}

async function linkTarget(path: string, hostRoot: string): Promise<string | undefined> {
  try {
    const target = await readlink(path)
    return target.startsWith('/') ? onHost(hostRoot, target) : resolve(dirname(path), target)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EINVAL' || code === 'ENOENT' || code === 'ENOTDIR') return undefined // not a link, or nothing there
    throw error
  }
}
