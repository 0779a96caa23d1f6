import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { EngineError } from '../error.ts'
import { type BlobId, hashId } from './id.ts'
import { goMode } from './mode.ts'
import { olderThan, ResticRepository, withoutRestic } from './restic.test-oracle.ts'
import { parseSnapshot } from './snapshot.ts'
import { localTimestamp, UNSET_TIME } from './timestamp.ts'
import { encodeTree, parseLargeTree, parseTree } from './tree.ts'
import type { NodeType, TreeNode } from './tree-node.ts'

const ID = 'c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2' as BlobId

const file: TreeNode = {
  name: Buffer.from('file'),
  type: 'file',
  mode: 0o644,
  mtime: { ns: 1_700_000_000_123_456_789n, offset: 60 },
  atime: { ns: 1_700_000_000_000_000_000n, offset: 60 },
  ctime: { ns: 1_700_000_001_500_000_000n, offset: 60 },
  uid: 0,
  gid: 0,
  user: 'root',
  group: 'root',
  inode: 2n ** 64n - 1n,
  deviceId: 64_513n,
  size: 6,
  links: 1,
  linkTarget: undefined,
  extendedAttributes: [],
  genericAttributes: undefined,
  device: 0n,
  content: [ID],
  subtree: undefined,
}

const FILE_JSON =
  '{"name":"file","type":"file","mode":420,"mtime":"2023-11-14T23:13:20.123456789+01:00","atime":"2023-11-14T23:13:20+01:00",' +
  '"ctime":"2023-11-14T23:13:21.5+01:00","uid":0,"gid":0,"user":"root","group":"root","inode":18446744073709551615,' +
  `"device_id":64513,"size":6,"links":1,"content":["${ID}"]}`

const PLAIN = { noNullPrototype: true }
const time = fc.record(
  {
    ns: fc.bigInt({ min: -62_000_000_000n * 10n ** 9n, max: 253_000_000_000n * 10n ** 9n }),
    offset: fc.integer({ min: -900, max: 900 }),
  },
  PLAIN,
)
const uint32 = fc.integer({ min: 0, max: 0xffff_ffff })
const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
const bytes = (minLength: number) => fc.uint8Array({ minLength, maxLength: 40 }).map((array) => Buffer.from(array))
const text = fc.string({ unit: 'grapheme' })
const id = bytes(1).map((seed) => hashId<BlobId>(seed))
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 })
const genericAttributes = fc.constantFrom(
  '{"windows.file_attributes":32}',
  '{"windows.security_descriptor":"AQ==","x":{"y": [1.50,"}]"]}}',
)

const node: fc.Arbitrary<TreeNode> = fc.record(
  {
    name: bytes(1),
    type: fc.constantFrom<NodeType>('file', 'dir', 'symlink', 'dev', 'chardev', 'fifo', 'socket'),
    mode: uint32,
    mtime: time,
    atime: time,
    ctime: time,
    uid: uint32,
    gid: uint32,
    user: text,
    group: text,
    inode: uint64,
    deviceId: uint64,
    size: fc.maxSafeNat(),
    links: fc.maxSafeNat(),
    linkTarget: maybe(bytes(1)),
    extendedAttributes: fc.array(fc.record({ name: text, value: bytes(0) }, PLAIN), { maxLength: 3 }),
    genericAttributes: maybe(genericAttributes),
    device: uint64,
    content: maybe(fc.array(id, { maxLength: 3 })),
    subtree: maybe(id),
  },
  PLAIN,
)

const byName = (a: TreeNode, b: TreeNode) => Buffer.compare(a.name, b.name)
const tree = fc
  .uniqueArray(node, { selector: ({ name }) => name.toString('hex'), maxLength: 8 })
  .map((nodes): readonly TreeNode[] => nodes.sort(byName))

const parse = (json: string) => parseTree(Buffer.from(json))
const corruptAt = (where: string) => (error: unknown) =>
  error instanceof EngineError && error.code === 'CORRUPT' && error.facts.what === 'tree' && error.facts.where === where
const inTree = (node: string) => `{"nodes":[${node}]}\n`

test('an empty directory is the blob that restic stores for it', () => {
  const encoded = encodeTree([])
  assert.equal(encoded.toString(), '{"nodes":[]}\n')
  assert.equal(hashId(encoded), 'ac08ce34ba4f8123618661bef2425f7028ffb9ac740578a3ee88684d2523fee8')
  assert.deepEqual(parseTree(encoded), [])
})

test('a node is written with its keys in order, zeros left out', () => {
  assert.equal(encodeTree([file]).toString(), inTree(FILE_JSON))
  assert.deepEqual(parse(inTree(FILE_JSON)), [file])
})

test('every tree reads as it was written', () => {
  fc.assert(fc.property(tree, (nodes) => assert.deepEqual(parseTree(encodeTree(nodes)), nodes)))
})

test('a tree read in batches is the tree read at once', () => {
  fc.assert(
    fc.property(tree, fc.integer({ min: 1, max: 2000 }), (nodes, batch) => {
      assert.deepEqual(parseLargeTree(encodeTree(nodes), batch), nodes)
    }),
  )
})

test('a damaged tree read in batches is CORRUPT, with the place of the node in the whole tree', () => {
  const named = (name: string) => ({ ...file, name: Buffer.from(name) })
  const encoded = encodeTree([named('a'), named('b'), named('c')]).toString()
  const inThird = encoded.replace('"name":"c","type":"file"', '"name":"c","type":"flie"')
  assert.throws(() => parseLargeTree(Buffer.from(inThird), 100), corruptAt('nodes[2].type'))
  for (const damaged of [
    encoded.slice(0, -3),
    ` ${encoded}`,
    encoded.replace('},{', '}{'),
    encoded.replace(']}\n', '],"x":[]}\n'),
  ]) {
    assert.throws(() => parseLargeTree(Buffer.from(damaged), 100), { name: 'EngineError', code: 'CORRUPT' })
  }
})

test('names out of order, twice or empty are not encoded', () => {
  const named = (...names: string[]) => names.map((name) => ({ ...file, name: Buffer.from(name) }))
  for (const names of [['b', 'a'], ['a', 'a'], ['a', 'b', 'a'], [''], ['\u{1f600}', '\uff00']]) {
    assert.throws(() => encodeTree(named(...names)), RangeError)
  }
  // UTF-16 has these the other way round.
  assert.equal(parseTree(encodeTree(named('\uff00', '\u{1f600}'))).length, 2)
})

test('a tree with more text than is put together at once is one blob', () => {
  const nodes = Array.from({ length: 5000 }, (_, index) => ({
    ...file,
    name: Buffer.from(`file ${String(index).padStart(5, '0')}`),
  }))
  const encoded = encodeTree(nodes)
  assert.ok(encoded.length > 1 << 20)
  assert.deepEqual(parseTree(encoded), nodes)
})

test('what is missing or null is empty, as for restic', () => {
  const [read] = parse(
    inTree('{"name":"x","type":"dir","mtime":null,"user":null,"extended_attributes":null,"generic_attributes":{}}'),
  )
  const { name, type, ...rest } = read!
  assert.deepEqual([name.toString(), type], ['x', 'dir'])
  assert.deepEqual(rest, {
    mode: 0,
    mtime: UNSET_TIME,
    atime: UNSET_TIME,
    ctime: UNSET_TIME,
    uid: 0,
    gid: 0,
    user: '',
    group: '',
    inode: 0n,
    deviceId: 0n,
    size: 0,
    links: 0,
    linkTarget: undefined,
    extendedAttributes: [],
    genericAttributes: undefined,
    device: 0n,
    content: undefined,
    subtree: undefined,
  })
})

test('what other programs write differently is read: other keys, white space, upper case in IDs, attributes without value', () => {
  const [read] = parse(
    ` { "label": [1], "nodes" : [ {"NAME":"y", "type":"file", "name":"x", "content":["${ID.toUpperCase()}"], "error":"",
      "extended_attributes": [{"name":"user.a","value":null}], "generic_attributes": {"a": 1.0} } ] }`,
  )
  assert.equal(read!.name.toString(), 'x')
  assert.deepEqual(read!.content, [ID])
  assert.deepEqual(read!.extendedAttributes, [{ name: 'user.a', value: Buffer.alloc(0) }])
  assert.equal(read!.genericAttributes, '{"a": 1.0}')
})

test('the raw target of a link overrides the readable one', () => {
  const [read] = parse(inTree('{"name":"x","type":"symlink","linktarget":"\\ufffda","linktarget_raw":"/2E="}'))
  assert.deepEqual(read!.linkTarget, Buffer.from('ff61', 'hex'))
})

test('names that no file can have are read; it is not for the parser to judge them', () => {
  for (const name of ['.', '..', 'a/b', '\\x00'])
    assert.equal(parse(inTree(`{"name":${JSON.stringify(name)},"type":"file"}`)).length, 1)
})

for (const [what, where, json] of [
  ['no object', 'the whole', '[]'],
  ['no list of nodes', 'nodes', '{}'],
  ['null for a list of nodes', 'nodes', '{"nodes":null}'],
  ['a node that is none', 'nodes[1]', inTree('{"name":"x","type":"file"},5')],
  ['no name', 'nodes[0].name', inTree('{"type":"file"}')],
  ['an empty name', 'nodes[0].name', inTree('{"name":"","type":"file"}')],
  ['a name that is not quoted', 'nodes[0].name', inTree('{"name":"\\"","type":"file"}')],
  ['no type', 'nodes[0].type', inTree('{"name":"x"}')],
  ['an unknown type', 'nodes[0].type', inTree('{"name":"x","type":"irregular"}')],
  ['the name of a method for a type', 'nodes[0].type', inTree('{"name":"x","type":"constructor"}')],
  ['a negative mode', 'nodes[0].mode', inTree('{"name":"x","type":"file","mode":-1}')],
  ['minus zero', 'nodes[0].mode', inTree('{"name":"x","type":"file","mode":-0}')],
  ['a mode of 33 bits', 'nodes[0].mode', inTree('{"name":"x","type":"file","mode":4294967296}')],
  ['a user ID as text', 'nodes[0].uid', inTree('{"name":"x","type":"file","uid":"0"}')],
  ['a user ID with a point', 'nodes[0].uid', inTree('{"name":"x","type":"file","uid":1.0}')],
  ['a size with an exponent', 'nodes[0].size', inTree('{"name":"x","type":"file","size":1e3}')],
  ['a size beyond what can be counted', 'nodes[0].size', inTree('{"name":"x","type":"file","size":9007199254740993}')],
  ['an inode of 65 bits', 'nodes[0].inode', inTree('{"name":"x","type":"file","inode":18446744073709551616}')],
  ['a time that is none', 'nodes[0].mtime', inTree('{"name":"x","type":"file","mtime":"yesterday"}')],
  ['an empty time', 'nodes[0].atime', inTree('{"name":"x","type":"file","atime":""}')],
  ['a number for a time', 'nodes[0].ctime', inTree('{"name":"x","type":"file","ctime":0}')],
  ['content that is no list', 'nodes[0].content', inTree(`{"name":"x","type":"file","content":"${ID}"}`)],
  ['content without an ID', 'nodes[0].content', inTree('{"name":"x","type":"file","content":[null]}')],
  ['a short ID', 'nodes[0].subtree', inTree('{"name":"x","type":"dir","subtree":"abc"}')],
  ['base64 without padding', 'nodes[0].linktarget_raw', inTree('{"name":"x","type":"symlink","linktarget_raw":"/2E"}')],
  [
    'base64 of the URL alphabet',
    'nodes[0].extended_attributes[0].value',
    inTree('{"name":"x","type":"file","extended_attributes":[{"value":"_2E="}]}'),
  ],
  [
    'an extended attribute that is none',
    'nodes[0].extended_attributes[0]',
    inTree('{"name":"x","type":"file","extended_attributes":["a"]}'),
  ],
  [
    'a list of generic attributes',
    'nodes[0].generic_attributes',
    inTree('{"name":"x","type":"file","generic_attributes":[]}'),
  ],
] as const) {
  test(`${what} is CORRUPT at ${where}`, () => {
    assert.throws(() => parse(json), corruptAt(where))
  })
}

test('a tree with flipped bytes is either read or CORRUPT', () => {
  const flips = fc.array(
    fc.record({ at: fc.nat(), byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('{}[]",:\\019e-'))) }),
    {
      minLength: 1,
      maxLength: 4,
    },
  )
  fc.assert(
    fc.property(tree, flips, fc.boolean(), (nodes, flips, inBatches) => {
      const damaged = encodeTree(nodes)
      for (const { at, byte } of flips) damaged[at % damaged.length] = byte
      try {
        if (inBatches) parseLargeTree(damaged, 500)
        else parseTree(damaged)
      } catch (error) {
        assert.ok(error instanceof EngineError && error.code === 'CORRUPT', String(error))
      }
    }),
    { numRuns: 500 },
  )
})

describe('a folder of odd nodes that restic has backed up', { skip: withoutRestic || olderThan('0.19') }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-odd-'))
  const odd = join(folder, 'odd')
  let repository: ResticRepository
  const { TZ } = process.env

  before(async () => {
    repository = await ResticRepository.make()
    makeOddNodes(odd)
  })

  after(() => {
    repository?.[Symbol.dispose]()
    rmSync(folder, { recursive: true, force: true })
    if (TZ === undefined) delete process.env.TZ
    else process.env.TZ = TZ
  })

  for (const zone of ['UTC', 'Europe/London', 'Asia/Kolkata', 'America/St_Johns']) {
    test(`gives the same tree of its nodes in ${zone}, and of that tree read and written`, () => {
      repository.run(['backup', '--force', '--host', zone, 'odd'], { cwd: folder, timeZone: zone })
      const snapshots = [...repository.unpackedFiles('snapshots').values()].map(parseSnapshot)
      const { tree } = snapshots.find(({ hostname }) => hostname === zone)!
      const root = repository.run(['cat', 'blob', tree])
      const [{ subtree }] = parseTree(root) as [TreeNode]
      const blob = repository.run(['cat', 'blob', subtree!])
      assert.deepEqual(encodeTree(parseTree(root)), root)
      assert.equal(encodeTree(parseTree(blob)).toString(), blob.toString())

      process.env.TZ = zone
      assert.equal(encodeTree(nodesOf(odd, parseTree(blob))).toString(), blob.toString())
      assert.equal(hashId(blob), subtree)
    })
  }
})

const isRoot = process.getuid?.() === 0

function makeOddNodes(folder: string): void {
  mkdirSync(folder)
  const at = (name: string | Buffer) => Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name)])
  const names = [
    'plain',
    'with space',
    '"quotes" \\ \'and\' `ticks`',
    '<html>&amp;',
    'line\nfeed\ttab\rreturn\x07\b\f\v\x01\x1b\x7f',
    'umlaut äöü, \u{1f600}, \uff00, \ufffd',
    'not printable \u00a0\u00ad\u200b\u2028\u2029\u3000\ufeff\ue000\u{e0001}\u{10ffff}',
    'newer than Unicode 15.0 \u1c89\u{1fae9}\u{2ebf0}',
    '-dash',
    '.hidden',
    Buffer.from('ff61c3a409eda080f09f98c0af', 'hex'),
    Buffer.from('c3', 'hex'),
  ]
  for (const [index, name] of names.entries()) writeFileSync(at(name), 'x'.repeat(index))

  for (const [index, target] of [
    'plain',
    '/etc/<passwd>&',
    'ä\n"\\\u2028',
    Buffer.from('2fff61e28261c3', 'hex'),
    'x'.repeat(200),
  ].entries()) {
    symlinkSync(Buffer.from(target), at(`link ${index}`))
  }
  linkSync(at('plain'), at('second name'))
  for (const [index, mode] of [0o4755, 0o2755, 0o1777, 0o7777, 0o000].entries()) {
    writeFileSync(at(`mode ${index}`), '')
    chmodSync(at(`mode ${index}`), mode)
  }
  mkdirSync(at('empty'))
  mkdirSync(at('sticky'))
  chmodSync(at('sticky'), 0o1777)
  command('mkfifo', [join(folder, 'pipe')])

  const times = [
    '0',
    '-0.000000001',
    '-86400.5',
    '1709251200.1',
    '1720000000.12',
    '1700000000.000000001',
    '1730000000.999999999',
    '2147483648',
    '4102444800',
  ]
  for (const [index, time] of times.entries()) {
    writeFileSync(at(`time ${index}`), '')
    command('touch', ['-d', `@${time}`, join(folder, `time ${index}`)])
  }
  // Where the file system has no such attributes, the others of these nodes are compared all the same.
  for (const [name, value] of [
    ['user.z', '0x00ff22'],
    ['user.<a>&ä', '"text"'],
    ['user.empty', ''],
  ] as const) {
    spawnSync('setfattr', ['-n', name, '-v', value, join(folder, 'plain')])
  }
  if (!isRoot) return
  chownSync(at('mode 0'), 54_321, 54_322)
  command('mknod', ['-m', '640', join(folder, 'block'), 'b', '259', '70000'])
  command('mknod', ['-m', '640', join(folder, 'character'), 'c', '1', '3'])
}

function command(name: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(name, args)
  assert.equal(status, 0, `${name} ${args.join(' ')}: ${stderr}`)
}

/** The nodes of a folder as lstat(2) tells them; what it does not tell comes from the tree that restic has stored. */
function nodesOf(folder: string, stored: readonly TreeNode[]): TreeNode[] {
  const users = accounts('/etc/passwd')
  const groups = accounts('/etc/group')
  const names = readdirSync(folder, { encoding: 'buffer' }).sort(Buffer.compare)
  return names.map((name): TreeNode => {
    const path = Buffer.concat([Buffer.from(`${folder}/`), name])
    const stat = lstatSync(path, { bigint: true })
    const type = stat.isFile()
      ? 'file'
      : stat.isDirectory()
        ? 'dir'
        : stat.isSymbolicLink()
          ? 'symlink'
          : stat.isFIFO()
            ? 'fifo'
            : stat.isBlockDevice()
              ? 'dev'
              : 'chardev'
    const mtime = localTimestamp(stat.mtimeNs)
    const { extendedAttributes = [], subtree } = stored.find((node) => node.name.equals(name)) ?? {}
    const content = stat.size === 0n || type !== 'file' ? [] : [hashId<BlobId>(readFileSync(path))]
    return {
      name,
      type,
      mode: goMode(Number(stat.mode)),
      mtime,
      atime: mtime,
      ctime: localTimestamp(stat.ctimeNs),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      user: users.get(Number(stat.uid)) ?? '',
      group: groups.get(Number(stat.gid)) ?? '',
      inode: stat.ino,
      deviceId: stat.dev,
      size: type === 'file' ? Number(stat.size) : 0,
      links: type === 'dir' || type === 'fifo' ? 0 : Number(stat.nlink),
      linkTarget: type === 'symlink' ? readlinkSync(path, { encoding: 'buffer' }) : undefined,
      extendedAttributes,
      genericAttributes: undefined,
      device: type === 'dev' || type === 'chardev' ? stat.rdev : 0n,
      content: type === 'file' ? content : undefined,
      subtree,
    }
  })
}

function accounts(database: string): Map<number, string> {
  const lines = readFileSync(database, 'utf8').split('\n')
  return new Map(lines.map((line) => line.split(':')).map(([name = '', , id]) => [Number(id), name]))
}
