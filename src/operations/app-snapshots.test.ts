import assert from 'node:assert/strict'
import test from 'node:test'
import { overwrite, storeBlobs, testRepository } from '../../test/equipment/test-repository.ts'
import { writeSnapshot } from '../engine/repository/snapshots.ts'
import { appSnapshots, appTag, componentTag, findAppSnapshot, PARTIAL } from './app-snapshots.ts'

async function withSnapshots(tags: Readonly<Record<string, readonly string[]>>) {
  const repository = await testRepository()
  const { ids } = await storeBlobs(repository, [['tree', '{"nodes":[]}\n']])
  const names = new Map<string, string>()
  let ns = 1_700_000_000_000_000_000n
  for (const [name, list] of Object.entries(tags)) {
    ns += 60_000_000_000n
    const id = await writeSnapshot(repository, {
      time: { ns, offset: 0 },
      tree: ids[0]!,
      paths: ['/x'],
      hostname: 'host',
      username: 'user',
      uid: 0,
      gid: 0,
      excludes: [],
      tags: [...list],
      programVersion: 'test',
    })
    names.set(id, name)
  }
  const find = async (selection: Partial<Parameters<typeof findAppSnapshot>[1]> = {}) => {
    const { id } = await findAppSnapshot(repository, { app: 'shop', name: 'latest', ...selection })
    return names.get(id)
  }
  return { repository, find, names }
}

test('the latest of an application is its newest whole one, or the newest that holds what is asked for', async () => {
  const { find, names } = await withSnapshots({
    whole: [appTag('shop')],
    data: [appTag('shop'), PARTIAL, componentTag('data')],
    both: [appTag('shop'), PARTIAL, componentTag('data'), componentTag('config')],
    config: [appTag('shop'), PARTIAL, componentTag('config')],
    other: [appTag('shop-staging')],
    untagged: [],
  })
  assert.equal(await find(), 'whole')
  assert.equal(await find({ components: [] }), 'whole')
  assert.equal(await find({ components: ['config'] }), 'config')
  assert.equal(await find({ components: ['data'] }), 'both')
  assert.equal(await find({ components: ['data', 'config'] }), 'both')
  assert.equal(await find({ components: ['nginx'] }), 'whole', 'a whole one held everything that there was')
  assert.equal(await find({ components: ['data'], notAfter: 1_700_000_130_000_000_000n }), 'data')
  assert.equal(await find({ app: 'shop-staging' }), 'other')
  const [first] = names.keys()
  assert.equal(await find({ name: first!.slice(0, 10) }), 'whole')
})

test('without a fitting snapshot the error says of what and when', async () => {
  const { find } = await withSnapshots({ data: [appTag('shop'), PARTIAL, componentTag('data')] })
  await assert.rejects(find(), { code: 'NOTHING', message: /^No snapshot of shop in the repository/ })
  await assert.rejects(find({ components: ['config'], notAfter: 0n }), {
    code: 'NOTHING',
    message: /^No snapshot of component config of shop at or before 1970-01-01/,
  })
})

test('while a snapshot cannot be read nobody knows the latest; a list goes on without it', async () => {
  const { repository, find, names } = await withSnapshots({ one: [appTag('shop')], two: [appTag('shop')] })
  const [, second] = names.keys()
  await overwrite(repository.storage, { type: 'snapshot', id: second! }, Buffer.from('rubbish'))
  await assert.rejects(find(), { code: 'CORRUPT', message: /^Cannot tell which snapshot is the latest/ })
  const damaged: string[] = []
  const list = await appSnapshots(repository, 'shop', undefined, ({ code }) => damaged.push(code))
  assert.deepEqual(
    list.map(({ id }) => names.get(id)),
    ['one'],
  )
  assert.equal(damaged.length, 1)
  await assert.rejects(appSnapshots(repository, 'shop'))
})
