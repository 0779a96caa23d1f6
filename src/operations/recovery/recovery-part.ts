import type { Manifest } from '../manifest.ts'
import { componentRoots } from '../restore/unit-paths.ts'

/** What of an application is brought back, where it is not all of it. */
export type RecoveryPart =
  | {
      readonly kind: 'components'
      readonly names: readonly string[]
      /** Also run the commands that install what it depends on and build it. */
      readonly install: boolean
    }
  /** Every secret, and of other files nothing. */
  | { readonly kind: 'secrets' }

/** A component, or some files of one. */
export interface RestoreTarget {
  readonly name: string
  readonly kind: string
  /** As they are called in the snapshot; undefined: all of it. */
  readonly paths: readonly string[] | undefined
}

/** Secrets first, as the rest may need them; then what the host runs it with, in the order in which it is brought up. */
const ORDER = ['secrets', 'files', 'sqlite', 'pm2', 'systemd', 'nginx']

/** What is restored, in its order, but components of which the snapshot holds nothing. */
export function targetsOf(manifest: Manifest, part: RecoveryPart | undefined): RestoreTarget[] {
  const place = ({ kind }: RestoreTarget) => (ORDER.includes(kind) ? ORDER.indexOf(kind) : 1)
  return manifest.components
    .filter(({ name }) => componentRoots(manifest, name).length > 0)
    .map(({ name, kind }) => ({ name, kind, paths: pathsOf(manifest, { name, kind }, part) }))
    .filter(({ name, paths }) => {
      if (part?.kind === 'components') return part.names.includes(name)
      return paths === undefined || paths.length > 0
    })
    .toSorted((a, b) => place(a) - place(b))
}

function pathsOf(
  manifest: Manifest,
  { name, kind }: Pick<RestoreTarget, 'name' | 'kind'>,
  part: RecoveryPart | undefined,
): readonly string[] | undefined {
  return part?.kind === 'secrets' && kind !== 'secrets' ? secretsOf(manifest, name) : undefined
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
