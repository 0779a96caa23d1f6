import assert from 'node:assert/strict'
import { createCipheriv, hash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Chunker, createChunker, MAX_CHUNK, MIN_CHUNK } from './chunker.ts'
import { mod, randomPolynomial } from './polynomial.ts'

const MIB = 1024 * 1024
const POLYNOMIAL = 0x25b468838dcb75n

/** Bytes that look random and are the same each time. */
function keyStream(size: number, seed = 0): Buffer {
  const iv = Buffer.alloc(16)
  iv[0] = seed
  return createCipheriv('aes-256-ctr', Buffer.alloc(32), iv).update(Buffer.alloc(size))
}

function lengths(chunker: Chunker, bytes: Uint8Array): number[] {
  const found: number[] = []
  for (let at = 0; at < bytes.length; at += found.at(-1)!) {
    found.push(chunker.nextLength(bytes, at, bytes.length, true))
  }
  return found
}

/** Whether the format allows a cut after these 64 bytes: the definition, not rolling. */
function cutsAfter(window: Uint8Array, polynomial: bigint): boolean {
  const number = BigInt(`0x${Buffer.from(window).toString('hex')}`)
  return (mod(number, polynomial) & 0xfffffn) === 0n
}

// An independent oracle: the remainder of every window in a Number of 53 bits, divided and combined with
// arithmetic instead of shifts, with tables from long division byte by byte.
function oracleLengths(bytes: Uint8Array, polynomial: bigint): number[] {
  const table = (shift: bigint) => Array.from({ length: 256 }, (_, byte) => mod(BigInt(byte) << shift, polynomial))
  const [carry, leave] = [table(53n), table(512n)].map((values) =>
    values.map((value) => [Number(value >> 27n), Number(value & 0x7ffffffn)] as const),
  ) as [(readonly [number, number])[], (readonly [number, number])[]]
  const found: number[] = []
  let start = 0
  let high = 0 // 26 bits
  let low = 0 // 27 bits
  for (let at = 0; at < bytes.length; at++) {
    const top = high >> 18
    const left = at >= 64 ? bytes[at - 64]! : 0
    const newHigh = ((high & 0x3ffff) << 8) | (low >> 19)
    low = (((low & 0x7ffff) << 8) | bytes[at]!) ^ carry[top]![1] ^ leave[left]![1]
    high = newHigh ^ carry[top]![0] ^ leave[left]![0]
    const length = at + 1 - start
    if ((length >= MIN_CHUNK && (low & 0xfffff) === 0) || length === MAX_CHUNK) {
      found.push(length)
      start = at + 1
    }
  }
  if (start < bytes.length) found.push(bytes.length - start)
  return found
}

test('the vector that restic was checked against', () => {
  const bytes = keyStream(16 * MIB)
  assert.equal(hash('sha256', bytes), '2ed49096a2b822e24f0c7b3bb3ca9c1d3e525f0dbe2f2c62ee2c2cdd630171f9')
  const expected = [547920, 1171903, 1303485, 2498885, 2629392, 1987442, 1476935, 2527413, 926391, 625615, 1081835]
  assert.deepEqual(lengths(createChunker(POLYNOMIAL), bytes), expected)
  assert.deepEqual(oracleLengths(bytes, POLYNOMIAL), expected)
})

test('other polynomials cut where a hash over the whole file does, and nowhere the definition forbids', () => {
  for (let seed = 1; seed <= 3; seed++) {
    const polynomial = randomPolynomial()
    const bytes = keyStream(6 * MIB, seed)
    const found = lengths(createChunker(polynomial), bytes)
    assert.deepEqual(found, oracleLengths(bytes, polynomial), `polynomial ${polynomial.toString(16)}`)
    let at = 0
    for (const length of found.slice(0, -1)) {
      at += length
      assert.ok(cutsAfter(bytes.subarray(at - 64, at), polynomial))
    }
  }
})

test('zeros cut at the minimum, because their hash is zero', () => {
  assert.deepEqual(lengths(createChunker(POLYNOMIAL), Buffer.alloc(2 * MIB + 1)), [
    MIN_CHUNK,
    MIN_CHUNK,
    MIN_CHUNK,
    MIN_CHUNK,
    1,
  ])
})

test('a constant byte whose window never hashes to a cut is cut at the maximum', () => {
  const bytes = Buffer.alloc(MAX_CHUNK + 1, 0x41)
  assert.ok(!cutsAfter(bytes.subarray(0, 64), POLYNOMIAL))
  assert.deepEqual(lengths(createChunker(POLYNOMIAL), bytes), [MAX_CHUNK, 1])
  assert.deepEqual(lengths(createChunker(POLYNOMIAL), bytes.subarray(1)), [MAX_CHUNK])
})

test('a file of the minimum or less is one chunk, an empty one none', () => {
  const chunker = createChunker(POLYNOMIAL)
  for (const size of [1, 63, 64, MIN_CHUNK - 1, MIN_CHUNK]) {
    assert.deepEqual(lengths(chunker, keyStream(size)), [size])
  }
  assert.equal(chunker.nextLength(Buffer.alloc(0), 0, 0, true), 0)
})

test('bytes beyond the end are not looked at', () => {
  const chunker = createChunker(POLYNOMIAL)
  const bytes = keyStream(2 * MIB)
  assert.equal(chunker.nextLength(bytes, 0, 547919, true), 547919)
  assert.equal(chunker.nextLength(bytes, 0, 547919, false), 0)
  assert.equal(chunker.nextLength(bytes, 0, 547920, false), 547920)
})

test('more bytes are asked for until there is a cut or the maximum', () => {
  const chunker = createChunker(POLYNOMIAL)
  const bytes = Buffer.alloc(MAX_CHUNK + 10, 0x41)
  for (const end of [0, 1, MIN_CHUNK - 1, MIN_CHUNK, MAX_CHUNK - 1])
    assert.equal(chunker.nextLength(bytes, 0, end, false), 0)
  assert.equal(chunker.nextLength(bytes, 0, MAX_CHUNK, false), MAX_CHUNK)
  assert.equal(chunker.nextLength(bytes, 0, bytes.length, false), MAX_CHUNK)
})

test('cuts depend neither on how much is offered at a time nor on where it lies in memory', () => {
  const chunker = createChunker(POLYNOMIAL)
  const bytes = keyStream(5 * MIB, 7)
  const expected = lengths(chunker, bytes)
  const sizes = fc.array(fc.integer({ min: 1, max: 2 * MIB }), { minLength: 8, maxLength: 8 })
  fc.assert(
    fc.property(sizes, fc.nat(9), (sizes, shift) => {
      const moved = Buffer.concat([Buffer.alloc(shift, 0xa5), bytes])
      const found: number[] = []
      let end = shift
      let offers = 0
      for (let start = shift; start < moved.length; ) {
        const length = chunker.nextLength(moved, start, end, end === moved.length)
        if (length === 0) {
          end = Math.min(moved.length, end + sizes[offers++ % sizes.length]!)
        } else {
          found.push(length)
          start += length
        }
      }
      assert.deepEqual(found, expected)
    }),
    { numRuns: 10 },
  )
})

test('after an insertion the cuts come back', () => {
  const chunker = createChunker(POLYNOMIAL)
  const bytes = keyStream(8 * MIB, 3)
  const cuts = (inserted: Buffer) => {
    let left = bytes.length + inserted.length
    return new Set(lengths(chunker, Buffer.concat([inserted, bytes])).map((length) => (left -= length)))
  }
  const before = cuts(Buffer.alloc(0))
  const shared = [...cuts(Buffer.from('something new at the start'))].filter((cut) => before.has(cut))
  assert.ok(shared.length >= 3, `${shared.length} cuts in common`)
})

test('a polynomial of another degree is refused', () => {
  for (const polynomial of [0n, 7n, 1n << 52n, 1n << 54n]) {
    assert.throws(() => createChunker(polynomial), RangeError)
  }
})
