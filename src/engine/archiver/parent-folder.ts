import { EngineError } from '../error.ts'
import type { BlobId } from '../format/id.ts'
import { type FittingNode, type NodeFacts, TreeCursor } from '../format/tree-cursor.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { TREE_CLOSING, TREE_OPENING } from '../format/tree-text.ts'
import type { EncodedNode } from './encoded-node.ts'

/** Such a tree of the parent snapshot is as good as none: what it might have spared is read again. */
export function isDamagedTree(error: unknown): boolean {
  return error instanceof EngineError && (error.code === 'CORRUPT' || error.code === 'NOT_FOUND')
}

/** A folder of the parent snapshot. Entries are asked for in the order of their names. */
export class ParentFolder {
  readonly id: BlobId
  readonly tree: Buffer
  #cursor: TreeCursor | undefined

  /** Throws `CORRUPT`. */
  constructor(id: BlobId, tree: Buffer) {
    this.id = id
    this.tree = tree
    this.#cursor = new TreeCursor(tree)
  }

  /** `name` is `latin1` text of its bytes. What is returned is of use until the next call. */
  entry(name: string): ParentEntry | undefined {
    if (this.#cursor === undefined) return undefined
    try {
      return this.#cursor.seek(name) ? new ParentEntry(this.#cursor, name) : undefined
    } catch (error) {
      if (!isDamagedTree(error)) throw error
      this.#cursor = undefined
      return undefined
    }
  }

  /** As `entry`, in any order; goes through the tree from the beginning. */
  entryOutOfOrder(name: string): ParentEntry | undefined {
    return new ParentFolder(this.id, this.tree).entry(name)
  }

  /** Whether these are its nodes, all of them, as they stand there. */
  consistsOf(nodes: readonly EncodedNode[]): boolean {
    let at = TREE_OPENING.length
    for (const [i, node] of nodes.entries()) {
      const end = node.endIn(this.tree, i === 0 ? at : at + 1)
      if (end < 0) return false
      at = end
    }
    return at === this.tree.length - TREE_CLOSING.length
  }
}

/** What the parent snapshot holds at a path; read only as far as it is needed. */
export class ParentEntry {
  readonly #cursor: TreeCursor
  /** `latin1` text of its bytes. */
  readonly name: string

  /** The cursor stands at the node of that name. */
  constructor(cursor: TreeCursor, name: string) {
    this.#cursor = cursor
    this.name = name
  }

  get tree(): Buffer {
    return this.#cursor.bytes
  }

  /** Undefined when the tree turns out to be damaged. */
  get node(): TreeNode | undefined {
    try {
      return this.#cursor.node(this.name)
    } catch (error) {
      if (!isDamagedTree(error)) throw error
      return undefined
    }
  }

  /** As `TreeCursor.fitting`. */
  fitting(facts: NodeFacts, isStored: (bytes: Buffer, at: number) => boolean): FittingNode | undefined {
    return this.#cursor.fitting(this.name, facts, isStored)
  }
}
