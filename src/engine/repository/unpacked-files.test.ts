import assert from 'node:assert/strict'
import { test } from 'node:test'
import { overwrite, testRepository, through } from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import { hashId, type IndexId } from '../format/id.ts'
import { seal, unseal } from '../format/master-key.ts'
import { withFaults } from '../storage/faults.ts'
import { readParsed, readUnpacked, sealUnpacked, writeUnpacked } from './unpacked-files.ts'

const JSON_TEXT = Buffer.from('{"packs":[]}\n')

test('what is written comes back, under the hash of what is stored', async () => {
  for (const version of [1, 2] as const) {
    const repository = await testRepository({ version })
    const id = await writeUnpacked(repository, 'index', JSON_TEXT)
    assert.deepEqual(await readUnpacked(repository, 'index', id), JSON_TEXT)
    const stored = await repository.storage.read({ type: 'index', id })
    assert.equal(hashId(stored), id)
    assert.equal(unseal(repository.masterKey, stored)[0], version === 1 ? JSON_TEXT[0] : 0x02)
  }
})

test('sealing stores nothing', async () => {
  const repository = await testRepository()
  const { name, content } = sealUnpacked(repository, 'lock', JSON_TEXT)
  assert.equal(hashId(content), name.id)
  await assert.rejects(repository.storage.size(name), { code: 'NOT_FOUND' })
})

test('a file that was altered or cut short is corrupt, and named', async () => {
  const repository = await testRepository()
  const id = await writeUnpacked(repository, 'index', JSON_TEXT)
  const stored = await repository.storage.read({ type: 'index', id })
  const altered = Buffer.from(stored)
  altered[20]! ^= 1
  for (const content of [altered, stored.subarray(0, 40), Buffer.alloc(0)]) {
    await overwrite(repository.storage, { type: 'index', id }, content)
    await assert.rejects(readUnpacked(repository, 'index', id), {
      code: 'CORRUPT',
      message: `Cannot read index/${id}: its content does not match its name, so it was altered or cut short`,
      facts: { file: `index/${id}` },
      hint: /repair index/,
    })
  }
})

test('a file of another repository, or with no JSON in it, is corrupt, and named', async () => {
  const repository = await testRepository()
  const store = async (content: Buffer) => {
    const id = hashId<IndexId>(content)
    await repository.storage.write({ type: 'index', id }, content)
    return id
  }
  const foreign = await store(sealUnpacked(await testRepository(), 'index', JSON_TEXT).content)
  const unknown = await store(seal(repository.masterKey, Buffer.from(' {}')))
  for (const id of [foreign, unknown]) {
    await assert.rejects(readUnpacked(repository, 'index', id), { code: 'CORRUPT', facts: { file: `index/${id}` } })
  }
})

test('what the parser finds is said of the file', async () => {
  const repository = await testRepository()
  const id = await writeUnpacked(repository, 'snapshot', JSON_TEXT)
  const parse = (json: Buffer): never => {
    throw new EngineError('CORRUPT', `no snapshot: ${json}`)
  }
  await assert.rejects(readParsed(repository, 'snapshot', id, parse), {
    code: 'CORRUPT',
    message: `Cannot read snapshots/${id}: no snapshot: ${JSON_TEXT}`,
  })
})

test('a defect of ours is not taken for damage of theirs', async () => {
  const repository = await testRepository()
  const id = await writeUnpacked(repository, 'snapshot', JSON_TEXT)
  const defect = new TypeError('undefined is not a function')
  const parse = () => {
    throw defect
  }
  await assert.rejects(readParsed(repository, 'snapshot', id, parse), (error) => error === defect)
})

test('what the storage says is passed on', async () => {
  const repository = await testRepository()
  const id = await writeUnpacked(repository, 'index', JSON_TEXT)
  const storage = withFaults(repository.storage, [{ on: 'read', type: 'index', effect: 'fail' }])
  await assert.rejects(readUnpacked(through(repository, storage), 'index', id), { code: 'STORAGE' })
  assert.deepEqual(storage.fired, [1])
  await assert.rejects(readUnpacked(repository, 'index', hashId(Buffer.from('not there'))), { code: 'NOT_FOUND' })
})
