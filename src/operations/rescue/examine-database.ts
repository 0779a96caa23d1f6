import { mkdtemp, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ApplicationError } from '../../application/error.ts'
import { type DatabaseDiagnosis, diagnoseDatabase } from '../../application/sources/diagnose-database.ts'
import { captureDatabase } from '../../application/sources/sqlite.ts'
import { latin1, type SqliteProcess } from '../../application/sources/sqlite-process.ts'

/** A look at one database through a private copy: the live file is read only, and no log of it is played back into it. */
export interface ExaminedDatabase {
  readonly path: string
  readonly trouble: DatabaseDiagnosis['trouble']
  readonly seen: string
  /** Undefined when there is no file. */
  readonly diagnosis: DatabaseDiagnosis | undefined
  /** The copy; with what lay beside a damaged one. */
  readonly copy: string | undefined
  readonly hasLog: boolean
  /** When the file or its log was written to last. */
  readonly lastWritten: Date | undefined
}

export interface ExamineOptions {
  /** A private folder, for copies. */
  readonly folder: string
  readonly sqlite: SqliteProcess
  readonly signal: AbortSignal
}

/** Rejects with `DATABASE_IN_USE` when it stays locked, and with `DATABASE` when it cannot be read at all. */
export async function examineDatabase(
  path: string,
  { folder, sqlite, signal }: ExamineOptions,
): Promise<ExaminedDatabase> {
  const [file, log] = await Promise.all([changedAt(path), changedAt(`${path}-wal`)])
  const shared = {
    path,
    hasLog: log !== undefined,
    lastWritten: file === undefined ? log : new Date(Math.max(file.getTime(), log?.getTime() ?? 0)),
  }
  if (file === undefined) {
    return { ...shared, trouble: 'missing', seen: 'there is no such file', diagnosis: undefined, copy: undefined }
  }
  const sound = await soundCopy(path, { folder, sqlite, signal })
  const copy = sound ?? (await rawCopy(path, { folder, sqlite, signal }))
  const diagnosis = await diagnoseDatabase(copy, sqlite, signal)
  return { ...shared, trouble: diagnosis.trouble, seen: diagnosis.seen, diagnosis, copy }
}

/** Under SQLite's own locks, so that what is written meanwhile does not seem to be damage; undefined when it is damaged. */
async function soundCopy(path: string, { folder, sqlite, signal }: ExamineOptions): Promise<string | undefined> {
  try {
    const capture = await captureDatabase(path, { workDirectory: folder, sqlite, signal })
    if (capture.kind === 'copied') return capture.copy
    for (const { copy } of capture.kind === 'corrupt' ? capture.rawCopies : []) await rm(copy, { force: true })
    return undefined
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof ApplicationError) || error.code !== 'DATABASE') throw error
    return undefined // the bytes will tell why
  }
}

async function rawCopy(path: string, { folder, sqlite, signal }: ExamineOptions): Promise<string> {
  const copy = join(await mkdtemp(join(folder, 'damaged-')), 'damaged.db')
  try {
    await sqlite.run({ kind: 'raw', path: latin1(path), copy: latin1(copy) }, signal)
    return copy
  } catch (cause) {
    signal.throwIfAborted()
    throw new ApplicationError('DATABASE', `Cannot copy ${path} to look at it: ${(cause as Error).message}`, {
      facts: { path },
      hint: 'The disk may be failing or full: look at `dmesg` and `df`. To have the copy of the newest snapshot instead: holdfast restore --path FILE',
      cause,
    })
  }
}

async function changedAt(path: string): Promise<Date | undefined> {
  try {
    return (await stat(path)).mtime
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
}
