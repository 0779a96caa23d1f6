import { lstat, readdir, readlink } from 'node:fs/promises'
import type { TreeNode } from '../../engine/format/tree.ts'
import { readTree } from '../../engine/repository/read-blob.ts'
import type { IndexedRepository } from '../../engine/repository/repository.ts'
import type { RestoreUnit } from '../restore/plan-in-place.ts'
import { isBelow } from '../restore/restore-to-target.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { findNode } from '../snapshot-files.ts'

export type FileChange = 'created' | 'changed' | 'unchanged' | 'removed'

/** What a restore in place does to files; of `unchanged` ones content and mode are the same, as far as size and time tell. */
export interface FileChanges {
  readonly counts: Readonly<Record<FileChange, number>>
  /** Those that are not `unchanged`, the first of them; sorted. `removed`: moved aside with the folder. */
  readonly list: readonly { readonly path: string; readonly change: Exclude<FileChange, 'unchanged'> }[]
  /** How many more there are. */
  readonly leftOut: number
}

/** A plan is read by somebody, and held in memory. */
const LISTED = 10_000

/** Compares the units of a plan with what is there. Reads no content. */
export async function fileChanges(
  chosen: ChosenSnapshot,
  units: readonly RestoreUnit[],
  signal: AbortSignal,
): Promise<FileChanges> {
  const counts = { created: 0, changed: 0, unchanged: 0, removed: 0 }
  const list: { path: string; change: Exclude<FileChange, 'unchanged'> }[] = []
  let leftOut = 0
  const note = (path: string, change: FileChange) => {
    counts[change] += 1
    if (change === 'unchanged') return
    if (list.length < LISTED) list.push({ path, change })
    else leftOut += 1
  }
  for (const unit of units) await compareUnit(chosen, unit, note, signal)
  list.sort((a, b) => (a.path < b.path ? -1 : 1))
  return { counts, list, leftOut }
}

async function compareUnit(
  { repository, stored }: ChosenSnapshot,
  unit: RestoreUnit,
  note: (path: string, change: FileChange) => void,
  signal: AbortSignal,
): Promise<void> {
  for (const path of unit.secrets) note(path, (await lstatOf(path)) === undefined ? 'created' : 'changed')
  const isOmitted = (path: string) => [...unit.omitted, ...unit.kept].some((entry) => isBelow(path, entry))
  const secrets = new Set(unit.secrets)
  const node = await findNode(repository, stored.snapshot.tree, unit.source, signal)
  const todo = [{ path: unit.path, node }]
  for (let next = todo.pop(); next; next = todo.pop()) {
    signal.throwIfAborted()
    const { path, node: wanted } = next
    if (isOmitted(path)) continue
    const live = await lstatOf(path)
    if (wanted !== undefined && wanted.type !== 'dir') note(path, await changeOf(path, wanted, live))
    else if (wanted === undefined && live !== undefined && !live.isDirectory() && !secrets.has(path))
      note(path, 'removed')
    const children = await childrenOf(repository, wanted, signal)
    if (live?.isDirectory()) {
      for (const name of await readdir(path)) if (!children.has(name)) children.set(name, undefined)
    }
    for (const [name, child] of children) todo.push({ path: `${path}/${name}`, node: child })
  }
}

async function childrenOf(repository: IndexedRepository, node: TreeNode | undefined, signal: AbortSignal) {
  const children = new Map<string, TreeNode | undefined>()
  if (node?.subtree === undefined) return children
  for (const child of await readTree(repository, node.subtree, signal)) children.set(String(child.name), child)
  return children
}

type LiveStats = Awaited<ReturnType<typeof lstatOf>>

async function changeOf(path: string, node: TreeNode, live: LiveStats): Promise<FileChange> {
  if (live === undefined) return 'created'
  if (live.isSymbolicLink() && node.type === 'symlink') {
    const target = await readlink(path, { encoding: 'buffer' })
    return node.linkTarget?.equals(target) ? 'unchanged' : 'changed'
  }
  const same =
    live.isFile() && node.type === 'file' && live.size === BigInt(node.size) && live.mtimeNs === node.mtime.ns
  return same ? 'unchanged' : 'changed'
}

async function lstatOf(path: string) {
  return lstat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
    throw error
  })
}
