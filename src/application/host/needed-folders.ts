import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isWithin } from './host-path.ts'
import { pm2Apps } from './pm2.ts'
import { parseUnitFile, splitWords, valuesOf } from './unit-file.ts'

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
  for (const file of unitFiles) {
    const settings = parseUnitFile(await readFile(file, 'utf8'))
    const value = (key: string) => valuesOf(settings, 'Service', key)
    const paths = [...value('ReadWritePaths'), ...value('WorkingDirectory')].flatMap(splitWords)
    folders.push(...paths.map((path) => path.replace(/^[-+]+/, '')))
    for (const output of [...value('StandardOutput'), ...value('StandardError')]) {
      const path = /^(?:file|append|truncate):(.*)$/.exec(output)?.[1]
      if (path !== undefined) folders.push(dirname(path))
    }
  }
  if (ecosystem !== undefined) {
    for (const { cwd, logFiles } of await pm2Apps(ecosystem, signal === undefined ? {} : { signal })) {
      folders.push(cwd, ...logFiles.map((file) => dirname(file)))
    }
  }
  return [...new Set(folders)].filter((folder) => folder.startsWith('/') && isWithin(root, folder)).sort()
}
