import assert from 'node:assert/strict'
import { describe, it, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { randomBytes } from '../../../test/equipment/random-bytes.ts'
import { recordingStorage } from '../../../test/equipment/recording-storage.ts'
import { namesOf, storeBlobs, testRepository, through } from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type PackId } from '../format/id.ts'
import { unseal } from '../format/master-key.ts'
import { type BlobType, parsePackHeader } from '../format/pack-header.ts'
import { withFaults } from '../storage/faults.ts'
import { memoryStorage } from '../storage/memory.ts'
import type { Storage } from '../storage/storage.ts'
import { BlobWriter, DEFAULT_PACK_SIZE } from './blob-writer.ts'
import { checkRepository } from './check.ts'
import { loadIndex } from './load-index.ts'
import { readBlob } from './read-blob.ts'
import type { Repository } from './repository.ts'

/** One kilobyte that is one kilobyte and a bit in a pack. */
const noise = (seed: string) => randomBytes(1000, seed)

/** The types of the blobs in each pack, as its own header lists them. */
async function packContents(repository: Repository): Promise<BlobType[][]> {
  const contents: BlobType[][] = []
  for (const id of await namesOf(repository.storage, 'pack')) {
    const pack = await repository.storage.read({ type: 'pack', id })
    const length = pack.readUInt32LE(pack.length - 4)
    const header = pack.subarray(pack.length - 4 - length, pack.length - 4)
    contents.push(parsePackHeader(unseal(repository.masterKey, header)).map(({ type }) => type))
  }
  return contents
}

async function assertSound(repository: Repository): Promise<void> {
  const { findings } = await checkRepository(repository, { readData: true })
  assert.deepEqual(findings, [])
}

describe('storing blobs', () => {
  it('whatever is saved is read back by a process that loads the index', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom<BlobType>('data', 'tree'), fc.string({ maxLength: 300 })), { maxLength: 30 }),
        fc.constantFrom(1 as const, 2 as const),
        async (blobs, version) => {
          const plain = await testRepository({ version })
          const { repository, ids } = await storeBlobs(plain, blobs)
          for (const [i, [type, text]] of blobs.entries()) {
            assert.equal((await readBlob(repository, type, ids[i]!)).toString(), text)
          }
          const distinct = new Set(blobs.map(([type, text]) => type + text))
          assert.equal(repository.index.blobCount, distinct.size)
          await assertSound(plain)
        },
      ),
      { numRuns: 25 },
    )
  })

  it('a blob is stored once in a run and across runs', async () => {
    const repository = await testRepository()
    const content = noise('a')
    await using first = new BlobWriter(await loadIndex(repository))
    const saved = await first.save('data', content)
    assert.equal(saved.isNew, true)
    assert.ok(saved.storedBytes > content.length)
    assert.deepEqual(await first.save('data', content), { id: saved.id, isNew: false, storedBytes: 0 })
    await first.finish()

    await using second = new BlobWriter(await loadIndex(repository))
    assert.deepEqual(await second.save('data', content), { id: saved.id, isNew: false, storedBytes: 0 })
    await second.finish()
    assert.equal((await namesOf(repository.storage, 'pack')).length, 1)
    assert.equal((await namesOf(repository.storage, 'index')).length, 1)
  })

  it('two calls at the same time store the same bytes once', async () => {
    const repository = await testRepository()
    await using writer = new BlobWriter(await loadIndex(repository), { packSize: 100 })
    const saved = await Promise.all(Array.from({ length: 8 }, () => writer.save('data', noise('same'))))
    await writer.finish()
    assert.equal(saved.filter(({ isNew }) => isNew).length, 1)
    assert.equal((await loadIndex(repository)).index.blobCount, 1)
  })

  it('the same bytes as data and as a tree are two blobs, in two packs', async () => {
    const repository = await testRepository()
    const empty = '{"nodes":[]}\n'
    await storeBlobs(repository, [
      ['data', empty],
      ['tree', empty],
    ])
    assert.deepEqual((await packContents(repository)).sort(), [['data'], ['tree']])
  })

  it('a pack is closed when its blobs reach the size, and never holds both types', async () => {
    const repository = await testRepository()
    await using writer = new BlobWriter(await loadIndex(repository), { packSize: 3000 })
    for (let i = 0; i < 7; i++) {
      await writer.save('data', noise(`data ${i}`))
      await writer.save('tree', noise(`tree ${i}`))
    }
    await writer.finish()
    const contents = await packContents(repository)
    const sizes = contents.map((types) => `${types.length} ${[...new Set(types)].join(' and ')}`).sort()
    assert.deepEqual(sizes, ['1 data', '1 tree', '3 data', '3 data', '3 tree', '3 tree'])
    await assertSound(repository)
  })

  it('a blob larger than a pack has one to itself', async () => {
    const repository = await testRepository()
    await using writer = new BlobWriter(await loadIndex(repository), { packSize: 500 })
    for (const seed of ['a', 'b', 'c']) await writer.save('data', noise(seed))
    await writer.finish()
    assert.deepEqual(await packContents(repository), [['data'], ['data'], ['data']])
  })

  it('the plaintext is the caller’s again when the call resolves', async () => {
    const repository = await testRepository({ version: 1 })
    await using writer = new BlobWriter(await loadIndex(repository))
    const buffer = Buffer.from('first')
    const { id } = await writer.save('data', buffer)
    buffer.write('other')
    await writer.finish()
    assert.equal((await readBlob(await loadIndex(repository), 'data', id)).toString(), 'first')
  })

  it('many small blobs and long ones, in any order, lie side by side as they were', async () => {
    const repository = await testRepository({ version: 1 })
    await using writer = new BlobWriter(await loadIndex(repository), { packSize: 1_000_000 })
    const contents = Array.from({ length: 300 }, (_, i) => randomBytes(i % 50 === 49 ? 300_000 : (i * 97) % 3000, i))
    for (const content of contents) await writer.save('tree', content)
    await writer.finish()
    const indexed = await loadIndex(repository)
    for (const content of contents) {
      assert.ok((await readBlob(indexed, 'tree', hashId<BlobId>(content))).equals(content))
    }
    await assertSound(repository)
  })

  it('nothing new writes nothing', async () => {
    const storage = recordingStorage(memoryStorage())
    const repository = await testRepository({ storage })
    const before = storage.done.length
    await using writer = new BlobWriter(await loadIndex(repository))
    await writer.finish()
    assert.deepEqual(storage.done.slice(before), [])
  })

  it('the totals are what lies in the packs', async () => {
    const repository = await testRepository()
    await using writer = new BlobWriter(await loadIndex(repository), { packSize: 2500 })
    let added = 0
    for (let i = 0; i < 5; i++) {
      await writer.save('data', noise(`${i}`))
      await writer.save('data', noise('0'))
      added += 1000
    }
    await writer.save('tree', Buffer.from('{"nodes":[]}\n'))
    await writer.finish()
    let addedPacked = 0
    for await (const { size } of repository.storage.list('pack')) addedPacked += size
    assert.deepEqual(writer.totals, { dataBlobs: 5, treeBlobs: 1, added: added + 13, addedPacked, packs: 3 })
  })

  it('packs have restic’s size unless told otherwise', () => {
    assert.equal(DEFAULT_PACK_SIZE, 16 * 1024 * 1024)
  })
})

describe('the durable order', () => {
  it('every pack is stored before the index that names it', async () => {
    const storage = recordingStorage(memoryStorage())
    const repository = await testRepository({ storage })
    const before = storage.done.length
    await using writer = new BlobWriter(await loadIndex(repository), { packSize: 1500 })
    for (let i = 0; i < 9; i++) await writer.save(i % 2 ? 'data' : 'tree', noise(`${i}`))
    await writer.finish()
    const done = storage.done.slice(before)
    assert.equal(done.length, 6)
    assert.ok(done.slice(0, -1).every((call) => call.startsWith('write data/')))
    assert.match(done.at(-1)!, /^write index\//)
  })

  it('an index file is not begun while a pack it names is still under way', async () => {
    const memory = memoryStorage()
    const running = new Set<string>()
    const storage: Storage = {
      ...memory,
      async write(name, content, signal) {
        if (name.type === 'index') assert.deepEqual([...running], [])
        running.add(name.id)
        for (let i = 0; i < 5; i++) await nextTurn()
        await memory.write(name, content, signal)
        running.delete(name.id)
      },
    }
    const repository = await testRepository({ storage })
    await using writer = new BlobWriter(await loadIndex(repository), { packSize: 800 })
    for (let i = 0; i < 6; i++) await writer.save('data', noise(`${i}`))
    await writer.finish()
    assert.equal((await namesOf(storage, 'index')).length, 1)
  })

  it('blobs enter the index in memory only when they are published, and are known before', async () => {
    const repository = await loadIndex(await testRepository())
    await using writer = new BlobWriter(repository, { packSize: 500 })
    const { id } = await writer.save('data', noise('a'))
    await nextTurn()
    assert.equal((await namesOf(repository.storage, 'pack')).length, 1)
    assert.equal(repository.index.has('data', id), false)
    assert.equal(writer.has('data', id), true)
    assert.equal(writer.has('tree', id), false)
    assert.equal(writer.hasAt('data', Buffer.from(`"${id}"`), 1), true)
    assert.equal(writer.hasAt('tree', Buffer.from(`"${id}"`), 1), false)
    await writer.finish()
    assert.equal(repository.index.has('data', id), true)
  })

  it('what an index file does not name yet stays known when one is written', async () => {
    const repository = await loadIndex(await testRepository())
    await using writer = new BlobWriter(repository, { packSize: 2500, indexSize: 3 })
    const open = await writer.save('tree', noise('open'))
    for (let i = 0; i < 4; i++) await writer.save('data', noise(`${i}`))
    while ((await namesOf(repository.storage, 'index')).length === 0) await nextTurn()
    await nextTurn()
    const pending = { data: [] as string[], tree: [] as string[] }
    for (const type of ['data', 'tree'] as const) writer.forEachPending(type, (id) => pending[type].push(id))
    assert.deepEqual(pending, { data: [hashId(noise('3'))], tree: [open.id] })
    for (let i = 0; i < 4; i++) assert.equal((await writer.save('data', noise(`${i}`))).isNew, false)
    assert.equal((await writer.save('tree', noise('open'))).isNew, false)
    await writer.finish()
    assert.equal(repository.index.blobCount, 5)
  })

  it('an index file is written while the run goes on, when it is old enough', async () => {
    const repository = await testRepository()
    let minutes = 0
    await using writer = new BlobWriter(await loadIndex(repository), { packSize: 500, clock: () => minutes * 60_000 })
    for (; minutes < 21; minutes += 3) {
      await writer.save('data', noise(`${minutes}`))
      for (let i = 0; i < 5; i++) await nextTurn()
    }
    assert.equal((await namesOf(repository.storage, 'index')).length, 1)
    await writer.finish()
    assert.equal((await namesOf(repository.storage, 'index')).length, 2)
    await assertSound(repository)
  })

  it('an index file is written when it is full', async () => {
    const repository = await testRepository()
    await using writer = new BlobWriter(await loadIndex(repository), { packSize: 2500, indexSize: 6 })
    for (let i = 0; i < 15; i++) await writer.save('data', noise(`${i}`))
    await writer.finish()
    assert.equal((await namesOf(repository.storage, 'pack')).length, 5)
    assert.equal((await namesOf(repository.storage, 'index')).length, 3)
    assert.equal((await loadIndex(repository)).index.blobCount, 15)
    await assertSound(repository)
  })

  it('no more packs are held in memory than are being stored and filled', async () => {
    const memory = memoryStorage()
    let release = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    let begun = 0
    const storage: Storage = {
      ...memory,
      async write(name, content, signal) {
        if (name.type === 'pack') {
          begun += 1
          await gate
        }
        await memory.write(name, content, signal)
      },
    }
    const repository = await testRepository({ storage })
    await using writer = new BlobWriter(await loadIndex(repository), { packSize: 500 })
    let saved = 0
    const saving = (async () => {
      for (let i = 0; i < 6; i++) {
        await writer.save('data', noise(`${i}`))
        saved += 1
      }
    })()
    for (let i = 0; i < 20; i++) await nextTurn()
    assert.deepEqual({ begun, saved }, { begun: 2, saved: 2 })
    release()
    await saving
    await writer.finish()
    assert.equal((await namesOf(storage, 'pack')).length, 6)
  })
})

describe('a storage that fails', () => {
  const save = async (writer: BlobWriter) => {
    for (let i = 0; i < 6; i++) await writer.save(i % 2 ? 'data' : 'tree', noise(`${i}`))
    await writer.finish()
  }

  for (const effect of ['fail', 'lose-answer'] as const) {
    it(`whichever write it is (${effect}), nothing is published after it and the repository stays sound`, async () => {
      const writes = 7 // six packs and an index
      for (let nth = 1; nth <= writes; nth++) {
        const repository = await testRepository()
        const recorded = recordingStorage(repository.storage)
        const storage = withFaults(recorded, [{ on: 'write', nth, effect }])
        const faulty = await loadIndex(through(repository, storage))
        const writer = new BlobWriter(faulty, { packSize: 500 })
        await assert.rejects(save(writer), { code: 'STORAGE' })
        await writer[Symbol.asyncDispose]()
        assert.deepEqual(storage.fired, [1], `write ${nth}`)

        const indexes = await namesOf(repository.storage, 'index')
        assert.equal(indexes.length, nth === writes && effect === 'lose-answer' ? 1 : 0)
        assert.equal(faulty.index.blobCount, 0)
        const { errors } = await checkRepository(repository, { readData: true })
        assert.equal(errors, 0)
        await assert.rejects(writer.save('data', noise('more')), { code: 'STORAGE' })
        await assert.rejects(writer.finish(), { code: 'STORAGE' })
      }
    })
  }

  it('the next run stores what the failed one could not publish', async () => {
    const repository = await testRepository()
    const storage = withFaults(repository.storage, [{ on: 'write', type: 'index', nth: 1, effect: 'fail' }])
    const indexed = await loadIndex(through(repository, storage))
    await using failing = new BlobWriter(indexed, { packSize: 500 })
    await assert.rejects(save(failing), { code: 'STORAGE' })
    assert.deepEqual(storage.fired, [1])
    // With the same index in memory, as a service would.
    await using next = new BlobWriter(indexed, { packSize: 500 })
    await save(next)
    assert.equal(next.totals.dataBlobs, 3)
    const fresh = await loadIndex(repository)
    for (let i = 0; i < 6; i++) {
      assert.ok(fresh.index.has(i % 2 ? 'data' : 'tree', hashId<BlobId>(noise(`${i}`))))
    }
  })

  it('an interruption stops it with the signal’s own reason', async () => {
    const repository = await testRepository()
    const controller = new AbortController()
    const reason = new EngineError('INTERRUPTED', 'Interrupted by SIGINT')
    await using writer = new BlobWriter(await loadIndex(repository), { signal: controller.signal })
    await writer.save('data', noise('a'))
    controller.abort(reason)
    await assert.rejects(writer.save('data', noise('b')), (error) => error === reason)
    await assert.rejects(writer.finish(), (error) => error === reason)
    assert.deepEqual(await namesOf(repository.storage, 'index'), [])
  })

  it('an interrupted run publishes what it had stored, and the next stores none of it again', async () => {
    const repository = await testRepository()
    const controller = new AbortController()
    {
      await using writer = new BlobWriter(await loadIndex(repository), { packSize: 500, signal: controller.signal })
      for (const content of ['a', 'b', 'c']) await writer.save('data', noise(content))
      while (writer.totals.packs < 3) await nextTurn()
      controller.abort(new EngineError('INTERRUPTED', 'Interrupted by SIGINT'))
    }
    await using next = new BlobWriter(await loadIndex(repository), { packSize: 500 })
    for (const content of ['a', 'b', 'c']) assert.equal((await next.save('data', noise(content))).isNew, false)
    assert.equal((await checkRepository(repository, { readData: true })).errors, 0)
  })

  it('a run whose lock is lost publishes nothing: a prune may be removing its packs', async () => {
    const repository = await testRepository()
    const controller = new AbortController()
    {
      await using writer = new BlobWriter(await loadIndex(repository), { packSize: 500, signal: controller.signal })
      await writer.save('data', noise('a'))
      while (writer.totals.packs < 1) await nextTurn()
      controller.abort(new EngineError('LOCKED', 'Lost the lock'))
    }
    assert.deepEqual(await namesOf(repository.storage, 'index'), [])
  })

  it('nothing is under way any more when it is disposed of, and nothing can be added', async () => {
    const memory = memoryStorage()
    let running = 0
    const storage: Storage = {
      ...memory,
      async write(name, content, signal) {
        running += 1
        for (let i = 0; i < 10; i++) await nextTurn()
        await memory.write(name, content, signal)
        running -= 1
      },
    }
    const repository = await testRepository({ storage })
    const writer = new BlobWriter(await loadIndex(repository), { packSize: 500 })
    await writer.save('data', noise('a'))
    assert.equal(running, 1)
    await writer[Symbol.asyncDispose]()
    assert.equal(running, 0)
    await assert.rejects(writer.save('data', noise('b')), /disposed of/)
    assert.deepEqual(await namesOf(storage, 'index'), [])
  })
})

test('a pack lies under the hash of its bytes', async () => {
  const { repository, packs } = await storeBlobs(await testRepository(), [['data', 'content']])
  const id = packs[0]!
  assert.equal(hashId<PackId>(await repository.storage.read({ type: 'pack', id })), id)
})
