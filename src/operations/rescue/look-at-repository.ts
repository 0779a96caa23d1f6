import { lstat } from 'node:fs/promises'
import type { Config } from '../../application/config/config.ts'
import { readJournal } from '../../application/journal/journal.ts'
import { isProofLevel, type ProofLevel, proofRank } from '../../application/journal/proof-level.ts'
import { CodedError } from '../../engine/error.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import { type DescribedSnapshot, describedSnapshots } from '../described-snapshots.ts'
import { journalOf } from '../journal/journal-of.ts'
import type { Manifest } from '../manifest.ts'
import { type FileChanges, fileChanges } from '../recovery/file-changes.ts'
import { isDependencyList, planTarget } from '../recovery/plan-recovery.ts'
import { missingSecrets, type RestoreTarget, targetsOf } from '../recovery/recovery-part.ts'
import { isBeforeName } from '../restore/before-name.ts'
import { STAY } from '../restore/relocation.ts'
import { stamp } from '../restore/restore-in-place.ts'
import { isBelow } from '../restore/restore-to-target.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { componentRoots, namedBy } from '../restore/unit-paths.ts'
import { withUnsealed } from '../restore/unseal-secrets.ts'
import type { ComponentChanges, Situation } from './situation.ts'

/** What the repository knows of an application, held against what is on this machine. */
export interface RepositoryView extends Pick<Situation, 'newest' | 'proven' | 'changes' | 'older' | 'secrets'> {
  /** Paths of the databases that the newest snapshot knows. */
  readonly databases: readonly string[]
}

export interface RepositoryLookOptions {
  readonly config: Config
  readonly identities: readonly string[]
  /** Told what could not be looked at. */
  readonly unseen: (line: string) => void
  readonly signal: AbortSignal
}

/** Of a component, as many as help to recognise what was changed. */
const FILES_SHOWN = 20
/** More files than this need not be asked for their times. */
const FILES_ASKED = 1000

/** Reads only. What cannot be read of single snapshots is told and passed over. */
export async function lookAtRepository(plain: Repository, options: RepositoryLookOptions): Promise<RepositoryView> {
  const { config, unseen, signal } = options
  const repository = await loadIndex(plain, signal)
  const snapshots: DescribedSnapshot[] = []
  for await (const snapshot of describedSnapshots(repository, plain, config.app, unseen, signal))
    snapshots.push(snapshot)
  const whole = snapshots.filter(({ manifest }) => manifest.only === undefined)
  const [newest] = whole
  const proven = newestProven(config, snapshots, unseen)
  if (newest === undefined) {
    return { newest: undefined, proven, changes: undefined, older: undefined, secrets: undefined, databases: [] }
  }
  const { stored, manifest } = newest
  const chosen: ChosenSnapshot = { repository, stored, manifest }
  const changes: ComponentChanges[] = []
  for (const target of targetsOf(manifest, undefined)) {
    const found = await changesOf(chosen, target, options)
    if (found !== undefined) changes.push(found)
  }
  return {
    newest: { id: stored.id, time: timeOf(newest), isWhole: manifest.outcome === 'succeeded' },
    proven,
    changes,
    older: olderAndOther(whole),
    secrets: await secretsOf(chosen, options),
    databases: manifest.databases.map(({ path }) => path),
  }
}

function timeOf({ stored }: DescribedSnapshot): Date {
  return new Date(Number(stored.snapshot.time.ns / 1_000_000n))
}

/** By the journal of this machine, where it can be read, and by what manifests say of the snapshots before them. */
function newestProven(
  config: Config,
  snapshots: readonly DescribedSnapshot[],
  unseen: (line: string) => void,
): Situation['proven'] {
  const proofs = new Map<string, { readonly level: ProofLevel; readonly at: Date }>()
  const note = (snapshot: string, level: unknown, at: Date) => {
    if (!isProofLevel(level) || Number.isNaN(at.getTime())) return
    const known = proofs.get(snapshot)
    if (known === undefined || proofRank(level) > proofRank(known.level)) proofs.set(snapshot, { level, at })
  }
  for (const { manifest } of snapshots) {
    for (const { snapshot, level, at } of manifest.proofs ?? []) note(snapshot, level, new Date(at))
  }
  const damaged = new Set<string>()
  try {
    using journal = readJournal(journalOf(config))
    for (const { snapshot, level, at } of journal?.proofs() ?? []) note(snapshot, level, at)
    for (const { snapshot } of journal?.damages() ?? []) damaged.add(snapshot)
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    unseen(`the journal: ${error.message}`)
  }
  for (const snapshot of snapshots) {
    const proof = proofs.get(snapshot.stored.id)
    if (proof === undefined || proofRank(proof.level) === 0 || damaged.has(snapshot.stored.id)) continue
    return { id: snapshot.stored.id, time: timeOf(snapshot), ...proof }
  }
  return undefined
}

async function changesOf(
  chosen: ChosenSnapshot,
  target: RestoreTarget,
  { config, unseen, signal }: RepositoryLookOptions,
): Promise<ComponentChanges | undefined> {
  try {
    const both = { config, original: config, lines: [], from: 'operator' } as const
    const options = { config: both, relocation: STAY, rewrites: [], stamp: stamp(new Date()), signal }
    const { units } = await planTarget(chosen, target, options)
    const found = await fileChanges(chosen, units, { relocation: STAY, made: new Set(), signal })
    return await describe(chosen.manifest!, target, found, units)
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof CodedError)) throw error
    unseen(`${target.name}: ${error.message}`)
    return undefined
  }
}

async function describe(
  manifest: Manifest,
  { name, kind }: RestoreTarget,
  { list }: FileChanges,
  units: readonly { readonly present: string }[],
): Promise<ComponentChanges> {
  const roots = componentRoots(manifest, name)
  const holdsDatabase = manifest.databases.some(({ path }) => roots.some((root) => isBelow(path, root)))
  // Both are looked at by themselves: what is in a secret is sealed, and a database is written to all the time.
  const secrets = new Set(manifest.secrets?.files.map(({ path }) => path))
  const isDatabase = (path: string) =>
    manifest.databases.some((each) => path === each.path || path.startsWith(`${each.path}-`))
  const WORDS = { created: 'missing', changed: 'changed', removed: 'added' } as const
  const files = list
    .filter(({ isFolder }) => !isFolder)
    .map(({ path, change }) => ({ path, change: WORDS[change] }))
    .filter(({ path }) => !secrets.has(path) && !isDatabase(path) && !path.split('/').some(isBeforeName))
  const count = (wanted: (typeof files)[number]['change']) => files.filter(({ change }) => change === wanted).length
  return {
    name,
    kind,
    isData: holdsDatabase || kind === 'sqlite' || name === 'data',
    holdsSecrets: manifest.secrets?.files.some(({ component }) => component === name) === true,
    isGone: units.length > 0 && units.every(({ present }) => present === 'nothing'),
    missing: count('missing'),
    changed: count('changed'),
    added: count('added'),
    files: files.toSorted((a, b) => RANKS[a.change] - RANKS[b.change]).slice(0, FILES_SHOWN),
    last: await lastWritten(files.map(({ path }) => path)),
    dependencies: files.some(({ path }) => isDependencyList(path)),
  }
}

const RANKS = { missing: 0, changed: 1, added: 2 } as const

async function lastWritten(paths: readonly string[]): Promise<Date | undefined> {
  let last: Date | undefined
  for (const path of paths.slice(0, FILES_ASKED)) {
    const mtime = (await lstat(path).catch(unseen))?.mtime
    if (mtime !== undefined && (last === undefined || mtime > last)) last = mtime
  }
  return last
}

function unseen(error: NodeJS.ErrnoException): undefined {
  if (error.syscall === undefined) throw error
  return undefined
}

/** Where configuration or code was changed before the newest snapshot was made, it is in an older one as it was. */
function olderAndOther([newest, ...others]: readonly DescribedSnapshot[]): Situation['older'] {
  if (newest === undefined) return undefined
  const contents = contentsOf(newest.manifest)
  for (const other of others) {
    const before = contentsOf(other.manifest)
    const components = [...contents].flatMap(([name, content]) => {
      const was = before.get(name)
      return was === undefined || was === content ? [] : [name]
    })
    if (components.length > 0) return { id: other.stored.id, time: timeOf(other), components }
  }
  return undefined
}

/** Of components of configuration and code, what tells two states of one apart. */
function contentsOf(manifest: Manifest): Map<string, string> {
  const contents = new Map<string, string>()
  for (const { name, kind, paths, outcome } of manifest.components) {
    const roots = componentRoots(manifest, name)
    const holdsDatabase = manifest.databases.some(({ path }) => roots.some((root) => isBelow(path, root)))
    if (holdsDatabase || kind === 'sqlite' || kind === 'secrets' || name === 'data' || outcome === 'incomplete')
      continue
    contents.set(name, JSON.stringify(paths.map(({ path, tree }) => [path, tree])))
  }
  return contents
}

async function secretsOf(
  chosen: ChosenSnapshot,
  { config, identities, signal }: RepositoryLookOptions,
): Promise<Situation['secrets']> {
  const files = chosen.manifest?.secrets?.files ?? []
  if (files.length === 0) return undefined
  const missing = await missingSecrets(chosen.manifest!, await namedBy(config, '/'))
  const opened = await withUnsealed(chosen, { identities, signal }, async (plaintext) => {
    for await (const _ of plaintext); // to its end: only then it is proven
  })
  return { count: files.length, missing, key: 'value' in opened ? 'here' : 'missing' }
}
