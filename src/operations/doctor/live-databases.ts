import { open, readdir } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import type { Exclusion } from '../../application/config/exclude.ts'
import { isSetAside, isSqliteHeader, SQLITE_HEADER_BYTES } from '../../application/sources/sqlite-header.ts'
import { leftOutOf } from '../backup/left-out.ts'

/** A look at more entries than this is a walk through a mail store, not a check. */
const ENTRIES_LOOKED_AT = 20_000

export interface LiveDatabase {
  readonly component: string
  readonly path: string
}

/** The databases that a backup would copy. What stays out of it, such as what a restore has kept beside the new, is not among them. */
export async function* liveDatabases(config: Config, signal: AbortSignal): AsyncGenerator<LiveDatabase> {
  const leftOut = await leftOutOf(config)
  for (const { name, kind, paths } of config.components) {
    if (kind !== 'files' && kind !== 'sqlite') continue
    for await (const path of databasesIn(paths, leftOut.get(name), signal)) yield { component: name, path }
  }
}

async function* databasesIn(
  paths: readonly string[],
  isLeftOut: Exclusion | undefined,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let looked = 0
  const waiting = [...paths]
  for (let path = waiting.shift(); path !== undefined && looked < ENTRIES_LOOKED_AT; path = waiting.shift()) {
    signal.throwIfAborted()
    looked += 1
    const entries = await readdir(path, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => error.code)
    if (Array.isArray(entries)) {
      for (const entry of entries) {
        const inner = posix.join(path, entry.name)
        if (isLeftOut?.(Buffer.from(inner), entry.isDirectory())) continue
        if (entry.isDirectory()) waiting.push(inner)
        else if (entry.isFile() && !isSetAside(entry.name) && (await hasDatabaseHeader(inner))) yield inner
        looked += 1
      }
    } else if (entries === 'ENOTDIR' && (await hasDatabaseHeader(path))) yield path
  }
}

async function hasDatabaseHeader(path: string): Promise<boolean> {
  try {
    await using handle = await open(path)
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(SQLITE_HEADER_BYTES), 0, SQLITE_HEADER_BYTES, 0)
    return isSqliteHeader(buffer.subarray(0, bytesRead))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error
    return false
  }
}
