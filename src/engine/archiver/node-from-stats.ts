import { readlinkSync } from 'node:fs'
import { goMode } from '../format/mode.ts'
import { localTimestamp } from '../format/timestamp.ts'
import type { ExtendedAttribute, NodeType, TreeNode } from '../format/tree-node.ts'
import { groupName, userName } from '../os/accounts.ts'
import type { EntryStats } from '../os/entry-stats.ts'

/** By the `S_IFMT` part of `st_mode`, inode(7). */
export function nodeType({ mode }: Pick<EntryStats, 'mode'>): NodeType {
  switch (mode & 0o170000) {
    case 0o100000:
      return 'file'
    case 0o040000:
      return 'dir'
    case 0o120000:
      return 'symlink'
    case 0o060000:
      return 'dev'
    case 0o020000:
      return 'chardev'
    case 0o010000:
      return 'fifo'
    default:
      return 'socket'
  }
}

/**
 * A node of everything but content, as restic writes it (format reference 7.2): access time equal to modification time,
 * links only where the type has them, device only for devices. Reads where a symbolic link points to; throws the
 * system's own error when it cannot.
 */
export function nodeFromStats(
  path: Buffer,
  name: Buffer,
  stats: EntryStats,
  extendedAttributes: readonly ExtendedAttribute[],
): TreeNode {
  const type = nodeType(stats)
  const mtime = localTimestamp(stats.mtimeNs)
  const device = type === 'dev' || type === 'chardev'
  return {
    name,
    type,
    mode: goMode(stats.mode),
    mtime,
    atime: mtime,
    ctime: localTimestamp(stats.ctimeNs),
    uid: stats.uid,
    gid: stats.gid,
    user: userName(stats.uid),
    group: groupName(stats.gid),
    inode: stats.ino,
    deviceId: stats.dev,
    size: type === 'file' ? stats.size : 0,
    links: type === 'file' || type === 'symlink' || device ? stats.nlink : 0,
    linkTarget: type === 'symlink' ? readlinkSync(path, { encoding: 'buffer' }) : undefined,
    extendedAttributes,
    genericAttributes: undefined,
    device: device ? stats.rdev : 0n,
    content: undefined,
    subtree: undefined,
  }
}
