import { open } from 'node:fs/promises'

/** A password or a location is a line; this keeps a wrong path (a disk image, /dev/zero) from being read to its end. */
const LIMIT = 64 * 1024

export interface SettingFile {
  readonly content: Buffer
  /** Permission bits; undefined for what is no regular file (a pipe of `<(…)`). */
  readonly mode: number | undefined
}

/**
 * A small file with one value in it, read as restic reads its own: a byte-order mark is dropped, UTF-16 becomes UTF-8, and white
 * space goes at both ends. Bytes that are no UTF-8 stay as they are. Throws what `fs` throws, and `RangeError` when too long.
 */
export async function readSettingFile(path: string): Promise<SettingFile> {
  await using file = await open(path, 'r')
  const stats = await file.stat()
  const buffer = Buffer.alloc(LIMIT + 1)
  let length = 0
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, null)
    if (bytesRead === 0) break
    length += bytesRead
  }
  if (length > LIMIT) throw new RangeError(`it holds more than ${LIMIT} bytes`)
  const content = Buffer.from(trimWhiteSpace(decodeByteOrderMark(buffer.subarray(0, length))))
  buffer.fill(0)
  return { content, mode: stats.isFile() ? stats.mode & 0o7777 : undefined }
}

function decodeByteOrderMark(bytes: Buffer): Buffer {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return bytes.subarray(3)
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return Buffer.from(new TextDecoder('utf-16le').decode(bytes))
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return Buffer.from(new TextDecoder('utf-16be').decode(bytes))
  return bytes
}

/**
 * Unicode's White_Space property as UTF-8, the set that Go trims. JavaScript's `trim` differs: it takes U+FEFF and leaves
 * U+0085, and it would need text, which a password need not be.
 */
const WHITE_SPACE = [
  0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x20, 0x85, 0xa0, 0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006,
  0x2007, 0x2008, 0x2009, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000,
].map((code) => Buffer.from(String.fromCodePoint(code)))

/** White space removed at both ends, from bytes of any encoding; the result shares the memory of what is given. */
export function trimWhiteSpace(bytes: Buffer): Buffer {
  let start = 0
  let end = bytes.length
  for (let found = true; found && start < end; ) {
    const space = WHITE_SPACE.find((s) => start + s.length <= end && s.equals(bytes.subarray(start, start + s.length)))
    found = space !== undefined
    start += space?.length ?? 0
  }
  for (let found = true; found && start < end; ) {
    const space = WHITE_SPACE.find((s) => end - s.length >= start && s.equals(bytes.subarray(end - s.length, end)))
    found = space !== undefined
    end -= space?.length ?? 0
  }
  return bytes.subarray(start, end)
}
