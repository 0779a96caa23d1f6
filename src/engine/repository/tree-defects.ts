import { type BlobId, idAt } from '../format/id.ts'
import { MAX_UINT32 } from '../format/json-fields.ts'
import { nameDefect } from '../format/node-name.ts'
import {
  isIdAt,
  literal,
  NONE,
  repeated,
  type ScannedNumber,
  type ScannedTime,
  scanIds,
  scanNumber,
  scanPlain,
  scanTime,
} from '../format/scan.ts'
import type { TreeNode } from '../format/tree-node.ts'
import {
  ATIME,
  CONTENT,
  CTIME,
  DEVICE_ID,
  GID,
  GROUP,
  INODE,
  LINK_TARGET,
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
  USER,
} from '../format/tree-text.ts'
import type { CheckCode } from './check-finding.ts'

export interface Defect {
  readonly code: CheckCode
  readonly found: string
}

/**
 * What is wrong with a node of a folder, though it could be read. `lengthOf` tells how long the plaintext of a data blob is, and
 * undefined of one that is in no index.
 */
export function* nodeDefects(
  node: TreeNode,
  previous: TreeNode | undefined,
  lengthOf: (id: BlobId) => number | undefined,
): Generator<Defect> {
  const damaged = (found: string): Defect => ({ code: 'node-damaged', found })
  const nameIsBad = nameDefect(node.name)
  if (nameIsBad) yield damaged(nameIsBad)
  if (previous && Buffer.compare(previous.name, node.name) >= 0) {
    yield damaged('its folder lists it twice or out of order')
  }
  if (node.type === 'dir' && node.subtree === undefined) yield damaged('a folder without a tree')
  if (node.type === 'symlink' && node.linkTarget === undefined) yield damaged('a symbolic link to nothing')
  if (node.type === 'file') {
    if (node.content === undefined) yield damaged('a file without a list of content')
    else yield* contentDefects(node, node.content, lengthOf)
  }
}

function* contentDefects(
  node: TreeNode,
  content: readonly BlobId[],
  lengthOf: (id: BlobId) => number | undefined,
): Generator<Defect> {
  let bytes = 0
  let missing = 0
  for (const id of content) {
    const length = lengthOf(id)
    if (length === undefined) missing += 1
    else bytes += length
  }
  if (missing > 0) {
    yield { code: 'blob-missing', found: `${missing} of its ${content.length} data blobs are in no index` }
  } else if (bytes !== node.size) {
    yield { code: 'node-damaged', found: `its content has ${bytes} bytes, its size says ${node.size}` }
  }
}

/** A tree in the usual form without a defect. */
export interface SoundTree {
  readonly folders: readonly { readonly name: string; readonly subtree: BlobId }[]
}

const QUOTE = 0x22
const COMMA = 0x2c
const SLASH = 0x2f
const DOT = 0x2e
const BRACE = 0x7d

// For one tree after the other: each scan is over before the next one begins.
const number: ScannedNumber = { value: 0 }
const time: ScannedTime = { seconds: 0, nanoseconds: 0, offset: 0 }

/**
 * As `scanTree`, of which it takes nothing for granted, but several times as fast, since it makes no objects of nodes. Undefined of a
 * tree that `scanTree` would not read, and of one in which `nodeDefects` would find something: those say what there is to say.
 * `lengthAt` tells the length of the data blob whose 64 digits begin at that place of the bytes.
 */
export function scanSoundTree(
  bytes: Buffer,
  lengthAt: (bytes: Buffer, at: number) => number | undefined,
): SoundTree | undefined {
  const folders: { name: string; subtree: BlobId }[] = []
  let content = 0
  const addLength = (at: number): boolean => {
    const length = lengthAt(bytes, at)
    if (length === undefined) return false
    content += length
    return true
  }
  let at = literal(bytes, 0, TREE_OPENING)
  if (at === NONE) return undefined
  let previous = NONE
  let previousEnd = NONE
  while (literal(bytes, at, TREE_CLOSING) === NONE) {
    if (previous !== NONE && bytes[at++] !== COMMA) return undefined
    const name = literal(bytes, at, NAME)
    const nameEnd = scanPlain(bytes, name)
    if (name === NONE || !isSoundName(bytes, name, nameEnd)) return undefined
    if (previous !== NONE && !isBefore(bytes, previous, previousEnd, name, nameEnd)) return undefined
    previous = name
    previousEnd = nameEnd
    let isFile = false
    let isFolder = false
    at = literal(bytes, nameEnd, TYPES.file)
    if (at !== NONE) isFile = true
    else {
      at = literal(bytes, nameEnd, TYPES.dir)
      if (at !== NONE) isFolder = true
      else at = literal(bytes, nameEnd, TYPES.symlink)
    }
    const isLink = !isFile && !isFolder
    at = numberAfter(bytes, at, MODE, MAX_UINT32)
    const mtime = literal(bytes, at, MTIME)
    const mtimeEnd = scanTime(bytes, mtime, time)
    at = timeLike(bytes, literal(bytes, mtimeEnd, ATIME), mtime, mtimeEnd)
    at = timeLike(bytes, literal(bytes, at, CTIME), mtime, mtimeEnd)
    at = wholeNumber(bytes, literal(bytes, at, UID), MAX_UINT32)
    at = wholeNumber(bytes, literal(bytes, at, GID), MAX_UINT32)
    at = textAfter(bytes, at, USER)
    at = textAfter(bytes, at, GROUP)
    at = numberAfter(bytes, at, INODE)
    at = numberAfter(bytes, at, DEVICE_ID)
    const sizeAt = at
    at = numberAfter(bytes, at, SIZE)
    const size = at === sizeAt ? 0 : number.value
    at = numberAfter(bytes, at, LINKS)
    const linkEnd = textAfter(bytes, at, LINK_TARGET)
    if (linkEnd === NONE || (isLink && linkEnd === at)) return undefined
    // A target of no bytes is for others to judge.
    if (linkEnd !== at && linkEnd === at + LINK_TARGET.length + 1) return undefined
    at = literal(bytes, linkEnd, NO_CONTENT)
    if (at !== NONE) {
      if (isFile) return undefined
    } else {
      content = 0
      at = scanIds(bytes, literal(bytes, linkEnd, CONTENT), addLength)
      if (at === NONE || (isFile && content !== size)) return undefined
    }
    const subtree = literal(bytes, at, SUBTREE)
    if (subtree !== NONE) {
      if (!isIdAt(bytes, subtree) || bytes[subtree + 64] !== QUOTE) return undefined
      at = subtree + 65
    }
    if (isFolder) {
      if (subtree === NONE) return undefined
      folders.push({ name: bytes.toString('latin1', name, nameEnd), subtree: idAt(bytes, subtree) })
    }
    if (bytes[at++] !== BRACE) return undefined
  }
  return at + TREE_CLOSING.length === bytes.length ? { folders } : undefined
}

/** As `nameDefect`, of a name of printable ASCII. */
function isSoundName(bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start
  if (length === 0) return false
  if (bytes[start] === DOT && (length === 1 || (length === 2 && bytes[start + 1] === DOT))) return false
  for (let i = start; i < end; i++) if (bytes[i] === SLASH) return false
  return true
}

function isBefore(bytes: Uint8Array, a: number, aEnd: number, b: number, bEnd: number): boolean {
  const shorter = Math.min(aEnd - a, bEnd - b)
  for (let i = 0; i < shorter; i++) {
    if (bytes[a + i] !== bytes[b + i]) return bytes[a + i]! < bytes[b + i]!
  }
  return aEnd - a < bEnd - b
}

function wholeNumber(bytes: Uint8Array, at: number, most = Number.MAX_SAFE_INTEGER): number {
  const end = scanNumber(bytes, at, number)
  return end === NONE || number.value > most ? NONE : end
}

/** The same place where it is left out. */
function numberAfter(bytes: Uint8Array, at: number, key: Uint8Array, most?: number): number {
  const value = literal(bytes, at, key)
  return value === NONE ? at : wholeNumber(bytes, value, most)
}

/** The same place where it is left out. */
function textAfter(bytes: Uint8Array, at: number, key: Uint8Array): number {
  const end = scanPlain(bytes, literal(bytes, at, key))
  if (end === NONE) return at
  return bytes[end] === QUOTE ? end + 1 : NONE
}

/** A time that most often is written as the one that stands before it. */
function timeLike(bytes: Uint8Array, at: number, before: number, beforeEnd: number): number {
  const end = repeated(bytes, at, before, beforeEnd)
  return end === NONE ? scanTime(bytes, at, time) : end
}
