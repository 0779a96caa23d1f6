import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    preferences TEXT NOT NULL
  );
  CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    user INTEGER NOT NULL REFERENCES users (id),
    body TEXT NOT NULL
  );
  CREATE INDEX IF NOT EXISTS events_by_user ON events (user, at);
`

const USERS = 25

/** Opens the database of users and events, and makes it on the first start. Other processes may read it meanwhile. */
export function openDatabase(file) {
  mkdirSync(dirname(file), { recursive: true })
  const database = new DatabaseSync(file)
  // FULL: what COMMIT has reported survives the loss of power, so /metrics never counts a row that can vanish.
  database.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000',
  )
  database.exec(SCHEMA)

  const addUser = database.prepare('INSERT OR IGNORE INTO users (id, name, preferences) VALUES (?, ?, ?)')
  for (let id = 1; id <= USERS; id++) {
    addUser.run(id, `user-${id}`, JSON.stringify({ theme: id % 2 ? 'dark' : 'light', digest: id % 3 === 0 }))
  }
  const addEvent = database.prepare('INSERT INTO events (at, user, body) VALUES (?, ?, ?)')
  const countEvents = database.prepare('SELECT count(*) AS n FROM events')
  const countUsers = database.prepare('SELECT count(*) AS n FROM users')
  const check = database.prepare('PRAGMA quick_check(1)')
  let last = database.prepare('SELECT coalesce(max(id), 0) AS id FROM events').get().id

  return {
    /** Commits one row; throws when the disk or a lock does not let it. */
    record(body) {
      const { lastInsertRowid } = addEvent.run(new Date().toISOString(), 1 + (last % USERS), body)
      last = Number(lastInsertRowid)
    },
    lastCommittedId: () => last,
    rows: () => countEvents.get().n,
    users: () => countUsers.get().n,
    /** `ok`, or the first thing that is wrong with the file. */
    check: () => check.get().quick_check,
    close: () => database.close(),
  }
}
