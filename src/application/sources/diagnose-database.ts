import { type DatabaseBytes, inspectDatabaseBytes } from './database-bytes.ts'
import { latin1, type SqliteProcess } from './sqlite-process.ts'

/**
 * What is wrong with a database, each with another way out:
 *
 * - `sound`: nothing
 * - `missing`, `empty`, `zeroed`, `another-file`: there is nothing of it in the file
 * - `header`: its first bytes are destroyed, what follows looks like a database
 * - `page-size`: the header says another size of pages than they have
 * - `truncated`: pages are missing at its end
 * - `index`: indexes are damaged and nothing else, so that no row is lost
 * - `freelist`: the list of free pages is damaged and nothing else, so that no row is lost
 * - `pages`: pages that may hold rows are damaged
 */
export type DatabaseTrouble =
  | 'sound'
  | 'missing'
  | 'empty'
  | 'zeroed'
  | 'another-file'
  | 'header'
  | 'page-size'
  | 'truncated'
  | 'index'
  | 'freelist'
  | 'pages'

export interface DatabaseDiagnosis {
  readonly trouble: DatabaseTrouble
  /** What was seen, one line. */
  readonly seen: string
  readonly bytes: DatabaseBytes
  /** Whether the database keeps a write-ahead log; a lost one does not show in the file. */
  readonly journalMode: 'wal' | 'rollback'
}

/** Half of what a sound database holds is rarely zero; a file of zeros is. */
const ZEROED = 0.999

/** @param path a private copy with what lies beside it: SQLite may write to it */
export async function diagnoseDatabase(
  path: string,
  sqlite: SqliteProcess,
  signal?: AbortSignal,
): Promise<DatabaseDiagnosis> {
  const bytes = inspectDatabaseBytes(path)
  const journalMode = bytes.header[18] === 2 || bytes.header[19] === 2 ? 'wal' : 'rollback'
  const found = (trouble: DatabaseTrouble, seen: string): DatabaseDiagnosis => ({ trouble, seen, bytes, journalMode })
  const { size, hasMagic, headerProblem, pageSize, likelyPageSize, pages, zeros } = bytes
  if (size === 0) return found('empty', 'the file has no bytes')
  if (!hasMagic && likelyPageSize === undefined) {
    return zeros >= ZEROED
      ? found('zeroed', `${size} bytes, all of them zero`)
      : found('another-file', 'neither its beginning nor what follows is of a database')
  }
  if (zeros >= ZEROED && size > 4096) return found('zeroed', `${size} bytes, next to all of them zero`)
  if (headerProblem !== undefined && pageSize !== undefined)
    return found('header', `the header is damaged: ${headerProblem}`)
  if (headerProblem !== undefined) {
    const isOnlyTheSize = hasMagic && likelyPageSize !== undefined && headerProblem.startsWith('it says that a page')
    return found(isOnlyTheSize ? 'page-size' : 'header', `the header is damaged: ${headerProblem}`)
  }
  const { problems, unreadable, indexRoots } = await sqlite.run({ kind: 'diagnose', path: latin1(path) }, signal)
  if (problems?.length === 0) return found('sound', 'SQLite finds nothing wrong')
  if (likelyPageSize !== undefined && pageSize !== likelyPageSize) {
    return found('page-size', `the header says pages of ${pageSize} bytes, they look like ${likelyPageSize}`)
  }
  if (pages !== undefined && size < pages * pageSize!) {
    return found('truncated', `${size} bytes, where the header counts ${pages} pages of ${pageSize}`)
  }
  const seen = problems?.find((line) => !line.startsWith('***')) ?? unreadable ?? 'SQLite cannot read it'
  const real = problems?.filter((line) => !line.startsWith('***')) ?? []
  // Pages below a damaged one are not reached, and then seem to be of no use.
  const causes = real.filter((line) => !/^Page \d+:? (is )?never used$/.test(line))
  if (causes.length > 0 && causes.every((line) => isOfIndex(line, indexRoots))) return found('index', seen)
  if (causes.every((line) => /^(Main )?freelist: /i.test(line)) && real.length > 0) return found('freelist', seen)
  return found('pages', seen)
}

/** Lines of `PRAGMA integrity_check`, which SQLite documents by example only: of its source, `sqlite3BtreeIntegrityCheck`. */
function isOfIndex(line: string, roots: readonly number[]): boolean {
  const tree = /^Tree (\d+) /.exec(line)?.[1]
  if (tree !== undefined) return roots.includes(Number(tree))
  return /(missing from index|wrong # of entries in index|non-unique entry in index|rowid not at end-of-record for)/.test(
    line,
  )
}
