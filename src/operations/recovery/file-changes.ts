import { lstat, readdir, readlink } from 'node:fs/promises'
import { posix } from 'node:path'
import { permissions } from '../../engine/format/mode.ts'
import type { TreeNode } from '../../engine/format/tree-node.ts'
import { ownerHere } from '../../engine/os/accounts.ts'
import { readTree } from '../../engine/repository/read-blob.ts'
import type { IndexedRepository } from '../../engine/repository/repository.ts'
import { presence, type RestoreUnit } from '../restore/plan-in-place.ts'
import { type Relocation, relocateOwner } from '../restore/relocation.ts'
import { isBelow } from '../restore/restore-to-target.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { findNode } from '../snapshot-files.ts'

export type FileChange = 'created' | 'changed' | 'unchanged' | 'removed'

export interface ListedChange {
  readonly path: string
  readonly change: Exclude<FileChange, 'unchanged'>
  readonly isFolder: boolean
}

export type ChangeCounts = Readonly<Record<FileChange, number>>

/**
 * What a restore in place does to files and folders. `unchanged`: content, mode and owner are the same, as far as size and time
 * tell. `removed`: moved aside with the folder.
 */
export interface FileChanges {
  /** Of all but folders. */
  readonly counts: ChangeCounts
  readonly folderCounts: ChangeCounts
  /** Those that are not `unchanged`, the first of them; sorted. */
  readonly list: readonly ListedChange[]
  /** How many more there are. */
  readonly leftOut: number
}

export interface FileChangesOptions {
  readonly relocation: Relocation
  /** Folders that are made on the way to what is restored; those that are found to be missing are added. */
  readonly made: Set<string>
  readonly signal: AbortSignal
}

/** A plan is held in memory: some 50 MB. */
const LISTED = 250_000

/** Compares the units of a plan with what is there. Reads no content. */
export async function fileChanges(
  chosen: ChosenSnapshot,
  units: readonly RestoreUnit[],
  options: FileChangesOptions,
): Promise<FileChanges> {
  const comparison = new Comparison(chosen, options)
  for (const unit of units) await comparison.add(unit)
  return comparison.result()
}

/** Folders on the way to a path that are not there, outermost first. */
export async function missingParents(path: string): Promise<string[]> {
  const missing: string[] = []
  for (let at = posix.dirname(path); (await presence(at)) === 'nothing'; at = posix.dirname(at)) missing.unshift(at)
  return missing
}

class Comparison {
  readonly #chosen: ChosenSnapshot
  readonly #options: FileChangesOptions
  readonly #counts = { created: 0, changed: 0, unchanged: 0, removed: 0 }
  readonly #folderCounts = { created: 0, changed: 0, unchanged: 0, removed: 0 }
  readonly #list: ListedChange[] = []
  #leftOut = 0

  constructor(chosen: ChosenSnapshot, options: FileChangesOptions) {
    this.#chosen = chosen
    this.#options = options
  }

  result(): FileChanges {
    const list = this.#list.toSorted((a, b) => (a.path < b.path ? -1 : 1))
    return { counts: this.#counts, folderCounts: this.#folderCounts, list, leftOut: this.#leftOut }
  }

  async add(unit: RestoreUnit): Promise<void> {
    const { made, signal } = this.#options
    const { repository, stored } = this.#chosen
    for (const folder of await missingParents(unit.path)) {
      if (made.has(folder)) continue
      made.add(folder)
      this.#note(folder, 'created', true)
    }
    const secrets = new Set(unit.secrets)
    const node = await findNode(repository, stored.snapshot.tree, unit.source, signal)
    await this.#addSecrets(unit)
    const isOmitted = (path: string) => [...unit.omitted, ...unit.kept].some((entry) => isBelow(path, entry))
    const todo = [{ path: unit.path, node }]
    for (let next = todo.pop(); next; next = todo.pop()) {
      signal.throwIfAborted()
      const { path, node: wanted } = next
      if (isOmitted(path)) continue
      const live = await lstatOf(path)
      if (wanted !== undefined) this.#note(path, await this.#changeOf(path, wanted, live), wanted.type === 'dir')
      else if (live !== undefined && !secrets.has(path) && !holdsSecret(path, unit))
        this.#note(path, 'removed', live.isDirectory())
      const children = await childrenOf(repository, wanted, signal)
      if (live?.isDirectory()) {
        for (const name of await readdir(path)) if (!children.has(name)) children.set(name, undefined)
      }
      for (const [name, child] of children) todo.push({ path: `${path}/${name}`, node: child })
    }
  }

  /** What is in a sealed one is not known, nor its mode; a folder among them is known by what lies in it. */
  async #addSecrets(unit: RestoreUnit): Promise<void> {
    const { repository, stored } = this.#chosen
    const { made, signal } = this.#options
    for (const path of unit.secrets) {
      const live = await lstatOf(path)
      const isFolder = live?.isDirectory() === true || unit.secrets.some((other) => other.startsWith(`${path}/`))
      if (!made.has(path)) this.#note(path, live === undefined ? 'created' : 'changed', isFolder)
      if (isFolder) made.add(path)
      for (const folder of await missingParents(path)) {
        if (!isBelow(folder, unit.path) || made.has(folder)) continue
        const source = unit.source + folder.slice(unit.path.length)
        if ((await findNode(repository, stored.snapshot.tree, source, signal)) !== undefined) continue
        made.add(folder)
        this.#note(folder, 'created', true)
      }
    }
  }

  #note(path: string, change: FileChange, isFolder: boolean): void {
    const counts = isFolder ? this.#folderCounts : this.#counts
    counts[change] += 1
    if (change === 'unchanged') return
    if (this.#list.length < LISTED) this.#list.push({ path, change, isFolder })
    else this.#leftOut += 1
  }

  async #changeOf(path: string, node: TreeNode, live: LiveStats): Promise<FileChange> {
    if (live === undefined) return 'created'
    if (!this.#hasOwner(node, live)) return 'changed'
    if (live.isSymbolicLink() && node.type === 'symlink') {
      const target = await readlink(path, { encoding: 'buffer' })
      return node.linkTarget?.equals(target) ? 'unchanged' : 'changed'
    }
    const isSameMode = Number(live.mode & 0o7777n) === permissions(node.mode)
    if (live.isDirectory() && node.type === 'dir') return isSameMode ? 'unchanged' : 'changed'
    const same =
      live.isFile() && node.type === 'file' && live.size === BigInt(node.size) && live.mtimeNs === node.mtime.ns
    return same && isSameMode ? 'unchanged' : 'changed'
  }

  /** Only root gives files to others. */
  #hasOwner(node: TreeNode, live: NonNullable<LiveStats>): boolean {
    if (process.geteuid?.() !== 0) return true
    const { uid, gid } = ownerHere(node, { renamed: relocateOwner(this.#options.relocation) })
    return live.uid === BigInt(uid) && live.gid === BigInt(gid)
  }
}

/** A folder on the way to a secret comes back with it. */
function holdsSecret(path: string, { secrets }: RestoreUnit): boolean {
  return secrets.some((secret) => isBelow(secret, path))
}

async function childrenOf(repository: IndexedRepository, node: TreeNode | undefined, signal: AbortSignal) {
  const children = new Map<string, TreeNode | undefined>()
  if (node?.subtree === undefined) return children
  for (const child of await readTree(repository, node.subtree, signal)) children.set(String(child.name), child)
  return children
}

type LiveStats = Awaited<ReturnType<typeof lstatOf>>

async function lstatOf(path: string) {
  return lstat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
    throw error
  })
}
