import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { overwrite, storeBlobs, testRepository, through } from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type PackId } from '../format/id.ts'
import { withFaults } from '../storage/faults.ts'
import type { Storage } from '../storage/storage.ts'
import { loadIndex } from './load-index.ts'
import { readBlob, readTree } from './read-blob.ts'
import type { IndexedRepository, Repository } from './repository.ts'

const CONTENT = Buffer.from('content that is stored in two packs')
const ID = hashId<BlobId>(CONTENT)

/** The same blob in two packs, as two backups that ran at the same time leave it. */
async function storedTwice(): Promise<{ readonly repository: IndexedRepository; readonly packs: readonly PackId[] }> {
  const plain = await testRepository()
  const blind: Repository = through(plain, {
    ...plain.storage,
    async *list(type) {
      if (type === 'pack') yield* plain.storage.list(type)
    },
  })
  const packs = [
    ...(await storeBlobs(plain, [['data', CONTENT]])).packs,
    ...(await storeBlobs(blind, [['data', CONTENT]])).packs,
  ]
  return { repository: await loadIndex(plain), packs }
}

async function flip(storage: Storage, pack: PackId, offset: number): Promise<void> {
  const bytes = await storage.read({ type: 'pack', id: pack })
  bytes[offset]! ^= 1
  await overwrite(storage, { type: 'pack', id: pack }, bytes)
}

describe('a blob with several copies', () => {
  it('is read from whichever is intact', async () => {
    for (const damaged of [0, 1]) {
      const { repository, packs } = await storedTwice()
      assert.equal(repository.index.findAll('data', ID).length, 2)
      await flip(repository.storage, packs[damaged]!, 20)
      assert.deepEqual(await readBlob(repository, 'data', ID), CONTENT)
    }
  })

  it('is read when one copy is gone, cut short or out of reach', async () => {
    for (const damaged of [0, 1]) {
      const name = { type: 'pack', id: (await storedTwice()).packs[damaged]! } as const
      const gone = await storedTwice()
      await gone.repository.storage.remove({ ...name, id: gone.packs[damaged]! })
      assert.deepEqual(await readBlob(gone.repository, 'data', ID), CONTENT)

      const short = await storedTwice()
      await overwrite(short.repository.storage, { ...name, id: short.packs[damaged]! }, Buffer.from('short'))
      assert.deepEqual(await readBlob(short.repository, 'data', ID), CONTENT)

      const { repository } = await storedTwice()
      const storage = withFaults(repository.storage, [{ on: 'read', type: 'pack', nth: 1, effect: 'fail' }])
      assert.deepEqual(await readBlob({ ...repository, storage }, 'data', ID), CONTENT)
      assert.deepEqual(storage.fired, [1])
    }
  })

  it('is corrupt when none is intact, naming all packs', async () => {
    const { repository, packs } = await storedTwice()
    for (const pack of packs) await flip(repository.storage, pack, 20)
    await assert.rejects(readBlob(repository, 'data', ID), (error: EngineError) => {
      assert.equal(error.code, 'CORRUPT')
      assert.deepEqual([...(error.facts.packs as string[])].sort(), [...packs].sort())
      assert.match(error.hint!, /check --read-data/)
      assert.equal((error.cause as EngineError).code, 'UNAUTHENTIC')
      return true
    })
  })

  it('is not called corrupt while a copy that cannot be reached may be intact', async () => {
    const { repository, packs } = await storedTwice()
    const [first] = repository.index.findAll('data', ID)
    await flip(repository.storage, first!.pack, 20)
    const storage = withFaults(repository.storage, [{ on: 'read', type: 'pack', nth: 2, effect: 'fail' }])
    await assert.rejects(readBlob({ ...repository, storage }, 'data', ID), {
      code: 'STORAGE',
      facts: { blob: ID, type: 'data', packs: repository.index.findAll('data', ID).map(({ pack }) => pack) },
    })
    assert.deepEqual(storage.fired, [1])
    assert.equal(packs.length, 2)
  })
})

describe('a blob', () => {
  it('that no index names is not found', async () => {
    const { repository } = await storeBlobs(await testRepository(), [['data', CONTENT]])
    await assert.rejects(readBlob(repository, 'tree', ID), { code: 'NOT_FOUND', facts: { blob: ID, type: 'tree' } })
  })

  it('whose pack is gone is corrupt, not unknown', async () => {
    const { repository, packs } = await storeBlobs(await testRepository(), [['data', CONTENT]])
    await repository.storage.remove({ type: 'pack', id: packs[0]! })
    await assert.rejects(readBlob(repository, 'data', ID), { code: 'CORRUPT', message: new RegExp(packs[0]!) })
  })

  it('is never mixed up with another of its pack', async () => {
    const { repository, ids } = await storeBlobs(await testRepository({ version: 1 }), [
      ['data', 'one'],
      ['data', 'two'],
    ])
    const [one, two] = ids.map((id) => repository.index.find('data', id)!)
    const { index } = await loadIndex(await testRepository())
    index.addPack(one!.pack, [
      { ...one!, id: ids[1]! },
      { ...two!, id: ids[0]! },
    ])
    await assert.rejects(readBlob({ ...repository, index }, 'data', ids[0]!), { code: 'CORRUPT', message: /hash/ })
  })

  it('costs one read of its own range', async () => {
    const { repository, ids } = await storeBlobs(await testRepository(), [
      ['data', 'one'],
      ['data', 'two'],
    ])
    const ranges: unknown[] = []
    const storage: Storage = {
      ...repository.storage,
      async read(name, range, signal) {
        ranges.push(range)
        return repository.storage.read(name, range, signal)
      },
    }
    await readBlob({ ...repository, storage }, 'data', ids[1]!)
    const { offset, length } = repository.index.find('data', ids[1]!)!
    assert.deepEqual(ranges, [{ offset, length }])
  })

  it('an interruption and a lost lock are passed on as they are', async () => {
    for (const code of ['INTERRUPTED', 'LOCKED'] as const) {
      const { repository } = await storedTwice()
      const reason = new EngineError(code, 'stop')
      await assert.rejects(readBlob(repository, 'data', ID, AbortSignal.abort(reason)), (error) => error === reason)
    }
  })
})

describe('a tree', () => {
  it('is read as its nodes', async () => {
    const { repository, ids } = await storeBlobs(await testRepository(), [['tree', '{"nodes":[]}\n']])
    assert.deepEqual(await readTree(repository, ids[0]!), [])
  })

  it('that does not parse is corrupt, and named', async () => {
    const { repository, ids } = await storeBlobs(await testRepository(), [['tree', '{"nodes":null}']])
    await assert.rejects(readTree(repository, ids[0]!), {
      code: 'CORRUPT',
      message: new RegExp(`^Cannot read tree ${ids[0]}: `),
      facts: { blob: ids[0]! },
    })
  })
})
