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

type Writable<T> = { -readonly [Key in keyof T]: T[Key] }

/** The same memory for every entry: it is held against a tree, and done with. */
const mtime: Writable<FactTime> = { seconds: 0, nanoseconds: 0, offset: 0 }
const ctime: Writable<FactTime> = { seconds: 0, nanoseconds: 0, offset: 0 }
const facts: Writable<NodeFacts> = {
  type: 'file',
  mode: 0,
  mtime,
  ctime,
  uid: 0,
  gid: 0,
  owner: NOTHING,
  inode: 0,
  deviceId: 0,
  size: 0,
  links: 0,
  extra: NOTHING,
}

/**
 * What `nodeFromStats` says about a file, folder or symbolic link, in the form in which it can be held against a tree.
 * Undefined for what is seldom, and for numbers that are not exact in this form. Throws the system's own error when a link
 * cannot be read. What is returned is of use until the next call.
 */
export function nodeFacts(
  path: Buffer,
  stats: EntryStats,
  attributes: readonly ExtendedAttribute[],
): NodeFacts | undefined {
  const type = nodeType(stats)
  if (type !== 'file' && type !== 'dir' && type !== 'symlink') return undefined
  let extra = NOTHING
  if (type === 'symlink' || attributes.length > 0) {
    const target = type === 'symlink' ? linkTargetText(readlinkSync(path, { encoding: 'buffer' })) : ''
    extra = Buffer.from(target + attributesText(attributes), 'utf8')
  }
  return factsOf(type, stats, extra)
}

/** `nodeFacts` of a file that has no extended attributes. */
export function bareFileFacts(stats: EntryStats): NodeFacts | undefined {
  return factsOf('file', stats, NOTHING)
}

function factsOf(type: NodeFacts['type'], stats: EntryStats, extra: Buffer): NodeFacts | undefined {
  const { inoNumber: inode, devNumber: deviceId, size, uid, gid } = stats
  if (!isExactNumber(inode) || !isExactNumber(deviceId) || !isExactNumber(size)) return undefined
  facts.type = type
  facts.mode = goMode(stats.mode)
  setTime(mtime, stats.mtimeSeconds, stats.mtimeNanoseconds)
  setTime(ctime, stats.ctimeSeconds, stats.ctimeNanoseconds)
  facts.uid = uid
  facts.gid = gid
  facts.owner = ownerText(userName(uid), groupName(gid))
  facts.inode = inode
  facts.deviceId = deviceId
  facts.size = type === 'file' ? size : 0
  facts.links = type === 'dir' ? 0 : stats.nlink
  facts.extra = extra
  return facts
}

function isExactNumber(value: number): boolean {
  return value >= 0 && value <= Number.MAX_SAFE_INTEGER
}

function setTime(time: Writable<FactTime>, seconds: number, nanoseconds: number): void {
  time.seconds = seconds
  time.nanoseconds = nanoseconds
  time.offset = localOffset(seconds)
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
