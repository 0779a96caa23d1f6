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
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { describe, it } from 'node:test'
import { asNobody, unlessRoot } from '../../../test/equipment/as-nobody.ts'
import { compareDescriptions, compareTrees, describeTree } from '../../../test/equipment/describe-tree.ts'
import { makeOddTree } from '../../../test/equipment/odd-tree.ts'
import { randomBytes } from '../../../test/equipment/random-bytes.ts'
import { smallFileSystem, withoutMounts } from '../../../test/equipment/small-file-system.ts'
import { type TemporaryFolder, temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { overwrite, testRepository, through } from '../../../test/equipment/test-repository.ts'
import { folderNode, treeNode, uncheckedTree } from '../../../test/equipment/tree-node.ts'
import { archive } from '../archiver/archive.ts'
import { EngineError } from '../error.ts'
import { type BlobId, hashId } from '../format/id.ts'
import { goMode } from '../format/mode.ts'
import { encodeTree } from '../format/tree.ts'
import type { NodeType, TreeNode } from '../format/tree-node.ts'
import { createChunker } from '../kernels/chunker.ts'
import { listExtendedAttributes, setExtendedAttribute } from '../os/extended-attributes.ts'
import { BlobWriter } from '../repository/blob-writer.ts'
import { loadIndex } from '../repository/load-index.ts'
import type { IndexedRepository } from '../repository/repository.ts'
import { withFaults } from '../storage/faults.ts'
import type { Storage } from '../storage/storage.ts'
import { type RestoreOptions, type RestoreProblem, restore } from './restore.ts'

/** Stores what a test wants restored. */
interface Store {
  /** A file node with this content, unless the changes say otherwise. */
  file(name: string | Buffer, content: string | Buffer, changes?: Partial<TreeNode>): Promise<TreeNode>
  /** A folder node with these entries, in the order and as often as given. */
  folder(name: string | Buffer, nodes: readonly TreeNode[], changes?: Partial<TreeNode>): Promise<TreeNode>
  tree(bytes: string | Buffer): Promise<BlobId>
}

/** A repository in memory, with what `fill` stores in it. */
async function repositoryWith<R>(
  fill: (store: Store) => Promise<R>,
): Promise<{ repository: IndexedRepository; made: R }> {
  const repository = await loadIndex(await testRepository())
  await using writer = new BlobWriter(repository)
  const tree = async (bytes: string | Buffer) => (await writer.save('tree', Buffer.from(bytes))).id
  const made = await fill({
    tree,
    async file(name, content, changes = {}) {
      const bytes = Buffer.from(content)
      const ids = bytes.length === 0 ? [] : [(await writer.save('data', bytes)).id]
      return treeNode(name, 'file', { content: ids, size: bytes.length, ...changes })
    },
    folder: async (name, nodes, changes = {}) => folderNode(name, await tree(uncheckedTree(nodes)), changes),
  })
  await writer.finish()
  return { repository, made }
}

interface Restored {
  readonly problems: readonly RestoreProblem[]
  /** Kind and path below the target of each problem. */
  readonly shown: readonly string[]
  readonly result: Awaited<ReturnType<typeof restore>>
}

async function restored(
  repository: IndexedRepository,
  nodes: readonly TreeNode[],
  target: string,
  options: RestoreOptions = {},
): Promise<Restored> {
  const problems: RestoreProblem[] = []
  const result = await restore(
    repository,
    nodes.map((node) => ({ node, destination: Buffer.concat([Buffer.from(`${target}/`), node.name]) })),
    { ...options, onProblem: (problem) => problems.push(problem) },
  )
  assert.equal(result.problems, problems.length)
  const shown = problems.map(({ kind, path }) => `${kind} ${path.toString().replace(target, '').replace(/^\//, '')}`)
  return { problems, shown, result }
}

/** Restores what `fill` makes into an empty folder. */
async function restoring(
  fill: (store: Store) => Promise<readonly TreeNode[]>,
  options: RestoreOptions & { readonly prepare?: (target: string) => void } = {},
): Promise<Restored & TemporaryFolder> {
  const folder = temporaryFolder()
  const { repository, made } = await repositoryWith(fill)
  options.prepare?.(folder.path)
  return { ...(await restored(repository, made, folder.path, options)), ...folder }
}

function namesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()
}

function attributesOf(path: string): Record<string, string> {
  return Object.fromEntries(
    listExtendedAttributes(Buffer.from(path)).map(({ name, value }) => [name, value.toString('latin1')]),
  )
}

describe('restore', () => {
  it('brings back every kind of file with all of its metadata', { skip: unlessRoot }, async () => {
    using folder = temporaryFolder()
    makeOddTree(`${folder.path}/source`)
    const repository = await loadIndex(await testRepository())
    await using writer = new BlobWriter(repository)
    const chunker = createChunker(repository.config.polynomial)
    const onProblem = ({ message }: { message: string }) => assert.fail(message)
    const { targets } = await archive([Buffer.from(`${folder.path}/source`)], { sink: writer, chunker, onProblem })
    await writer.finish()

    const { shown, result } = await restored(
      repository,
      [{ ...targets[0]!.node!, name: Buffer.from('copy') }],
      folder.path,
      { verify: true },
    )
    assert.deepEqual(shown, [])
    assert.deepEqual(compareTrees(`${folder.path}/source`, `${folder.path}/copy`), [])
    assert.ok(result.verifiedFiles > 500)
    const onDisk = (path: string) => statSync(`${folder.path}/${path}/sizes/sparse`).blocks * 512
    assert.ok(
      onDisk('copy') < 256 * 1024,
      `a sparse file takes up ${onDisk('copy')} bytes, ${onDisk('source')} in the source`,
    )

    // Once more over what is there now.
    const again = await restored(repository, [{ ...targets[0]!.node!, name: Buffer.from('copy') }], folder.path)
    assert.deepEqual(again.shown, [])
    assert.deepEqual(compareTrees(`${folder.path}/source`, `${folder.path}/copy`), [])
  })

  it('gives everything exactly its mode, whatever the umask', async () => {
    const before = process.umask(0o777)
    try {
      for (const umask of [0o777, 0o000]) {
        process.umask(umask)
        using target = await restoring(async ({ file, folder }) => [
          await folder('folder', [await file('file', 'x', { mode: 0o751 })], { mode: goMode(0o041757) }),
          treeNode('fifo', 'fifo', { mode: goMode(0o010622) }),
        ])
        assert.deepEqual(target.shown, [])
        const mode = (path: string) => (statSync(`${target.path}/${path}`).mode & 0o7777).toString(8)
        assert.deepEqual([mode('folder'), mode('folder/file'), mode('fifo')], ['1757', '751', '622'])
        process.umask(0)
      }
    } finally {
      process.umask(before)
    }
  })

  it('finds owners by their names, and by number where it is asked to or nobody has the name', {
    skip: unlessRoot,
  }, async () => {
    const fill = async ({ file }: Store) => [
      await file('named', '', { uid: 777, gid: 888, user: 'daemon', group: 'daemon' }),
      await file('stranger', '', { uid: 777, gid: 888, user: 'nobody has this name', group: 'nor this' }),
    ]
    const owners = ({ path }: TemporaryFolder) =>
      ['named', 'stranger'].map((name) => [statSync(`${path}/${name}`).uid, statSync(`${path}/${name}`).gid])
    using byName = await restoring(fill)
    assert.deepEqual(owners(byName), [
      [1, 1],
      [777, 888],
    ])
    using byNumber = await restoring(fill, { numericOwner: true })
    assert.deepEqual(owners(byNumber), [
      [777, 888],
      [777, 888],
    ])
  })

  it('makes sparse files sparse again', async () => {
    const content = Buffer.alloc(4 * 1024 * 1024)
    content.write('in the middle', 2_000_000)
    using target = await restoring(async ({ file }) => [
      await file('sparse', content),
      await file('zeros', Buffer.alloc(3_000_001)),
    ])
    assert.deepEqual(target.shown, [])
    assert.ok(readFileSync(`${target.path}/sparse`).equals(content))
    assert.ok(statSync(`${target.path}/sparse`).blocks * 512 <= 64 * 1024)
    assert.equal(statSync(`${target.path}/zeros`).size, 3_000_001)
    assert.ok(statSync(`${target.path}/zeros`).blocks * 512 <= 64 * 1024)
  })

  it('gives folders their times after everything below them is made', async () => {
    using target = await restoring(async ({ file, folder }) => [
      await folder('a', [await folder('b', [await file('file', 'x')], { mtime: { ns: 5n, offset: 0 } })], {
        mtime: { ns: -7n, offset: 0 },
      }),
    ])
    const mtime = (path: string) => statSync(`${target.path}/${path}`, { bigint: true }).mtimeNs
    assert.deepEqual([mtime('a'), mtime('a/b')], [-7n, 5n])
  })

  it('fills a folder that has no write permission', { skip: unlessRoot }, async () => {
    using folder = temporaryFolder()
    const { repository, made } = await repositoryWith(async ({ file, folder }) => [
      await folder('sealed', [await file('file', 'x', { uid: 65534, gid: 65534 })], {
        mode: goMode(0o040555),
        uid: 65534,
        gid: 65534,
      }),
    ])
    chmodSync(folder.path, 0o777)
    const { shown } = await asNobody(() => restored(repository, made, folder.path))
    assert.deepEqual(shown, [])
    assert.equal(statSync(`${folder.path}/sealed`).mode & 0o777, 0o555)
    assert.equal(readFileSync(`${folder.path}/sealed/file`, 'utf8'), 'x')
  })

  it('sets the attributes of a file that its owner may not write to', { skip: unlessRoot }, async () => {
    using folder = temporaryFolder()
    const { repository, made } = await repositoryWith(async ({ file }) => [
      await file('file', 'x', {
        uid: 65534,
        gid: 65534,
        mode: 0o400,
        extendedAttributes: [{ name: 'user.kept', value: Buffer.from('yes') }],
      }),
    ])
    chmodSync(folder.path, 0o777)
    const { shown } = await asNobody(() => restored(repository, made, folder.path, { verify: true }))
    assert.deepEqual(shown, [])
    assert.deepEqual(attributesOf(`${folder.path}/file`), { 'user.kept': 'yes' })
  })

  it('reports an owner that it may not set, and withholds setuid from whoever got the file', {
    skip: unlessRoot,
  }, async () => {
    using folder = temporaryFolder()
    const { repository, made } = await repositoryWith(async ({ file }) => [
      await file('tool', 'x', { uid: 1, gid: 1, mode: goMode(0o106755) }),
    ])
    chmodSync(folder.path, 0o777)
    const { problems } = await asNobody(() => restored(repository, made, folder.path))
    assert.deepEqual(
      problems.map(({ kind, message }) => `${kind}: ${message}`),
      [
        `metadata: Cannot set the owner of ${folder.path}/tool: operation not permitted (EPERM)`,
        `metadata: Cannot set setuid and setgid of ${folder.path}/tool: they are withheld because the owner differs`,
      ],
    )
    assert.equal(statSync(`${folder.path}/tool`).mode & 0o7777, 0o755)
  })

  it('sets what can be set when something cannot', async () => {
    using target = await restoring(async ({ file }) => [
      await file('file', 'x', {
        mode: 0o640,
        extendedAttributes: [
          { name: 'nonsense.name', value: Buffer.from('1') },
          { name: 'user.good', value: Buffer.from('2') },
        ],
      }),
    ])
    assert.deepEqual(target.shown, ['metadata file'])
    assert.match(
      target.problems[0]!.message,
      /^Cannot set the extended attribute nonsense\.name of .*\/file: .*\(ENOTSUP\)$/,
    )
    assert.deepEqual(attributesOf(`${target.path}/file`), { 'user.good': '2' })
    assert.equal(statSync(`${target.path}/file`, { bigint: true }).mtimeNs, 1_234_567_890_123_456_789n)
    assert.equal(statSync(`${target.path}/file`).mode & 0o777, 0o640)
  })

  it('does not hand down the access control lists of the folder it restores into', async () => {
    using target = await restoring(
      async ({ file, folder }) => [
        await folder('folder', [await file('file', 'x', { mode: 0o664 })]),
        treeNode('fifo', 'fifo', { mode: goMode(0o010660) }),
      ],
      { prepare: (path) => execFileSync('setfacl', ['-d', '-m', 'u:12345:rwx,g:54321:rw', path]) },
    )
    assert.deepEqual(target.shown, [])
    for (const path of ['folder', 'folder/file', 'fifo'])
      assert.deepEqual(attributesOf(`${target.path}/${path}`), {}, path)
    assert.equal(statSync(`${target.path}/folder/file`).mode & 0o777, 0o664)
    assert.equal(statSync(`${target.path}/folder`).mode & 0o777, 0o755)
  })

  it('takes attributes away that a folder has and the snapshot does not, but for those of the machine', {
    skip: unlessRoot,
  }, async () => {
    using target = await restoring(async ({ folder }) => [await folder('folder', [])], {
      prepare: (path) => {
        mkdirSync(`${path}/folder`)
        for (const name of ['user.of old', 'trusted.of old', 'security.other'])
          setExtendedAttribute(Buffer.from(`${path}/folder`), name, Buffer.from('1'))
      },
    })
    assert.deepEqual(target.shown, [])
    assert.deepEqual(attributesOf(`${target.path}/folder`), { 'security.other': '1' })
  })

  it('restores what is selected, and leaves present folders on the way alone', async () => {
    const select: RestoreOptions['select'] = (destination) => {
      const path = destination.toString()
      if (/\/(a|new)(\/b)?$/.test(path)) return 'folder'
      return /\/wanted$/.test(path) ? 'whole' : 'skip'
    }
    using target = await restoring(
      async ({ file, folder }) => {
        const entries = [
          await folder('b', [await file('other', 'x'), await file('wanted', 'y')]),
          await file('unwanted', 'z'),
        ]
        return [
          await folder('a', entries, { mode: goMode(0o040711) }),
          await folder('new', entries, { mode: goMode(0o040711) }),
        ]
      },
      { select, prepare: (path) => mkdirSync(`${path}/a`, { mode: 0o750 }) },
    )
    assert.deepEqual(namesIn(target.path), ['a', 'a/b', 'a/b/wanted', 'new', 'new/b', 'new/b/wanted'])
    assert.equal(statSync(`${target.path}/a`).mode & 0o777, 0o750)
    assert.equal(statSync(`${target.path}/new`).mode & 0o777, 0o711)
    assert.deepEqual([target.result.files, target.result.folders], [2, 3])
  })

  it('makes no sockets: the program that listens does', async () => {
    using target = await restoring(async () => [treeNode('socket', 'socket')])
    assert.deepEqual([namesIn(target.path), target.shown], [[], []])
  })
})

describe('restore of hard links', () => {
  const linked = { links: 2, inode: 77n, deviceId: 1n }

  it('makes links of what was linked', async () => {
    using target = await restoring(async ({ file, folder }) => [
      await file('a', 'content', linked),
      await folder('sub', [await file('b', 'content', linked)], { mtime: { ns: 1n, offset: 0 } }),
    ])
    assert.equal(lstatSync(`${target.path}/a`).ino, lstatSync(`${target.path}/sub/b`).ino)
    assert.deepEqual(target.result, { files: 2, folders: 1, bytes: 7, skippedFiles: 0, verifiedFiles: 0, problems: 0 })
    assert.equal(statSync(`${target.path}/sub`, { bigint: true }).mtimeNs, 1n)
  })

  for (const [what, a, b] of [
    ['whose inode nobody knew', { ...linked, inode: 0n }, { ...linked, inode: 0n }],
    ['of different devices', linked, { ...linked, deviceId: 2n }],
    ['of which one says that it has no other', linked, { ...linked, links: 1 }],
  ] as const) {
    it(`keeps files apart ${what}`, async () => {
      using target = await restoring(async ({ file }) => [await file('a', 'same', a), await file('b', 'same', b)])
      assert.notEqual(lstatSync(`${target.path}/a`).ino, lstatSync(`${target.path}/b`).ino)
    })
  }

  it('keeps files apart that claim to be one and have different content', async () => {
    using target = await restoring(async ({ file }) => [
      await file('a', 'one', linked),
      await file('b', 'two', linked),
      await file('c', 'two', linked),
    ])
    assert.deepEqual(
      ['a', 'b', 'c'].map((name) => readFileSync(`${target.path}/${name}`, 'utf8')),
      ['one', 'two', 'two'],
    )
    assert.notEqual(lstatSync(`${target.path}/a`).ino, lstatSync(`${target.path}/b`).ino)
    assert.deepEqual(target.shown, [])
  })

  it('restores a file of its own where no link can be made, and says so', { skip: withoutMounts }, async () => {
    using other = smallFileSystem('size=1m')
    using target = temporaryFolder()
    const { repository, made } = await repositoryWith(async ({ file }) => {
      const content = 'content'
      return [await file('a', content, linked), await file('b', content, linked)]
    })
    const problems: RestoreProblem[] = []
    const items = made.map((node, i) => ({
      node,
      destination: Buffer.from(`${i === 0 ? target.path : other.path}/${node.name}`),
    }))
    await restore(repository, items, { onProblem: (problem) => problems.push(problem) })
    assert.equal(readFileSync(`${other.path}/b`, 'utf8'), 'content')
    assert.deepEqual(
      problems.map(({ kind, message }) => `${kind}: ${message}`),
      [
        `metadata: ${other.path}/b is restored as a file of its own, not as a link to ${target.path}/a: cross-device link not permitted (EXDEV)`,
      ],
    )
    assert.deepEqual(namesIn(other.path), ['b'])
  })
})

describe('restore over what is there', () => {
  it('replaces a file without touching its other links', async () => {
    using target = await restoring(async ({ file }) => [await file('file', 'new')], {
      prepare: (path) => {
        writeFileSync(`${path}/file`, 'old')
        linkSync(`${path}/file`, `${path}/other link`)
      },
    })
    assert.equal(readFileSync(`${target.path}/file`, 'utf8'), 'new')
    assert.equal(readFileSync(`${target.path}/other link`, 'utf8'), 'old')
  })

  it('replaces a symbolic link, and leaves alone where it leads', async () => {
    using target = await restoring(async ({ file }) => [await file('file', 'new')], {
      prepare: (path) => {
        writeFileSync(`${path}/real`, 'old')
        symlinkSync('real', `${path}/file`)
      },
    })
    assert.ok(lstatSync(`${target.path}/file`).isFile())
    assert.equal(readFileSync(`${target.path}/real`, 'utf8'), 'old')
  })

  it('replaces a FIFO without waiting for a reader', { timeout: 10_000 }, async () => {
    using target = await restoring(async ({ file }) => [await file('fifo', 'new')], {
      prepare: (path) => execFileSync('mkfifo', [`${path}/fifo`]),
    })
    assert.equal(readFileSync(`${target.path}/fifo`, 'utf8'), 'new')
  })

  it('keeps what is not in the snapshot', async () => {
    using target = await restoring(async ({ file, folder }) => [await folder('folder', [await file('new', 'x')])], {
      prepare: (path) => {
        mkdirSync(`${path}/folder`)
        writeFileSync(`${path}/folder/own`, 'y')
      },
    })
    assert.deepEqual(namesIn(target.path), ['folder', 'folder/new', 'folder/own'])
  })

  for (const [what, make] of [
    ['a file', (path: string) => writeFileSync(path, 'x')],
    ['a symbolic link', (path: string) => symlinkSync('elsewhere', path)],
    ['something else', (path: string) => execFileSync('mkfifo', [path])],
  ] as const) {
    it(`makes no folder where ${what} stands, and writes nothing behind it`, async () => {
      using target = await restoring(
        async ({ file, folder }) => [await folder('folder', [await file('file', 'x')]), await file('other', 'y')],
        {
          prepare: (path) => {
            mkdirSync(`${path}/elsewhere`)
            make(`${path}/folder`)
          },
        },
      )
      assert.deepEqual(target.shown, ['obstructed folder'])
      assert.equal(target.problems[0]!.message, `Cannot restore ${target.path}/folder: ${what} stands in its place`)
      assert.deepEqual(namesIn(target.path), ['elsewhere', 'folder', 'other'])
    })
  }

  for (const type of ['file', 'symlink', 'fifo'] as const) {
    it(`puts no ${type} in the place of a folder`, async () => {
      using target = await restoring(
        async ({ file }) => [
          type === 'file' ? await file('entry', 'x') : treeNode('entry', type, { linkTarget: Buffer.from('to') }),
        ],
        {
          prepare: (path) => {
            mkdirSync(`${path}/entry`)
            writeFileSync(`${path}/entry/own`, 'y')
          },
        },
      )
      assert.deepEqual(target.shown, ['obstructed entry'])
      assert.deepEqual(namesIn(target.path), ['entry', 'entry/own'])
    })
  }
})

describe('restore from a damaged repository', () => {
  it('leaves out a file whose content is damaged, and restores the others', async () => {
    using target = temporaryFolder()
    const { repository, made } = await repositoryWith(async ({ file, folder }) => [
      await folder('folder', [
        await file('a', 'good'),
        await file('b', 'about to be damaged'),
        await file('c', 'good as well'),
      ]),
    ])
    const { pack, offset } = repository.index.find('data', hashId(Buffer.from('about to be damaged')))!
    const name = { type: 'pack', id: pack } as const
    const bytes = Buffer.from(await repository.storage.read(name))
    bytes[offset + 20]! ^= 1
    await overwrite(repository.storage, name, bytes)
    const { shown, problems } = await restored(repository, made, target.path, { verify: true })
    assert.deepEqual(shown, ['content folder/b'])
    assert.match(problems[0]!.message, /^Cannot restore .*\/folder\/b: Cannot read data blob [0-9a-f]{64} from pack/)
    assert.deepEqual(namesIn(target.path), ['folder', 'folder/a', 'folder/c'])
  })

  it('does not touch the file in place when its replacement is damaged', async () => {
    using target = await restoring(
      async ({ file }) => [await file('file', '', { content: [hashId(Buffer.from('not stored'))], size: 10 })],
      { prepare: (path) => writeFileSync(`${path}/file`, 'old') },
    )
    assert.deepEqual(target.shown, ['content file'])
    assert.equal(readFileSync(`${target.path}/file`, 'utf8'), 'old')
  })

  it('leaves out a folder whose tree is damaged', async () => {
    using target = await restoring(async ({ file, tree }) => [
      folderNode('a', await tree('{"nodes":null}')),
      folderNode('b', hashId(Buffer.from('not stored'))),
      await file('c', 'x'),
    ])
    assert.deepEqual(target.shown, ['content a', 'content b'])
    assert.deepEqual(namesIn(target.path), ['c'])
  })

  for (const [what, size] of [
    ['more than it has', 5],
    ['less than it has', 3],
    ['nothing', 0],
  ] as const) {
    it(`leaves out a file that claims ${what}`, async () => {
      using target = await restoring(async ({ file }) => [await file('file', 'four', { size })])
      assert.deepEqual(target.shown, ['content file'])
      assert.match(target.problems[0]!.message, /its content has (at least )?4 bytes, its size says \d$/)
      assert.deepEqual(namesIn(target.path), [])
    })
  }

  it('reads again what could not be read, leaves out what stays unreadable, and ends when the storage is gone for good', async () => {
    using target = temporaryFolder()
    const { repository, made } = await repositoryWith(({ file }) =>
      Promise.all(['a', 'b', 'c', 'd', 'e'].map((name) => file(name, `content of ${name}`))),
    )
    const into = (storage: Storage, name: string) => {
      mkdirSync(`${target.path}/${name}`)
      return restored({ ...through(repository, storage), index: repository.index }, made, `${target.path}/${name}`)
    }
    const once = withFaults(repository.storage, [{ on: 'read', nth: 1, effect: 'fail' }])
    assert.deepEqual((await into(once, 'once')).shown, [])
    assert.deepEqual(once.fired, [1])

    const { offset } = repository.index.find('data', made[1]!.content![0]!)!
    const bad: Storage = {
      ...repository.storage,
      async read(name, range, signal) {
        if (range && 'offset' in range && range.offset <= offset && offset < range.offset + range.length)
          throw new EngineError('STORAGE', 'bad sector')
        return repository.storage.read(name, range, signal)
      },
    }
    assert.deepEqual((await into(bad, 'bad')).shown, ['content b'])
    assert.deepEqual(namesIn(`${target.path}/bad`), ['a', 'c', 'd', 'e'])

    const gone = withFaults(repository.storage, [{ on: 'read', effect: 'fail' }])
    await assert.rejects(into(gone, 'gone'), { code: 'STORAGE' })
    assert.deepEqual(gone.fired, [4])
    assert.deepEqual(namesIn(`${target.path}/gone`), [])
  })
})

describe('restore to a full disk', { skip: withoutMounts }, () => {
  it('ends with `NO_SPACE`, and leaves no half of a file behind', async () => {
    using target = smallFileSystem('size=2m')
    const { repository, made } = await repositoryWith(async ({ file, folder }) => [
      await folder('folder', [
        await file('a', randomBytes(512 * 1024, 1)),
        await file('b', randomBytes(4 * 1024 * 1024, 2)),
        await file('c', 'x'),
      ]),
    ])
    await assert.rejects(restored(repository, made, target.path), (error: EngineError) => {
      assert.equal(error.code, 'NO_SPACE')
      assert.equal(error.message, `Cannot restore ${target.path}/folder/b: no space left on device (ENOSPC)`)
      assert.match(error.hint!, /^Free some room/)
      return true
    })
    assert.deepEqual(namesIn(target.path), ['folder', 'folder/a'])
  })

  for (const type of ['dir', 'fifo', 'symlink', 'file'] as const) {
    it(`ends with \`NO_SPACE\` when there is no room for one more ${type}`, async () => {
      using target = smallFileSystem('nr_inodes=10')
      const { repository, made } = await repositoryWith(async ({ file, folder }) => {
        const entry = async (name: string) => {
          if (type === 'dir') return folder(name, [])
          return type === 'file' ? file(name, name) : treeNode(name, type, { linkTarget: Buffer.from('to') })
        }
        return Promise.all(Array.from({ length: 12 }, (_, i) => entry(`entry ${i}`)))
      })
      await assert.rejects(restored(repository, made, target.path), {
        code: 'NO_SPACE',
        message: /^Cannot restore .*\/entry \d+: no space left/,
      })
      assert.ok(!namesIn(target.path).some((name) => name.includes('.part')))
    })
  }
})

describe('restore of a hostile tree', () => {
  /** Holds that nothing beside the target was touched while the task ran. */
  async function withCanary(task: (target: string) => Promise<void>): Promise<void> {
    using folder = temporaryFolder()
    const target = `${folder.path}/outer/target`
    mkdirSync(target, { recursive: true })
    mkdirSync(`${folder.path}/canary`)
    writeFileSync(`${folder.path}/canary/file`, 'sings')
    writeFileSync(`${folder.path}/outer/beside`, 'sings')
    const options = { without: (path: string) => path === 'outer/target' }
    const before = describeTree(folder.path, options)
    await task(target)
    assert.deepEqual(compareDescriptions(before, describeTree(folder.path, options)), [])
  }

  for (const name of ['..', '.', 'a/b', '../beside', '/', '/etc/passwd', 'a\0b', '\0', '../../canary/file']) {
    for (const type of ['file', 'dir', 'symlink', 'fifo'] as const) {
      it(`refuses a ${type} called ${JSON.stringify(name)}, at the root and below`, () =>
        withCanary(async (target) => {
          const { repository, made } = await repositoryWith(async ({ file, folder }) => {
            const nodes: Partial<Record<NodeType, TreeNode>> = {
              file: await file(name, 'evil'),
              dir: await folder(name, [await file('file', 'evil'), await file('beside', 'evil')]),
            }
            const evil = nodes[type] ?? treeNode(name, type, { linkTarget: Buffer.from('/etc') })
            return { evil, inside: await folder('inside', [evil, await file('good', 'x')]) }
          })
          const { shown } = await restored(repository, [made.evil, made.inside], target)
          assert.equal(shown.length, 2)
          for (const problem of shown) assert.match(problem, /^hostile /)
          assert.deepEqual(namesIn(target), ['inside', 'inside/good'])
        }))
    }
  }

  it('refuses an empty name with the whole folder: nothing honest writes one', () =>
    withCanary(async (target) => {
      const { repository, made } = await repositoryWith(async ({ tree }) => {
        const bytes = encodeTree([treeNode('x', 'file', { content: [] })]).toString()
        return folderNode('folder', await tree(bytes.replace('"name":"x"', '"name":""')))
      })
      const { shown } = await restored(repository, [made], target)
      assert.deepEqual(shown, ['content folder'])
      assert.deepEqual(namesIn(target), [])
    }))

  it('writes nothing through a symbolic link and then a folder of its name', () =>
    withCanary(async (target) => {
      const { repository, made } = await repositoryWith(async ({ file, folder }) => {
        const link = treeNode('x', 'symlink', { linkTarget: Buffer.from('../../canary') })
        const behind = await folder('x', [await file('file', 'evil'), await file('new', 'evil')])
        return {
          nodes: [link, behind],
          both: await folder('both', [link, await file('good', 'x'), behind]),
          behind,
          link,
        }
      })
      const inFolder = await restored(repository, [made.both], target)
      assert.deepEqual(inFolder.shown, ['hostile both/x'])
      assert.deepEqual(namesIn(target), ['both', 'both/good'])
      const atRoot = await restored(repository, made.nodes, target)
      assert.deepEqual(atRoot.shown, ['hostile x'])
      // One after the other, as two restores into one target do.
      assert.deepEqual((await restored(repository, [made.link], target)).shown, [])
      assert.deepEqual((await restored(repository, [made.behind], target)).shown, ['obstructed x'])
    }))

  it('restores none of those that share a name, and all of the others', () =>
    withCanary(async (target) => {
      const { repository, made } = await repositoryWith(async ({ file, folder }) =>
        folder('folder', [
          await file('twice', 'one'),
          await file('once', 'x'),
          await file('twice', 'two'),
          await file('twice', 'three'),
        ]),
      )
      const { shown } = await restored(repository, [made], target)
      assert.deepEqual(shown, ['hostile folder/twice'])
      assert.deepEqual(namesIn(target), ['folder', 'folder/once'])
    }))

  it('links nothing outside of the target, whatever pair of inode and device a node claims', () =>
    withCanary(async (target) => {
      const canary = statSync(`${target}/../../canary/file`, { bigint: true })
      const claim = { links: 2, inode: canary.ino, deviceId: canary.dev }
      const { repository, made } = await repositoryWith(async ({ file }) => [
        await file('a', 'evil', claim),
        await file('b', 'evil', claim),
      ])
      assert.deepEqual((await restored(repository, made, target)).shown, [])
      assert.deepEqual(namesIn(target), ['a', 'b'])
    }))

  it('refuses nodes that lack what they need', () =>
    withCanary(async (target) => {
      const { repository } = await repositoryWith(async () => [])
      const nodes = [
        treeNode('no content', 'file'),
        treeNode('no tree', 'dir'),
        treeNode('to nothing', 'symlink'),
        treeNode('to NUL', 'symlink', { linkTarget: Buffer.from('a\0b') }),
      ]
      const { shown } = await restored(repository, nodes, target)
      assert.deepEqual(
        shown,
        nodes.map(({ name }) => `hostile ${name}`),
      )
      assert.deepEqual(namesIn(target), [])
    }))

  it('reports a device whose number cannot be, and a file whose time cannot be', { skip: unlessRoot }, () =>
    withCanary(async (target) => {
      const { repository, made } = await repositoryWith(async ({ file }) => [
        treeNode('device', 'chardev', { device: 0xffff_ffff_ffff_ffffn }),
        await file('file', 'x', { uid: 0xffff_ffff, gid: 0xffff_ffff }),
      ])
      const { shown } = await restored(repository, made, target)
      assert.ok(
        shown.every((problem) => /^(unwritable device|metadata (device|file))$/.test(problem)),
        shown.join(),
      )
      assert.equal(readFileSync(`${target}/file`, 'utf8'), 'x')
    }),
  )

  it('comes to a clear end in a tree of three thousand levels', () =>
    withCanary(async (target) => {
      const { repository, made } = await repositoryWith(async ({ file, folder }) => {
        let node = await folder('d', [await file('never reached', 'x')])
        for (let level = 1; level < 3000; level++) node = await folder('d', [node])
        return [node, await file('other', 'x')]
      })
      const { problems } = await restored(repository, made, target)
      assert.equal(problems.length, 1)
      assert.equal(problems[0]!.kind, 'unwritable')
      assert.match(problems[0]!.message, /: name too long \(ENAMETOOLONG\)$/)
      assert.equal(readFileSync(`${target}/other`, 'utf8'), 'x')
      execFileSync('rm', ['-rf', `${target}/d`])
    }))

  it('stops at the end of the disk in a tree that holds 10^30 files in a few kilobytes', {
    skip: withoutMounts,
  }, async () => {
    using target = smallFileSystem('nr_inodes=5000')
    const { repository, made } = await repositoryWith(async ({ file, folder }) => {
      let node = await file('file', 'x')
      for (let level = 0; level < 30; level++)
        node = await folder(
          'd',
          Array.from({ length: 10 }, (_, i) => ({ ...node, name: Buffer.from(String(i)) })),
        )
      return [node]
    })
    const before = process.memoryUsage().heapUsed
    await assert.rejects(restored(repository, made, target.path), { code: 'NO_SPACE' })
    assert.ok(process.memoryUsage().heapUsed - before < 64 * 1024 * 1024)
    assert.ok(!namesIn(target.path).some((name) => name.includes('.part')))
  })
})

describe('restore with verification', () => {
  it('reads back what it wrote, and leaves the access time as it was restored', async () => {
    using target = await restoring(async ({ file }) => [await file('a', 'content'), await file('empty', '')], {
      verify: true,
    })
    assert.deepEqual([target.shown, target.result.verifiedFiles], [[], 2])
    assert.equal(statSync(`${target.path}/a`, { bigint: true }).atimeNs, 1_234_567_890_123_456_789n)
  })

  for (const [what, tamper, reason] of [
    ['altered', (path: string) => writeFileSync(path, 'CONTENT'), /bytes 0 to 7 differ$/],
    ['cut off', (path: string) => writeFileSync(path, 'cont'), /bytes 0 to 7 differ$/],
    ['longer', (path: string) => appendFileSync(path, '!'), /it is longer than 7 bytes$/],
    ['gone', (path: string) => rmSync(path), /no such file or directory \(ENOENT\)$/],
    [
      'a link to another one',
      (path: string) => {
        rmSync(path)
        symlinkSync('/etc/passwd', path)
      },
      /\(ELOOP\)$/,
    ],
  ] as const) {
    it(`reports a file that is ${what} when it is read again`, async () => {
      let done = false
      using target = await restoring(async ({ file }) => [await file('a', 'content'), await file('b', 'x')], {
        verify: true,
        onProgress: (phase, _, path) => {
          if (done || phase !== 'restore' || !path.toString().endsWith('/b')) return
          done = true
          tamper(path.toString().replace(/b$/, 'a'))
        },
      })
      assert.deepEqual([target.shown, target.result.verifiedFiles], [['verify a'], 1])
      assert.match(target.problems[0]!.message, reason)
    })
  }
})

describe('restore that is interrupted', () => {
  it('ends with the reason of the signal and without half a file', async () => {
    using target = temporaryFolder()
    const { repository, made } = await repositoryWith(async ({ file }) => [
      await file('a', 'x'),
      await file('b', '', { content: Array.from({ length: 500 }, () => hashId<BlobId>(Buffer.from('x'))), size: 500 }),
      await file('c', 'x'),
    ])
    const controller = new AbortController()
    const onProgress: RestoreOptions['onProgress'] = (_, __, path) => {
      if (!path.toString().endsWith('/b')) return
      const until = performance.now() + 30 // longer than the event loop waits for its turn
      while (performance.now() < until);
      controller.abort(new EngineError('LOCKED', 'the lock is lost'))
    }
    await assert.rejects(
      restored(repository, made, target.path, { signal: controller.signal, onProgress }),
      /the lock is lost/,
    )
    assert.deepEqual(namesIn(target.path), ['a'])
  })

  it('does not begin when it was interrupted before', async () => {
    const { repository, made } = await repositoryWith(async ({ file }) => [await file('a', 'x')])
    using target = temporaryFolder()
    await assert.rejects(
      restored(repository, made, target.path, { signal: AbortSignal.abort(new Error('enough')) }),
      /enough/,
    )
    assert.deepEqual(namesIn(target.path), [])
  })
})
