import assert from 'node:assert/strict'
import { createCipheriv, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { constants, createZstdCompress, createZstdDecompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import fc from 'fast-check'
import { decompress } from '../format/zstd.ts'
import { createKernels } from './kernels.ts'
import {
  compressBound,
  contentLength,
  createFastContext,
  createZstdContext,
  FAST,
  FAST_LONG,
  type ZstdContext,
  type ZstdContextOptions,
  type ZstdParameters,
} from './zstd-context.ts'

const MIB = 1024 * 1024

/** Undocumented, like what it stands for. */
interface Stream {
  _handle: {
    onerror: (message: string, errno: number, code: string) => void
    writeSync: (...args: [number, Uint8Array, number, number, Uint8Array, number, number]) => void
    close: () => void
  }
  _writeState: Uint32Array
}

const KINDS: Readonly<Record<ZstdContext['kind'], (parameters?: ZstdParameters) => ZstdContext>> = {
  reused: (parameters = FAST) => createZstdContext(parameters),
  public: (parameters = FAST) =>
    createZstdContext({ ...parameters, streams: { compress: () => ({}), decompress: () => ({}) } }),
}

function compressed(context: ZstdContext, bytes: Uint8Array): Buffer {
  const output = Buffer.alloc(compressBound(bytes.length))
  return output.subarray(0, context.compress(bytes, output))
}

function text(length: number): Buffer {
  return Buffer.alloc(length, 'The same words again and again, and now and then others. ')
}

/** Compresses to about half. */
function halfRandom(length: number): Buffer {
  const bytes = createCipheriv('aes-256-ctr', Buffer.alloc(32), Buffer.alloc(16)).update(Buffer.alloc(length))
  for (let at = 0; at < length; at += 64) bytes.fill(0x20, at, Math.min(at + 32, length))
  return bytes
}

test('the fast context compresses short and long inputs in turn, each with the parameters for its length', () => {
  const context = createFastContext()
  for (const length of [100, 300_000, 16 * 1024, 16 * 1024 + 1, 5000]) {
    const content = halfRandom(length)
    const output = Buffer.alloc(compressBound(length))
    const frame = output.subarray(0, context.compress(content, output))
    const parameters = length <= 16 * 1024 ? FAST : FAST_LONG
    assert.ok(frame.equals(compressed(createZstdContext(parameters), content)), `${length} bytes`)
    const again = Buffer.alloc(length)
    assert.ok(context.decompress(frame, again) && again.equals(content))
  }
})

for (const kind of ['reused', 'public'] as const) {
  test(`${kind}: what was compressed decompresses to the same, between views of one memory, and touches nothing else`, () => {
    const context = KINDS[kind]()
    assert.equal(context.kind, kind)
    const kernels = createKernels({ memoryBytes: 4 * MIB })
    const { bytes } = kernels.region('all', 4 * MIB)
    const content = fc.oneof(
      fc.uint8Array({ maxLength: 2000 }).map((values) => Buffer.from(values)),
      fc.nat(200_000).map(text),
      fc.nat(200_000).map(halfRandom),
      fc.nat(70_000).map((length) => randomBytes(length)),
    )
    fc.assert(
      fc.property(content, fc.nat(20), (content, shift) => {
        bytes.fill(0xa5)
        const bound = compressBound(content.length)
        const outputAt = MIB + shift
        bytes.set(content, shift)
        const length = context.compress(
          bytes.subarray(shift, shift + content.length),
          bytes.subarray(outputAt, outputAt + bound),
        )
        const frame = bytes.subarray(outputAt, outputAt + length)
        assert.equal(bytes[outputAt - 1], 0xa5)
        assert.equal(bytes[outputAt + bound], 0xa5)
        assert.ok(zstdDecompressSync(frame).equals(content))
        assert.ok(decompress(frame, content.length).equals(content))
        assert.equal(frame[4]! & 0x04, 0, 'no checksum')
        assert.notEqual(frame[4]! & 0xe0, 0, 'the size of the content')

        const backAt = 2 * MIB + shift
        assert.equal(context.decompress(frame, bytes.subarray(backAt, backAt + content.length)), true)
        assert.ok(content.equals(bytes.subarray(backAt, backAt + content.length)))
        assert.equal(bytes[backAt - 1], 0xa5)
        assert.equal(bytes[backAt + content.length], 0xa5)
      }),
      { numRuns: 60 },
    )
  })

  test(`${kind}: a frame does not depend on what was compressed before, and the parameters count`, () => {
    const content = halfRandom(300_000)
    for (const parameters of [FAST, FAST_LONG, { level: 1 }, { level: 3 }, { level: -5 }, { level: 9, minMatch: 5 }]) {
      const context = KINDS[kind](parameters)
      compressed(context, text(5000))
      compressed(context, Buffer.alloc(0))
      const params: Record<number, number> = { [constants.ZSTD_c_compressionLevel]: parameters.level }
      if ('windowLog' in parameters && parameters.windowLog) params[constants.ZSTD_c_windowLog] = parameters.windowLog
      if ('hashLog' in parameters && parameters.hashLog) params[constants.ZSTD_c_hashLog] = parameters.hashLog
      if ('minMatch' in parameters && parameters.minMatch) params[constants.ZSTD_c_minMatch] = parameters.minMatch
      const chunkSize = compressBound(content.length)
      const expected = zstdCompressSync(content, { params, chunkSize, pledgedSrcSize: content.length })
      assert.ok(compressed(context, content).equals(expected), JSON.stringify(parameters))
    }
  })

  test(`${kind}: the longest blob goes both ways, also when nothing can be saved`, () => {
    const context = KINDS[kind]()
    for (const content of [Buffer.alloc(8 * MIB), randomBytes(8 * MIB)]) {
      const frame = compressed(context, content)
      const back = Buffer.alloc(content.length)
      assert.ok(context.decompress(frame, back))
      assert.ok(back.equals(content))
    }
  })

  test(`${kind}: what other writers make is decompressed: with a checksum, a window, an unusual level`, () => {
    const context = KINDS[kind]()
    const content = halfRandom(400_000)
    const back = Buffer.alloc(content.length)
    for (const params of [
      { [constants.ZSTD_c_checksumFlag]: 1 },
      { [constants.ZSTD_c_windowLog]: 12 },
      { [constants.ZSTD_c_compressionLevel]: 19 },
    ]) {
      back.fill(0)
      assert.ok(context.decompress(zstdCompressSync(content, { params, pledgedSrcSize: content.length }), back))
      assert.ok(back.equals(content))
    }
  })

  test(`${kind}: what is not one whole frame of the expected content is left to others`, () => {
    const context = KINDS[kind]()
    const content = text(5000)
    const frame = compressed(context, content)
    const sizeless = zstdCompressSync(content)
    const skippable = Buffer.from('502a4d1803000000aabbcc', 'hex')
    const cases: [name: string, input: Buffer, room: number][] = [
      ['less room', frame, 4999],
      ['more room', frame, 5001],
      ['no room', frame, 0],
      ['a byte missing', frame.subarray(0, -1), 5000],
      ['a byte more', Buffer.concat([frame, Buffer.alloc(1)]), 5000],
      ['two frames', Buffer.concat([frame, frame]), 10_000],
      ['a skippable frame before it', Buffer.concat([skippable, frame]), 5000],
      ['a skippable frame alone', skippable, 0],
      ['nothing', Buffer.alloc(0), 0],
      ['no frame', content, 5000],
      ['a dictionary', Buffer.from([...frame.subarray(0, 4), frame[4]! | 1, ...frame.subarray(5)]), 5000],
    ]
    if (sizeless[4]! >> 5 === 0) cases.push(['no size of the content', sizeless, 5000])
    for (let end = 0; end < 20; end++) cases.push([`${end} bytes of it`, frame.subarray(0, end), 5000])
    for (const [name, input, room] of cases) {
      const output = Buffer.alloc(room, 0xa5)
      assert.equal(context.decompress(input, output), false, name)
      assert.ok(
        output.every((byte) => byte === 0xa5),
        name,
      )
      assert.ok(context.decompress(frame, Buffer.alloc(5000)), `after ${name}`)
    }
  })

  test(`${kind}: whatever is damaged, it is an error or other content, and the next frame is right`, () => {
    const context = KINDS[kind]()
    const content = halfRandom(3000)
    const frame = compressed(context, content)
    const output = Buffer.alloc(content.length + 1)
    let refused = 0
    for (let at = 0; at < frame.length; at += 3) {
      const damaged = Buffer.from(frame)
      damaged[at]! ^= 1 << (at % 8)
      output[content.length] = 0xa5
      try {
        if (!context.decompress(damaged, output.subarray(0, content.length))) refused++
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'CORRUPT')
        refused++
      }
      assert.equal(output[content.length], 0xa5)
      assert.ok(context.decompress(frame, output.subarray(0, content.length)))
      assert.ok(content.equals(output.subarray(0, content.length)))
    }
    assert.ok(refused > 0)
  })

  test(`${kind}: a wrong checksum is an error`, () => {
    const context = KINDS[kind]()
    const params = { [constants.ZSTD_c_checksumFlag]: 1 }
    const frame = zstdCompressSync(text(1000), { params, pledgedSrcSize: 1000 })
    frame[frame.length - 1]! ^= 1
    assert.throws(() => context.decompress(frame, Buffer.alloc(1000)), { code: 'CORRUPT' })
  })

  test(`${kind}: an output without room for the worst case is refused before anything is written`, () => {
    const context = KINDS[kind]()
    for (const length of [0, 1, 5000, 200_000]) {
      const output = Buffer.alloc(compressBound(length) - 1, 0xa5)
      assert.throws(() => context.compress(Buffer.alloc(length), output), RangeError)
      assert.ok(output.every((byte) => byte === 0xa5))
    }
  })

  test(`${kind}: a closed context opens again`, () => {
    const context = KINDS[kind]()
    for (let i = 0; i < 3; i++) {
      const frame = compressed(context, text(100))
      assert.ok(context.decompress(frame, Buffer.alloc(100)))
      context.close()
      context.close()
    }
  })
}

test('levels that the runtime would misunderstand are refused', () => {
  for (const level of [-1, 20, 1.5, Number.NaN]) {
    assert.throws(() => createZstdContext({ level }), RangeError)
  }
})

test('nothing random fits less than its bound', () => {
  const context = createZstdContext()
  for (const length of [0, 1, 255, 256, 131_071, 131_072, 131_073, 300_000]) {
    assert.ok(compressed(context, randomBytes(length)).length < compressBound(length))
  }
})

/** Streams that are the real ones but for what a test changes. */
function streams(change: (stream: Stream, which: 'compress' | 'decompress') => void) {
  const made: Stream[] = []
  const make = (which: 'compress' | 'decompress') => () => {
    const stream = (which === 'compress' ? createZstdCompress() : createZstdDecompress()) as unknown as Stream
    change(stream, which)
    made.push(stream)
    return stream
  }
  return { made, options: { compress: make('compress'), decompress: make('decompress') } }
}

const otherRuntimes: Readonly<Record<string, ZstdContextOptions['streams']>> = {
  'making streams fails': {
    compress: () => {
      throw new Error('gone')
    },
    decompress: () => createZstdDecompress(),
  },
  'streams have no handle': { compress: () => ({}), decompress: () => ({}) },
  'handles have no synchronous write': streams((stream) => {
    Object.defineProperty(stream._handle, 'writeSync', { value: undefined })
  }).options,
  'writes do nothing': streams((stream) => {
    stream._handle.writeSync = () => {}
  }).options,
  'the state is elsewhere': streams((stream) => {
    stream._writeState = new Uint32Array(2)
  }).options,
  'the state means something else': streams((stream) => {
    const write = stream._handle.writeSync.bind(stream._handle)
    stream._handle.writeSync = (...args) => {
      write(...args)
      stream._writeState.reverse()
    }
  }).options,
  'errors are not reported': streams((stream) => {
    const write = stream._handle.writeSync.bind(stream._handle)
    let handler: Stream['_handle']['onerror'] | undefined
    stream._handle.writeSync = (...args) => {
      handler = stream._handle.onerror
      stream._handle.onerror = () => {
        stream._writeState.fill(0)
      }
      write(...args)
      stream._handle.onerror = handler
    }
  }).options,
  'the content comes out wrong': streams((stream, which) => {
    const write = stream._handle.writeSync.bind(stream._handle)
    stream._handle.writeSync = (...args) => {
      write(...args)
      if (which === 'decompress') args[4][3]! ^= 1
    }
  }).options,
}
for (const [name, options] of Object.entries(otherRuntimes)) {
  test(`where ${name}, the documented calls are used`, () => {
    const context = createZstdContext({ ...FAST, streams: options })
    assert.equal(context.kind, 'public')
    const content = halfRandom(1000)
    const back = Buffer.alloc(1000)
    assert.ok(context.decompress(compressed(context, content), back))
    assert.ok(back.equals(content))
  })
}

test('after any failure the context is closed and a new one takes its place', () => {
  let fault: 'error' | 'unfinished' | 'throws' | undefined
  let closed = 0
  const { made, options } = streams((stream) => {
    const { _handle: handle } = stream
    const write = handle.writeSync.bind(handle)
    const close = handle.close.bind(handle)
    handle.close = () => {
      closed++
      close()
    }
    handle.writeSync = (...args) => {
      const kind = fault
      fault = undefined
      if (kind === 'throws') throw new TypeError('not now')
      if (kind === 'error') handle.onerror('Allocation error', 64, 'ZSTD_error_memory_allocation')
      else if (kind === 'unfinished') stream._writeState.set([3, 3])
      else write(...args)
    }
  })
  const context = createZstdContext({ ...FAST, streams: options })
  assert.equal(context.kind, 'reused')
  const content = text(1000)
  const frame = compressed(context, content)
  const back = Buffer.alloc(1000)
  for (const kind of ['error', 'unfinished', 'throws'] as const) {
    for (const direction of ['compress', 'decompress'] as const) {
      const before = { made: made.length, closed }
      fault = kind
      assert.throws(
        () => (direction === 'compress' ? compressed(context, content) : context.decompress(frame, back)),
        kind === 'throws' ? TypeError : { code: direction === 'compress' ? 'SYSTEM' : 'CORRUPT' },
      )
      assert.equal(fault, undefined, 'the fault was met')
      assert.ok(compressed(context, content).equals(frame))
      assert.ok(context.decompress(frame, back) && back.equals(content))
      assert.deepEqual({ made: made.length, closed }, { made: before.made + 1, closed: before.closed + 1 })
    }
  }
})

test('how much content is claimed is said of one whole frame alone', () => {
  const frame = zstdCompressSync(Buffer.alloc(70_000), { pledgedSrcSize: 70_000 })
  assert.equal(contentLength(frame), 70_000)
  for (const other of [frame.subarray(0, -1), Buffer.concat([frame, frame]), frame.subarray(1), Buffer.alloc(0)]) {
    assert.equal(contentLength(other), undefined)
  }
})
