import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { randomBytes } from '../../../test/equipment/random-bytes.ts'
import { type BlobId, hashId } from '../format/id.ts'
import { generateMasterKey, unseal } from '../format/master-key.ts'
import { parsePackHeader, plaintextLength } from '../format/pack-header.ts'
import { MAX_CHUNK } from '../kernels/chunker.ts'
import { createKernels, type Kernels } from '../kernels/kernels.ts'
import { decodeBlob } from './blob-codec.ts'
import { assemblerMemory, type FinishedPack, PackAssembler, type PlacedPack } from './pack-assembler.ts'
import { PackPlaces } from './pack-places.ts'

const KEY = generateMasterKey()

function assembler(version: 1 | 2, packSize: number, onPack: (pack: PlacedPack) => void) {
  const kernels = createKernels({ memoryBytes: MAX_CHUNK + assemblerMemory(packSize) })
  const input = kernels.region('input', MAX_CHUNK)
  const places = new PackPlaces()
  const packs = new PackAssembler({ kernels, key: KEY, version, packSize, places, onPack })
  return { packs, places, kernels, add: (content: Buffer) => add(packs, kernels, input.offset, content) }
}

function add(packs: PackAssembler, { memory }: Kernels, offset: number, content: Buffer): BlobId {
  content.copy(memory, offset)
  const id = hashId<BlobId>(content)
  packs.add(id, memory.subarray(offset, offset + content.length))
  return id
}

/** What a reader finds in the packs, who knows nothing of them but their names and the key. */
function read(packs: readonly FinishedPack[]): Map<BlobId, Buffer> {
  const found = new Map<BlobId, Buffer>()
  for (const { id, bytes, blobs } of packs) {
    const pack = Buffer.from(bytes)
    assert.equal(hashId(pack), id)
    const headerEnd = pack.length - 4
    const header = pack.subarray(headerEnd - pack.readUInt32LE(headerEnd), headerEnd)
    const listed = parsePackHeader(unseal(KEY, header))
    assert.deepEqual(listed, blobs)
    for (const blob of listed) {
      assert.ok(!found.has(blob.id))
      const content = decodeBlob(KEY, blob, pack.subarray(blob.offset, blob.offset + blob.length))
      assert.equal(content.length, plaintextLength(blob))
      found.set(blob.id, content)
    }
  }
  return found
}

/** A pack whose place is used again by the assembler. */
function copied({ id, blobs, bytes }: FinishedPack): FinishedPack {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length))
  copy.set(bytes)
  return { id, blobs, bytes: copy }
}

describe('PackAssembler', () => {
  for (const version of [1, 2] as const) {
    it(`gives back every blob of any sizes, in packs of version ${version} of any size`, () => {
      const size = fc.oneof(fc.nat(200), fc.nat(70_000), fc.constantFrom(0, 1, 15, 16, 17, 1 << 20))
      fc.assert(
        fc.property(fc.array(size, { maxLength: 40 }), fc.integer({ min: 1, max: 300_000 }), (sizes, packSize) => {
          const finished: FinishedPack[] = []
          const { packs, places, add } = assembler(version, packSize, (pack) => {
            finished.push(copied(pack))
            places.release(pack.place)
          })
          const expected = new Map<BlobId, Buffer>()
          for (const [i, length] of sizes.entries()) {
            const content = i % 3 === 0 ? Buffer.alloc(length, i) : randomBytes(length, i)
            if (!expected.has(hashId(content))) expected.set(add(content), content)
          }
          packs.close()
          packs.close()
          assert.deepEqual(read(finished), expected)
          for (const { blobs } of finished.slice(0, -1)) {
            const stored = blobs.map(({ length }) => length)
            const total = stored.reduce((sum, length) => sum + length, 0)
            assert.ok(total >= packSize && total - stored.at(-1)! < packSize)
          }
        }),
        { numRuns: 25 },
      )
    })

    it(`takes blobs of the longest length that do not compress, in version ${version}`, () => {
      const finished: FinishedPack[] = []
      const { packs, add } = assembler(version, 16 * 1024 * 1024, (pack) => finished.push(pack))
      const contents = [1, 2, 3].map((seed) => randomBytes(MAX_CHUNK, seed))
      const ids = contents.map(add)
      packs.close()
      const found = read(finished)
      for (const [i, id] of ids.entries()) assert.ok(found.get(id)!.equals(contents[i]!))
    })
  }

  it('takes a blob of the longest length into a pack that lacks a byte', () => {
    const filler = randomBytes(100_000, 1)
    const longest = randomBytes(MAX_CHUNK, 2)
    const finished: FinishedPack[] = []
    const lacking = (spare: number) => {
      const { packs, add } = assembler(2, stored + spare, (pack) => finished.push(pack))
      add(filler)
      add(longest)
      packs.close()
    }
    let stored = 1
    lacking(0)
    stored = finished[0]!.blobs[0]!.length
    finished.length = 0
    lacking(1)
    assert.equal(finished.length, 1)
    assert.ok(read(finished).get(hashId(longest))!.equals(longest))
  })

  it('closes nothing when nothing was added', () => {
    const { packs } = assembler(2, 1000, () => assert.fail('there is no pack'))
    packs.close()
  })

  it('hands over no pack with a blob that was damaged before it was sealed', () => {
    const { packs, kernels } = assembler(1, 1e6, () => assert.fail('handed over'))
    const offset = 65536
    packs.add(hashId<BlobId>(Buffer.from('promised')), kernels.memory.subarray(offset, offset + 8))
    assert.throws(() => packs.close(), { code: 'SELF_CHECK' })
  })
})
