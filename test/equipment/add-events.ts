import type { DatabaseSync } from 'node:sqlite'

/** Rows of a table `events (id, text)`, in one transaction. */
export function addEvents(database: DatabaseSync, from: number, to: number): void {
  database.exec('BEGIN')
  const insert = database.prepare('INSERT INTO events VALUES (?, ?)')
  for (let id = from; id <= to; id++) insert.run(id, `event ${id} ${'x'.repeat(100)}`)
  database.exec('COMMIT')
}
