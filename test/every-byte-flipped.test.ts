import assert from 'node:assert/strict'
import { lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { EngineError } from '../src/engine/error.ts'
import type { BlobId } from '../src/engine/format/id.ts'
import { hashId } from '../src/engine/format/id.ts'
import { localTimestamp } from '../src/engine/format/timestamp.ts'
import { encodeTree } from '../src/engine/format/tree.ts'
import type { TreeNode } from '../src/engine/format/tree-node.ts'
import { checkRepository } from '../src/engine/repository/check.ts'
import { addKey, openRepository } from '../src/engine/repository/repository.ts'
import { writeSnapshot } from '../src/engine/repository/snapshots.ts'
import { resolveRange } from '../src/engine/storage/byte-range.ts'
import { pathOf } from '../src/engine/storage/layout.ts'
import type { FileName, FileType, Storage } from '../src/engine/storage/storage.ts'
import { randomBytes } from './equipment/random-bytes.ts'
import { restoreSnapshot } from './equipment/restore-snapshot.ts'
import { temporaryFolder } from './equipment/temporary-folder.ts'
import { CHEAP_KDF, PASSWORD, snapshotOf, storeBlobs, testRepository, through } from './equipment/test-repository.ts'

const SECOND_PASSWORD = Buffer.from('of the second key')
const TIME = localTimestamp(1_700_000_000_000_000_000n)
const COMMON = {
  mtime: TIME,
  atime: TIME,
  ctime: TIME,
  uid: process.geteuid?.() ?? 0,
  gid: process.getegid?.() ?? 0,
  user: '',
  group: '',
  inode: 0n,
  deviceId: 0n,
  links: 1,
  extendedAttributes: [],
  genericAttributes: undefined,
  device: 0n,
} as const

type Content = Readonly<Record<string, readonly Buffer[]>>

/** What both snapshots hold; the files of several blobs have them far below the size at which a chunker would cut. */
const FIRST: Content = {
  'README.txt': [Buffer.from('What this repository holds\n')],
  'chunks.bin': [randomBytes(120, 'a'), randomBytes(80, 'b'), randomBytes(120, 'a')],
  empty: [],
  'text.txt': [Buffer.from('A backup that was never restored is a hope\n'.repeat(30))],
}
const SECOND: Content = {
  ...FIRST,
  'added.txt': [Buffer.from('added between the backups\n')],
  'chunks.bin': [randomBytes(120, 'a'), randomBytes(90, 'c'), randomBytes(120, 'a')],
}

function treeOf(content: Content): Buffer {
  const files = Object.entries(content).map(
    ([name, blobs]): TreeNode => ({
      ...COMMON,
      name: Buffer.from(name),
      type: 'file',
      mode: 0o644,
      size: Buffer.concat(blobs).length,
      linkTarget: undefined,
      content: blobs.map((blob) => hashId<BlobId>(blob)),
      subtree: undefined,
    }),
  )
  return encodeTree(files.sort((a, b) => Buffer.compare(a.name, b.name)))
}

function folderOf(tree: Buffer): Buffer {
  const folder: TreeNode = {
    ...COMMON,
    name: Buffer.from('srv'),
    type: 'dir',
    mode: 0x80000000 + 0o755,
    size: 0,
    linkTarget: undefined,
    content: undefined,
    subtree: hashId<BlobId>(tree),
  }
  return encodeTree([folder])
}

/** Two backups and two keys; every kind of file is there, most of them twice. */
async function makeRepository() {
  const repository = await testRepository()
  await addKey(repository, { password: SECOND_PASSWORD, kdf: CHEAP_KDF })
  const snapshots: { readonly id: string; readonly content: Content }[] = []
  for (const content of [FIRST, SECOND]) {
    const tree = treeOf(content)
    const root = folderOf(tree)
    const data = Object.values(content).flat()
    await storeBlobs(repository, [...data.map((blob) => ['data', blob] as const), ['tree', tree], ['tree', root]])
    snapshots.push({ id: await writeSnapshot(repository, snapshotOf(hashId<BlobId>(root))), content })
  }
  return { repository, snapshots }
}

/** The storage with one byte of one file changed: as a disk that forgets, or somebody who tries. */
function withFlip(storage: Storage, flipped: FileName, offset: number, mask: number): Storage {
  return {
    ...storage,
    async read(name, range, signal) {
      const bytes = await storage.read(name, range, signal)
      if (name.type !== flipped.type || name.id !== flipped.id) return bytes
      const size = await storage.size(name)
      const { offset: from, length } = resolveRange(name, range, size, storage.location)
      if (offset >= from && offset < from + length) bytes[offset - from]! ^= mask
      return bytes
    },
  }
}

async function filesOf(storage: Storage): Promise<readonly { readonly name: FileName; readonly size: number }[]> {
  const files = []
  for (const type of ['config', 'key', 'snapshot', 'index', 'pack'] satisfies FileType[]) {
    for await (const file of storage.list(type)) files.push(file)
  }
  return files
}

/** Fails when the folder holds anything but what was backed up; tells whether it holds all of it. */
function assertNothingAltered(target: string, content: Content, what: string): boolean {
  const folder = join(target, 'srv')
  if (lstatSync(folder, { throwIfNoEntry: false }) === undefined) return false
  const names = readdirSync(folder)
  for (const name of names) {
    const expected = content[name]
    assert.ok(expected, `${what}: ${name} was never backed up`)
    assert.ok(readFileSync(join(folder, name)).equals(Buffer.concat(expected)), `${what}: ${name} is altered`)
  }
  return names.length === Object.keys(content).length
}

const isFull = process.env.HOLDFAST_FULL === '1'

const masksOf = (offset: number) => (isFull ? [1, 2, 4, 8, 16, 32, 64, 128] : [1 << (offset % 8)])

/** Paths of the files that a restore reads; no other can change what it does. */
async function filesReadBy(snapshot: string): Promise<ReadonlySet<string>> {
  const paths = new Set<string>()
  const noting: Storage = {
    ...storage,
    async read(name, range, signal) {
      paths.add(pathOf(name))
      return storage.read(name, range, signal)
    },
  }
  using target = temporaryFolder()
  assert.deepEqual(await restoreSnapshot(through(repository, noting), snapshot, target.path), [])
  return paths
}

const { repository, snapshots } = await makeRepository()
const { storage } = repository
const files = await filesOf(storage)
const restores = await Promise.all(
  snapshots.map(async (snapshot) => ({ ...snapshot, reads: await filesReadBy(snapshot.id) })),
)

/** Those that read the file: one of them for each flip in turn, or all. */
function restoresOf(path: string, nth: number): typeof restores {
  const reading = restores.filter(({ reads }) => reads.has(path))
  return isFull ? reading : [reading[nth % reading.length]!]
}

describe('each byte of a small repository flipped in turn', () => {
  it('finds nothing to report, and restores everything, while none is', async () => {
    assert.deepEqual((await checkRepository(repository, { readData: true })).findings, [])
    for (const { id, content } of snapshots) {
      using target = temporaryFolder()
      assert.deepEqual(await restoreSnapshot(repository, id, target.path), [])
      assert.equal(assertNothingAltered(target.path, content, 'unharmed'), true)
    }
    const types = files.map(({ name }) => name.type)
    assert.deepEqual(Object.fromEntries(types.map((type) => [type, types.filter((other) => other === type).length])), {
      config: 1,
      key: 2,
      snapshot: 2,
      index: 2,
      pack: 4,
    })
    const bytes = files.reduce((sum, { size }) => sum + size, 0)
    assert.ok(bytes > 4000 && bytes < 8000, `${bytes} bytes`)
  })

  for (const { name, size } of files) {
    const path = pathOf(name)
    const flips = async (test: (flipped: Storage, what: string) => Promise<void>) => {
      for (let offset = 0; offset < size; offset++) {
        for (const mask of masksOf(offset)) {
          await test(withFlip(storage, name, offset, mask), `${path}, byte ${offset}, mask ${mask}`)
        }
      }
    }

    if (name.type === 'config') {
      it(`in ${path}: nothing opens, and config is named`, async () => {
        await flips(async (flipped, what) => {
          await assert.rejects(openRepository(flipped, { password: PASSWORD }), (error) => {
            assert.ok(error instanceof EngineError, what)
            assert.deepEqual([error.code, error.facts.file], ['CORRUPT', 'config'], what)
            return true
          })
        })
      })
    } else if (name.type === 'key') {
      const [own, other] = name.id === repository.keyId ? [PASSWORD, SECOND_PASSWORD] : [SECOND_PASSWORD, PASSWORD]
      it(`in ${path}: it opens nothing, the other key does, and check names it`, async () => {
        await flips(async (flipped, what) => {
          await assert.rejects(openRepository(flipped, { password: own }), (error) => {
            assert.ok(error instanceof EngineError, what)
            assert.deepEqual([error.code, error.facts.keysDamaged], ['WRONG_PASSWORD', 1], what)
            return true
          })
          const opened = await openRepository(flipped, { password: other })
          const { findings } = await checkRepository(opened)
          const found = findings.map(({ code, facts }) => ({ code, file: facts.file }))
          assert.deepEqual(found, [{ code: 'key-damaged', file: path }], what)
        })
      })
    } else {
      assert.ok(restores.some(({ reads }) => reads.has(path)))
      it(`in ${path}: check names it, and a restore brings nothing altered back in silence`, async () => {
        using target = temporaryFolder()
        let nth = 0
        await flips(async (flipped, what) => {
          const opened = through(repository, flipped)
          const { findings } = await checkRepository(opened, { readData: true })
          assert.ok(
            findings.some(({ severity, facts }) => severity === 'error' && facts.file === path),
            what,
          )
          for (const { id, content } of restoresOf(path, nth++)) {
            const problems = await restoreSnapshot(opened, id, target.path).catch((error: unknown) => {
              assert.ok(error instanceof EngineError, `${what}: ${error}`)
              return [error]
            })
            const isComplete = assertNothingAltered(target.path, content, what)
            assert.equal(problems.length === 0, isComplete, what)
            rmSync(join(target.path, 'srv'), { recursive: true, force: true })
          }
        })
      })
    }
  }
})
