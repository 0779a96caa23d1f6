import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ApplicationError } from '../error.ts'
import { openPgpFraming } from './openpgp-framing.ts'

const KEY_ID = '0123456789ABCDEF'
const mpi = (octets: number): Buffer => {
  const bytes = Buffer.alloc(2 + octets, 0xff)
  bytes.writeUInt16BE(octets * 8)
  return bytes
}
const sessionKey = (algorithm: number, fields: Buffer, version = 3) =>
  Buffer.concat([Buffer.of(version), Buffer.from(KEY_ID, 'hex'), Buffer.of(algorithm), fields])
const rsa = sessionKey(1, mpi(256))
const data = (size: number) => Buffer.concat([Buffer.of(1), Buffer.alloc(size - 1, 0xa5)])

const oldPacket = (tag: number, body: Buffer) => {
  const header = Buffer.alloc(3)
  header[0] = 0x80 | (tag << 2) | 1
  header.writeUInt16BE(body.length, 1)
  return Buffer.concat([header, body])
}
const newPacket = (tag: number, body: Buffer) => Buffer.concat([Buffer.of(0xc0 | tag), bodyLength(body.length), body])
function bodyLength(length: number): Buffer {
  if (length < 192) return Buffer.of(length)
  if (length < 8384) return Buffer.of(((length - 192) >> 8) + 192, (length - 192) & 0xff)
  const octets = Buffer.alloc(5, 0xff)
  octets.writeUInt32BE(length, 1)
  return octets
}
/** In pieces of 2^power octets. */
function partialPacket(tag: number, body: Buffer, power: number): Buffer {
  const parts: Buffer[] = [Buffer.of(0xc0 | tag)]
  let offset = 0
  for (; body.length - offset > 2 ** power; offset += 2 ** power) {
    parts.push(Buffer.of(224 + power), body.subarray(offset, offset + 2 ** power))
  }
  return Buffer.concat([...parts, bodyLength(body.length - offset), body.subarray(offset)])
}

function check(bytes: Buffer, size = bytes.length || 1) {
  const framing = openPgpFraming()
  for (let offset = 0; offset < bytes.length; offset += size) framing.push(bytes.subarray(offset, offset + size))
  return framing.end()
}

function refused(bytes: Buffer, message: RegExp) {
  assert.throws(
    () => check(bytes),
    (error: ApplicationError) => {
      assert.equal(error.code, 'SEAL')
      assert.match(error.message, message)
      return true
    },
  )
}

test('all forms of packet lengths are read, in pieces of any size', () => {
  const messages = [
    Buffer.concat([oldPacket(1, rsa), newPacket(18, data(100))]),
    Buffer.concat([newPacket(1, rsa), newPacket(18, data(5000))]),
    Buffer.concat([newPacket(1, rsa), newPacket(18, data(10_000))]),
    Buffer.concat([newPacket(1, rsa), partialPacket(18, data(5000), 9)]),
    Buffer.concat([newPacket(10, Buffer.from('PGP')), newPacket(1, rsa), partialPacket(20, data(20_000), 13)]),
  ]
  fc.assert(
    fc.property(fc.constantFrom(...messages), fc.integer({ min: 1, max: 700 }), (bytes, size) => {
      assert.deepEqual(check(bytes, size), { keyIds: [KEY_ID] })
    }),
  )
})

test('session keys of every algorithm must have its shape', () => {
  const wrapped = (octets: number) => Buffer.concat([Buffer.of(octets), Buffer.alloc(octets)])
  const shapes: readonly (readonly [number, Buffer])[] = [
    [1, mpi(512)],
    [16, Buffer.concat([mpi(256), mpi(256)])],
    [18, Buffer.concat([mpi(33), wrapped(48)])],
    [25, Buffer.concat([Buffer.alloc(32), wrapped(40)])],
    [26, Buffer.concat([Buffer.alloc(56), wrapped(40)])],
  ]
  for (const [algorithm, fields] of shapes) {
    const message = (key: Buffer) => Buffer.concat([newPacket(1, key), newPacket(18, data(100))])
    assert.deepEqual(check(message(sessionKey(algorithm, fields))), { keyIds: [KEY_ID] })
    refused(message(sessionKey(algorithm, Buffer.concat([fields, Buffer.of(0)]))), /unfit for algorithm/)
    refused(message(sessionKey(algorithm, fields.subarray(0, -1))), /unfit for algorithm/)
    refused(message(sessionKey(algorithm ^ 64, fields)), /unfit for algorithm/)
    refused(message(sessionKey(algorithm, fields, 2)), /version 2, expected 3/)
  }
})

test('what is not an encrypted message is refused, with the place', () => {
  refused(Buffer.alloc(0), /ends after 0 bytes/)
  refused(newPacket(18, data(100)), /without a session key/)
  refused(newPacket(1, rsa), /ends after \d+ bytes, too early/)
  refused(Buffer.concat([newPacket(1, rsa), newPacket(9, data(100))]), /tag 9/)
  refused(Buffer.concat([newPacket(1, rsa), newPacket(18, data(20))]), /20 octets of encrypted data/)
  refused(Buffer.concat([newPacket(1, rsa), newPacket(18, Buffer.alloc(100))]), /version 0, expected 1/)
  refused(Buffer.concat([newPacket(1, rsa), partialPacket(18, data(1000), 8)]), /less than 512/)
  refused(Buffer.concat([newPacket(1, Buffer.alloc(20_000))]), /too long/)
  refused(Buffer.concat(Array.from({ length: 1001 }, () => newPacket(1, rsa))), /more than 1000 session keys/)
})

test('a claim of gigabytes costs no memory', () => {
  const framing = openPgpFraming()
  const huge = Buffer.from('d2ffffffffff01', 'hex')
  framing.push(Buffer.concat([newPacket(1, rsa), huge]))
  const before = process.memoryUsage().arrayBuffers
  for (let index = 0; index < 1000; index++) framing.push(Buffer.alloc(100_000))
  assert.ok(process.memoryUsage().arrayBuffers - before < 100_000_000)
  assert.throws(() => framing.end(), /too early/)
})

test('any bytes are taken or refused, never anything else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, afterKey) => {
      const input = afterKey ? Buffer.concat([newPacket(1, rsa), bytes]) : Buffer.from(bytes)
      try {
        check(input)
      } catch (error) {
        assert.equal((error as ApplicationError).code, 'SEAL')
      }
    }),
    { numRuns: 500 },
  )
})
