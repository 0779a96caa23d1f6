import { realpath } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import { componentExclusion, type Exclusion } from '../../application/config/exclude.ts'
import { SIDECAR_SUFFIXES } from '../../application/sources/sqlite-header.ts'

/**
 * What an in-place restore leaves beside live paths: the folder in which it stages (only if it was killed), and what it
 * replaced. They may hold secrets under names that no longer tell, and are as old as their name says.
 */
const RESTORE_LEFTOVER =
  /\/(?:\.holdfast-restore-\d{8}-\d{6}[^/]*|[^/]*\.(?:before|restored)-\d{8}-\d{6}(?:-\d+)?(?:-wal|-shm|-journal)?)$/

/**
 * What stays out of each component, by its name, when it is surveyed, archived, and restored in place:
 *
 * - what the config excludes, and what belongs to components inside of it, with the log of a database that does
 * - the folders of secrets components, wherever a symbolic link puts them
 * - Holdfast's own folders: a repository inside a component would grow into itself
 * - what in-place restores left behind
 */
export async function leftOutOf(config: Config): Promise<ReadonlyMap<string, Exclusion>> {
  const own = await withRealPaths(ownPaths(config))
  const sealed = new Map<string, readonly string[]>()
  for (const { name, kind, paths } of config.components) {
    if (kind === 'secrets') sealed.set(name, await withRealPaths(paths))
  }
  const result = new Map<string, Exclusion>()
  for (const component of config.components) {
    const others = [...sealed].flatMap(([name, paths]) => (name === component.name ? [] : paths))
    const elsewhere = await withRealPaths(component.elsewhere)
    const sidecars = elsewhere.flatMap((path) => SIDECAR_SUFFIXES.map((suffix) => path + suffix))
    // Patterns count from each path of the component, also from where a link that is such a path leads to.
    const paths = await withRealPaths(component.paths)
    const excluded = componentExclusion(config, { ...component, paths, elsewhere: [] })
    const elsewhereOf = new Set([...own, ...others, ...elsewhere, ...sidecars].map(asText))
    const targets = new Set(paths.map(asText))
    result.set(component.name, (path, isDirectory) => {
      const text = path.toString('latin1')
      if (elsewhereOf.has(text) && !targets.has(text)) return true
      return RESTORE_LEFTOVER.test(text) || excluded(path, isDirectory)
    })
  }
  return result
}

/** Files that open the repository or its seals, or sign in our name. In a component they are secrets, whatever their names. */
export async function keyFilesOf(config: Config): Promise<readonly string[]> {
  const references = config.notify.flatMap(({ target, smtp }) => [target, smtp])
  return withRealPaths([
    ...(config.passwordFile === undefined ? [] : [config.passwordFile]),
    ...config.offSite.flatMap(({ passwordFile }) => passwordFile ?? []),
    ...config.unsealIdentities,
    ...(config.sign?.startsWith('ssh:') ? [config.sign.slice('ssh:'.length)] : []),
    ...references.flatMap((reference) => (reference?.kind === 'file' ? [reference.path] : [])),
  ])
}

function ownPaths(config: Config): string[] {
  const locations = [config.repository, ...config.offSite.map(({ to }) => to)]
  return [...locations, config.workDirectory, config.stateDirectory, config.log].filter(posix.isAbsolute)
}

/** The paths themselves, and where they lie when symbolic links are followed. Names of units and sites stay as they are. */
async function withRealPaths(paths: readonly string[]): Promise<string[]> {
  const found = new Set(paths)
  for (const path of paths) {
    if (!posix.isAbsolute(path)) continue
    // What is not there, or closed to us, is reported by whoever is to read it.
    const real = await realpath(path).catch((error: NodeJS.ErrnoException) => {
      if (error.syscall === undefined) throw error
      return path
    })
    found.add(real)
  }
  return [...found]
}

function asText(path: string): string {
  return Buffer.from(path).toString('latin1')
}
