import type { BlobId } from '../format/id.ts'
import { goMode } from '../format/mode.ts'
import type { Timestamp } from '../format/timestamp.ts'
import type { TreeNode } from '../format/tree-node.ts'

const S_IFREG = 0o100000
const S_IFDIR = 0o040000

const NOTHING = {
  user: '',
  group: '',
  inode: 0n,
  deviceId: 0n,
  links: 0,
  linkTarget: undefined,
  extendedAttributes: [],
  genericAttributes: undefined,
  device: 0n,
} as const

/** Its owner is who makes the snapshot, as in restic's backups of stdin: whoever it is may restore it. */
function owner(): { uid: number; gid: number } {
  return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
}

/** A node of a file that lies on no disk: mode 0600, without inode and links (format reference 7.2, stdin backups). */
export function virtualFile(
  name: string,
  time: Timestamp,
  stored: { readonly content: readonly BlobId[]; readonly size: number },
): TreeNode {
  return {
    ...NOTHING,
    ...owner(),
    name: Buffer.from(name),
    type: 'file',
    mode: goMode(S_IFREG | 0o600),
    mtime: time,
    atime: time,
    ctime: time,
    subtree: undefined,
    content: stored.content,
    size: stored.size,
  }
}

/** A node of a folder that lies on no disk: mode 0700. */
export function virtualFolder(name: string, time: Timestamp, subtree: BlobId): TreeNode {
  return {
    ...NOTHING,
    ...owner(),
    name: Buffer.from(name),
    type: 'dir',
    mode: goMode(S_IFDIR | 0o700),
    mtime: time,
    atime: time,
    ctime: time,
    subtree,
    content: undefined,
    size: 0,
  }
}
