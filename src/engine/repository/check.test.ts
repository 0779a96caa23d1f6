import assert from 'node:assert/strict'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import {
  namesOf,
  overwrite,
  snapshotOf,
  storeBlobs,
  testRepository,
  through,
} from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import { type BlobId, hashId, type IndexId, type KeyId, type PackId, type SnapshotId } from '../format/id.ts'
import { encodeIndexFile, type PackIndex, parseIndexFile } from '../format/index-file.ts'
import { seal } from '../format/master-key.ts'
import { encodePackHeader, type PackedBlob } from '../format/pack-header.ts'
import { localTimestamp } from '../format/timestamp.ts'
import { encodeTree } from '../format/tree.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { withFaults } from '../storage/faults.ts'
import { localStorage } from '../storage/local.ts'
import { memoryStorage } from '../storage/memory.ts'
import type { FileName, Storage } from '../storage/storage.ts'
import { encodeBlob } from './blob-codec.ts'
import { type CheckOptions, checkRepository } from './check.ts'
import { startPackThreads } from './check-data.ts'
import type { CheckFinding } from './check-finding.ts'
import { addKey, type Repository } from './repository.ts'
import { writeSnapshot } from './snapshots.ts'
import { readUnpacked, writeUnpacked } from './unpacked-files.ts'

const TIME = localTimestamp(1_700_000_000_000_000_000n)

function node(name: string, changes: Partial<TreeNode>): TreeNode {
  return {
    name: Buffer.from(name),
    type: 'file',
    mode: 0o644,
    mtime: TIME,
    atime: TIME,
    ctime: TIME,
    uid: 0,
    gid: 0,
    user: '',
    group: '',
    inode: 1n,
    deviceId: 1n,
    size: 0,
    links: 1,
    linkTarget: undefined,
    extendedAttributes: [],
    genericAttributes: undefined,
    device: 0n,
    content: undefined,
    subtree: undefined,
    ...changes,
  }
}

const idOf = (content: string | Buffer) => hashId<BlobId>(Buffer.from(content))
const file = (name: string, ...content: string[]) =>
  node(name, { content: content.map(idOf), size: content.reduce((sum, part) => sum + part.length, 0) })
const folder = (name: string, tree: BlobId | undefined) => node(name, { type: 'dir', subtree: tree })

interface Sample {
  readonly repository: Repository
  readonly snapshot: SnapshotId
  readonly data: PackId
  readonly trees: PackId
  readonly root: BlobId
  readonly inner: BlobId
}

/** One snapshot: /app/{config, log}, in one data pack and one tree pack. */
async function sample(): Promise<Sample> {
  const repository = await testRepository()
  const inner = encodeTree([file('config', 'port 80\n'), file('log', 'started ', 'stopped ')])
  const root = encodeTree([folder('app', idOf(inner))])
  const data = await storeBlobs(repository, [
    ['data', 'port 80\n'],
    ['data', 'started '],
    ['data', 'stopped '],
  ])
  const trees = await storeBlobs(repository, [
    ['tree', inner],
    ['tree', root],
  ])
  const snapshot = await writeSnapshot(repository, snapshotOf(idOf(root)))
  return {
    repository,
    snapshot,
    data: data.packs[0]!,
    trees: trees.packs[0]!,
    root: idOf(root),
    inner: idOf(inner),
  }
}

/** A repository whose only snapshot has a root of these nodes, written as they are. */
async function withNodes(nodes: readonly TreeNode[], blobs: readonly string[] = []): Promise<Repository> {
  const repository = await testRepository()
  // One by one, because what is to be checked may be out of order.
  const texts = nodes.map((each) => encodeTree([each]).toString().slice('{"nodes":['.length, -']}\n'.length))
  const tree = `{"nodes":[${texts.join(',')}]}\n`
  await storeBlobs(repository, [['tree', tree], ...blobs.map((text) => ['data', text] as const)])
  await writeSnapshot(repository, snapshotOf(idOf(tree)))
  return repository
}

async function check(repository: Repository, options: CheckOptions = {}): Promise<readonly CheckFinding[]> {
  const { findings, errors } = await checkRepository(repository, options)
  assert.equal(errors, findings.filter(({ severity }) => severity === 'error').length)
  return findings
}

const codes = (findings: readonly CheckFinding[]) => findings.map(({ severity, code }) => `${severity} ${code}`)

async function alter(storage: Storage, name: FileName, change: (bytes: Buffer) => Buffer): Promise<void> {
  await overwrite(storage, name, change(await storage.read(name)))
}

const flipped = (at: number) => (bytes: Buffer) => {
  const index = at < 0 ? bytes.length + at : at
  bytes[index]! ^= 1
  return bytes
}

async function readIndexes(repository: Repository): Promise<PackIndex[]> {
  const packs: PackIndex[] = []
  for (const id of await namesOf(repository.storage, 'index')) {
    packs.push(...parseIndexFile(await readUnpacked(repository, 'index', id as IndexId), 2))
  }
  return packs
}

/** All index files in one, changed. */
async function replaceIndex(repository: Repository, change: (packs: PackIndex[]) => PackIndex[]): Promise<void> {
  const packs = await readIndexes(repository)
  for (const id of await namesOf(repository.storage, 'index')) await repository.storage.remove({ type: 'index', id })
  await writeUnpacked(repository, 'index', encodeIndexFile(change(packs)))
}

describe('a sound repository', () => {
  it('has no findings, and everything in it is counted', async () => {
    const { repository } = await sample()
    let size = 0
    for await (const pack of repository.storage.list('pack')) size += pack.size
    const { findings, index, readable, ...counts } = await checkRepository(repository, { readData: true })
    assert.deepEqual(findings, [])
    assert.equal(readable.length, 1)
    assert.deepEqual(counts, { errors: 0, snapshots: 1, packs: 2, blobs: 5, bytesRead: size })
    assert.equal(index.blobCount, 5)
  })

  it('that is new is sound', async () => {
    assert.deepEqual(await check(await testRepository(), { readData: true }), [])
  })

  it('is read only where it must be without read-data', async () => {
    const { repository, data } = await sample()
    const storage: Storage = {
      ...repository.storage,
      async read(name, range, signal) {
        assert.notEqual(name.id, data)
        return repository.storage.read(name, range, signal)
      },
    }
    const { bytesRead } = await checkRepository(through(repository, storage))
    assert.equal(bytesRead, 0)
  })

  it('is checked without changing anything', async () => {
    const { repository } = await sample()
    const storage = withFaults(repository.storage, [
      { on: 'write', effect: 'fail' },
      { on: 'remove', effect: 'fail' },
    ])
    assert.deepEqual(await check(through(repository, storage), { readData: true }), [])
    assert.deepEqual(storage.fired, [0, 0])
  })

  it('reports progress up to the total', async () => {
    const { repository } = await sample()
    const seen: [phase: string, files: number, total: number | undefined][] = []
    const { bytesRead } = await checkRepository(repository, {
      readData: true,
      onProgress: (phase, { files }, total) => seen.push([phase, files, total?.files]),
    })
    assert.deepEqual(seen[0], ['structure', 2, undefined])
    // Trees and data are read at the same time.
    assert.deepEqual(
      seen.filter(([phase]) => phase === 'trees'),
      [
        ['trees', 1, undefined],
        ['trees', 2, undefined],
      ],
    )
    assert.deepEqual(
      seen.filter(([phase]) => phase === 'data'),
      [
        ['data', 1, 2],
        ['data', 2, 2],
      ],
    )
    assert.ok(bytesRead > 0)
  })
})

describe('damaged packs', () => {
  it('a pack that is gone is reported, with every use of it that can be seen', async () => {
    const { repository, data, trees } = await sample()
    await repository.storage.remove({ type: 'pack', id: data })
    const [finding, ...others] = await check(repository, { readData: true })
    assert.deepEqual(others, [])
    assert.equal(finding!.code, 'pack-missing')
    assert.deepEqual(finding!.facts, { pack: data, file: `data/${data.slice(0, 2)}/${data}`, blobs: 3 })

    await repository.storage.remove({ type: 'pack', id: trees })
    const findings = await check(repository)
    assert.deepEqual(codes(findings), ['error pack-missing', 'error pack-missing', 'error tree-damaged'])
    assert.deepEqual(findings[2]!.facts.packs, [trees])
    assert.equal(findings[2]!.facts.path, '/')
  })

  it('a pack of another size is reported without reading it', async () => {
    for (const change of [
      (bytes: Buffer) => bytes.subarray(0, bytes.length - 1),
      (bytes: Buffer) => Buffer.concat([bytes, Buffer.of(0)]),
      () => Buffer.alloc(0),
    ]) {
      const { repository, data } = await sample()
      await alter(repository.storage, { type: 'pack', id: data }, change)
      const [finding, ...others] = await check(repository)
      assert.deepEqual(others, [])
      assert.equal(finding!.code, 'pack-size')
      assert.equal(finding!.facts.file, `data/${data.slice(0, 2)}/${data}`)
    }
  })

  it('a flipped bit in a blob is reported for the pack and for the blob, and for no other', async () => {
    const { repository, data } = await sample()
    await alter(repository.storage, { type: 'pack', id: data }, flipped(20))
    assert.deepEqual(await check(repository), [])
    const findings = await check(repository, { readData: true })
    assert.deepEqual(codes(findings), ['error pack-damaged', 'error blob-damaged'])
    assert.match(findings[0]!.message, /its content does not match its name/)
    assert.match(findings[1]!.message, /: 1 of its 3 blobs cannot be read: data blob /)
    assert.deepEqual(findings[1]!.facts.blobs, [idOf('port 80\n')])
  })

  it('a flipped bit in the header is reported, and that every blob is intact', async () => {
    for (const at of [-10, -3]) {
      const { repository, data } = await sample()
      await alter(repository.storage, { type: 'pack', id: data }, flipped(at))
      const findings = await check(repository, { readData: true })
      assert.deepEqual(codes(findings), ['error pack-damaged'])
      assert.equal(findings[0]!.facts.pack, data)
      assert.match(findings[0]!.message, /every blob that the index names in it is intact$/)
    }
  })

  it('a header that claims gigabytes is refused before it costs memory', async () => {
    const { repository, data } = await sample()
    await alter(repository.storage, { type: 'pack', id: data }, (bytes) => {
      bytes.writeUInt32LE(0xffff_fff0, bytes.length - 4)
      return bytes
    })
    const [finding] = await check(repository, { readData: true })
    assert.match(finding!.message, /its header claims 4294967280 bytes, expected 32 to/)
  })

  it('many damaged blobs are one finding that names all', async () => {
    const repository = await testRepository()
    const blobs = Array.from({ length: 20 }, (_, i) => ['data', `blob ${i}`] as const)
    const { packs, ids } = await storeBlobs(repository, blobs)
    await alter(repository.storage, { type: 'pack', id: packs[0]! }, (bytes) => bytes.fill(0x55, 0, 400))
    const damaged = (await check(repository, { readData: true })).filter(({ code }) => code === 'blob-damaged')
    assert.equal(damaged.length, 1)
    const named = damaged[0]!.facts.blobs as string[]
    assert.ok(named.length > 3)
    assert.ok(named.every((id) => ids.includes(id as BlobId)))
    assert.ok(damaged[0]!.message.length < 1000)
  })

  it('a pack whose name is not the hash of its content is reported', async () => {
    const { repository, data } = await sample()
    const name = hashId<PackId>(Buffer.from('other name'))
    await repository.storage.write(
      { type: 'pack', id: name },
      await repository.storage.read({ type: 'pack', id: data }),
    )
    await repository.storage.remove({ type: 'pack', id: data })
    await replaceIndex(repository, (packs) => packs.map((pack) => (pack.id === data ? { ...pack, id: name } : pack)))
    const findings = await check(repository, { readData: true })
    assert.deepEqual(codes(findings), ['error pack-damaged'])
    assert.equal(findings[0]!.facts.pack, name)
  })

  it('an index that says else than the header is reported, though every blob decodes', async () => {
    const repository = await testRepository()
    const { packs } = await storeBlobs(repository, [
      ['data', 'one'],
      ['data', 'two'],
    ])
    // The second blob is listed twice and the first not at all; the size still fits.
    await replaceIndex(repository, ([pack]) => [{ ...pack!, blobs: [pack!.blobs[1]!, pack!.blobs[1]!] }])
    const findings = await check(repository, { readData: true })
    assert.deepEqual(codes(findings), ['error pack-damaged'])
    assert.equal(findings[0]!.facts.pack, packs[0])
    assert.match(findings[0]!.message, /header and the index do not list the same blobs/)
  })

  it('a wrong uncompressed length is found, though header and index agree on it', async () => {
    const repository = await testRepository()
    const { masterKey, storage } = repository
    const content = Buffer.from('content')
    const { bytes, ...blob } = encodeBlob(masterKey, 2, 'data', idOf(content), content)
    const entry: PackedBlob = { ...blob, offset: 0, length: bytes.length, uncompressedLength: content.length + 1 }
    const header = seal(masterKey, encodePackHeader([entry]))
    const length = Buffer.alloc(4)
    length.writeUInt32LE(header.length)
    const pack = Buffer.concat([bytes, header, length])
    const id = hashId<PackId>(pack)
    await storage.write({ type: 'pack', id }, pack)
    await writeUnpacked(repository, 'index', encodeIndexFile([{ id, blobs: [entry] }]))
    assert.deepEqual(codes(await check(repository)), [])
    const findings = await check(repository, { readData: true })
    assert.deepEqual(codes(findings), ['error blob-damaged'])
    assert.match(findings[0]!.message, /has 7 bytes, expected 8/)
  })

  it('a pack in no index is a hint, one in the index without blobs is as good as in none', async () => {
    const { repository, data } = await sample()
    const id = hashId<PackId>(Buffer.from('left over'))
    await repository.storage.write({ type: 'pack', id }, Buffer.from('left over'))
    assert.deepEqual(codes(await check(repository, { readData: true })), ['hint pack-unindexed'])
    await replaceIndex(repository, (packs) => [...packs, { id, blobs: [] }])
    const findings = await check(repository, { readData: true })
    assert.deepEqual(codes(findings), ['hint pack-unindexed'])
    assert.equal(findings[0]!.facts.pack, id)
    await repository.storage.remove({ type: 'pack', id })
    assert.deepEqual(await check(repository, { readData: true }), [])
    assert.equal(data.length, 64)
  })

  it('a fault of the line is not taken for damage: a pack is read again', async () => {
    const { repository, data } = await sample()
    for (const effect of ['flip', 'short', 'fail'] as const) {
      // The trees are read first, blob by blob.
      const storage = withFaults(repository.storage, [{ on: 'read', type: 'pack', nth: 3, effect }])
      assert.deepEqual(await check(through(repository, storage), { readData: true }), [], effect)
      assert.deepEqual(storage.fired, [1])
    }
    assert.equal(data.length, 64)
  })

  it('a pack that the storage does not hand out is one finding, and the others are read', async () => {
    const { repository, data } = await sample()
    const storage: Storage = {
      ...repository.storage,
      async read(name, range, signal) {
        if (name.id === data) throw new EngineError('PERMISSION', 'not permitted')
        return repository.storage.read(name, range, signal)
      },
    }
    const findings = await check(through(repository, storage), { readData: true })
    assert.deepEqual(codes(findings), ['error pack-damaged'])
    assert.match(findings[0]!.message, /it cannot be read: not permitted$/)
  })
})

describe('a check with threads', () => {
  for (const place of ['on disk', 'in memory'] as const) {
    it(`finds what one without finds, in the same order, ${place}`, async () => {
      using folder = temporaryFolder()
      const storage = place === 'on disk' ? localStorage(`${folder.path}/repository`) : memoryStorage()
      const repository = await testRepository({ storage })
      const { packs } = await storeBlobs(repository, [
        ['data', 'one'],
        ['data', 'two'.repeat(1000)],
        ['tree', encodeTree([])],
      ])
      await storeBlobs(repository, [['data', Buffer.alloc(3_000_000, 'three')]])
      const both = async () => {
        const inline = await checkRepository(repository, { readData: true, threads: 0 })
        const threaded = await checkRepository(repository, { readData: true, threads: 2 })
        const { index: _, ...rest } = threaded
        const { index: __, ...expected } = inline
        assert.deepEqual(rest, expected)
        return threaded.findings
      }
      assert.deepEqual(await both(), [])
      for (const pack of packs) {
        const name = { type: 'pack', id: pack } as const
        const sound = await storage.read(name)
        for (const at of [0, 17, 40, sound.length - 40, sound.length - 1]) {
          await overwrite(storage, name, flipped(at)(Buffer.from(sound)))
          assert.ok((await both()).length > 0, `byte ${at}`)
        }
        await overwrite(storage, name, sound.subarray(0, -1))
        assert.ok((await both()).length > 0)
        await overwrite(storage, name, sound)
      }
      assert.deepEqual(await both(), [])
    })
  }

  it('finds the same when these were started before, which they are for a large local repository', async () => {
    using folder = temporaryFolder()
    const storage = localStorage(`${folder.path}/repository`)
    assert.equal(await startPackThreads(storage, undefined), undefined, 'there is none yet')
    const repository = await testRepository({ storage })
    const { packs } = await storeBlobs(repository, [['data', 'one']])
    assert.equal(await startPackThreads(storage, undefined), undefined, 'there is little to read')
    const unindexed = hashId<PackId>(Buffer.from('large'))
    const place = `${folder.path}/repository/data/${unindexed.slice(0, 2)}`
    mkdirSync(place, { recursive: true })
    writeFileSync(`${place}/${unindexed}`, '')
    truncateSync(`${place}/${unindexed}`, 64 * 1024 * 1024)
    assert.equal(await startPackThreads({ ...storage }, undefined), undefined, 'its files are not of this machine')
    await using threads = await startPackThreads(storage, undefined)
    assert.ok(threads)
    const found = async () => codes((await checkRepository(repository, { readData: true, threads })).findings)
    assert.deepEqual(await found(), ['hint pack-unindexed'])
    const name = { type: 'pack', id: packs[0]! } as const
    await overwrite(storage, name, flipped(17)(Buffer.from(await storage.read(name))))
    assert.deepEqual(await found(), ['hint pack-unindexed', 'error pack-damaged', 'error blob-damaged'])
  })
})

describe('damaged indexes', () => {
  it('an index file that cannot be read is named, and what it listed is missing', async () => {
    const { repository, data, snapshot } = await sample()
    for (const id of await namesOf(repository.storage, 'index')) {
      const [pack] = parseIndexFile(await readUnpacked(repository, 'index', id as IndexId), 2)
      if (pack!.id !== data) continue
      await alter(repository.storage, { type: 'index', id }, flipped(30))
      const findings = await check(repository)
      assert.deepEqual(codes(findings), [
        'error index-damaged',
        'hint pack-unindexed',
        'error blob-missing',
        'error blob-missing',
      ])
      assert.equal(findings[0]!.facts.file, `index/${id}`)
      assert.equal(findings[2]!.facts.path, '/app/config')
      assert.equal(findings[2]!.facts.snapshot, snapshot)
      assert.match(findings[3]!.message, /^\/app\/log of snapshot .{8}: 2 of its 2 data blobs are in no index$/)
    }
  })

  it('a pack that two index files list alike is a hint', async () => {
    const { repository } = await sample()
    await writeUnpacked(repository, 'index', encodeIndexFile((await readIndexes(repository)).toReversed()))
    const findings = await check(repository, { readData: true })
    assert.deepEqual(codes(findings), ['hint index-duplicate', 'hint index-duplicate'])
  })

  it('a pack that two index files list differently is an error, and what either names can be read', async () => {
    const { repository, data } = await sample()
    const fewer = (await readIndexes(repository)).map((pack) => ({ ...pack, blobs: pack.blobs.slice(0, 1) }))
    await writeUnpacked(repository, 'index', encodeIndexFile(fewer.filter(({ id }) => id === data)))
    const findings = await check(repository, { readData: true })
    assert.deepEqual(codes(findings), ['error index-contradicts'])
    assert.equal(findings[0]!.facts.pack, data)
  })

  it('data and trees in one pack are a hint', async () => {
    const repository = await testRepository()
    const { masterKey, storage } = repository
    const [data, tree] = (['data', 'tree'] as const).map((type) =>
      encodeBlob(masterKey, 2, type, idOf('{"nodes":[]}\n'), Buffer.from('{"nodes":[]}\n')),
    )
    const entries: PackedBlob[] = [
      { ...data!, offset: 0, length: data!.bytes.length },
      { ...tree!, offset: data!.bytes.length, length: tree!.bytes.length },
    ].map(({ type, id, offset, length, uncompressedLength }) => ({ type, id, offset, length, uncompressedLength }))
    const header = seal(masterKey, encodePackHeader(entries))
    const length = Buffer.alloc(4)
    length.writeUInt32LE(header.length)
    const pack = Buffer.concat([data!.bytes, tree!.bytes, header, length])
    const id = hashId<PackId>(pack)
    await storage.write({ type: 'pack', id }, pack)
    await writeUnpacked(repository, 'index', encodeIndexFile([{ id, blobs: entries }]))
    assert.deepEqual(codes(await check(repository, { readData: true })), ['hint pack-mixed'])
  })
})

describe('damaged snapshots and trees', () => {
  it('a snapshot that cannot be read is named', async () => {
    const { repository, snapshot } = await sample()
    await alter(repository.storage, { type: 'snapshot', id: snapshot }, flipped(40))
    const findings = await check(repository)
    assert.deepEqual(codes(findings), ['error snapshot-damaged'])
    assert.deepEqual(findings[0]!.facts, { snapshot, file: `snapshots/${snapshot}` })
  })

  it('a snapshot whose tree is nowhere is reported', async () => {
    const repository = await testRepository()
    await writeSnapshot(repository, snapshotOf(idOf('nowhere')))
    const findings = await check(repository)
    assert.deepEqual(codes(findings), ['error blob-missing'])
    assert.deepEqual(findings[0]!.facts.packs, [])
  })

  it('a tree that does not parse is reported with its path', async () => {
    const repository = await testRepository()
    const broken = '{"nodes":null}'
    const root = encodeTree([folder('app', idOf(broken))])
    await storeBlobs(repository, [
      ['tree', broken],
      ['tree', root],
    ])
    await writeSnapshot(repository, snapshotOf(idOf(root)))
    const findings = await check(repository)
    assert.deepEqual(codes(findings), ['error tree-damaged'])
    assert.equal(findings[0]!.facts.path, '/app/')
  })

  it('a tree that several snapshots share is reported once', async () => {
    const { repository, trees, root } = await sample()
    await writeSnapshot(repository, snapshotOf(root, { hostname: 'second' }))
    await alter(repository.storage, { type: 'pack', id: trees }, flipped(20))
    assert.deepEqual(codes(await check(repository)), ['error tree-damaged'])
  })

  it('the same bytes as data do not stand in for a tree, nor the reverse', async () => {
    const repository = await testRepository()
    const empty = '{"nodes":[]}\n'
    const tree = encodeTree([file('file', empty)])
    await storeBlobs(repository, [
      ['tree', empty],
      ['tree', tree],
    ])
    await writeSnapshot(repository, snapshotOf(idOf(tree)))
    assert.deepEqual(codes(await check(repository)), ['error blob-missing'])
  })

  const cases: readonly (readonly [what: string, nodes: readonly TreeNode[], message: RegExp])[] = [
    ['a file without a list of content', [node('f', {})], /a file without a list of content/],
    ['a folder without a tree', [folder('d', undefined)], /a folder without a tree/],
    ['a symbolic link to nothing', [node('l', { type: 'symlink' })], /a symbolic link to nothing/],
    ['a size that is not that of the content', [{ ...file('f', 'text'), size: 5 }], /has 4 bytes, its size says 5/],
    ['a name given twice', [file('f', 'text'), file('f', 'text')], /twice or out of order/],
    ['names out of order', [file('g', 'text'), file('f', 'text')], /twice or out of order/],
    ['a name with a slash', [file('../f', 'text')], /holds a slash/],
    ['the name ..', [file('..', 'text')], /"\." or "\.\."/],
    ['a name with a NUL byte', [file('a\0b', 'text')], /NUL/],
  ]
  for (const [what, nodes, message] of cases) {
    it(`${what} is reported`, async () => {
      const repository = await withNodes(nodes, ['text'])
      const findings = await check(repository)
      assert.deepEqual(codes(findings), ['error node-damaged'])
      assert.match(findings[0]!.message, message)
    })
  }

  it('everything that has no content may be without', async () => {
    const types = ['chardev', 'dev', 'fifo', 'socket'] as const
    const nodes = types.map((type) => node(type, { type, device: 1n }))
    const link = node('link', { type: 'symlink', linkTarget: Buffer.from('/anywhere') })
    assert.deepEqual(await check(await withNodes([...nodes.slice(0, 3), link, nodes[3]!])), [])
  })

  it('only the snapshots that are asked for are walked', async () => {
    const { repository, snapshot } = await sample()
    const broken = await writeSnapshot(repository, snapshotOf(idOf('nowhere')))
    assert.deepEqual(codes(await check(repository)), ['error blob-missing'])
    assert.deepEqual(await check(repository, { snapshots: [snapshot] }), [])
    assert.deepEqual(codes(await check(repository, { snapshots: [broken] })), ['error blob-missing'])
  })

  it('a snapshot that is asked for and not there is damage, not nothing to do', async () => {
    const { repository } = await sample()
    const absent = hashId<SnapshotId>(Buffer.from('absent'))
    assert.deepEqual(codes(await check(repository, { snapshots: [absent] })), ['error snapshot-damaged'])
  })
})

describe('damaged keys', () => {
  it('every key file that restic would stumble over is reported, and none beside', async () => {
    const { repository } = await sample()
    const { storage, keyId } = repository
    await addKey(repository, { password: Buffer.from('second'), kdf: { N: 2, r: 1, p: 1 } })
    assert.deepEqual(await check(repository), [])
    const good = await storage.read({ type: 'key', id: keyId })
    const hostile = Buffer.from(good.toString().replace('"N":2', '"N":1073741824'))
    const bad: readonly (readonly [KeyId, Buffer])[] = [
      [hashId<KeyId>(Buffer.from('elsewhere')), good],
      [hashId<KeyId>(hostile), hostile],
      [hashId<KeyId>(Buffer.from('no JSON')), Buffer.from('no JSON')],
    ]
    for (const [id, content] of bad) await storage.write({ type: 'key', id }, content)
    const findings = await check(repository)
    assert.deepEqual(codes(findings), Array(3).fill('error key-damaged'))
    assert.deepEqual(findings.map(({ facts }) => facts.file).sort(), bad.map(([id]) => `keys/${id}`).sort())
  })
})

describe('a check that cannot be carried out', () => {
  it('rejects when the storage cannot say what it holds', async () => {
    for (const type of ['key', 'snapshot', 'index', 'pack'] as const) {
      const { repository } = await sample()
      const storage = withFaults(repository.storage, [{ on: 'list', type, effect: 'fail' }])
      await assert.rejects(checkRepository(through(repository, storage)), { code: 'STORAGE' })
      assert.deepEqual(storage.fired, [1])
    }
  })

  it('rejects with the signal’s own reason, wherever it was, and reports no damage', async () => {
    const { repository } = await sample()
    let reads = 0
    const count: Storage = {
      ...repository.storage,
      async read(...args) {
        reads += 1
        return repository.storage.read(...args)
      },
    }
    await checkRepository(through(repository, count), { readData: true })
    const all = reads
    assert.ok(all >= 7)
    for (const code of ['INTERRUPTED', 'LOCKED'] as const) {
      for (let nth = 1; nth <= all; nth++) {
        const controller = new AbortController()
        const reason = new EngineError(code, 'stop')
        let seen = 0
        const storage: Storage = {
          ...repository.storage,
          async read(...args) {
            seen += 1
            if (seen === nth) controller.abort(reason)
            return repository.storage.read(...args)
          },
        }
        const findings: CheckFinding[] = []
        const checking = checkRepository(through(repository, storage), {
          readData: true,
          signal: controller.signal,
          onFinding: (finding) => findings.push(finding),
        })
        await assert.rejects(checking, (error) => error === reason, `read ${nth}`)
        assert.deepEqual(findings, [])
      }
    }
  })
})
