import { type NodeBytes, parseNodeBytes } from '../format/tree.ts'
import type { NodeFacts } from '../format/tree-cursor.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { type Content, nodeRoom, writeNode } from '../format/write-node.ts'

/** Nodes that are written one after the other share memory: a buffer of its own costs each of them more than its bytes. */
const SHARED_BYTES = 64 * 1024

/**
 * A node of the snapshot that is being made, as it will stand in the tree of its folder: a few hundred bytes, where an
 * object with all of its facts takes more than a thousand.
 */
export class EncodedNode implements NodeBytes {
  /** `latin1` text of the bytes of the name: it sorts as they do. */
  readonly name: string
  /** Shared with the tree of the parent snapshot, when the node stands there in the same words, or with other nodes. */
  readonly #bytes: Buffer
  readonly #start: number
  readonly #end: number

  constructor(name: string, bytes: Buffer, start = 0, end: number = bytes.length) {
    this.name = name
    this.#bytes = bytes
    this.#start = start
    this.#end = end
  }

  get length(): number {
    return this.#end - this.#start
  }

  get node(): TreeNode {
    return parseNodeBytes(this.#bytes.subarray(this.#start, this.#end))
  }

  copyTo(target: Buffer, at: number): void {
    this.#bytes.copy(target, at, this.#start, this.#end)
  }

  /** Where the node ends in this tree, when it stands there and begins at this place; otherwise -1. */
  endIn(tree: Buffer, start: number): number {
    return this.#bytes === tree && this.#start === start ? this.#end : -1
  }
}

/** Encodes nodes from what is known of entries. */
export class NodeWriter {
  #bytes: Buffer = Buffer.alloc(0)
  #end = 0

  write(name: Buffer, facts: NodeFacts, content: Content): EncodedNode {
    const room = nodeRoom(name, facts, content)
    if (this.#bytes.length - this.#end < room) {
      this.#bytes = Buffer.allocUnsafeSlow(Math.max(room, SHARED_BYTES))
      this.#end = 0
    }
    const start = this.#end
    this.#end = writeNode(this.#bytes, start, name, facts, content)
    return new EncodedNode(name.toString('latin1'), this.#bytes, start, this.#end)
  }
}
