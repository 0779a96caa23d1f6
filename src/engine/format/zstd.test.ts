import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { constants, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { compress, decompress } from './zstd.ts'

const MIB = 1024 * 1024
const BLOCK = 128 * 1024
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
const MAGIC = '28b52ffd'

const uint = (value: number | bigint, size: number) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes.subarray(0, size)
}

const block = (type: 'raw' | 'rle', size: number, last: boolean) =>
  uint((size << 3) | ((type === 'rle' ? 1 : 0) << 1) | (last ? 1 : 0), 3)

const raw = (content: Buffer) => Buffer.concat([block('raw', content.length, true), content])

/** Blocks of zeros, four bytes for each 128 KiB. */
const zeros = (blocks: number) =>
  Buffer.concat(
    Array.from({ length: blocks }, (_, i) => Buffer.concat([block('rle', BLOCK, i === blocks - 1), Buffer.of(0)])),
  )

const skippable = (content: Buffer, magic = 0x184d2a50) =>
  Buffer.concat([uint(magic, 4), uint(content.length, 4), content])

/** A frame with the smallest window and without a content size. */
const unsized = (blocks: Buffer) => Buffer.concat([hex(`${MAGIC} 00 58`), blocks])

/** A frame in a single segment that claims a content size, in eight bytes. */
const sized = (size: number | bigint, blocks: Buffer) => Buffer.concat([hex(`${MAGIC} e0`), uint(size, 8), blocks])

const refused = (bytes: Uint8Array, maxOutput: number, reason: RegExp) =>
  assert.throws(() => decompress(bytes, maxOutput), { name: 'EngineError', code: 'CORRUPT', message: reason })

const text = Buffer.from('hold fast to what is good; '.repeat(2000))

test('decompression inverts compression at every level', () => {
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 2000 }),
    fc.nat(300_000).map((size) => text.subarray(0, size)),
  )
  fc.assert(
    fc.property(content, fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }), (content, level) => {
      const packed = compress(content, level)
      assert.deepEqual(decompress(packed, content.length), Buffer.from(content))
    }),
  )
})

test('a large content of many blocks comes back', () => {
  for (const content of [randomBytes(5 * MIB + 1), Buffer.alloc(5 * MIB, 'abc'), Buffer.alloc(0)]) {
    assert.deepEqual(decompress(compress(content), content.length), content)
  }
})

test('what is compressed says how long its content is', () => {
  for (const size of [1, 255, 256, 70_000, 3 * MIB]) {
    const packed = compress(Buffer.alloc(size, 'xyz'))
    refused(packed, size - 1, new RegExp(`more content than the ${size - 1} bytes`))
    const descriptor = packed[4]!
    assert.ok((descriptor & 0x20) !== 0 || descriptor >> 6 !== 0)
  }
})

test('several frames are one content, with and without content sizes, checksums and skippable frames between', () => {
  const frame = fc
    .tuple(
      fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes)),
      fc.nat(4),
    )
    .map(([content, form]) => {
      const checksum = { params: { [constants.ZSTD_c_checksumFlag]: 1, [constants.ZSTD_c_contentSizeFlag]: 0 } }
      const packed = [
        () => compress(content),
        () => zstdCompressSync(content, checksum),
        () => unsized(raw(content)),
        () => sized(content.length, raw(content)),
        () => Buffer.concat([skippable(content, 0x184d2a5f), compress(content)]),
      ][form]!()
      return { content, packed }
    })
  fc.assert(
    fc.property(fc.array(frame, { minLength: 1, maxLength: 6 }), (frames) => {
      const content = Buffer.concat(frames.map((frame) => frame.content))
      const packed = Buffer.concat([
        skippable(Buffer.from('x')),
        ...frames.map((frame) => frame.packed),
        skippable(Buffer.alloc(0)),
      ])
      assert.deepEqual(decompress(packed, content.length), content)
      if (content.length > 0) refused(packed, content.length - 1, /more content/)
    }),
  )
})

test('skippable frames alone hold nothing', () => {
  assert.deepEqual(decompress(skippable(text), 0), Buffer.alloc(0))
})

test('a content without a size is bounded by what the caller expects', () => {
  const packed = unsized(zeros(8))
  assert.deepEqual(decompress(packed, MIB), Buffer.alloc(MIB))
  refused(packed, MIB - 1, /more content/)
  refused(packed, 0, /more content/)
})

test('what blows up is stopped at the limit', () => {
  const bomb = unsized(zeros(100_000))
  assert.ok(bomb.length < 500_000)
  const before = process.memoryUsage().rss
  refused(bomb, 4 * MIB, /more content/)
  refused(sized(100_000 * BLOCK, zeros(100_000)), 4 * MIB, /more content/)
  assert.ok(process.memoryUsage().rss - before < 128 * MIB)
})

test('a content size is not believed beyond what the blocks can hold', () => {
  for (const size of [2n ** 33n, 2n ** 63n, 2n ** 64n - 1n]) {
    refused(sized(size, raw(text.subarray(0, 100))), Number.MAX_SAFE_INTEGER, /blocks hold 100 at most/)
  }
})

test('a wrong content size is refused', () => {
  const content = text.subarray(0, 100)
  assert.deepEqual(decompress(sized(100, raw(content)), 100), content)
  refused(sized(101, raw(content)), 1000, /claims 101 bytes/)
  refused(sized(99, raw(content)), 1000, /frame at offset 0/)
  refused(sized(0, raw(content)), 1000, /frame at offset 0/)
})

test('a wrong checksum is refused', () => {
  const packed = zstdCompressSync(text, { params: { [constants.ZSTD_c_checksumFlag]: 1 } })
  assert.deepEqual(decompress(packed, text.length), text)
  packed[packed.length - 1]! ^= 1
  refused(packed, text.length, /do not decode/)
})

test('bytes after the last frame are refused', () => {
  for (const garbage of [
    Buffer.of(0),
    Buffer.from('\n'),
    hex(MAGIC),
    Buffer.alloc(64),
    skippable(text).subarray(0, -1),
  ]) {
    refused(Buffer.concat([compress(text), garbage]), text.length, /frame at offset/)
  }
})

test('no prefix of a frame is taken for one', () => {
  const packed = zstdCompressSync(text, { params: { [constants.ZSTD_c_checksumFlag]: 1 } })
  for (let size = 0; size < packed.length; size++) refused(packed.subarray(0, size), text.length, /beyond the end/)
})

test('windows up to 512 MiB are accepted, larger ones are not', () => {
  const content = text.subarray(0, 10)
  const window = (byte: number) => Buffer.concat([hex(`${MAGIC} 00`), Buffer.of(byte), raw(content)])
  assert.deepEqual(decompress(window(19 << 3), 10), content)
  refused(window((19 << 3) | 1), 10, /window of 603979776 bytes/)
  refused(window(0xff), 10, /window of/)
})

test('a window that is really used is found again', () => {
  const random = randomBytes(MIB)
  const content = Buffer.concat([random, Buffer.alloc(8 * MIB), random])
  const packed = zstdCompressSync(content, {
    params: {
      [constants.ZSTD_c_windowLog]: 27,
      [constants.ZSTD_c_enableLongDistanceMatching]: 1,
      [constants.ZSTD_c_contentSizeFlag]: 0,
    },
  })
  assert.ok(packed.length < 1.2 * MIB)
  assert.deepEqual(decompress(packed, content.length), content)
})

test('dictionaries are refused, dictionary 0 means none', () => {
  const content = text.subarray(0, 10)
  assert.deepEqual(decompress(Buffer.concat([hex(`${MAGIC} 03 58 00000000`), raw(content)]), 10), content)
  for (const header of ['01 58 07', '02 58 0700', '03 58 07000000', '23 00000080 0a']) {
    refused(Buffer.concat([hex(`${MAGIC} ${header}`), raw(content)]), 10, /needs dictionary/)
  }
})

test('reserved bits, reserved blocks and blocks above 128 KiB are refused', () => {
  refused(Buffer.concat([hex(`${MAGIC} 08 58`), raw(text.subarray(0, 9))]), 100, /reserved bit/)
  refused(unsized(uint((9 << 3) | 7, 3)), 100, /reserved type/)
  refused(unsized(raw(Buffer.alloc(BLOCK + 1))), MIB, /expected at most 131072/)
})

test('other formats are named by what they start with', () => {
  refused(hex('1f8b0800 00000000'), 10, /starts with 0x00088b1f, expected 0xfd2fb528/)
  refused(hex('1eb52ffd 00000000'), 10, /starts with 0xfd2fb51e/)
})

test('damage anywhere is reported as corrupt, or changes no more than content', () => {
  const packed = compress(text.subarray(0, 5000))
  fc.assert(
    fc.property(fc.nat(packed.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = Buffer.from(packed)
      damaged[at]! ^= change
      try {
        assert.ok(decompress(damaged, 5000).length <= 5000)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'CORRUPT')
      }
    }),
    { numRuns: 500 },
  )
})
