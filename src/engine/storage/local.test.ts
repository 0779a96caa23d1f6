import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, rmSync } from 'node:fs'
import { chmod, lstat, mkdir, mkdtemp, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { EngineError, type EngineErrorCode } from '../error.ts'
import { hashId } from '../format/id.ts'
import { describeStorage } from './conformance.test-suite.ts'
import { localPath, localStorage } from './local.ts'
import type { FileName, FileType, Storage } from './storage.ts'
import { writesAfter } from './writes-after.ts'

const CONFIG: FileName = { type: 'config', id: '' }
const isRoot = process.getuid?.() === 0

describeStorage('local', async (test) => localStorage(join(await temporaryFolder(test), 'repository')), {
  missing: async (test) => localStorage(join(await temporaryFolder(test), 'repository')),
  small: async (test) => {
    const folder = await smallDisk(test)
    return folder === undefined ? undefined : localStorage(join(folder, 'repository'))
  },
})

describe('local storage', () => {
  it('a new repository is for its owner alone', async (test) => {
    const { storage, folder } = await repository(test)
    const name = await writeRandom(storage, 'pack', 10)
    assert.equal(await modeOf(folder), 0o700)
    for (const each of ['data', 'data/00', 'data/ff', 'index', 'keys', 'locks', 'snapshots']) {
      assert.equal(await modeOf(join(folder, each)), 0o700, each)
    }
    assert.equal(await modeOf(join(folder, 'config')), 0o400)
    assert.equal(await modeOf(join(folder, `data/${name.id.slice(0, 2)}/${name.id}`)), 0o400)
  })

  it('the layout is the one of the format, and nothing besides', async (test) => {
    const { folder } = await repository(test)
    assert.deepEqual((await readdir(folder)).sort(), ['config', 'data', 'index', 'keys', 'locks', 'snapshots'])
    const packFolders = await readdir(join(folder, 'data'))
    assert.equal(packFolders.length, 256)
    assert.ok(packFolders.every((name) => /^[0-9a-f]{2}$/.test(name)))
  })

  it('bytes are handed back before the file has its name, also while a lock settles', async (test) => {
    const { storage, folder } = await repository(test)
    for (const through of [storage, writesAfter(storage, Promise.resolve())]) {
      const content = randomBytes(5_000_000)
      const name: FileName = { type: 'pack', id: hashId(content) }
      const found: boolean[] = []
      await through.write(name, content, undefined, () => {
        found.push(existsSync(join(folder, `data/${name.id.slice(0, 2)}/${name.id}`)))
      })
      assert.deepEqual(found, [false])
    }
  })

  it('bytes that were handed back are never written again, whatever becomes of the folder', async (test) => {
    const { storage, folder } = await repository(test)
    const content = randomBytes(1000)
    const name: FileName = { type: 'pack', id: hashId(content) }
    const packs = join(folder, `data/${name.id.slice(0, 2)}`)
    let times = 0
    const written = storage.write(name, content, undefined, () => {
      if (times++ > 0) return
      rmSync(packs, { recursive: true })
      content.fill(0)
    })
    await assert.rejects(written, { code: 'NOT_FOUND' })
    assert.equal(times, 1)
    assert.equal(existsSync(join(packs, name.id)), false)
  })

  it('what the group may do follows from the config file', async (test) => {
    const { storage, folder } = await repository(test)
    await chmod(join(folder, 'config'), 0o440)
    await rm(join(folder, 'data'), { recursive: true })
    const umask = process.umask(0o007)
    try {
      const pack = await writeRandom(storage, 'pack', 10)
      const shard = join(folder, 'data', pack.id.slice(0, 2))
      assert.equal(await modeOf(join(folder, 'data')), 0o770)
      assert.equal(await modeOf(shard), 0o770)
      assert.equal(await modeOf(join(shard, pack.id)), 0o440)
    } finally {
      process.umask(umask)
    }
  })

  it('threads read packs where they lie, also while a lock settles', async (test) => {
    const { storage, folder } = await repository(test)
    const name = await writeRandom(storage, 'pack', 10)
    const path = join(folder, `data/${name.id.slice(0, 2)}/${name.id}`)
    assert.equal(localPath(writesAfter(storage, Promise.resolve()), name), path)
    assert.equal(localPath({ ...storage }, name), undefined) // who wraps reads is asked for them
  })

  it('missing folders of the layout are empty, and made when they are needed', async (test) => {
    const { storage, folder } = await repository(test)
    for (const each of ['data', 'index', 'keys', 'locks', 'snapshots'])
      await rm(join(folder, each), { recursive: true })
    for (const type of ['pack', 'index', 'key', 'lock', 'snapshot'] as const) {
      assert.deepEqual(await idsOf(storage, type), [])
      const name = await writeRandom(storage, type, 10)
      assert.deepEqual(await idsOf(storage, type), [name.id])
    }
  })

  it('a missing repository folder is never made by a write, which would hide that its disk is away', async (test) => {
    const folder = join(await temporaryFolder(test), 'mount')
    await rejects(localStorage(folder).write(CONFIG, Buffer.of(1)), 'NOT_FOUND')
    await rejects(localStorage(folder).write({ type: 'pack', id: hashId(Buffer.of(1)) }, Buffer.of(1)), 'NOT_FOUND')
    await assert.rejects(lstat(folder), { code: 'ENOENT' })
  })

  it('names that are not 64 lower-case hex digits are never listed', async (test) => {
    const { storage, folder } = await repository(test)
    const name = await writeRandom(storage, 'pack', 10)
    const shard = join(folder, 'data', name.id.slice(0, 2))
    const other = `${name.id.slice(0, 2)}${'A'.repeat(62)}`
    for (const stray of [`${name.id}-tmp-123`, other, name.id.slice(0, 63), `${name.id}0`, 'README', '.nfs0001']) {
      await writeFile(join(shard, stray), 'stray')
      await writeFile(join(folder, 'snapshots', stray), 'stray')
    }
    await writeFile(join(folder, 'data', 'stray'), 'stray')
    await mkdir(join(folder, 'data', 'tmp'))
    await mkdir(join(folder, 'snapshots', hashId(Buffer.of(1))))
    await symlink('/nonexistent', join(folder, 'snapshots', hashId(Buffer.of(2))))
    assert.deepEqual(await idsOf(storage, 'pack'), [name.id])
    assert.deepEqual(await idsOf(storage, 'snapshot'), [])
  })

  it("a pack in another one's folder is not listed, since it could not be read", async (test) => {
    const { storage, folder } = await repository(test)
    const name = await writeRandom(storage, 'pack', 10)
    const shard = name.id.slice(0, 2)
    const wrong = shard === '00' ? '01' : '00'
    await rename(join(folder, 'data', shard, name.id), join(folder, 'data', wrong, name.id))
    assert.deepEqual(await idsOf(storage, 'pack'), [])
    await rejects(storage.read(name), 'NOT_FOUND')
  })

  it('a file that replaced a folder, and the reverse, are errors', async (test) => {
    const { storage, folder } = await repository(test)
    await rm(join(folder, 'index'), { recursive: true })
    await writeFile(join(folder, 'index'), '')
    await rejects(idsOf(storage, 'index'), 'NOT_A_DIRECTORY')
    await rejects(writeRandom(storage, 'index', 1), 'NOT_A_DIRECTORY')
    await rejects(storage.create(), 'NOT_A_DIRECTORY')

    const id = hashId(Buffer.of(1))
    await mkdir(join(folder, 'keys', id))
    await rejects(storage.read({ type: 'key', id }), 'STORAGE')
    await rejects(storage.size({ type: 'key', id }), 'STORAGE')
    await rejects(storage.write({ type: 'key', id }, Buffer.of(1)), 'EXISTS')
  })

  it('a named pipe in the place of a file is an error, not a wait', async (test) => {
    const { storage, folder } = await repository(test)
    const id = hashId(Buffer.of(1))
    execFileSync('mkfifo', [join(folder, 'keys', id)])
    await rejects(storage.read({ type: 'key', id }), 'STORAGE')
    assert.deepEqual(await idsOf(storage, 'key'), [])
  })

  it('a repository is not created where something else than a folder is', async (test) => {
    const file = join(await temporaryFolder(test), 'file')
    await writeFile(file, 'mine')
    await rejects(localStorage(file).create(), 'NOT_A_DIRECTORY')
    await rejects(localStorage(join(file, 'below')).create(), 'NOT_A_DIRECTORY')
    await rejects(idsOf(localStorage(file), 'key'), 'NOT_A_DIRECTORY')
  })

  it('creating makes the folders above, for the owner alone', async (test) => {
    const folder = join(await temporaryFolder(test), 'a', 'b', 'c')
    await localStorage(folder).create()
    assert.equal(await modeOf(dirname(folder)), 0o700)
    assert.equal(await modeOf(folder), 0o700)
  })

  it('a relative location stays what it was when the process changes its folder', async (test) => {
    const folder = await temporaryFolder(test)
    const before = process.cwd()
    try {
      process.chdir(folder)
      const storage = localStorage('repository')
      process.chdir('/')
      await storage.create()
      assert.equal(storage.location, join(folder, 'repository'))
      assert.ok((await stat(join(folder, 'repository', 'data'))).isDirectory())
    } finally {
      process.chdir(before)
    }
  })

  it('a refused, failed or aborted write leaves no temporary file', async (test) => {
    const { storage, folder } = await repository(test)
    await rejects(storage.write(CONFIG, Buffer.of(1)), 'EXISTS')
    const controller = new AbortController()
    const big = randomBytes(16_000_000)
    const writing = storage.write({ type: 'index', id: hashId(big) }, big, controller.signal)
    setImmediate(() => controller.abort(new Error('enough')))
    await assert.rejects(writing, /enough/)
    assert.deepEqual(await readdir(join(folder, 'index')), [])
    assert.deepEqual(await readdir(folder).then((names) => names.filter((name) => name.includes('tmp'))), [])
  })

  it('a full disk keeps no temporary file', async (test) => {
    const disk = await smallDisk(test)
    if (disk === undefined) return test.skip('needs root to mount a small disk')
    const folder = join(disk, 'repository')
    const storage = localStorage(folder)
    await storage.create()
    const big = randomBytes(16 * 1024 * 1024)
    const error = await rejects(storage.write({ type: 'snapshot', id: hashId(big) }, big), 'NO_SPACE')
    assert.match(error.hint ?? '', /Make room/)
    assert.deepEqual(await readdir(join(folder, 'snapshots')), [])
    return undefined
  })

  it('a read-only disk is a matter of permission, and can be read', async (test) => {
    const disk = await smallDisk(test)
    if (disk === undefined) return test.skip('needs root to mount a disk')
    const storage = localStorage(join(disk, 'repository'))
    await storage.create()
    const name = await writeRandom(storage, 'key', 10)
    execFileSync('mount', ['-o', 'remount,ro', disk])
    assert.deepEqual(await idsOf(storage, 'key'), [name.id])
    assert.equal((await storage.read(name)).length, 10)
    const error = await rejects(writeRandom(storage, 'key', 10), 'PERMISSION')
    assert.match(error.hint ?? '', /read-only/)
    await rejects(storage.remove(name), 'PERMISSION')
    return undefined
  })

  it('what another user owns is a matter of permission', async (test) => {
    const { storage, folder } = await repository(test)
    const name = await writeRandom(storage, 'key', 10)
    await asAnotherUser(async () => {
      await rejects(idsOf(storage, 'key'), 'PERMISSION')
      await rejects(storage.read(name), 'PERMISSION')
      await rejects(storage.size(name), 'PERMISSION')
      await rejects(storage.write({ type: 'key', id: hashId(Buffer.of(1)) }, Buffer.of(1)), 'PERMISSION')
      await rejects(storage.remove(name), 'PERMISSION')
      await rejects(localStorage(join(folder, 'other')).create(), 'PERMISSION')
    })
    assert.equal((await storage.read(name)).length, 10)

    /** Root may do everything, so root becomes nobody for a while; others take their own rights away. */
    async function asAnotherUser(work: () => Promise<void>): Promise<void> {
      if (isRoot) process.seteuid!(65534)
      else await chmod(folder, 0)
      try {
        await work()
      } finally {
        if (isRoot) process.seteuid!(0)
        else await chmod(folder, 0o700)
      }
    }
  })
})

async function repository(test: TestContext): Promise<{ storage: Storage; folder: string }> {
  const folder = join(await temporaryFolder(test), 'repository')
  const storage = localStorage(folder)
  await storage.create()
  await storage.write(CONFIG, Buffer.from('config'))
  return { storage, folder }
}

async function temporaryFolder(test: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-local-'))
  test.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** A disk of its own with 4 MiB; only root can mount one. */
async function smallDisk(test: TestContext): Promise<string | undefined> {
  if (!isRoot) return undefined
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-disk-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'holdfast-test', folder])
  test.after(async () => {
    execFileSync('umount', [folder])
    await rm(folder, { recursive: true })
  })
  return folder
}

async function writeRandom(storage: Storage, type: FileType, size: number): Promise<FileName> {
  const content = randomBytes(size)
  const name: FileName = { type, id: hashId(content) }
  await storage.write(name, content)
  return name
}

async function idsOf(storage: Storage, type: FileType): Promise<string[]> {
  const ids: string[] = []
  for await (const { name } of storage.list(type)) ids.push(name.id)
  return ids
}

async function modeOf(path: string): Promise<number> {
  return (await stat(path)).mode & 0o7777
}

async function rejects(work: Promise<unknown>, code: EngineErrorCode): Promise<EngineError> {
  const error = await work.then(
    () => assert.fail(`expected ${code}`),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof EngineError, String(error))
  assert.equal(error.code, code, error.message)
  return error
}
