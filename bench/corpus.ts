import { execFileSync } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type SeededRandom, seededRandom } from './seeded-random.ts'
import { sourceText } from './source-text.ts'

/** Counts when the content of the corpora changes, so that a cached one of before is not used. */
const GENERATION = 1
const MB = 1e6

export const CORPUS_NAMES = ['server', 'small', 'database', 'media', 'million'] as const
export type CorpusName = (typeof CORPUS_NAMES)[number]
export type Scale = 'full' | 'quick'

/** What a corpus is made of; 0 leaves that part out. */
export interface Ingredients {
  /** Files as a source tree has them. */
  readonly smallFiles: number
  readonly databaseBytes: number
  readonly mediaBytes: number
  /** Files of at most 200 bytes, in deep folders. */
  readonly tinyFiles: number
}

const NONE: Ingredients = { smallFiles: 0, databaseBytes: 0, mediaBytes: 0, tinyFiles: 0 }

const INGREDIENTS: Readonly<Record<Scale, Readonly<Record<CorpusName, Ingredients>>>> = {
  full: {
    server: { ...NONE, smallFiles: 45_000, databaseBytes: 600 * MB, mediaBytes: 600 * MB },
    small: { ...NONE, smallFiles: 45_000 },
    database: { ...NONE, databaseBytes: 600 * MB },
    media: { ...NONE, mediaBytes: 300 * MB },
    million: { ...NONE, tinyFiles: 1_000_000 },
  },
  quick: {
    server: { ...NONE, smallFiles: 300, databaseBytes: 4 * MB, mediaBytes: 4 * MB },
    small: { ...NONE, smallFiles: 400 },
    database: { ...NONE, databaseBytes: 6 * MB },
    media: { ...NONE, mediaBytes: 6 * MB },
    million: { ...NONE, tinyFiles: 2000 },
  },
}

export function ingredientsOf(name: CorpusName, scale: Scale): Ingredients {
  return INGREDIENTS[scale][name]
}

/** The corpus in the cache folder, made now unless it is there: an application with `config`, `data`, `secrets`. */
export function cachedCorpus(cache: string, name: CorpusName, scale: Scale): string {
  const folder = join(cache, `${name}-${scale}-${GENERATION}`)
  if (!existsSync(folder)) {
    const unfinished = `${folder}.${process.pid}`
    makeApplication(unfinished, ingredientsOf(name, scale), seededRandom(`${name} ${scale}`))
    renameSync(unfinished, folder)
  }
  return folder
}

/** An application as the runbook's script expects it, with the ingredients under `data`. */
export function makeApplication(root: string, ingredients: Ingredients, random: SeededRandom): void {
  const text = sourceText(random)
  const files: readonly [path: string, size: number][] = [
    ['config/bot.json', 4000],
    ['config/features.json', 2000],
    ['data/state/cursor.json', 900],
    ['secrets/.env.production', 1200],
    ['secrets/.env.staging', 1200],
    ['ecosystem.config.js', 1500],
  ]
  for (const [path, size] of files) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text(size))
  }
  if (ingredients.smallFiles > 0) makeSmallFiles(join(root, 'data/files'), ingredients.smallFiles, text, random)
  if (ingredients.databaseBytes > 0) makeDatabase(join(root, 'data/auth.db'), ingredients.databaseBytes, random)
  if (ingredients.mediaBytes > 0) makeMedia(join(root, 'data/media'), ingredients.mediaBytes, random)
  if (ingredients.tinyFiles > 0) makeTinyFiles(join(root, 'data/tiny'), ingredients.tinyFiles, random)
}

/** Nine files to a folder, folders up to six deep; half of the files below 3.5 kB, few of some hundred. */
function makeSmallFiles(root: string, count: number, text: (length: number) => string, random: SeededRandom): void {
  const folders = [root]
  mkdirSync(root, { recursive: true })
  const deepest = root.split('/').length + 6
  for (let made = 0; made < count; made++) {
    if (made % 9 === 8) {
      const parent = folders[random.below(folders.length)]!
      const folder = join(parent.split('/').length < deepest ? parent : root, `folder-${made}`)
      mkdirSync(folder)
      folders.push(folder)
    }
    const size = Math.min(400_000, Math.ceil(random.logNormal(3500, 1.1)))
    writeFileSync(join(folders[random.below(folders.length)]!, `file-${made}.ts`), text(size))
  }
}

/**
 * A table of events as applications keep them: each row has a token that does not compress and words that do (zstd: to
 * about half). The index is in the order of insertion; what an index in random order does to deduplication shows when
 * scattered rows change.
 */
export function makeDatabase(file: string, bytes: number, random: SeededRandom): void {
  using database = openDatabase(file)
  database.exec('CREATE TABLE event (id INTEGER PRIMARY KEY, created INTEGER NOT NULL, body TEXT NOT NULL)')
  database.exec('CREATE INDEX event_created ON event (created)')
  appendRows(database, Math.floor(bytes / ROW_BYTES), rowBodies(random))
}

const ROW_BYTES = 1030

export function openDatabase(file: string): DatabaseSync {
  const database = new DatabaseSync(file)
  // What a crash would leave is of no interest here.
  database.exec('PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF')
  return database
}

export function rowBodies(random: SeededRandom): () => string {
  const tokens = random.bytes(24 * MB).toString('hex')
  const words = sourceText(random)(8 * MB)
  return () => {
    const token = random.below(tokens.length - 700)
    const from = random.below(words.length - 330)
    return `{"token":"${tokens.slice(token, token + 640)}","note":${JSON.stringify(words.slice(from, from + 300)).slice(0, 340)}`
  }
}

export function appendRows(database: DatabaseSync, count: number, body: () => string): void {
  const insert = database.prepare('INSERT INTO event (created, body) VALUES (?, ?)')
  const { last } = database.prepare('SELECT coalesce(max(id), 0) AS last FROM event').get() as { last: number }
  database.exec('BEGIN')
  for (let made = 1; made <= count; made++) insert.run(1_700_000_000 + (last + made) * 7, body())
  database.exec('COMMIT')
}

/** Gives every row that the condition names a new body of the old length. */
export function rewriteRows(database: DatabaseSync, condition: string, body: () => string): number {
  const rows = database.prepare(`SELECT id, length(body) AS length FROM event WHERE ${condition}`).all() as unknown as {
    readonly id: number
    readonly length: number
  }[]
  const update = database.prepare('UPDATE event SET body = ? WHERE id = ?')
  database.exec('BEGIN')
  for (const { id, length } of rows) update.run(body().padEnd(length, '.').slice(0, length), id)
  database.exec('COMMIT')
  return rows.length
}

function makeMedia(root: string, bytes: number, random: SeededRandom): void {
  mkdirSync(root, { recursive: true })
  let left = bytes
  for (let made = 0; left > 0; made++) {
    const size = Math.min(left, Math.ceil(random.logNormal(2 * MB, 1)))
    writeFileSync(join(root, `picture-${made}.jpg`), random.bytes(size))
    left -= size
  }
}

/** Fifty files to a folder; chains of folders twenty deep. */
function makeTinyFiles(root: string, count: number, random: SeededRandom): void {
  const content = sourceText(random)(1 * MB)
  let folder = root
  for (let made = 0; made < count; made++) {
    if (made % 50 === 0) {
      const chain = Math.floor(made / 1000)
      folder = made % 1000 === 0 ? join(root, `chain-${chain}`) : join(folder, 'deeper')
      mkdirSync(folder, { recursive: true })
    }
    const from = random.below(content.length - 200)
    writeFileSync(join(folder, `f${made}`), content.slice(from, from + random.below(200)))
  }
}

/** A copy of a cached corpus that is changed as an application at work changes its files, and put back. */
export interface WorkingCopy {
  readonly root: string
  readonly hasDatabase: boolean
  /** A small file, relative to the root: what `restore one file` brings back. */
  readonly smallFile: string
  /** 1 % of the small files edited, the newest 1 % of the rows, 1 % of media added. */
  changeOnePercent(): void
  /** 1 % of the rows, all over the database. */
  scatterOnePercent(): void
  editOneFile(): void
  putBack(): void
}

export function workingCopy(pristine: string, root: string, seed: string): WorkingCopy {
  mkdirSync(dirname(root), { recursive: true })
  execFileSync('cp', ['-a', pristine, root])
  const random = seededRandom(seed)
  const small = ['data/files', 'data/tiny'].flatMap((folder) => filesBelow(pristine, folder))
  const media = filesBelow(pristine, 'data/media')
  const mediaBytes = media.reduce((sum, path) => sum + lstatSync(join(pristine, path)).size, 0)
  const hasDatabase = existsSync(join(pristine, 'data/auth.db'))
  const body = hasDatabase ? rowBodies(random) : undefined
  const smallFile = small[Math.floor(small.length / 2)] ?? 'data/state/cursor.json'
  const touched = new Set<string>()
  const added = new Set<string>()
  let changes = 0

  const edit = (path: string) => {
    touched.add(path)
    const content = readFileSync(join(root, path))
    const at = Math.floor(content.length / 2)
    const changed = Buffer.concat([content.subarray(0, at), Buffer.from(`// ${changes}\n`), content.subarray(at)])
    writeFileSync(join(root, path), changed)
  }
  const rewrite = (condition: string) => {
    if (body === undefined) return
    touched.add('data/auth.db')
    using database = openDatabase(join(root, 'data/auth.db'))
    rewriteRows(database, condition, body)
  }
  return {
    root,
    hasDatabase,
    smallFile,
    changeOnePercent() {
      changes++
      const count = Math.ceil(small.length / 100)
      for (let edited = 0; edited < count; edited++) edit(small[random.below(small.length)]!)
      rewrite('id > (SELECT max(id) * 99 / 100 FROM event)')
      if (mediaBytes > 0) {
        const path = `data/media/added-${changes}.jpg`
        added.add(path)
        writeFileSync(join(root, path), random.bytes(Math.ceil(mediaBytes / 100)))
      }
    },
    scatterOnePercent() {
      rewrite(`id % 100 = ${random.below(100)}`)
    },
    editOneFile() {
      changes++
      edit(smallFile)
    },
    putBack() {
      for (const path of added) rmSync(join(root, path))
      const paths = [...touched]
      for (let from = 0; from < paths.length; from += 1000) {
        execFileSync('cp', ['-a', '--parents', ...paths.slice(from, from + 1000), root], { cwd: pristine })
      }
      added.clear()
      touched.clear()
    },
  }
}

/** Paths of regular files, relative to the root, in an order that does not depend on the file system. */
function filesBelow(root: string, folder: string): string[] {
  if (!existsSync(join(root, folder))) return []
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort()
}
