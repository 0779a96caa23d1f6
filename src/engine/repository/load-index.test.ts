import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  namesOf,
  overwrite,
  PASSWORD,
  storeBlobs,
  testRepository,
  through,
} from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type IndexId, type PackId } from '../format/id.ts'
import { encodeIndexFile, type PackIndex } from '../format/index-file.ts'
import { withFaults } from '../storage/faults.ts'
import { type IndexFileResult, loadIndex, readIndexFiles } from './load-index.ts'
import { openRepository, type Repository } from './repository.ts'
import { writeUnpacked } from './unpacked-files.ts'

async function results(repository: Repository, signal?: AbortSignal): Promise<IndexFileResult[]> {
  const found: IndexFileResult[] = []
  for await (const result of readIndexFiles(repository, signal)) found.push(result)
  return found
}

/** A repository with as many index files. */
async function withIndexFiles(count: number): Promise<Repository> {
  const repository = await testRepository()
  for (let i = 0; i < count; i++) await storeBlobs(repository, [['data', `content ${i}`]])
  return repository
}

test('every index file is loaded, however many there are', async () => {
  const { index } = await loadIndex(await withIndexFiles(20))
  assert.equal(index.blobCount, 20)
  assert.equal(index.packCount, 20)
})

/** An index file long enough for the kernels. */
function longIndex(seed: string): PackIndex[] {
  return Array.from({ length: 40 }, (_, pack) => ({
    id: hashId<PackId>(Buffer.from(`${seed} pack ${pack}`)),
    blobs: Array.from({ length: 200 }, (_, blob) => ({
      type: pack % 10 === 0 ? 'tree' : 'data',
      id: hashId<BlobId>(Buffer.from(`${seed} ${pack} ${blob}`)),
      offset: 100 * blob,
      length: 100,
      uncompressedLength: blob % 2 === 0 ? 200 : undefined,
    })),
  }))
}

test('long index files are loaded as they are, each after the other, also one in another form', async () => {
  const repository = await testRepository()
  const written = ['a', 'b', 'c', 'd'].map(longIndex)
  for (const [i, packs] of written.entries()) {
    const json = encodeIndexFile(packs)
    const text = i === 2 ? JSON.stringify(JSON.parse(json.toString()), null, 1) : json
    await writeUnpacked(repository, 'index', Buffer.from(text))
  }
  const byId = <T extends { readonly id: string }>(packs: readonly T[]) =>
    packs.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  const { index } = await loadIndex(repository)
  assert.deepEqual(byId([...index.packs()]), byId(written.flat()))
  for (const { id, blobs } of written.flat()) {
    assert.deepEqual(index.find(blobs[7]!.type, blobs[7]!.id), { ...blobs[7], pack: id })
  }
  const one = (await results(repository)).flatMap((result) => ('packs' in result ? result.packs : []))
  assert.deepEqual(byId(one), byId(written.flat()))
})

test('a long index file with a fault in it fails the loading, and is named', async () => {
  const repository = await testRepository()
  const text = encodeIndexFile(longIndex('a')).toString().replace('"offset":1900', '"offset":-1')
  const id: IndexId = await writeUnpacked(repository, 'index', Buffer.from(text))
  await assert.rejects(loadIndex(repository), {
    code: 'CORRUPT',
    message: new RegExp(`^Cannot read index/${id}: .*packs\\[0\\].*offset`),
    facts: { file: `index/${id}` },
  })
})

test('a new repository has an empty index', async () => {
  const { index } = await loadIndex(await testRepository())
  assert.equal(index.blobCount, 0)
})

test('the opened repository itself is left as it was', async () => {
  const repository = await withIndexFiles(1)
  const indexed = await loadIndex(repository)
  assert.equal('index' in repository, false)
  assert.equal(indexed.masterKey, repository.masterKey)
})

test('one damaged index file fails the loading, and is named', async () => {
  const repository = await withIndexFiles(3)
  const id = (await namesOf(repository.storage, 'index'))[1]!
  await overwrite(repository.storage, { type: 'index', id }, Buffer.from('altered'))
  await assert.rejects(loadIndex(repository), { code: 'CORRUPT', facts: { file: `index/${id}` } })
})

test('an index file that is no index fails the loading, and is named', async () => {
  const repository = await withIndexFiles(1)
  const id: IndexId = await writeUnpacked(repository, 'index', Buffer.from('{"packs":[{"id":"short"}]}'))
  await assert.rejects(loadIndex(repository), {
    code: 'CORRUPT',
    message: new RegExp(`^Cannot read index/${id}: .*packs\\[0\\]`),
    facts: { file: `index/${id}` },
  })
})

test('version 1 refuses an index with compressed blobs', async () => {
  const source = await withIndexFiles(1)
  const id = (await namesOf(source.storage, 'index'))[0]!
  const v1: Repository = { ...source, config: { ...source.config, version: 1 } }
  await assert.rejects(loadIndex(v1), { code: 'CORRUPT', facts: { file: `index/${id}` } })
})

test('reading them one by one passes over damaged ones', async () => {
  const repository = await withIndexFiles(10)
  const [id] = await namesOf(repository.storage, 'index')
  await overwrite(repository.storage, { type: 'index', id: id! }, Buffer.alloc(0))
  const found = await results(repository)
  assert.equal(found.length, 10)
  assert.deepEqual(
    found.filter((result) => 'error' in result).map((result) => [result.id, 'error' in result && result.error.code]),
    [[id, 'CORRUPT']],
  )
})

test('a file that the storage does not hand out is one that cannot be read', async () => {
  const repository = await withIndexFiles(2)
  const storage = withFaults(repository.storage, [{ on: 'read', type: 'index', nth: 1, effect: 'fail' }])
  const found = await results(through(repository, storage))
  assert.deepEqual(storage.fired, [1])
  assert.deepEqual(found.map((result) => 'error' in result && result.error.code).sort(), ['STORAGE', false].sort())
})

test('files that cannot be listed are no empty index', async () => {
  const repository = await withIndexFiles(2)
  const storage = withFaults(repository.storage, [{ on: 'list', type: 'index', effect: 'fail' }])
  await assert.rejects(loadIndex(through(repository, storage)), { code: 'STORAGE' })
  assert.deepEqual(storage.fired, [1])
})

test('an interruption and a lost lock are never taken for damage', async () => {
  for (const code of ['INTERRUPTED', 'LOCKED'] as const) {
    const repository = await withIndexFiles(3)
    const controller = new AbortController()
    const reason = new EngineError(code, 'stop')
    const storage = {
      ...repository.storage,
      async read(...args: Parameters<typeof repository.storage.read>) {
        controller.abort(reason)
        return repository.storage.read(...args)
      },
    }
    await assert.rejects(results(through(repository, storage), controller.signal), (error) => error === reason)
  }
})

test('a repository that was opened anew has the same index', async () => {
  const repository = await withIndexFiles(2)

  const again = await openRepository(repository.storage, { password: PASSWORD })
  assert.deepEqual([...(await loadIndex(again)).index.packs()], [...(await loadIndex(repository)).index.packs()])
})
