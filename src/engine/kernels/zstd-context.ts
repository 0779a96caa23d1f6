import { constants, createZstdCompress, createZstdDecompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { EngineError } from '../error.ts'
import { isPublicOnly } from '../process-library.ts'
import { copyBytes } from './copy-bytes.ts'
import { releaseMemory } from './release-memory.ts'

// Compression without the set-up that `zlib`'s calls do each time: contexts of libzstd are kept, and bytes go from one
// view of memory to another without a copy. For blobs of a few kilobytes that is two to four times as fast.
//
// The way there is the native half of zlib's streams, `stream._handle`, which Node does not document. Hence:
// - `writeSync` reports how much room and input is left in `stream._writeState`, but not after an error; both words
//   are set to what can never be left before each call, and looked at after it.
// - Offsets beyond a view end the process. They are never computed here: a view is passed with its whole length.
// - An error sticks to the handle, also over `reset()`, and a frame that was not finished is gone on with in the next
//   call, not always with an error. So a context that did anything but finish a frame is closed, and the next call
//   makes a new one; and only what is a whole frame by its headers is decompressed.
// - Errors come through `onerror`, which by default destroys the stream and with it the context.
// - At the start a sample is compressed, decompressed, and damaged. Unless all comes out as it should, which includes
//   that a later release has such a handle at all, the documented calls do everything.

export interface ZstdParameters {
  /** 1 to 19, or below -1 for speed. The runtime takes -1 for no level at all. */
  readonly level: number
  /** Exponent of how far back a match may be; otherwise as the level has it. */
  readonly windowLog?: number | undefined
  /** Exponent of the size of the table of matches; otherwise as the level has it. */
  readonly hashLog?: number | undefined
  /** Bytes of the shortest match that is looked for; otherwise as the level has it. */
  readonly minMatch?: number | undefined
}

/**
 * The fastest that is as small as restic's default. Measured against it on source text in files of 6 kB and on a database:
 * level 1 with `hashLog: 13, minMatch: 6` takes 3 to 5 % more room at 1.4 times the speed, this 1 % less.
 */
export const FAST: ZstdParameters = { level: 2 }

/**
 * The same for inputs longer than `SHORT`. By itself level 2 looks 1 MiB back with a table of half the size: on a database that
 * takes a tenth more time, and 0.4 % more room.
 */
export const FAST_LONG: ZstdParameters = { level: 2, windowLog: 18, hashLog: 17, minMatch: 6 }

/** Up to this length level 2 looks for shorter matches. */
const SHORT = 16 * 1024

/** For one thread. Input and output may be views of one memory, but must not overlap. */
export interface ZstdContext {
  /** Whether contexts are reused, or the documented calls make a new one each time. */
  readonly kind: 'reused' | 'public'
  /**
   * Compresses to one frame, which says how long its content is and has no checksum; returns its length. `RangeError`
   * unless there is room for `compressBound(input.length)` bytes; `SYSTEM` when libzstd fails, as for want of memory.
   */
  compress(input: Uint8Array, output: Uint8Array): number
  /**
   * Decompresses what `compress` made and what other writers usually make: one whole frame that claims as much content
   * as there is room for. False, and nothing was done, when the input is anything else; it may still be valid, and a
   * decoder of all the format can tell. `CORRUPT` when it does not decode; the output is then undefined.
   */
  decompress(input: Uint8Array, output: Uint8Array): boolean
  /** Gives memory back before the collector would. A call after it makes a new context. */
  close(): void
}

/** What `length` bytes compress to at most (`ZSTD_COMPRESSBOUND` in zstd.h). */
export function compressBound(length: number): number {
  const margin = length < 131072 ? (131072 - length) >>> 11 : 0
  return length + Math.floor(length / 256) + margin
}

/** What is used of zlib's streams that is not documented. */
interface NativeStream {
  readonly _handle: {
    onerror: (message: string, errno: number, code: string) => void
    writeSync(
      flush: number,
      input: Uint8Array,
      inputOffset: number,
      inputLength: number,
      output: Uint8Array,
      outputOffset: number,
      outputLength: number,
    ): void
    close(): void
  }
  /** Room in the output and bytes of the input that the last call left. */
  readonly _writeState: Uint32Array
}

export interface ZstdContextOptions extends ZstdParameters {
  /** Make the streams whose native half is used. For tests of what happens when they are not what they were. */
  readonly streams?: { readonly compress: () => unknown; readonly decompress: () => unknown } | undefined
}

/** Falls back to the documented calls where reuse does not do what it should. */
export function createZstdContext(options: ZstdContextOptions = FAST): ZstdContext {
  const { level, windowLog, hashLog, minMatch, streams } = options
  if (!Number.isInteger(level) || level === -1 || level > 19) {
    throw new RangeError(`Cannot compress with level ${level}: expected 1 to 19, or less than -1`)
  }
  const params: Record<number, number> = { [constants.ZSTD_c_compressionLevel]: level }
  if (windowLog !== undefined) params[constants.ZSTD_c_windowLog] = windowLog
  if (hashLog !== undefined) params[constants.ZSTD_c_hashLog] = hashLog
  if (minMatch !== undefined) params[constants.ZSTD_c_minMatch] = minMatch

  if (isPublicOnly() && streams === undefined) return publicContext(params)
  const context = reusedContext(
    streams?.compress ?? (() => createZstdCompress({ params })),
    streams?.decompress ?? (() => createZstdDecompress()),
  )
  return doesWhatItShould(context) ? context : publicContext(params)
}

/** One for inputs of any length: compresses the short ones with `FAST`, others with `FAST_LONG`. */
export function createFastContext(): Pick<ZstdContext, 'compress' | 'decompress'> {
  const short = createZstdContext(FAST)
  let long: ZstdContext | undefined
  return {
    compress(input, output) {
      if (input.length <= SHORT) return short.compress(input, output)
      long ??= createZstdContext(FAST_LONG)
      return long.compress(input, output)
    },
    decompress: (input, output) => short.decompress(input, output),
  }
}

function reusedContext(makeCompressor: () => unknown, makeDecompressor: () => unknown): ZstdContext {
  const compressor = reusedStream(makeCompressor)
  const decompressor = reusedStream(makeDecompressor)
  return {
    kind: 'reused',
    compress(input, output) {
      checkRoom(input, output)
      const problem = compressor.run(input, output)
      if (problem !== undefined) throw notCompressed(input, problem)
      return output.length - compressor.room()
    },
    decompress(input, output) {
      if (contentLength(input) !== output.length) return false
      const problem = decompressor.run(input, output)
      if (problem !== undefined) throw corrupt(input, problem)
      return true
    },
    close() {
      compressor.close()
      decompressor.close()
    },
  }
}

/** More than any call leaves: no view is that long. */
const NOT_WRITTEN = 0xffffffff

interface ReusedStream {
  /** Runs one frame; returns what went wrong, if anything. */
  run(input: Uint8Array, output: Uint8Array): string | undefined
  /** Bytes of the output that the last run left. */
  room(): number
  close(): void
}

function reusedStream(make: () => unknown): ReusedStream {
  let stream: NativeStream | undefined
  let error: string | undefined
  let room = 0
  const open = (): NativeStream => {
    const opened = make() as NativeStream
    opened._handle.onerror = (message, _errno, code) => {
      error = `${message} (${code})`
    }
    return opened
  }
  const close = () => {
    const handle = stream?._handle
    stream = undefined
    handle?.close()
  }
  return {
    run(input, output) {
      stream ??= open()
      const state = stream._writeState
      state[0] = NOT_WRITTEN
      state[1] = NOT_WRITTEN
      error = undefined
      let finished = false
      try {
        stream._handle.writeSync(constants.ZSTD_e_end, input, 0, input.length, output, 0, output.length)
        room = state[0]!
        finished = error === undefined && state[1] === 0 && room <= output.length
      } finally {
        if (!finished) close()
      }
      return finished ? undefined : (error ?? `${state[1]} bytes of input and ${state[0]} of room are left`)
    },
    room: () => room,
    close,
  }
}

function publicContext(params: Record<number, number>): ZstdContext {
  return {
    kind: 'public',
    compress(input, output) {
      checkRoom(input, output)
      let frame: Buffer
      try {
        // With all the room at once, there is one step and one buffer.
        const chunkSize = Math.max(64, compressBound(input.length))
        frame = zstdCompressSync(input, { params, chunkSize, pledgedSrcSize: input.length })
      } catch (cause) {
        throw notCompressed(input, String(cause), cause)
      }
      const { length } = frame
      take(frame, output)
      return length
    },
    decompress(input, output) {
      if (contentLength(input) !== output.length) return false
      let content: Buffer
      try {
        const chunkSize = Math.max(64, output.length + 1)
        content = zstdDecompressSync(input, { chunkSize, maxOutputLength: Math.max(1, output.length) })
      } catch (cause) {
        throw corrupt(input, String(cause), cause)
      }
      if (content.length !== output.length) {
        throw corrupt(input, `it holds ${content.length} bytes of content, but claims ${output.length}`)
      }
      take(content, output)
      return true
    },
    close() {},
  }
}

/**
 * Moves a result to where it is wanted. What is left to the collector takes new pages each time, and it sees only small objects: of a
 * first backup that was a fifth.
 */
function take(result: Buffer, output: Uint8Array): void {
  copyBytes(result, output)
  // A result is the beginning of the room that was made for it, unless that is a part of Node's pool.
  if (result.buffer.byteLength > Buffer.poolSize) releaseMemory(new Uint8Array(result.buffer))
}

/**
 * How much content headers claim of one frame (RFC 8878 section 3.1.1) from the first byte to the last, without a dictionary.
 * Undefined for anything else, which `ZstdContext.decompress` leaves to another decoder.
 */
export function contentLength(bytes: Uint8Array): number | undefined {
  const { length } = bytes
  if (length < 6 || bytes[0] !== 0x28 || bytes[1] !== 0xb5 || bytes[2] !== 0x2f || bytes[3] !== 0xfd) return undefined
  const descriptor = bytes[4]!
  const singleSegment = (descriptor & 0x20) !== 0
  if ((descriptor & 0x0b) !== 0) return undefined // the reserved bit, or the ID of a dictionary
  let at = singleSegment ? 5 : 6
  const sizeBytes = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6]!
  if (sizeBytes === 0) return undefined
  let claimed = sizeBytes === 2 ? 256 : 0
  for (let i = 0; i < sizeBytes; i++) claimed += (bytes[at + i] ?? 0) * 256 ** i
  at += sizeBytes
  for (let last = false; !last; ) {
    if (at + 3 > length) return undefined
    const header = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)
    const isRunLength = ((header >>> 1) & 3) === 1
    at += 3 + (isRunLength ? 1 : header >>> 3)
    last = (header & 1) !== 0
  }
  if ((descriptor & 0x04) !== 0) at += 4
  return at === length ? claimed : undefined
}

/** Tries out a context that rests on what is not documented. It is usable after its errors, or it is not used. */
function doesWhatItShould(context: ZstdContext): boolean {
  try {
    const content = Buffer.from('a sample, '.repeat(60))
    const memory = Buffer.alloc(4096)
    const roundTrip = (): boolean => {
      memory.fill(0xa5)
      memory.set(content, 100)
      const room = compressBound(content.length)
      const length = context.compress(memory.subarray(100, 100 + content.length), memory.subarray(1000, 1000 + room))
      const frame = memory.subarray(1000, 1000 + length)
      const output = memory.subarray(3000, 3000 + content.length)
      return (
        contentLength(frame) === content.length &&
        (frame[4]! & 0x04) === 0 && // no checksum
        memory[1000 + room] === 0xa5 &&
        zstdDecompressSync(frame).equals(content) &&
        context.decompress(frame, output) &&
        output.equals(content) &&
        memory[2999] === 0xa5 &&
        memory[3000 + content.length] === 0xa5
      )
    }
    if (!roundTrip() || !roundTrip()) return false

    // A block whose compressed literals are none.
    const damaged = Buffer.from('28b52ffd2010250000ffffffff', 'hex')
    try {
      context.decompress(damaged, memory.subarray(0, 16))
      return false
    } catch (error) {
      if (!(error instanceof EngineError && error.code === 'CORRUPT')) return false
    }
    return roundTrip()
  } catch {
    // Whatever an interface does that is not what it was: the documented one is there.
    return false
  }
}

function checkRoom(input: Uint8Array, output: Uint8Array): void {
  const bound = compressBound(input.length)
  if (output.length >= bound) return
  throw new RangeError(`Cannot compress ${input.length} bytes into ${output.length}: expected room for ${bound}`)
}

function notCompressed(input: Uint8Array, problem: string, cause?: unknown): EngineError {
  return new EngineError('SYSTEM', `Cannot compress ${input.length} bytes: ${problem}`, { cause })
}

function corrupt(input: Uint8Array, problem: string, cause?: unknown): EngineError {
  return new EngineError('CORRUPT', `Cannot decompress a frame of ${input.length} bytes: ${problem}`, {
    facts: { what: 'zstd frame' },
    cause,
  })
}
