import { mkdir, mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { ApplicationError } from '../error.ts'

/**
 * A new folder inside `directory` (created if need be) that only we can enter, for copies of what the application
 * keeps to itself. The caller removes it. `ApplicationError` `SOURCE` when there can be none.
 */
export async function makePrivateFolder(directory: string, purpose: string): Promise<string> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    return await mkdtemp(join(directory, `${purpose}-`)) // always 0700
  } catch (cause) {
    throw new ApplicationError(
      'SOURCE',
      `Cannot make a folder for copies in ${directory}: ${(cause as Error).message}`,
      {
        facts: { path: directory },
        cause,
        hint: 'Set `work-dir` to a folder that the backup can write to',
      },
    )
  }
}
