import { permissions } from '../engine/format/mode.ts'
import { formatTimestamp } from '../engine/format/timestamp.ts'
import type { TreeNode } from '../engine/format/tree-node.ts'
import { formatBytes, formatDate } from './format.ts'
import { goModeText, modeText } from './mode-text.ts'
import { dateOf } from './snapshot-json.ts'
import { escapeName, escapeText } from './terminal-text.ts'

export interface FileLineOptions {
  /** With mode, owner, size and time. */
  readonly long?: boolean
  readonly humanReadable?: boolean
}

/** One line about an entry of a snapshot, as `ls` and `find` print it. */
export function fileLine(path: Buffer, node: TreeNode, { long, humanReadable }: FileLineOptions): string {
  if (!long) return escapeName(path)
  const owner = `${escapeText(node.user || String(node.uid))} ${escapeText(node.group || String(node.gid))}`
  const to = node.linkTarget === undefined ? '' : ` -> ${escapeName(node.linkTarget)}`
  const bytes = node.type === 'file' ? node.size : 0
  const size = humanReadable ? formatBytes(bytes) : String(bytes)
  const time = formatDate(dateOf(node.mtime))
  return `${modeText(node.type, node.mode)}  ${owner.padEnd(12)}  ${size.padStart(10)}  ${time}  ${escapeName(path)}${to}`
}

/** An entry with the keys that restic's `ls` prints. */
export function listedJson(path: Buffer, node: TreeNode) {
  return {
    name: node.name.toString(),
    type: node.type,
    path: path.toString(),
    uid: node.uid,
    gid: node.gid,
    size: node.type === 'file' ? node.size : undefined,
    mode: node.mode || undefined,
    permissions: goModeText(node.mode),
    mtime: formatTimestamp(node.mtime),
    atime: formatTimestamp(node.atime),
    ctime: formatTimestamp(node.ctime),
    inode: node.inode || undefined,
  }
}

/** An entry with the keys that restic's `find` prints: more of it, and nothing that is zero or empty. */
export function foundJson(path: Buffer, node: TreeNode) {
  return {
    path: path.toString(),
    permissions: goModeText(node.mode),
    type: node.type,
    mode: node.mode || undefined,
    mtime: formatTimestamp(node.mtime),
    atime: formatTimestamp(node.atime),
    ctime: formatTimestamp(node.ctime),
    uid: node.uid,
    gid: node.gid,
    user: node.user || undefined,
    group: node.group || undefined,
    inode: node.inode || undefined,
    device_id: node.deviceId || undefined,
    size: node.size || undefined,
    links: node.links || undefined,
    linktarget: node.linkTarget?.toString(),
  }
}

const BLOCK = 512

/** An entry as ncdu reads it. */
export function ncduJson(node: TreeNode) {
  const seconds = Number(node.mtime.ns / 1_000_000_000n)
  return {
    name: node.name.toString(),
    asize: node.size,
    dsize: Math.ceil(node.size / BLOCK) * BLOCK,
    dev: node.deviceId,
    ino: node.inode,
    nlink: node.links,
    notreg: node.type !== 'dir' && node.type !== 'file',
    uid: node.uid,
    gid: node.gid,
    mode: permissions(node.mode),
    mtime: Math.max(0, seconds), // it knows no earlier time
  }
}
