import { parseNodeBytes } from '../format/tree.ts'
import type { TreeNode } from '../format/tree-node.ts'

/**
 * A node of the snapshot that is being made, as it will stand in the tree of its folder: a few hundred bytes, where an
 * object with all of its facts takes more than a thousand.
 */
export class EncodedNode {
  /** `latin1` text of the bytes of the name: it sorts as they do. */
  readonly name: string
  /** Shared with the tree of the parent snapshot, when the node stands there in the same words. */
  readonly #bytes: Buffer
  readonly #start: number
  readonly #end: number

  constructor(name: string, bytes: Buffer, start = 0, end: number = bytes.length) {
    this.name = name
    this.#bytes = bytes
    this.#start = start
    this.#end = end
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(this.#start, this.#end)
  }

  get node(): TreeNode {
    return parseNodeBytes(this.bytes)
  }

  /** Where the node ends in this tree, when it stands there and begins at this place; otherwise -1. */
  endIn(tree: Buffer, start: number): number {
    return this.#bytes === tree && this.#start === start ? this.#end : -1
  }
}
