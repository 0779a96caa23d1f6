import { type BigIntStats, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export interface Comparison {
  /** Archives by tar have times of whole seconds, and the script does not promise more. */
  readonly times: 'exact' | 'ignored'
  /** A database copied by sqlite3 has the rows of the original, but not all of its bytes. */
  readonly databases: 'bytes' | 'rows'
}

const LISTED = 5

/** What differs between a folder and its restored copy: type, mode, owner, size, time, content. Empty when nothing does. */
export function compareTrees(original: string, copy: string, how: Comparison): string[] {
  const differences: string[] = []
  const compare = (path: string) => {
    if (differences.length >= LISTED) return
    const [left, right] = [join(original, path), join(copy, path)]
    const a = lstatSync(left, { bigint: true })
    const b = lstatSync(right, { bigint: true, throwIfNoEntry: false })
    if (b === undefined) {
      differences.push(`${path} is missing`)
      return
    }
    const rows = how.databases === 'rows' && path.endsWith('.db')
    const fields: readonly (keyof BigIntStats)[] = [
      'mode',
      'uid',
      'gid',
      ...(a.isFile() && !rows ? (['size'] as const) : []),
      ...(how.times === 'exact' ? (['mtimeNs'] as const) : []),
    ]
    for (const field of rows ? [] : fields) {
      if (a[field] !== b[field]) differences.push(`${path}: ${field} was ${a[field]}, is ${b[field]}`)
    }
    if (a.isDirectory()) {
      const [names, restored] = [readdirSync(left).sort(), readdirSync(right).sort()]
      for (const name of restored) if (!names.includes(name)) differences.push(`${join(path, name)} is too many`)
      for (const name of names) compare(join(path, name))
    } else if (a.isSymbolicLink()) {
      if (readlinkSync(left) !== readlinkSync(right)) differences.push(`${path}: another target`)
    } else if (rows) {
      if (rowsOf(left) !== rowsOf(right)) differences.push(`${path}: other rows`)
    } else if (a.isFile() && !readFileSync(left).equals(readFileSync(right))) differences.push(`${path}: other content`)
  }
  compare('')
  return differences
}

function rowsOf(file: string): string {
  using database = new DatabaseSync(file, { readOnly: true })
  const sums = database.prepare(
    'SELECT count(*), sum(id), sum(created), sum(length(body)), sum(unicode(substr(body, 1 + id % 300))), (SELECT group_concat(integrity_check) FROM pragma_integrity_check) FROM event',
  )
  return JSON.stringify(sums.get())
}
