import type { BlobId } from '../../src/engine/format/id.ts'
import { goMode } from '../../src/engine/format/mode.ts'
import { encodeTree } from '../../src/engine/format/tree.ts'
import type { NodeType, TreeNode } from '../../src/engine/format/tree-node.ts'

const TYPE_BITS: Readonly<Record<NodeType, number>> = {
  file: 0o100000,
  dir: 0o040000,
  symlink: 0o120000,
  dev: 0o060000,
  chardev: 0o020000,
  fifo: 0o010000,
  socket: 0o140000,
}

const TIME = { ns: 1_234_567_890_123_456_789n, offset: 0 }

/** An ordinary node of the calling user's, but for the changes. */
export function treeNode(name: string | Buffer, type: NodeType, changes: Partial<TreeNode> = {}): TreeNode {
  return {
    name: Buffer.from(name),
    type,
    mode: goMode(TYPE_BITS[type] | (type === 'dir' ? 0o755 : 0o644)),
    mtime: TIME,
    atime: TIME,
    ctime: TIME,
    uid: process.getuid!(),
    gid: process.getgid!(),
    user: '',
    group: '',
    inode: 0n,
    deviceId: 0n,
    size: 0,
    links: 1,
    linkTarget: undefined,
    extendedAttributes: [],
    genericAttributes: undefined,
    device: 0n,
    content: undefined,
    subtree: undefined,
    ...changes,
  }
}

export function folderNode(name: string | Buffer, subtree: BlobId, changes: Partial<TreeNode> = {}): TreeNode {
  return treeNode(name, 'dir', { subtree, ...changes })
}

/** The bytes of a tree that no honest program would write: names in any order, also twice. */
export function uncheckedTree(nodes: readonly TreeNode[]): Buffer {
  const single = (node: TreeNode) => encodeTree([node]).toString().slice('{"nodes":['.length, -']}\n'.length)
  return Buffer.from(`{"nodes":[${nodes.map(single).join(',')}]}\n`)
}
