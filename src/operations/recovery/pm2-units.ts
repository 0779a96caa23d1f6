import { posix } from 'node:path'
import type { Finding } from '../../application/finding.ts'
import { pm2OwnerIn, pm2UnitOf } from '../../application/host/pm2-boot.ts'
import type { Manifest } from '../manifest.ts'
import { type Relocation, relocateOwner } from '../restore/relocation.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { componentRoots } from '../restore/unit-paths.ts'
import { pm2OwnerOf } from './boot-step.ts'
import { readSmall } from './read-small.ts'
import type { RestoreTarget } from './recovery-part.ts'
import type { SnapshotConfig } from './snapshot-config.ts'

/** What a snapshot has of the units by which pm2 brings back its list at boot. */
export interface Pm2Units {
  /** The name of the one that is right on this machine. */
  readonly right: string | undefined
  /** Whether a path belongs to one that would be wrong here. */
  readonly isWrong: (path: string) => boolean
  readonly findings: readonly Finding[]
}

/**
 * Tells the units of the application's pm2 that are right on this machine from those that name another user or home. Those stay
 * away: pm2 makes its own, and beside it they would start a second pm2, in a folder that is not there.
 */
export async function pm2UnitsOf(
  chosen: ChosenSnapshot,
  { config, original }: SnapshotConfig,
  relocation: Relocation,
  signal: AbortSignal,
): Promise<Pm2Units> {
  if (config.service?.manager !== 'pm2') return { right: undefined, isWrong: () => false, findings: [] }
  const owner = pm2OwnerOf(config)
  const user = original.owner?.user ?? 'root'
  const wrong: string[] = []
  let right: string | undefined
  for (const { path, isSealed } of unitFiles(chosen.manifest!)) {
    const name = posix.basename(path)
    const text = isSealed ? undefined : await readSmall(chosen, path, signal)
    const found = text === undefined ? undefined : pm2OwnerIn(text)
    // Of one that is sealed only the name is known.
    const isTheirs = isSealed ? name === pm2UnitOf({ user, pm2Home: owner.pm2Home }).name : found?.user === user
    if (!isTheirs) continue
    const isSame = relocateOwner(relocation).user(user) === user
    const isRight = isSame && (isSealed || found?.pm2Home === owner.pm2Home)
    if (isRight) right ??= name
    else wrong.push(name)
  }
  return {
    right,
    isWrong: (path) => wrong.some((name) => isOfUnit(path, name)),
    findings: wrong.map((name) => ({
      severity: 'note',
      code: 'pm2-unit-left-out',
      message: `${name} is not brought back: it starts pm2 for another user or home than ${owner.user} in ${owner.pm2Home}, and pm2 makes its own`,
    })),
  }
}

function unitFiles({ components, secrets }: Manifest): { readonly path: string; readonly isSealed: boolean }[] {
  const units = components.filter(({ kind }) => kind === 'systemd')
  const names = new Set(units.map(({ name }) => name))
  const sealed = secrets?.files.filter(({ component }) => names.has(component)) ?? []
  return [
    ...units.flatMap(({ paths }) => paths).map(({ path }) => ({ path, isSealed: false })),
    ...sealed.map(({ path }) => ({ path, isSealed: true })),
  ].filter(({ path }) => path.endsWith('.service'))
}

/** The unit itself, what enables it, and its drop-ins. */
function isOfUnit(path: string, name: string): boolean {
  return posix.basename(path) === name || posix.basename(posix.dirname(path)) === `${name}.d`
}

/** What is restored, and the manifest of it, without them. */
export function withoutWrongUnits(
  manifest: Manifest,
  targets: readonly RestoreTarget[],
  { isWrong }: Pm2Units,
): { readonly manifest: Manifest; readonly targets: readonly RestoreTarget[] } {
  const kept = targets.flatMap((target): RestoreTarget[] => {
    const paths = target.paths ?? componentRoots(manifest, target.name)
    if (!paths.some(isWrong)) return [target]
    const rest = paths.filter((path) => !isWrong(path))
    return rest.length === 0 ? [] : [{ ...target, paths: rest }]
  })
  const names = new Set(kept.map(({ name }) => name))
  const components = manifest.components
    .filter(({ name }) => names.has(name))
    .map((component) => ({ ...component, paths: component.paths.filter(({ path }) => !isWrong(path)) }))
  const { secrets } = manifest
  const files = secrets?.files.filter(({ path, component }) => names.has(component) && !isWrong(path)) ?? []
  return {
    targets: kept,
    manifest: {
      ...manifest,
      components,
      secrets: secrets === undefined || files.length === 0 ? undefined : { ...secrets, files },
    },
  }
}
