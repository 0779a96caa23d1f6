import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import { DatabasePages, type StoredRow, type StoredValue } from './database-pages.ts'
import { quoteIdentifier } from './quote-identifier.ts'

// Runs in the process of SQLite.

export interface SalvagedTable {
  readonly table: string
  readonly rows: number
  /** Rows that were there and could not be read. */
  readonly damaged: number
}

export interface SalvageReply {
  readonly tables: readonly SalvagedTable[]
  /** Rows of pages that no table leads to, in the table `lost_and_found`. */
  readonly orphans: number
  /** Objects that could not be made anew, with the reason. */
  readonly lost: readonly string[]
}

interface SchemaRow {
  readonly type: string
  readonly name: string
  readonly root: number
  readonly sql: string
}

const FOUND = 'lost_and_found'

/**
 * Copies what can be read of a damaged database into a new one, page by page. Tables are followed from their roots as far as they lead;
 * leaves that nothing leads to any more are given to the one table that lacks pages and has as many columns, or else
 * into a table `lost_and_found`. Free pages, where old rows may still stand, are left alone if the list of them is sound,
 * and so are all leaves without a parent if it is not. Triggers and views come last, so that nothing of the application's runs.
 *
 * @param older whose schema is taken where that of the damaged one cannot be read
 */
export function salvageTables(damaged: string, target: DatabaseSync, older: string | undefined): SalvageReply {
  using pages = new DatabasePages(damaged)
  const lost: string[] = []
  const schema = readSchema(pages) ?? (older === undefined ? [] : (readSchemaOf(older) ?? []))
  const make = ({ type, name, sql }: SchemaRow): boolean => {
    try {
      target.exec(sql)
      return true
    } catch (error) {
      lost.push(`${type} ${name}: ${(error as Error).message}`)
      return false
    }
  }
  target.exec(`PRAGMA encoding = '${{ utf8: 'UTF-8', utf16le: 'UTF-16le', utf16be: 'UTF-16be' }[pages.encoding]}'`)
  target.exec('PRAGMA foreign_keys = OFF')
  const isVirtual = ({ sql }: SchemaRow) => /^\s*CREATE\s+VIRTUAL\b/i.test(sql)
  const isTable = ({ type, name }: SchemaRow) =>
    type === 'table' && (!name.startsWith('sqlite_') || name === 'sqlite_sequence')
  const seen = new Set<number>([1])
  for (const { type, root } of schema) if (type === 'index') for (const _ of pages.tree(root, seen));
  target.exec('BEGIN')
  const copies: TableCopy[] = []
  for (const row of schema.filter((row) => isTable(row) && !isVirtual(row))) {
    if (row.name !== 'sqlite_sequence' && !make(row)) continue
    const copy = new TableCopy(target, row.name, pages.encoding)
    for (const page of pages.tree(row.root, seen)) copy.add(pages.rows(page))
    copies.push(copy)
  }
  const orphans = adoptOrphans(pages, seen, copies, target)
  target.exec('COMMIT')
  for (const row of schema.filter(({ type }) => type === 'index')) make(row)
  // Making a virtual table anew would make its tables anew, too; they are there.
  for (const row of schema.filter(isVirtual)) enter(target, row)
  for (const row of schema.filter(({ type }) => type === 'view' || type === 'trigger')) make(row)
  return { tables: copies.map(({ result }) => result), orphans, lost }
}

/** Undefined when there is none to be read. */
function readSchema(pages: DatabasePages): SchemaRow[] | undefined {
  const found: SchemaRow[] = []
  for (const page of pages.tree(1, new Set())) {
    for (const { values } of pages.rows(page).rows) {
      const [type, name, , root, sql] = values
      if (isText(type) && isText(name) && isText(sql) && typeof root === 'bigint') {
        const decode = ({ text }: { readonly text: Buffer }) => decodeText(text, pages.encoding)
        found.push({ type: decode(type), name: decode(name), root: Number(root), sql: decode(sql) })
      }
    }
  }
  return found.length > 0 ? found : undefined
}

function readSchemaOf(path: string): SchemaRow[] | undefined {
  using pages = new DatabasePages(path)
  return readSchema(pages)
}

/** What is on leaves that nothing leads to. */
function adoptOrphans(
  pages: DatabasePages,
  seen: Set<number>,
  copies: readonly TableCopy[],
  target: DatabaseSync,
): number {
  const free = pages.free()
  if (free === undefined) return 0
  let insert: StatementSync | undefined
  let orphans = 0
  for (let page = 2; page <= pages.count; page++) {
    if (seen.has(page) || free.has(page) || !pages.isTableLeaf(page)) continue
    const { rows, damaged } = pages.rows(page)
    const width = rows[0]?.values.length
    const parents = copies.filter(
      ({ columns, hasIds, name }) => hasIds && columns === width && name !== 'sqlite_sequence',
    )
    if (parents.length === 1) {
      parents[0]!.add({ rows, damaged })
      continue
    }
    target.exec(`CREATE TABLE IF NOT EXISTS ${FOUND} (page INTEGER, id INTEGER, fields TEXT)`)
    insert ??= target.prepare(`INSERT INTO ${FOUND} VALUES (?, ?, ?)`)
    for (const { id, values } of rows) {
      const fields = values.map((value) => (isText(value) ? decodeText(value.text, pages.encoding) : shown(value)))
      insert.run(page, id ?? null, JSON.stringify(fields))
      orphans += 1
    }
  }
  return orphans
}

function shown(value: StoredValue): unknown {
  if (typeof value === 'bigint') return String(value)
  return value instanceof Uint8Array ? { hex: Buffer.from(value).toString('hex') } : value
}

function enter(target: DatabaseSync, { name, sql }: SchemaRow): void {
  target.enableDefensive(false)
  target.exec('PRAGMA writable_schema = ON')
  target.prepare("INSERT INTO sqlite_schema VALUES ('table', ?, ?, 0, ?)").run(name, name, sql)
  target.exec('PRAGMA writable_schema = RESET')
  target.enableDefensive(true)
}

/** A table of the new database, being filled. */
class TableCopy {
  readonly name: string
  readonly hasIds: boolean
  readonly #target: DatabaseSync
  readonly #encoding: DatabasePages['encoding']
  /** In the order of storage; `undefined` where a value is made by an expression. */
  readonly #stored: readonly (string | undefined)[]
  /** Of the column that is another name of the row ID, which is stored as null. */
  readonly #idColumn: number
  readonly #inserts = new Map<string, StatementSync>()
  #rows = 0
  #damaged = 0

  constructor(target: DatabaseSync, name: string, encoding: DatabasePages['encoding']) {
    this.name = name
    this.#target = target
    this.#encoding = encoding
    const info = target.prepare(`PRAGMA table_xinfo(${quoteIdentifier(name)})`).all()
    const [list] = target.prepare(`PRAGMA table_list(${quoteIdentifier(name)})`).all()
    this.hasIds = Number(list?.wr) === 0
    // Values that are made when they are read (hidden 2) are not stored.
    const kept = info.filter(({ hidden }) => Number(hidden) !== 2)
    const keys = kept.filter(({ pk }) => Number(pk) > 0).sort((a, b) => Number(a.pk) - Number(b.pk))
    const inOrder = this.hasIds ? kept : [...keys, ...kept.filter(({ pk }) => Number(pk) === 0)]
    this.#stored = inOrder.map((column) =>
      Number(column.hidden) === 3 ? undefined : quoteIdentifier(String(column.name)),
    )
    const isAlias = this.hasIds && keys.length === 1 && /^integer$/i.test(String(keys[0]!.type))
    this.#idColumn = isAlias ? inOrder.indexOf(keys[0]!) : -1
  }

  get columns(): number {
    return this.#stored.length
  }

  get result(): SalvagedTable {
    return { table: this.name, rows: this.#rows, damaged: this.#damaged }
  }

  add({ rows, damaged }: { readonly rows: readonly StoredRow[]; readonly damaged: number }): void {
    this.#damaged += damaged
    for (const row of rows) this.#insert(row)
  }

  #insert({ id, values }: StoredRow): void {
    if (values.length > this.#stored.length) {
      this.#damaged += 1
      return
    }
    const names: string[] = []
    const given: SQLInputValue[] = []
    const marks: string[] = []
    const give = (name: string, value: SQLInputValue, mark = '?') => {
      names.push(name)
      given.push(value)
      marks.push(mark)
    }
    // A row from before a column was added has fewer values: the column's default holds.
    for (const [i, value] of values.entries()) {
      const name = this.#stored[i]
      if (name === undefined) continue
      if (i === this.#idColumn) give(name, id ?? null)
      else if (!isText(value)) give(name, value)
      else if (isValid(value.text, this.#encoding)) give(name, decodeText(value.text, this.#encoding))
      else give(name, value.text, 'CAST(? AS TEXT)')
    }
    if (this.hasIds && this.#idColumn < 0 && id !== undefined) give('rowid', id)
    const sql = `INSERT OR IGNORE INTO ${quoteIdentifier(this.name)} (${names.join(', ')}) VALUES (${marks.join(', ')})`
    let insert = this.#inserts.get(sql)
    if (insert === undefined) {
      insert = this.#target.prepare(sql)
      this.#inserts.set(sql, insert)
    }
    this.#rows += Number(insert.run(...given).changes)
  }
}

function isText(value: StoredValue | undefined): value is { readonly text: Buffer } {
  return typeof value === 'object' && value !== null && 'text' in value
}

function isValid(text: Buffer, encoding: DatabasePages['encoding']): boolean {
  return encoding !== 'utf8' || Buffer.from(text.toString('utf8')).equals(text)
}

function decodeText(text: Buffer, encoding: DatabasePages['encoding']): string {
  if (encoding === 'utf8') return text.toString('utf8')
  const whole = Buffer.from(text.subarray(0, text.length & ~1))
  return (encoding === 'utf16be' ? whole.swap16() : whole).toString('utf16le')
}
