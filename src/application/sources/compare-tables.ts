import type { DatabaseSync } from 'node:sqlite'
import { quoteIdentifier } from './quote-identifier.ts'

// Runs in the process of SQLite.

/** Rows of one table in two states of a database, told apart by their keys. */
export interface TableComparison {
  readonly table: string
  /** In the snapshot; undefined when it does not have the table. */
  readonly before: number | undefined
  /** In what was recovered. */
  readonly after: number | undefined
  /** Keys that only the snapshot has: lost with what was recovered. */
  readonly onlyBefore: number
  /** Keys that only what was recovered has: lost with the snapshot. */
  readonly onlyAfter: number
}

/** Every table of either. `main` is the snapshot's, `other` is attached. A table that cannot be read counts as not there. */
export function compareTables(database: DatabaseSync): TableComparison[] {
  const names = new Set([...tablesOf(database, 'main'), ...tablesOf(database, 'other')])
  return [...names].sort().map((table) => {
    const key = keyOf(database, 'main', table) ?? keyOf(database, 'other', table)
    const before = countOf(database, 'main', table)
    const after = countOf(database, 'other', table)
    const only = (a: string, b: string, rows: number | undefined) => {
      if (rows === undefined) return 0
      if (key === undefined || before === undefined || after === undefined) return rows
      const name = quoteIdentifier(table)
      const sql = `SELECT count(*) AS count FROM (SELECT ${key} FROM ${a}.${name} EXCEPT SELECT ${key} FROM ${b}.${name})`
      return Number(database.prepare(sql).get()?.count)
    }
    return { table, before, after, onlyBefore: only('main', 'other', before), onlyAfter: only('other', 'main', after) }
  })
}

function tablesOf(database: DatabaseSync, schema: string): string[] {
  return database
    .prepare(
      `SELECT name FROM ${schema}.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'lost_and_found'`,
    )
    .all()
    .map(({ name }) => String(name))
}

/** What tells rows apart: the primary key, or the row ID. */
function keyOf(database: DatabaseSync, schema: string, table: string): string | undefined {
  const columns = database.prepare(`PRAGMA ${schema}.table_info(${quoteIdentifier(table)})`).all()
  if (columns.length === 0) return undefined
  const primary = columns.filter(({ pk }) => Number(pk) > 0).sort((a, b) => Number(a.pk) - Number(b.pk))
  return primary.length > 0 ? primary.map(({ name }) => quoteIdentifier(String(name))).join(', ') : 'rowid'
}

function countOf(database: DatabaseSync, schema: string, table: string): number | undefined {
  try {
    return Number(database.prepare(`SELECT count(*) AS count FROM ${schema}.${quoteIdentifier(table)}`).get()?.count)
  } catch {
    return undefined // not there, or of a module that only the application has
  }
}
