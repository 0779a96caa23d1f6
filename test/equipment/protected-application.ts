import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Config } from '../../src/application/config/config.ts'
import { parseConfig } from '../../src/application/config/load-config.ts'
import type { Finding } from '../../src/application/finding.ts'
import { loadIndex } from '../../src/engine/repository/load-index.ts'
import { createRepository, type IndexedRepository, openRepository } from '../../src/engine/repository/repository.ts'
import { storageFor } from '../../src/engine/storage/open-storage.ts'
import type { RepositoryAccess } from '../../src/operations/access.ts'
import {
  type BackupOptions,
  type BackupReport,
  backupApplication,
} from '../../src/operations/backup/backup-application.ts'
import {
  type RestoreInPlaceOptions,
  type RestoreInPlaceReport,
  restoreInPlace,
} from '../../src/operations/restore/restore-in-place.ts'
import { type VerifyReport, verifyApplication } from '../../src/operations/verify/verify-application.ts'
import { type AgeIdentity, makeAgeIdentity } from './age-identity.ts'
import { temporaryFolder } from './temporary-folder.ts'
import { CHEAP_KDF, PASSWORD, POLYNOMIAL } from './test-repository.ts'

export const APP = 'shop'

type Written = Record<string, unknown>

export interface ProtectedApplication extends Disposable {
  /** Everything of the test lies in it. */
  readonly base: string
  /** The application's folder, `…/opt/shop`. */
  readonly root: string
  readonly access: RepositoryAccess
  /** Writes a file of the application, with its folders, and answers with its absolute path. */
  put(path: string, content: string | Buffer, mode?: number): string
  /** Answers with the absolute path of a file of the application. */
  at(path: string): string
  read(path: string): string
  /** The config as it would be loaded, with these keys in place of the usual ones. */
  config(changes?: Written): Config
  makeAgeIdentity(name?: string): Promise<AgeIdentity>
  backUp(changes?: Written, options?: Partial<BackupOptions>): Promise<BackupReport>
  verify(changes?: Written, snapshot?: string): Promise<VerifyReport>
  restore(changes?: Written, options?: Partial<RestoreInPlaceOptions>): Promise<RestoreInPlaceReport>
  open(): Promise<IndexedRepository>
}

/** An application in a temporary folder with a repository beside it; its components are `config` and `data` unless told otherwise. */
export async function protectedApplication(components: Written = { config: 'config', data: 'data' }) {
  const folder = temporaryFolder()
  const base = folder.path
  const root = join(base, 'opt', APP)
  const location = join(base, 'repository')
  const access = { location, password: async () => PASSWORD }
  const quiet = { observe: () => {}, signal: new AbortController().signal }
  mkdirSync(root, { recursive: true })
  await createRepository(storageFor(location), { password: PASSWORD, kdf: CHEAP_KDF, polynomial: POLYNOMIAL })
  const application: ProtectedApplication = {
    base,
    root,
    access,
    at: (path) => join(root, path),
    read: (path) => readFileSync(join(root, path), 'utf8'),
    put(path, content, mode = 0o644) {
      const file = join(root, path)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, content)
      chmodSync(file, mode)
      return file
    },
    config(changes = {}) {
      const written = {
        app: APP,
        root,
        repository: location,
        components,
        'state-dir': join(base, 'state'),
        'work-dir': join(base, 'work'),
        log: join(base, 'log', 'holdfast.log'),
        ...changes,
      }
      return parseConfig(JSON.stringify(written, null, 2), join(base, 'etc', 'holdfast.yaml'))
    },
    makeAgeIdentity: (name) => makeAgeIdentity(base, name),
    backUp: (changes, options) => backupApplication(application.config(changes), access, { ...quiet, ...options }),
    verify: (changes, snapshot = 'latest') =>
      verifyApplication(access, {
        config: application.config(changes),
        choice: { name: snapshot, app: APP },
        readData: false,
        ...quiet,
      }),
    restore: (changes, options) =>
      restoreInPlace(access, {
        choice: { name: 'latest', app: APP },
        config: application.config(changes),
        identities: [],
        confirm: async () => true,
        ...quiet,
        ...options,
      }),
    open: async () => loadIndex(await openRepository(storageFor(location), { password: PASSWORD })),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  }
  return application
}

/** `severity code path`, with the path below the base, for comparisons. */
export function briefly(findings: readonly Finding[], base = ''): string[] {
  return findings.map(({ severity, code, path }) =>
    [severity, code, ...(path === undefined ? [] : [path.replace(base, '')])].join(' '),
  )
}

/** A database with a table of numbered rows; left open, so that its `-wal` stays, when told so. */
export function makeDatabase(
  file: string,
  { rows = 100, journal = 'wal', keepOpen = false }: { rows?: number; journal?: string; keepOpen?: boolean } = {},
): DatabaseSync {
  mkdirSync(dirname(file), { recursive: true })
  const database = new DatabaseSync(file)
  database.exec(
    `PRAGMA journal_mode = ${journal}; CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, text TEXT)`,
  )
  addRows(database, rows)
  if (!keepOpen) database.close()
  return database
}

export function addRows(database: DatabaseSync, rows: number): void {
  database.exec('BEGIN')
  const insert = database.prepare('INSERT INTO events (text) VALUES (?)')
  for (let i = 0; i < rows; i++) insert.run(`row ${i} ${'x'.repeat(100)}`)
  database.exec('COMMIT')
}

export function countRows(file: string): number {
  const database = new DatabaseSync(file, { readOnly: true })
  try {
    return Number(database.prepare('SELECT count(*) AS count FROM events').get()?.count)
  } finally {
    database.close()
  }
}
