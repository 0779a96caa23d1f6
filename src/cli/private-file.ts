import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { CliError } from './error.ts'

export interface PrivateFile extends AsyncDisposable {
  write(bytes: Buffer): Promise<void>
  /** Puts the file in its place, where it replaces one that is there. Without it, nothing is left of it. */
  publish(): Promise<void>
}

/** A file that only its owner may read, and that has its name only when it is whole. Throws `OUTPUT`. */
export async function openPrivateFile(path: string): Promise<PrivateFile> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`)
  const fail = (error: NodeJS.ErrnoException): never => {
    const why = error.code === 'ENOENT' ? 'its folder does not exist' : error.message
    throw new CliError('OUTPUT', `Cannot write ${path}: ${why}`, { cause: error, facts: { path } })
  }
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL
  const file = await open(temporary, flags, 0o600).catch(fail)
  let published = false
  return {
    async write(bytes) {
      await file.writeFile(bytes).catch(fail)
    },
    async publish() {
      await file.sync()
      await rename(temporary, path).catch(fail)
      published = true
    },
    async [Symbol.asyncDispose]() {
      await file.close()
      if (!published) await rm(temporary, { force: true })
    },
  }
}
