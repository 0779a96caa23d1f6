import { civilFromDays } from './civil-date.ts'
import type { BlobId } from './id.ts'
import { escapeGoJson } from './json.ts'
import { quoteName } from './quote.ts'
import { formatTimestamp } from './timestamp.ts'
import { type FactTime, isPlain, type NodeFacts } from './tree-cursor.ts'
import {
  ATIME,
  CONTENT,
  CTIME,
  DEVICE_ID,
  GID,
  INODE,
  LINKS,
  MODE,
  MTIME,
  NAME,
  NO_CONTENT,
  SIZE,
  SUBTREE,
  TYPES,
  UID,
} from './tree-text.ts'

// Nodes as bytes, without an object and texts for each: `encodeNode` leaves 3 KiB to the collector for every file, which in a first
// backup lives on until the file is stored and so costs far more than the writing.

/** What a node refers to: 32 bytes for each blob of a file, the tree of a folder, nothing for a symbolic link. */
export type Content = Uint8Array | BlobId | undefined

/** Of all that is neither name, owner, content nor extra: members with their longest values. */
const FIXED_ROOM = 640
const HEX = Buffer.from('0123456789abcdef', 'latin1')
const [QUOTE, COMMA, CLOSING_BRACKET, CLOSING_BRACE] = [0x22, 0x2c, 0x5d, 0x7d]
const [ZERO, DASH, COLON, POINT, PLUS, T, Z] = [0x30, 0x2d, 0x3a, 0x2e, 0x2b, 0x54, 0x5a]
const DAY_SECONDS = 86_400
/** Of the years 1 to 9998, in any zone: what Go writes of others is for `formatTimestamp` to say. */
const [FIRST_PLAIN, LAST_PLAIN] = [-62_000_000_000, 253_300_000_000]

/** More bytes than the node takes. */
export function nodeRoom(name: Uint8Array, { owner, extra }: NodeFacts, content: Content): number {
  // Escaped twice, for Go and for JSON, a byte takes at most six: `<` becomes `\u003c`.
  const contentRoom = typeof content === 'object' ? 67 * (content.length / 32) : 0
  return FIXED_ROOM + 6 * name.length + owner.length + extra.length + contentRoom
}

/**
 * Writes the bytes that `encodeNode` makes of a node with these facts, from a place on; returns where they end. There must be
 * `nodeRoom`.
 */
export function writeNode(into: Buffer, from: number, name: Buffer, facts: NodeFacts, content: Content): number {
  let at = literal(into, from, NAME)
  at = writeName(into, at, name)
  at = literal(into, at, TYPES[facts.type])
  at = member(into, at, MODE, facts.mode)
  const mtime = literal(into, at, MTIME)
  at = time(into, mtime, facts.mtime)
  const mtimeEnd = at
  at = literal(into, at, ATIME)
  into.copyWithin(at, mtime, mtimeEnd)
  at += mtimeEnd - mtime
  at = time(into, literal(into, at, CTIME), facts.ctime)
  at = number(into, literal(into, at, UID), facts.uid)
  at = number(into, literal(into, at, GID), facts.gid)
  at = literal(into, at, facts.owner)
  at = member(into, at, INODE, facts.inode)
  at = member(into, at, DEVICE_ID, facts.deviceId)
  at = member(into, at, SIZE, facts.size)
  at = member(into, at, LINKS, facts.links)
  at = literal(into, at, facts.extra)
  if (typeof content === 'object') at = ids(into, literal(into, at, CONTENT), content)
  else {
    at = literal(into, at, NO_CONTENT)
    if (content !== undefined) {
      at = literal(into, at, SUBTREE)
      at += into.write(content, at, 'latin1')
      into[at++] = QUOTE
    }
  }
  into[at] = CLOSING_BRACE
  return at + 1
}

function literal(into: Uint8Array, at: number, bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length; i++) into[at + i] = bytes[i]!
  return at + bytes.length
}

function writeName(into: Buffer, at: number, name: Buffer): number {
  for (let i = 0; i < name.length; i++) {
    if (!isPlain(name[i]!)) return at + into.write(escapeGoJson(quoteName(name)), at, 'utf8')
    into[at + i] = name[i]!
  }
  return at + name.length
}

function member(into: Uint8Array, at: number, key: Uint8Array, value: number): number {
  return value === 0 ? at : number(into, literal(into, at, key), value)
}

/** A whole number from 0 up. */
function number(into: Uint8Array, at: number, value: number): number {
  let end = at + 1
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) end++
  digits(into, at, end, value)
  return end
}

function digits(into: Uint8Array, from: number, to: number, value: number): void {
  let rest = value
  for (let at = to - 1; at >= from; at--) {
    const tens = Math.floor(rest / 10)
    into[at] = ZERO + (rest - 10 * tens) // in this order: a sum may be too much for a double
    rest = tens
  }
}

/** The day that was written last: files of a folder are often of few days. */
const lastDate = Buffer.alloc('2006-01-02'.length)
let lastDay = Number.NaN

function time(into: Buffer, from: number, { seconds, nanoseconds, offset }: FactTime): number {
  if (seconds < FIRST_PLAIN || seconds > LAST_PLAIN) {
    const ns = BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)
    return from + into.write(formatTimestamp({ ns, offset }), from, 'latin1')
  }
  const wall = seconds + 60 * offset
  const day = Math.floor(wall / DAY_SECONDS)
  if (day !== lastDay) {
    const date = civilFromDays(day)
    digits(lastDate, 0, 4, date.year)
    lastDate[4] = DASH
    digits(lastDate, 5, 7, date.month)
    lastDate[7] = DASH
    digits(lastDate, 8, 10, date.day)
    lastDay = day
  }
  let at = literal(into, from, lastDate)
  const ofDay = wall - day * DAY_SECONDS
  into[at] = T
  digits(into, at + 1, at + 3, Math.floor(ofDay / 3600))
  into[at + 3] = COLON
  digits(into, at + 4, at + 6, Math.floor(ofDay / 60) % 60)
  into[at + 6] = COLON
  digits(into, at + 7, at + 9, ofDay % 60)
  at += 9
  if (nanoseconds > 0) {
    into[at] = POINT
    digits(into, at + 1, at + 10, nanoseconds)
    at += 10
    while (into[at - 1] === ZERO) at--
  }
  if (offset === 0) {
    into[at] = Z
    return at + 1
  }
  const minutes = Math.abs(offset)
  into[at] = offset < 0 ? DASH : PLUS
  digits(into, at + 1, at + 3, Math.floor(minutes / 60))
  into[at + 3] = COLON
  digits(into, at + 4, at + 6, minutes % 60)
  return at + 6
}

/** The rest of a list, after its bracket. */
function ids(into: Uint8Array, from: number, content: Uint8Array): number {
  let at = from
  for (let id = 0; id < content.length; id += 32) {
    if (id > 0) into[at++] = COMMA
    into[at++] = QUOTE
    for (let i = id; i < id + 32; i++) {
      const byte = content[i]!
      into[at++] = HEX[byte >>> 4]!
      into[at++] = HEX[byte & 15]!
    }
    into[at++] = QUOTE
  }
  into[at] = CLOSING_BRACKET
  return at + 1
}
