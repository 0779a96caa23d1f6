import type { BlobId } from './id.ts'
import type { Timestamp } from './timestamp.ts'

export const NODE_TYPES = ['file', 'dir', 'symlink', 'dev', 'chardev', 'fifo', 'socket'] as const
export type NodeType = (typeof NODE_TYPES)[number]

export interface ExtendedAttribute {
  readonly name: string
  readonly value: Buffer
}

/** One entry of a directory. Zeros, empty texts and `undefined` stand for what the JSON leaves out. */
export interface TreeNode {
  /** The raw bytes of the name, any bytes: whether they may be a name at all is for who restores them to judge. */
  readonly name: Buffer
  readonly type: NodeType
  /** Mode bits of Go, unsigned; see `mode.ts`. */
  readonly mode: number
  readonly mtime: Timestamp
  readonly atime: Timestamp
  readonly ctime: Timestamp
  readonly uid: number
  readonly gid: number
  readonly user: string
  readonly group: string
  readonly inode: bigint
  /** The device that holds the node (`st_dev`). */
  readonly deviceId: bigint
  /** Bytes of content; of files only. */
  readonly size: number
  readonly links: number
  readonly linkTarget: Buffer | undefined
  /** In the order of the operating system: sorting would change the ID of the tree. */
  readonly extendedAttributes: readonly ExtendedAttribute[]
  /** Attributes of other systems than Unix: the JSON object as it stands in the tree. */
  readonly genericAttributes: string | undefined
  /** The device that the node is (`st_rdev`). */
  readonly device: bigint
  /** The data blobs of a file in order; `undefined` for everything else, and in damaged trees for a file. */
  readonly content: readonly BlobId[] | undefined
  /** The tree blob of a directory; `undefined` for everything else, and in damaged trees for a directory. */
  readonly subtree: BlobId | undefined
}
