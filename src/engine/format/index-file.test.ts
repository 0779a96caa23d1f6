import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type PackId } from './id.ts'
import { encodeIndexFile, type PackIndex, parseIndexFile } from './index-file.ts'
import { ResticRepository, withoutRestic } from './restic.test-oracle.ts'

const A = 'a'.repeat(64)
const B = 'b'.repeat(64)

const parse = (json: string, version: 1 | 2 = 2) => parseIndexFile(Buffer.from(json), version)
const withBlob = (blob: string) => `{"packs":[{"id":"${A}","blobs":[${blob}]}]}`

const packs: fc.Arbitrary<readonly PackIndex[]> = fc.array(
  fc.record(
    {
      id: fc.nat().map((seed) => hashId<PackId>(Buffer.from(String(seed)))),
      blobs: fc.array(
        fc.record(
          {
            type: fc.constantFrom('data', 'tree'),
            id: fc.nat().map((seed) => hashId<BlobId>(Buffer.from(String(seed)))),
            offset: fc.integer({ min: 0, max: 0xffff_ffff }),
            length: fc.integer({ min: 32, max: 0xffff_ffff }),
            uncompressedLength: fc.option(fc.integer({ min: 1, max: 0xffff_ffff }), { nil: undefined }),
          },
          { noNullPrototype: true },
        ),
        { maxLength: 5 },
      ),
    },
    { noNullPrototype: true },
  ),
  { maxLength: 5 },
)

test('a pack is written with all of its blobs, and a line feed at the end', () => {
  const index: PackIndex[] = [
    {
      id: A as PackId,
      blobs: [
        { type: 'data', id: B as BlobId, offset: 0, length: 87, uncompressedLength: 524_288 },
        { type: 'tree', id: A as BlobId, offset: 87, length: 33, uncompressedLength: undefined },
      ],
    },
  ]
  const data = `{"id":"${B}","type":"data","offset":0,"length":87,"uncompressed_length":524288}`
  assert.equal(
    encodeIndexFile(index).toString(),
    `${withBlob(`${data},{"id":"${A}","type":"tree","offset":87,"length":33}`)}\n`,
  )
})

test('every index reads as it was written', () => {
  fc.assert(fc.property(packs, (packs) => assert.deepEqual(parseIndexFile(encodeIndexFile(packs), 2), packs)))
})

test('what is missing or null is empty, and what restic does not know is ignored', () => {
  for (const json of [
    '{}',
    '{"packs":null}',
    `{"packs":[],"supersedes":["${A}"],"packs_to_delete":[{"id":"${A}","blobs":[]}]}`,
  ]) {
    assert.deepEqual(parse(json), [])
  }
  assert.deepEqual(parse(`{"packs":[{"id":"${A.toUpperCase()}","time":"x","blobs":null}]}`), [{ id: A, blobs: [] }])
})

test('a plaintext of no bytes counts as none given', () => {
  const [pack] = parse(withBlob(`{"id":"${B}","type":"data","offset":0,"length":32,"uncompressed_length":0}`), 1)
  assert.equal(pack!.blobs[0]!.uncompressedLength, undefined)
})

test('a compressed blob is CORRUPT in version 1', () => {
  const json = withBlob(`{"id":"${B}","type":"data","offset":0,"length":33,"uncompressed_length":5}`)
  assert.equal(parse(json, 2).length, 1)
  assert.throws(() => parse(json, 1), { name: 'EngineError', code: 'CORRUPT' })
})

for (const [what, where, json] of [
  ['no object', 'the whole', '[]'],
  ['a list of packs that is none', 'packs', '{"packs":{}}'],
  ['a pack that is none', 'packs[0]', '{"packs":[null]}'],
  ['a pack without ID', 'packs[0].id', '{"packs":[{"blobs":[]}]}'],
  ['a pack with a name that leads elsewhere', 'packs[0].id', '{"packs":[{"id":"../../config","blobs":[]}]}'],
  ['a list of blobs that is none', 'packs[0].blobs', `{"packs":[{"id":"${A}","blobs":5}]}`],
  ['a blob that is none', 'packs[0].blobs[0]', withBlob('"x"')],
  ['a blob without ID', 'packs[0].blobs[0].id', withBlob('{"type":"data","offset":0,"length":40}')],
  ['a blob of unknown type', 'packs[0].blobs[0].type', withBlob(`{"id":"${B}","type":"meta","offset":0,"length":40}`)],
  [
    'a blob before the pack',
    'packs[0].blobs[0].offset',
    withBlob(`{"id":"${B}","type":"data","offset":-1,"length":40}`),
  ],
  [
    'a blob beyond 4 GiB',
    'packs[0].blobs[0].offset',
    withBlob(`{"id":"${B}","type":"data","offset":4294967296,"length":40}`),
  ],
  [
    'a blob shorter than sealing makes any',
    'packs[0].blobs[0].length',
    withBlob(`{"id":"${B}","type":"data","offset":0,"length":31}`),
  ],
  ['a blob without length', 'packs[0].blobs[0].length', withBlob(`{"id":"${B}","type":"data","offset":0}`)],
  [
    'a length with a point',
    'packs[0].blobs[0].length',
    withBlob(`{"id":"${B}","type":"data","offset":0,"length":40.0}`),
  ],
] as const) {
  test(`${what} is CORRUPT at ${where}`, () => {
    assert.throws(
      () => parse(json),
      (error) => error instanceof EngineError && error.code === 'CORRUPT' && error.facts.where === where,
    )
  })
}

test('an index with flipped bytes is either read or CORRUPT', () => {
  fc.assert(
    fc.property(packs, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }), (packs, flips) => {
      const damaged = encodeIndexFile(packs)
      for (const [at, byte] of flips) damaged[at % damaged.length] = byte
      try {
        parseIndexFile(damaged, 2)
      } catch (error) {
        assert.ok(error instanceof EngineError && error.code === 'CORRUPT', String(error))
      }
    }),
    { numRuns: 500 },
  )
})

describe('index files that restic has written', { skip: withoutRestic }, () => {
  for (const version of [1, 2] as const) {
    test(`in version ${version} are written the same after reading`, async () => {
      using repository = await ResticRepository.make(version)
      repository.run(['backup', '.'], { cwd: import.meta.dirname })
      const files = [...repository.unpackedFiles('index').values()]
      assert.equal(files.length, 1)
      const packs = parseIndexFile(files[0]!, version)
      assert.ok(packs.length >= 2 && packs.every(({ blobs }) => blobs.length > 0))
      assert.equal(encodeIndexFile(packs).toString(), files[0]!.toString())
    })
  }
})
