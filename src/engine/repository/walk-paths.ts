import type { EngineError } from '../error.ts'
import type { BlobId } from '../format/id.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { isFileProblem } from './file-problem.ts'
import { readTree } from './read-blob.ts'
import type { IndexedRepository } from './repository.ts'

/** A folder on the way. Paths are put together only when somebody asks, so that deep trees cost no more than their depth. */
export interface WalkedFolder<State> {
  readonly tree: BlobId
  /** Undefined for the folder that the walk began with. */
  readonly node: TreeNode | undefined
  readonly parent: WalkedFolder<State> | undefined
  /** What the visitor handed down to it. */
  readonly state: State
}

export interface PathVisitor<State> {
  /** Called for every entry of a folder, in the folder's order. For a folder it answers `{ state }` to go into it. */
  node(
    node: TreeNode,
    folder: WalkedFolder<State>,
  ): { readonly state: State } | undefined | Promise<{ readonly state: State } | undefined>
  /** After the last entry of a folder that was gone into; also of the first one. */
  leave?(folder: WalkedFolder<State>): void
  /** A folder that cannot be read is passed by. Without this it rejects. */
  unreadable?(folder: WalkedFolder<State>, error: EngineError): void
}

/**
 * Goes through a tree depth first, a folder before what is in it. Memory is that of the folders on the way. Names are handed on as
 * they are: whoever makes paths of them that mean something outside judges them.
 */
export async function walkPaths<State>(
  repository: IndexedRepository,
  tree: BlobId,
  state: State,
  visitor: PathVisitor<State>,
  signal?: AbortSignal,
): Promise<void> {
  const way: { readonly folder: WalkedFolder<State>; readonly nodes: readonly TreeNode[]; next: number }[] = []
  const enter = async (folder: WalkedFolder<State>) => {
    signal?.throwIfAborted()
    let nodes: readonly TreeNode[]
    try {
      nodes = await readTree(repository, folder.tree, signal)
    } catch (error) {
      if (!visitor.unreadable || !isFileProblem(error)) throw error
      visitor.unreadable(folder, error)
      nodes = []
    }
    way.push({ folder, nodes, next: 0 })
  }
  await enter({ tree, node: undefined, parent: undefined, state })
  for (let level = way.at(-1); level !== undefined; level = way.at(-1)) {
    const node = level.nodes[level.next++]
    if (node === undefined) {
      way.pop()
      visitor.leave?.(level.folder)
      continue
    }
    const answer = visitor.node(node, level.folder)
    const into = answer instanceof Promise ? await answer : answer
    if (into !== undefined && node.type === 'dir' && node.subtree !== undefined) {
      await enter({ tree: node.subtree, node, parent: level.folder, state: into.state })
    }
  }
}

const SLASH = Buffer.from('/')

/** Absolute from where the walk began, raw bytes. Of the first folder itself it is `/`. */
export function pathIn(folder: WalkedFolder<unknown>, name?: Buffer): Buffer {
  const parts: Buffer[] = name === undefined ? [] : [name, SLASH]
  for (let at: WalkedFolder<unknown> | undefined = folder; at?.node !== undefined; at = at.parent) {
    parts.push(at.node.name, SLASH)
  }
  return parts.length === 0 ? SLASH : Buffer.concat(parts.reverse())
}
