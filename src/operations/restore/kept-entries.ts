import { isUtf8 } from 'node:buffer'
import { readdir } from 'node:fs/promises'
import { type Exclusion, isTaggedCache } from '../../application/config/exclude.ts'
import { isBelow } from './restore-to-target.ts'

export interface KeptEntriesOptions {
  /** The component that the folder belongs to, if any. */
  readonly component: string | undefined
  /** What stays out of backups, by component; undefined where no config says. */
  readonly leftOut: ReadonlyMap<string, Exclusion> | undefined
  /** Entries with a component of their own, by path, and whether that is restored too. */
  readonly owned: ReadonlyMap<string, { readonly component: string; readonly restored: boolean }>
  /** Entries that the snapshot should hold and does not: the live ones are all there is. */
  readonly gaps: ReadonlySet<string>
  readonly signal: AbortSignal
}

/**
 * The outermost entries of a live folder that stay where they are when the folder is replaced: what backups leave out,
 * what belongs to components that are not restored, and what the snapshot lacks. Sorted.
 *
 * Names that are no text cannot stand in a plan: such entries go where the replaced folder goes.
 */
export async function keptEntries(folder: string, options: KeptEntriesOptions): Promise<string[]> {
  const { owned, gaps, leftOut, signal } = options
  const kept: string[] = []
  const restoredPaths = [...owned].flatMap(([path, { restored }]) => (restored ? [path] : []))
  /** `outside`: a folder that is left out, and entered only for a component that lies in it. */
  const todo: { path: string; component: string | undefined; outside: boolean }[] = [
    { path: folder, component: options.component, outside: false },
  ]
  for (let next = todo.pop(); next; next = todo.pop()) {
    signal.throwIfAborted()
    const excluded = next.component === undefined ? undefined : leftOut?.get(next.component)
    for (const entry of await readdir(next.path, { withFileTypes: true, encoding: 'buffer' })) {
      if (!isUtf8(entry.name)) continue
      const path = `${next.path}/${entry.name}`
      const isFolder = entry.isDirectory()
      const own = owned.get(path)
      if (own?.restored) {
        if (isFolder) todo.push({ path, component: own.component, outside: false })
        continue
      }
      const bytes = Buffer.from(path)
      const stays =
        next.outside ||
        own !== undefined ||
        gaps.has(path) ||
        excluded?.(bytes, isFolder) === true ||
        (isFolder && excluded !== undefined && (await isTaggedCache(bytes)))
      if (!stays) {
        if (isFolder) todo.push({ path, component: next.component, outside: false })
      } else if (isFolder && restoredPaths.some((restored) => isBelow(restored, path))) {
        todo.push({ path, component: undefined, outside: true })
      } else {
        kept.push(path)
      }
    }
  }
  return kept.sort()
}
