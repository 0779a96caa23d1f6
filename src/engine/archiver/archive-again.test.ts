import assert from 'node:assert/strict'
import { once } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type CollectingSink, collectingSink } from '../../../test/equipment/collecting-sink.ts'
import { type TemporaryFolder, temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { POLYNOMIAL, storeBlobs, testRepository } from '../../../test/equipment/test-repository.ts'
import type { BlobId } from '../format/id.ts'
import { encodeTree } from '../format/tree.ts'
import { createChunker } from '../kernels/chunker.ts'
import { EntryStats, FolderEntries } from '../os/entry-stats.ts'
import { setExtendedAttribute } from '../os/extended-attributes.ts'
import { loadIndex } from '../repository/load-index.ts'
import { TreeReader } from '../repository/tree-reader.ts'
import type { Storage } from '../storage/storage.ts'
import { type ArchiveOptions, type ArchiveResult, archive } from './archive.ts'
import { KnownFolders } from './known-folders.ts'
import { LookAhead } from './look-ahead.ts'

const chunker = createChunker(POLYNOMIAL)

/** In seconds since the epoch. */
const now = () => Math.floor(Date.now() / 1000)

async function archived(folder: TemporaryFolder, sink: CollectingSink, options: Partial<ArchiveOptions> = {}) {
  const result = await archive([Buffer.from(folder.path)], { sink, chunker, ...options })
  const { id: tree } = await sink.save('tree', encodeTree(result.nodes))
  // Folders above the temporary one belong to others, too, and change meanwhile.
  return { ...result, tree, subtree: sink.find(result.nodes, folder.path).subtree! }
}

function parentIn(sink: CollectingSink, tree: BlobId): ArchiveOptions['parent'] {
  return { tree, readTree: async (id) => sink.blob('tree', id) }
}

async function lookedAhead(folder: TemporaryFolder, select?: ArchiveOptions['select']): Promise<LookAhead> {
  const lookAhead = new LookAhead(select)
  await lookAhead.run([Buffer.from(folder.path)])
  return lookAhead
}

/** Counts that must come out the same whether files are read again or not. */
function totals({ counts }: ArchiveResult): readonly number[] {
  return [
    counts.totalFiles,
    counts.totalBytes,
    counts.filesNew + counts.filesChanged + counts.filesUnmodified,
    counts.dirsNew + counts.dirsChanged + counts.dirsUnmodified,
  ]
}

function sampleTree(): TemporaryFolder {
  const folder = temporaryFolder()
  for (const path of ['a/x', 'a/y', 'a/deep/z', 'b/ü', 'b/<&>', 'b/"', 'c/empty/', 'c/one']) {
    const at = `${folder.path}/${path}`
    mkdirSync(at.replace(/[^/]*$/, ''), { recursive: true })
    if (!path.endsWith('/')) writeFileSync(at, `content of ${path}`)
  }
  symlinkSync('x', `${folder.path}/a/link`)
  linkSync(`${folder.path}/a/x`, `${folder.path}/b/hard`)
  setExtendedAttribute(Buffer.from(`${folder.path}/a/y`), 'user.note', Buffer.from('kept'))
  return folder
}

describe('archive again', () => {
  it('offers no tree of an unchanged folder, and of one changed folder only it and those above it', async () => {
    using folder = sampleTree()
    const sink = collectingSink()
    const first = await archived(folder, sink)
    const saves = sink.offered.tree
    const again = await archived(folder, sink, { parent: parentIn(sink, first.tree) })
    const above = folder.path.split('/').length - 1
    assert.equal(again.subtree, first.subtree)
    assert.ok(sink.offered.tree - saves <= above, `${sink.offered.tree - saves} trees were encoded again`)
    assert.equal(again.counts.dirsNew, 0)
    assert.equal(again.counts.filesUnmodified, first.counts.filesNew)

    appendFileSync(`${folder.path}/a/deep/z`, '!')
    const before = sink.offered.tree
    const third = await archived(folder, sink, { parent: parentIn(sink, again.tree) })
    assert.ok(sink.offered.tree - before <= above + 3) // deep, a, the folder itself
    assert.equal(third.counts.filesChanged, 1)
    assert.equal(third.counts.dirsUnmodified, 3) // b, c and c/empty
  })

  it('finds what changed among very many files of one folder, and counts and keeps the others', async () => {
    using folder = temporaryFolder()
    for (let n = 1000; n < 1700; n++) writeFileSync(`${folder.path}/${n}`, `content of ${n}`)
    const sink = collectingSink()
    const first = await archived(folder, sink)
    appendFileSync(`${folder.path}/1256`, '!')
    rmSync(`${folder.path}/1300`)
    mkdirSync(`${folder.path}/1300`)
    writeFileSync(`${folder.path}/1511a`, 'new')
    setExtendedAttribute(Buffer.from(`${folder.path}/1699`), 'user.note', Buffer.from('new'))
    const full = await archived(folder, sink)
    const again = await archived(folder, sink, { parent: parentIn(sink, first.tree) })
    assert.equal(again.subtree, full.subtree)
    const { filesNew, filesChanged, filesUnmodified } = again.counts
    assert.deepEqual([filesNew, filesChanged, filesUnmodified], [1, 2, 697])
    assert.deepEqual(totals(again), totals(full))
  })

  it('tells of files that are unchanged, the last of them with the totals and its path', async () => {
    using folder = sampleTree()
    const sink = collectingSink()
    const first = await archived(folder, sink)
    const told: (readonly [string, number, number])[] = []
    const again = await archived(folder, sink, {
      parent: parentIn(sink, first.tree),
      onProgress: ({ files, bytes }, path) => told.push([path.toString(), files, bytes]),
    })
    const { totalFiles, totalBytes, filesUnmodified } = again.counts
    assert.deepEqual(told.at(-1), [`${folder.path}/c/one`, totalFiles, totalBytes])
    assert.equal(filesUnmodified, totalFiles)
  })

  it('makes the very trees of a backup that reads everything, whatever was edited', async () => {
    const names = ['x', 'y', 'ü', '<&>', '"', 'new', 'deep', 'link', '\n']
    const places = ['', 'a/', 'b/', 'a/deep/', 'c/', 'c/empty/']
    const edit = fc.record({
      kind: fc.constantFrom(
        'write',
        'append',
        'remove',
        'mkdir',
        'chmod',
        'symlink',
        'hard link',
        'rename',
        'attribute',
      ),
      place: fc.constantFrom(...places),
      name: fc.constantFrom(...names),
      other: fc.constantFrom(...names),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(edit, { maxLength: 6 }), { minLength: 1, maxLength: 3 }), async (rounds) => {
        using folder = sampleTree()
        const sink = collectingSink()
        let noted = new KnownFolders(now())
        let { tree } = await archived(folder, sink, { folders: { known: undefined, noted } })
        for (const edits of rounds) {
          await nextTick()
          for (const one of edits) {
            try {
              apply(folder.path, one)
            } catch (error) {
              // Through a link to a folder, to nothing, or to itself.
              if (!['ELOOP', 'EISDIR', 'ENOENT', 'ENOTDIR'].includes(String((error as NodeJS.ErrnoException).code)))
                throw error
            }
          }
          const lookAhead = await lookedAhead(folder)
          const full = await archived(folder, sink)
          const again = await archived(folder, sink, { parent: parentIn(sink, tree) })
          const ahead = await archived(folder, sink, { parent: parentIn(sink, tree), lookAhead })
          assert.equal(again.subtree, full.subtree)
          assert.equal(ahead.subtree, full.subtree)
          assert.deepEqual(totals(again), totals(full))
          assert.equal(ahead.counts.filesUnmodified, again.counts.filesUnmodified)
          const folders = { known: noted, noted: new KnownFolders(now()) }
          const seen = await lookedAhead(folder)
          const known = await archived(folder, sink, { parent: parentIn(sink, tree), lookAhead: seen, folders })
          assert.equal(known.subtree, full.subtree)
          // Of folders above the temporary one any may have changed meanwhile; nothing else.
          const { dirsChanged, dirsUnmodified, ...others } = known.counts
          const { dirsChanged: before, dirsUnmodified: same, ...expected } = again.counts
          assert.deepEqual(others, expected)
          assert.equal(dirsChanged + dirsUnmodified, before + same)
          assert.ok(Math.abs(dirsChanged - before) < folder.path.split('/').length - 1)
          // Of what has not changed since the last round, nobody asks for extended attributes.
          const trusting = { known: new KnownFolders(now() + 60), noted: new KnownFolders(now()) }
          const unasked = await lookedAhead(folder)
          const trusted = await archived(folder, sink, {
            parent: parentIn(sink, tree),
            lookAhead: unasked,
            folders: trusting,
          })
          assert.equal(trusted.subtree, full.subtree)
          assert.deepEqual(trusted.counts.filesUnmodified, again.counts.filesUnmodified)
          assert.equal(trusting.noted.size, folders.noted.size)
          noted = folders.noted
          tree = again.tree
        }
      }),
      { numRuns: process.env.HOLDFAST_FULL === '1' ? 400 : 25 },
    )
  })

  it('reads no tree of a folder that is known with all below it, and of one changed folder those of it and above it', async () => {
    using folder = sampleTree()
    rmSync(`${folder.path}/a/y`) // which has an attribute: more than the note says
    const sink = collectingSink()
    const noted = new KnownFolders(now())
    const first = await archived(folder, sink, { folders: { known: undefined, noted } })
    const above = folder.path.split('/').length - 1
    const again = async (known: KnownFolders, tree: BlobId) => {
      let read = 0
      const parent = parentIn(sink, tree)!
      const readTree = (id: BlobId) => {
        read += 1
        return parent.readTree(id)
      }
      const folders = { known, noted: new KnownFolders(now()) }
      const lookAhead = await lookedAhead(folder)
      const result = await archived(folder, sink, { parent: { ...parent, readTree }, lookAhead, folders })
      return { ...result, read, noted: folders.noted }
    }
    const second = await again(noted, first.tree)
    assert.equal(second.read, above)
    assert.equal(second.subtree, first.subtree)
    assert.deepEqual(totals(second), totals(first))
    assert.equal(second.noted.size, noted.size)
    assert.equal(noted.size, 6)

    appendFileSync(`${folder.path}/a/deep/z`, '!')
    const third = await again(second.noted, second.tree)
    assert.equal(third.read, above + 3) // the folder itself, a, deep
    assert.equal(third.subtree, (await archived(folder, sink)).subtree)
    assert.deepEqual([third.counts.filesChanged, third.counts.dirsUnmodified], [1, 3]) // b, c and c/empty
    assert.equal((await again(third.noted, third.tree)).read, above)
  })

  it('does not take a folder for known that holds another tree in the parent snapshot, or that was not stored as it was seen', async () => {
    using folder = sampleTree()
    const sink = collectingSink()
    const noted = new KnownFolders(now())
    const first = await archived(folder, sink, {
      folders: { known: undefined, noted },
      onProblem: () => {},
      veto: (path) => (path.toString().endsWith('/a/x') ? 'not this one' : undefined),
    })
    assert.equal(noted.size, 5) // not a, in which a/y has an attribute and a/x is missing
    const wrong = new KnownFolders(now())
    const folders = { known: wrong, noted: new KnownFolders(now()) }
    const lookAhead = await lookedAhead(folder)
    for (const place of ['a/deep', 'c', 'c/empty']) {
      const entries = FolderEntries.in(Buffer.from(`${folder.path}/${place}`))
      entries.look(0, entries.names.length)
      wrong.add(entries.fingerprint()!, { tree: first.subtree, files: 9, bytes: 9 })
    }
    const again = await archived(folder, sink, { parent: parentIn(sink, first.tree), lookAhead, folders })
    const full = await archived(folder, sink)
    assert.equal(again.subtree, full.subtree)
    assert.deepEqual(totals(again), totals(full))
  })

  it('asks again for extended attributes of everything where some are missing from the snapshot, or under another name', async () => {
    using folder = sampleTree()
    const sink = collectingSink()
    const sound = new KnownFolders(now())
    await archived(folder, sink, { folders: { known: undefined, noted: sound } })
    assert.ok(sound.trustedBefore > 0)
    setExtendedAttribute(
      Buffer.from(`${folder.path}/c/one`),
      Buffer.from('user.\xff', 'latin1') as never,
      Buffer.from('x'),
    )
    const told: string[] = []
    const noted = new KnownFolders(now())
    await archived(folder, sink, { folders: { known: sound, noted }, onProblem: ({ kind }) => told.push(kind) })
    assert.deepEqual(told, ['metadata'])
    assert.ok(noted.trustedBefore < 0)
  })

  it('says each time what it leaves out, also in a folder in which nothing has changed', async () => {
    using folder = sampleTree()
    await using server = createServer().listen(`${folder.path}/c/socket`)
    await once(server, 'listening')
    const sink = collectingSink()
    let known: KnownFolders | undefined
    let tree: BlobId | undefined
    for (const time of ['first', 'second', 'third']) {
      const told: string[] = []
      const noted = new KnownFolders(now())
      const result = await archived(folder, sink, {
        ...(tree === undefined ? {} : { parent: parentIn(sink, tree) }),
        lookAhead: await lookedAhead(folder),
        folders: { known, noted },
        onProblem: ({ kind }) => told.push(kind),
      })
      assert.deepEqual(told, ['socket'], time)
      known = noted
      tree = result.tree
    }
  })

  it('encodes everything again of a parent that another program wrote in other words', async () => {
    using folder = sampleTree()
    const sink = collectingSink()
    const first = await archived(folder, sink)
    const parent: ArchiveOptions['parent'] = {
      tree: first.tree,
      readTree: async (id) => Buffer.from(sink.blob('tree', id).toString().replaceAll(',"uid":', ', "uid":')),
    }
    const again = await archived(folder, sink, { parent })
    assert.equal(again.subtree, first.subtree)
    assert.equal(again.counts.filesUnmodified, first.counts.filesNew)
    assert.equal(again.counts.dirsNew, 0)
  })

  it('stores a tree again that the repository has lost', async () => {
    using folder = sampleTree()
    const sink = collectingSink()
    const first = await archived(folder, sink)
    const other = collectingSink()
    const lost: CollectingSink = {
      ...other,
      has: (type, id) => (type === 'data' ? sink : other).has(type, id),
      hasAt: (type, text, at) => (type === 'data' ? sink : other).hasAt(type, text, at),
    }
    const again = await archived(folder, lost, { parent: parentIn(sink, first.tree) })
    assert.equal(again.subtree, first.subtree)
    assert.equal(again.counts.filesUnmodified, first.counts.filesNew)
    assert.ok(other.paths(again.nodes).length > 10) // which fails when one of them is missing
  })
})

/** Until a change gets another time than what came before. */
function nextTick(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 12))
}

interface Edit {
  readonly kind: string
  readonly place: string
  readonly name: string
  readonly other: string
}

/** What cannot be done is left. */
function apply(root: string, { kind, place, name, other }: Edit): void {
  const path = `${root}/${place}${name}`
  const second = `${root}/a/${other}`
  if (!existsSync(`${root}/${place}`)) return
  const isThere = readdirSync(`${root}/${place}`).includes(name)
  const isFolder = isThere && lstatSync(path).isDirectory()
  switch (kind) {
    case 'write':
      if (!isFolder) writeFileSync(path, other)
      return
    case 'append':
      if (isThere && !isFolder) appendFileSync(path, other)
      return
    case 'remove':
      rmSync(path, { recursive: true, force: true })
      return
    case 'mkdir':
      if (!isThere) mkdirSync(path)
      return
    case 'chmod':
      if (isThere) chmodSync(path, other < 'm' ? 0o700 : 0o755)
      return
    case 'symlink':
      if (!isThere) symlinkSync(other, path)
      return
    case 'hard link':
      if (isThere && !isFolder && existsSync(`${root}/a`) && !readdirSync(`${root}/a`).includes(other))
        linkSync(path, second)
      return
    case 'rename':
      if (isThere && !isFolder && existsSync(`${root}/a`) && !readdirSync(`${root}/a`).includes(other))
        renameSync(path, second)
      return
    case 'attribute':
      if (isThere && lstatSync(path).isFile()) setExtendedAttribute(Buffer.from(path), 'user.note', Buffer.from(other))
  }
}

describe('LookAhead', () => {
  it('tells how much of what it saw has changed since a moment, and stops where that is enough', async () => {
    using folder = sampleTree()
    const lookAhead = await lookedAhead(folder)
    const files = ['a/x', 'a/y', 'a/deep/z', 'b/ü', 'b/<&>', 'b/"', 'c/one', 'b/hard']
    const bytes = files.reduce((sum, file) => sum + lstatSync(`${folder.path}/${file}`).size, 0)
    const now = Date.now() / 1000
    assert.deepEqual(
      lookAhead.changedSince(now - 600, () => false),
      { files: files.length, bytes },
    )
    assert.deepEqual(
      lookAhead.changedSince(Number.NEGATIVE_INFINITY, () => false),
      { files: files.length, bytes },
    )
    assert.deepEqual(
      lookAhead.changedSince(now + 600, () => false),
      { files: 0, bytes: 0 },
    )
    const some = lookAhead.changedSince(now - 600, (changed) => changed.files >= 2)
    assert.ok(some.files >= 2 && some.files < files.length, `${some.files} files`)
  })

  it('names large files that changed after some second, but none that is not selected or has further links', async () => {
    using folder = sampleTree()
    const lookAhead = await lookedAhead(folder, (path) => !path.toString().endsWith('/a/deep/z'))
    const second = (name: string) => Math.floor(lstatSync(`${folder.path}/${name}`).ctimeMs / 1000)
    const named = (after: number, least: number) =>
      lookAhead.changedFiles(after, least).map(({ path, stats }) => {
        assert.ok(stats.equals(EntryStats.atPath(path)))
        return path.toString().slice(folder.path.length + 1)
      })
    const all = ['a/y', 'b/"', 'b/<&>', 'b/ü', 'c/one']
    assert.deepEqual(named(second('a/y') - 60, 0).sort(), all)
    assert.deepEqual(named(second('a/y') + 60, 0), [])
    const least = Math.max(...all.map((name) => lstatSync(`${folder.path}/${name}`).size))
    assert.deepEqual(
      named(second('a/y') - 60, least).sort(),
      all.filter((name) => lstatSync(`${folder.path}/${name}`).size === least),
    )
    assert.deepEqual(named(second('a/y') - 60, least + 1), [])
  })

  it('leaves the thread to others while it is paused, but not for long', async () => {
    using folder = temporaryFolder()
    for (let i = 0; i < 2000; i++) mkdirSync(`${folder.path}/${i}`)
    const begun = performance.now()
    const lookAhead = new LookAhead(undefined)
    void lookAhead.run([Buffer.from(folder.path)])
    lookAhead.pause()
    let isOver = false
    void lookAhead.allSeen.then(() => {
      isOver = true
    })
    await new Promise((resolve) => setTimeout(resolve, 60))
    assert.equal(isOver, false)
    await lookAhead.allSeen
    assert.ok(performance.now() - begun >= 190)
    const another = new LookAhead(undefined)
    void another.run([Buffer.from(folder.path)])
    another.pause()
    another.goOn()
    await another.allSeen
    another.pause()
    another.stop()
  })
})

describe('reading many trees', () => {
  it('gives what was stored, in whatever order, and of damaged stretches what can be had', async () => {
    const plain = await testRepository()
    const trees = Array.from({ length: 300 }, (_, n) => Buffer.from(`{"nodes":[]}\n${'x'.repeat(n * 7)}`))
    const { ids, packs } = await storeBlobs(
      plain,
      trees.map((tree) => ['tree', tree]),
    )
    const repository = await loadIndex(plain)
    const reader = new TreeReader(repository)
    for (let n = 0; n < trees.length; n++) {
      const at = (n * 37) % trees.length
      assert.deepEqual(await reader.bytes(ids[at]!), trees[at])
    }
    const damaged = {
      ...repository,
      storage: {
        ...plain.storage,
        async read(...args: Parameters<typeof plain.storage.read>) {
          const bytes = await plain.storage.read(...args)
          if (args[0].id === packs[0] && isAtStart(args[1])) bytes[20]! ^= 1
          return bytes
        },
      },
    }
    const damagedReader = new TreeReader(damaged)
    const first = repository.index.packBlobs(packs[0]!)!.toSorted((a, b) => a.offset - b.offset)[0]!
    await assert.rejects(damagedReader.bytes(first.id), { code: 'CORRUPT' })
    for (const [n, id] of ids.entries()) {
      if (id !== first.id) assert.deepEqual(await damagedReader.bytes(id), trees[n])
    }
    await assert.rejects(damagedReader.bytes(first.id), { code: 'CORRUPT' })
  })

  it('reads few trees of a stretch alone, and of many the stretch once', async () => {
    const plain = await testRepository()
    const trees = Array.from({ length: 200 }, (_, n) => Buffer.from(`{"nodes":[]}\n${'x'.repeat(n)}`))
    const { ids } = await storeBlobs(
      plain,
      trees.map((tree) => ['tree', tree]),
    )
    const read: number[] = []
    const counting: typeof plain.storage = {
      ...plain.storage,
      async read(...args) {
        const bytes = await plain.storage.read(...args)
        read.push(bytes.length)
        return bytes
      },
    }
    const reader = new TreeReader({ ...(await loadIndex(plain)), storage: counting })
    for (const id of ids.slice(0, 4)) await reader.bytes(id)
    assert.equal(read.length, 4)
    assert.ok(Math.max(...read) < 200, `${read}`)
    for (const id of ids) await reader.bytes(id)
    assert.equal(read.length, 5)
    assert.ok(read[4]! > 5000, `${read}`)
  })
})

function isAtStart(range: Parameters<Storage['read']>[1]): boolean {
  return range !== undefined && 'offset' in range && range.offset === 0
}
