import { readFile } from 'node:fs/promises'
import { isWithin } from './host-path.ts'
import { foldersOfApps, pm2Apps } from './pm2.ts'
import { foldersOfUnit, parseUnitFile } from './unit-file.ts'

/**
 * Folders inside an application's root that must be there before it can start, and that backups leave out as often as not:
 * those that its units may write to (systemd refuses to start a unit whose `ReadWritePaths` is missing), and those of logs.
 */
export async function neededFolders(options: {
  readonly root: string
  readonly unitFiles: readonly string[]
  readonly ecosystem: string | undefined
  readonly signal?: AbortSignal
}): Promise<readonly string[]> {
  const { root, unitFiles, ecosystem, signal } = options
  const folders: string[] = []
  for (const file of unitFiles) folders.push(...foldersOfUnit(parseUnitFile(await readFile(file, 'utf8'))))
  if (ecosystem !== undefined) folders.push(...foldersOfApps(await pm2Apps(ecosystem, signal && { signal })))
  return [...new Set(folders)].filter((folder) => isWithin(root, folder)).sort()
}
