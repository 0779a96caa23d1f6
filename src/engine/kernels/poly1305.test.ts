import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { poly1305 } from './poly1305.ts'

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')

// RFC 8439, section 2.5.2 and appendix A.3; the short ones aim at carries and at the last reduction.
const VECTORS: readonly (readonly [name: string, key: string, message: Buffer, mac: string])[] = [
  [
    'section 2.5.2',
    '85d6be7857556d337f4452fe42d506a8 0103808afb0db2fd4abff6af4149f51b',
    Buffer.from('Cryptographic Forum Research Group'),
    'a8061dc1305136c6c22b8baf0c0127a9',
  ],
  ['A.3 #1, all zeros', '00'.repeat(32), Buffer.alloc(64), '00'.repeat(16)],
  ['A.3 #7, a sum of 2^130 - 5', `02${'00'.repeat(31)}`, Buffer.alloc(16, 0xff), '03000000000000000000000000000000'],
  [
    'A.3 #8, s makes it wrap at 2^128',
    `02${'00'.repeat(15)}${'ff'.repeat(16)}`,
    hex('02000000000000000000000000000000'),
    '03000000000000000000000000000000',
  ],
  [
    'A.3 #9, a limb full of ones',
    `01${'00'.repeat(31)}`,
    hex('ffffffffffffffffffffffffffffffff f0ffffffffffffffffffffffffffffff 11000000000000000000000000000000'),
    '05000000000000000000000000000000',
  ],
  [
    'A.3 #10, the result is just p',
    `01${'00'.repeat(31)}`,
    hex('ffffffffffffffffffffffffffffffff fbfefefefefefefefefefefefefefefe 01010101010101010101010101010101'),
    '00000000000000000000000000000000',
  ],
  [
    'A.3 #11, the result is p - 1',
    `02${'00'.repeat(31)}`,
    hex('fdffffffffffffffffffffffffffffff'),
    'faffffffffffffffffffffffffffffff',
  ],
]

for (const [name, key, message, mac] of VECTORS) {
  test(`RFC 8439 ${name}`, () => assert.equal(poly1305(hex(key), message).toString('hex'), mac))
}

/** The definition, in big integers. */
function oracle(key: Uint8Array, message: Uint8Array): string {
  const number = (bytes: Uint8Array) => bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
  const r = number(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn
  let sum = 0n
  for (let at = 0; at < message.length; at += 16) {
    const block = message.subarray(at, at + 16)
    sum = ((sum + number(block) + (1n << BigInt(8 * block.length))) * r) % ((1n << 130n) - 5n)
  }
  const mac = BigInt.asUintN(128, sum + number(key.subarray(16)))
  return Buffer.from(mac.toString(16).padStart(32, '0'), 'hex').reverse().toString('hex')
}

const extremes = fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xfb, 0xfe, 0xff)
const bytes = (range: { minLength?: number; maxLength: number }) =>
  fc.oneof(
    fc.uint8Array(range),
    fc.array(extremes, range).map((values) => Uint8Array.from(values)),
  )

test('any key, also an unclamped one, and any message give what the definition gives', () => {
  fc.assert(
    fc.property(bytes({ minLength: 32, maxLength: 32 }), bytes({ maxLength: 200 }), fc.nat(3), (key, message, skip) => {
      const view = message.subarray(Math.min(skip, message.length))
      assert.equal(poly1305(key, view).toString('hex'), oracle(key, view))
    }),
    { numRuns: 1000 },
  )
})

test('limbs stay exact over a long message of the largest numbers', () => {
  const key = Buffer.alloc(32, 0xff)
  for (const fill of [0x00, 0x55, 0xff]) {
    const message = Buffer.alloc(100_007, fill)
    assert.equal(poly1305(key, message).toString('hex'), oracle(key, message))
  }
})

test('a key of another size is refused', () => {
  assert.throws(() => poly1305(Buffer.alloc(16), Buffer.alloc(1)), RangeError)
})
