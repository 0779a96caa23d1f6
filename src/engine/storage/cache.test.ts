import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { countingStorage } from '../../../test/equipment/counting-storage.ts'
import { randomBytes } from '../../../test/equipment/random-bytes.ts'
import { smallFileSystem, withoutMounts } from '../../../test/equipment/small-file-system.ts'
import { type TemporaryFolder, temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { overwrite, snapshotOf, storeBlobs, testRepository, through } from '../../../test/equipment/test-repository.ts'
import type { EngineError } from '../error.ts'
import { hashId } from '../format/id.ts'
import { encodeTree } from '../format/tree.ts'
import { loadIndex } from '../repository/load-index.ts'
import { readTree } from '../repository/read-blob.ts'
import { writeSnapshot } from '../repository/snapshots.ts'
import { cleanUpCache, withCache } from './cache.ts'
import { describeStorage } from './conformance.test-suite.ts'
import { withFaults } from './faults.ts'
import { memoryStorage } from './memory.ts'
import type { FileName, Storage } from './storage.ts'

const REPOSITORY = 'a'.repeat(64)
const folders: TemporaryFolder[] = []
after(() => {
  for (const folder of folders) folder[Symbol.dispose]()
})

function newFolder(): string {
  const folder = temporaryFolder()
  folders.push(folder)
  return join(folder.path, 'cache')
}

describeStorage('cached', async () => withCache(memoryStorage(), newFolder(), { repository: REPOSITORY }))

async function put(storage: Storage, type: FileName['type'], content: Buffer): Promise<FileName> {
  const name = { type, id: hashId(content) }
  await storage.write(name, content)
  return name
}

/** The one cached file of a type. */
function cachedFile(folder: string, name: FileName): string {
  const place = { index: 'index', snapshot: 'snapshots', pack: 'data' }[name.type as 'index' | 'snapshot' | 'pack']
  return join(folder, REPOSITORY, place, name.id.slice(0, 2), name.id)
}

test('what was read once is not asked of the storage again, by another process either', async () => {
  const folder = newFolder()
  const inner = memoryStorage()
  const name = await put(inner, 'index', randomBytes(5000, 1))
  const storage = countingStorage(inner)
  for (let process = 0; process < 3; process++) {
    const cached = withCache(storage, folder, { repository: REPOSITORY })
    assert.deepEqual(await cached.read(name), randomBytes(5000, 1))
  }
  assert.deepEqual(storage.asked, ['read index'])
})

test('a second look at a repository reads index and trees from the cache', async () => {
  const folder = newFolder()
  const plain = await testRepository()
  const { ids } = await storeBlobs(plain, [
    ['tree', encodeTree([])],
    ['data', randomBytes(100_000, 2)],
  ])
  const look = async () => {
    const storage = countingStorage(plain.storage)
    const cached = withCache(storage, folder, { repository: plain.config.id })
    const repository = await loadIndex(through(plain, cached))
    for (let time = 0; time < 2; time++) assert.deepEqual(await readTree(repository, ids[0]!), [])
    return storage.asked
  }
  assert.deepEqual(await look(), ['list index', 'read index', 'size pack', 'read pack'])
  assert.deepEqual(await look(), ['list index'])
})

test('what is written is in the cache at once, trees too', async () => {
  const folder = newFolder()
  const plain = await testRepository()
  const cached = withCache(plain.storage, folder, { repository: plain.config.id })
  const { ids } = await storeBlobs(through(plain, cached), [['tree', encodeTree([])]])
  const storage = countingStorage(plain.storage)
  const later = withCache(storage, folder, { repository: plain.config.id })
  assert.deepEqual(await readTree(await loadIndex(through(plain, later)), ids[0]!), [])
  assert.deepEqual(storage.asked, ['list index'])
})

test('what a storage altered while it was written is found, for what is read back comes from there', async () => {
  const plain = await testRepository()
  const faulty = withFaults(plain.storage, [{ on: 'write', type: 'snapshot', nth: 1, effect: 'flip' }])
  const cached = withCache(faulty, newFolder(), { repository: plain.config.id })
  await assert.rejects(writeSnapshot(through(plain, cached), snapshotOf()), { code: 'STORAGE' })
  assert.deepEqual(faulty.fired, [1])
})

test('a damaged file of the cache is never handed out, and is fetched again', async () => {
  const folder = newFolder()
  const inner = memoryStorage()
  const index = await put(inner, 'index', randomBytes(5000, 1))
  const pack = await put(inner, 'pack', randomBytes(9000, 2))
  const open = async () => {
    const cached = withCache(inner, folder, { repository: REPOSITORY })
    await cached.setTreePacks(new Set([pack.id]))
    return cached
  }
  const expectGood = async (storage: Storage) => {
    assert.deepEqual(await storage.read(index), randomBytes(5000, 1))
    assert.deepEqual(await storage.read(pack, { offset: 4000, length: 500 }), randomBytes(9000, 2).subarray(4000, 4500))
  }
  await expectGood(await open())
  for (const name of [index, pack]) {
    const path = cachedFile(folder, name)
    const content = readFileSync(path)
    for (const damaged of [
      Buffer.alloc(0),
      content.subarray(0, -1),
      Buffer.concat([content, content]),
      flipped(content),
    ]) {
      writeFileSync(path, damaged)
      await expectGood(await open())
      assert.equal(hashId(readFileSync(path)), name.id)
    }
  }
})

function flipped(content: Buffer): Buffer {
  const copy = Buffer.from(content)
  copy[4100 % copy.length]! ^= 1
  return copy
}

test('a damaged file of the storage is not kept', async () => {
  const folder = newFolder()
  const inner = memoryStorage()
  const name = await put(inner, 'snapshot', randomBytes(50, 1))
  await overwrite(inner, name, Buffer.from('damage'))
  const cached = withCache(inner, folder, { repository: REPOSITORY })
  assert.equal((await cached.read(name)).toString(), 'damage')
  await overwrite(inner, name, randomBytes(50, 1))
  assert.deepEqual(await cached.read(name), randomBytes(50, 1))
})

test('the cache may be removed at any moment', async () => {
  const folder = newFolder()
  const inner = memoryStorage()
  const names = await Promise.all([1, 2, 3, 4].map((seed) => put(inner, 'index', randomBytes(5000, seed))))
  const cached = withCache(inner, folder, { repository: REPOSITORY })
  for (let round = 0; round < 20; round++) {
    const reads = names.map(async (name) => assert.equal(hashId(await cached.read(name)), name.id))
    if (round % 3 === 0) rmSync(folder, { recursive: true, force: true })
    await Promise.all(reads)
  }
})

test('many processes fill one cache at the same time', async () => {
  const folder = newFolder()
  const inner = memoryStorage()
  const names = await Promise.all(Array.from({ length: 20 }, (_, seed) => put(inner, 'index', randomBytes(5000, seed))))
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      const cached = withCache(inner, folder, { repository: REPOSITORY, limit: 60_000 })
      for (const name of names) assert.equal(hashId(await cached.read(name)), name.id)
      for await (const { name } of cached.list('index')) assert.equal(hashId(await cached.read(name)), name.id)
    }),
  )
})

test('what the repository no longer has leaves the cache', async () => {
  const folder = newFolder()
  const inner = memoryStorage()
  const kept = await put(inner, 'index', randomBytes(50, 1))
  const gone = await put(inner, 'index', randomBytes(50, 2))
  const pack = await put(inner, 'pack', randomBytes(50, 3))
  const cached = withCache(inner, folder, { repository: REPOSITORY })
  await cached.setTreePacks(new Set([pack.id]))
  for (const name of [kept, gone]) await cached.read(name)
  await cached.read(pack, { offset: 0, length: 1 })
  await inner.remove(gone) // by another machine
  for await (const _ of cached.list('index'));
  await cached.setTreePacks(new Set())
  assert.deepEqual(
    [kept, gone, pack].map((name) => readdirSync(dirname(cachedFile(folder, name))).includes(name.id)),
    [true, false, false],
  )
})

test('the cache stays below its limit, and what was not used for longest goes first', async () => {
  const folder = newFolder()
  const inner = memoryStorage()
  const names = await Promise.all(Array.from({ length: 12 }, (_, seed) => put(inner, 'index', randomBytes(1000, seed))))
  const cached = withCache(inner, folder, { repository: REPOSITORY, limit: 10_000 })
  for (const [at, name] of names.slice(0, 9).entries()) {
    await cached.read(name)
    utimesSync(cachedFile(folder, name), at, at)
  }
  const again = withCache(inner, folder, { repository: REPOSITORY, limit: 10_000 })
  await again.read(names[0]!) // used now
  for (const name of names.slice(9)) await again.read(name)
  const left = names.filter((name) => readdirSync(dirname(cachedFile(folder, name))).includes(name.id))
  assert.ok(left.length <= 10 && left.length >= 8, String(left.length))
  assert.ok(left.includes(names[0]!))
  assert.ok(!left.includes(names[1]!))
  const large = await put(inner, 'index', randomBytes(9000, 'large'))
  await again.read(large)
  assert.ok(!left.includes(large))
})

test('with a full disk the work goes on without the cache, and that is said once', {
  skip: withoutMounts,
}, async () => {
  using disk = smallFileSystem('size=20m')
  const inner = memoryStorage()
  const problems: EngineError[] = []
  const cached = withCache(inner, join(disk.path, 'cache'), {
    repository: REPOSITORY,
    onProblem: (error) => problems.push(error),
  })
  for (let seed = 0; seed < 8; seed++) {
    const content = randomBytes(6_000_000, seed)
    const name = await put(cached, 'index', content)
    assert.deepEqual(await cached.read(name), content)
  }
  assert.equal(problems.length, 1)
  assert.match(problems[0]!.message, /^Cannot use the cache in .*(ENOSPC|accepted)/)
})

test('a folder that cannot be used is done without', async () => {
  const folder = newFolder()
  writeFileSync(folder, 'a file')
  const problems: EngineError[] = []
  const cached = withCache(memoryStorage(), folder, {
    repository: REPOSITORY,
    onProblem: (error) => problems.push(error),
  })
  const name = await put(cached, 'index', randomBytes(50, 1))
  assert.deepEqual(await cached.read(name), randomBytes(50, 1))
  assert.equal(problems.length, 1)
  assert.match(problems[0]!.hint!, /--no-cache/)
})

test('files are for their owner only, sealed as they are stored, and backups leave them out', async () => {
  const folder = newFolder()
  const cached = withCache(memoryStorage(), folder, { repository: REPOSITORY })
  const name = await put(cached, 'snapshot', randomBytes(50, 1))
  await cached.read(name)
  const path = cachedFile(folder, name)
  assert.deepEqual(readFileSync(path), randomBytes(50, 1))
  assert.equal(statSync(path).mode & 0o777, 0o600)
  for (const parent of [dirname(path), join(folder, REPOSITORY), folder])
    assert.equal(statSync(parent).mode & 0o777, 0o700)
  assert.match(readFileSync(join(folder, 'CACHEDIR.TAG'), 'utf8'), /^Signature: 8a477f597d28d172789f06886806bc55\n/)
})

test('what a killed process left half written goes with time', async () => {
  const folder = newFolder()
  const inner = memoryStorage()
  const name = await put(inner, 'index', randomBytes(50, 1))
  const cached = withCache(inner, folder, { repository: REPOSITORY })
  await cached.read(name)
  const [old, young] = ['old', 'young'].map((each) => `${cachedFile(folder, name)}.${each}.tmp`) as [string, string]
  for (const path of [old, young]) writeFileSync(path, 'half')
  utimesSync(old, 0, 0)
  for await (const _ of cached.list('index'));
  assert.deepEqual(
    readdirSync(dirname(old)).filter((each) => each.endsWith('.tmp')),
    [young.split('/').at(-1)],
  )
})

test('repositories that nobody used for a month are forgotten', async () => {
  const folder = newFolder()
  mkdirSync(join(folder, 'not ours'), { recursive: true })
  for (const repository of [REPOSITORY, 'b'.repeat(64)]) {
    const cached = withCache(memoryStorage(), folder, { repository })
    await cached.read(await put(cached, 'index', randomBytes(50, 1)))
  }
  chmodSync(folder, 0o700)
  utimesSync(join(folder, REPOSITORY), 0, 0)
  utimesSync(join(folder, 'not ours'), 0, 0)
  assert.equal(await cleanUpCache(folder), 1)
  assert.deepEqual(readdirSync(folder).sort(), ['CACHEDIR.TAG', 'b'.repeat(64), 'not ours'].sort())
})
