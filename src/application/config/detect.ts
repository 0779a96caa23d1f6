import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { groupName, userName } from '../../engine/os/accounts.ts'
import { ApplicationError } from '../error.ts'
import type { Finding } from '../finding.ts'
import { onHost } from '../host/host-path.ts'
import { findSites } from '../host/nginx.ts'
import { type Pm2App, pm2Apps } from '../host/pm2.ts'
import { type FoundUnit, findUnits } from '../host/systemd.ts'
import { SIDECAR_SUFFIXES } from '../sources/sqlite-header.ts'
import type { Owner } from './config.ts'
import type { Detection, FoundComponent, FoundService, LeftOut } from './detection.ts'
import { createExclusion } from './exclude.ts'
import { isInside } from './normalise-config.ts'
import { type FolderSearch, type SearchLimits, searchFolder } from './search-folder.ts'

export interface DetectOptions {
  /** Where this machine's `/etc` is looked for. */
  readonly hostRoot?: string
  readonly limits?: SearchLimits
  readonly signal?: AbortSignal
}

/** Folders that hold configuration or data in most applications, and what they are. */
const usualFolders: readonly { readonly names: RegExp; readonly what: string }[] = [
  { names: /^(config|conf)$/, what: 'configuration' },
  { names: /^(data|db|database|databases|storage|uploads|media|files|state)$/, what: 'data' },
]

/** What is not backed up, and where it comes from instead. */
const derived: readonly { readonly names: RegExp; readonly reason: string }[] = [
  { names: /^(node_modules|bower_components|\.venv|venv)$/, reason: 'dependencies, installed again' },
  { names: /^(\.git|\.hg|\.svn)$/, reason: 'history of the source code, which its remote has' },
  {
    names: /^(dist|build|out|target|coverage|\.next|\.nuxt|\.output|\.svelte-kit|\.nyc_output)$/,
    reason: 'made from the source code, built again',
  },
  { names: /^holdfast\.yaml$/, reason: 'this configuration, which every snapshot holds' },
  { names: /^logs?$|\.log(\.[0-9]+)?(\.gz)?$/, reason: 'logs, which log rotation keeps' },
  {
    names: /^(\.?cache|\.?tmp|temp|\.npm|\.yarn|\.pnpm-store|\.turbo|\.parcel-cache|__pycache__)$/,
    reason: 'caches, made again',
  },
  {
    names: /\.(pid|sock|swp|tsbuildinfo)$|^(\.idea|\.vscode|\.DS_Store)$/,
    reason: 'left by programs and editors, made again',
  },
]

const pm2Files = /^(ecosystem(\.config)?\.(js|cjs|mjs|json|yaml|yml)|pm2\.(json|yaml|yml)|process\.json)$/

/** Configuration files of applications are far smaller; a larger one is something else by that name. */
const LARGEST_TEXT_FILE = 1024 * 1024

/**
 * Looks at an application's folder and at this machine's service units and web sites, and says what it is made of.
 * Changes nothing. Of secret files only the number after `PORT=` is kept. Throws `CONFIG` when `dir` is no folder.
 */
export async function detectApplication(
  dir: string,
  { hostRoot = '/', limits, signal }: DetectOptions = {},
): Promise<Detection> {
  const root = resolve(dir)
  const entries = await readRoot(root)
  const search = await searchFolder(root, { ...(limits === undefined ? {} : { limits }), signal })
  const findings: Finding[] = searchFindings(search)

  const pm2 = await detectPm2(root, entries, findings, signal)
  const units = await findUnits(root, hostRoot)
  const ports = await collectPorts(root, search, pm2.apps, units, hostRoot)
  const sites = await findWebSites(root, ports, hostRoot)
  signal?.throwIfAborted()

  const folders = await findFolders(root, entries)
  const known = new Set([...folders.map(({ entry }) => entry), ...(pm2.component?.paths ?? [])])
  const untracked = await findUntracked(root, entries, known, search)
  const covered = [...folders.flatMap(({ absolute }) => absolute), ...untracked.map((name) => resolve(root, name))]
  const isCovered = (path: string): boolean => covered.some((folder) => path === folder || isInside(path, folder))
  const names = new Set<string>()
  const components: FoundComponent[] = []
  const add = (component: FoundComponent): void => {
    components.push({ ...component, name: freeName(component.name, names) })
  }

  for (const folder of folders.filter(({ kind }) => kind === 'files')) {
    const inside = (path: string): boolean => folder.absolute.some((each) => isInside(path, each))
    const { name, kind, paths } = folder
    add({ name, kind, paths, reasons: [...folder.reasons, ...contentReasons(root, search, inside)] })
  }
  for (const database of search.databases.filter((path) => !isCovered(path))) {
    add({
      name: basename(database),
      kind: 'sqlite',
      paths: [relative(root, database)],
      reasons: ['A SQLite database, by its header'],
    })
  }
  if (untracked.length > 0) {
    const inside = (path: string): boolean => untracked.some((name) => isInside(path, resolve(root, name)))
    add({
      name: 'untracked',
      kind: 'files',
      paths: untracked,
      reasons: [
        'Ignored by .gitignore, so Git does not hold it, and nothing makes it again',
        ...contentReasons(root, search, inside),
      ],
    })
  }
  const secrets = await findSecrets({ root, hostRoot, folders, search, units, isCovered })
  if (secrets !== undefined) add(secrets)
  if (pm2.component !== undefined) add(pm2.component)
  if (units.length > 0) {
    add({
      name: 'systemd',
      kind: 'systemd',
      paths: units.map(({ name }) => name),
      reasons: units.map(({ name, reason }) => `${name} ${reason}`),
    })
  }
  if (sites.length > 0) {
    const reasons = sites.map(({ name, reason }) => `The site ${name} ${reason}`)
    add({
      name: 'nginx',
      kind: 'nginx',
      paths: sites.map(({ name }) => name),
      reasons: [...reasons, 'With the certificates that it names'],
    })
  }
  if (!components.some(({ kind }) => kind === 'files' || kind === 'sqlite')) {
    add({
      name: 'files',
      kind: 'files',
      paths: ['.'],
      reasons: ['No folder of data was recognised, so it is everything but what is left out below'],
    })
  }

  const taken = new Set([...components.flatMap(({ paths }) => paths), ...folders.map(({ entry }) => entry)])
  return {
    app: await detectName(root, findings),
    root,
    owner: await detectOwner(root),
    components,
    leftOut: describeLeftOut(entries, taken, await isInGit(root), root, findings),
    service: await detectService(root, entries, pm2.apps, units),
    port: ports[0],
    findings,
  }
}

interface RootEntry {
  readonly name: string
  readonly isFolder: boolean
  readonly isLink: boolean
}

async function readRoot(root: string): Promise<RootEntry[]> {
  try {
    const entries = await readdir(root, { withFileTypes: true })
    const found = entries.map(async (entry) => ({
      name: entry.name,
      isLink: entry.isSymbolicLink(),
      isFolder: entry.isDirectory() || (entry.isSymbolicLink() && (await isFolder(join(root, entry.name)))),
    }))
    return (await Promise.all(found)).sort((a, b) => (a.name < b.name ? -1 : 1))
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    const reasons: Record<string, string> = {
      ENOENT: 'it does not exist',
      ENOTDIR: 'it is not a folder',
      EACCES: 'permission is denied',
    }
    throw new ApplicationError(
      'CONFIG',
      `Cannot look for an application in ${root}: ${reasons[code ?? ''] ?? (cause as Error).message}`,
      {
        cause,
        facts: { path: root },
        hint: 'Name the folder of the application',
      },
    )
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then((status) => status.isDirectory(), isAbsent)
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, isAbsent)
}

/** Absent, a link that leads nowhere, or out of our sight: for looking around all the same. */
function isAbsent(error: NodeJS.ErrnoException): false {
  if (notThere.has(error.code ?? '')) return false
  throw error
}

const notThere = new Set(['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'ELOOP'])

interface FoundFolder extends FoundComponent {
  /** Its name in the root. */
  readonly entry: string
  readonly absolute: readonly string[]
}

/** `config/`, `data/`, `secrets/` and their like. A link to a folder brings that folder with it, once. */
async function findFolders(root: string, entries: readonly RootEntry[]): Promise<FoundFolder[]> {
  const usual = entries
    .filter(({ isFolder }) => isFolder)
    .map((entry) => ({ ...entry, use: useOf(entry.name), path: join(root, entry.name) }))
    .filter(({ use }) => use !== undefined)
  const held = usual.filter(({ isLink }) => !isLink).map(({ path }) => path)
  const found: FoundFolder[] = []
  for (const { name, isLink, path, use } of usual) {
    const { kind, what } = use!
    const folder = { entry: name, name: kind === 'secrets' ? 'secrets' : name, kind }
    if (!isLink) {
      found.push({ ...folder, paths: [`${name}/`], absolute: [path], reasons: [what] })
      continue
    }
    const target = await realpath(path)
    const isHeld = held.some((other) => target === other || isInside(target, other))
    const written = isInside(target, root) ? `${relative(root, target)}/` : target
    found.push({
      ...folder,
      paths: isHeld ? [name] : [name, written],
      absolute: isHeld ? [path] : [path, target],
      reasons: [what, `${name} is a link to ${target}`],
    })
    held.push(target)
  }
  return found
}

function useOf(name: string): { kind: 'files' | 'secrets'; what: string } | undefined {
  if (name === 'secrets' || name === '.secrets') return { kind: 'secrets', what: 'The folder of secrets' }
  const what = usualFolders.find(({ names }) => names.test(name))?.what
  return what === undefined ? undefined : { kind: 'files', what: `The usual folder for ${what}` }
}

function contentReasons(root: string, search: FolderSearch, inside: (path: string) => boolean): string[] {
  const databases = search.databases.filter(inside).map((path) => relative(root, path))
  const secrets = search.secrets.filter(inside).map((path) => relative(root, path))
  return [
    ...(databases.length === 0 ? [] : [`${count(databases, 'SQLite database')}: ${some(databases)}`]),
    ...(secrets.length === 0 ? [] : [`Sealed with the secrets: ${some(secrets)}`]),
  ]
}

/** What the operator's own `.gitignore` keeps out of Git and nothing makes again: no other copy exists. */
async function findUntracked(
  root: string,
  entries: readonly RootEntry[],
  taken: ReadonlySet<string>,
  search: FolderSearch,
): Promise<string[]> {
  const patterns = (await readSmallFile(join(root, '.gitignore')))?.split(/\r?\n/) ?? []
  const ignored = createExclusion(patterns, root)
  const known = new Set([...search.databases, ...search.secrets])
  return entries
    .filter(({ name, isFolder }) => ignored(Buffer.from(join(root, name)), isFolder))
    .filter(({ name }) => !name.startsWith('.') && !taken.has(name) && derivedReason(name) === undefined)
    .filter(({ name }) => !known.has(join(root, name)) && !isSidecar(name))
    .map(({ name, isFolder, isLink }) => (isFolder && !isLink ? `${name}/` : name))
}

async function findSecrets({
  root,
  hostRoot,
  folders,
  search,
  units,
  isCovered,
}: {
  readonly root: string
  readonly hostRoot: string
  readonly folders: readonly FoundFolder[]
  readonly search: FolderSearch
  readonly units: readonly FoundUnit[]
  readonly isCovered: (path: string) => boolean
}): Promise<FoundComponent | undefined> {
  const folder = folders.filter(({ kind }) => kind === 'secrets')
  const files = search.secrets.filter((path) => !isCovered(path))
  // Also from among other components: what a unit takes its environment from is secret, whatever its name.
  const sealed = new Set(search.secrets)
  const named = new Map<string, string>()
  for (const { name, environmentFiles } of units) {
    for (const path of environmentFiles) {
      const isSealed = sealed.has(path) || folder.some(({ absolute }) => absolute.some((each) => isInside(path, each)))
      if (path.startsWith('/') && !isSealed && (await exists(onHost(hostRoot, path)))) named.set(path, name)
    }
  }
  const outside = [...named].map(([path, name]) => ({ path, name }))
  const paths = [
    ...folder.flatMap(({ paths }) => paths),
    ...files.map((path) => relative(root, path)),
    ...outside.map(({ path }) => (isInside(path, root) ? relative(root, path) : path)),
  ]
  if (paths.length === 0) return undefined
  const loose = files.map((path) => relative(root, path))
  const reasons = [
    ...folder.flatMap(({ reasons }) => reasons),
    ...(loose.length === 0 ? [] : [`Secret by name or content: ${some(loose)}`]),
    ...outside.map(({ name, path }) => `${name} reads its environment from ${path}`),
  ]
  return { name: 'secrets', kind: 'secrets', paths, reasons }
}

async function detectPm2(
  root: string,
  entries: readonly RootEntry[],
  findings: Finding[],
  signal: AbortSignal | undefined,
): Promise<{ component: FoundComponent | undefined; apps: readonly Pm2App[] }> {
  const files = entries.filter(({ name, isFolder }) => !isFolder && pm2Files.test(name)).map(({ name }) => name)
  if (files.length === 0) return { component: undefined, apps: [] }
  const apps: Pm2App[] = []
  for (const name of files) {
    try {
      apps.push(...(await pm2Apps(join(root, name), signal === undefined ? {} : { signal })))
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof ApplicationError)) throw error
      const hint = 'Name the process in the config file under service'
      findings.push({
        severity: 'warning',
        code: 'pm2-file-not-loaded',
        message: error.message,
        path: join(root, name),
        hint,
      })
    }
  }
  const reason = apps.length === 0 ? 'A pm2 file, by its name' : `pm2 starts ${some(apps.map(({ name }) => name))}`
  return { component: { name: 'pm2', kind: 'pm2', paths: files, reasons: [reason] }, apps }
}

/** Ports that the application listens on, as its environment names them; the first is the likeliest. */
async function collectPorts(
  root: string,
  search: FolderSearch,
  apps: readonly Pm2App[],
  units: readonly FoundUnit[],
  hostRoot: string,
): Promise<number[]> {
  const environments = search.secrets
    .filter((path) => basename(path).startsWith('.env'))
    // `.env` and `.env.production` are what a server uses; others are of developers and tests.
    .sort((a, b) => rank(a) - rank(b) || a.length - b.length)
  const fromFiles: (number | undefined)[] = []
  const named = units.flatMap(({ environmentFiles }) => environmentFiles.map((path) => onHost(hostRoot, path)))
  for (const path of [...environments, ...named]) fromFiles.push(portIn((await readSmallFile(path)) ?? ''))
  const ports = [...apps.map(({ port }) => port), ...units.map(({ port }) => port), ...fromFiles]
  return [...new Set(ports.filter((port) => port !== undefined))]

  function rank(path: string): number {
    const name = relative(root, path)
    if (/(^|\/)\.env\.production$/.test(name)) return 0
    return /(^|\/)\.env$/.test(name) ? 1 : 2
  }
}

function portIn(environment: string): number | undefined {
  const port = Number(/^\s*(?:export\s+)?PORT\s*=\s*["']?([0-9]{1,5})["']?\s*(?:#.*)?$/m.exec(environment)?.[1])
  return port >= 1 && port <= 65_535 ? port : undefined
}

async function findWebSites(root: string, ports: readonly number[], hostRoot: string) {
  const searches = ports.length === 0 ? [undefined] : ports
  const found = (await Promise.all(searches.map((port) => findSites({ port, dir: root }, hostRoot)))).flat()
  return [...new Map(found.map((site) => [site.path, site])).values()]
}

async function detectName(root: string, findings: Finding[]): Promise<string> {
  const { name } = await readPackage(root, findings)
  const named = typeof name === 'string' ? name.replace(/^@[^/]*\//, '') : ''
  const usable = [named, basename(root)].map((each) =>
    each
      .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 63),
  )
  return usable.find((each) => each !== '') ?? 'app'
}

async function detectOwner(root: string): Promise<Owner | undefined> {
  const { uid, gid } = await stat(root)
  const owner = { user: userName(uid), group: groupName(gid) }
  return owner.user === '' || owner.group === '' ? undefined : owner
}

async function detectService(
  root: string,
  entries: readonly RootEntry[],
  apps: readonly Pm2App[],
  units: readonly FoundUnit[],
): Promise<FoundService | undefined> {
  const names = new Set(entries.map(({ name }) => name))
  const { scripts } = await readPackage(root, [])
  const hasBuild = typeof scripts === 'object' && scripts !== null && 'build' in scripts
  const commands = names.has('pnpm-lock.yaml')
    ? { install: 'pnpm install --prod --frozen-lockfile', build: 'pnpm run --if-present build' }
    : names.has('yarn.lock')
      ? { install: 'yarn install --frozen-lockfile', build: 'yarn run build' }
      : names.has('package-lock.json')
        ? { install: 'npm ci --omit=dev', build: 'npm run build --if-present' }
        : {
            install: names.has('package.json') ? 'npm install --omit=dev' : undefined,
            build: 'npm run build --if-present',
          }
  const rest = { install: commands.install, build: hasBuild ? commands.build : undefined }
  if (apps[0] !== undefined) return { manager: 'pm2', name: apps[0].name, ...rest }
  return units[0] === undefined ? undefined : { manager: 'systemd', name: units[0].name, ...rest }
}

async function readPackage(
  root: string,
  findings: Finding[],
): Promise<{ readonly name?: unknown; readonly scripts?: unknown }> {
  const path = join(root, 'package.json')
  const text = await readSmallFile(path)
  if (text === undefined) return {}
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? parsed : {}
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    findings.push({
      severity: 'note',
      code: 'package-json-not-read',
      message: `Cannot read ${path}: ${error.message}`,
      path,
    })
    return {}
  }
}

function describeLeftOut(
  entries: readonly RootEntry[],
  taken: ReadonlySet<string>,
  inGit: boolean,
  root: string,
  findings: Finding[],
): LeftOut[] {
  if (taken.has('.'))
    return groupByReason(
      entries.filter(({ name }) => derivedReason(name) !== undefined),
      '',
    )
  const rest = entries.filter(({ name }) => !taken.has(name) && !taken.has(`${name}/`) && !isSidecar(name))
  const source = rest.filter(({ name }) => derivedReason(name) === undefined).map(({ name }) => name)
  if (!inGit && source.length > 0) {
    findings.push({
      severity: 'warning',
      code: 'source-not-in-git',
      message: `${root} is not a Git checkout, and its source code is left out: ${some(source)}`,
      path: root,
      hint: 'Make sure that the source code can be had from elsewhere, or add a component with its paths',
    })
  }
  return groupByReason(
    rest,
    inGit
      ? 'source code, which Git holds'
      : 'taken for source code, though not in Git: make sure that it is kept elsewhere',
  )
}

/** What SQLite keeps beside a database; the copy of the database contains it. */
function isSidecar(name: string): boolean {
  return SIDECAR_SUFFIXES.some((suffix) => name.endsWith(suffix))
}

async function isInGit(root: string): Promise<boolean> {
  for (let folder = root; ; folder = dirname(folder)) {
    if (await exists(join(folder, '.git'))) return true
    if (folder === dirname(folder)) return false
  }
}

function groupByReason(entries: readonly RootEntry[], otherwise: string): LeftOut[] {
  const byReason = Map.groupBy(entries, ({ name }) => derivedReason(name) ?? otherwise)
  return [...byReason].map(([reason, group]) => ({
    names: group.map(({ name, isFolder }) => (isFolder ? `${name}/` : name)),
    reason,
  }))
}

function derivedReason(name: string): string | undefined {
  return derived.find(({ names }) => names.test(name))?.reason
}

function searchFindings({ unreadable, unnameable, unseen }: FolderSearch): Finding[] {
  return [
    ...unreadable.map(
      ({ path, reason }): Finding => ({
        severity: 'warning',
        code: 'unreadable',
        message: `Cannot look at ${path}: ${reason}`,
        path,
        hint: 'Run as a user that can read the whole application, as root on most servers',
      }),
    ),
    ...unnameable.map(
      (path): Finding => ({
        severity: 'error',
        code: 'name-not-text',
        message: `Cannot name ${path} in a config file: its name is not UTF-8`,
        path,
        hint: 'Add a component with the folder that holds it',
      }),
    ),
    ...unseen.map(
      (path): Finding => ({
        severity: 'warning',
        code: 'not-looked-at',
        message: `Databases and secrets in ${path} were not looked for: the application has too many files`,
        path,
        hint: 'Add a component with the folder if it holds data',
      }),
    ),
  ]
}

/** Undefined when it is absent, unreadable, larger than such files are, or no ordinary file. */
async function readSmallFile(path: string): Promise<string | undefined> {
  try {
    const status = await stat(path)
    return status.isFile() && status.size <= LARGEST_TEXT_FILE ? await readFile(path, 'utf8') : undefined
  } catch (error) {
    // What it would have told is a convenience; the search reports what cannot be read.
    if (notThere.has((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}

/** A name for a component that fits the config file and is not taken. */
function freeName(wanted: string, taken: Set<string>): string {
  const usable =
    wanted
      .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 56) || 'component'
  let name = usable
  for (let number = 2; taken.has(name); number++) name = `${usable}-${number}`
  taken.add(name)
  return name
}

function count(list: readonly unknown[], what: string): string {
  return `${list.length} ${what}${list.length === 1 ? '' : 's'}`
}

function some(names: readonly string[]): string {
  const shown = names.slice(0, 8).join(', ')
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown
}
