import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type BlobId, hashId } from '../format/id.ts'
import { generateMasterKey, SEAL_OVERHEAD, seal, unseal } from '../format/master-key.ts'
import { compress } from '../format/zstd.ts'
import { decodeBlob, encodeBlob, type SealedBlob } from './blob-codec.ts'

const KEY = generateMasterKey()

const encode = (version: 1 | 2, plaintext: Buffer) =>
  encodeBlob(KEY, version, 'data', hashId<BlobId>(plaintext), plaintext)

const decode = ({ bytes, ...blob }: SealedBlob, sealed = bytes) =>
  decodeBlob(KEY, { ...blob, offset: 0, length: sealed.length }, sealed)

test('any content comes back, in both versions', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), fc.constantFrom(1 as const, 2 as const), (bytes, version) => {
      const plaintext = Buffer.from(bytes)
      assert.deepEqual(decode(encode(version, plaintext)), plaintext)
    }),
  )
})

test('version 2 compresses, version 1 never does', () => {
  const plaintext = Buffer.alloc(10_000, 'again and ')
  const [old, present] = [encode(1, plaintext), encode(2, plaintext)]
  assert.equal(old.uncompressedLength, undefined)
  assert.equal(old.bytes.length, plaintext.length + SEAL_OVERHEAD)
  assert.deepEqual(unseal(KEY, old.bytes), plaintext)
  assert.equal(present.uncompressedLength, plaintext.length)
  assert.ok(present.bytes.length < 200)
})

test('an empty blob is stored as it is, for readers take a compressed one of no bytes for raw', () => {
  const { bytes, uncompressedLength } = encode(2, Buffer.alloc(0))
  assert.equal(uncompressedLength, undefined)
  assert.equal(bytes.length, SEAL_OVERHEAD)
})

test('the result does not change with the plaintext, which the caller reuses', () => {
  for (const version of [1, 2] as const) {
    const plaintext = Buffer.from('read buffer')
    const blob = encode(version, plaintext)
    plaintext.fill(0)
    assert.equal(decode(blob).toString(), 'read buffer')
  }
})

test('a blob that is not what its ID says is never handed out for storing', () => {
  const [plaintext, other] = [Buffer.from('content'), Buffer.from('flipped')]
  for (const version of [1, 2] as const) {
    assert.throws(() => encodeBlob(KEY, version, 'data', hashId<BlobId>(other), plaintext), {
      code: 'SELF_CHECK',
      hint: /faulty/,
    })
  }
})

test('an altered blob is refused, whichever byte it is', () => {
  const blob = encode(2, Buffer.from('content'))
  for (let at = 0; at < blob.bytes.length; at++) {
    const altered = Buffer.from(blob.bytes)
    altered[at]! ^= 0x80
    assert.throws(() => decode(blob, altered), { code: 'UNAUTHENTIC' })
  }
})

test('a well sealed blob of other content is refused', () => {
  const blob = encode(1, Buffer.from('content'))
  assert.throws(() => decode(blob, seal(KEY, Buffer.from('CONTENT'))), {
    code: 'CORRUPT',
    message: /does not match its hash/,
  })
})

test('an uncompressed length that is wrong is refused, though the content is right: file offsets are made of it', () => {
  const plaintext = Buffer.from('content')
  const blob = encode(2, plaintext)
  for (const uncompressedLength of [plaintext.length - 1, plaintext.length + 1, 0xffff_ffff]) {
    assert.throws(() => decode({ ...blob, uncompressedLength }), { code: 'CORRUPT' })
  }
  assert.throws(() => decode({ ...blob, uncompressedLength: undefined }), { code: 'CORRUPT' })
})

test('a blob that says it is compressed and is not zstd is refused', () => {
  const plaintext = Buffer.from('content')
  const blob = { ...encode(1, plaintext), uncompressedLength: plaintext.length }
  assert.throws(() => decode(blob), { code: 'CORRUPT' })
})

test('a frame that holds more than the index says is not decompressed beyond that', () => {
  const bomb = compress(Buffer.alloc(64 * 1024 * 1024))
  const blob = { ...encode(2, Buffer.from('content')), bytes: seal(KEY, bomb) }
  const before = process.memoryUsage().rss
  assert.throws(() => decode(blob), { code: 'CORRUPT' })
  assert.ok(process.memoryUsage().rss - before < 32 * 1024 * 1024)
})
