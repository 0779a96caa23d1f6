import { open, readdir } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Exclusion } from '../../application/config/exclude.ts'
import { isSetAside, isSqliteHeader, SQLITE_HEADER_BYTES } from '../../application/sources/sqlite-header.ts'
import { openSqliteProcess, SqliteFailure } from '../../application/sources/sqlite-process.ts'
import { CodedError } from '../../engine/error.ts'
import { leftOutOf } from '../backup/left-out.ts'
import { command, type DoctorCheck, type DoctorContext, type DoctorFinding, holdfast, word } from './doctor-check.ts'

const SQLITE_CORRUPT = 11
const SQLITE_NOTADB = 26
/** A look at more entries than this is a walk through a mail store, not a check. */
const ENTRIES_LOOKED_AT = 20_000

/** The live databases pass their integrity check: a backup captures a damaged one as it is, and says so. */
export const databasesSound: DoctorCheck = {
  name: 'databases',
  title: 'Databases are whole',
  async run(context) {
    const { config, signal } = context
    const found: Omit<DoctorFinding, 'check'>[] = []
    await using sqlite = openSqliteProcess()
    const leftOut = await leftOutOf(config)
    for (const { name, kind, paths } of config.components) {
      if (kind !== 'files' && kind !== 'sqlite') continue
      for await (const path of databasesIn(paths, leftOut.get(name), signal)) {
        const problem = await problemOf(path)
        if (problem !== undefined) found.push(malformed(path, name, problem, context))
      }
    }
    return found

    async function problemOf(path: string): Promise<string | undefined> {
      try {
        const { problems } = await sqlite.run(
          { kind: 'check', path: Buffer.from(path).toString('latin1'), immutable: false },
          signal,
        )
        return problems[0]
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof SqliteFailure) {
          return error.primary === SQLITE_CORRUPT || error.primary === SQLITE_NOTADB ? error.message : undefined
        }
        if (!(error instanceof CodedError)) throw error
        return undefined // locked for too long, or closed to us: nothing is known against it
      }
    }
  },
}

function malformed(
  path: string,
  component: string,
  problem: string,
  context: DoctorContext,
): Omit<DoctorFinding, 'check'> {
  return {
    severity: 'error',
    code: 'database-malformed',
    component,
    path,
    message: `The database ${path} is damaged: ${problem}`,
    hint: `What can be read of it: sqlite3 ${word(path)} ".recover" | sqlite3 ${word(`${path}.recovered`)}; stop the application first`,
    remedy: command(`${holdfast(context, 'restore')} --path ${word(path)} --yes`),
  }
}

/** What stays out of backups is not looked at either, such as what a restore has kept beside the new. */
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
