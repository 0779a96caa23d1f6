import { openSqliteProcess, SqliteFailure } from '../../application/sources/sqlite-process.ts'
import { CodedError } from '../../engine/error.ts'
import { command, type DoctorCheck, type DoctorContext, type Found, holdfast, word } from './doctor-check.ts'
import { type LiveDatabase, liveDatabases } from './live-databases.ts'

const SQLITE_CORRUPT = 11
const SQLITE_NOTADB = 26

/** The live databases pass their integrity check: a backup captures a damaged one as it is, and says so. */
export const databasesSound: DoctorCheck<'databases'> = {
  name: 'databases',
  title: 'Databases are whole',
  async run(context) {
    const { config, signal } = context
    const found: Found<'databases'>[] = []
    await using sqlite = openSqliteProcess()
    for await (const database of liveDatabases(config, signal)) {
      const problem = await problemOf(database.path)
      if (problem !== undefined) found.push(malformed(database, problem, context))
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

function malformed({ path, component }: LiveDatabase, problem: string, context: DoctorContext): Found<'databases'> {
  return {
    severity: 'error',
    code: 'database-malformed',
    component,
    path,
    message: `The database ${path} is damaged: ${problem}`,
    hint: 'It saves what can be read, counts it against the newest good snapshot, takes what loses fewer rows, and keeps the original',
    remedy: command(`${holdfast(context, 'rescue database')} ${word(path)} --yes`),
  }
}
