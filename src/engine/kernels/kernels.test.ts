import assert from 'node:assert/strict'
import { createCipheriv, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { createChunker, MAX_CHUNK, MIN_CHUNK } from './chunker.ts'
import { bestImplementation, createKernels, type Implementation, type Kernels } from './kernels.ts'
import { poly1305 } from './poly1305.ts'
import { randomPolynomial } from './polynomial.ts'

const MIB = 1024 * 1024
const POLYNOMIAL = 0x25b468838dcb75n
const IMPLEMENTATIONS: readonly Implementation[] = ['relaxed-simd', 'simd', 'plain']
/** What the chunker's WebAssembly searches at once: 16 stripes of so many bytes. */
const STRIPE = 1088

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')

/** Bytes that look random and are the same each time. */
function keyStream(size: number, seed = 0): Buffer {
  const iv = Buffer.alloc(16)
  iv[0] = seed
  return createCipheriv('aes-256-ctr', Buffer.alloc(32), iv).update(Buffer.alloc(size))
}

/** Pages of a database: headers, free space in the middle, rows that grow from the end. */
function databaseLike(size: number): Buffer {
  const bytes = Buffer.alloc(size)
  const noise = keyStream(size, 9)
  for (let page = 0; page + 4096 <= size; page += 4096) {
    bytes.writeUInt8(page % 3 === 0 ? 0x0d : 0x05, page)
    bytes.writeUInt16BE(page % 4093, page + 3)
    const used = (page / 4096) % 5 === 0 ? 0 : 512 + (noise[page]! << 3)
    noise.copy(bytes, page + 4096 - used, page, page + used)
    for (let row = page + 4096 - used; row + 20 < page + 4096; row += 64) bytes.write('user-0000@example', row)
  }
  return bytes
}

function lengthsOf(nextLength: (start: number, end: number) => number, start: number, end: number): number[] {
  const found: number[] = []
  for (let at = start; at < end; at += found.at(-1)!) found.push(nextLength(at, end))
  return found
}

interface Cuts {
  readonly name: string
  readonly bytes: Buffer
  readonly polynomial: bigint
  readonly lengths: readonly number[]
}

let known: Cuts[] | undefined
function twinsCuts(): readonly Cuts[] {
  if (known) return known
  const size = 5 * MIB
  const contents = {
    random: keyStream(size, 1),
    zeros: Buffer.alloc(size),
    constant: Buffer.alloc(9 * MIB, 0x41),
    'all ones': Buffer.alloc(size, 0xff),
    'a database': databaseLike(size),
    'a short period': Buffer.alloc(size, keyStream(100, 2)),
    'random among zeros': Buffer.concat([
      Buffer.alloc(MIB),
      keyStream(2 * MIB, 3),
      Buffer.alloc(MIB, 1),
      Buffer.alloc(MIB),
    ]),
  }
  // The last is not irreducible, and all its tables are full of ones.
  const polynomials = [POLYNOMIAL, randomPolynomial(), randomPolynomial(), (1n << 54n) - 1n]
  known = polynomials.flatMap((polynomial) => {
    const twin = createChunker(polynomial)
    return Object.entries(contents).map(([name, bytes]) => {
      const lengths = lengthsOf((at, end) => twin.nextLength(bytes, at, end, true), 0, bytes.length)
      return { name, bytes, polynomial, lengths }
    })
  })
  return known
}

for (const implementation of IMPLEMENTATIONS) {
  test(`${implementation}: the vector that restic was checked against`, () => {
    const kernels = createKernels({ memoryBytes: 16 * MIB, implementation })
    assert.equal(kernels.implementation, implementation)
    const input = kernels.region('input', 16 * MIB)
    input.bytes.set(keyStream(16 * MIB))
    kernels.setPolynomial(POLYNOMIAL)
    assert.deepEqual(
      lengthsOf((start, end) => kernels.chunkLength(start, end, true), input.offset, input.end),
      [547920, 1171903, 1303485, 2498885, 2629392, 1987442, 1476935, 2527413, 926391, 625615, 1081835],
    )
  })

  test(`${implementation}: cuts are the twin's, whatever the bytes, the polynomial and the offset`, () => {
    const kernels = createKernels({ memoryBytes: 10 * MIB, implementation })
    const input = kernels.region('input', 10 * MIB)
    for (const { name, bytes, polynomial, lengths } of twinsCuts()) {
      kernels.setPolynomial(polynomial)
      for (const shift of [0, 1, 7777]) {
        const start = input.offset + shift
        kernels.memory.set(bytes, start)
        assert.deepEqual(
          lengthsOf((at, end) => kernels.chunkLength(at, end, true), start, start + bytes.length),
          lengths,
          `${name} at ${shift} with ${polynomial.toString(16)}`,
        )
      }
    }
  })

  test(`${implementation}: a cut is found at every place where stripes and blocks meet`, () => {
    const kernels = createKernels({ memoryBytes: 2 * MIB, implementation })
    const input = kernels.region('input', 2 * MIB)
    kernels.setPolynomial(POLYNOMIAL)
    // A window of zeros hashes to zero, and nothing else in such a file does.
    const filled = (...cuts: number[]) => {
      input.bytes.fill(0x41)
      for (const cut of cuts) input.bytes.fill(0, cut - 64, cut)
    }
    const places = new Set<number>()
    for (let stripe = 0; stripe <= 36; stripe++) {
      for (const near of [-65, -64, -17, -16, -15, -1, 0, 1, 15, 16, 17, 63, 64, 65]) places.add(stripe * STRIPE + near)
    }
    for (const place of [...places].filter((place) => place >= 0)) {
      const cut = MIN_CHUNK + place
      filled(cut)
      const at = input.offset
      assert.equal(kernels.chunkLength(at, input.end, true), cut, `${place} after the minimum`)
      assert.equal(kernels.chunkLength(at, at + cut, false), cut)
      assert.equal(kernels.chunkLength(at, at + cut - 1, false), 0)
      assert.equal(kernels.chunkLength(at, at + cut - 1, true), cut - 1)
    }
    // The first in the file, not the first that is come upon.
    filled(MIN_CHUNK + 3 * STRIPE + 1000, MIN_CHUNK + 9 * STRIPE + 5, MIN_CHUNK + 3 * STRIPE + 1070)
    assert.equal(kernels.chunkLength(input.offset, input.end, true), MIN_CHUNK + 3 * STRIPE + 1000)
  })

  test(`${implementation}: a chunk ends at the maximum, and before it where there is a cut`, () => {
    const kernels = createKernels({ memoryBytes: MAX_CHUNK + 100, implementation })
    const input = kernels.region('input', MAX_CHUNK + 100)
    kernels.setPolynomial(POLYNOMIAL)
    input.bytes.fill(0x41)
    const { offset, end } = input
    assert.equal(kernels.chunkLength(offset, end, true), MAX_CHUNK)
    assert.equal(kernels.chunkLength(offset, offset + MAX_CHUNK, false), MAX_CHUNK)
    assert.equal(kernels.chunkLength(offset, offset + MAX_CHUNK - 1, false), 0)
    assert.equal(kernels.chunkLength(offset + 50, end, false), MAX_CHUNK)
    input.bytes.fill(0, MAX_CHUNK - 63, MAX_CHUNK + 1)
    assert.equal(kernels.chunkLength(offset, end, true), MAX_CHUNK)
    input.bytes.fill(0, MAX_CHUNK - 65, MAX_CHUNK)
    assert.equal(kernels.chunkLength(offset, end, true), MAX_CHUNK - 1)
  })

  test(`${implementation}: what lies beyond the end does not matter, also where memory ends`, () => {
    const kernels = createKernels({ memoryBytes: MIB, implementation })
    const input = kernels.region('input', MIB)
    kernels.setPolynomial(POLYNOMIAL)
    const bytes = keyStream(MIB)
    for (const length of [0, 1, 63, MIN_CHUNK - 1, MIN_CHUNK, 547919]) {
      for (const fill of [0, 0xff]) {
        input.bytes.fill(fill)
        const at = input.end - length
        kernels.memory.set(bytes.subarray(0, length), at)
        assert.equal(kernels.chunkLength(at, input.end, true), length)
        assert.equal(kernels.chunkLength(at, input.end, false), 0)
        kernels.memory.set(bytes.subarray(0, length), input.offset)
        assert.equal(kernels.chunkLength(input.offset, input.offset + length, true), length)
      }
    }
    kernels.memory.set(bytes.subarray(0, 547920), input.end - 547920)
    assert.equal(kernels.chunkLength(input.end - 547920, input.end, false), 547920)
  })
}

/** The definition, in big integers. */
function macByDefinition(key: Uint8Array, message: Uint8Array): string {
  const number = (bytes: Uint8Array) => BigInt(`0x00${Buffer.from(bytes).reverse().toString('hex')}`)
  const r = number(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn
  let sum = 0n
  for (let at = 0; at < message.length; at += 16) {
    const block = message.subarray(at, at + 16)
    sum = ((sum + number(block) + (1n << BigInt(8 * block.length))) * r) % ((1n << 130n) - 5n)
  }
  const mac = BigInt.asUintN(128, sum + number(key.subarray(16)))
  return Buffer.from(mac.toString(16).padStart(32, '0'), 'hex').reverse().toString('hex')
}

interface MacRoom {
  readonly kernels: Kernels
  mac(key: Uint8Array, message: Uint8Array, shift?: number): string
}

function macRoom(implementation: Implementation): MacRoom {
  const kernels = createKernels({ memoryBytes: 2 * MIB, implementation })
  const s = kernels.region('s', 16).offset
  const mac = kernels.region('mac', 16).offset
  const input = kernels.region('input', 1.5 * MIB).offset
  return {
    kernels,
    mac(key, message, shift = 0) {
      kernels.setMacKey(key.subarray(0, 16))
      kernels.memory.set(key.subarray(16), s)
      kernels.memory.set(message, input + shift)
      kernels.poly1305(input + shift, message.length, s, mac)
      assert.ok(kernels.isAuthentic(input + shift, message.length, s, mac))
      return kernels.memory.toString('hex', mac, mac + 16)
    },
  }
}

for (const implementation of IMPLEMENTATIONS) {
  test(`${implementation}: authenticators of all lengths to 300 are those of the definition, also of extreme numbers`, () => {
    const { mac } = macRoom(implementation)
    const keys = [Buffer.alloc(32, 0xff), Buffer.alloc(32), randomBytes(32)]
    const contents = [Buffer.alloc(300, 0xff), Buffer.alloc(300), randomBytes(300)]
    for (const key of keys) {
      for (const content of contents) {
        for (let length = 0; length <= 300; length++) {
          const message = content.subarray(0, length)
          assert.equal(mac(key, message, length % 5), macByDefinition(key, message), `length ${length}`)
        }
      }
    }
  })

  test(`${implementation}: any key and any longer message give what twin and definition give`, () => {
    const { mac } = macRoom(implementation)
    const extremes = fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xfb, 0xfe, 0xff)
    const bytes = (range: { minLength: number; maxLength: number }) =>
      fc.oneof(
        fc.uint8Array(range),
        fc.array(extremes, range).map((values) => Uint8Array.from(values)),
      )
    fc.assert(
      fc.property(
        bytes({ minLength: 32, maxLength: 32 }),
        bytes({ minLength: 0, maxLength: 1500 }),
        fc.nat(15),
        (key, message, shift) => {
          const found = mac(key, message, shift)
          assert.equal(found, poly1305(key, message).toString('hex'))
          assert.equal(found, macByDefinition(key, message))
        },
      ),
      { numRuns: 150 },
    )
  })

  test(`${implementation}: limbs stay exact over a megabyte of the largest numbers`, () => {
    const { mac } = macRoom(implementation)
    const key = Buffer.alloc(32, 0xff)
    for (const fill of [0x00, 0x55, 0xff]) {
      const message = Buffer.alloc(MIB + 7, fill)
      assert.equal(mac(key, message), poly1305(key, message).toString('hex'))
    }
  })

  test(`${implementation}: an authenticator may be written over the half of the key that it came from`, () => {
    const { kernels } = macRoom(implementation)
    const at = kernels.region('both', 64).offset
    const key = randomBytes(32)
    kernels.setMacKey(key.subarray(0, 16))
    kernels.memory.set(key.subarray(16), at)
    kernels.poly1305(at + 16, 20, at, at)
    assert.deepEqual(kernels.memory.subarray(at, at + 16), poly1305(key, Buffer.alloc(20)))
  })

  test(`${implementation}: no bit of a message or an authenticator can change unnoticed`, () => {
    const { kernels } = macRoom(implementation)
    const at = kernels.region('all', 512).offset
    kernels.memory.set(randomBytes(512), at)
    kernels.setMacKey(randomBytes(16))
    const length = 211
    const mac = at + 16 + length
    kernels.poly1305(at + 16, length, at, mac)
    for (let bit = 0; bit < 8 * (16 + length + 16); bit++) {
      kernels.memory[at + (bit >> 3)]! ^= 1 << (bit & 7)
      assert.equal(kernels.isAuthentic(at + 16, length, at, mac), false, `bit ${bit}`)
      kernels.memory[at + (bit >> 3)]! ^= 1 << (bit & 7)
    }
    assert.ok(kernels.isAuthentic(at + 16, length, at, mac))
  })

  test(`${implementation}: encrypted counter blocks are the key stream of counter mode, also over every carry`, () => {
    const kernels = createKernels({ memoryBytes: 16384, implementation })
    const at = kernels.region('blocks', 16384).offset
    const key = randomBytes(32)
    const starts = [
      randomBytes(16),
      Buffer.alloc(16),
      Buffer.alloc(16, 0xff),
      hex('00000000 00000000 ffffffff fffffff0'),
      hex('00000001 ffffffff ffffffff fffffffe'),
      hex('01020304 05060708 090a0b0c ffffffff'),
    ]
    for (const start of starts) {
      for (const count of [0, 1, 2, 33]) {
        kernels.memory.fill(0xa5, at, at + 1024)
        kernels.memory.set(start, at)
        kernels.counterBlocks(at, count, at + 16)
        const blocks = kernels.memory.subarray(at + 16, at + 16 + 16 * count)
        const stream = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false).update(blocks)
        const expected = createCipheriv('aes-256-ctr', key, start).update(Buffer.alloc(16 * count))
        assert.deepEqual(stream, expected)
        assert.equal(kernels.memory[at + 16 + 16 * count], 0xa5)
      }
    }
  })

  test(`${implementation}: exclusive or changes as many bytes as it should, at any alignment`, () => {
    const kernels = createKernels({ memoryBytes: 8192, implementation })
    const at = kernels.region('bytes', 8192).offset
    for (let length = 0; length <= 300; length++) {
      const before = randomBytes(400)
      const source = randomBytes(400)
      kernels.memory.set(before, at + (length % 7))
      kernels.memory.set(source, at + 1024 + (length % 5))
      const target = at + (length % 7)
      kernels.xor(target, at + 1024 + (length % 5), length)
      const expected = before.map((byte, i) => (i < length ? byte ^ source[i]! : byte))
      assert.deepEqual(Buffer.from(kernels.memory.subarray(target, target + 400)), expected)
    }
  })

  test(`${implementation}: runs of zeros end where they end`, () => {
    const kernels = createKernels({ memoryBytes: 8192, implementation })
    const at = kernels.region('bytes', 8192).offset
    for (let run = 0; run <= 300; run++) {
      kernels.memory.fill(0, at, at + 400)
      const from = at + (run % 9)
      kernels.memory[from + run] = 1 << (run % 8)
      assert.equal(kernels.zeroEnd(from, at + 400), from + run)
      assert.equal(kernels.zeroEnd(from, from + run), from + run)
      assert.equal(kernels.zeroEnd(from, from + Math.floor(run / 2)), from + Math.floor(run / 2))
    }
  })

  test(`${implementation}: the first block of zeros is found, and one that only looks like it is not`, () => {
    const kernels = createKernels({ memoryBytes: 8192, implementation })
    const at = kernels.region('bytes', 8192).offset
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 6 }),
        fc.integer({ min: 1, max: 120 }),
        fc.nat(600),
        (others, size, length) => {
          kernels.memory.fill(0, at, at + 700)
          let place = at
          for (const other of others) {
            kernels.memory[place] = 7
            place += 1 + other * 3
          }
          const end = at + length
          let expected = at
          while (expected < end) {
            const block = kernels.memory.subarray(expected, Math.min(expected + size, end))
            if (block.every((byte) => byte === 0)) break
            expected += size
          }
          assert.equal(kernels.zeroBlock(at, end, size), Math.min(expected, end))
        },
      ),
      { numRuns: 300 },
    )
  })

  test(`${implementation}: nothing beyond the regions can be named`, () => {
    const kernels = createKernels({ memoryBytes: 100, implementation })
    const { offset } = kernels.region('all', 4096)
    const last = offset + 4096
    kernels.setPolynomial(POLYNOMIAL)
    kernels.setMacKey(Buffer.alloc(16))
    const outside: (() => void)[] = [
      () => kernels.chunkLength(offset - 1, last, true),
      () => kernels.chunkLength(offset, last + 1, true),
      () => kernels.chunkLength(offset + 1, offset, true),
      () => kernels.poly1305(offset, 4097, offset, offset),
      () => kernels.poly1305(offset, 4, last - 15, offset),
      () => kernels.poly1305(offset, 4, offset, 16),
      () => kernels.isAuthentic(offset, -1, offset, offset),
      () => kernels.isAuthentic(offset, 4, offset, last),
      () => kernels.counterBlocks(offset, 257, offset),
      () => kernels.counterBlocks(0, 1, offset),
      () => kernels.xor(offset, Number.NaN, 1),
      () => kernels.xor(2 ** 32, offset, 1),
      () => kernels.zeroEnd(offset, last + 1),
      () => kernels.zeroBlock(0, last, 16),
      () => kernels.zeroBlock(offset, last, 0),
      () => kernels.scanIndex(offset - 1, last, true, { to: offset, blobs: 1, packsTo: offset + 64, packs: 1 }),
      () => kernels.scanIndex(offset + 1, offset, true, { to: offset, blobs: 1, packsTo: offset + 64, packs: 1 }),
      () => kernels.scanIndex(offset, last, true, { to: last - 44, blobs: 1, packsTo: offset + 64, packs: 1 }),
      () => kernels.scanIndex(offset, last, true, { to: offset, blobs: -1, packsTo: offset + 64, packs: 1 }),
      () => kernels.scanIndex(offset, last, true, { to: offset, blobs: 1, packsTo: last - 39, packs: 1 }),
      () => kernels.region('more', 1),
      () => kernels.checkPlace(offset, 4097),
    ]
    for (const call of outside) assert.throws(call, RangeError)
  })

  test(`${implementation}: neither a polynomial nor a key is taken for granted`, () => {
    const kernels = createKernels({ memoryBytes: MIB, implementation })
    const { offset, end } = kernels.region('input', MIB)
    assert.throws(() => kernels.chunkLength(offset, end, true), /no polynomial/)
    assert.throws(() => kernels.poly1305(offset, 1, offset, offset), /no key/)
    assert.throws(() => kernels.isAuthentic(offset, 1, offset, offset), /no key/)
    assert.throws(() => kernels.setPolynomial(1n << 52n), RangeError)
    assert.throws(() => kernels.setMacKey(Buffer.alloc(32)), RangeError)
  })
}

test('regions follow one another, start at pages, and are views of the memory', () => {
  const kernels = createKernels({ memoryBytes: 3 * 4096 })
  const a = kernels.region('a', 1)
  const b = kernels.region('b', 4097)
  assert.equal(a.offset % 4096, 0)
  assert.equal(b.offset, a.offset + 4096)
  assert.equal(b.end, b.offset + 4097)
  b.bytes[4096] = 77
  assert.equal(kernels.memory[b.offset + 4096], 77)
  assert.throws(() => kernels.region('c', 1), /"c": 0 are left/)
})

test('more memory than a gigabyte is refused', () => {
  for (const memoryBytes of [-1, Number.NaN, 2 ** 30 + 1]) {
    assert.throws(() => createKernels({ memoryBytes }), RangeError)
  }
})

test('without a module that fits, an error says so', () => {
  const damaged = { code: 'SELF_CHECK', facts: { kernel: 'module', implementation: 'simd' } }
  for (const module of [Buffer.alloc(0), Buffer.from('0061736d01000000', 'hex')]) {
    assert.throws(() => createKernels({ memoryBytes: 0, implementation: 'simd', module }), damaged)
  }
})

test('each runtime gets the best that it can run', (t) => {
  const { WebAssembly } = globalThis as unknown as { WebAssembly: { validate: (module: Uint8Array) => boolean } }
  const best = () => createKernels({ memoryBytes: 1 }).implementation
  assert.equal(bestImplementation(), 'relaxed-simd')
  const isRelaxed = (module: Uint8Array) => Buffer.from(module).includes(hex('fd8002'))
  const validate = t.mock.method(WebAssembly, 'validate', (module: Uint8Array) => !isRelaxed(module))
  assert.equal(best(), 'simd')
  validate.mock.mockImplementation(() => false)
  assert.equal(best(), 'plain')
  t.mock.reset()
  t.mock.property(globalThis as unknown as { WebAssembly: unknown }, 'WebAssembly', undefined)
  assert.equal(best(), 'plain') // as under `node --jitless`
})
