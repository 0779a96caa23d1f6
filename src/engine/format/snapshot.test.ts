import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type SnapshotId } from './id.ts'
import { ResticRepository, withoutRestic } from './restic.test-oracle.ts'
import { encodeSnapshot, parseSnapshot, type Snapshot, type SnapshotSummary } from './snapshot.ts'
import { UNSET_TIME } from './timestamp.ts'

const ID = 'c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2'
const PLAIN = { noNullPrototype: true }

const id = fc.nat().map((seed) => hashId<SnapshotId>(Buffer.from(String(seed))))
const text = fc.string({ unit: 'grapheme' })
const uint32 = fc.integer({ min: 0, max: 0xffff_ffff })
const time = fc.record(
  { ns: fc.bigInt({ min: 0n, max: 2n ** 63n }), offset: fc.integer({ min: -900, max: 900 }) },
  PLAIN,
)
const count = fc.maxSafeNat()
const summary: fc.Arbitrary<SnapshotSummary> = fc.record(
  {
    backupStart: time,
    backupEnd: time,
    filesNew: count,
    filesChanged: count,
    filesUnmodified: count,
    dirsNew: count,
    dirsChanged: count,
    dirsUnmodified: count,
    dataBlobs: count,
    treeBlobs: count,
    dataAdded: count,
    dataAddedPacked: count,
    totalFilesProcessed: count,
    totalBytesProcessed: count,
  },
  PLAIN,
)
const snapshot: fc.Arbitrary<Snapshot> = fc.record(
  {
    time,
    parent: fc.option(id, { nil: undefined }),
    tree: id.map((id) => id as string as BlobId),
    paths: fc.array(text),
    hostname: text,
    username: text,
    uid: uint32,
    gid: uint32,
    excludes: fc.array(text),
    tags: fc.array(text),
    original: fc.option(id, { nil: undefined }),
    programVersion: text,
    summary: fc.option(summary, { nil: undefined }),
  },
  PLAIN,
)

const parse = (json: string) => parseSnapshot(Buffer.from(json))

test('every snapshot reads as it was written', () => {
  fc.assert(fc.property(snapshot, (snapshot) => assert.deepEqual(parseSnapshot(encodeSnapshot(snapshot)), snapshot)))
})

test('what is empty is left out, but for the time, the tree and the paths', () => {
  const bare: Snapshot = {
    time: { ns: 0n, offset: 0 },
    tree: ID as BlobId,
    paths: [],
    hostname: '',
    username: '',
    uid: 0,
    gid: 0,
    excludes: [],
    tags: [],
    programVersion: '',
  }
  assert.equal(encodeSnapshot(bare).toString(), `{"time":"1970-01-01T00:00:00Z","tree":"${ID}","paths":[]}`)
})

test('what is missing or null is empty, and what other programs add is ignored', () => {
  const read = parse(
    `{"tree":"${ID.toUpperCase()}","tags":null,"label":"x","delete":"NotSet","summary":{"total_duration":1.5,"files_new":3}}`,
  )
  assert.equal(read.tree, ID)
  assert.deepEqual([read.time, read.paths, read.tags, read.hostname, read.parent], [UNSET_TIME, [], [], '', undefined])
  assert.deepEqual([read.summary!.filesNew, read.summary!.filesChanged, read.summary!.backupEnd], [3, 0, UNSET_TIME])
})

for (const [what, where, json] of [
  ['no object', 'the whole', '[]'],
  ['no tree', 'tree', '{"time":"2024-01-01T00:00:00Z"}'],
  ['no tree but null', 'tree', '{"tree":null}'],
  ['a short tree ID', 'tree', '{"tree":"abc"}'],
  ['a time that is none', 'time', `{"tree":"${ID}","time":"now"}`],
  ['a user ID as text', 'uid', `{"tree":"${ID}","uid":"0"}`],
  ['a negative group ID', 'gid', `{"tree":"${ID}","gid":-1}`],
  ['paths as a text', 'paths', `{"tree":"${ID}","paths":"/"}`],
  ['a path that is none', 'paths[1]', `{"tree":"${ID}","paths":["/",null]}`],
  ['a parent that is none', 'parent', `{"tree":"${ID}","parent":5}`],
  ['a summary that is none', 'the whole', `{"tree":"${ID}","summary":[]}`],
  ['half a file in the summary', 'files_new', `{"tree":"${ID}","summary":{"files_new":0.5}}`],
] as const) {
  test(`${what} is CORRUPT at ${where}`, () => {
    assert.throws(
      () => parse(json),
      (error) => error instanceof EngineError && error.code === 'CORRUPT' && error.facts.where === where,
    )
  })
}

test('a snapshot with flipped bytes is either read or CORRUPT', () => {
  fc.assert(
    fc.property(
      snapshot,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      (snapshot, flips) => {
        const damaged = encodeSnapshot(snapshot)
        for (const [at, byte] of flips) damaged[at % damaged.length] = byte
        try {
          parseSnapshot(damaged)
        } catch (error) {
          assert.ok(error instanceof EngineError && error.code === 'CORRUPT', String(error))
        }
      },
    ),
    { numRuns: 500 },
  )
})

describe('snapshots that restic has written', { skip: withoutRestic }, () => {
  for (const version of [1, 2] as const) {
    test(`in version ${version} are written the same after reading`, async () => {
      using repository = await ResticRepository.make(version)
      const backup = (...args: string[]) =>
        repository.run(['backup', ...args], { cwd: import.meta.dirname, timeZone: 'Asia/Kolkata' })
      backup(
        '--host',
        '<host> & "söns"\u2028\t😀',
        '--tag',
        'one',
        '--tag',
        'two,<three>',
        '--exclude',
        '*.<ts>',
        'snapshot.ts',
        'lock.ts',
      )
      backup('--time', '2001-02-03 04:05:06', '--host', 'h', 'lock.ts')
      backup('--host', 'h', 'lock.ts')
      repository.run(['tag', '--add', 'tagged', '--host', 'h'])
      const files = [...repository.unpackedFiles('snapshots').values()]
      const snapshots = files.map(parseSnapshot)
      assert.deepEqual(
        snapshots.map((snapshot) => encodeSnapshot(snapshot).toString()),
        files.map((file) => file.toString()),
      )
      assert.deepEqual(snapshots.map(({ original }) => original !== undefined).sort(), [false, true, true])
      assert.ok(snapshots.some(({ parent }) => parent !== undefined))
      assert.ok(snapshots.some(({ excludes, tags }) => excludes[0] === '*.<ts>' && tags.includes('<three>')))
      assert.ok(snapshots.every(({ paths, time }) => paths[0]!.startsWith('/') && time.offset === 330))
    })
  }
})
