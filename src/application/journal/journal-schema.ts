/**
 * The tables of the journal, as steps from each version to the next; `PRAGMA user_version` counts how many were taken.
 *
 * Times are milliseconds since the epoch, facts are JSON objects. New rows come at the end of each table as far as that is
 * possible (runs are keyed by their start, steps and findings by their run): so most pages of the file stay as they are from one
 * backup to the next, and the copies in the snapshots share them.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    operation TEXT NOT NULL,
    subject TEXT NOT NULL,
    host TEXT NOT NULL,
    process TEXT NOT NULL,
    started INTEGER NOT NULL,
    finished INTEGER,
    outcome TEXT,
    milliseconds INTEGER,
    facts TEXT NOT NULL,
    summary TEXT NOT NULL,
    errors INTEGER NOT NULL,
    warnings INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE step (
    run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    component TEXT,
    started INTEGER NOT NULL,
    finished INTEGER,
    outcome TEXT,
    milliseconds INTEGER,
    facts TEXT NOT NULL,
    PRIMARY KEY (run, number)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE finding (
    run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    severity TEXT NOT NULL,
    code TEXT NOT NULL,
    component TEXT,
    path TEXT,
    message TEXT NOT NULL,
    hint TEXT,
    PRIMARY KEY (run, number)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE snapshot (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    time INTEGER NOT NULL,
    host TEXT NOT NULL,
    whole INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    added INTEGER,
    present INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE copy (
    snapshot INTEGER NOT NULL REFERENCES snapshot ON DELETE CASCADE,
    component TEXT NOT NULL,
    kind TEXT NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (snapshot, component)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE proof (
    snapshot TEXT NOT NULL,
    level TEXT NOT NULL,
    at INTEGER NOT NULL,
    evidence TEXT NOT NULL,
    PRIMARY KEY (snapshot, level)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE damage (
    snapshot TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    evidence TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE fact (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  INSERT INTO fact VALUES ('lacks_past', '1');
  `,
]

export const SCHEMA_VERSION = MIGRATIONS.length
