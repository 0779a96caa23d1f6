import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { makePrivateFolder } from '../application/sources/private-folder.ts'
import { processLives } from '../engine/os/process-lives.ts'

export interface WorkFolder extends AsyncDisposable {
  readonly path: string
}

/**
 * A folder inside `parent` that only we can enter, removed on disposal. What runs of the same purpose left there when they
 * were killed is removed first: it holds copies of databases. `ApplicationError` `SOURCE` when there can be none.
 */
export async function openWorkFolder(
  parent: string,
  purpose: 'backup' | 'verify' | 'drill' | 'import' | 'status' | 'rescue',
): Promise<WorkFolder> {
  const path = await makePrivateFolder(parent, `${purpose}-${process.pid}`)
  await removeLeftovers(parent, purpose)
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

async function removeLeftovers(parent: string, purpose: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const pid = new RegExp(`^${purpose}-(\\d+)-`).exec(name)?.[1]
    if (pid === undefined || processLives(Number(pid))) continue
    await rm(join(parent, name), { recursive: true, force: true }).catch((error: NodeJS.ErrnoException) => {
      // Another user's, who will remove it at their next run.
      if (error.code !== 'EACCES' && error.code !== 'EPERM') throw error
    })
  }
}
