import { posix } from 'node:path'
import type { Manifest } from '../manifest.ts'
import { presence } from '../restore/plan-in-place.ts'
import { isBelow } from '../restore/restore-to-target.ts'
import { componentRoots, outermost } from '../restore/unit-paths.ts'

/** What of an application is brought back, where it is not all of it. */
export type RecoveryPart =
  | {
      readonly kind: 'components'
      readonly names: readonly string[]
      /** Also run the commands that install what it depends on and build it. */
      readonly install: boolean
    }
  /** Secrets, and of other files nothing: those that are not there, or all of them. */
  | { readonly kind: 'secrets'; readonly which: 'missing' | 'all' }

/** A component, or some files of one. */
export interface RestoreTarget {
  readonly name: string
  readonly kind: string
  /** As they are called in the snapshot; undefined: all of it. */
  readonly paths: readonly string[] | undefined
}

/** Secrets first, as the rest may need them; then what the host runs it with, in the order in which it is brought up. */
const ORDER = ['secrets', 'files', 'sqlite', 'pm2', 'systemd', 'nginx']

/**
 * What is restored, in its order, but components of which the snapshot holds nothing.
 *
 * @param only of secrets those at or below these paths; undefined: all
 */
export function targetsOf(
  manifest: Manifest,
  part: RecoveryPart | undefined,
  only?: readonly string[] | undefined,
): RestoreTarget[] {
  const place = ({ kind }: RestoreTarget) => (ORDER.includes(kind) ? ORDER.indexOf(kind) : 1)
  return manifest.components
    .filter(({ name }) => componentRoots(manifest, name).length > 0)
    .map(({ name, kind }) => ({
      name,
      kind,
      paths: part?.kind === 'secrets' ? pathsOf(manifest, name, only) : undefined,
    }))
    .filter(({ name, paths }) => {
      if (part?.kind === 'components') return part.names.includes(name)
      return paths === undefined || paths.length > 0
    })
    .toSorted((a, b) => place(a) - place(b))
}

function pathsOf(manifest: Manifest, name: string, only: readonly string[] | undefined): readonly string[] | undefined {
  const secrets = [...secretsOf(manifest, name), ...secretFolders(manifest, name)]
  if (only !== undefined) return only.filter((path) => secrets.some((secret) => isBelow(secret, path)))
  return secretFolders(manifest, name).length > 0 ? undefined : secrets
}

/** Paths that are secret as a whole. */
function secretFolders({ components }: Manifest, name: string): string[] {
  const component = components.find((each) => each.name === name)
  return component?.kind === 'secrets' ? component.configured.filter(posix.isAbsolute) : []
}

/** Secrets of a snapshot that are not on this machine; of folders that are secret as a whole, the folder where that is missing. */
export async function missingSecrets(manifest: Manifest, isNamed: (path: string) => boolean): Promise<string[]> {
  const missing: string[] = []
  for (const { name } of manifest.components) {
    const folders = secretFolders(manifest, name)
    const isInside = (path: string) => folders.some((folder) => isBelow(path, folder))
    for (const path of secretsOf(manifest, name)) {
      if (!isNamed(path) || (await presence(path)) !== 'nothing') continue
      let top = path
      for (let at = posix.dirname(path); isInside(at) && (await presence(at)) === 'nothing'; at = posix.dirname(at))
        top = at
      missing.push(top)
    }
  }
  return outermost(missing)
}

function secretsOf({ secrets }: Manifest, component: string): string[] {
  return secrets?.files.flatMap((file) => (file.component === component ? [file.path] : [])) ?? []
}

/** The manifest with nothing in it of what is not restored. */
export function narrow(manifest: Manifest, targets: readonly RestoreTarget[]): Manifest {
  const names = new Set(targets.map(({ name }) => name))
  const { secrets } = manifest
  const files = secrets?.files.filter(({ component }) => names.has(component)) ?? []
  return {
    ...manifest,
    components: manifest.components.filter(({ name }) => names.has(name)),
    secrets: secrets === undefined || files.length === 0 ? undefined : { ...secrets, files },
  }
}

/** Why a snapshot cannot bring a part back whole; undefined: it can. */
export function whatItLacks(manifest: Manifest, part: RecoveryPart): string | undefined {
  if (part.kind === 'secrets') return manifest.secrets?.files.length ? undefined : 'it holds no secrets'
  for (const name of part.names) {
    if (componentRoots(manifest, name).length === 0) return `it holds nothing of ${name}`
    const component = manifest.components.find((each) => each.name === name)
    if (component?.outcome === 'incomplete') return `${name} is incomplete in it`
  }
  return undefined
}
