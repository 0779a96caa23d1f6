import type { Config } from '../../application/config/config.ts'
import { readJournal } from '../../application/journal/journal.ts'
import { CodedError } from '../../engine/error.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import { describedSnapshots } from '../described-snapshots.ts'
import { OperationError } from '../error.ts'
import { journalOf } from '../journal/journal-of.ts'
import type { Manifest } from '../manifest.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { type RecoveryPart, targetsOf, whatItLacks } from './recovery-part.ts'

export interface GoodSnapshotSearch {
  readonly app: string
  readonly part: RecoveryPart
  /** Of the application on this machine, whose journal knows which snapshots were found damaged; undefined where it is gone. */
  readonly config: Config | undefined
  /** ns since the epoch. */
  readonly notAfter: bigint | undefined
  readonly signal: AbortSignal
}

export interface GoodSnapshot {
  readonly chosen: ChosenSnapshot
  /** Newer ones that cannot help, one line each. */
  readonly passedOver: readonly string[]
}

/** The newest snapshot that brings a part back whole, as far as is known. Rejects with `NO_COMPONENT` and `NOTHING`. */
export async function chooseGoodSnapshot(plain: Repository, search: GoodSnapshotSearch): Promise<GoodSnapshot> {
  const { app, part, config, notAfter, signal } = search
  const repository = await loadIndex(plain, signal)
  const damaged = damagedSnapshots(config)
  const passedOver: string[] = []
  const known = new Set<string>(config?.components.map(({ name }) => name))
  for await (const { stored, manifest } of describedSnapshots(
    repository,
    plain,
    app,
    (line) => passedOver.push(line),
    signal,
  )) {
    if (notAfter !== undefined && stored.snapshot.time.ns > notAfter) continue
    for (const { name } of manifest.components) known.add(name)
    // One that was made of other components only is none that was expected to help.
    const isOfOthers = part.kind === 'components' && manifest.only?.some((name) => part.names.includes(name)) === false
    if (isOfOthers) continue
    const why = damaged.has(stored.id) ? 'it was found damaged' : whatItLacks(manifest, part)
    if (why === undefined) return { chosen: { repository, stored, manifest }, passedOver }
    passedOver.push(`${stored.id.slice(0, 8)}: ${why}`)
  }
  const unknown = part.kind === 'components' ? part.names.find((name) => !known.has(name)) : undefined
  if (unknown !== undefined && known.size > 0) {
    throw new OperationError('NO_COMPONENT', `${app} has no component "${unknown}"`, {
      facts: { component: unknown, app },
      hint: `It has ${[...known].sort().join(', ')}`,
    })
  }
  const what = part.kind === 'secrets' ? 'secrets' : part.names.join(', ')
  const list = passedOver.map((line) => `\n- ${line}`).join('')
  throw new OperationError('NOTHING', `No snapshot of ${app} can bring ${what} back whole`, {
    facts: { app },
    hint: `Look at another repository (-r), or take what there is: holdfast restore${list === '' ? '' : `. Passed over:${list}`}`,
  })
}

/**
 * The newest older snapshot in which what is restored is not what it is in the chosen one; undefined where there is none, or
 * where trees do not tell.
 */
export async function olderAndDifferent(
  plain: Repository,
  { repository, stored, manifest }: ChosenSnapshot,
  part: RecoveryPart,
  signal: AbortSignal,
): Promise<{ readonly snapshot: string; readonly time: Date } | undefined> {
  const wanted = contentOf(manifest!, part)
  for await (const other of describedSnapshots(repository, plain, manifest!.app, () => {}, signal)) {
    if (other.stored.snapshot.time.ns >= stored.snapshot.time.ns || whatItLacks(other.manifest, part)) continue
    if (contentOf(other.manifest, part) === wanted) continue
    const time = new Date(Number(other.stored.snapshot.time.ns / 1_000_000n))
    return { snapshot: other.stored.id, time }
  }
  return undefined
}

/** Equal for the same files; secrets by their digest. */
function contentOf(manifest: Manifest, part: RecoveryPart): string {
  const names = new Set(targetsOf(manifest, part).map(({ name }) => name))
  const paths = manifest.components
    .filter(({ name }) => names.has(name))
    .flatMap((component) => component.paths.map(({ path, tree }) => ({ path, tree })))
  const isSecret = manifest.secrets?.files.some(({ component }) => names.has(component)) === true
  return JSON.stringify([paths, isSecret ? manifest.secrets?.digest : undefined])
}

/** By the journal of this machine, where it can be read: it is a help, not a condition. */
function damagedSnapshots(config: Config | undefined): ReadonlySet<string> {
  if (config === undefined) return new Set()
  try {
    using journal = readJournal(journalOf(config))
    return new Set(journal?.damages().map(({ snapshot }) => snapshot))
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return new Set()
  }
}
