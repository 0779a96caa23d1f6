import { access, constants, stat } from 'node:fs/promises'
import { posix } from 'node:path'
import { command, type DoctorCheck, edit, word } from './doctor-check.ts'

/** The folders that Holdfast writes to beside the repository: there, and writable. */
export const ownFolders: DoctorCheck = {
  name: 'folders',
  title: 'State, work and log folders can be written to',
  async run({ config }) {
    const folders = new Set([config.stateDirectory, config.workDirectory, posix.dirname(config.log)])
    const found = []
    for (const path of folders) {
      const status = await stat(path).catch((error: NodeJS.ErrnoException) => error.code)
      if (status === 'ENOENT') {
        found.push({
          severity: 'note',
          code: 'folder-missing',
          path,
          message: `${path} is not there yet; the first run makes it`,
          remedy: command(`mkdir -p -m 700 ${word(path)}`),
          fix: { kind: 'mkdir', path },
        } as const)
        continue
      }
      const isWritable = await access(path, constants.W_OK | constants.X_OK).then(
        () => true,
        () => false,
      )
      if (isWritable && typeof status === 'object' && status.isDirectory()) continue
      found.push({
        severity: 'error',
        code: 'folder-not-writable',
        path,
        message: `${path} cannot be written to by this user: backups could keep no state there`,
        remedy: edit(
          `${config.file}: name another folder in state-dir, work-dir or log, or run Holdfast as the user it belongs to`,
        ),
      } as const)
    }
    return found
  },
}
