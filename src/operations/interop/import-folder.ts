import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join, posix } from 'node:path'
import { createGunzip } from 'node:zlib'
import type { ComponentConfig, ComponentKind, Config } from '../../application/config/config.ts'
import { ApplicationError } from '../../application/error.ts'
import type { Finding } from '../../application/finding.ts'
import { throughTransform } from '../../application/sources/byte-stream.ts'
import type { DatabaseRecord } from '../../application/sources/capture.ts'
import { plainCapture } from '../../application/sources/plain-capture.ts'
import { makePrivateFolder } from '../../application/sources/private-folder.ts'
import { checkSeal } from '../../application/sources/seal.ts'
import { holdsPrivateKey, looksSecret } from '../../application/sources/secret-looking.ts'
import { captureDatabase, type DatabaseCapture } from '../../application/sources/sqlite.ts'
import { isSqliteHeader, SQLITE_HEADER_BYTES } from '../../application/sources/sqlite-header.ts'
import type { SqliteProcess } from '../../application/sources/sqlite-process.ts'
import { type ForeignTarEntry, unpackTar } from '../../application/sources/tar.ts'
import type { ArchiveResult } from '../../engine/archiver/archive.ts'
import type { BlobSink } from '../../engine/archiver/blob-sink.ts'
import type { ContentStore, StoredContent } from '../../engine/archiver/store-content.ts'
import type { Timestamp } from '../../engine/format/timestamp.ts'
import type { ComponentCapture } from '../backup/capture-components.ts'
import { type SealedArchive, type SealResult, storeStream } from '../backup/seal-secrets.ts'
import { SECRETS } from '../manifest.ts'
import type { BackupFolder } from './backup-folder.ts'
import { entryParts, ImportedTree, nodeOfEntry } from './imported-tree.ts'

export interface ImportContext {
  readonly config: Config
  readonly sink: Pick<BlobSink, 'save'>
  readonly store: ContentStore
  /** A folder of this run alone, 0700. */
  readonly workDirectory: string
  readonly sqlite: SqliteProcess
  readonly time: Timestamp
  readonly onFinding: (finding: Finding) => void
  readonly signal: AbortSignal
}

/** What a folder holds, stored; as a backup has it before it describes itself. */
export interface ImportedFolder {
  readonly captures: readonly ComponentCapture[]
  readonly archived: ArchiveResult
  readonly seals: SealResult
}

/** More entries than this are no backup of one application, and would fill the memory. */
const ENTRIES_LIMIT = 2_000_000
const DESCRIPTIONS = /^(MANIFEST\.txt|REASON\.txt|SHA256SUMS(\.asc|\.sig)?|holdfast\.yaml|manifest\.json(\.sig)?)$/
/** Kinds without whose file a backup is not whole; the script passes over the others where they are not used. */
const EXPECTED: ReadonlySet<ComponentKind> = new Set(['files', 'secrets'])

/**
 * Stores what a backup folder of the hand-made procedure holds, each file at the path where it lay: archives entry by
 * entry, straight from the stream, without unpacking them to the disk; databases from their NAME.backup, in place of the
 * copy that was made of the live file; the sealed secrets as they are. What is damaged or missing is reported, and the rest stored.
 */
export async function importFolder(folder: BackupFolder, context: ImportContext): Promise<ImportedFolder> {
  return new FolderImport(folder, context).run()
}

interface Spooled {
  readonly file: string
  readonly entry: ForeignTarEntry
  readonly component: string
}

class FolderImport {
  readonly #folder: BackupFolder
  readonly #context: ImportContext
  readonly #tree: ImportedTree
  /** By name, what was found of each component. */
  readonly #parts = new Map<string, { readonly component: ComponentConfig; readonly databases: DatabaseRecord[] }>()
  /** Databases of archives, and files beside them, by their path. */
  readonly #spooled = new Map<string, Spooled>()
  #entries = 0

  constructor(folder: BackupFolder, context: ImportContext) {
    this.#folder = folder
    this.#context = context
    this.#tree = new ImportedTree(context.time)
  }

  async run(): Promise<ImportedFolder> {
    const { files } = this.#folder
    const sealed = files.filter((name) => /^secrets\.tar\.gz\.(gpg|age)$/.test(name))
    const archives = files.filter((name) => name.endsWith('.tar.gz'))
    const databases = files.filter((name) => name.endsWith('.backup'))
    for (const name of archives) await this.#addArchive(name)
    await this.#addDatabases(databases)
    const plain = files.filter((name) => ![...sealed, ...archives, ...databases].includes(name))
    for (const name of plain) await this.#addFile(name)
    const seals = await this.#addSeals(sealed)
    this.#reportMissing()

    const paths = [...this.#parts.values()].flatMap(({ component }) => component.paths)
    const { nodes, stored, folders } = await this.#tree.save(this.#context.sink, paths)
    const captures: ComponentCapture[] = []
    for (const { component, databases: records } of this.#parts.values()) {
      const targets = component.paths.filter((path) => stored.has(path)).map((path) => Buffer.from(path))
      captures.push({ component, capture: { ...plainCapture({ targets }), databases: records } })
    }
    const targets = captures.flatMap(({ capture }) =>
      capture.targets.map((path) => ({ path, ...stored.get(path.toString())! })),
    )
    const totalFiles = targets.reduce((sum, target) => sum + target.files, 0)
    const totalBytes = targets.reduce((sum, target) => sum + target.bytes, 0)
    const none = { filesChanged: 0, filesUnmodified: 0, dirsChanged: 0, dirsUnmodified: 0 }
    const counts = { ...none, filesNew: totalFiles, dirsNew: folders, totalFiles, totalBytes }
    return { captures, archived: { nodes, targets, counts }, seals }
  }

  #find(severity: Finding['severity'], code: string, message: string, more: Partial<Finding> = {}): void {
    this.#context.onFinding({ severity, code, message: `${this.#folder.name}: ${message}`, ...more })
  }

  #at(name: string): string {
    return join(this.#folder.path, name)
  }

  /** The component of the config that a part belongs to; one of the procedure's own where there is none. */
  #component(fits: (component: ComponentConfig) => boolean, otherwise: () => ComponentConfig): ComponentConfig {
    const component = this.#context.config.components.find(fits) ?? otherwise()
    if (!this.#parts.has(component.name)) this.#parts.set(component.name, { component, databases: [] })
    return component
  }

  #plainComponent(name: string, kind: ComponentKind, path: string): ComponentConfig {
    return { name, kind, paths: [path], exclude: [], elsewhere: [] }
  }

  async #addArchive(name: string): Promise<void> {
    const { config, signal } = this.#context
    const part = name.slice(0, -'.tar.gz'.length)
    const component = this.#component(
      (candidate) => candidate.name === part,
      () => this.#plainComponent(part, 'files', posix.join(config.root, part)),
    )
    const bytes = createReadStream(this.#at(name), { signal }) as AsyncIterable<Buffer>
    try {
      for await (const [entry, content] of unpackTar(throughTransform(bytes, createGunzip(), signal))) {
        signal.throwIfAborted()
        if (++this.#entries > ENTRIES_LIMIT) throw new TooMany(`it holds more than ${ENTRIES_LIMIT} entries`)
        await this.#addEntry(entry, content, component)
      }
    } catch (error) {
      signal.throwIfAborted()
      if (!isDamage(error)) throw error
      this.#find(
        'error',
        'import-archive-damaged',
        `${name} is damaged, what comes before is imported: ${error.message}`,
        {
          component: component.name,
          path: this.#at(name),
          hint: 'Another copy of the folder, off-site or under monthly, may hold it whole',
        },
      )
    }
  }

  async #addEntry(entry: ForeignTarEntry, content: AsyncIterable<Buffer>, component: ComponentConfig): Promise<void> {
    const parts = entryParts(entry.name)
    const refuse = (why: string) =>
      this.#find('error', 'entry-refused', `an entry of ${component.name} is refused: ${why}`, {
        component: component.name,
        path: entry.name.toString(),
        hint: 'No honest archive holds such an entry: find out where the folder comes from',
      })
    if (typeof parts === 'string') return refuse(parts)
    const last = parts.at(-1)
    if (last === undefined) return // the folder in which it is unpacked
    const path = Buffer.concat([Buffer.from(this.#context.config.root), ...parts.flatMap((part) => [SLASH, part])])
    if (!component.paths.some((own) => isIn(path, own)))
      return refuse(`${path} lies outside of ${component.paths.join(', ')}`)
    if (entry.type === 'link') {
      const original = entryParts(entry.linkTarget ?? Buffer.alloc(0))
      const target = typeof original === 'string' ? undefined : this.#tree.find(this.#inRoot(original))
      if (target?.type === 'file') this.#tree.add(path, { ...target, name: last })
      else refuse(`it is a hard link to ${entry.linkTarget}, which is no file before it`)
      return
    }
    if (entry.type === 'other') {
      this.#find('warning', 'import-not-a-file', `${path} is neither file, folder nor link, and is left out`, {
        component: component.name,
        path: path.toString(),
      })
      return
    }
    if (entry.type !== 'file') {
      this.#tree.add(path, nodeOfEntry(entry, last, undefined))
      return
    }
    await this.#addContent(entry, last, path, content, component)
  }

  #inRoot(parts: readonly Buffer[]): Buffer {
    return Buffer.concat([Buffer.from(this.#context.config.root), ...parts.flatMap((part) => [SLASH, part])])
  }

  async #addContent(
    entry: ForeignTarEntry,
    name: Buffer,
    path: Buffer,
    content: AsyncIterable<Buffer>,
    component: ComponentConfig,
  ): Promise<void> {
    const { first, whole } = await peek(content)
    const secret = looksSecret(path)
    if (secret === 'yes' || (secret === 'by-content' && holdsPrivateKey(first))) {
      this.#find(
        'error',
        'secret-not-sealed',
        `${path} is secret, lies in ${component.name}.tar.gz in the clear, and is not imported`,
        {
          component: component.name,
          path: path.toString(),
          hint: 'Take it out of the archive and seal it by hand; the next backup of the live file seals it',
        },
      )
      return
    }
    // Of a database nothing is believed before SQLite has looked at it, with the log beside it.
    if (isSqliteHeader(first) || /-(wal|journal)$/.test(name.toString('latin1'))) {
      this.#spooled.set(path.toString('latin1'), { file: await this.#spool(whole), entry, component: component.name })
      return
    }
    const stored = await storeStream(this.#context.store, whole)
    this.#tree.add(path, nodeOfEntry(entry, name, stored))
  }

  async #spool(content: AsyncIterable<Buffer>): Promise<string> {
    const file = join(this.#context.workDirectory, `spooled-${this.#spooled.size}`)
    await writeFile(file, content, { mode: 0o600, flag: 'wx' }).catch((cause: NodeJS.ErrnoException) => {
      // What is wrong with the archive is said of the archive; the rest is about our own disk.
      if (cause.syscall !== 'write' && cause.syscall !== 'open') throw cause
      throw new ApplicationError(
        'SOURCE',
        `Cannot keep a database in ${this.#context.workDirectory}: ${cause.message}`,
        {
          facts: { path: file },
          cause,
          hint: 'Make room there, or name another folder with work-dir in the config file',
        },
      )
    })
    return file
  }

  /** Each from its NAME.backup, else from the archive, as far as SQLite finds it sound. */
  async #addDatabases(backups: readonly string[]): Promise<void> {
    const bases = [...this.#spooled].filter(([path]) => !this.#isSidecar(path))
    const left = new Map(backups.map((name) => [name.slice(0, -'.backup'.length), name]))
    for (const [key, spooled] of bases) {
      const path = Buffer.from(key, 'latin1')
      const name = backupOf(path, bases, left)
      if (name !== undefined) left.delete(name.slice(0, -'.backup'.length))
      const isAdded = name !== undefined && (await this.#addDatabase(path, spooled, this.#at(name), name))
      if (!isAdded) await this.#addSpooledDatabase(path, spooled, name)
    }
    for (const [name, backup] of left) {
      const { config } = this.#context
      const component = this.#component(
        (candidate) => candidate.name === 'data',
        () => this.#plainComponent('data', 'files', posix.join(config.root, 'data')),
      )
      const path = Buffer.from(posix.join(component.paths[0] ?? posix.join(config.root, 'data'), name))
      const spooled = { file: this.#at(backup), entry: await entryOf(this.#at(backup)), component: component.name }
      await this.#addDatabase(path, spooled, this.#at(backup), backup)
    }
    for (const [key, { file, entry }] of this.#spooled) {
      if (!this.#isSidecar(key) || this.#spooled.has(key.replace(/-(wal|journal)$/, ''))) continue
      const path = Buffer.from(key, 'latin1') // no database is called as it would be
      const stored = await storeStream(this.#context.store, createReadStream(file) as AsyncIterable<Buffer>)
      this.#tree.add(path, nodeOfEntry(entry, path.subarray(path.lastIndexOf(0x2f) + 1), stored))
    }
  }

  #isSidecar(path: string): boolean {
    return /-(wal|journal)$/.test(path)
  }

  async #addSpooledDatabase(path: Buffer, spooled: Spooled, backup: string | undefined): Promise<void> {
    const { workDirectory } = this.#context
    // Under one name with its log, as SQLite looks for it.
    const folder = await makePrivateFolder(workDirectory, 'database')
    const copy = join(folder, 'database')
    await rename(spooled.file, copy)
    for (const suffix of ['-wal', '-journal']) {
      const beside = this.#spooled.get(path.toString('latin1') + suffix)
      if (beside) await rename(beside.file, copy + suffix)
    }
    if (await this.#addDatabase(path, spooled, copy, undefined)) {
      this.#find(
        'warning',
        'import-database-from-archive',
        `${path} comes from ${spooled.component}.tar.gz, where it was copied while it may have been in use: there is no ${backup === undefined ? 'copy' : 'sound copy'} of its own`,
        {
          component: spooled.component,
          path: path.toString(),
          hint: 'SQLite finds it sound; the last rows may be missing',
        },
      )
    }
    await rm(folder, { recursive: true, force: true })
  }

  /** Whether a sound copy of it was added. A corrupt one is added for those who try to rescue something, under another name. */
  async #addDatabase(
    path: Buffer,
    { entry, component }: Spooled,
    from: string,
    backup: string | undefined,
  ): Promise<boolean> {
    const { workDirectory, sqlite, signal, store } = this.#context
    const shown = path.toString()
    let capture: DatabaseCapture
    try {
      capture = await captureDatabase(from, { workDirectory: join(workDirectory, 'captures'), sqlite, signal })
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof ApplicationError)) throw error
      this.#find(
        'error',
        'database-corrupt',
        `${backup ?? `the copy of ${shown} in ${component}.tar.gz`} cannot be used: ${error.message}`,
        {
          component,
          path: shown,
        },
      )
      return false
    }
    if (capture.kind === 'unchanged') throw new TypeError('Nothing was given to compare with')
    const name = path.subarray(path.lastIndexOf(0x2f) + 1)
    if (capture.kind === 'corrupt') {
      this.#find(
        'error',
        'database-corrupt',
        `${backup ?? `the copy of ${shown} in ${component}.tar.gz`} is torn: ${capture.record.integrity.split('\n')[0]}`,
        {
          component,
          path: shown,
          hint: 'Another folder may hold a sound copy; what there is of it is kept as .corrupt',
        },
      )
      for (const raw of backup === undefined ? capture.rawCopies : []) {
        const suffix = raw.storedAs.slice(raw.storedAs.indexOf('.corrupt'))
        const stored = await storeStream(store, createReadStream(raw.copy) as AsyncIterable<Buffer>)
        const storedAs = Buffer.concat([name, Buffer.from(suffix.startsWith('.corrupt') ? suffix : '.corrupt')])
        this.#tree.add(
          Buffer.concat([path.subarray(0, path.length - name.length), storedAs]),
          nodeOfEntry(entry, storedAs, stored),
        )
      }
      for (const { copy } of capture.rawCopies.slice(0, 1)) await rm(dirname(copy), { recursive: true, force: true })
      return false
    }
    const stored = await storeStream(store, createReadStream(capture.copy) as AsyncIterable<Buffer>)
    await rm(dirname(capture.copy), { recursive: true, force: true })
    this.#tree.add(path, nodeOfEntry(entry, name, stored))
    // Never taken for the state of a live file.
    this.#parts.get(component)?.databases.push({ ...capture.record, path: shown, fingerprint: 'imported' })
    return true
  }

  async #addFile(name: string): Promise<void> {
    if (DESCRIPTIONS.test(name)) return
    const { config } = this.#context
    const site = /^nginx-(.+)\.conf$/.exec(name)?.[1]
    let component: ComponentConfig | undefined
    let path = posix.join(config.root, name)
    if (site !== undefined) {
      path = this.#sitePath(site)
      component = this.#component(
        ({ kind }) => kind === 'nginx',
        () => this.#plainComponent('nginx', 'nginx', path),
      )
    } else if (/\.(service|timer|socket)$/.test(name)) {
      path = this.#configured('systemd', name) ?? `/etc/systemd/system/${name}`
      component = this.#component(
        ({ kind }) => kind === 'systemd',
        () => this.#plainComponent('systemd', 'systemd', path),
      )
    } else if (/^ecosystem\.config\.\w+$/.test(name)) {
      path = this.#configured('pm2', name) ?? path
      component = this.#component(
        ({ kind }) => kind === 'pm2',
        () => this.#plainComponent('pm2', 'pm2', path),
      )
    }
    if (component === undefined) {
      this.#find('warning', 'import-unknown-file', `${name} is not imported: no part of a backup is called like that`, {
        path: this.#at(name),
      })
      return
    }
    const entry = await entryOf(this.#at(name))
    const stored = await storeStream(this.#context.store, createReadStream(this.#at(name)) as AsyncIterable<Buffer>)
    this.#tree.add(Buffer.from(path), nodeOfEntry(entry, Buffer.from(posix.basename(path)), stored))
    // The config may name a unit or site by its name: what was captured of it is this file.
    const part = this.#parts.get(component.name)!
    this.#parts.set(component.name, { ...part, component: { ...part.component, paths: [path] } })
  }

  #configured(kind: ComponentKind, name: string): string | undefined {
    const paths = this.#context.config.components.filter((one) => one.kind === kind).flatMap(({ paths }) => paths)
    return paths.find((path) => posix.isAbsolute(path) && posix.basename(path) === name)
  }

  #sitePath(site: string): string {
    const paths = this.#context.config.components.filter(({ kind }) => kind === 'nginx').flatMap(({ paths }) => paths)
    const known = paths.find((path) => posix.isAbsolute(path) && posix.basename(path).replace(/\.conf$/, '') === site)
    return known ?? `/etc/nginx/sites-available/${site}`
  }

  async #addSeals(names: readonly string[]): Promise<SealResult> {
    const { config, store, signal } = this.#context
    const archives: SealedArchive[] = []
    const base = config.root
    for (const name of names) {
      const read = () => createReadStream(this.#at(name), { signal }) as AsyncIterable<Buffer>
      try {
        await checkSeal(name.endsWith('.age') ? 'age' : 'gpg', read(), { identities: config.unsealIdentities, signal })
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof ApplicationError)) throw error
        if (error.code !== 'TOOL_MISSING') {
          this.#find('error', 'seal-broken', `${name} is not imported: ${error.message}`, {
            path: this.#at(name),
            ...(error.hint === undefined ? {} : { hint: error.hint }),
          })
          continue
        }
      }
      const sha256 = createHash('sha256')
      const stored: StoredContent = await storeStream(store, read(), (bytes) => sha256.update(bytes))
      archives.push({ name, ...stored, sha256: sha256.digest('hex') })
    }
    if (archives.length === 0) return { archives, manifest: undefined, amounts: new Map(), findings: [] }
    const component = this.#component(
      ({ kind }) => kind === 'secrets',
      () => this.#plainComponent('secrets', 'secrets', posix.join(base, 'secrets')),
    )
    const files = component.paths.map((path) => ({ path, component: component.name }))
    const manifest = { archives: archives.map(({ name }) => name), recipients: [], digest: '', base, files }
    return { archives, manifest, amounts: new Map(), findings: [] }
  }

  /** What the config names and the folder does not hold. */
  #reportMissing(): void {
    for (const { name, kind } of this.#context.config.components) {
      if (this.#parts.has(name) || kind === 'command' || kind === 'sqlite') continue
      const file = kind === 'files' ? `${name}.tar.gz` : kind === 'secrets' ? `${SECRETS}.gpg` : undefined
      this.#find(
        EXPECTED.has(kind) ? 'error' : 'warning',
        'import-missing',
        file === undefined
          ? `it holds no file of component ${name}`
          : `it holds no sound ${file}: nothing of component ${name}`,
        { component: name, path: this.#folder.path },
      )
    }
  }
}

const SLASH = Buffer.from('/')

function isIn(path: Buffer, folder: string): boolean {
  const text = path.toString('latin1')
  const own = Buffer.from(folder).toString('latin1')
  return text === own || text.startsWith(`${own}/`)
}

/** The NAME.backup that is the copy of this database: by its file name, where only one database is called like that. */
function backupOf(
  path: Buffer,
  databases: readonly (readonly [path: string, Spooled])[],
  backups: ReadonlyMap<string, string>,
): string | undefined {
  const nameOf = (text: string) => posix.basename(Buffer.from(text, 'latin1').toString())
  const name = nameOf(path.toString('latin1'))
  const namesakes = databases.filter(([other]) => nameOf(other) === name).map(([other]) => other)
  // The script copies the one that lies at the top.
  const [top] = namesakes.sort((a, b) => a.split('/').length - b.split('/').length || (a < b ? -1 : 1))
  return top === path.toString('latin1') ? backups.get(name) : undefined
}

/** A file of the folder as an entry of an archive would have it. */
async function entryOf(file: string): Promise<ForeignTarEntry> {
  const stats = await lstat(file, { bigint: true })
  return {
    name: Buffer.from(posix.basename(file)),
    type: 'file',
    mode: Number(stats.mode) & 0o777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    user: '',
    group: '',
    mtimeNs: stats.mtimeNs,
    size: Number(stats.size),
    linkTarget: undefined,
  }
}

/** The first bytes of a stream, and all of it. */
async function peek(content: AsyncIterable<Buffer>): Promise<{ first: Buffer; whole: AsyncIterable<Buffer> }> {
  const iterator = content[Symbol.asyncIterator]()
  const pieces: Buffer[] = []
  let length = 0
  while (length < Math.max(SQLITE_HEADER_BYTES, PEEK)) {
    const next = await iterator.next()
    if (next.done) break
    pieces.push(Buffer.from(next.value))
    length += next.value.length
  }
  async function* all() {
    yield* pieces
    for (;;) {
      const next = await iterator.next()
      if (next.done) return
      yield next.value
    }
  }
  return { first: Buffer.concat(pieces), whole: all() }
}

/** A private key among certificates stands within as much. */
const PEEK = 64 * 1024

/** Of the folder that is read, and not of the repository or the work folder that is written. */
function isDamage(error: unknown): error is Error {
  if (error instanceof ApplicationError) return error.code === 'SEAL'
  if (!(error instanceof Error)) return false
  const { code = '', syscall } = error as NodeJS.ErrnoException
  return code.startsWith('Z_') || syscall === 'read' || syscall === 'open' || error instanceof TooMany
}

class TooMany extends Error {}
