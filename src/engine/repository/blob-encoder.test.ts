import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { randomBytes } from '../../../test/equipment/random-bytes.ts'
import { testRepository } from '../../../test/equipment/test-repository.ts'
import { type BlobId, hashId } from '../format/id.ts'
import type { BlobType } from '../format/pack-header.ts'
import { decodeBlob, encodeBlob } from './blob-codec.ts'
import { BlobEncoder } from './blob-encoder.ts'
import type { Repository } from './repository.ts'

const KIB = 1024

/** An encoder after so many blobs that it does not make everything anew for each. */
async function readyEncoder(version: 1 | 2): Promise<{ encoder: BlobEncoder; repository: Repository }> {
  const repository = await testRepository({ version })
  const encoder = new BlobEncoder(repository)
  for (let i = 0; i < 200; i++) roundTrip(encoder, repository, 'tree', Buffer.from(`{"nodes":[${i}]}\n`))
  return { encoder, repository }
}

/** Opened through the documented interfaces, by who knows nothing of the encoder. */
function roundTrip(encoder: BlobEncoder, repository: Repository, type: BlobType, plaintext: Buffer): void {
  const id = hashId<BlobId>(plaintext)
  const { bytes, ...blob } = encoder.encode(type, id, plaintext)
  assert.equal(blob.type, type)
  const entry = { ...blob, offset: 0, length: bytes.length }
  assert.ok(decodeBlob(repository.masterKey, entry, Buffer.from(bytes)).equals(plaintext))
}

for (const version of [1, 2] as const) {
  test(`blobs of any sizes, one after the other, are opened by any reader, in version ${version}`, async () => {
    const { encoder, repository } = await readyEncoder(version)
    const size = fc.oneof(
      fc.nat(200),
      fc.nat(20_000),
      fc.constantFrom(0, 1, 15, 16, 17, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 1024 * KIB),
    )
    fc.assert(
      fc.property(size, fc.boolean(), fc.constantFrom<BlobType>('tree', 'data'), (length, isNoise, type) => {
        roundTrip(encoder, repository, type, isNoise ? randomBytes(length, length) : Buffer.alloc(length, 'again and '))
      }),
    )
  })

  test(`a blob that is not what its ID says is never handed out for storing, in version ${version}`, async () => {
    const { encoder, repository } = await readyEncoder(version)
    const [plaintext, other] = [Buffer.from('content'), Buffer.from('flipped')]
    assert.throws(() => encoder.encode('tree', hashId<BlobId>(other), plaintext), {
      code: 'SELF_CHECK',
      facts: { blob: hashId(other) },
      hint: /faulty/,
    })
    roundTrip(encoder, repository, 'tree', plaintext)
  })

  test(`many blobs take no more room than each for itself, in version ${version}`, async () => {
    const { encoder, repository } = await readyEncoder(version)
    for (const text of ['', 'x', '{"nodes":[]}\n', 'again and '.repeat(1000)]) {
      const plaintext = Buffer.from(text)
      const id = hashId<BlobId>(plaintext)
      const alone = encodeBlob(repository.masterKey, version, 'tree', id, plaintext)
      const { bytes, uncompressedLength } = encoder.encode('tree', id, plaintext)
      assert.equal(uncompressedLength, alone.uncompressedLength)
      assert.equal(bytes.length, alone.bytes.length)
    }
  })
}

test('no two blobs are sealed under the same counter', async () => {
  const { encoder } = await readyEncoder(2)
  const plaintext = Buffer.from('the same content')
  const id = hashId<BlobId>(plaintext)
  const counters = Array.from({ length: 500 }, () => encoder.encode('tree', id, plaintext).bytes.toString('hex', 0, 16))
  assert.equal(new Set(counters).size, counters.length)
})
