import { constants } from 'node:fs'
import { open, stat } from 'node:fs/promises'

/** Whether this user may read a file, or list a folder and look at what is in it. Tried, for modes do not say it all. */
export async function canRead(path: string): Promise<boolean> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    if ((await handle.stat()).isDirectory()) await stat(`${path}/.`)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error
    return false
  }
}
