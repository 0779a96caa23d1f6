import { lstat } from 'node:fs/promises'
import type { ComponentConfig } from '../../application/config/config.ts'
import type { Exclusion } from '../../application/config/exclude.ts'
import { holdsPrivateKey, looksSecret } from '../../application/sources/secret-looking.ts'
import { isSetAside, isSqliteHeader } from '../../application/sources/sqlite-header.ts'
import type { EntryStats } from '../../engine/os/entry-stats.ts'

/**
 * The last look at a file before its bytes enter the repository. Between the survey of a component and its archiving a
 * secret or a database may appear: whatever the survey did not see is held to the same rules here, on the bytes that
 * would be stored.
 */
export function vetoOf(path: Buffer, firstBytes: Buffer): string | undefined {
  if (isSqliteHeader(firstBytes) && !isSetAside(path.toString('latin1')))
    return 'it is a database that appeared after the survey; the next backup captures it'
  const secret = looksSecret(path)
  if (secret === 'yes' || (secret === 'by-content' && holdsPrivateKey(firstBytes))) {
    return 'it is a secret that appeared after the survey; the next backup seals it'
  }
  return undefined
}

/** A component and what is stored of it as it lies on disk. */
export interface ComponentTargets {
  readonly component: ComponentConfig
  readonly targets: readonly Buffer[]
}

/** Leaves out what `leftOut` says of the component that an entry lies in: the innermost one. */
export function selectionOf(
  captured: readonly ComponentTargets[],
  leftOut: ReadonlyMap<string, Exclusion>,
): (path: Buffer, stats: EntryStats) => boolean {
  const rules = captured
    .flatMap(({ component, targets }) =>
      targets.map((target) => ({
        folder: `${target.toString('latin1').replace(/\/$/, '')}/`,
        excluded: leftOut.get(component.name),
      })),
    )
    .sort((a, b) => b.folder.length - a.folder.length)
  return (path, stats) => {
    const text = path.toString('latin1')
    const rule = rules.find(({ folder }) => text.startsWith(folder))
    return !rule?.excluded?.(path, stats.isDirectory())
  }
}

/**
 * Further names of secrets: hard links under which the same bytes would enter the repository in the clear. `onFound` hears
 * of each entry that is one; it must stay out.
 */
export async function otherNamesOf(
  secrets: readonly Buffer[],
  onFound: (path: Buffer, secret: Buffer) => void,
): Promise<(path: Buffer, stats: EntryStats) => boolean> {
  const linked = new Map<string, Buffer>()
  for (const path of secrets) {
    const stats = await lstat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.syscall === undefined) throw error
      return undefined // whoever seals it says that it cannot be read
    })
    if (stats?.isFile() && stats.nlink > 1n) linked.set(`${stats.dev}:${stats.ino}`, path)
  }
  return (path, stats) => {
    if (linked.size === 0 || stats.nlink < 2) return false
    const secret = linked.get(`${stats.dev}:${stats.ino}`)
    if (secret === undefined || secret.equals(path) || !stats.isFile()) return false
    onFound(path, secret)
    return true
  }
}
