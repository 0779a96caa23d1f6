import { lstat, readFile, statfs } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import type { Exclusion } from '../../application/config/exclude.ts'
import type { Finding } from '../../application/finding.ts'
import { whoHasOpen } from '../../application/host/open-files.ts'
import type { ServiceSpec } from '../../application/host/service.ts'
import { SIDECAR_SUFFIXES } from '../../application/sources/sqlite-header.ts'
import { surveyFiles } from '../../application/sources/survey.ts'
import type { TreeNode } from '../../engine/format/tree-node.ts'
import { readTree } from '../../engine/repository/read-blob.ts'
import type { IndexedRepository } from '../../engine/repository/repository.ts'
import { leftOutOf } from '../backup/left-out.ts'
import { OperationError } from '../error.ts'
import type { Manifest } from '../manifest.ts'
import { findNode } from '../snapshot-files.ts'
import { verifyManifest, verifyManifestSignature } from '../verify/verify-manifest.ts'
import { beforeName } from './before-name.ts'
import { keptEntries } from './kept-entries.ts'
import { type Relocation, type RewrittenLine, relocatePath, STAY } from './relocation.ts'
import { findInterrupted, type InterruptedRestore, STAGE_PREFIX } from './restore-record.ts'
import { isBelow } from './restore-to-target.ts'
import { type ChosenSnapshot, refuseDamagedManifest } from './snapshot-choice.ts'
import { componentRoots, namedBy, outermost, refuseSystemFolders, unitPaths } from './unit-paths.ts'

/** One path that is staged beside the live one and takes its place in one step. */
export interface RestoreUnit {
  /** Absolute. */
  readonly path: string
  /** Where it lies in the snapshot: the same, unless the application is brought back to another place. */
  readonly source: string
  readonly component: string | undefined
  /** What is there now. */
  readonly present: 'folder' | 'file' | 'other' | 'nothing'
  /** The folder in which it is staged: beside it, so on the same file system. */
  readonly stage: string
  /** Where what is there now goes; undefined when nothing is there. */
  readonly before: string | undefined
  readonly files: number
  readonly bytes: number
  /** Secrets that belong into it, absolute paths on this machine. */
  readonly secrets: readonly string[]
  /**
   * Entries of the live folder that stay where they are: left out of backups, of a component that is not restored, or
   * missing from the snapshot.
   */
  readonly kept: readonly string[]
  /** Entries of the snapshot that are not restored: of other components, or in whose place a live one is kept. */
  readonly omitted: readonly string[]
  /** It is a database by itself: its `-wal` and the like go where it goes. */
  readonly isDatabase: boolean
  /** The config does not name this path; the snapshot alone says that it belongs to the application. */
  readonly beyondConfig: boolean
}

/** What an in-place restore will do; plain data. */
export interface InPlacePlan {
  readonly snapshot: string
  readonly time: string
  readonly app: string | undefined
  readonly units: readonly RestoreUnit[]
  readonly files: number
  readonly bytes: number
  /** Databases that are replaced or moved aside, be they live or in the snapshot. */
  readonly databases: readonly string[]
  /** Where the config file is put back; undefined when it is there, or only a part is restored. */
  readonly configFile: string | undefined
  readonly inUse: readonly { readonly path: string; readonly pid: number; readonly command: string }[]
  /** Stopped before the swap and, those that were running, started after it. */
  readonly stop: readonly ServiceSpec[]
  /** What killed restores left beside the units; it is put in order first. */
  readonly interrupted: readonly InterruptedRestore[]
  readonly relocation: Relocation
  /** What is rewritten on the way because it is different on this machine; of secrets without what is secret. */
  readonly rewrites: readonly Rewrite[]
  readonly findings: readonly Finding[]
}

/** A text file, or a symbolic link, that names what is different on this machine. */
export interface Rewrite {
  /** On this machine. */
  readonly path: string
  /** Of a link its target, as the only line. */
  readonly lines: readonly RewrittenLine[]
}

export interface PlanInPlaceOptions {
  readonly components?: readonly string[]
  readonly paths?: readonly string[]
  readonly stop?: readonly ServiceSpec[]
  /** Knows what is excluded; without it a replaced folder ends up with exactly what the snapshot holds. */
  readonly config?: Config | undefined
  /**
   * Replace also paths that the config does not name. Whoever can write to the repository chooses what a snapshot says of
   * itself, so with a config such paths are refused unless told otherwise, or named in `paths`.
   */
  readonly beyondConfig?: boolean
  readonly hostRoot?: string
  /** Bring it back to another root, user or port; `config` is then the one of this machine. */
  readonly relocation?: Relocation
  /** What of it is rewritten, as `planRewrites` found it. */
  readonly rewrites?: readonly Rewrite[]
  /** Distinguishes this restore's folders and what it keeps: `20261101-020000`. */
  readonly stamp: string
  /** Plan also what would be refused (a database in use, paths beyond the config): nothing is going to be done. */
  readonly planOnly?: boolean
  /** Who has a database open is in the plan, and refused when it is to be swapped: the application is stopped by then. */
  readonly stoppedLater?: boolean
  readonly signal: AbortSignal
}

/**
 * Plans a restore to where the files came from. Reads only. Rejects with `IN_USE` when a live process has a database open
 * and no service is named to stop, or another restore is at work; with `BEYOND_CONFIG`; with `MOUNTED` when a file system
 * is mounted in what would be replaced; with `NO_ROOM` when a file system cannot hold old and new side by side; with
 * `MANIFEST` when the manifest does not bear the signature that the config asks for.
 */
export async function planInPlace(chosen: ChosenSnapshot, options: PlanInPlaceOptions): Promise<InPlacePlan> {
  return new InPlacePlanner(chosen, options).plan()
}

class InPlacePlanner {
  readonly #chosen: ChosenSnapshot
  readonly #manifest: Manifest | undefined
  readonly #options: PlanInPlaceOptions
  readonly #findings: Finding[] = []
  #leftOut: ReadonlyMap<string, Exclusion> | undefined
  #isNamed: (path: string) => boolean = () => true
  /** Entries that belong to a component by themselves. */
  #owned = new Map<string, { readonly component: string; readonly restored: boolean }>()
  #gaps: ReadonlySet<string> = new Set()
  #interrupted: readonly InterruptedRestore[] = []
  readonly #relocation: Relocation

  constructor(chosen: ChosenSnapshot, options: PlanInPlaceOptions) {
    this.#chosen = chosen
    this.#manifest = chosen.manifest
    this.#options = options
    this.#relocation = options.relocation ?? STAY
  }

  #toLive(path: string): string {
    return relocatePath(path, this.#relocation)
  }

  async plan(): Promise<InPlacePlan> {
    const { stored } = this.#chosen
    const { config, signal, hostRoot = '/', stop = [] } = this.#options
    refuseDamagedManifest(this.#chosen)
    await this.#requireSignature()
    if (config) {
      this.#leftOut = await leftOutOf(config)
      this.#isNamed = await namedBy(config, hostRoot)
    }
    const sources = await unitPaths(this.#chosen, this.#options)
    const paths = sources.map((source) => this.#toLive(source))
    refuseSystemFolders(paths)
    this.#owned = this.#ownedEntries()
    this.#gaps = await this.#gapsIn(sources)
    this.#interrupted = await findInterrupted(paths.map((path) => posix.dirname(path)))
    const units: RestoreUnit[] = []
    for (const source of sources) {
      signal.throwIfAborted()
      const unit = await this.#unit(source, units.length)
      if (unit) units.push(unit)
    }
    await this.#requireNamed(units)
    await requireNoMounts(units)
    const live = await this.#liveDatabases(units)
    const databases = [...new Set([...this.#storedDatabases(units), ...live])].sort()
    const inUse = await this.#usersOf(databases)
    await requireSpace(units)
    return {
      snapshot: stored.id,
      time: new Date(Number(stored.snapshot.time.ns / 1_000_000n)).toISOString(),
      app: this.#manifest?.app,
      units,
      files: units.reduce((sum, { files }) => sum + files, 0),
      bytes: units.reduce((sum, { bytes }) => sum + bytes, 0),
      databases,
      configFile: await this.#missingConfig(),
      inUse,
      stop,
      interrupted: this.#interrupted,
      relocation: this.#relocation,
      rewrites: (this.#options.rewrites ?? []).filter(({ path }) => paths.some((unit) => isBelow(path, unit))),
      findings: [...this.#knownGaps(sources), ...this.#findings],
    }
  }

  /** With a signing key configured, only what bears its signature replaces anything. */
  async #requireSignature(): Promise<void> {
    const { config, signal } = this.#options
    if (config && this.#manifest && this.#manifest.app !== config.app) {
      this.#findings.push({
        severity: 'warning',
        code: 'other-application',
        message: `The snapshot is of ${this.#manifest.app}, the config is of ${config.app}`,
      })
    }
    if (config?.sign === undefined) return
    const wrong: Finding[] = []
    const state = await verifyManifestSignature(this.#chosen, config.sign, (finding) => wrong.push(finding), signal)
    if (state === 'valid') await verifyManifest(this.#chosen, (finding) => wrong.push(finding), signal)
    if (state === 'valid' && wrong.length === 0) return
    const [first] = wrong
    if (state === 'valid' || state === 'invalid') {
      throw new OperationError(
        'MANIFEST',
        `Cannot restore in place: ${first?.message ?? 'the manifest has no signature'}`,
        {
          facts: { snapshot: this.#chosen.stored.id, signature: state },
          hint: 'Find out who can write to the repository. With --target the snapshot can be looked at safely',
        },
      )
    }
    const unsigned = { code: 'signature-missing', message: 'The manifest is not signed' }
    this.#findings.push({ ...(first ?? unsigned), severity: 'warning' })
  }

  #ownedEntries() {
    const { components, paths } = this.#options
    const owned = new Map<string, { component: string; restored: boolean }>()
    for (const { name } of this.#manifest?.components ?? []) {
      const restored = paths?.length ? true : components?.length ? components.includes(name) : true
      if (!this.#manifest) continue
      for (const path of outermost(componentRoots(this.#manifest, name))) {
        owned.set(this.#toLive(path), { component: name, restored })
      }
    }
    return owned
  }

  /** What the backup reported as missing from the snapshot: of that the live entries are all there is. */
  async #gapsIn(paths: readonly string[]): Promise<ReadonlySet<string>> {
    const { repository, stored } = this.#chosen
    const gaps = new Set<string>()
    const reported = this.#manifest?.findings.flatMap(({ severity, path }) =>
      severity === 'error' && path ? [path] : [],
    )
    for (const path of new Set(reported)) {
      if (!paths.some((unit) => isBelow(path, unit))) continue
      if (await findNode(repository, stored.snapshot.tree, path, this.#options.signal)) continue
      gaps.add(this.#toLive(path))
      for (const suffix of SIDECAR_SUFFIXES) gaps.add(this.#toLive(path) + suffix)
    }
    return gaps
  }

  /** Undefined when the snapshot holds nothing of it: then what is there stays. */
  async #unit(source: string, index: number): Promise<RestoreUnit | undefined> {
    const { repository, stored } = this.#chosen
    const path = this.#toLive(source)
    const { stamp, signal } = this.#options
    const present = await presence(path)
    const others = [...this.#owned].flatMap(([other, { restored }]) => (restored ? [] : [other]))
    const component = this.#componentOf(path)
    const kept = present === 'folder' ? await this.#keptIn(path, component) : []
    const omitted = outermost([...others.filter((other) => other !== path && isBelow(other, path)), ...kept])
    const isOmitted = (entry: string) => omitted.some((other) => isBelow(entry, other))
    const node = await findNode(repository, stored.snapshot.tree, source, signal)
    const secrets = (this.#manifest?.secrets?.files ?? [])
      .map((secret) => this.#toLive(secret.path))
      .filter((secret) => isBelow(secret, path) && !isOmitted(secret))
    if (!node && secrets.length === 0) {
      if (!this.#gaps.has(path)) this.#findings.push(nothingHeld(path, component))
      return undefined
    }
    const measured = node ? await measure(repository, node, path, isOmitted, signal) : { files: 0, bytes: 0 }
    const folder = posix.dirname(path)
    return {
      path,
      source,
      component,
      present,
      stage: posix.join(folder, `${STAGE_PREFIX}${stamp}-${process.pid}-${index}`),
      before: present === 'nothing' ? undefined : await this.#freeName(beforeName(path, stamp)),
      files: measured.files + secrets.length,
      bytes: measured.bytes,
      secrets,
      kept,
      omitted,
      isDatabase: this.#manifest?.databases.some((database) => database.path === source) ?? false,
      beyondConfig: !this.#isNamed(path),
    }
  }

  /** Also free of what a killed restore's end will leave there, which comes before the swap. */
  async #freeName(path: string): Promise<string> {
    const promised = new Set(
      this.#interrupted.flatMap(({ record }) => (record ? [record.before, `${record.before}-1`] : [])),
    )
    for (let n = 0; ; n++) {
      const name = n === 0 ? path : `${path}-${n}`
      if (!promised.has(name) && (await presence(name)) === 'nothing') return name
    }
  }

  #componentOf(path: string): string | undefined {
    const owners = [...this.#owned].filter(([root]) => isBelow(path, root)).sort(([a], [b]) => b.length - a.length)
    return owners[0]?.[1].component
  }

  async #keptIn(path: string, component: string | undefined): Promise<string[]> {
    const { signal } = this.#options
    const live = await keptEntries(path, {
      component,
      leftOut: this.#leftOut,
      owned: this.#owned,
      gaps: this.#gaps,
      signal,
    })
    // A restore of a path in here may have been killed, too.
    const stages = live.filter((entry) => posix.basename(entry).startsWith(STAGE_PREFIX))
    const known = new Set(this.#interrupted.map(({ stage }) => stage))
    const inside = await findInterrupted(stages.map((stage) => posix.dirname(stage)))
    this.#interrupted = [...this.#interrupted, ...inside.filter(({ stage }) => !known.has(stage))]
    // What a killed restore has not moved over yet will be there when this one begins.
    const pending = this.#interrupted.flatMap(({ record }) => record?.kept ?? [])
    return outermost([...live, ...pending.filter((entry) => isBelow(entry, path))])
  }

  async #requireNamed(units: readonly RestoreUnit[]): Promise<void> {
    const beyond = units.filter(({ beyondConfig }) => beyondConfig).map(({ path }) => path)
    const { beyondConfig, paths, planOnly } = this.#options
    if (beyond.length === 0 || beyondConfig || paths?.length || planOnly) return
    const list = beyond.slice(0, 5).join(', ') + (beyond.length > 5 ? ` and ${beyond.length - 5} more` : '')
    throw new OperationError(
      'BEYOND_CONFIG',
      `Cannot restore in place: the snapshot wants to replace ${list}, which the config does not name`,
      {
        facts: { paths: beyond },
        hint: 'Look at what it holds there; --beyond-config replaces that too, --component or --path leaves it out',
      },
    )
  }

  #storedDatabases(units: readonly RestoreUnit[]): string[] {
    return (this.#manifest?.databases ?? [])
      .map(({ path }) => this.#toLive(path))
      .filter((path) => isReplaced(path, units))
  }

  /** Also those that the snapshot does not know: they go aside with the folder that they lie in. */
  async #liveDatabases(units: readonly RestoreUnit[]): Promise<string[]> {
    const found: string[] = []
    for (const unit of units) {
      if (unit.present !== 'folder' && unit.present !== 'file') continue
      const kept = new Set(unit.kept)
      const excluded = (path: Buffer) => kept.has(path.toString())
      const survey = await surveyFiles(Buffer.from(unit.path), { excluded, signal: this.#options.signal })
      found.push(...survey.databases.map((path) => path.toString()))
    }
    return found
  }

  async #usersOf(databases: readonly string[]): Promise<InPlacePlan['inUse']> {
    const { config, stop, planOnly, stoppedLater } = this.#options
    const { users, complete } = await usersOf(databases)
    const [first] = users
    if (first && !stop?.length && !planOnly && !stoppedLater) {
      throw new OperationError(
        'IN_USE',
        `Cannot replace ${first.path}: process ${first.pid} (${first.command}) has it open`,
        {
          facts: { path: first.path, pid: first.pid, command: first.command },
          hint: `Say which service to stop, for example --stop ${serviceHint(config)}; it is started again afterwards`,
        },
      )
    }
    if (!complete && databases.length > 0) {
      this.#findings.push({
        severity: 'warning',
        code: 'open-files-unseen',
        message: 'Cannot see whether processes of other users have the databases open',
        hint: 'Run the restore as root, or see that the application is stopped',
      })
    }
    return users
  }

  /** Only where the config says that it lies, or would be looked for: the content is the repository's. */
  async #missingConfig(): Promise<string | undefined> {
    const { components, paths, config } = this.#options
    if (!this.#manifest || components?.length || paths?.length) return undefined
    const configFile = this.#toLive(this.#manifest.configFile)
    if (config ? config.file !== configFile : !/\.ya?ml$/.test(configFile)) return undefined
    return (await presence(configFile)) === 'nothing' ? configFile : undefined
  }

  #knownGaps(paths: readonly string[]): Finding[] {
    return (this.#manifest?.findings ?? []).flatMap(({ severity, code, message, path, hint }) => {
      if (severity !== 'error' || path === undefined || !paths.some((unit) => isBelow(path, unit))) return []
      const stays = this.#gaps.has(this.#toLive(path)) ? '; what is there now stays' : ''
      return {
        severity: 'warning',
        code: `snapshot-${code}`,
        message: `The snapshot is incomplete here${stays}: ${message}`,
        path,
        ...(hint === undefined ? {} : { hint }),
      }
    })
  }
}

function nothingHeld(path: string, component: string | undefined): Finding {
  return {
    severity: 'warning',
    code: 'nothing-held',
    path,
    ...(component === undefined ? {} : { component }),
    message: `The snapshot holds nothing of ${path}: what is there now stays`,
    hint: 'An older snapshot may hold it: see `holdfast snapshots`',
  }
}

export function isReplaced(path: string, units: readonly RestoreUnit[]): boolean {
  return units.some((unit) => isBelow(path, unit.path) && !unit.omitted.some((entry) => isBelow(path, entry)))
}

function serviceHint(config: Config | undefined): string {
  const service = config?.service
  return service?.name !== undefined && service.manager !== 'command'
    ? `${service.manager}:${service.name}`
    : 'pm2:NAME or --stop systemd:UNIT'
}

async function measure(
  repository: IndexedRepository,
  node: TreeNode,
  path: string,
  isOmitted: (path: string) => boolean,
  signal: AbortSignal,
): Promise<{ files: number; bytes: number }> {
  const total = { files: 0, bytes: 0 }
  const todo = [{ node, path }]
  for (let next = todo.pop(); next; next = todo.pop()) {
    signal.throwIfAborted()
    if (isOmitted(next.path)) continue
    if (next.node.type !== 'dir') {
      total.files += 1
      total.bytes += next.node.size
    } else if (next.node.subtree !== undefined) {
      for (const child of await readTree(repository, next.node.subtree, signal)) {
        todo.push({ node: child, path: `${next.path}/${child.name}` })
      }
    }
  }
  return total
}

export async function presence(path: string): Promise<RestoreUnit['present']> {
  try {
    const stats = await lstat(path)
    return stats.isDirectory() ? 'folder' : stats.isFile() ? 'file' : 'other'
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'nothing'
    throw error
  }
}

/** Who has the databases open now; `complete` unless some processes could not be looked at. */
export async function usersOf(databases: readonly string[]) {
  const users: { path: string; pid: number; command: string }[] = []
  let complete = true
  for (const path of databases) {
    if ((await presence(path)) === 'nothing') continue
    const open = await whoHasOpen(path)
    complete &&= open.complete
    for (const { pid, command } of open.processes) users.push({ path, pid, command })
  }
  return { users, complete }
}

/** A mount point cannot change places, and what is mounted in a folder would go aside with it. */
async function requireNoMounts(units: readonly RestoreUnit[]): Promise<void> {
  const mounts = await mountPoints()
  for (const { path } of units) {
    const mounted = mounts.find((mount) => isBelow(mount, path))
    if (mounted === undefined) continue
    throw new OperationError('MOUNTED', `Cannot replace ${path} in place: a file system is mounted at ${mounted}`, {
      facts: { path, mounted },
      hint: 'Restore to a folder on it with --target and move what is in there, or name paths in it with --path',
    })
  }
}

/** proc(5), `mountinfo`: the fifth field, with space, tab, newline and backslash in octal. */
async function mountPoints(): Promise<string[]> {
  const text = await readFile('/proc/self/mountinfo', 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '' // not Linux, or no /proc: then the swap itself fails, and is undone
    throw error
  })
  return text.split('\n').flatMap((line) => {
    const field = line.split(' ')[4]
    if (field === undefined) return []
    return [field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))]
  })
}

export interface SpaceNeed {
  /** A folder on the file system. */
  readonly path: string
  readonly needed: number
  /** Infinite on a file system that does not count. */
  readonly free: number
}

/** By file system: what is staged beside the live files, and the room there is. */
export async function spaceNeeds(units: readonly Pick<RestoreUnit, 'path' | 'bytes'>[]): Promise<SpaceNeed[]> {
  const needs = new Map<number, { path: string; needed: number; free: number }>()
  for (const unit of units) {
    const folder = await existingParent(unit.path)
    const { dev } = await lstat(folder)
    const { bavail, bsize, blocks } = await statfs(folder)
    const free = blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize
    const entry = needs.get(dev) ?? { path: folder, needed: 0, free }
    entry.needed += unit.bytes
    needs.set(dev, entry)
  }
  return [...needs.values()]
}

async function requireSpace(units: readonly RestoreUnit[]): Promise<void> {
  for (const { needed, free, path } of await spaceNeeds(units)) {
    if (needed <= free) continue
    throw new OperationError(
      'NO_ROOM',
      `Cannot restore in place: ${needed} bytes are needed beside the live files at ${path}, ${free} are free`,
      {
        facts: { path, needed, free },
        hint: 'Free some room, or restore a single component with --component',
      },
    )
  }
}

async function existingParent(path: string): Promise<string> {
  const parent = posix.dirname(path)
  return (await presence(parent)) === 'nothing' ? existingParent(parent) : parent
}
