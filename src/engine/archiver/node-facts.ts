import { readlinkSync } from 'node:fs'
import { goJsonString } from '../format/json.ts'
import { goMode } from '../format/mode.ts'
import { localOffset } from '../format/timestamp.ts'
import { attributesText, linkTargetText } from '../format/tree.ts'
import type { FactTime, NodeFacts } from '../format/tree-cursor.ts'
import type { ExtendedAttribute } from '../format/tree-node.ts'
import { groupName, userName } from '../os/accounts.ts'
import type { EntryStats } from '../os/entry-stats.ts'
import { nodeType } from './node-from-stats.ts'

const NOTHING = Buffer.alloc(0)

/**
 * What `nodeFromStats` says about a file, folder or symbolic link, in the form in which it can be held against a tree.
 * Undefined for what is seldom, and for numbers that are not exact in this form. Throws the system's own error when a link
 * cannot be read.
 */
export function nodeFacts(
  path: Buffer,
  stats: EntryStats,
  attributes: readonly ExtendedAttribute[],
): NodeFacts | undefined {
  const type = nodeType(stats)
  const { inoNumber: inode, devNumber: deviceId, size, uid, gid } = stats
  const isExact = isExactNumber(inode) && isExactNumber(deviceId) && isExactNumber(size)
  if (!isExact || (type !== 'file' && type !== 'dir' && type !== 'symlink')) return undefined
  let extra = NOTHING
  if (type === 'symlink' || attributes.length > 0) {
    const target = type === 'symlink' ? linkTargetText(readlinkSync(path, { encoding: 'buffer' })) : ''
    extra = Buffer.from(target + attributesText(attributes), 'utf8')
  }
  return {
    type,
    mode: goMode(stats.mode),
    mtime: factTime(stats.mtimeSeconds, stats.mtimeNanoseconds),
    ctime: factTime(stats.ctimeSeconds, stats.ctimeNanoseconds),
    uid,
    gid,
    owner: ownerText(userName(uid), groupName(gid)),
    inode,
    deviceId,
    size: type === 'file' ? size : 0,
    links: type === 'dir' ? 0 : stats.nlink,
    extra,
  }
}

function isExactNumber(value: number): boolean {
  return value >= 0 && value <= Number.MAX_SAFE_INTEGER
}

function factTime(seconds: number, nanoseconds: number): FactTime {
  return { seconds, nanoseconds, offset: localOffset(seconds) }
}

/** Of the owner that was asked for last: nearly all files of a folder have the same. */
let last: { readonly user: string; readonly group: string; readonly text: Buffer } | undefined

function ownerText(user: string, group: string): Buffer {
  if (last?.user !== user || last.group !== group) {
    const userText = user === '' ? '' : `,"user":${goJsonString(user)}`
    const groupText = group === '' ? '' : `,"group":${goJsonString(group)}`
    last = { user, group, text: Buffer.from(userText + groupText, 'utf8') }
  }
  return last.text
}
