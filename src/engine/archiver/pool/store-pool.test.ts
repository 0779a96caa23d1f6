import assert from 'node:assert/strict'
import {
  appendFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { availableParallelism } from 'node:os'
import { describe, it, mock } from 'node:test'
import { collectingSink } from '../../../../test/equipment/collecting-sink.ts'
import { randomBytes } from '../../../../test/equipment/random-bytes.ts'
import { withoutRestic } from '../../../../test/equipment/restic.ts'
import { expectClean } from '../../../../test/equipment/restic-check.ts'
import { temporaryFolder } from '../../../../test/equipment/temporary-folder.ts'
import { namesOf, POLYNOMIAL, snapshotOf, testRepository, through } from '../../../../test/equipment/test-repository.ts'
import { EngineError } from '../../error.ts'
import { type BlobId, hashId } from '../../format/id.ts'
import { encodeTree } from '../../format/tree.ts'
import { createChunker } from '../../kernels/chunker.ts'
import { EntryStats, FolderEntries } from '../../os/entry-stats.ts'
import { setExtendedAttribute } from '../../os/extended-attributes.ts'
import { PUBLIC_ONLY } from '../../process-library.ts'
import { BlobWriter } from '../../repository/blob-writer.ts'
import { loadIndex } from '../../repository/load-index.ts'
import { readBlob } from '../../repository/read-blob.ts'
import type { IndexedRepository, Repository } from '../../repository/repository.ts'
import { writeSnapshot } from '../../repository/snapshots.ts'
import { withFaults } from '../../storage/faults.ts'
import { localStorage } from '../../storage/local.ts'
import type { Storage } from '../../storage/storage.ts'
import { adaptiveFileStore } from '../adaptive-file-store.ts'
import { type ArchiveProblem, type ArchiveResult, archive } from '../archive.ts'
import { type ArchiveIntoOptions, archiveInto, startStoreThreads, storeAhead } from '../archive-into.ts'
import { contentOf, type FileStore, type StoredFile } from '../file-store.ts'
import { KnownChunks } from '../known-chunks.ts'
import { KnownFolders } from '../known-folders.ts'
import { LookAhead } from '../look-ahead.ts'
import { PieceFinder } from './piece-finder.ts'
import type { SeenFile } from './store-ahead.ts'
import { StorePool } from './store-pool.ts'
import { StoreThreads } from './store-threads.ts'

const KIB = 1024
const MIB = 1024 * KIB
const PROGRAM = new URL('./store-worker-main.ts', import.meta.url)
/** Worth threads. */
const MUCH = { files: 1, bytes: 2 ** 32 }
const fixture = (name: string) => new URL(`./${name}.test-fixture.ts`, import.meta.url)

/** Around the shortest and the longest blob, and around what a thread reads at once: 9 MiB. */
const SIZES = [0, 1, 15, 512 * KIB, 8 * MIB, 9 * MIB]
  .flatMap((size) => [size - 1, size, size + 1])
  .filter((s) => s >= 0)

/** More files than are stored without threads, of every size that is special, zeros, doubles and hard links. */
function makeTree(root: string): void {
  mkdirSync(root)
  for (const [i, size] of SIZES.entries()) writeFileSync(`${root}/size-${size}`, randomBytes(size, i))
  writeFileSync(`${root}/several-pieces`, randomBytes(40 * MIB, 'several'))
  writeFileSync(`${root}/zeros`, Buffer.alloc(30 * MIB))
  mkdirSync(`${root}/small`)
  for (let i = 0; i < 300; i++) writeFileSync(`${root}/small/${i}`, randomBytes(i * 7, i % 250))
  writeFileSync(`${root}/small/double`, randomBytes(40 * MIB, 'several'))
  linkSync(`${root}/several-pieces`, `${root}/small/link`)
  linkSync(`${root}/small/17`, `${root}/link-17`)
  mkdirSync(`${root}/${'deep/'.repeat(60)}`, { recursive: true })
  writeFileSync(`${root}/${'deep/'.repeat(60)}file`, 'at the bottom')
}

async function storeIn(
  files: FileStore,
  path: Buffer,
  size: number,
  asksVeto: boolean,
  seen?: EntryStats,
): Promise<StoredFile> {
  return new Promise((whenStored, whenFailed) => {
    files.store({ path, seen, size, asksVeto, whenStored, whenFailed })
  })
}

interface Stored {
  readonly repository: IndexedRepository
  readonly result: ArchiveResult
  readonly problems: readonly ArchiveProblem[]
}

async function store(
  repository: Repository,
  root: string,
  workers: number | 'inline',
  options: Partial<ArchiveIntoOptions> = {},
): Promise<Stored> {
  const indexed = await loadIndex(repository)
  const problems: ArchiveProblem[] = []
  await using writer = new BlobWriter(indexed)
  const common = { onProblem: (problem: ArchiveProblem) => problems.push(problem), ...options }
  const targets = [Buffer.from(root)]
  const result =
    workers === 'inline'
      ? await archive(targets, { ...common, sink: writer, chunker: createChunker(POLYNOMIAL) })
      : await archiveInto(indexed, writer, targets, { ...common, workers })
  await writer.finish()
  return { repository: await loadIndex(repository), result, problems }
}

/** As `store`, with threads that were started and handed files before. */
async function storeWith(
  repository: Repository,
  root: string,
  threads: StoreThreads,
  files: readonly SeenFile[],
  {
    meanwhile,
    ...options
  }: Pick<ArchiveIntoOptions, 'folders' | 'lookAhead'> & { readonly meanwhile?: () => void } = {},
): Promise<Stored> {
  const indexed = await loadIndex(repository)
  const problems: ArchiveProblem[] = []
  await using writer = new BlobWriter(indexed)
  await using ahead = storeAhead(indexed, writer, threads)
  ahead.begin(files)
  meanwhile?.()
  const onProblem = (problem: ArchiveProblem) => problems.push(problem)
  const result = await archiveInto(indexed, writer, [Buffer.from(root)], { ...options, ahead, onProblem })
  await writer.finish()
  return { repository: await loadIndex(repository), result, problems }
}

/** How many pieces were found to be stored already in this thread, until the test is over. */
function countedFinds(): { readonly found: () => number } {
  const find = mock.method(PieceFinder.prototype, 'find')
  return { found: () => find.mock.calls.filter(({ result }) => result?.kind === 'stored').length }
}

/** What one thread makes of a folder, without storing it; the blobs of files in the folder itself. */
async function archivedAlone(root: string) {
  const sink = collectingSink()
  const { targets, counts } = await archive([Buffer.from(root)], { sink, chunker: createChunker(POLYNOMIAL) })
  const tree = targets[0]!.node!.subtree!
  return { tree, counts, blobs: sink.tree(tree).flatMap(({ content }) => content ?? []) }
}

/** Makes a snapshot of what was stored. */
async function publish({ repository, result }: Stored): Promise<void> {
  await using writer = new BlobWriter(repository)
  const { id } = await writer.save('tree', encodeTree(result.nodes))
  await writer.finish()
  await writeSnapshot(repository, snapshotOf(id))
}

function forwarded(storage: Storage): Storage {
  return {
    location: storage.location,
    read: (...args) => storage.read(...args),
    write: (...args) => storage.write(...args),
    create: () => storage.create(),
    list: (...args) => storage.list(...args),
    size: (...args) => storage.size(...args),
    remove: (...args) => storage.remove(...args),
  }
}

/** Of the folder itself: those above it belong to everybody, and change. */
function treeOf({ result }: Stored): string {
  return result.targets[0]!.node!.subtree!
}

/** Copies, too. */
function dataBlobs({ index }: IndexedRepository): number {
  let count = 0
  index.forEachId('data', () => {
    count += 1
  })
  return count
}

/** A pool of which nothing is known but that it does not outlive the test. */
async function withPool(
  options: {
    storage?: Repository
    workers?: number
    program?: URL
    signal?: AbortSignal
    packSize?: number
    chunks?: KnownChunks
  },
  use: (pool: StorePool, writer: BlobWriter) => Promise<void>,
): Promise<void> {
  const repository = await loadIndex(options.storage ?? (await testRepository()))
  await using writer = new BlobWriter(repository)
  const { program = PROGRAM, workers = 2, signal, packSize, chunks } = options
  await using pool = new StorePool({ repository, writer, threads: { program, workers }, signal, packSize, chunks })
  await use(pool, writer)
}

function keepBusy(milliseconds: number): void {
  for (const end = performance.now() + milliseconds; performance.now() < end; );
}

function contentSize(stored: StoredFile): number {
  assert.equal(stored.kind, 'stored')
  return (stored as Extract<StoredFile, { kind: 'stored' }>).size
}

describe('StorePool', () => {
  for (const version of [1, 2] as const) {
    it(`stores what one thread alone stores, each blob once, in a repository of version ${version}`, async () => {
      using folder = temporaryFolder()
      const root = `${folder.path}/tree`
      makeTree(root)
      const inline = await store(await testRepository({ version }), root, 'inline')
      const blobs = dataBlobs(inline.repository)
      for (const workers of [1, 2, 3]) {
        const pooled = await store(await testRepository({ version }), root, workers)
        assert.equal(treeOf(pooled), treeOf(inline))
        assert.deepEqual(pooled.result.counts, inline.result.counts)
        assert.deepEqual(pooled.problems, [])
        assert.equal(dataBlobs(pooled.repository), blobs)
        for (const { blobs: packed } of pooled.repository.index.packs()) {
          for (const { type, id } of packed) await readBlob(pooled.repository, type, id)
        }
        const again = await store(pooled.repository, root, workers)
        assert.equal(treeOf(again), treeOf(inline))
        assert.equal(dataBlobs(again.repository), blobs)
      }
    })
  }

  it('stores nothing again that the writer had before the threads were started', async () => {
    using folder = temporaryFolder()
    const root = `${folder.path}/tree`
    mkdirSync(root)
    for (let i = 0; i < 400; i++) writeFileSync(`${root}/${String(i).padStart(3, '0')}`, `the same ${i % 40}`)
    const { repository } = await store(await testRepository(), root, 2)
    assert.equal(dataBlobs(repository), 40)
  })

  it('stores the same with documented interfaces of the runtime alone', { skip: withoutRestic() }, async () => {
    using folder = temporaryFolder()
    makeTree(`${folder.path}/tree`)
    const expected = await store(await testRepository(), `${folder.path}/tree`, 2)
    process.env[PUBLIC_ONLY] = '1'
    try {
      const location = `${folder.path}/repository`
      const plain = await testRepository({ storage: localStorage(location) })
      const stored = await store(plain, `${folder.path}/tree`, 2)
      assert.equal(treeOf(stored), treeOf(expected))
      await publish(stored)
      expectClean(location)
    } finally {
      delete process.env[PUBLIC_ONLY]
    }
  })

  it('waits for a storage that is slower than its threads', async () => {
    using folder = temporaryFolder()
    const root = `${folder.path}/tree`
    mkdirSync(root)
    for (let i = 0; i < 60; i++) writeFileSync(`${root}/${i}`, randomBytes(1500 * KIB, i))
    const plain = await testRepository()
    const { storage } = plain
    const slow: Storage = {
      ...forwarded(storage),
      async write(...args) {
        if (args[0].type === 'pack') await new Promise((resolve) => setTimeout(resolve, 150))
        return storage.write(...args)
      },
    }
    const { repository } = await store(through(plain, slow), root, 2)
    assert.equal(dataBlobs(repository), dataBlobs((await store(await testRepository(), root, 'inline')).repository))
  })

  it('ends although its threads wait for a storage that never answers', async () => {
    using folder = temporaryFolder()
    const root = `${folder.path}/tree`
    mkdirSync(root)
    for (let i = 0; i < 90; i++) writeFileSync(`${root}/${i}`, randomBytes(1500 * KIB, i))
    const plain = await testRepository()
    const controller = new AbortController()
    let stuck = 0
    const dead: Storage = {
      ...forwarded(plain.storage),
      async write(name, content, signal) {
        if (name.type !== 'pack') return plain.storage.write(name, content, signal)
        stuck++
        // Both threads have filled every place they have by then.
        if (stuck === 2) setTimeout(() => controller.abort(new Error('enough')), 1500)
        controller.signal.throwIfAborted()
        await new Promise((_resolve, reject) => controller.signal.addEventListener('abort', reject))
      },
    }
    await assert.rejects(store(through(plain, dead), root, 2, { signal: controller.signal }), /enough/)
    assert.ok(stuck >= 2)
  })

  it('makes a repository that restic reads without a complaint', { skip: withoutRestic() }, async () => {
    using folder = temporaryFolder()
    makeTree(`${folder.path}/tree`)
    for (const version of [1, 2] as const) {
      const location = `${folder.path}/repository-${version}`
      const plain = await testRepository({ storage: localStorage(location), version })
      await publish(await store(plain, `${folder.path}/tree`, 2))
      expectClean(location)
    }
  })

  it('reads a large file to its end although another one takes its place meanwhile', async () => {
    using folder = temporaryFolder()
    const path = `${folder.path}/large`
    writeFileSync(path, randomBytes(60 * MIB, 1))
    await withPool({ workers: 1 }, async (pool) => {
      const storing = storeIn(pool, Buffer.from(path), 60 * MIB, false)
      writeFileSync(`${path}.new`, 'short')
      renameSync(`${path}.new`, path)
      const stored = await storing
      assert.equal(contentSize(stored), 60 * MIB)
    })
  })

  it('comes to an end with files that are cut off or grow while they are read, and says that they changed', async () => {
    using folder = temporaryFolder()
    const [shorter, longer] = [`${folder.path}/shorter`, `${folder.path}/longer`]
    writeFileSync(shorter, randomBytes(50 * MIB, 1))
    writeFileSync(longer, randomBytes(50 * MIB, 1))
    await withPool({ workers: 1 }, async (pool) => {
      const storing = [shorter, longer].map((path) => storeIn(pool, Buffer.from(path), 50 * MIB, false))
      // While the threads are starting: the pieces after the first find another size.
      await new Promise((resolve) => setTimeout(resolve, 150))
      truncateSync(shorter, 1)
      appendFileSync(longer, randomBytes(50 * MIB, 2))
      const [first, second] = await Promise.all(storing)
      assert.ok(contentSize(first!) <= 50 * MIB)
      assert.ok(contentSize(second!) <= 100 * MIB)
    })
  })

  it('reads files of /proc, which say that they are empty', async () => {
    await withPool({}, async (pool) => {
      assert.ok(contentSize(await storeIn(pool, Buffer.from('/proc/self/mounts'), 0, false)) > 0)
    })
  })

  it('stores what is there, with its own state, where that is not what was seen before', async () => {
    using folder = temporaryFolder()
    const path = Buffer.from(`${folder.path}/file`)
    writeFileSync(path, 'short')
    const old = new Date('2020-01-01T00:00:00Z')
    await new Promise((resolve) => setTimeout(resolve, 40)) // a file of this very moment is looked at again in any case
    const seen = EntryStats.atPath(path)
    await withPool({ workers: 1 }, async (pool) => {
      const same = await storeIn(pool, path, 5, true, seen)
      assert.ok(same.kind === 'stored' && same.size === 5 && same.state.equals(seen) && !same.changed)
      const changes: (() => void)[] = [
        () => writeFileSync(path, 'other'),
        () => appendFileSync(path, ', and longer'),
        () => truncateSync(path, 3),
        () => truncateSync(path, 0),
        () => utimesSync(path, old, old),
        () => {
          writeFileSync(`${folder.path}/new`, 'short')
          renameSync(`${folder.path}/new`, path)
        },
      ]
      for (const change of changes) {
        change()
        await new Promise((resolve) => setTimeout(resolve, 40))
        const now = EntryStats.atPath(path)
        const stored = await storeIn(pool, path, 5, true, seen)
        assert.ok(stored.kind === 'stored' && !stored.changed)
        assert.ok(stored.state.equals(now) && !stored.state.equals(seen))
        assert.deepEqual(stored.size, now.size)
        const expected = now.size === 0 ? [] : [hashId(readFileSync(path))]
        assert.deepEqual(contentOf(stored.ids), expected)
      }
      unlinkSync(path)
      symlinkSync('new', path)
      const link = await storeIn(pool, path, 5, true, seen)
      assert.ok(link.kind === 'failed' && /something else than a regular file/.test(link.message))
      unlinkSync(path)
      const gone = await storeIn(pool, path, 5, true, seen)
      assert.equal(gone.kind === 'failed' && gone.errno, 'ENOENT')
    })
  })

  it('says of one file that it cannot be read, and stores the others', async () => {
    using folder = temporaryFolder()
    writeFileSync(`${folder.path}/file`, 'content')
    await withPool({}, async (pool) => {
      const paths = ['absent', '', 'file', 'absent-and-large']
      const [absent, directory, file, large] = await Promise.all(
        paths.map((name) =>
          storeIn(pool, Buffer.from(`${folder.path}/${name}`), name.endsWith('large') ? 100 * MIB : 7, true),
        ),
      )
      assert.equal(absent?.kind === 'failed' && absent.errno, 'ENOENT')
      assert.equal(large?.kind === 'failed' && large.errno, 'ENOENT')
      assert.equal(directory!.kind, 'failed')
      assert.equal(contentSize(file!), 7)
    })
  })

  it('asks the veto of its program, with the first bytes, but for files that somebody else admitted', async () => {
    using folder = temporaryFolder()
    writeFileSync(`${folder.path}/secret`, 'secret: 1')
    writeFileSync(`${folder.path}/large`, Buffer.concat([Buffer.from('secret: 2'), randomBytes(20 * MIB, 1)]))
    const before = readdirSync('/proc/self/fd').length
    await withPool({ program: fixture('veto-program') }, async (pool) => {
      const secret = Buffer.from(`${folder.path}/secret`)
      assert.deepEqual(await storeIn(pool, secret, 9, true), { kind: 'vetoed', reason: 'it begins with secret' })
      const large = await storeIn(pool, Buffer.from(`${folder.path}/large`), 20 * MIB, true)
      assert.equal(large.kind, 'vetoed')
      assert.equal((await storeIn(pool, secret, 9, false)).kind, 'stored')
    })
    assert.ok(readdirSync('/proc/self/fd').length <= before + 1, 'a descriptor was left open')
  })

  it('stores the same with threads that were started before there was a repository', async () => {
    using folder = temporaryFolder()
    const root = `${folder.path}/tree`
    makeTree(root)
    const { tree } = await archivedAlone(root)
    for (const oneLess of [false, true]) {
      await using threads = startStoreThreads({ files: 1, bytes: 2 ** 32 }, { oneLess })
      assert.equal(threads?.count, oneLess ? Math.max(1, availableParallelism() - 1) : availableParallelism())
      assert.equal(treeOf(await storeWith(await testRepository(), root, threads, [])), tree)
    }
    assert.equal(startStoreThreads({ files: 64, bytes: 4 * MIB }, {}), undefined, 'they are not worth it')
  })

  it('stores the same where it was handed files ahead, each once, also those that have changed since or nobody asks for', async () => {
    using folder = temporaryFolder()
    const root = `${folder.path}/tree`
    makeTree(root)
    writeFileSync(`${root}/changes`, randomBytes(12 * MIB, 'before'))
    writeFileSync(`${folder.path}/elsewhere`, randomBytes(3 * MIB, 'elsewhere'))
    const seen = (path: string) => ({ path: Buffer.from(path), stats: EntryStats.atPath(Buffer.from(path)) })
    const names = ['several-pieces', 'zeros', 'changes', 'size-0', `size-${9 * MIB}`]
    const ahead = [...names.map((name) => seen(`${root}/${name}`)), seen(`${folder.path}/elsewhere`)]
    ahead.push(ahead[0]!)
    writeFileSync(`${root}/changes`, randomBytes(12 * MIB, 'after'))
    const alone = await archivedAlone(root)
    const stored = await storeWith(await testRepository(), root, startStoreThreads(MUCH, {})!, ahead)
    assert.equal(treeOf(stored), alone.tree)
    assert.deepEqual(stored.problems, [])
    assert.deepEqual(stored.result.counts, alone.counts)
    const again = await storeWith(stored.repository, root, startStoreThreads(MUCH, {})!, ahead)
    assert.equal(treeOf(again), alone.tree)
    assert.equal(dataBlobs(again.repository), dataBlobs(stored.repository))
  })

  it('loses nothing where a piece that is looked through in vain has just as many bytes as are read at once', async () => {
    using folder = temporaryFolder()
    const path = `${folder.path}/file`
    // Zeros end a chunk after the least that one may have, 512 KiB: 18 of them are what is read at once.
    const piece = (seed: number) => {
      const bytes = Buffer.alloc(9 * MIB)
      randomBytes(100 * KIB, seed).copy(bytes, 8.5 * MIB)
      return bytes
    }
    const content = (seed: number) =>
      Buffer.concat([...Array.from({ length: 5 }, (_, i) => piece(i < 3 ? i : seed + i)), Buffer.from('the rest')])
    const size = 45 * MIB + 'the rest'.length
    const repository = await testRepository()
    for (const seed of [0, 100, 200]) {
      writeFileSync(path, content(seed))
      await withPool({ storage: repository, workers: 1 }, async (pool, writer) => {
        const storing = storeIn(pool, Buffer.from(path), size, true, EntryStats.atPath(Buffer.from(path)))
        pool.noMore()
        const stored = (await storing) as Extract<StoredFile, { kind: 'stored' }>
        await pool.finish()
        await writer.finish()
        assert.equal(stored.size, size)
        assert.equal(stored.ids.length, 32 * 91)
        const index = await loadIndex(repository)
        const blobs = await Promise.all(contentOf(stored.ids).map((id) => readBlob(index, 'data', id)))
        assert.ok(Buffer.concat(blobs).equals(content(seed)))
      })
    }
  })

  it('takes chunks of large files for what was noted of them, and stores just what it does without notes', async () => {
    using folder = temporaryFolder()
    const root = `${folder.path}/tree`
    mkdirSync(root)
    writeFileSync(`${root}/small`, 'content')
    writeFileSync(`${root}/zeros`, Buffer.alloc(12 * MIB))
    const key = Buffer.alloc(16, 'key')
    const repository = await testRepository()
    let note: Buffer | undefined
    const content = randomBytes(30 * MIB, 'large')
    const flipped = Buffer.from(content)
    for (const at of [0, 10 * MIB, 23 * MIB, 30 * MIB - 1]) flipped[at]! ^= 1
    const contents: readonly (readonly [string, Buffer])[] = [
      ['first', content],
      ['unchanged', content],
      ['flipped', flipped],
      ['shifted', Buffer.concat([randomBytes(1000, 'before'), flipped])],
      ['shortened', flipped.subarray(0, 15 * MIB)],
      ['as at first', content],
    ]
    const added: Record<string, number> = {}
    for (const [name, bytes] of contents) {
      writeFileSync(`${root}/large`, bytes)
      const chunks = note ? KnownChunks.parse(key, note) : KnownChunks.none(key)
      const stored = await store(repository, root, 2, { chunks })
      const expected = await archivedAlone(root)
      assert.equal(treeOf(stored), expected.tree, name)
      for (const id of expected.blobs) assert.ok(stored.repository.index.has('data', id), name)
      const next = chunks.encode()
      added[name] = ((next ?? note)!.length - (note?.length ?? 8)) / 48
      note = next ?? note
    }
    const { first, flipped: fewer, unchanged, 'as at first': back } = added
    assert.ok(first! > 15 && fewer! >= 4 && fewer! < first!, JSON.stringify(added))
    assert.deepEqual([unchanged, back], [0, 0], 'what was noted is noted again')

    // What the repository has no longer is stored, whatever is noted of it.
    const empty = await store(await testRepository(), root, 2, { chunks: KnownChunks.parse(key, note!) })
    const expected = await archivedAlone(root)
    assert.equal(treeOf(empty), expected.tree)
    for (const id of expected.blobs) assert.ok(empty.repository.index.has('data', id))
  })

  it('asks the open file for extended attributes, and those that have some at their path', async () => {
    using folder = temporaryFolder()
    const root = `${folder.path}/tree`
    mkdirSync(root)
    for (let i = 0; i < 200; i++) {
      writeFileSync(`${root}/${i}`, `content ${i}`)
      if (i % 10 === 0) setExtendedAttribute(Buffer.from(`${root}/${i}`), 'user.note', Buffer.from(`note ${i}`))
    }
    // Not changed in the last tick of the clock: then one look at a file is not enough.
    await new Promise((resolve) => setTimeout(resolve, 50))
    const inline = await store(await testRepository(), root, 'inline')
    const noted = new KnownFolders(0)
    const asked = mock.method(FolderEntries.prototype, 'lookForAttributes')
    const options = { folders: { known: undefined, noted } }
    const pooled = await storeWith(await testRepository(), root, startStoreThreads(MUCH, {})!, [], options)
    assert.equal(treeOf(pooled), treeOf(inline))
    assert.equal(noted.size, 0, 'a folder is noted in which files have attributes')
    for (let i = 0; i < 200; i += 10) unlinkSync(`${root}/${i}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
    asked.mock.resetCalls()
    const bare = await storeWith(await testRepository(), root, startStoreThreads(MUCH, {})!, [], options)
    assert.equal(asked.mock.callCount(), 0, 'files were asked at their paths')
    asked.mock.restore()
    assert.equal(treeOf(bare), treeOf(await store(await testRepository(), root, 'inline')))
    assert.equal(noted.size, 1)
  })

  it('says of a file that it was handed ahead what is wrong with it, once the archive comes to it', async () => {
    using folder = temporaryFolder()
    const root = `${folder.path}/tree`
    mkdirSync(root)
    for (const name of ['a', 'b']) writeFileSync(`${root}/${name}`, randomBytes(2 * MIB, name))
    const path = Buffer.from(`${root}/a`)
    const file = { path, stats: EntryStats.atPath(path) }
    const lookAhead = new LookAhead(undefined)
    await lookAhead.run([Buffer.from(root)])
    // Before there is a thread that could read it.
    const meanwhile = () => unlinkSync(`${root}/a`)
    const threads = startStoreThreads(MUCH, {})!
    const { result, problems } = await storeWith(await testRepository(), root, threads, [file], {
      lookAhead,
      meanwhile,
    })
    assert.deepEqual(
      problems.map(({ kind }) => kind),
      ['vanished'],
    )
    assert.equal(result.counts.totalFiles, 1)
  })

  it('looks through what is stored already in its own thread when no more files come, and leaves what is new to the others', async () => {
    using folder = temporaryFolder()
    const size = 100 * MIB
    const path = `${folder.path}/file`
    const content = randomBytes(size, 'file')
    writeFileSync(path, content)
    const first = await testRepository()
    const blobsOf = async (repository: Repository, helps: boolean, chunks = KnownChunks.none(Buffer.alloc(16))) => {
      const found: Buffer[] = []
      await withPool({ storage: repository, workers: 1, chunks }, async (pool, writer) => {
        const storing = storeIn(pool, Buffer.from(path), size, true, EntryStats.atPath(Buffer.from(path)))
        if (helps) pool.noMore()
        const stored = await storing
        assert.equal(contentSize(stored), size)
        found.push(Buffer.from((stored as Extract<StoredFile, { kind: 'stored' }>).ids))
        await pool.finish()
        await writer.finish()
      })
      return found[0]!
    }
    const { found } = countedFinds()
    const ids = await blobsOf(first, true)
    assert.equal(found(), 0, 'in an empty repository nothing can be found')
    const noted = KnownChunks.none(Buffer.alloc(16))
    assert.deepEqual(await blobsOf(first, true, noted), ids)
    const alone = found()
    assert.ok(alone > 0, 'nobody helped')
    const known = KnownChunks.parse(Buffer.alloc(16), noted.encode()!)
    assert.deepEqual(await blobsOf(first, true, known), ids)
    assert.ok(found() > alone, 'nobody helped')
    assert.equal(known.encode(), undefined, 'a chunk was noted that both threads knew')
    for (const at of [30 * MIB, 31 * MIB, 90 * MIB, size - 5]) content[at]! ^= 1
    writeFileSync(path, content)
    const expected = await blobsOf(await testRepository(), false)
    assert.notDeepEqual(expected, ids)
    assert.deepEqual(await blobsOf(first, true), expected)
    const { index } = await loadIndex(first)
    for (let at = 0; at < expected.length; at += 32) {
      assert.ok(index.has('data', expected.toString('hex', at, at + 32) as BlobId))
    }
  })

  it('fails as soon as it is made when its threads have failed by then', async () => {
    using folder = temporaryFolder()
    writeFileSync(`${folder.path}/file`, 'content')
    await using threads = new StoreThreads({ program: fixture('absent-program'), workers: 1 })
    await new Promise((resolve) => setTimeout(resolve, 500))
    const repository = await loadIndex(await testRepository())
    await using writer = new BlobWriter(repository)
    await using pool = new StorePool({ repository, writer, threads })
    await assert.rejects(storeIn(pool, Buffer.from(`${folder.path}/file`), 7, true), { code: 'SYSTEM' })
  })

  it('takes the thread that was left out as soon as this one has a processor to spare, and work waits', async () => {
    using folder = temporaryFolder()
    const path = Buffer.from(`${folder.path}/file`)
    writeFileSync(path, Buffer.alloc(5 * MIB))
    const repository = await loadIndex(await testRepository())
    const threadsThatStored = async (isBusy: boolean): Promise<number> => {
      await using writer = new BlobWriter(repository)
      const threads = { program: fixture('slow-program'), workers: 2, oneLess: true }
      await using pool = new StorePool({ repository, writer, threads })
      const busy = isBusy && setInterval(() => keepBusy(20), 22)
      const stored = await Promise.all(Array.from({ length: 40 }, () => storeIn(pool, path, 5 * MIB, true)))
      if (busy) clearInterval(busy)
      return new Set(stored.map((one) => one.kind === 'vetoed' && one.reason)).size
    }
    assert.equal(await threadsThatStored(true), 1)
    assert.equal(await threadsThatStored(false), 2)
  })

  for (const nth of [1, 2, 3, 4]) {
    it(`fails with the error of the storage when writing of pack ${nth} does, and leaves nothing running`, async () => {
      using folder = temporaryFolder()
      const root = `${folder.path}/tree`
      mkdirSync(root)
      for (let i = 0; i < 100; i++) writeFileSync(`${root}/${i}`, randomBytes(900 * KIB, i))
      const plain = await testRepository()
      const error = new EngineError('NO_SPACE', 'no space', { hint: 'buy a disk', facts: { nth } })
      const storage = withFaults(plain.storage, [{ on: 'write', type: 'pack', nth, effect: 'fail', error }])
      await assert.rejects(store(through(plain, storage), root, 2), (reason) => reason === error)
      assert.deepEqual(storage.fired, [1])
      const packs = await namesOf(plain.storage, 'pack')
      await new Promise((resolve) => setTimeout(resolve, 100))
      assert.deepEqual(await namesOf(plain.storage, 'pack'), packs)
      assert.deepEqual(await namesOf(plain.storage, 'index'), [])
    })
  }

  for (const [name, code, message] of [
    ['exiting-program', 'SYSTEM', /a thread ended by itself/],
    ['throwing-program', 'SYSTEM', /a thread failed: no such luck/],
    ['faulty-program', 'SELF_CHECK', /Cannot rely on/],
    ['absent-program', 'SYSTEM', /a thread failed: .*absent-program/],
  ] as const) {
    it(`rejects every file under way when a thread fails: ${name}`, async () => {
      using folder = temporaryFolder()
      writeFileSync(`${folder.path}/file`, 'content')
      await withPool({ program: fixture(name) }, async (pool) => {
        const path = Buffer.from(`${folder.path}/file`)
        const all = await Promise.allSettled(Array.from({ length: 500 }, () => storeIn(pool, path, 7, true)))
        for (const one of all) {
          assert.equal(one.status, 'rejected')
          assert.equal(one.reason.code, code)
          assert.match(one.reason.message, message)
        }
        if (code === 'SELF_CHECK') {
          const { reason } = all[0] as PromiseRejectedResult
          assert.equal(typeof reason.facts.kernel, 'string')
          assert.match(reason.hint, /memory or processor/)
        }
        await assert.rejects(storeIn(pool, path, 7, true), { code })
        await assert.rejects(pool.finish(), { code })
      })
    })
  }

  it('ends at any moment when it is aborted', async () => {
    using folder = temporaryFolder()
    const root = `${folder.path}/tree`
    mkdirSync(root)
    for (let i = 0; i < 80; i++) writeFileSync(`${root}/${i}`, randomBytes(700 * KIB, i))
    writeFileSync(`${root}/large`, randomBytes(50 * MIB, 'large'))
    const before = readdirSync('/proc/self/fd').length
    for (const milliseconds of [0, 5, 20, 60, 120, 200, 350]) {
      const repository = await testRepository()
      const reason = new Error('enough')
      const controller = new AbortController()
      const timer = setTimeout(() => controller.abort(reason), milliseconds)
      await store(repository, root, 2, { signal: controller.signal }).catch((error: unknown) =>
        assert.equal(error, reason),
      )
      clearTimeout(timer)
      const packs = await namesOf(repository.storage, 'pack')
      await new Promise((resolve) => setTimeout(resolve, 30))
      assert.deepEqual(await namesOf(repository.storage, 'pack'), packs)
    }
    assert.ok(readdirSync('/proc/self/fd').length <= before + 4)
  })

  it('starts nothing for who has given up already', async () => {
    await withPool({ signal: AbortSignal.abort(new Error('enough')) }, async (pool) => {
      await assert.rejects(storeIn(pool, Buffer.from('/etc/hostname'), 7, false), /enough/)
    })
  })

  it('rejects what is under way when it is disposed of', async () => {
    let storing: Promise<unknown> | undefined
    await withPool({}, async (pool) => {
      storing = storeIn(pool, Buffer.from(process.execPath), 100 * MIB, false)
      storing.catch(() => {})
    })
    await assert.rejects(storing!, { code: 'INTERRUPTED' })
  })

  it('hides the environment, and what is in it, from its threads', async () => {
    using folder = temporaryFolder()
    writeFileSync(`${folder.path}/file`, 'content')
    process.env.HOLDFAST_TEST_SECRET = 'x'
    try {
      await withPool({ program: fixture('environment-program') }, async (pool) => {
        const stored = await storeIn(pool, Buffer.from(`${folder.path}/file`), 7, true)
        assert.deepEqual(stored, { kind: 'vetoed', reason: 'the environment holds 0' })
      })
    } finally {
      delete process.env.HOLDFAST_TEST_SECRET
    }
  })
})

describe('adaptiveFileStore', () => {
  const stored = (size: number): StoredFile => ({ kind: 'vetoed', reason: String(size) })
  const inline: FileStore = {
    isConcurrent: false,
    store: (file) => file.whenStored(stored(file.size)),
    noMore() {},
  }

  it('starts threads after so many files or bytes, and only once', async () => {
    let started = 0
    const files = adaptiveFileStore(inline, () => {
      started += 1
      return { ...inline, isConcurrent: true }
    })
    for (let i = 0; i < 64; i++) await storeIn(files, Buffer.from('x'), 1, true)
    assert.equal(files.isConcurrent, false)
    await storeIn(files, Buffer.from('x'), 1, true)
    await storeIn(files, Buffer.from('x'), 1, true)
    assert.equal(files.isConcurrent, true)
    assert.equal(started, 1)
  })

  it('goes on without threads where the system gives none, and fails with what else keeps them from starting', async () => {
    let tried = 0
    const without = adaptiveFileStore(inline, () => {
      tried += 1
      throw new EngineError('SYSTEM', 'no threads')
    })
    for (let i = 0; i < 3; i++)
      assert.deepEqual(await storeIn(without, Buffer.from('x'), 5 * MIB, true), stored(5 * MIB))
    assert.equal(tried, 1)
    assert.equal(without.isConcurrent, false)
    const broken = adaptiveFileStore(inline, () => {
      throw new EngineError('CORRUPT', 'broken')
    })
    await assert.rejects(storeIn(broken, Buffer.from('x'), 5 * MIB, true), { code: 'CORRUPT' })
  })
})
