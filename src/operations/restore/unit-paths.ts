import { realpath } from 'node:fs/promises'
import { basename, posix } from 'node:path'
import type { ComponentConfig, Config } from '../../application/config/config.ts'
import { OperationError } from '../error.ts'
import type { Manifest } from '../manifest.ts'
import { isBelow, requirePath } from './restore-to-target.ts'
import type { ChosenSnapshot } from './snapshot-choice.ts'

/**
 * Folders that belong to the system: a snapshot holds no more than parts of them, so none is ever replaced as a whole
 * (hier(7)).
 */
const SYSTEM_FOLDERS: ReadonlySet<string> = new Set(
  [
    '/ /bin /boot /dev /etc /home /lib /lib32 /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /var',
    '/etc/cron.d /etc/letsencrypt /etc/letsencrypt/archive /etc/letsencrypt/live /etc/nginx /etc/nginx/conf.d',
    '/etc/nginx/sites-available /etc/nginx/sites-enabled /etc/ssl /etc/ssl/certs /etc/ssl/private /etc/systemd',
    '/etc/systemd/system /lib/systemd /lib/systemd/system /usr/bin /usr/lib /usr/lib/systemd /usr/lib/systemd/system',
    '/usr/local /usr/local/bin /usr/local/lib /usr/sbin /usr/share /var/backups /var/lib /var/log /var/spool /var/www',
  ].flatMap((line) => line.split(' ')),
)

const UNIT_FOLDERS = [
  '/etc/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
]
const WEB_SERVER_FOLDERS = ['/etc/nginx', '/etc/letsencrypt', '/etc/ssl']

/** Where a component's entries lie: what was captured of it, its secrets, and the whole folder if all of it is secret. */
export function componentRoots(manifest: Manifest, name: string): string[] {
  const component = manifest.components.find((candidate) => candidate.name === name)
  if (!component) return []
  const folders = component.kind === 'secrets' ? component.configured.filter(posix.isAbsolute) : []
  const secrets = manifest.secrets?.files.flatMap((file) => (file.component === name ? [file.path] : [])) ?? []
  return [...component.paths.map(({ path }) => path), ...folders, ...secrets]
}

/** Without those that lie in another; sorted. */
export function outermost(paths: readonly string[]): string[] {
  const distinct = [...new Set(paths)]
  return distinct.filter((path) => !distinct.some((other) => other !== path && isBelow(path, other))).sort()
}

/**
 * What an in-place restore replaces, each as a whole: the entries of the chosen components, or the chosen paths. A path on
 * the way to what was backed up stands for what lies below it: the rest of such a folder is not in the snapshot.
 *
 * Rejects with `NO_PATH`, `NO_COMPONENT`, and with `USAGE` for what is never replaced as a whole.
 */
export async function unitPaths(
  chosen: ChosenSnapshot,
  options: {
    readonly components?: readonly string[]
    readonly paths?: readonly string[]
    readonly signal: AbortSignal
  },
): Promise<string[]> {
  const { manifest, stored } = chosen
  const units = outermost(
    options.paths?.length
      ? await unitsOfPaths(chosen, options.paths, options.signal)
      : unitsOfComponents(chosen, options.components),
  )
  refuseSystemFolders(units)
  if (units.length === 0) {
    const what = options.components?.length ? options.components.join(', ') : 'the application'
    throw new OperationError('NOTHING', `Snapshot ${stored.id.slice(0, 8)} holds nothing of ${what}`, {
      facts: { snapshot: stored.id, app: manifest?.app },
      hint: 'An older snapshot may hold it: see `holdfast snapshots`',
    })
  }
  return units
}

/** Rejects with `USAGE` what is never replaced as a whole. */
export function refuseSystemFolders(paths: readonly string[]): void {
  const system = paths.find((path) => SYSTEM_FOLDERS.has(path))
  if (system === undefined) return
  throw new OperationError('USAGE', `Cannot replace ${system} in place: it belongs to the system`, {
    facts: { path: system },
    hint: 'Restore to a folder with --target, or name a path in it',
  })
}

function unitsOfComponents({ manifest, stored }: ChosenSnapshot, components: readonly string[] | undefined): string[] {
  if (!manifest) {
    throw new OperationError(
      'USAGE',
      `Snapshot ${stored.id.slice(0, 8)} knows no components: say what to restore in place`,
      {
        facts: { snapshot: stored.id },
        hint: 'Name a path with --path, or restore all of it to a folder of its own with --target',
      },
    )
  }
  const known = manifest.components.map(({ name }) => name)
  const unknown = components?.find((name) => !known.includes(name))
  if (unknown !== undefined) {
    throw new OperationError('NO_COMPONENT', `No component "${unknown}" in snapshot ${stored.id.slice(0, 8)}`, {
      facts: { component: unknown, snapshot: stored.id },
      hint: `It holds ${known.join(', ')}`,
    })
  }
  return (components?.length ? components : known).flatMap((name) => componentRoots(manifest, name))
}

async function unitsOfPaths(chosen: ChosenSnapshot, paths: readonly string[], signal: AbortSignal): Promise<string[]> {
  const { manifest, stored } = chosen
  const roots = manifest
    ? manifest.components.flatMap(({ name }) => componentRoots(manifest, name))
    : stored.snapshot.paths.filter(posix.isAbsolute)
  const units: string[] = []
  for (const given of paths) {
    const path = posix.resolve('/', given)
    await requirePath(chosen, path, signal)
    if (roots.some((root) => isBelow(path, root))) units.push(path)
    else units.push(...roots.filter((root) => isBelow(root, path)))
  }
  return units
}

/**
 * Tells the paths that a config names from others, which a snapshot of a hostile repository might want to replace: those
 * that are or lie in a path of a component, the files of a unit that is named, and for a web server its own folders.
 */
export async function namedBy(config: Config, hostRoot: string): Promise<(path: string) => boolean> {
  const named: string[] = []
  const rules: ((path: string) => boolean)[] = []
  for (const component of config.components) {
    for (const path of component.paths.filter(posix.isAbsolute)) named.push(path, ...(await realPath(path)))
    if (component.kind === 'systemd') rules.push(...component.paths.map((given) => belongsToUnit(basename(given))))
    if (component.kind === 'nginx') rules.push((path) => WEB_SERVER_FOLDERS.some((folder) => isBelow(path, folder)))
  }
  return (path) => {
    if (named.some((folder) => isBelow(path, folder))) return true
    const onHost = hostRoot === '/' ? path : isBelow(path, hostRoot) ? path.slice(hostRoot.length) : undefined
    return onHost !== undefined && rules.some((rule) => rule(onHost))
  }
}

async function realPath(path: string): Promise<string[]> {
  try {
    return [await realpath(path)]
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error
    return [] // not there, or closed to us
  }
}

/** The unit file, what enables it, and its drop-ins. */
function belongsToUnit(given: ComponentConfig['paths'][number]): (path: string) => boolean {
  const unit = /\.(service|socket|timer|path|mount|target|slice)$/.test(given) ? given : `${given}.service`
  const names = new Set([unit, unit.replace(/@[^@]+(\.[a-z]+)$/, '@$1')]) // an instance, and its template
  return (path) => {
    const folder = UNIT_FOLDERS.find((candidate) => isBelow(path, candidate))
    if (folder === undefined) return false
    const [first = '', second, ...more] = path.slice(folder.length + 1).split('/')
    if (second === undefined) return names.has(first)
    if (more.length > 0) return false
    return /\.(wants|requires|upholds)$/.test(first) ? names.has(second) : names.has(first.replace(/\.d$/, ''))
  }
}
