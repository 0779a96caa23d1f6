import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { countingStorage } from '../../test/equipment/counting-storage.ts'
import { makeRepository } from '../../test/equipment/path-operations.ts'
import { randomBytes } from '../../test/equipment/random-bytes.ts'
import { temporaryFolder } from '../../test/equipment/temporary-folder.ts'
import { PASSWORD } from '../../test/equipment/test-repository.ts'
import { localStorage } from '../engine/storage/local.ts'
import type { FileType, Storage } from '../engine/storage/storage.ts'
import type { RepositoryAccess } from './access.ts'
import { type BackupPathsOptions, backupPaths } from './backup/backup-paths.ts'
import { listFiles } from './browse/list-files.ts'
import { listSnapshots } from './browse/list-snapshots.ts'
import { repairIndex } from './repository/repair-index.ts'
import { restoreToTarget } from './restore/restore-to-target.ts'
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

test('a backup reads no tree of folders that the one before has noted, as long as nothing was removed from the repository', async () => {
  using folder = temporaryFolder()
  const at = (name: string) => join(folder.path, name)
  await makeRepository(at('repository'), 2)
  for (const name of ['a/deep', 'b']) mkdirSync(join(at('source'), name), { recursive: true })
  for (const name of ['a/one', 'a/deep/two', 'b/three', 'b/three.tmp']) writeFileSync(join(at('source'), name), name)
  const storage = countingStorage(localStorage(at('repository')))
  const plain = { location: at('repository'), storage, password: async () => PASSWORD }
  const noting = {
    ...plain,
    cache: { folder: at('cache'), always: false, cleanUp: false, onProblem: (error: Error) => assert.fail(error) },
  }
  const request = { paths: [at('source')], exclude: ['*.tmp'], ...QUIET }
  const backup = async (access: RepositoryAccess = noting, more: Partial<BackupPathsOptions> = {}) => {
    storage.asked.length = 0
    const { summary } = await backupPaths(access, { ...request, ...more })
    const reads = storage.asked.filter((each) => each === 'read pack').length
    return { reads, unmodified: summary.filesUnmodified, files: summary.totalFilesProcessed, added: summary.dataAdded }
  }
  const noted = () => {
    const [repository = ''] = readdirSync(at('cache')).filter((name) => name.length === 64)
    return readdirSync(join(at('cache'), repository, 'notes'))
  }

  let restores = 0
  const restoredIsSource = async () => {
    const target = at(`restored ${++restores}`)
    await restoreToTarget(plain, { choice: { name: 'latest' }, target, verify: true, ...QUIET })
    for (const name of ['a/one', 'a/deep/two', 'b/three']) {
      assert.deepEqual(readFileSync(join(target, at('source'), name)), readFileSync(join(at('source'), name)), name)
    }
  }

  assert.equal((await backup()).files, 3)
  const { reads: withoutNote, ...without } = await backup(plain, { dryRun: true })
  const { reads, ...again } = await backup(noting, { dryRun: true })
  assert.deepEqual(again, without)
  assert.equal(again.unmodified, 3)
  assert.ok(reads <= withoutNote, `${reads} reads, ${withoutNote} without the note`)
  assert.equal(noted().length, 1)

  // What would be left out otherwise is another request, and has a note of its own.
  assert.equal((await backup(noting, { exclude: [] })).files, 4)
  assert.equal(noted().length, 2)
  assert.equal((await backup(noting, { force: true })).unmodified, 0)

  // What was lost since is stored again: the index file that named it, and that the note relies on, is gone by then.
  await backup()
  for (const pack of [...(await listed(storage, 'pack'))]) await storage.remove({ type: 'pack', id: pack })
  await repairIndex(plain, QUIET)
  assert.equal((await backup()).files, 3)
  await restoredIsSource()

  // A note that somebody spoiled costs time alone.
  const [repository = ''] = readdirSync(at('cache')).filter((name) => name.length === 64)
  for (const name of noted()) writeFileSync(join(at('cache'), repository, 'notes', name), 'spoiled')
  assert.equal((await backup()).unmodified, 3)
  const path = join(at('source'), 'a/deep/two')
  writeFileSync(path, 'changed')
  const changed = await backup()
  assert.deepEqual([changed.files, changed.unmodified], [3, 2])
  await restoredIsSource()
})

test('a backup knows what it noted of large files, of paths and whatever their names; one that is forced does not', async () => {
  using folder = temporaryFolder()
  const at = (name: string) => join(folder.path, name)
  await makeRepository(at('repository'), 2)
  const storage = localStorage(at('repository'))
  const noting = {
    location: at('repository'),
    storage,
    password: async () => PASSWORD,
    cache: { folder: at('cache'), always: false, cleanUp: false, onProblem: (error: Error) => assert.fail(error) },
  }
  const notes = () => {
    const [repository = ''] = readdirSync(at('cache')).filter((name) => name.length === 64)
    const path = (name: string) => join(at('cache'), repository, 'notes', name)
    return readdirSync(path('.')).map((name) => ({ name, path: path(name), inode: statSync(path(name)).ino }))
  }
  mkdirSync(at('source'))
  const large = randomBytes(30 * 1024 * 1024, 'large')
  writeFileSync(join(at('source'), 'large'), large)
  const backup = async (more: Partial<BackupPathsOptions> = {}) => {
    const before = existsSync(at('cache')) ? notes() : []
    const { summary } = await backupPaths(noting, { paths: [at('source')], ...QUIET, ...more })
    const written = notes().filter(({ inode, name }) => !before.some((old) => old.name === name && old.inode === inode))
    return { added: summary.dataAdded, written: written.length }
  }
  let restores = 0
  const restoredIs = async (name: string, content: Buffer) => {
    const target = at(`restored ${++restores}`)
    await restoreToTarget(noting, { choice: { name: 'latest' }, target, verify: true, ...QUIET })
    assert.ok(readFileSync(join(target, at('source'), name)).equals(content))
  }
  assert.equal((await backup()).written, 2, 'folders, and chunks')
  assert.equal(notes().length, 2)

  // Another name and another time, the same content: it is known, and nothing is noted of it again.
  renameSync(join(at('source'), 'large'), join(at('source'), 'moved'))
  const moved = await backup()
  assert.equal(moved.written, 1)
  assert.ok(moved.added < 10_000, `${moved.added}`)
  await restoredIs('moved', large)

  large[20 * 1024 * 1024]! ^= 1
  writeFileSync(join(at('source'), 'moved'), large)
  const changed = await backup()
  assert.equal(changed.written, 2)
  assert.ok(changed.added > 500_000 && changed.added < 17_000_000, `${changed.added}`)
  await restoredIs('moved', large)
  assert.equal((await backup({ force: true })).written, 2, 'with --force nothing is known')

  // What was lost since is stored again although it is noted, and a note that somebody spoiled costs time alone.
  for (const pack of await listed(storage, 'pack')) await storage.remove({ type: 'pack', id: pack })
  await repairIndex(noting, QUIET)
  assert.ok((await backup()).added > large.length / 2)
  await restoredIs('moved', large)
  for (const { path } of notes()) writeFileSync(path, 'spoiled')
  writeFileSync(join(at('source'), 'moved'), large)
  const spoiled = await backup()
  assert.equal(spoiled.written, 2)
  assert.ok(spoiled.added < 10_000, `${spoiled.added}`)
  await restoredIs('moved', large)
})

async function listed(storage: Storage, type: FileType): Promise<string[]> {
  const ids: string[] = []
  for await (const { name } of storage.list(type)) ids.push(name.id)
  return ids
}
