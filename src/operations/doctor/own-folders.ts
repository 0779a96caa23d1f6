import { access, constants, stat, statfs } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import { command, type DoctorCheck, edit, type Found, mebibytes, word } from './doctor-check.ts'
import { liveDatabases } from './live-databases.ts'

/** The folders that Holdfast writes to beside the repository: there, writable, and with room for what a backup puts there. */
export const ownFolders: DoctorCheck<'folders'> = {
  name: 'folders',
  title: 'State, work and log folders can be written to, and have room',
  async run({ config, signal }) {
    const folders = new Set([config.stateDirectory, config.workDirectory, posix.dirname(config.log)])
    const found: Found<'folders'>[] = []
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
        })
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
      })
    }
    return [...found, ...(await spaceFindings(config, signal))]
  },
}

/** A backup copies each database into the work folder, and keeps the copies until all of them are stored. */
async function spaceFindings(config: Config, signal: AbortSignal): Promise<Found<'folders'>[]> {
  let needed = 0
  for await (const { path } of liveDatabases(config, signal)) {
    for (const file of [path, `${path}-wal`]) needed += await sizeOf(file)
  }
  const path = config.workDirectory
  const free = await freeBytes(path)
  if (free === undefined || free >= needed) return []
  return [
    {
      severity: 'error',
      code: 'work-space-short',
      path,
      message: `${path} has ${mebibytes(free)} left, and a backup copies databases of ${mebibytes(needed)} there`,
      remedy: edit(`${config.file}: name a folder on a disk with more room in work-dir`),
    },
  ]
}

async function sizeOf(file: string): Promise<number> {
  return stat(file).then(
    ({ size }) => size,
    () => 0, // no log beside the database, or closed to us, which another check says
  )
}

/** Of the disk that the folder lies on, or will; undefined where that cannot be told. */
async function freeBytes(folder: string): Promise<number | undefined> {
  try {
    const { bavail, bsize } = await statfs(folder)
    return bavail * bsize
  } catch (error) {
    const parent = posix.dirname(folder)
    return (error as NodeJS.ErrnoException).code === 'ENOENT' && parent !== folder ? freeBytes(parent) : undefined
  }
}
