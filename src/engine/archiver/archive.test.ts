import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { describe, it } from 'node:test'
import { asNobody, unlessRoot } from '../../../test/equipment/as-nobody.ts'
import { type CollectingSink, collectingSink } from '../../../test/equipment/collecting-sink.ts'
import { randomBytes } from '../../../test/equipment/random-bytes.ts'
import { type TemporaryFolder, temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { POLYNOMIAL } from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import type { BlobId } from '../format/id.ts'
import { encodeTree } from '../format/tree.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { createChunker } from '../kernels/chunker.ts'
import { setExtendedAttribute } from '../os/extended-attributes.ts'
import { setTimes } from '../os/times.ts'
import { type ArchiveOptions, type ArchiveProblem, type ArchiveResult, archive, type Replacement } from './archive.ts'

const MIB = 1024 * 1024
const EMPTY_TREE = 'ac08ce34ba4f8123618661bef2425f7028ffb9ac740578a3ee88684d2523fee8'

interface Archived extends ArchiveResult {
  readonly sink: CollectingSink
  readonly problems: readonly ArchiveProblem[]
  /** The node at a path, from the root of the snapshot. */
  readonly at: (path: string) => TreeNode
  readonly paths: () => readonly string[]
}

async function archived(
  targets: readonly (string | Buffer)[],
  options: Partial<ArchiveOptions> = {},
): Promise<Archived> {
  const sink = (options.sink as CollectingSink | undefined) ?? collectingSink()
  const problems: ArchiveProblem[] = []
  const result = await archive(
    targets.map((target) => Buffer.from(target)),
    { chunker: createChunker(POLYNOMIAL), onProblem: (problem) => problems.push(problem), ...options, sink },
  )
  return {
    ...result,
    sink,
    problems,
    at: (path) => sink.find(result.nodes, path),
    paths: () => sink.paths(result.nodes),
  }
}

/** Archives again, with what an earlier archive made as its parent. */
async function archivedAgain(
  before: Archived,
  targets: readonly string[],
  options: Partial<ArchiveOptions> = {},
): Promise<Archived> {
  const { id: tree } = await before.sink.save('tree', encodeTree(before.nodes))
  const parent = { tree, readTree: async (id: BlobId) => before.sink.blob('tree', id) }
  return archived(targets, { sink: before.sink, parent, ...options })
}

/** A folder with these files, by their paths; those that end in a slash are folders. */
function folderWith(files: Readonly<Record<string, string | Buffer>>): TemporaryFolder {
  const folder = temporaryFolder()
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(`${folder.path}/${path.replace(/[^/]*$/, '')}`, { recursive: true })
    if (!path.endsWith('/')) writeFileSync(`${folder.path}/${path}`, content)
  }
  return folder
}

/** Kind and path of each problem, the path below the folder. */
function shown(problems: readonly ArchiveProblem[], folder: TemporaryFolder): string[] {
  return problems.map(
    ({ kind, path }) => `${kind} ${path.toString('latin1').replace(folder.path, '').replace(/^\//, '')}`,
  )
}

/** Does something once, when the entry of this name has been looked at and before it is read. */
function when(name: string, action: () => void): Pick<ArchiveOptions, 'select'> {
  let due = true
  return {
    select: (path) => {
      if (due && path.toString().endsWith(`/${name}`)) {
        due = false
        action()
      }
      return true
    },
  }
}

describe('archive', () => {
  it('tells of progress now and then, and at the end of all', async () => {
    const names = Array.from({ length: 500 }, (_, number) => `f${number}`)
    using folder = folderWith(Object.fromEntries(names.map((name) => [name, name])))
    const told: { readonly files: number; readonly bytes: number }[] = []
    const { counts } = await archived([folder.path], { onProgress: (done) => told.push(done) })
    assert.equal(counts.totalFiles, 500)
    assert.deepEqual(told[0], { files: 1, bytes: 2 })
    assert.deepEqual(told.at(-1), { files: counts.totalFiles, bytes: counts.totalBytes })
    assert.equal(new Set(told.map(({ files }) => files)).size, told.length, 'never twice of the same')
  })

  it('stores files, folders and what they hold', async () => {
    using folder = folderWith({ 'data/a': 'content of a', 'data/sub/b': '', 'data/empty/': '' })
    const { at, sink, problems, counts, targets } = await archived([`${folder.path}/data`])
    assert.deepEqual(problems, [])
    const prefix = `${folder.path}/data`
    assert.equal(sink.content(at(`${prefix}/a`)).toString(), 'content of a')
    assert.deepEqual(at(`${prefix}/sub/b`).content, [])
    assert.equal(at(`${prefix}/empty`).subtree, EMPTY_TREE)
    const depth = prefix.split('/').length - 1
    assert.deepEqual(counts, {
      filesNew: 2,
      filesChanged: 0,
      filesUnmodified: 0,
      dirsNew: depth + 2,
      dirsChanged: 0,
      dirsUnmodified: 0,
      totalFiles: 2,
      totalBytes: 12,
    })
    assert.deepEqual(targets, [{ path: Buffer.from(prefix), node: at(prefix), files: 2, bytes: 12 }])
  })

  it('keeps every byte of names, and sorts by them', async () => {
    using folder = temporaryFolder()
    const names = ['\xff', '\xf0\x9f\x98\x80', '\xee\x80\x80', 'z', 'a\nb', ' ', '"', '-rf', 'half\xc3']
    for (const name of names)
      writeFileSync(Buffer.concat([Buffer.from(`${folder.path}/`), Buffer.from(name, 'latin1')]), name)
    const { sink, at } = await archived([folder.path])
    const nodes = sink.tree(at(folder.path).subtree!)
    assert.deepEqual(
      nodes.map(({ name }) => name.toString('latin1')),
      [' ', '"', '-rf', 'a\nb', 'half\xc3', 'z', '\xee\x80\x80', '\xf0\x9f\x98\x80', '\xff'],
    )
  })

  it('tells the kinds of files apart, with what each has of its own', { skip: unlessRoot }, async () => {
    using folder = folderWith({ file: 'x', 'folder/': '' })
    symlinkSync(Buffer.from('to \xff', 'latin1'), `${folder.path}/link`)
    execFileSync('mkfifo', [`${folder.path}/fifo`])
    execFileSync('mknod', [`${folder.path}/char`, 'c', '1', '3'])
    execFileSync('mknod', [`${folder.path}/block`, 'b', '7', '200'])
    const { at } = await archived([folder.path])
    const facts = (name: string) => {
      const { type, size, links, linkTarget, device, content, subtree } = at(`${folder.path}/${name}`)
      return {
        type,
        size,
        links,
        linkTarget: linkTarget?.toString('latin1'),
        device,
        content: content?.length,
        subtree: subtree !== undefined,
      }
    }
    const nothing = { size: 0, links: 1, linkTarget: undefined, device: 0n, content: undefined, subtree: false }
    assert.deepEqual(facts('file'), { ...nothing, type: 'file', size: 1, content: 1 })
    assert.deepEqual(facts('folder'), { ...nothing, type: 'dir', links: 0, subtree: true })
    assert.deepEqual(facts('link'), { ...nothing, type: 'symlink', linkTarget: 'to \xff' })
    assert.deepEqual(facts('fifo'), { ...nothing, type: 'fifo', links: 0 })
    assert.deepEqual(facts('char'), { ...nothing, type: 'chardev', device: 0x103n })
    assert.deepEqual(facts('block'), { ...nothing, type: 'dev', device: 0x7c8n })
  })

  it('says that sockets are not archived', async () => {
    using folder = folderWith({ file: 'x' })
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(`${folder.path}/socket`, resolve))
    const { problems, at, sink } = await archived([folder.path])
    server.close()
    assert.deepEqual(shown(problems, folder), ['socket socket'])
    assert.deepEqual(sink.paths([at(folder.path)]).length, 2)
  })

  it('does not follow a symbolic link that is a target', async () => {
    using folder = folderWith({ 'real/file': 'x' })
    symlinkSync('real', `${folder.path}/link`)
    assert.equal((await archived([`${folder.path}/link`])).at(`${folder.path}/link`).type, 'symlink')
  })

  it('follows symbolic links on the way to a target, and takes the metadata of the real folders', async () => {
    using folder = folderWith({ 'real/file': 'x' })
    chmodSync(`${folder.path}/real`, 0o750)
    symlinkSync('real', `${folder.path}/link`)
    const { at } = await archived([`${folder.path}/link/file`])
    assert.equal(at(`${folder.path}/link`).type, 'dir')
    assert.equal(at(`${folder.path}/link`).mode & 0o777, 0o750)
  })

  it('reports an attribute that cannot keep its name', { skip: unlessRoot }, async () => {
    using folder = folderWith({ file: 'x' })
    setExtendedAttribute(Buffer.from(`${folder.path}/file`), Buffer.from('user.\xff', 'latin1'), Buffer.from('v'))
    const { at, problems } = await archived([folder.path])
    assert.deepEqual(shown(problems, folder), ['metadata file'])
    assert.deepEqual(at(`${folder.path}/file`).extendedAttributes, [{ name: 'user.\ufffd', value: Buffer.from('v') }])
  })
})

describe('archive with a parent', () => {
  it('reads nothing again of what is unchanged', async () => {
    using folder = folderWith({ a: 'one', 'sub/b': 'two', empty: '' })
    const first = await archived([folder.path])
    const offered = first.sink.offered.data
    const second = await archivedAgain(first, [folder.path])
    assert.equal(second.sink.offered.data, offered)
    const { filesUnmodified, filesChanged, filesNew, dirsNew, dirsChanged, totalBytes } = second.counts
    assert.deepEqual(
      { filesUnmodified, filesChanged, filesNew, dirsNew, totalBytes },
      { filesUnmodified: 3, filesChanged: 0, filesNew: 0, dirsNew: 0, totalBytes: 6 },
    )
    // Folders above the temporary one belong to others, too.
    assert.ok(dirsChanged <= 1)
    assert.equal(second.at(folder.path).subtree, first.at(folder.path).subtree)
  })

  for (const [what, change] of [
    ['its size', (path: string) => appendFileSync(path, '!')],
    [
      'its content, but neither size nor modification time',
      (path: string) => {
        const { mtimeNs, atimeNs } = statSync(path, { bigint: true })
        writeFileSync(path, 'XXX')
        setTimes(Buffer.from(path), atimeNs, mtimeNs)
      },
    ],
    [
      'its time by one nanosecond',
      (path: string) => setTimes(Buffer.from(path), 0n, statSync(path, { bigint: true }).mtimeNs + 1n),
    ],
    ['nothing but its mode', (path: string) => chmodSync(path, 0o600)],
    [
      'its inode',
      (path: string) => {
        renameSync(path, `${path}.old`)
        writeFileSync(path, 'one')
        unlinkSync(`${path}.old`)
      },
    ],
  ] as const) {
    it(`reads a file again that has changed ${what}`, async () => {
      using folder = folderWith({ a: 'one', b: 'two' })
      const path = `${folder.path}/a`
      chmodSync(path, 0o644)
      const first = await archived([folder.path])
      change(path)
      const second = await archivedAgain(first, [folder.path])
      assert.deepEqual([second.counts.filesChanged, second.counts.filesUnmodified], [1, 1])
      assert.equal(second.sink.content(second.at(path)).length, statSync(path).size)
      assert.equal(second.at(path).mtime.ns, statSync(path, { bigint: true }).mtimeNs)
    })
  }

  it('reads a file again that was rewritten in the moment it was read', async () => {
    using folder = folderWith({ a: 'first!' })
    const rewrite = () => {
      writeFileSync(`${folder.path}/a`, 'second')
      return undefined
    }
    const first = await archived([folder.path], { veto: rewrite })
    const second = await archivedAgain(first, [folder.path])
    assert.equal(second.sink.content(second.at(`${folder.path}/a`)).toString(), 'second')
  })

  it('reads a file again whose content the repository has lost', async () => {
    using folder = folderWith({ a: 'one' })
    const first = await archived([folder.path])
    const sink = collectingSink()
    const second = await archivedAgain({ ...first, sink: { ...first.sink, save: sink.save } }, [folder.path], {
      sink,
      parent: {
        tree: (await first.sink.save('tree', encodeTree(first.nodes))).id,
        readTree: async (id) => first.sink.blob('tree', id),
      },
    })
    assert.equal(sink.content(second.at(`${folder.path}/a`)).toString(), 'one')
    assert.equal(second.counts.filesChanged, 1)
  })

  it('reads a file that was a folder before', async () => {
    using folder = folderWith({ 'a/file': 'one' })
    const first = await archived([folder.path])
    rmSync(`${folder.path}/a`, { recursive: true })
    writeFileSync(`${folder.path}/a`, 'file')
    const second = await archivedAgain(first, [folder.path])
    assert.equal(second.sink.content(second.at(`${folder.path}/a`)).toString(), 'file')
    assert.equal(second.counts.filesChanged, 1)
  })

  it('counts a folder as changed when only its own metadata changed', async () => {
    using folder = folderWith({ 'a/file': 'one', 'b/file': 'two' })
    const first = await archived([`${folder.path}/a`, `${folder.path}/b`])
    chmodSync(`${folder.path}/a`, 0o711)
    const { at, counts } = await archivedAgain(first, [`${folder.path}/a`, `${folder.path}/b`])
    assert.equal(at(`${folder.path}/a`).subtree, first.at(`${folder.path}/a`).subtree)
    // `a`, and the folders above it whose tree holds its mode.
    assert.equal(counts.dirsChanged, folder.path.split('/').length)
    assert.equal(counts.dirsUnmodified, 1)
  })

  it('reads everything when a tree of the parent is damaged', async () => {
    using folder = folderWith({ a: 'one' })
    const first = await archived([folder.path])
    const damaged = {
      tree: first.at(folder.path).subtree!,
      readTree: () => Promise.reject(new EngineError('CORRUPT', 'damaged')),
    }
    const second = await archived([folder.path], { parent: damaged })
    assert.deepEqual([second.counts.filesNew, second.problems.length], [1, 0])
  })

  it('ends when the parent cannot be reached: reading everything over a broken line helps nobody', async () => {
    using folder = folderWith({ a: 'one' })
    const lost = {
      tree: EMPTY_TREE as BlobId,
      readTree: () => Promise.reject(new EngineError('STORAGE', 'the line is cut')),
    }
    await assert.rejects(archived([folder.path], { parent: lost }), { code: 'STORAGE' })
  })
})

describe('archive of a live file system', () => {
  it('leaves out and reports what it may not read', { skip: unlessRoot }, async () => {
    using folder = folderWith({ public: 'x', private: 'y', 'closed/file': 'z', 'listed only/file': 'w' })
    await archived([folder.path]) // whatever is loaded on first use is loaded by root
    chmodSync(folder.path, 0o755)
    chmodSync(`${folder.path}/private`, 0o600)
    chmodSync(`${folder.path}/closed`, 0o700)
    chmodSync(`${folder.path}/listed only`, 0o744)
    const { problems, paths } = await asNobody(() => archived([folder.path]))
    assert.deepEqual(shown(problems, folder).sort(), [
      'unreadable closed',
      'unreadable listed only/file',
      'unreadable private',
    ])
    assert.deepEqual(
      paths()
        .map((path) => `/${path}`.replace(folder.path, ''))
        .filter((path) => !folder.path.startsWith(path.replace(/\/$/, ''))),
      ['/listed only/', '/public'],
    )
    for (const { message, path } of problems) assert.equal(message, `Cannot read ${path}: permission denied (EACCES)`)
  })

  it('reports a target that is not there, and stores the others', async () => {
    using folder = folderWith({ a: 'x' })
    const { problems, targets, at } = await archived([`${folder.path}/a`, `${folder.path}/b`])
    assert.deepEqual(shown(problems, folder), ['unreadable b'])
    assert.equal(problems[0]!.message, `Cannot read ${folder.path}/b: no such file or directory (ENOENT)`)
    assert.deepEqual(targets.map(({ node }) => node?.name.toString()).sort(), ['a', undefined])
    assert.equal(at(`${folder.path}/a`).size, 1)
  })

  it('reports a folder to expand that cannot be listed', { skip: unlessRoot }, async () => {
    using folder = folderWith({ 'closed/file': 'x', a: 'y' })
    chmodSync(folder.path, 0o755)
    chmodSync(`${folder.path}/closed`, 0o711)
    const before = process.cwd()
    process.chdir(`${folder.path}/closed`)
    try {
      const { problems, at } = await asNobody(() => archived(['.', `${folder.path}/a`]))
      assert.deepEqual(
        problems.map(({ message }) => message),
        ['Cannot read .: permission denied (EACCES)'],
      )
      assert.equal(at(`${folder.path}/a`).size, 1)
    } finally {
      process.chdir(before)
    }
  })

  for (const [what, swap, expected] of [
    ['a file that vanishes', (path: string) => unlinkSync(path), 'vanished it'],
    [
      'a FIFO that takes the place of a file',
      (path: string) => {
        unlinkSync(path)
        execFileSync('mkfifo', [path])
      },
      'unreadable it',
    ],
    [
      'a symbolic link that takes the place of a file',
      (path: string) => {
        unlinkSync(path)
        symlinkSync('/etc/passwd', path)
      },
      'unreadable it',
    ],
    [
      'a folder that takes the place of a file',
      (path: string) => {
        unlinkSync(path)
        mkdirSync(path)
      },
      'unreadable it',
    ],
  ] as const) {
    it(`reports ${what}`, { timeout: 10_000 }, async () => {
      using folder = folderWith({ a: 'x', it: 'y', z: 'z' })
      const { problems, at, sink } = await archived(
        [folder.path],
        when('it', () => swap(`${folder.path}/it`)),
      )
      assert.deepEqual(shown(problems, folder), [expected])
      assert.deepEqual(
        sink.tree(at(folder.path).subtree!).map(({ name }) => name.toString()),
        ['a', 'z'],
      )
    })
  }

  for (const [what, swap, expected] of [
    ['vanishes', (path: string) => rmSync(path, { recursive: true }), 'vanished it'],
    [
      'becomes a file',
      (path: string) => {
        rmSync(path, { recursive: true })
        writeFileSync(path, '')
      },
      'vanished it',
    ],
  ] as const) {
    it(`reports a folder that ${what}`, async () => {
      using folder = folderWith({ a: 'x', 'it/file': 'y' })
      const { problems } = await archived(
        [folder.path],
        when('it', () => swap(`${folder.path}/it`)),
      )
      assert.deepEqual(shown(problems, folder), [expected])
    })
  }

  it('reports a folder that is exchanged for another while it is read', async () => {
    using folder = folderWith({ 'it/file': 'old', 'new/file': 'new' })
    const exchange = () => {
      renameSync(`${folder.path}/it`, `${folder.path}/old`)
      renameSync(`${folder.path}/new`, `${folder.path}/it`)
    }
    const { problems } = await archived([`${folder.path}/it`], when('file', exchange))
    assert.deepEqual(shown(problems, folder), ['changed it'])
  })

  it('stores a growing file as long as it was, and says so', async () => {
    using folder = folderWith({ log: 'x'.repeat(1000) })
    const grow = () => {
      appendFileSync(`${folder.path}/log`, 'more')
      return undefined
    }
    const { problems, at, sink } = await archived([folder.path], { veto: grow })
    assert.deepEqual(shown(problems, folder), ['changed log'])
    assert.equal(at(`${folder.path}/log`).size, 1000)
    assert.equal(sink.content(at(`${folder.path}/log`)).length, 1000)
  })

  it('stores what is left of a file that is cut off while it is read, under its true size', async () => {
    using folder = folderWith({ log: randomBytes(20 * MIB, 'log') })
    const cut = () => {
      truncateSync(`${folder.path}/log`, 18 * MIB)
      return undefined
    }
    const { problems, at, sink } = await archived([folder.path], { veto: cut })
    assert.deepEqual(shown(problems, folder), ['changed log'])
    assert.equal(at(`${folder.path}/log`).size, 18 * MIB)
    assert.ok(sink.content(at(`${folder.path}/log`)).equals(randomBytes(20 * MIB, 'log').subarray(0, 18 * MIB)))
  })

  it('has a clear word for paths that are longer than the system takes, and stores the rest', async () => {
    using folder = folderWith({ file: 'x' })
    const before = process.cwd()
    process.chdir(folder.path)
    for (let depth = 0; depth < 25; depth++) {
      mkdirSync('d'.repeat(200))
      process.chdir('d'.repeat(200))
    }
    process.chdir(before)
    const { problems, at } = await archived([folder.path])
    assert.equal(problems.length, 1)
    assert.match(problems[0]!.message, /: name too long \(ENAMETOOLONG\)$/)
    assert.equal(at(`${folder.path}/file`).size, 1)
    assert.equal(at(`${folder.path}${`/${'d'.repeat(200)}`.repeat(15)}`).type, 'dir')
    execFileSync('rm', ['-rf', `${folder.path}/${'d'.repeat(200)}`]) // Node's own cannot reach that deep
  })

  it('lists a folder of two thousand levels without running out of stack', async () => {
    using folder = temporaryFolder()
    const deep = '/d'.repeat(2000)
    mkdirSync(folder.path + deep, { recursive: true })
    const { problems, counts } = await archived([folder.path])
    assert.deepEqual(problems, [])
    assert.ok(counts.dirsNew > 2000)
  })
})

describe('archive of hard links', () => {
  it('reads the file once', async () => {
    using folder = folderWith({ a: 'content', 'sub/': '' })
    linkSync(`${folder.path}/a`, `${folder.path}/b`)
    linkSync(`${folder.path}/a`, `${folder.path}/sub/c`)
    const { at, sink, counts } = await archived([folder.path])
    assert.equal(sink.offered.data, 1)
    const nodes = ['a', 'b', 'sub/c'].map((name) => at(`${folder.path}/${name}`))
    for (const node of nodes) {
      assert.deepEqual([node.links, node.size, node.content], [3, 7, nodes[0]!.content])
      assert.deepEqual([node.inode, node.deviceId], [nodes[0]!.inode, nodes[0]!.deviceId])
    }
    assert.deepEqual([counts.totalFiles, counts.totalBytes], [3, 21])
  })

  it('reads it again when it changed between one link and the next', async () => {
    using folder = folderWith({ a: 'before' })
    linkSync(`${folder.path}/a`, `${folder.path}/z`)
    writeFileSync(`${folder.path}/between`, '')
    const change = when('between', () => writeFileSync(`${folder.path}/a`, 'after!'))
    // Only where the folder lists them in this order does the second link come after the change.
    const names = readdirSync(folder.path)
    const later = names.indexOf('a') < names.indexOf('z') ? 'z' : 'a'
    const between = names.indexOf('between') < names.indexOf(later)
    const { at, sink } = await archived([folder.path], change)
    assert.equal(sink.content(at(`${folder.path}/${later}`)).toString(), between ? 'after!' : 'before')
  })
})

describe('archive with replacements', () => {
  const replacing = (folder: TemporaryFolder, name: string, replacement: Replacement) => ({
    replacements: new Map([[`${folder.path}/${name}`, replacement]]),
  })

  it('leaves out what is stored in another way, with all below it', async () => {
    using folder = folderWith({ a: 'x', secret: 'y', 'sub/file': 'z' })
    const replacements = new Map<string, Replacement>([
      [`${folder.path}/secret`, { kind: 'left-out' }],
      [`${folder.path}/sub`, { kind: 'left-out' }],
    ])
    const { at, sink, problems } = await archived([folder.path], { replacements })
    assert.deepEqual(
      sink.tree(at(folder.path).subtree!).map(({ name }) => name.toString()),
      ['a'],
    )
    assert.deepEqual(problems, [])
  })

  it('stores the content of a copy with the metadata of the live file', async () => {
    using folder = folderWith({ 'app/db': 'live, torn', copy: 'consistent' })
    linkSync(`${folder.path}/app/db`, `${folder.path}/app/other link`)
    utimesSync(`${folder.path}/app/db`, 1, 1)
    const copy = Buffer.from(`${folder.path}/copy`)
    const { at, sink } = await archived(
      [`${folder.path}/app`],
      replacing(folder, 'app/db', { kind: 'copy', copy, storedAs: undefined }),
    )
    const node = at(`${folder.path}/app/db`)
    assert.equal(sink.content(node).toString(), 'consistent')
    assert.equal(node.mtime.ns, 1_000_000_000n)
    assert.equal(node.inode, statSync(`${folder.path}/app/db`, { bigint: true }).ino)
    // On restore, two links would make one file of the copy and the torn original.
    assert.equal(node.links, 1)
  })

  it('stores a copy under another name, in its place among the others', async () => {
    using folder = folderWith({ 'app/db': 'damaged', 'app/db.b': '', copy: 'raw' })
    const replacement = {
      kind: 'copy',
      copy: Buffer.from(`${folder.path}/copy`),
      storedAs: Buffer.from('db.corrupt'),
    } as const
    const { paths } = await archived([`${folder.path}/app`], replacing(folder, 'app/db', replacement))
    assert.deepEqual(
      paths()
        .slice(-2)
        .map((path) => path.replace(/.*\//, '')),
      ['db.b', 'db.corrupt'],
    )
  })

  it('reports a copy whose other name is taken, and keeps one of the two', async () => {
    using folder = folderWith({ 'app/db': 'damaged', 'app/db.corrupt': 'older', copy: 'raw' })
    const replacement = {
      kind: 'copy',
      copy: Buffer.from(`${folder.path}/copy`),
      storedAs: Buffer.from('db.corrupt'),
    } as const
    const { problems, sink, at } = await archived([`${folder.path}/app`], replacing(folder, 'app/db', replacement))
    assert.deepEqual(
      problems.map(({ kind }) => kind),
      ['unreadable'],
    )
    assert.match(problems[0]!.message, /^Cannot keep both of two entries called db\.corrupt in app/)
    assert.equal(sink.tree(at(`${folder.path}/app`).subtree!).length, 1)
  })

  it('keeps what the previous snapshot holds', async () => {
    using folder = folderWith({ db: 'captured' })
    const first = await archived([folder.path])
    writeFileSync(`${folder.path}/db`, 'torn and longer')
    const second = await archivedAgain(first, [folder.path], replacing(folder, 'db', { kind: 'unchanged' }))
    assert.equal(second.sink.content(second.at(`${folder.path}/db`)).toString(), 'captured')
    assert.equal(second.at(`${folder.path}/db`).size, 8)
    assert.equal(second.counts.filesUnmodified, 1)
  })

  it('reports that there is nothing to keep, and never falls back on the live file', async () => {
    using folder = folderWith({ db: 'torn', other: 'x' })
    const { problems, sink, at } = await archived([folder.path], replacing(folder, 'db', { kind: 'unchanged' }))
    assert.deepEqual(shown(problems, folder), ['unreadable db'])
    assert.deepEqual(
      sink.tree(at(folder.path).subtree!).map(({ name }) => name.toString()),
      ['other'],
    )
  })
})

describe('archive with a veto', () => {
  it('stores nothing of a vetoed file', async () => {
    using folder = folderWith({ a: 'harmless', b: '-----BEGIN PRIVATE KEY-----', empty: '' })
    const asked: string[] = []
    const { problems, sink, at } = await archived([folder.path], {
      veto: (path, firstBytes) => {
        asked.push(`${path.toString().replace(/.*\//, '')}: ${firstBytes}`)
        return firstBytes.includes('PRIVATE KEY') ? 'it is a secret' : undefined
      },
    })
    assert.deepEqual(asked.sort(), ['a: harmless', 'b: -----BEGIN PRIVATE KEY-----', 'empty: '])
    assert.deepEqual(shown(problems, folder), ['vetoed b'])
    assert.equal(problems[0]!.message, `${folder.path}/b is left out: it is a secret`)
    assert.equal(sink.offered.data, 1)
    assert.deepEqual(
      sink.tree(at(folder.path).subtree!).map(({ name }) => name.toString()),
      ['a', 'empty'],
    )
  })
})

describe('archive of targets inside targets', () => {
  const excluding = (...names: string[]): Pick<ArchiveOptions, 'select'> => ({
    select: (path) => !names.some((name) => path.toString().endsWith(`/${name}`)),
  })
  const below = (folder: TemporaryFolder, paths: readonly string[]) =>
    paths
      .filter((path) => `/${path}`.startsWith(`${folder.path}/app`))
      .map((path) => `/${path}`.replace(`${folder.path}/`, ''))

  it('leaves out what the rules of the outer one leave out, but for the inner one', async () => {
    using folder = folderWith({
      'app/a': '1',
      'app/cache/b': '2',
      'app/cache/keep/c': '3',
      'app/cache/keep/cache': '4',
    })
    const targets = [`${folder.path}/app`, `${folder.path}/app/cache/keep`]
    const archive = await archived(targets, excluding('cache'))
    assert.deepEqual(below(folder, archive.paths()), [
      'app/',
      'app/a',
      'app/cache/',
      'app/cache/keep/',
      'app/cache/keep/c',
    ])
    assert.deepEqual(
      archive.targets.map(({ path, files, bytes }) => [path.toString().replace(folder.path, ''), files, bytes]).sort(),
      [
        ['/app', 1, 1],
        ['/app/cache/keep', 1, 1],
      ],
    )
  })

  it('applies rules to what `.` stands for, though not to what was named', async () => {
    using folder = folderWith({ 'app/a': '1', 'app/cache/b': '2', 'app/cache/keep': '3' })
    const before = process.cwd()
    process.chdir(`${folder.path}/app`)
    try {
      assert.deepEqual((await archived(['.'], { select: (path) => path.toString() !== 'cache' })).paths(), ['a'])
      const both = await archived(['.', 'cache/keep'], { select: (path) => path.toString() !== 'cache' })
      assert.deepEqual(both.paths(), ['a', 'cache/', 'cache/keep'])
      assert.deepEqual((await archived(['.', 'cache'], { select: () => false })).paths(), ['cache/'])
    } finally {
      process.chdir(before)
    }
  })

  it('reports an inner one that is not there', async () => {
    using folder = folderWith({ 'app/a': '1' })
    const { problems, targets } = await archived([
      `${folder.path}/app`,
      `${folder.path}/app/missing/file`,
      `${folder.path}/app/gone`,
    ])
    assert.deepEqual(shown(problems, folder).sort(), ['unreadable app/gone', 'unreadable app/missing/file'])
    assert.equal(targets.length, 3)
  })

  it('stores an inner one although the outer one cannot be listed', { skip: unlessRoot }, async () => {
    using folder = folderWith({ 'app/a': '1', 'app/mine/b': '2' })
    await archived([folder.path])
    chmodSync(folder.path, 0o755)
    chmodSync(`${folder.path}/app`, 0o711)
    const { problems, paths } = await asNobody(() => archived([`${folder.path}/app`, `${folder.path}/app/mine`]))
    assert.deepEqual(shown(problems, folder), ['unreadable app'])
    assert.deepEqual(below(folder, paths()), ['app/', 'app/mine/', 'app/mine/b'])
  })

  it('reaches an inner one through a symbolic link', async () => {
    using folder = folderWith({ 'app/a': '1', 'elsewhere/b': '2' })
    symlinkSync('../elsewhere', `${folder.path}/app/link`)
    const inner = await archived([`${folder.path}/app`, `${folder.path}/app/link/b`])
    assert.deepEqual([below(folder, inner.paths()), inner.problems], [['app/', 'app/a', 'app/link/', 'app/link/b'], []])
    // Both cannot be had: one name is either a link or a folder.
    const both = await archived([`${folder.path}/app/link`, `${folder.path}/app/link/b`])
    assert.deepEqual(below(folder, both.paths()), ['app/', 'app/link/', 'app/link/b'])
    assert.deepEqual(shown(both.problems, folder), ['unreadable app/link'])
  })
})

describe('archive that ends early', () => {
  it('is interrupted with the reason of the signal, also in the middle of a file', async () => {
    using folder = folderWith({ large: randomBytes(64 * MIB, 'large') })
    const controller = new AbortController()
    const sink = collectingSink()
    const save: CollectingSink['save'] = (type, plaintext) => {
      controller.abort(new Error('enough'))
      return sink.save(type, plaintext)
    }
    await assert.rejects(archived([folder.path], { sink: { ...sink, save }, signal: controller.signal }), /enough/)
    assert.ok(sink.offered.data < 30, `${sink.offered.data} blobs were stored all the same`)
  })

  it('does not begin when it was interrupted before', async () => {
    await assert.rejects(archived(['/'], { signal: AbortSignal.abort(new Error('enough')) }), /enough/)
  })

  for (const error of [
    new EngineError('NOT_FOUND', 'the folder of the repository is gone'),
    new EngineError('NO_SPACE', 'the repository is full'),
    Object.assign(new Error('ENOENT: no such file'), { errno: -2, code: 'ENOENT' }),
  ]) {
    it(`ends when the repository fails with ${error.message}: that is no problem of the file`, async () => {
      using folder = folderWith({ a: 'x' })
      const sink = { ...collectingSink(), save: () => Promise.reject(error) }
      await assert.rejects(archived([folder.path], { sink }), error)
    })
  }

  it('does not take a defect in what it was given for a file that cannot be read', async () => {
    using folder = folderWith({ a: 'x' })
    const select = () => {
      throw new TypeError('a defect')
    }
    await assert.rejects(archived([folder.path], { select }), TypeError)
  })
})
