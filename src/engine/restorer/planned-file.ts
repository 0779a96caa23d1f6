import type { BlobId } from '../format/id.ts'
import type { TreeNode } from '../format/tree-node.ts'
import type { ExpectedContent } from './compare-content.ts'

/** One entry to bring back, with all below it, and where to. The destination's own folder exists. */
export interface RestoreItem {
  readonly node: TreeNode
  readonly destination: Buffer
}

/** A regular file whose content has to come from blobs. */
export class PlannedFile {
  readonly node: TreeNode
  readonly destination: Buffer
  readonly content: readonly BlobId[]
  /** Of each blob of the content, as the index says. */
  readonly lengths: Uint32Array
  /** Makes its temporary name. */
  readonly number: number
  state: 'planned' | 'done' | 'failed' = 'planned'
  /** What stands in its place is to be compared before anything is written. */
  readonly compares: boolean
  /** Something may be there under the temporary name. */
  isTouched = false
  /** By blob, 1: it is in the temporary file already, taken from what stands in its place. */
  kept: Uint8Array | undefined
  /** Pieces that are not written yet. */
  left = 0

  constructor(
    { node, destination }: RestoreItem,
    content: readonly BlobId[],
    lengths: Uint32Array,
    number: number,
    compares: boolean,
  ) {
    this.node = node
    this.destination = destination
    this.content = content
    this.lengths = lengths
    this.number = number
    this.compares = compares
  }

  get expected(): ExpectedContent {
    const ids = Buffer.alloc(32 * this.content.length)
    for (const [i, id] of this.content.entries()) ids.write(id, 32 * i, 'hex')
    return { path: this.destination, ids, lengths: this.lengths }
  }
}
