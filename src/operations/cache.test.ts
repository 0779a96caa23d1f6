import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { countingStorage } from '../../test/equipment/counting-storage.ts'
import { makeRepository } from '../../test/equipment/path-operations.ts'
import { temporaryFolder } from '../../test/equipment/temporary-folder.ts'
import { PASSWORD } from '../../test/equipment/test-repository.ts'
import { localStorage } from '../engine/storage/local.ts'
import { backupPaths } from './backup/backup-paths.ts'
import { listFiles } from './browse/list-files.ts'
import { listSnapshots } from './browse/list-snapshots.ts'
import { check } from './verify/check.ts'

const QUIET = { observe: () => {}, signal: new AbortController().signal }

test('a second look and an unchanged backup read index, snapshots and trees from the cache, a check does not', async () => {
  using folder = temporaryFolder()
  const [location, source, cache] = ['repository', 'source', 'cache'].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ]
  await makeRepository(location, 2)
  mkdirSync(join(source, 'below'), { recursive: true })
  writeFileSync(join(source, 'below/file'), 'content')
  const storage = countingStorage(localStorage(location))
  const access = {
    location,
    storage,
    password: async () => PASSWORD,
    cache: { folder: cache, always: true, cleanUp: false, onProblem: (error: Error) => assert.fail(error) },
  }
  const asked = async (work: () => Promise<unknown>) => {
    storage.asked.length = 0
    await work()
    return new Set(storage.asked.filter((each) => /^(read|size) (index|snapshot|pack)$/.test(each)))
  }
  const ls = () => {
    const listener = { snapshot: () => {}, file: () => {} }
    return listFiles(access, { choice: { name: 'latest' }, ...QUIET }, listener)
  }
  const nothing = new Set<string>()

  await backupPaths(access, { paths: [source], ...QUIET })
  // What it writes is read back, and nothing else: the snapshot, and an index where a folder on the way to the source changed.
  const again = await asked(() => backupPaths(access, { paths: [source], ...QUIET }))
  const wrote = (type: string) => storage.asked.includes(`write ${type}`)
  assert.deepEqual(again, new Set(['index', 'snapshot'].filter(wrote).map((type) => `read ${type}`)))
  assert.deepEqual(await asked(() => listSnapshots(access, { filter: {}, ...QUIET })), nothing)
  assert.deepEqual(await asked(ls), nothing)

  const { cache: _, ...without } = access
  assert.ok((await asked(() => check(without, { readData: false, ...QUIET }))).has('read pack'))
  assert.deepEqual(
    await asked(() => check(access, { readData: false, ...QUIET })),
    await asked(() => check(without, { readData: false, ...QUIET })),
  )

  // Somebody else's damage is found although an intact copy is kept here.
  const [index = ''] = readdirSync(join(location, 'index'))
  const path = join(location, 'index', index)
  const content = readFileSync(path)
  content[30]! ^= 1
  await storage.remove({ type: 'index', id: index })
  await storage.write({ type: 'index', id: index }, content)
  await ls()
  assert.equal((await check(access, { readData: false, ...QUIET })).outcome, 'failed')
})
