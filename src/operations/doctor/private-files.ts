import { readdir, stat } from 'node:fs/promises'
import { posix } from 'node:path'
import { command, type DoctorCheck, type DoctorContext, type DoctorFinding, word } from './doctor-check.ts'

/** What others may do, in bits of the mode. */
const OTHERS = 0o077

/** Everything that Holdfast made is for its owner alone: 0700 and 0600. */
export const privateFiles: DoctorCheck = {
  name: 'permissions',
  title: 'Files and folders of Holdfast are for their owner alone',
  async run(context) {
    const found: Omit<DoctorFinding, 'check'>[] = []
    for (const path of await placesOf(context)) {
      const status = await stat(path).catch(() => undefined) // one that is not there, or closed to us, is another check's
      if (status === undefined) continue
      const mode = status.isDirectory() ? 0o700 : 0o600
      if ((status.mode & OTHERS) !== 0) {
        const text = `chmod ${mode.toString(8)} ${word(path)}`
        found.push({
          severity: 'warning',
          code: 'not-private',
          path,
          message: `${path} is open to others than its owner (mode ${octal(status.mode)}), expected ${octal(mode)}`,
          remedy: command(text),
          fix: { kind: 'chmod', path, mode },
        })
      }
      const uid = process.getuid?.()
      if (uid !== undefined && status.uid !== uid && status.uid !== 0) {
        found.push({
          severity: 'error',
          code: 'foreign-owner',
          path,
          message: `${path} belongs to the user ${status.uid}, who could change what is kept there; expected ${uid}`,
          remedy: command(`chown ${uid} ${word(path)}`),
        })
      }
    }
    return found
  },
}

async function placesOf({ config }: DoctorContext): Promise<string[]> {
  const { stateDirectory, workDirectory, log, repository, passwordFile } = config
  const isLocal = posix.isAbsolute(repository)
  const below = async (folder: string) =>
    (await readdir(folder).catch(() => [] as string[])).map((name) => posix.join(folder, name))
  return [
    ...new Set([
      stateDirectory,
      ...(await below(stateDirectory)),
      workDirectory,
      log,
      ...(passwordFile === undefined ? [] : [passwordFile]),
      ...config.unsealIdentities,
      // Whoever may not enter the folder needs no closer look at what is in it.
      ...(isLocal ? [repository] : []),
    ]),
  ]
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}
