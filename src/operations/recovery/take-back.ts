import { rename } from 'node:fs/promises'
import { posix } from 'node:path'
import { SIDECAR_SUFFIXES } from '../../application/sources/sqlite-header.ts'
import { exchange } from '../../engine/os/exchange.ts'
import { synchronizeFolder } from '../../engine/os/write-file-durably.ts'
import { OperationError } from '../error.ts'
import { beforeName } from '../restore/before-name.ts'
import { presence, type RestoreUnit } from '../restore/plan-in-place.ts'
import { identityOf } from '../restore/restore-record.ts'
import { outermost } from '../restore/unit-paths.ts'

/** What must be known of a path that is about to be replaced, so that what is there can be brought back. */
export interface ReplacedPath {
  readonly path: string
  /** Device and inode of what is there; absent when nothing is. */
  readonly live?: string | undefined
  /** Where it goes. */
  readonly before?: string | undefined
  /** Entries in it that stay where they are. */
  readonly kept: readonly string[]
  readonly isDatabase: boolean
}

/** Of the units of a plan; to be noted durably before it is applied. */
export async function describeReplaced(
  units: readonly RestoreUnit[],
  { keepsSecrets }: { readonly keepsSecrets: boolean },
): Promise<ReplacedPath[]> {
  return Promise.all(
    units.map(async ({ path, before, kept, secrets, isDatabase }) => {
      const live: string[] = []
      for (const secret of keepsSecrets ? secrets : []) {
        if (secret !== path && (await identityOf(secret)) !== undefined) live.push(secret)
      }
      return { path, live: await identityOf(path), before, kept: outermost([...kept, ...live]), isDatabase }
    }),
  )
}

/**
 * Puts back what was at a path. What was restored there is not removed, for the application may have written to it: it is
 * kept as `NAME.restored-STAMP`, whose path is the answer; undefined when it was not there. May be cut off and called again:
 * what was there is told from what was restored by device and inode. Rejects with `SWAP` when what was there is gone.
 */
export async function takeBack(replaced: ReplacedPath, stamp: string): Promise<string | undefined> {
  const { path, live, before, kept } = replaced
  const aside = beforeName(path, stamp, 'restored')
  if (live === undefined) await moveEntry(path, aside, replaced)
  else {
    if ((await identityOf(path)) !== live) await bringBack(replaced, aside)
    // Exchanged, so what was restored is where the other was.
    if (before !== undefined && (await presence(before)) !== 'nothing') await moveEntry(before, aside, replaced)
    for (const entry of kept) await moveIfAbsent(aside + entry.slice(path.length), entry)
  }
  const isAside = (await presence(aside)) !== 'nothing'
  if (isAside || live !== undefined) await synchronizeFolder(posix.dirname(path))
  return isAside ? aside : undefined
}

async function bringBack({ path, live, before, isDatabase }: ReplacedPath, aside: string): Promise<void> {
  if (before === undefined || (await identityOf(before)) !== live) {
    throw new OperationError('SWAP', `Cannot put back what was at ${path}: it is neither there nor at ${before}`, {
      facts: { path, before },
      hint: 'Somebody has moved or removed it since',
    })
  }
  const isThere = (await presence(path)) !== 'nothing'
  // A database's log must not meet the other database, so of one the steps are taken apart.
  if (isThere && !isDatabase && exchange(Buffer.from(path), Buffer.from(before))) return
  if (isThere) await moveEntry(path, aside, { isDatabase })
  await moveEntry(before, path, { isDatabase })
}

async function moveEntry(from: string, to: string, { isDatabase }: Pick<ReplacedPath, 'isDatabase'>): Promise<void> {
  for (const suffix of isDatabase ? SIDECAR_SUFFIXES : []) await moveIfAbsent(from + suffix, to + suffix)
  if ((await presence(from)) !== 'nothing') await rename(from, to)
}

async function moveIfAbsent(from: string, to: string): Promise<void> {
  if ((await presence(from)) === 'nothing' || (await presence(to)) !== 'nothing') return
  await rename(from, to)
}
