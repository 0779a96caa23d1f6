import type { BlobId } from './id.ts'
import { MAX_UINT32 } from './json-fields.ts'
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
} from './scan.ts'
import type { Timestamp } from './timestamp.ts'
import type { ExtendedAttribute, TreeNode } from './tree-node.ts'
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
} from './tree-text.ts'

/** Types of the nodes that are read here. */
const SCANNED = ['file', 'dir', 'symlink'] as const
const QUOTE = 0x22
const COMMA = 0x2c
const BRACE = 0x7d
const SECOND = 1_000_000_000n
const NO_ATTRIBUTES: readonly ExtendedAttribute[] = []

/**
 * Reads a tree of files, folders and links in the very form in which `encodeTree` and restic write it, twice as fast as by way of
 * JSON. Undefined for anything else, right or wrong, also for names and texts beyond plain ASCII and for extended attributes: that
 * is for `parseTree` to say.
 */
export function scanTree(bytes: Buffer): TreeNode[] | undefined {
  return new TreeScan(bytes).nodes()
}

class TreeScan {
  readonly #bytes: Buffer
  /** Where the next thing begins; `NONE` once something was not as it must be. */
  #at = 0
  readonly #number: ScannedNumber = { value: 0 }
  readonly #time: ScannedTime = { seconds: 0, nanoseconds: 0, offset: 0 }
  /** Texts that stand in nearly every node, each made once. */
  readonly #user = new LastText()
  readonly #group = new LastText()

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  nodes(): TreeNode[] | undefined {
    const nodes: TreeNode[] = []
    if (!this.#has(TREE_OPENING)) return undefined
    if (!this.#has(TREE_CLOSING)) {
      for (;;) {
        const node = this.#node()
        if (node === undefined) return undefined
        nodes.push(node)
        if (this.#has(TREE_CLOSING)) break
        if (this.#bytes[this.#at++] !== COMMA) return undefined
      }
    }
    return this.#at === this.#bytes.length ? nodes : undefined
  }

  #node(): TreeNode | undefined {
    this.#must(NAME)
    const name = this.#plain()
    const type = SCANNED.find((each) => this.#has(TYPES[each]))
    if (this.#at === NONE || name.length === 0 || type === undefined) return undefined
    const mode = this.#numberAfter(MODE, MAX_UINT32)
    this.#must(MTIME)
    const mtimeAt = this.#at
    const mtime = this.#timestamp()
    const length = this.#at - mtimeAt
    this.#must(ATIME)
    const atime = this.#timestampLike(mtimeAt, length, mtime)
    this.#must(CTIME)
    const ctime = this.#timestampLike(mtimeAt, length, mtime)
    this.#must(UID)
    const uid = this.#wholeNumber(MAX_UINT32)
    this.#must(GID)
    const gid = this.#wholeNumber(MAX_UINT32)
    const user = this.#textAfter(USER, this.#user)
    const group = this.#textAfter(GROUP, this.#group)
    const inode = BigInt(this.#numberAfter(INODE))
    const deviceId = BigInt(this.#numberAfter(DEVICE_ID))
    const size = this.#numberAfter(SIZE)
    const links = this.#numberAfter(LINKS)
    const linkTarget = this.#has(LINK_TARGET) ? this.#closed(this.#plain()) : undefined
    const content = this.#content()
    const subtree = this.#has(SUBTREE) ? this.#id() : undefined
    if (this.#at === NONE || linkTarget?.length === 0 || this.#bytes[this.#at++] !== BRACE) return undefined
    return {
      name,
      type,
      mode,
      mtime,
      atime,
      ctime,
      uid,
      gid,
      user,
      group,
      inode,
      deviceId,
      size,
      links,
      linkTarget,
      extendedAttributes: NO_ATTRIBUTES,
      genericAttributes: undefined,
      device: 0n,
      content,
      subtree,
    }
  }

  /** Steps over it, if it stands here. */
  #has(expected: Uint8Array): boolean {
    const end = literal(this.#bytes, this.#at, expected)
    if (end === NONE) return false
    this.#at = end
    return true
  }

  #must(expected: Uint8Array): void {
    this.#at = literal(this.#bytes, this.#at, expected)
  }

  /** A copy: the tree is not kept for the sake of a name. */
  #plain(): Buffer {
    const start = this.#at
    const end = scanPlain(this.#bytes, start)
    this.#at = end
    if (end === NONE) return Buffer.alloc(0)
    const copy = Buffer.allocUnsafe(end - start)
    this.#bytes.copy(copy, 0, start, end)
    return copy
  }

  #closed<T>(value: T): T {
    if (this.#at !== NONE) this.#at = this.#bytes[this.#at] === QUOTE ? this.#at + 1 : NONE
    return value
  }

  #wholeNumber(most: number = Number.MAX_SAFE_INTEGER): number {
    this.#at = scanNumber(this.#bytes, this.#at, this.#number)
    if (this.#at === NONE || this.#number.value > most) {
      this.#at = NONE
      return 0
    }
    return this.#number.value
  }

  /** 0 where it is left out. */
  #numberAfter(key: Uint8Array, most?: number): number {
    return this.#has(key) ? this.#wholeNumber(most) : 0
  }

  #textAfter(key: Uint8Array, last: LastText): string {
    if (!this.#has(key)) return ''
    const start = this.#at
    const end = scanPlain(this.#bytes, start)
    this.#at = end
    return this.#closed(end === NONE ? '' : last.of(this.#bytes, start, end))
  }

  #timestamp(): Timestamp {
    this.#at = scanTime(this.#bytes, this.#at, this.#time)
    const { seconds, nanoseconds, offset } = this.#time
    return { ns: BigInt(seconds) * SECOND + BigInt(nanoseconds), offset }
  }

  /** The one that stands in so many bytes before, when these are the same. */
  #timestampLike(before: number, length: number, timestamp: Timestamp): Timestamp {
    const end = repeated(this.#bytes, this.#at, before, before + length)
    if (end === NONE) return this.#timestamp()
    this.#at = end
    return timestamp
  }

  #content(): BlobId[] | undefined {
    if (this.#has(NO_CONTENT)) return undefined
    this.#must(CONTENT)
    const content: BlobId[] = []
    this.#at = scanIds(this.#bytes, this.#at, (at) => {
      content.push(this.#bytes.toString('latin1', at, at + 64) as BlobId)
      return true
    })
    return content
  }

  #id(): BlobId {
    const at = this.#at
    this.#at = isIdAt(this.#bytes, at) ? at + 64 : NONE
    return this.#closed(this.#bytes.toString('latin1', at, at + 64) as BlobId)
  }
}

/** Makes a text of bytes, and the same one of the same bytes. */
class LastText {
  #bytes: Uint8Array = new Uint8Array(0)
  #text = ''

  of(bytes: Buffer, start: number, end: number): string {
    if (end - start !== this.#bytes.length || literal(bytes, start, this.#bytes) !== end) {
      this.#bytes = Uint8Array.prototype.slice.call(bytes, start, end)
      this.#text = bytes.toString('latin1', start, end)
    }
    return this.#text
  }
}
