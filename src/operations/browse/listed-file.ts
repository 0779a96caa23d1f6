import type { TreeNode } from '../../engine/format/tree-node.ts'

export interface ListedFile {
  /** Absolute in the snapshot, raw bytes. */
  readonly path: Buffer
  readonly node: TreeNode
}
