import { type BlobId, idAt } from './id.ts'
import { goJsonString } from './json.ts'
import { quoteName, unquoteName } from './quote.ts'
import { isIdAt, literal, NONE, type ScannedNumber, type ScannedTime, scanIds, scanNumber, scanTime } from './scan.ts'
import { parseNodeBytes, parseTree } from './tree.ts'
import type { TreeNode } from './tree-node.ts'
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
  TREE_CLOSING,
  TREE_OPENING,
  TYPES,
  UID,
} from './tree-text.ts'

// Holds what is found on disk against the tree of the last snapshot without making objects of its nodes: nearly always all is
// as it was, and then the bytes of the node are what would be written again. They are compared, not interpreted: a node
// fits only when each of its bytes is what `encodeTree` makes of the facts. So a tree in any other form, of whatever
// writer, just does not fit, and is read in the plain way.

/** What a node is compared with: everything about an entry but the content of a file or folder. */
export interface NodeFacts {
  readonly type: 'file' | 'dir' | 'symlink'
  /** As `nodeText` writes it: Go's bits, not 0. */
  readonly mode: number
  readonly mtime: FactTime
  readonly ctime: FactTime
  readonly uid: number
  readonly gid: number
  /** The members `user` and `group`, each with the comma before it. */
  readonly owner: Uint8Array
  /** Below 2^53, as all of these. */
  readonly inode: number
  readonly deviceId: number
  readonly size: number
  readonly links: number
  /** The members `linktarget`, `linktarget_raw` and `extended_attributes`, each with the comma before it. */
  readonly extra: Uint8Array
}

export type FactTime = Readonly<ScannedTime>

/** A node that fits what is on disk: its bytes in the tree. */
export interface FittingNode {
  readonly start: number
  readonly end: number
  /** Of a folder. */
  readonly subtree: BlobId | undefined
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c

/** Goes through the nodes of a tree once, in the order of their names. */
export class TreeCursor {
  readonly bytes: Buffer
  /** Where the next node begins; where the list ends when there is none. */
  #at: number
  /** Where the list ends. */
  readonly #end: number
  /** For trees that are not as `encodeTree` makes them: every node by its name. */
  #plain: Map<string, TreeNode> | undefined
  #previous = ''
  /** The name of the node at `#at`, as far as somebody looked, and where it ends if it stands there as it is. */
  #here: string | undefined
  #nameEnd = NONE
  /** Where the last node ends that fitted. */
  #fitted = 0

  /** Throws as `parseTree`, now or later: only what is asked for is read. */
  constructor(bytes: Buffer) {
    this.bytes = bytes
    this.#at = TREE_OPENING.length
    this.#end = bytes.length - TREE_CLOSING.length
    const isUsual =
      this.#end >= this.#at &&
      literal(bytes, 0, TREE_OPENING) !== NONE &&
      literal(bytes, this.#end, TREE_CLOSING) !== NONE
    if (!isUsual) this.#readAll()
  }

  /**
   * Goes to the node of that name; false when there is none. Names are `latin1` text of their bytes, and asked for in
   * increasing order.
   */
  seek(name: string): boolean {
    while (this.#plain === undefined && this.#at < this.#end) {
      if (this.#here === undefined) {
        this.#nameEnd = this.#endOfPlainName(name)
        if (this.#nameEnd !== NONE) this.#here = name
      }
      const found = this.#here ?? this.#name()
      this.#here = found
      if (found === name) return true
      if (found === undefined || found <= this.#previous) {
        this.#readAll()
        break
      }
      if (found > name) return false
      const end = this.#fitted > this.#at ? this.#fitted : nodeEnd(this.bytes, this.#at, this.#end)
      if (end === NONE || (end < this.#end && this.bytes[end] !== COMMA)) {
        this.#readAll()
        break
      }
      this.#previous = found
      this.#goOn(end)
    }
    return this.#plain?.has(name) ?? false
  }

  /** The node of that name, which `seek` has found, in the plain way. Throws `CORRUPT`. */
  node(name: string): TreeNode | undefined {
    if (this.#plain === undefined) {
      const end = nodeEnd(this.bytes, this.#at, this.#end)
      if (end !== NONE && (end === this.#end || this.bytes[end] === COMMA))
        return parseNodeBytes(this.bytes.subarray(this.#at, end))
      this.#readAll()
    }
    return this.#plain!.get(name)
  }

  /**
   * The bytes of the node that `seek` has found, when they are what `encodeTree` writes for these facts and some content:
   * a list of IDs that are all `isStored`, which is told where the digits of each begin, or, for a folder, a subtree.
   */
  fitting(name: string, facts: NodeFacts, isStored: (bytes: Buffer, at: number) => boolean): FittingNode | undefined {
    if (this.#plain !== undefined) return undefined
    const { bytes } = this
    const start = this.#at
    let at = this.#nameEnd === NONE ? this.#endOfPlainName(name) : this.#nameEnd
    if (at === NONE) {
      // `seek` compared what the name stands for; how it is written is beyond doubt only for plain bytes.
      const written = goJsonString(quoteName(Buffer.from(name, 'latin1'))).slice(1, -1)
      at = literal(bytes, start + NAME.length, Buffer.from(written, 'utf8'))
    }
    at = literal(bytes, at, TYPES[facts.type])
    at = number(bytes, literal(bytes, at, MODE), facts.mode)
    const mtime = literal(bytes, at, MTIME)
    const mtimeEnd = time(bytes, mtime, facts.mtime)
    at = literal(bytes, mtimeEnd, ATIME)
    if (at === NONE) return undefined
    for (let i = mtime; i < mtimeEnd; i++) if (bytes[at++] !== bytes[i]) return undefined
    at = literal(bytes, at, CTIME)
    at = time(bytes, at, facts.ctime)
    at = number(bytes, literal(bytes, at, UID), facts.uid)
    at = number(bytes, literal(bytes, at, GID), facts.gid)
    at = literal(bytes, at, facts.owner)
    if (facts.inode !== 0) at = number(bytes, literal(bytes, at, INODE), facts.inode)
    if (facts.deviceId !== 0) at = number(bytes, literal(bytes, at, DEVICE_ID), facts.deviceId)
    if (facts.size !== 0) at = number(bytes, literal(bytes, at, SIZE), facts.size)
    if (facts.links !== 0) at = number(bytes, literal(bytes, at, LINKS), facts.links)
    at = literal(bytes, at, facts.extra)
    if (at === NONE) return undefined
    let subtree: BlobId | undefined
    if (facts.type === 'file') at = contentEnd(bytes, literal(bytes, at, CONTENT), isStored)
    else {
      at = literal(bytes, at, NO_CONTENT)
      if (facts.type === 'dir') {
        at = literal(bytes, at, SUBTREE)
        if (!isIdAt(bytes, at) || bytes[at + 64] !== QUOTE) return undefined
        subtree = idAt(bytes, at)
        at += 65
      }
    }
    if (at === NONE || bytes[at] !== 0x7d) return undefined
    at += 1
    if (at !== this.#end && (at > this.#end || bytes[at] !== COMMA)) return undefined
    this.#fitted = at
    return { start, end: at, subtree }
  }

  #goOn(end: number): void {
    this.#at = end < this.#end ? end + 1 : this.#end
    this.#here = undefined
    this.#nameEnd = NONE
  }

  /** Where the name ends, when it is this one, and all of it written as it is. */
  #endOfPlainName(name: string): number {
    const { bytes } = this
    let at = literal(bytes, this.#at, NAME)
    if (at === NONE) return NONE
    for (let i = 0; i < name.length; i++, at++) {
      const byte = name.charCodeAt(i)
      if (bytes[at] !== byte || !isPlain(byte)) return NONE
    }
    return bytes[at] === QUOTE ? at : NONE
  }

  #name(): string | undefined {
    const { bytes } = this
    const start = literal(bytes, this.#at, NAME)
    if (start === NONE) return undefined
    let end = start
    while (bytes[end] !== QUOTE && bytes[end] !== BACKSLASH && bytes[end]! < 0x80) end++
    if (bytes[end] === QUOTE) return bytes.toString('latin1', start, end)
    while (bytes[end] !== QUOTE) {
      if (end >= this.#end) return undefined
      end += bytes[end] === BACKSLASH ? 2 : 1
    }
    try {
      return unquoteName(JSON.parse(bytes.toString('utf8', start - 1, end + 1)) as string).toString('latin1')
    } catch {
      return undefined // `parseTree` says what is wrong with it
    }
  }

  #readAll(): void {
    this.#plain = new Map(parseTree(this.bytes).map((node) => [node.name.toString('latin1'), node]))
  }
}

/** Bytes of a name that are written as they are: ASCII but for what Go or JSON escapes. */
export function isPlain(byte: number): boolean {
  return (
    byte >= 0x20 &&
    byte <= 0x7e &&
    byte !== QUOTE &&
    byte !== BACKSLASH &&
    byte !== 0x26 && // &
    byte !== 0x3c && // <
    byte !== 0x3e // >
  )
}

const scannedNumber: ScannedNumber = { value: 0 }

/** Where the number ends, if it is written there in as few digits as it takes. */
function number(bytes: Uint8Array, at: number, expected: number): number {
  const end = scanNumber(bytes, at, scannedNumber)
  return scannedNumber.value === expected ? end : NONE
}

const scannedTime: ScannedTime = { seconds: 0, nanoseconds: 0, offset: 0 }

/** Where the time ends, if it is written there as `formatTimestamp` does. */
function time(bytes: Uint8Array, at: number, expected: FactTime): number {
  const end = scanTime(bytes, at, scannedTime)
  const isSame =
    scannedTime.seconds === expected.seconds &&
    scannedTime.nanoseconds === expected.nanoseconds &&
    scannedTime.offset === expected.offset
  return isSame ? end : NONE
}

/** Where the list of stored IDs ends that begins after its bracket. */
function contentEnd(bytes: Buffer, from: number, isStored: (bytes: Buffer, at: number) => boolean): number {
  return scanIds(bytes, from, (at) => isStored(bytes, at))
}

/** Where the object ends that begins at `from`, by its brackets alone; -1 when it does not before `end`. */
function nodeEnd(bytes: Uint8Array, from: number, end: number): number {
  let depth = 0
  for (let at = from; at < end; at++) {
    const byte = bytes[at]!
    if (byte === QUOTE) {
      for (at++; bytes[at] !== QUOTE && at < end; at++) if (bytes[at] === BACKSLASH) at++
    } else if (byte === 0x7b || byte === 0x5b) depth++
    else if ((byte === 0x7d || byte === 0x5d) && --depth === 0) return at + 1
  }
  return NONE
}
