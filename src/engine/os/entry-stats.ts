import { hash } from 'node:crypto'
import { type BigIntStats, fstatSync, lstatSync, readdirSync } from 'node:fs'
import { constants } from 'node:os'
import { EngineError } from '../error.ts'
import { groupName, userName } from './accounts.ts'
import { cFunction } from './c-library.ts'
import { listNames, listNamesOfDescriptor } from './extended-attributes.ts'

// statx(2), whose structure <linux/stat.h> lays out the same on every machine, and llistxattr(2), into memory that is there.
// Measured on 50,000 entries: `lstatSync` with bigints takes 9.8 µs an entry and leaves 900 bytes to the collector, this 5 µs and none.

const statx = cFunction<[number, Buffer, number, number, Buffer]>(
  'int statx(int folder, const void *path, int flags, unsigned int mask, void *result)',
)

const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const AT_EMPTY_PATH = 0x1000
/** Type, mode, links, owner, group, modification and change time, inode, size. */
const WANTED = 0x3df
const { EOPNOTSUPP } = constants.errno

const PATH_ROOM = 4096
const path = Buffer.alloc(PATH_ROOM)
const noPath = Buffer.alloc(1)
const attributeNames = Buffer.alloc(4096)
const result = Buffer.alloc(256)
const found = new Uint32Array(result.buffer, result.byteOffset, 64)

/** 32-bit words of the stats of an entry. Those of 64 bits are two, the low one first. */
export const STATS_WORDS = 20
const [MARKS, MODE, NLINK, UID, GID, MTIME_NS, CTIME_NS] = [0, 1, 2, 3, 4, 5, 6]
const [INO, SIZE, MTIME, CTIME, DEV, RDEV] = [8, 10, 12, 14, 16, 18]
/** Marks: looked at, whatever came of it; there are stats; it has no extended attributes; it was asked whether it has. */
const [TRIED, KNOWN, BARE, ASKED] = [1, 2, 4, 8]

/** Where a fingerprint is put together. */
const scratch = new Uint32Array(64 * 1024)

const S_IFMT = 0o170000
const [S_IFREG, S_IFDIR, S_IFLNK] = [0o100000, 0o040000, 0o120000]
const SECOND = 1_000_000_000n

/** What stat(2) says of an entry, as far as a backup uses it: a view of words that may go from thread to thread. */
export class EntryStats {
  readonly #words: Uint32Array
  readonly #at: number

  /** Of words that `copyTo` has written, from one of them on. */
  constructor(words: Uint32Array, at = 0) {
    this.#words = words
    this.#at = at
  }

  static of(stats: Omit<BigIntStats, keyof Date>): EntryStats {
    const words = new Uint32Array(STATS_WORDS)
    words[MARKS] = TRIED | KNOWN
    words[MODE] = Number(stats.mode)
    words[NLINK] = Number(stats.nlink)
    words[UID] = Number(stats.uid)
    words[GID] = Number(stats.gid)
    setLong(words, INO, stats.ino)
    setLong(words, SIZE, stats.size)
    setLong(words, DEV, stats.dev)
    setLong(words, RDEV, stats.rdev)
    words[MTIME_NS] = setTime(words, MTIME, stats.mtimeNs)
    words[CTIME_NS] = setTime(words, CTIME, stats.ctimeNs)
    return new EntryStats(words)
  }

  /** Of the entry itself, when it is a symbolic link. Throws the system's own error. */
  static atPath(place: Buffer): EntryStats {
    if (place.length < PATH_ROOM && !place.includes(0)) {
      path.set(place)
      path[place.length] = 0
      const words = new Uint32Array(STATS_WORDS)
      if (look(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, words, 0)) return new EntryStats(words)
    }
    return EntryStats.of(lstatSync(place, { bigint: true }))
  }

  /** Of an open file. Throws the system's own error. */
  static ofDescriptor(descriptor: number): EntryStats {
    const words = new Uint32Array(STATS_WORDS)
    if (look(descriptor, noPath, AT_EMPTY_PATH, words, 0)) return new EntryStats(words)
    return EntryStats.of(fstatSync(descriptor, { bigint: true }))
  }

  /** Writes them into `STATS_WORDS` words. */
  copyTo(words: Uint32Array, at: number): void {
    for (let i = 0; i < STATS_WORDS; i++) words[at + i] = this.#words[this.#at + i]!
  }

  /** A copy, for another thread. */
  toWords(): Uint32Array<ArrayBuffer> {
    const words = new Uint32Array(STATS_WORDS)
    this.copyTo(words, 0)
    return words
  }

  /** Whether the other ones are of the same entry, in the same state. */
  equals(other: EntryStats): boolean {
    for (let i = MODE; i < STATS_WORDS; i++) {
      if (this.#words[this.#at + i] !== other.#words[other.#at + i]) return false
    }
    return true
  }

  /** Whether the entry was found, just before, to have no extended attributes; it has some, or nobody looked, where it is false. */
  get isBare(): boolean {
    return (this.#words[this.#at]! & BARE) !== 0
  }
  /** Whether nobody looked for its extended attributes. */
  get isUnasked(): boolean {
    return (this.#words[this.#at]! & ASKED) === 0
  }
  /** Whether it last changed before that second of the clock, and after 1969 and before 2106. */
  isOlderThan(second: number): boolean {
    return isOlder(this.#words, this.#at, second)
  }
  /** For who knows that it has none, without a look. */
  takeAsBare(): void {
    this.#words[this.#at]! |= ASKED | BARE
  }
  /** False for words that nobody wrote. */
  get isKnown(): boolean {
    return (this.#words[this.#at]! & KNOWN) !== 0
  }
  get mode(): number {
    return this.#words[this.#at + MODE]!
  }
  get nlink(): number {
    return this.#words[this.#at + NLINK]!
  }
  get uid(): number {
    return this.#words[this.#at + UID]!
  }
  get gid(): number {
    return this.#words[this.#at + GID]!
  }
  /** Exact from 0 up to 2^53; outside there is `ino`. */
  get inoNumber(): number {
    return this.#number(INO)
  }
  get devNumber(): number {
    return this.#number(DEV)
  }
  get dev(): bigint {
    return BigInt.asUintN(64, this.#long(DEV))
  }
  get rdev(): bigint {
    return BigInt.asUintN(64, this.#long(RDEV))
  }
  get ino(): bigint {
    return BigInt.asUintN(64, this.#long(INO))
  }
  get size(): number {
    return this.#number(SIZE)
  }
  /** Seconds since the epoch, and `mtimeNanoseconds` after them. */
  get mtimeSeconds(): number {
    return this.#number(MTIME)
  }
  get mtimeNanoseconds(): number {
    return this.#words[this.#at + MTIME_NS]!
  }
  get ctimeSeconds(): number {
    return this.#number(CTIME)
  }
  get ctimeNanoseconds(): number {
    return this.#words[this.#at + CTIME_NS]!
  }
  get mtimeNs(): bigint {
    return this.#long(MTIME) * SECOND + BigInt(this.mtimeNanoseconds)
  }
  get ctimeNs(): bigint {
    return this.#long(CTIME) * SECOND + BigInt(this.ctimeNanoseconds)
  }
  isDirectory(): boolean {
    return (this.mode & S_IFMT) === S_IFDIR
  }
  isFile(): boolean {
    return (this.mode & S_IFMT) === S_IFREG
  }

  /** Exact below 2^53. */
  #number(place: number): number {
    return (this.#words[this.#at + place + 1]! | 0) * 2 ** 32 + this.#words[this.#at + place]!
  }

  #long(place: number): bigint {
    const number = this.#number(place)
    if (Number.isSafeInteger(number)) return BigInt(number)
    return (BigInt(this.#words[this.#at + place + 1]! | 0) << 32n) + BigInt(this.#words[this.#at + place]!)
  }
}

/** Entries that are looked at together when the first of them is asked for. */
const BLOCK = 256

/**
 * Names in a folder, and what `lstat` says of them, extended attributes included. Of a name that the system says something else of,
 * or nothing, there are no stats: then who asks looks for himself, and finds out why.
 */
export class FolderEntries {
  /** `latin1` text of their bytes. */
  readonly names: readonly string[]
  readonly #folder: Buffer
  readonly #words: Uint32Array

  constructor(folder: Buffer, names: readonly string[]) {
    this.#folder = folder
    this.names = names
    this.#words = new Uint32Array(STATS_WORDS * names.length)
  }

  /** All that the folder lists, in order. Throws the system's own error. */
  static in(folder: Buffer): FolderEntries {
    return new FolderEntries(folder, readdirSync(folder, { encoding: 'latin1' }).sort())
  }

  /**
   * Of the name at this place; looks at it, and at some after it, unless that was done. What last changed before that second of the
   * clock is not asked for extended attributes.
   */
  stats(index: number, before = Number.NEGATIVE_INFINITY): EntryStats | undefined {
    const at = STATS_WORDS * index
    if ((this.#words[at]! & ASKED) === 0) {
      const end = Math.min(index + BLOCK, this.names.length)
      if (this.#words[at] === 0) this.look(index, end)
      if (before === Number.NEGATIVE_INFINITY) this.lookForAttributes(index, end)
      else if (!isOlder(this.#words, at, before)) this.lookForAttributes(index, index + 1)
    }
    return (this.#words[at]! & KNOWN) === 0 ? undefined : new EntryStats(this.#words, at)
  }

  /** Whether the name at this place is that of a file; looks at it, and at some after it, unless that was done. */
  isFile(index: number): boolean {
    const at = STATS_WORDS * index
    if (this.#words[at] === 0) this.look(index, Math.min(index + BLOCK, this.names.length))
    return isOfType(this.#words, at, S_IFREG)
  }

  /** Whether the name at this place, which was looked at, is that of a folder. */
  isFolder(index: number): boolean {
    const at = STATS_WORDS * index
    return isOfType(this.#words, at, S_IFDIR)
  }

  /** Files, of those that were looked at, whose stats changed at that second of the clock or after, and their sizes in all. */
  changedSince(second: number): { readonly files: number; readonly bytes: number } {
    const words = this.#words
    let files = 0
    let bytes = 0
    for (let at = 0; at < words.length; at += STATS_WORDS) {
      if (!isChangedFile(words, at, second)) continue
      files += 1
      bytes += sizeAt(words, at)
    }
    return { files, bytes }
  }

  /** Places of those of them that have at least so many bytes. */
  changedFiles(second: number, leastBytes: number): number[] {
    const words = this.#words
    const found: number[] = []
    for (let at = 0; at < words.length; at += STATS_WORDS) {
      if (isChangedFile(words, at, second) && sizeAt(words, at) >= leastBytes) found.push(at / STATS_WORDS)
    }
    return found
  }

  /**
   * SHA-256, as `latin1` text, of all that is seen of the folder and its entries: its path, their names, all of their stats and what
   * their owners are called. Undefined where more is to be said of one of them: it has extended attributes, or nobody knows; it is
   * neither file, folder nor symbolic link; a name stands there twice. All were looked at.
   *
   * Entries whose stats last changed before that second of the clock are not asked for extended attributes: for who knows
   * that they had none then, and would have got another change time with them since.
   */
  fingerprint(before = Number.NEGATIVE_INFINITY): string | undefined {
    const { names } = this
    let owners = ''
    let [lastUid, lastGid] = [-1, -1]
    const size = this.#words.length + 1
    const words = size > scratch.length ? new Uint32Array(size) : scratch
    words[0] = names.length
    words.set(this.#words, 1)
    for (let i = 0, at = 1; i < names.length; i++, at += STATS_WORDS) {
      let marks = words[at + MARKS]!
      if ((marks & (KNOWN | ASKED)) === KNOWN && !isOlder(this.#words, at - 1, before)) {
        this.lookForAttributes(i, i + 1)
        marks = this.#words[at - 1 + MARKS]!
      }
      if ((marks & KNOWN) === 0 || (marks & (ASKED | BARE)) === ASKED) return undefined
      words[at + MARKS] = 0
      const type = words[at + MODE]! & S_IFMT
      if (type !== S_IFREG && type !== S_IFDIR && type !== S_IFLNK) return undefined
      if (i > 0 && names[i - 1] === names[i]) return undefined
      const uid = words[at + UID]!
      const gid = words[at + GID]!
      if (uid === lastUid && gid === lastGid) continue
      owners += `${userName(uid)}\0${groupName(gid)}\0`
      lastUid = uid
      lastGid = gid
    }
    // No name holds a NUL byte, and none is empty.
    const text = `${this.#folder.toString('latin1')}\0${names.join('\0')}\0\0${owners}`
    let bytes = Buffer.from(words.buffer)
    const at = 4 * size
    if (bytes.length - at >= 2 * text.length) bytes = bytes.subarray(0, at + bytes.write(text, at, 'utf8'))
    else bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from(text, 'utf8')])
    return hash('sha256', bytes, 'binary')
  }

  /** Looks at the names from one place up to another, at those that nobody has looked at; not for extended attributes. */
  look(from: number, to: number): void {
    const hasRoom = this.#enter()
    for (let index = from; index < to; index++) {
      const at = STATS_WORDS * index
      if (this.#words[at] !== 0) continue
      this.#words[at] = TRIED
      if (hasRoom && this.#name(index)) look(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, this.#words, at)
    }
  }

  /** Looks whether they have extended attributes, those that nobody has looked for. */
  lookForAttributes(from: number, to: number): void {
    const hasRoom = this.#enter()
    for (let index = from; index < to; index++) {
      const at = STATS_WORDS * index
      const marks = this.#words[at]!
      if ((marks & ASKED) !== 0) continue
      const bare = hasRoom && (marks & KNOWN) !== 0 && this.#name(index) && isBare()
      this.#words[at] = marks | ASKED | (bare ? BARE : 0)
    }
  }

  /** Puts the folder into `path`; false where it has no room. */
  #enter(): boolean {
    const length = this.#folder.length
    if (length + 1 >= PATH_ROOM) return false
    path.set(this.#folder)
    path[length] = 0x2f
    return true
  }

  /** Puts the name behind it. */
  #name(index: number): boolean {
    const name = this.names[index]!
    const prefix = this.#folder.length + 1
    if (prefix + name.length >= PATH_ROOM) return false
    for (let i = 0; i < name.length; i++) path[prefix + i] = name.charCodeAt(i)
    path[prefix + name.length] = 0
    return true
  }
}

/** Whether there are stats, and of an entry of that type. */
function isOfType(words: Uint32Array, at: number, type: number): boolean {
  return (words[at]! & KNOWN) !== 0 && (words[at + MODE]! & S_IFMT) === type
}

function isChangedFile(words: Uint32Array, at: number, second: number): boolean {
  if (!isOfType(words, at, S_IFREG)) return false
  // Before 1970 is before anything that is asked for.
  return words[at + CTIME + 1]! < 2 ** 31 && words[at + CTIME + 1]! * 2 ** 32 + words[at + CTIME]! >= second
}

function sizeAt(words: Uint32Array, at: number): number {
  return words[at + SIZE + 1]! * 2 ** 32 + words[at + SIZE]!
}

function isOlder(words: Uint32Array, at: number, second: number): boolean {
  return words[at + CTIME + 1] === 0 && words[at + CTIME]! < second
}

/** Whether an open file has no extended attributes; false where the system does not say. */
export function isBareDescriptor(descriptor: number): boolean {
  try {
    return saysNone(listNamesOfDescriptor(descriptor, attributeNames, attributeNames.length))
  } catch (error) {
    if (error instanceof EngineError && error.code === 'UNSUPPORTED') return false
    throw error
  }
}

function isBare(): boolean {
  return saysNone(listNames(path, attributeNames, attributeNames.length))
}

function saysNone(length: number): boolean {
  return length === 0 || length === -EOPNOTSUPP
}

/** False where the system does not say all that is wanted, for whatever reason. */
function look(folder: number, name: Buffer, flags: number, words: Uint32Array, at: number): boolean {
  try {
    if (statx(folder, name, flags, WANTED, result) < 0 || (found[0]! & WANTED) !== WANTED) return false
  } catch (error) {
    if (error instanceof EngineError && error.code === 'UNSUPPORTED') return false
    throw error
  }
  words[at + MARKS] = TRIED | KNOWN
  words[at + MODE] = found[7]! & 0xffff
  words[at + NLINK] = found[4]!
  words[at + UID] = found[5]!
  words[at + GID] = found[6]!
  copyLong(words, at + INO, 8)
  copyLong(words, at + SIZE, 10)
  copyLong(words, at + CTIME, 24)
  words[at + CTIME_NS] = found[26]!
  copyLong(words, at + MTIME, 28)
  words[at + MTIME_NS] = found[30]!
  makeDevice(words, at + RDEV, found[32]!, found[33]!)
  makeDevice(words, at + DEV, found[34]!, found[35]!)
  return true
}

function copyLong(words: Uint32Array, to: number, from: number): void {
  words[to] = found[from]!
  words[to + 1] = found[from + 1]!
}

/** makedev(3): stat(2) has one number of 64 bits where statx(2) has two. */
function makeDevice(words: Uint32Array, at: number, major: number, minor: number): void {
  words[at] = ((major & 0xfff) << 8) | (minor & 0xff) | ((minor & 0xfff00) << 12)
  words[at + 1] = (major & 0xfffff000) | (minor >>> 20)
}

function setLong(words: Uint32Array, at: number, value: bigint): void {
  words[at] = Number(value & 0xffffffffn)
  words[at + 1] = Number((value >> 32n) & 0xffffffffn)
}

/** Sets the seconds, and returns the nanoseconds after them, also before 1970. */
function setTime(words: Uint32Array, at: number, ns: bigint): number {
  const nanoseconds = ((ns % SECOND) + SECOND) % SECOND
  setLong(words, at, (ns - nanoseconds) / SECOND)
  return Number(nanoseconds)
}
