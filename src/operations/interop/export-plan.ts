import { posix } from 'node:path'
import { parseConfig } from '../../application/config/load-config.ts'
import { CodedError } from '../../engine/error.ts'
import { CONFIG, MANIFEST, MANIFEST_SIGNATURE, type Manifest, type ManifestComponent, SELF } from '../manifest.ts'
import { isBelow } from '../restore/restore-to-target.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { findNode, readWhole } from '../snapshot-files.ts'

/** One file of an export. */
export type ExportedFile =
  | {
      readonly kind: 'archive'
      readonly name: string
      readonly component: string | undefined
      readonly paths: readonly string[]
      /** Where it is to be unpacked. */
      readonly base: string
      /** Of other components, inside of its paths. */
      readonly omitted: readonly string[]
    }
  | ExportedCopy<'copy'>
  | ExportedCopy<'database'>
  | ExportedCopy<'seal'>
  | ExportedCopy<'description'>

/** The bytes of one file of the snapshot. */
interface ExportedCopy<Kind> {
  readonly kind: Kind
  readonly name: string
  readonly component: string | undefined
  readonly path: string
}

/** What an export writes, besides MANIFEST.txt and the checksums; plain data. */
export interface ExportPlan {
  readonly snapshot: string
  readonly app: string | undefined
  /** The application's folder. */
  readonly root: string | undefined
  readonly files: readonly ExportedFile[]
}

const CONFIG_LIMIT = 1024 * 1024
/** Sites of nginx by name, as `application/host` finds them. */
const SITE_FOLDERS = [
  '/etc/nginx/sites-available',
  '/etc/nginx/conf.d',
  '/etc/nginx/http.d',
  '/etc/nginx/sites-enabled',
]

/**
 * The layout of the hand-made procedure: an archive for each component, with names below the application's folder where all
 * of it lies there, otherwise below `/`; files of process manager, unit and site as they are, each under its own name; each
 * database once more as NAME.backup; the sealed secrets; and what the snapshot says of itself.
 */
export async function planExport(chosen: ChosenSnapshot, signal: AbortSignal): Promise<ExportPlan> {
  const { stored, manifest } = chosen
  const names = new Names()
  if (manifest === undefined) {
    const files: ExportedFile[] = [
      { kind: 'archive', name: names.take('files.tar.gz'), component: undefined, paths: ['/'], base: '/', omitted: [] },
    ]
    return { snapshot: stored.id, app: undefined, root: undefined, files }
  }
  const root = await rootOf(chosen, manifest, signal)
  const files: ExportedFile[] = []
  for (const component of manifest.components) {
    files.push(...(await filesOf(chosen, manifest, component, root, names, signal)))
  }
  for (const { path, integrity } of manifest.databases) {
    if (integrity !== 'ok' || !(await isFile(chosen, path, signal))) continue
    const component = manifest.components.find(({ paths }) => paths.some((own) => isBelow(path, own.path)))?.name
    const plain = `${posix.basename(path)}.backup`
    const name = names.isFree(plain) ? plain : `${path.slice(1).replaceAll('/', '-')}.backup`
    files.push({ kind: 'database', name: names.take(name), component, path })
  }
  for (const name of [...(manifest.secrets?.archives ?? []), CONFIG, MANIFEST, MANIFEST_SIGNATURE]) {
    const path = `/${SELF}/${name}`
    if (!(await isFile(chosen, path, signal))) continue
    const kind = manifest.secrets?.archives.includes(name) ? ('seal' as const) : ('description' as const)
    files.push({ kind, name: names.take(name), component: undefined, path })
  }
  return { snapshot: stored.id, app: manifest.app, root, files }
}

async function filesOf(
  chosen: ChosenSnapshot,
  manifest: Manifest,
  component: ManifestComponent,
  root: string | undefined,
  names: Names,
  signal: AbortSignal,
): Promise<ExportedFile[]> {
  const paths = component.paths.map(({ path }) => path)
  const plain: ExportedFile[] = []
  if (['pm2', 'systemd', 'nginx'].includes(component.kind)) {
    for (const given of component.configured) {
      const path = await mainFile(chosen, given, paths, signal)
      if (path === undefined) continue
      const site = `nginx-${posix.basename(path).replace(/\.conf$/, '')}.conf`
      const name = names.take(component.kind === 'nginx' ? site : posix.basename(path))
      plain.push({ kind: 'copy', name, component: component.name, path })
    }
  }
  // A single file of theirs is all there is: the archive would say the same once more.
  if (
    paths.length === 0 ||
    (plain.length === 1 && paths.length === 1 && 'path' in plain[0]! && plain[0].path === paths[0])
  ) {
    return plain
  }
  const others = manifest.components
    .filter((other) => other !== component)
    .flatMap((other) => other.paths.map(({ path }) => path))
    .filter((path) => paths.some((own) => path !== own && isBelow(path, own)))
  const isInRoot = root !== undefined && paths.every((path) => path !== root && isBelow(path, root))
  const archive: ExportedFile = {
    kind: 'archive',
    name: names.take(`${component.name}.tar.gz`),
    component: component.name,
    paths,
    base: isInRoot ? root : '/',
    omitted: others,
  }
  return [archive, ...plain]
}

/** The file that a path, or the name of a unit or site, stands for. */
async function mainFile(
  chosen: ChosenSnapshot,
  given: string,
  paths: readonly string[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const candidates = posix.isAbsolute(given)
    ? [given]
    : paths
        .filter((path) => [given, `${given}.service`, `${given}.conf`].includes(posix.basename(path)))
        .sort((a, b) => rank(a) - rank(b))
  for (const path of candidates) if (await isFile(chosen, path, signal)) return path
  return undefined
}

function rank(path: string): number {
  const at = SITE_FOLDERS.findIndex((folder) => posix.dirname(path).endsWith(folder))
  return at === -1 ? SITE_FOLDERS.length : at
}

async function isFile({ repository, stored }: ChosenSnapshot, path: string, signal: AbortSignal): Promise<boolean> {
  return (await findNode(repository, stored.snapshot.tree, path, signal))?.type === 'file'
}

/** As the config in the snapshot says; without a readable one, where most of the files lie. */
async function rootOf(
  { repository, stored }: ChosenSnapshot,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<string | undefined> {
  const node = await findNode(repository, stored.snapshot.tree, `/${SELF}/${CONFIG}`, signal)
  try {
    const text = node && (await readWhole(repository, node, CONFIG_LIMIT, signal)).toString()
    if (text) return parseConfig(text, manifest.configFile).root
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof CodedError)) throw error
  }
  const first = manifest.components.find(({ kind }) => kind === 'files')?.paths[0]?.path
  return first === undefined ? undefined : posix.dirname(first)
}

/** Names in one folder, each once, and none that could lead out of it. */
class Names {
  readonly #taken = new Set(['MANIFEST.txt', 'REASON.txt', 'SHA256SUMS', 'SHA256SUMS.asc', 'SHA256SUMS.sig'])

  isFree(name: string): boolean {
    return !this.#taken.has(name)
  }

  take(wanted: string): string {
    const plain = wanted.replaceAll(/[^\w.@+-]/g, '_').replace(/^[.-]/, '_')
    let name = plain
    for (let n = 2; this.#taken.has(name); n++) name = `${n}-${plain}`
    this.#taken.add(name)
    return name
  }
}
