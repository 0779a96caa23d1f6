import { isUtf8 } from 'node:buffer'
import { once } from 'node:events'
import { crc32, createDeflateRaw } from 'node:zlib'
import { permissions } from '../../format/mode.ts'
import type { ArchiveMember, ArchiveSink, WriteBytes } from './archive-sink.ts'

// Zip, written from front to back. Before the content a local header that does not know the sizes yet (flag 3), after it a
// descriptor with them; at the end the directory of all, which is what readers go by. Integers are little-endian. Sizes and
// offsets of 4 GiB and more stand in a zip64 extra field, and 0xffffffff in their place.

const LOCAL = 0x04034b50
const DESCRIPTOR = 0x08074b50
const DIRECTORY = 0x02014b50
const END_64 = 0x06064b50
const LOCATOR_64 = 0x07064b50
const END = 0x06054b50

const STORED = 0
const DEFLATED = 8
const UNIX = 3 << 8
const NEEDS = 20
const NEEDS_64 = 45
const HAS_DESCRIPTOR = 0x0008
const IS_UTF8 = 0x0800
const FULL_32 = 0xffff_ffff
const FULL_16 = 0xffff
/** Content that does not compress grows a little: from here on the descriptor has room for more. */
const LARGE = 0xf000_0000

const UNIX_TYPES: Readonly<Partial<Record<ArchiveMember['node']['type'], number>>> = {
  file: 0o100000,
  dir: 0o040000,
  symlink: 0o120000,
}

/** The directory is kept until the end, about 80 bytes and the name for each member. */
export function zipArchive(write: WriteBytes): ArchiveSink {
  const directory: Buffer[] = []
  let offset = 0
  let members = 0
  const put = async (bytes: Buffer) => {
    offset += bytes.length
    await write(bytes)
  }
  return {
    types: new Set(['file', 'dir', 'symlink']),
    hasLinks: false,
    longestName: FULL_16 - 1,
    async add(member, content) {
      const { node, size } = member
      const start = offset
      const isLarge = size >= LARGE
      const head = commonFields(member, isLarge)
      const name = node.type === 'dir' ? Buffer.concat([member.name, Buffer.from('/')]) : member.name
      await put(localHeader(head, name, isLarge))
      const sums = { crc: 0, size: 0, packed: 0 }
      const pieces = node.type === 'file' ? deflated(content, sums) : stored(node.linkTarget, node.type, sums)
      for await (const piece of pieces) {
        sums.packed += piece.length
        await put(piece)
      }
      if (sums.size !== size) throw new RangeError(`Expected ${size} bytes of content, got ${sums.size}`)
      await put(descriptor(sums, isLarge))
      directory.push(directoryEntry(head, name, member, sums, start))
      members += 1
    },
    async end() {
      const start = offset
      for (const entry of directory) await put(entry)
      await put(endOfDirectory(members, start, offset - start))
    },
  }
}

interface Sums {
  crc: number
  size: number
  packed: number
}

async function* deflated(content: AsyncIterable<Buffer>, sums: Sums): AsyncGenerator<Buffer> {
  const deflate = createDeflateRaw()
  const feeding = (async () => {
    try {
      for await (const piece of content) {
        sums.crc = crc32(piece, sums.crc)
        sums.size += piece.length
        if (!deflate.write(piece)) await once(deflate, 'drain')
      }
      deflate.end()
    } catch (error) {
      deflate.destroy(error as Error) // the loop below rejects with it
    }
  })()
  try {
    for await (const piece of deflate) yield piece as Buffer
  } finally {
    deflate.destroy()
    await feeding
  }
}

async function* stored(target: Buffer | undefined, type: string, sums: Sums): AsyncGenerator<Buffer> {
  if (type !== 'symlink' || target === undefined) return
  sums.crc = crc32(target)
  sums.size = target.length
  yield target
}

interface CommonFields {
  readonly needs: number
  readonly flags: number
  readonly method: number
  readonly dosTime: number
  readonly dosDate: number
  /** Extended timestamp: seconds since the epoch, where they fit. */
  readonly timeField: Buffer
}

function commonFields({ name, node }: ArchiveMember, isLarge: boolean): CommonFields {
  const seconds = Number(node.mtime.ns / 1_000_000_000n)
  const { dosTime, dosDate } = dosMoment(seconds)
  const timeField = Buffer.alloc(9)
  timeField.writeUInt16LE(0x5455, 0)
  timeField.writeUInt16LE(5, 2)
  timeField.writeUInt8(1, 4)
  timeField.writeInt32LE(Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, seconds)), 5)
  return {
    needs: isLarge ? NEEDS_64 : NEEDS,
    flags: HAS_DESCRIPTOR | (isUtf8(name) ? IS_UTF8 : 0),
    method: node.type === 'file' ? DEFLATED : STORED,
    dosTime,
    dosDate,
    timeField,
  }
}

/** Two seconds exact, from 1980 to 2107, in no zone; here UTC. Readers that know the extra field take that. */
function dosMoment(seconds: number): { dosTime: number; dosDate: number } {
  const date = new Date(Math.max(315_532_800, Math.min(4_354_819_198, seconds)) * 1000)
  return {
    dosTime: (date.getUTCHours() << 11) | (date.getUTCMinutes() << 5) | (date.getUTCSeconds() >> 1),
    dosDate: ((date.getUTCFullYear() - 1980) << 9) | ((date.getUTCMonth() + 1) << 5) | date.getUTCDate(),
  }
}

function localHeader(head: CommonFields, name: Buffer, isLarge: boolean): Buffer {
  const large = isLarge ? zip64Field([0, 0]) : Buffer.alloc(0)
  const header = Buffer.alloc(30)
  header.writeUInt32LE(LOCAL, 0)
  header.writeUInt16LE(head.needs, 4)
  header.writeUInt16LE(head.flags, 6)
  header.writeUInt16LE(head.method, 8)
  header.writeUInt16LE(head.dosTime, 10)
  header.writeUInt16LE(head.dosDate, 12)
  if (isLarge) header.writeUInt32LE(FULL_32, 18)
  if (isLarge) header.writeUInt32LE(FULL_32, 22)
  header.writeUInt16LE(name.length, 26)
  header.writeUInt16LE(large.length + head.timeField.length, 28)
  return Buffer.concat([header, name, large, head.timeField])
}

function descriptor({ crc, size, packed }: Sums, isLarge: boolean): Buffer {
  const bytes = Buffer.alloc(isLarge ? 24 : 16)
  bytes.writeUInt32LE(DESCRIPTOR, 0)
  bytes.writeUInt32LE(crc, 4)
  if (isLarge) {
    bytes.writeBigUInt64LE(BigInt(packed), 8)
    bytes.writeBigUInt64LE(BigInt(size), 16)
  } else {
    bytes.writeUInt32LE(packed, 8)
    bytes.writeUInt32LE(size, 12)
  }
  return bytes
}

function directoryEntry(head: CommonFields, name: Buffer, { node }: ArchiveMember, sums: Sums, start: number): Buffer {
  // In this order, and only those that are too large for their own place.
  const large = [sums.size, sums.packed, start].filter((value) => value >= FULL_32)
  const extra = Buffer.concat([large.length > 0 ? zip64Field(large) : Buffer.alloc(0), head.timeField])
  const entry = Buffer.alloc(46)
  entry.writeUInt32LE(DIRECTORY, 0)
  entry.writeUInt16LE(UNIX | NEEDS_64, 4)
  entry.writeUInt16LE(large.length > 0 ? NEEDS_64 : head.needs, 6)
  entry.writeUInt16LE(head.flags, 8)
  entry.writeUInt16LE(head.method, 10)
  entry.writeUInt16LE(head.dosTime, 12)
  entry.writeUInt16LE(head.dosDate, 14)
  entry.writeUInt32LE(sums.crc, 16)
  entry.writeUInt32LE(Math.min(sums.packed, FULL_32), 20)
  entry.writeUInt32LE(Math.min(sums.size, FULL_32), 24)
  entry.writeUInt16LE(name.length, 28)
  entry.writeUInt16LE(extra.length, 30)
  const unix = (UNIX_TYPES[node.type] ?? 0) | permissions(node.mode)
  entry.writeUInt32LE(((unix << 16) | (node.type === 'dir' ? 0x10 : 0)) >>> 0, 38)
  entry.writeUInt32LE(Math.min(start, FULL_32), 42)
  return Buffer.concat([entry, name, extra])
}

function zip64Field(values: readonly number[]): Buffer {
  const field = Buffer.alloc(4 + 8 * values.length)
  field.writeUInt16LE(0x0001, 0)
  field.writeUInt16LE(8 * values.length, 2)
  for (const [at, value] of values.entries()) field.writeBigUInt64LE(BigInt(value), 4 + 8 * at)
  return field
}

function endOfDirectory(members: number, start: number, size: number): Buffer {
  const end = Buffer.alloc(22)
  end.writeUInt32LE(END, 0)
  end.writeUInt16LE(Math.min(members, FULL_16), 8)
  end.writeUInt16LE(Math.min(members, FULL_16), 10)
  end.writeUInt32LE(Math.min(size, FULL_32), 12)
  end.writeUInt32LE(Math.min(start, FULL_32), 16)
  if (members < FULL_16 && size < FULL_32 && start < FULL_32) return end
  const large = Buffer.alloc(56 + 20)
  large.writeUInt32LE(END_64, 0)
  large.writeBigUInt64LE(44n, 4)
  large.writeUInt16LE(UNIX | NEEDS_64, 12)
  large.writeUInt16LE(NEEDS_64, 14)
  large.writeBigUInt64LE(BigInt(members), 24)
  large.writeBigUInt64LE(BigInt(members), 32)
  large.writeBigUInt64LE(BigInt(size), 40)
  large.writeBigUInt64LE(BigInt(start), 48)
  large.writeUInt32LE(LOCATOR_64, 56)
  large.writeBigUInt64LE(BigInt(start + size), 64)
  large.writeUInt32LE(1, 72)
  return Buffer.concat([large, end])
}
