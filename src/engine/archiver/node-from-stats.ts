import { type BigIntStats, readlinkSync } from 'node:fs'
import { goMode } from '../format/mode.ts'
import { localTimestamp } from '../format/timestamp.ts'
import type { ExtendedAttribute, NodeType, TreeNode } from '../format/tree.ts'
import { groupName, userName } from '../os/accounts.ts'

export function nodeType(stats: BigIntStats): NodeType {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'dir'
  if (stats.isSymbolicLink()) return 'symlink'
  if (stats.isBlockDevice()) return 'dev'
  if (stats.isCharacterDevice()) return 'chardev'
  if (stats.isFIFO()) return 'fifo'
  return 'socket'
}

/**
 * A node of everything but content, as restic writes it (format reference 7.2): access time equal to modification time,
 * links only where the type has them, device only for devices. Reads where a symbolic link points to; throws the
 * system's own error when it cannot.
 */
export function nodeFromStats(
  path: Buffer,
  name: Buffer,
  stats: BigIntStats,
  extendedAttributes: readonly ExtendedAttribute[],
): TreeNode {
  const type = nodeType(stats)
  const mtime = localTimestamp(stats.mtimeNs)
  const device = type === 'dev' || type === 'chardev'
  return {
    name,
    type,
    mode: goMode(Number(stats.mode)),
    mtime,
    atime: mtime,
    ctime: localTimestamp(stats.ctimeNs),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    user: userName(Number(stats.uid)),
    group: groupName(Number(stats.gid)),
    inode: stats.ino,
    deviceId: stats.dev,
    size: type === 'file' ? Number(stats.size) : 0,
    links: type === 'file' || type === 'symlink' || device ? Number(stats.nlink) : 0,
    linkTarget: type === 'symlink' ? readlinkSync(path, { encoding: 'buffer' }) : undefined,
    extendedAttributes,
    genericAttributes: undefined,
    device: device ? stats.rdev : 0n,
    content: undefined,
    subtree: undefined,
  }
}
