import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { after, describe, it } from 'node:test'
import fc from 'fast-check'
import { unlessRoot } from '../../../test/equipment/as-nobody.ts'
import { compareTrees } from '../../../test/equipment/describe-tree.ts'
import { makeOddTree } from '../../../test/equipment/odd-tree.ts'
import { randomBytes } from '../../../test/equipment/random-bytes.ts'
import { smallFileSystem, withoutMounts } from '../../../test/equipment/small-file-system.ts'
import { type TemporaryFolder, temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { overwrite, PASSWORD, testRepository, through } from '../../../test/equipment/test-repository.ts'
import { archive } from '../archiver/archive.ts'
import { type BlobId, hashId, type PackId } from '../format/id.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { createChunker } from '../kernels/chunker.ts'
import { BlobWriter } from '../repository/blob-writer.ts'
import { loadIndex } from '../repository/load-index.ts'
import { type IndexedRepository, openRepository } from '../repository/repository.ts'
import { localStorage } from '../storage/local.ts'
import { memoryStorage } from '../storage/memory.ts'
import type { Storage } from '../storage/storage.ts'
import { type RestoreOptions, type RestoreProblem, restore } from './restore.ts'
import { RestoreThreads, startRestoreThreads } from './restore-threads.ts'

const KIB = 1024
const MIB = 1024 * KIB

/** A repository that holds a folder, on disk or in memory. */
async function stored(source: string, storage?: Storage): Promise<{ repository: IndexedRepository; node: TreeNode }> {
  const plain = await testRepository(storage ? { storage } : {})
  const empty = await loadIndex(plain)
  await using writer = new BlobWriter(empty, { packSize: 2 * MIB })
  const chunker = createChunker(plain.config.polynomial)
  const onProblem = ({ message }: { message: string }) => assert.fail(message)
  const { targets } = await archive([Buffer.from(source)], { sink: writer, chunker, onProblem })
  await writer.finish()
  return { repository: await loadIndex(plain), node: targets[0]!.node! }
}

/** `makeTree` and an odd tree, archived once for all tests, which do not change it. */
let made: { readonly source: string; readonly location: string; readonly node: TreeNode } | undefined
let folderOfAll: TemporaryFolder | undefined
after(() => folderOfAll?.[Symbol.dispose]())

async function sample(place: 'on disk' | 'in memory') {
  if (!made) {
    folderOfAll = temporaryFolder()
    const [source, location] = [`${folderOfAll.path}/source`, `${folderOfAll.path}/repository`]
    makeTree(source)
    if (unlessRoot === false) makeOddTree(`${source}/odd`)
    const { node } = await stored(source, localStorage(location))
    made = { source, location, node }
  }
  const onDisk = localStorage(made.location)
  const storage = place === 'on disk' ? onDisk : memoryStorage()
  if (place === 'in memory') {
    for (const type of ['config', 'key', 'index', 'pack'] as const) {
      for await (const { name } of onDisk.list(type)) await storage.write(name, await onDisk.read(name))
    }
  }
  const repository = await loadIndex(await openRepository(storage, { password: PASSWORD }))
  return { ...made, repository }
}

async function restoreTo(repository: IndexedRepository, node: TreeNode, target: string, options: RestoreOptions = {}) {
  const problems: RestoreProblem[] = []
  const result = await restore(repository, [{ node, destination: Buffer.from(target) }], {
    onProblem: (problem) => problems.push(problem),
    ...options,
  })
  return { problems, result }
}

/** Large and small files, holes, doubles, links, in more than one pack. */
function makeTree(root: string): void {
  mkdirSync(`${root}/folder/inner`, { recursive: true })
  writeFileSync(`${root}/large`, randomBytes(4 * MIB, 1))
  writeFileSync(`${root}/large double`, randomBytes(4 * MIB, 1))
  writeFileSync(`${root}/alone`, randomBytes(3 * MIB, 'alone'))
  writeFileSync(`${root}/empty`, '')
  const sparse = Buffer.alloc(3 * MIB)
  sparse.write('in the middle', 1.5 * MIB)
  writeFileSync(`${root}/sparse`, sparse)
  for (let i = 0; i < 300; i++) writeFileSync(`${root}/folder/inner/${i}`, randomBytes(i * 13, i % 200))
  linkSync(`${root}/large`, `${root}/folder/link`)
  linkSync(`${root}/folder/inner/7`, `${root}/linked 7`)
  symlinkSync('../large', `${root}/folder/symlink`)
  chmodSync(`${root}/folder`, 0o555)
  utimesSync(`${root}/folder/inner`, 1, 2)
}

const WAYS = [
  ['without threads', 0],
  ['with threads', 2],
] as const

describe('restore with and without threads', () => {
  for (const [way, threads] of WAYS) {
    for (const place of ['on disk', 'in memory'] as const) {
      it(`brings back the same tree ${way}, from a repository ${place}`, { skip: unlessRoot }, async () => {
        using folder = temporaryFolder()
        const { source, repository, node } = await sample(place)
        const { problems, result } = await restoreTo(repository, node, `${folder.path}/copy`, { threads, verify: true })
        assert.deepEqual(problems, [])
        assert.deepEqual(compareTrees(source, `${folder.path}/copy`), [])
        assert.ok(result.verifiedFiles > 300)
        assert.ok(statSync(`${folder.path}/copy/sparse`).blocks * 512 <= 128 * KIB)
      })
    }

    it(`reads no byte of a pack with content twice ${way}, and few that are not needed`, async () => {
      using folder = temporaryFolder()
      const { source, repository, node } = await sample('in memory')
      const read = new Map<string, [from: number, to: number][]>()
      let bytes = 0
      const dataPacks = new Set<string>()
      for (const { id, blobs } of repository.index.packs()) if (blobs[0]!.type === 'data') dataPacks.add(id)
      const storage: Storage = {
        ...repository.storage,
        async read(name, range, signal) {
          assert.ok(range && 'offset' in range)
          if (dataPacks.has(name.id)) {
            const seen = read.get(name.id) ?? []
            read.set(name.id, seen)
            for (const [from, to] of seen) {
              assert.ok(range.offset >= to || range.offset + range.length <= from, 'bytes are read twice')
            }
            seen.push([range.offset, range.offset + range.length])
            bytes += range.length
          }
          return repository.storage.read(name, range, signal)
        },
      }
      const through_ = { ...through(repository, storage), index: repository.index }
      const { problems } = await restoreTo(through_, node, `${folder.path}/copy`, { threads })
      assert.deepEqual(problems, [])
      assert.ok(bytes > 7 * MIB && bytes < 30 * MIB, `${bytes} bytes were read`)
      assert.deepEqual(compareTrees(source, `${folder.path}/copy`), [])
    })

    it(`leaves out exactly the files whose content is damaged ${way}`, async () => {
      using folder = temporaryFolder()
      const { source, repository, node } = await sample('in memory')
      const inner = `${source}/folder/inner`
      const id = hashId<BlobId>(readFileSync(`${inner}/123`))
      const location = repository.index.find('data', id)!
      const name = { type: 'pack', id: location.pack } as const
      const pack = await repository.storage.read(name)
      pack[location.offset + 20]! ^= 1
      await overwrite(repository.storage, name, pack)
      const { problems } = await restoreTo(repository, node, `${folder.path}/copy`, { threads })
      assert.deepEqual(
        problems.map(({ kind, path }) => `${kind} ${path}`),
        [`content ${folder.path}/copy/folder/inner/123`],
      )
      assert.deepEqual(
        readdirSync(`${folder.path}/copy/folder/inner`).sort(),
        readdirSync(inner)
          .filter((one) => one !== '123')
          .sort(),
      )
    })

    it(`takes no blob for another one that is authentic ${way}`, async () => {
      // Who can write to the storage, without any key, can put one sealed blob in the place of another of its length.
      using folder = temporaryFolder()
      mkdirSync(`${folder.path}/source`)
      writeFileSync(`${folder.path}/source/a`, randomBytes(1000, 1))
      writeFileSync(`${folder.path}/source/b`, randomBytes(1000, 2))
      const { repository, node } = await stored(`${folder.path}/source`)
      const [a, b] = ['a', 'b'].map(
        (file) => repository.index.find('data', hashId<BlobId>(readFileSync(`${folder.path}/source/${file}`)))!,
      )
      assert.equal(a!.length, b!.length)
      const name = { type: 'pack', id: a!.pack } as const
      const pack = await repository.storage.read(name)
      pack.copyWithin(a!.offset, b!.offset, b!.offset + b!.length)
      await overwrite(repository.storage, name, pack)
      const { problems } = await restoreTo(repository, node, `${folder.path}/copy`, { threads })
      assert.deepEqual(
        problems.map(({ kind, path }) => `${kind} ${path}`),
        [`content ${folder.path}/copy/a`],
      )
      assert.deepEqual(readdirSync(`${folder.path}/copy`), ['b'])
    })

    it(`ends with NO_SPACE and without half a file ${way}`, { skip: withoutMounts }, async () => {
      const { source, repository, node } = await sample('on disk')
      using small = smallFileSystem('size=4m')
      await assert.rejects(restoreTo(repository, node, `${small.path}/copy`, { threads }), { code: 'NO_SPACE' })
      expectWholeFiles(source, `${small.path}/copy`)
    })

    it(`ends with the reason of the signal and without half a file, whenever it comes ${way}`, async () => {
      using folder = temporaryFolder()
      const { source, repository, node } = await sample('on disk')
      for (const [i, milliseconds] of [0, 10, 40, 80, 120].entries()) {
        const reason = new Error('enough')
        const controller = new AbortController()
        const timer = setTimeout(() => controller.abort(reason), milliseconds)
        await restoreTo(repository, node, `${folder.path}/copy ${i}`, { threads, signal: controller.signal }).catch(
          (error: unknown) => assert.equal(error, reason),
        )
        clearTimeout(timer)
        expectWholeFiles(source, `${folder.path}/copy ${i}`)
      }
    })
  }

  for (const [name, code] of [
    ['faulty-program', 'SELF_CHECK'],
    ['dying-program', 'SYSTEM'],
    ['absent-program', 'SYSTEM'],
  ] as const) {
    it(`ends with an error and without a wrong file when a thread fails: ${name}`, async () => {
      using folder = temporaryFolder()
      const { source, repository, node } = await sample('on disk')
      const program = new URL(`./${name}.test-fixture.ts`, import.meta.url)
      await assert.rejects(restoreTo(repository, node, `${folder.path}/copy`, { threads: 2, program }), { code })
      expectWholeFiles(source, `${folder.path}/copy`)
    })
  }
})

describe('threads that were started before', () => {
  it('are for a large local repository', async () => {
    using folder = temporaryFolder()
    const storage = localStorage(`${folder.path}/repository`)
    const repository = await testRepository({ storage })
    assert.equal(await startRestoreThreads(repository, undefined), undefined, 'there is little to restore')
    const id = hashId<PackId>(Buffer.from('large'))
    const place = `${folder.path}/repository/data/${id.slice(0, 2)}`
    mkdirSync(place, { recursive: true })
    writeFileSync(`${place}/${id}`, '')
    truncateSync(`${place}/${id}`, 64 * MIB)
    const elsewhere = { ...repository, storage: { ...storage } }
    assert.equal(await startRestoreThreads(elsewhere, undefined), undefined, 'its files are not of this machine')
    await using threads = await startRestoreThreads(repository, undefined)
    assert.ok(threads)
  })

  for (const place of ['on disk', 'in memory'] as const) {
    it(`bring back the same tree, from a repository ${place}, and are ended`, { skip: unlessRoot }, async () => {
      using folder = temporaryFolder()
      const { source, repository, node } = await sample(place)
      await using threads = RestoreThreads.start(repository.masterKey, 2, undefined)
      const { problems, result } = await restoreTo(repository, node, `${folder.path}/copy`, { threads, verify: true })
      assert.deepEqual(problems, [])
      assert.deepEqual(compareTrees(source, `${folder.path}/copy`), [])
      assert.ok(result.verifiedFiles > 300)
      const expected = {
        path: Buffer.from(`${folder.path}/copy/alone`),
        ids: Buffer.alloc(0),
        lengths: new Uint32Array(),
      }
      await assert.rejects(threads!.verify(expected), { code: 'INTERRUPTED' })
    })
  }

  it('end the restore with their own failure', async () => {
    using folder = temporaryFolder()
    const { source, repository, node } = await sample('on disk')
    const program = new URL('./faulty-program.test-fixture.ts', import.meta.url)
    await using threads = RestoreThreads.start(repository.masterKey, 2, undefined, program)
    await assert.rejects(restoreTo(repository, node, `${folder.path}/copy`, { threads }), { code: 'SELF_CHECK' })
    expectWholeFiles(source, `${folder.path}/copy`)
  })
})

/** What is there is as in the source, and nothing is there under another name. */
function expectWholeFiles(source: string, copy: string): void {
  if (lstatSync(copy, { throwIfNoEntry: false }) === undefined) return
  // Names may be any bytes.
  const names = execFileSync('find', [copy, '-mindepth', '1', '-printf', '%P\\0'], { encoding: 'latin1' })
  for (const name of names.split('\0').slice(0, -1)) {
    const bytes = (folder: string) => Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name, 'latin1')])
    const stats = lstatSync(bytes(source), { throwIfNoEntry: false })
    assert.ok(stats, `${name} is left behind`)
    if (stats.isFile()) assert.ok(readFileSync(bytes(copy)).equals(readFileSync(bytes(source))), name)
  }
}

describe('restore over what is there', () => {
  /** How what is there came to differ. */
  const CHANGES: Readonly<Record<string, (path: string) => void>> = {
    'one byte, in its size and time': (path) => {
      const { atimeMs, mtimeMs, size } = statSync(path)
      const bytes = readFileSync(path)
      bytes[Math.floor(size / 2)]! ^= 1
      writeFileSync(path, bytes)
      utimesSync(path, atimeMs / 1000, mtimeMs / 1000)
    },
    'it is shorter': (path) => truncateSync(path, Math.max(0, statSync(path).size - 1)),
    'it is longer': (path) => appendFileSync(path, '!'),
    'it is empty': (path) => truncateSync(path, 0),
    'it is a link to itself under another name': (path) => {
      renameSync(path, `${path}.other`)
      symlinkSync(`${path}.other`, path)
    },
    'it has another link': (path) => linkSync(path, `${path}.other`),
    nothing: () => {},
  }

  for (const [way, threads] of WAYS) {
    it(`with delta is exact, whatever stands there ${way}`, async () => {
      using folder = temporaryFolder()
      const source = `${folder.path}/source`
      mkdirSync(source)
      const files = [0, 1, 100, 70 * KIB, 2 * MIB].map((size, i) => ({ name: `file ${i}`, size }))
      for (const { name, size } of files) writeFileSync(`${source}/${name}`, randomBytes(size, name))
      const { repository, node } = await stored(source, localStorage(`${folder.path}/repository`))
      let run = 0
      const kinds = Object.keys(CHANGES)
      await fc.assert(
        fc.asyncProperty(fc.array(fc.constantFrom(...kinds), { minLength: 5, maxLength: 5 }), async (changes) => {
          const copy = `${folder.path}/copy ${run++}`
          await restoreTo(repository, node, copy, { threads: 0 })
          const others: [string, Buffer][] = []
          for (const [i, { name, size }] of files.entries()) {
            if (size > 0) CHANGES[changes[i]!]!(`${copy}/${name}`)
            const other = statSync(`${copy}/${name}.other`, { throwIfNoEntry: false })
            if (other) others.push([`${copy}/${name}.other`, readFileSync(`${copy}/${name}.other`)])
          }
          const { problems } = await restoreTo(repository, node, copy, { threads, delta: true })
          assert.deepEqual(problems, [])
          for (const [path, content] of others) assert.ok(readFileSync(path).equals(content))
          assert.deepEqual(
            compareTrees(source, copy).filter((line) => !line.includes('.other')),
            [],
          )
        }),
        { numRuns: threads === 0 ? 10 : 4 },
      )
    })
  }

  it('with delta reads from the repository only what is not right', async () => {
    using folder = temporaryFolder()
    const { source, repository, node } = await sample('in memory')
    await restoreTo(repository, node, `${folder.path}/copy`)
    const reading = async (options: RestoreOptions) => {
      let bytes = 0
      const storage: Storage = {
        ...repository.storage,
        async read(name, range, signal) {
          const content = await repository.storage.read(name, range, signal)
          if (repository.index.packBlobs(name.id as PackId)?.[0]?.type === 'data') bytes += content.length
          return content
        },
      }
      const { problems, result } = await restoreTo(
        { ...through(repository, storage), index: repository.index },
        node,
        `${folder.path}/copy`,
        options,
      )
      assert.deepEqual(problems, [])
      assert.deepEqual(compareTrees(source, `${folder.path}/copy`), [])
      return { bytes, skipped: result.skippedFiles, files: result.files }
    }
    const inode = () => statSync(`${folder.path}/copy/alone`).ino
    const before = inode()
    const untouched = await reading({ delta: true })
    assert.equal(inode(), before)
    // Files with several links are written anew.
    assert.ok(untouched.skipped >= untouched.files - 40, `${untouched.skipped} of ${untouched.files}`)

    const alone = readFileSync(`${folder.path}/copy/alone`)
    alone[1.5 * MIB]! ^= 1
    writeFileSync(`${folder.path}/copy/alone`, alone)
    const changed = await reading({ delta: true })
    assert.ok(changed.bytes > untouched.bytes)
    assert.ok(changed.bytes - untouched.bytes < 3 * MIB)
  })

  it('keeps what `overwrite` protects, and takes size and time at their word only where told to', async () => {
    using folder = temporaryFolder()
    const source = `${folder.path}/source`
    mkdirSync(source)
    for (const name of ['same', 'newer', 'older', 'absent']) {
      writeFileSync(`${source}/${name}`, `in the snapshot: ${name}`)
      utimesSync(`${source}/${name}`, 1000, 1000)
    }
    const { repository, node } = await stored(source)
    const outcome = async (options: RestoreOptions) => {
      const copy = `${folder.path}/copy ${JSON.stringify(options).replaceAll(/\W/g, ' ')}`
      mkdirSync(copy)
      for (const [name, time] of [
        ['same', 1000],
        ['newer', 1001],
        ['older', 999],
      ] as const) {
        writeFileSync(`${copy}/${name}`, `on the disk now: ${name}`)
        utimesSync(`${copy}/${name}`, time, time)
      }
      const { problems, result } = await restoreTo(repository, node, copy, options)
      assert.deepEqual(problems, [])
      const kept = readdirSync(copy).filter((name) => readFileSync(`${copy}/${name}`, 'utf8').startsWith('on'))
      assert.equal(readdirSync(copy).length, 4)
      assert.equal(result.skippedFiles, kept.length)
      return kept.sort()
    }
    assert.deepEqual(await outcome({}), [])
    assert.deepEqual(await outcome({ overwrite: 'always', delta: true }), [])
    assert.deepEqual(await outcome({ overwrite: 'if-changed' }), ['same'])
    assert.deepEqual(await outcome({ overwrite: 'if-newer' }), ['newer', 'same'])
    assert.deepEqual(await outcome({ overwrite: 'never' }), ['newer', 'older', 'same'])
  })
})
