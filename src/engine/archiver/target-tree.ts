import { posix } from 'node:path'
import { EngineError } from '../error.ts'

/**
 * Which folder of a snapshot holds which target. Restic's rules (format reference 8.2): an absolute target lies at its
 * absolute path, a relative one at its relative path without leading `..`; two relative targets that would meet under
 * one name from different folders are told apart by `-1`, `-2`…
 */
export interface TargetFolder {
  /** Folders and targets by name, `latin1` text of the bytes. */
  readonly entries: Map<string, TargetEntry>
}

/**
 * `target`: archived with all below it; `expanded`: likewise, but nobody named it, so that rules may leave it out;
 * `folder`: on the way to targets. Targets inside a target are kept as its entries: they are wanted even where a rule
 * leaves that part of the outer one out.
 */
export interface TargetEntry extends TargetFolder {
  readonly kind: 'target' | 'expanded' | 'folder'
  readonly path: Buffer
  /** The folder that the first component of the place was taken from. */
  readonly origin: string
}

interface Placement {
  readonly kind: 'target' | 'expanded'
  readonly names: readonly string[]
  /** Where each of the names lies on disk. */
  readonly paths: readonly string[]
  readonly origin: string
}

/**
 * `expand` lists a folder's names; needed for `/`, `.` and `..`, whose entries become targets at the root.
 * Throws `SOURCE` for a path that no file can have, and when nothing is left to archive.
 */
export function targetTree(targets: readonly Buffer[], expand: (folder: Buffer) => readonly Buffer[]): TargetFolder {
  const root: TargetFolder = { entries: new Map() }
  for (const target of targets) {
    for (const placement of placements(target, expand)) insert(root, placement)
  }
  if (root.entries.size === 0) {
    throw new EngineError('SOURCE', 'Nothing to back up: no target holds anything', {
      hint: 'Name at least one file or folder that exists',
    })
  }
  return root
}

function placements(target: Buffer, expand: (folder: Buffer) => readonly Buffer[]): Placement[] {
  assertPath(target)
  const path = clean(target.toString('latin1'))
  if (path !== '/' && path !== '.' && path.split('/').some((part) => part !== '..')) return [place(path, 'target')]
  return expand(Buffer.from(path, 'latin1')).map((name) => place(posix.join(path, name.toString('latin1')), 'expanded'))
}

function assertPath(target: Buffer): void {
  // An empty path is most often a shell variable that was never set; taken for `.` it would back up something else.
  const defect = target.length === 0 ? 'it is empty' : target.includes(0) ? 'it holds a NUL byte' : undefined
  if (defect === undefined) return
  throw new EngineError('SOURCE', `Cannot back up ${JSON.stringify(target.toString())}: ${defect}`, {
    facts: { path: target.toString() },
    hint: 'Name files and folders by their paths; `.` is the current folder',
  })
}

/** Without empty and `.` parts and without `x/..`; on `latin1` text, so that no byte is lost. */
function clean(path: string): string {
  const normal = posix.normalize(path)
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal
}

function place(path: string, kind: Placement['kind']): Placement {
  const parts = path.split('/').filter((part) => part !== '')
  const firstName = parts.findIndex((part) => part !== '..')
  const names = parts.slice(firstName)
  const origin = path.startsWith('/') ? '/' : parts.slice(0, firstName).join('/') || '.'
  return { kind, names, paths: names.map((_, i) => posix.join(origin, ...names.slice(0, i + 1))), origin }
}

function insert(root: TargetFolder, { kind, names, paths, origin }: Placement): void {
  let folder = root
  for (const [depth, name] of names.entries()) {
    const path = Buffer.from(paths[depth]!, 'latin1')
    const key = depth === 0 ? freeName(root, name, origin) : name
    const present = folder.entries.get(key)
    const entry: TargetEntry = {
      kind: strongest(present?.kind, depth === names.length - 1 ? kind : 'folder'),
      path,
      origin,
      entries: present?.entries ?? new Map(),
    }
    folder.entries.set(key, entry)
    folder = entry
  }
}

/** A folder that was named stays so, whatever else leads through it. */
function strongest(present: TargetEntry['kind'] | undefined, added: TargetEntry['kind']): TargetEntry['kind'] {
  return (['target', 'expanded'] as const).find((kind) => kind === present || kind === added) ?? 'folder'
}

function freeName(root: TargetFolder, name: string, origin: string): string {
  for (let n = 0; ; n++) {
    const candidate = n === 0 ? name : `${name}-${n}`
    const present = root.entries.get(candidate)
    if (!present || present.origin === origin) return candidate
  }
}
