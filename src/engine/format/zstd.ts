import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { EngineError } from '../error.ts'

// A zstd stream (RFC 8878) is a sequence of frames. Node decodes the first one and says nothing about what
// follows, so the ends of frames are found here:
//
//   4         magic 28 b5 2f fd
//   1         bits 7-6 size of the content size, 5 single segment, 3 reserved, 2 checksum, 1-0 size of dictionary ID
//   0 or 1    window: exponent in bits 7-3, mantissa in bits 2-0; absent in a single segment
//   0,1,2,4   dictionary ID
//   0,1,2,4,8 content size; two bytes count from 256
//   blocks    3 bytes: bit 0 last, bits 2-1 type, 21 bits size; then as many bytes, but one for type RLE
//   0 or 4    checksum
//
// A skippable frame is 5x 2a 4d 18, a size of four bytes and as many bytes that mean nothing.

/** What restic calls its default compression is about this level. */
export const DEFAULT_LEVEL = 3

/** restic's decoder refuses larger windows, and so a stream that needs one is damaged or made up. */
const MAX_WINDOW = 2 ** 29
/** No block decodes to more. */
const MAX_BLOCK = 128 * 1024
/** Node counts the room for output in 32 bits; what is longer comes in several steps. */
const MAX_STEP = 2 ** 30

const FRAME_MAGIC = 0xfd2fb528
const SKIPPABLE_MAGIC = 0x184d2a50
const RLE_BLOCK = 1
const RESERVED_BLOCK = 3

interface Frame {
  readonly end: number
  readonly skippable: boolean
  /** As the frame claims; `undefined` where it claims nothing. */
  readonly contentSize: number | undefined
  /** What the blocks can decode to at most. */
  readonly bound: number
}

/** One frame that says how long its content is, without a checksum: what is stored has a better one. */
export function compress(bytes: Uint8Array, level: number = DEFAULT_LEVEL): Buffer {
  return zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: level } })
}

/**
 * Decodes all frames of a stream, which must fill the bytes exactly. `CORRUPT` says that they do not, that a
 * frame is damaged, needs a dictionary or too large a window, or that there is more than `maxOutput` bytes of
 * content: no more memory than about that is taken, whatever the frames claim.
 */
export function decompress(bytes: Uint8Array, maxOutput: number): Buffer {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const contents: Buffer[] = []
  let total = 0
  let at = 0
  do {
    const frame = readFrame(view, at)
    if (!frame.skippable) {
      const content = decodeFrame(bytes.subarray(at, frame.end), frame, at, maxOutput - total)
      contents.push(content)
      total += content.length
    }
    at = frame.end
  } while (at < bytes.length)
  return contents.length === 1 ? contents[0]! : Buffer.concat(contents, total)
}

function decodeFrame(bytes: Uint8Array, frame: Frame, at: number, maxOutput: number): Buffer {
  const { contentSize, bound } = frame
  if (contentSize !== undefined && contentSize > bound) {
    throw corrupt(at, `it claims ${contentSize} bytes of content, but its blocks hold ${bound} at most`)
  }
  if (contentSize !== undefined && contentSize > maxOutput) throw tooLong(at, maxOutput)
  let content: Buffer
  try {
    content = zstdDecompressSync(bytes, {
      // One byte more than expected, or Node allocates a second time to see whether there is more. Where the
      // content size is known, libzstd then writes straight into this and takes no memory for a window.
      chunkSize: Math.max(64, Math.min(contentSize ?? bound, maxOutput, MAX_STEP) + 1),
      maxOutputLength: Math.max(1, maxOutput),
      params: { [constants.ZSTD_d_windowLogMax]: 31 },
    })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ERR_BUFFER_TOO_LARGE') throw tooLong(at, maxOutput)
    if (code === 'ZSTD_error_memory_allocation') {
      throw new EngineError('SYSTEM', `Cannot decompress a frame of ${bytes.length} bytes: out of memory`, {
        cause: error,
      })
    }
    throw corrupt(at, 'its blocks do not decode', error)
  }
  if (content.length > maxOutput) throw tooLong(at, maxOutput)
  if (contentSize !== undefined && content.length !== contentSize) {
    throw corrupt(at, `it holds ${content.length} bytes of content, but claims ${contentSize}`)
  }
  return content
}

function readFrame(view: DataView, start: number): Frame {
  let at = start
  /** Takes the next `size` bytes and gives their offset. */
  const take = (size: number): number => {
    if (size > view.byteLength - at) {
      throw corrupt(start, `its next ${size} bytes at offset ${at} are beyond the end, ${view.byteLength}`)
    }
    at += size
    return at - size
  }

  const magic = view.getUint32(take(4), true)
  if ((magic & 0xfffffff0) === SKIPPABLE_MAGIC) {
    take(view.getUint32(take(4), true))
    return { end: at, skippable: true, contentSize: undefined, bound: 0 }
  }
  if (magic !== FRAME_MAGIC) {
    throw corrupt(start, `it starts with ${hex(magic)}, expected ${hex(FRAME_MAGIC)}`)
  }

  const descriptor = view.getUint8(take(1))
  const singleSegment = (descriptor & 0x20) !== 0
  if ((descriptor & 0x08) !== 0) throw corrupt(start, 'the reserved bit of its header is set')
  if (!singleSegment) {
    const byte = view.getUint8(take(1))
    const window = 2 ** (10 + (byte >>> 3)) * (1 + (byte & 7) / 8)
    if (window > MAX_WINDOW)
      throw corrupt(start, `it needs a window of ${window} bytes, expected at most ${MAX_WINDOW}`)
  }
  const dictionary = readUint(view, take, [0, 1, 2, 4][descriptor & 3]!)
  if (dictionary !== 0) throw corrupt(start, `it needs dictionary ${dictionary}, expected none`)
  const sizeBytes = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6]!
  const size = readUint(view, take, sizeBytes)
  const contentSize = sizeBytes === 0 ? undefined : sizeBytes === 2 ? size + 256 : size

  let bound = 0
  for (let last = false; !last; ) {
    const header = readUint(view, take, 3)
    const type = (header >>> 1) & 3
    const blockSize = header >>> 3
    if (type === RESERVED_BLOCK) throw corrupt(start, `the block at offset ${at - 3} is of the reserved type`)
    if (blockSize > MAX_BLOCK) {
      throw corrupt(start, `the block at offset ${at - 3} has ${blockSize} bytes, expected at most ${MAX_BLOCK}`)
    }
    take(type === RLE_BLOCK ? 1 : blockSize)
    bound += type === 2 ? MAX_BLOCK : blockSize
    last = (header & 1) !== 0
  }
  if ((descriptor & 0x04) !== 0) take(4)
  return { end: at, skippable: false, contentSize, bound }
}

/** A little-endian number; exact up to 2^53, and above that at least as large as any limit. */
function readUint(view: DataView, take: (size: number) => number, size: number): number {
  const at = take(size)
  let value = 0
  for (let i = size - 1; i >= 0; i--) value = value * 256 + view.getUint8(at + i)
  return value
}

function tooLong(at: number, maxOutput: number): EngineError {
  return corrupt(at, `it holds more content than the ${maxOutput} bytes that are left for it`)
}

function corrupt(at: number, state: string, cause?: unknown): EngineError {
  return new EngineError('CORRUPT', `Cannot decompress the frame at offset ${at}: ${state}`, {
    facts: { what: 'zstd stream', where: at },
    cause,
  })
}

function hex(magic: number): string {
  return `0x${magic.toString(16).padStart(8, '0')}`
}
