import { lstat, realpath } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import { surveyFiles } from '../../application/sources/survey.ts'
import { isBeforeName } from '../restore/before-name.ts'
import { presence } from '../restore/plan-in-place.ts'
import { isBelow } from '../restore/restore-to-target.ts'

/**
 * The databases of an application: on disk by their first bytes, and those that a snapshot knows, for a damaged one need not
 * look like one. Sorted; links resolved.
 *
 * @param stored as a snapshot names them
 */
export async function applicationDatabases(
  config: Config,
  stored: readonly string[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const targets = config.components
    .filter(({ kind }) => kind === 'files' || kind === 'sqlite')
    .flatMap(({ paths }) => paths.filter(posix.isAbsolute))
  const paths = new Set<string>()
  for (const target of targets) {
    if ((await presence(target)) === 'nothing') continue
    const { databases } = await surveyFiles(Buffer.from(target), { signal })
    // What a rescue or a restore has put aside is no database of the application.
    for (const database of databases) if (!isBeforeName(String(database))) paths.add(await realPath(String(database)))
  }
  for (const known of stored) {
    // Whoever can write to the repository may not say which files of the machine are replaced: the config does.
    if (targets.some((target) => isBelow(known, target))) paths.add(await realPath(known))
  }
  for (const { kind, paths: own } of config.components) {
    if (kind === 'sqlite') for (const path of own) if (!(await isFolder(path))) paths.add(await realPath(path))
  }
  return [...paths].sort()
}

/** Without links, also of a file that is not there. */
export async function realPath(path: string): Promise<string> {
  const there = await realpath(path).catch(ignoreMissing)
  if (there !== undefined) return there
  const folder = await realpath(posix.dirname(path)).catch(ignoreMissing)
  return folder === undefined ? path : posix.join(folder, posix.basename(path))
}

async function isFolder(path: string): Promise<boolean> {
  return (await lstat(path).catch(ignoreMissing))?.isDirectory() === true
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
  throw error
}
