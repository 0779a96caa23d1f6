import { mkdir, stat } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Finding } from '../../application/finding.ts'
import type { TreeNode } from '../../engine/format/tree-node.ts'
import { readTree } from '../../engine/repository/read-blob.ts'
import { prepareTreeReading } from '../../engine/repository/tree-reader.ts'
import { type Overwrite, type RestoreProblem, type RestoreResult, restore } from '../../engine/restorer/restore.ts'
import { type RestoreThreads, startRestoreThreads } from '../../engine/restorer/restore-threads.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { OperationError } from '../error.ts'
import type { Observer, Outcome, SnapshotNews } from '../event.ts'
import { runOperation } from '../run-operation.ts'
import { findNode, pathParts } from '../snapshot-files.ts'
import { type ChosenSnapshot, chooseSnapshot, refuseDamagedManifest, type SnapshotChoice } from './snapshot-choice.ts'

export interface RestoreToTargetOptions {
  readonly choice: SnapshotChoice
  readonly target: string
  /** Absolute paths in the snapshot; by default all of it. What is chosen lies at its absolute path below the target. */
  readonly paths?: readonly string[]
  /** Restic's `SNAPSHOT:/folder`: what is in the folder lies directly in the target. */
  readonly subfolder?: string | undefined
  readonly components?: readonly string[]
  /** Unseal secrets into the target too; undefined leaves them sealed. */
  readonly unseal?: { readonly identities: readonly string[] } | undefined
  readonly verify?: boolean
  readonly numericOwner?: boolean
  /** Take what is right already from what is there; see `restore` of the engine. */
  readonly delta?: boolean
  readonly overwrite?: Overwrite
  readonly observe: Observer
  readonly signal: AbortSignal
}

export interface RestoreReport {
  readonly outcome: Extract<Outcome, 'succeeded' | 'incomplete'>
  readonly snapshot: string
  readonly target: string
  readonly findings: readonly Finding[]
  readonly files: number
  readonly bytes: number
  readonly verifiedFiles: number
  /** Of the files: those that were kept as they are. */
  readonly skippedFiles: number
  readonly secrets: number
  readonly milliseconds: number
}

interface RestoreChosenOptions extends Omit<RestoreToTargetOptions, 'choice'> {
  /** Nothing is written or found before. */
  readonly settled?: Promise<void>
  /** To restore with; the restore ends them. */
  readonly threads?: RestoreThreads | undefined
}

/** Restores into a folder of its own; what is there already and not in the snapshot stays. */
export async function restoreToTarget(
  access: RepositoryAccess,
  options: RestoreToTargetOptions,
): Promise<RestoreReport> {
  const begun = performance.now()
  const { observe, signal } = options
  return runOperation(
    { operation: 'restore', subject: `to ${options.target}`, observe, signal },
    () => {
      prepareTreeReading()
      return withRepository(access, { lock: 'shared', early: true, signal }, async (plain, lockSignal, settled) => {
        const innerSignal = lockSignal ?? signal
        await using threads = isWhole(options) ? await startRestoreThreads(plain, innerSignal) : undefined
        const inner = { ...options, signal: innerSignal, settled, threads }
        const { choice, components } = options
        const asked = { ...choice, components: components?.length ? components : choice.components }
        const chosen = await chooseSnapshot(plain, asked, inner.signal)
        const report = await restoreChosen(chosen, inner)
        return { ...report, milliseconds: performance.now() - begun }
      })
    },
    ({ snapshot, target, files, bytes, verifiedFiles, skippedFiles, secrets, findings }) => ({
      snapshot_id: snapshot,
      target,
      files_restored: files,
      bytes_restored: bytes,
      ...(options.verify ? { files_verified: verifiedFiles } : {}),
      ...(compares(options) ? { files_skipped: skippedFiles } : {}),
      secrets_unsealed: secrets,
      ...countFindings(findings),
    }),
  )
}

/** The same of a snapshot that is chosen, in a repository that is open and locked: a part of another operation. */
export async function restoreChosen(
  chosen: ChosenSnapshot,
  options: RestoreChosenOptions,
): Promise<Omit<RestoreReport, 'milliseconds'>> {
  const { signal } = options
  const target = posix.resolve(options.target)
  const findings: Finding[] = []
  const find = (finding: Finding) => {
    findings.push(finding)
    options.observe({ type: 'finding', finding })
  }
  const reading = wantedPaths(chosen, options, signal)
  await Promise.allSettled([reading])
  await options.settled
  if (chosen.manifestProblem) {
    const { message, hint } = chosen.manifestProblem
    find({ severity: 'error', code: 'manifest-damaged', message, ...(hint === undefined ? {} : { hint }) })
  }
  const wanted = await reading
  for (const gap of gapsIn(chosen, wanted, options)) find(gap)
  await makeTarget(target)
  const secrets = await secretsInto(target, chosen, wanted, options, find)
  options.observe({ type: 'phase', phase: 'restore' })
  const result = await restoreNodes(chosen, target, wanted, options, find)
  const outcome = findings.some(({ severity }) => severity === 'error') ? 'incomplete' : 'succeeded'
  const isWhole = wanted === undefined && options.subfolder === undefined
  if (outcome === 'succeeded' && isWhole) options.observe({ type: 'snapshot', news: restoredNews(chosen, result) })
  return {
    outcome,
    snapshot: chosen.stored.id,
    target,
    findings,
    files: result.files + secrets,
    bytes: result.bytes,
    verifiedFiles: result.verifiedFiles,
    skippedFiles: result.skippedFiles,
    secrets,
  }
}

/** Everything of the snapshot was written to disk again, each piece held against its hash. */
export function restoredNews(
  { stored }: ChosenSnapshot,
  { files, bytes }: { readonly files: number; readonly bytes: number },
): SnapshotNews {
  const evidence = { operation: 'restore', files, bytes }
  return { kind: 'proven', snapshot: stored.id, level: 'restored', at: new Date(), evidence }
}

/** What the backup itself could not store of what is wanted: it was asked for, and does not come back. */
export function gapsIn(
  { manifest }: ChosenSnapshot,
  wanted: readonly string[] | undefined,
  { components, subfolder }: Pick<RestoreChosenOptions, 'components' | 'subfolder'>,
): Finding[] {
  const places = wanted ?? (subfolder === undefined ? undefined : [posix.resolve('/', subfolder)])
  const isWanted = ({ path, component }: Finding) => {
    if (places === undefined) return true
    if (component !== undefined && components?.includes(component)) return true
    return path !== undefined && places.some((place) => isBelow(path, place))
  }
  return ((manifest?.findings ?? []) as readonly Finding[])
    .filter((finding) => finding.severity === 'error' && isWanted(finding))
    .map((finding) => ({
      ...finding,
      code: `snapshot-${finding.code}`,
      message: `The snapshot is incomplete here: ${finding.message}`,
      hint: 'An older snapshot may hold it: see `holdfast snapshots`',
    }))
}

/** For the summary of an operation. */
export function countFindings(findings: readonly Finding[]): { readonly errors: number; readonly warnings: number } {
  const count = (severity: Finding['severity']) => findings.filter((finding) => finding.severity === severity).length
  return { errors: count('error'), warnings: count('warning') }
}

async function makeTarget(target: string): Promise<void> {
  const present = await stat(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (present && !present.isDirectory()) {
    throw new OperationError('USAGE', `Cannot restore to ${target}: it is not a folder`, {
      facts: { target },
      hint: 'Name a folder, or a path that is not there yet',
    })
  }
  await mkdir(target, { recursive: true, mode: 0o700 })
}

/** Undefined: everything. Otherwise absolute paths, as parts, that are in the snapshot or among its secrets. */
async function wantedPaths(
  chosen: ChosenSnapshot,
  options: RestoreChosenOptions,
  signal: AbortSignal,
): Promise<readonly string[] | undefined> {
  const { paths, components } = options
  if (paths?.length) {
    for (const path of paths) await requirePath(chosen, path, signal)
    return paths.map((path) => posix.resolve('/', path))
  }
  if (components?.length) return components.flatMap((name) => componentPaths(chosen, name))
  return undefined
}

export async function requirePath(
  { repository, stored, manifest }: ChosenSnapshot,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  if (pathParts(path).length === 0) return
  if (await findNode(repository, stored.snapshot.tree, path, signal)) return
  const absolute = posix.resolve('/', path)
  if (manifest?.secrets?.files.some((secret) => isBelow(secret.path, absolute))) return
  throw new OperationError('NO_PATH', `No ${path} in snapshot ${stored.id.slice(0, 8)}`, {
    facts: { path, snapshot: stored.id },
    hint: `See what it holds with \`holdfast ls ${stored.id.slice(0, 8)}\``,
  })
}

/** Everything of a component: its targets as captured, and its secrets. */
export function componentPaths(chosen: ChosenSnapshot, name: string): string[] {
  refuseDamagedManifest(chosen)
  const { stored, manifest } = chosen
  if (!manifest) {
    throw new OperationError(
      'NO_COMPONENT',
      `Snapshot ${stored.id.slice(0, 8)} knows no components: it was not made by \`holdfast backup\` with a config`,
      {
        facts: { component: name, snapshot: stored.id },
        hint: 'Restore a path of it instead, with --path',
      },
    )
  }
  const component = manifest.components.find((candidate) => candidate.name === name)
  if (!component) {
    throw new OperationError('NO_COMPONENT', `No component "${name}" in snapshot ${stored.id.slice(0, 8)}`, {
      facts: { component: name, snapshot: stored.id },
      hint: `It holds ${manifest.components.map((known) => known.name).join(', ')}`,
    })
  }
  const secrets = manifest.secrets?.files.filter((secret) => secret.component === name).map(({ path }) => path) ?? []
  return [...component.paths.map(({ path }) => path), ...secrets]
}

async function secretsInto(
  target: string,
  chosen: ChosenSnapshot,
  wanted: readonly string[] | undefined,
  options: RestoreChosenOptions,
  find: (finding: Finding) => void,
): Promise<number> {
  if (!options.unseal || options.subfolder !== undefined) return 0
  const select = (path: string) => wanted === undefined || wanted.some((candidate) => isBelow(path, candidate))
  if (!chosen.manifest?.secrets?.files.some(({ path }) => select(path))) return 0
  options.observe({ type: 'phase', phase: 'unseal' })
  // With it come the ciphers of age and what reads archives: a hundred modules that nothing else here needs.
  const { unsealSecrets } = await import('./unseal-secrets.ts')
  const result = await unsealSecrets(chosen, target, {
    identities: options.unseal.identities,
    select,
    signal: options.signal,
  })
  if ('files' in result) return result.files
  find(result.finding)
  return 0
}

async function restoreNodes(
  { repository, stored }: ChosenSnapshot,
  target: string,
  wanted: readonly string[] | undefined,
  options: RestoreChosenOptions,
  find: (finding: Finding) => void,
): Promise<RestoreResult> {
  let nodes: readonly TreeNode[]
  if (options.subfolder === undefined || pathParts(options.subfolder).length === 0) {
    nodes = await readTree(repository, stored.snapshot.tree, options.signal)
  } else {
    await requirePath({ repository, stored, manifest: undefined }, options.subfolder, options.signal)
    const folder = await findNode(repository, stored.snapshot.tree, options.subfolder, options.signal)
    nodes = folder?.subtree ? await readTree(repository, folder.subtree, options.signal) : [folder!]
  }
  const prefix = target === '/' ? '' : target
  const keys = wanted?.map((path) => Buffer.from(`${prefix}${path}`).toString('latin1'))
  return restore(
    repository,
    nodes.map((node) => ({ node, destination: Buffer.concat([Buffer.from(`${prefix}/`), node.name]) })),
    {
      ...(keys ? { select: (destination: Buffer) => selection(destination.toString('latin1'), keys) } : {}),
      ...(options.numericOwner ? { numericOwner: true } : {}),
      ...(options.verify ? { verify: true } : {}),
      ...(options.delta ? { delta: true } : {}),
      ...(options.overwrite ? { overwrite: options.overwrite } : {}),
      ...(options.threads ? { threads: options.threads } : {}),
      onProblem: (problem) => find(restoreFinding(problem)),
      onProgress: (phase, done, path) =>
        options.observe({ type: 'progress', phase, done: { ...done }, current: path.toString() }),
      signal: options.signal,
    },
  )
}

function selection(path: string, wanted: readonly string[]): 'whole' | 'folder' | 'skip' {
  if (wanted.some((candidate) => isBelow(path, candidate))) return 'whole'
  return wanted.some((candidate) => candidate.startsWith(`${path}/`)) ? 'folder' : 'skip'
}

/** Whether `path` is `folder` or lies in it; both normalised. */
export function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`)
}

export function restoreFinding({ kind, path: bytes, message }: RestoreProblem): Finding {
  const path = bytes.toString()
  const codes = {
    content: 'file-not-restored',
    unwritable: 'file-not-restored',
    metadata: 'metadata-not-restored',
    hostile: 'entry-refused',
    obstructed: 'path-obstructed',
    verify: 'file-differs',
  } as const
  const hints = {
    content: 'Run `holdfast check --read-data`; an older snapshot may still hold it intact',
    unwritable: 'Run the restore as a user who may write there, or restore to another --target',
    metadata: 'Run the restore as root, or set it by hand',
    hostile: 'Nobody honest writes such a snapshot: find out who can write to the repository',
    obstructed: 'Move away what stands there, or restore to another --target',
    verify: 'The target disk or memory is likely faulty; do not rely on what was restored',
  } as const
  return { severity: 'error', code: codes[kind], path, message, hint: hints[kind] }
}

/** Whether everything that is in the snapshot is wanted. */
function isWhole({ choice, paths, subfolder, components }: RestoreToTargetOptions): boolean {
  return !paths?.length && subfolder === undefined && !components?.length && !choice.components?.length
}

/** Whether files may be kept as they are. */
function compares({ delta, overwrite = 'always' }: RestoreChosenOptions): boolean {
  return delta === true || overwrite !== 'always'
}
