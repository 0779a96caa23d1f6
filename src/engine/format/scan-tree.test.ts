import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { tree } from '../../../test/equipment/arbitrary-tree.ts'
import { scanTree } from './scan-tree.ts'
import { encodeTree, parseTreeText } from './tree.ts'
import type { TreeNode } from './tree-node.ts'

/** Of the kind that nearly all trees consist of. */
const plainTree = tree.map((nodes): TreeNode[] =>
  nodes.map((node, i) => ({
    ...node,
    name: Buffer.from(`${i} name'~.ts`),
    user: i % 2 === 0 ? 'root' : '',
    group: ['users', '', 'www-data'][i % 3]!,
    linkTarget: node.linkTarget && Buffer.from('../to/it'),
    extendedAttributes: [],
  })),
)

test('a tree of plain nodes is read as by way of JSON', () => {
  fc.assert(
    fc.property(plainTree, (nodes) => {
      const bytes = encodeTree(nodes)
      assert.deepEqual(scanTree(bytes), nodes)
      assert.deepEqual(parseTreeText(bytes), nodes)
    }),
  )
})

test('any tree is read as by way of JSON, or not at all', () => {
  fc.assert(
    fc.property(tree, (nodes) => {
      const scanned = scanTree(encodeTree(nodes))
      if (scanned !== undefined) assert.deepEqual(scanned, nodes)
    }),
  )
})

test('whatever byte is altered, put in or left out, what is read is what JSON says, or nothing', () => {
  const byte = fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('{}[]",:\\ 0-9.Ztnull')))
  const change = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), byte, kind: fc.constantFrom(0, 1, 2) })
  let read = 0
  fc.assert(
    fc.property(plainTree, fc.array(change, { minLength: 1, maxLength: 3 }), (nodes, changes) => {
      let bytes = encodeTree(nodes)
      for (const { at, byte: value, kind } of changes) {
        const place = Math.floor(at * bytes.length)
        const rest = bytes.subarray(kind === 0 ? place : place + 1)
        bytes = Buffer.concat([bytes.subarray(0, place), ...(kind === 2 ? [] : [Buffer.of(value)]), rest])
      }
      const scanned = scanTree(bytes)
      if (scanned === undefined) return
      read++
      assert.deepEqual(scanned, parseTreeText(bytes))
    }),
    { numRuns: 3000 },
  )
  assert.ok(read > 50, `only ${read} of the altered trees were read at all`)
})

test('numbers, times and lists at their limits are read as by way of JSON, or left to it', () => {
  const [only] = JSON.parse(
    encodeTree([
      {
        name: Buffer.from('a'),
        type: 'file',
        mode: 420,
        mtime: { ns: 0n, offset: 0 },
        atime: { ns: 0n, offset: 0 },
        ctime: { ns: 0n, offset: 0 },
        uid: 1,
        gid: 2,
        user: '',
        group: '',
        inode: 3n,
        deviceId: 4n,
        size: 5,
        links: 6,
        linkTarget: undefined,
        extendedAttributes: [],
        genericAttributes: undefined,
        device: 0n,
        content: [],
        subtree: undefined,
      },
    ]).toString(),
  ).nodes
  const written = (text: string) => Buffer.from(`{"nodes":[${text}]}\n`)
  const node = JSON.stringify(only)
  assert.ok(scanTree(written(node)))
  const variants = [
    ['"size":5', '"size":9007199254740991', true],
    ['"size":5', '"size":9007199254740992', false],
    ['"size":5', '"size":05', false],
    ['"size":5', '"size":-5', false],
    ['"size":5', '"size":5.0', false],
    ['"size":5', '"size":99999999999999999999', false],
    ['"uid":1', '"uid":4294967295', true],
    ['"uid":1', '"uid":4294967296', false],
    ['"content":[]', '"content":[""]', false],
    ['"content":[]', `"content":["${'A'.repeat(64)}"]`, false],
    ['"content":[]', `"content":["${'a'.repeat(64)}",]`, false],
    ['"content":[]', `"content":null,"subtree":"${'a'.repeat(64)}"`, true],
    ['"content":[]', '"content":null,"subtree":null', false],
    ['"mtime":"1970-01-01T00:00:00Z"', '"mtime":"1970-01-01T00:00:00.120Z"', false],
    ['"mtime":"1970-01-01T00:00:00Z"', '"mtime":"1970-01-01T00:00:00.000000001-00:30"', true],
    ['"mtime":"1970-01-01T00:00:00Z"', '"mtime":"1970-01-01T00:00:00+00:00"', false],
    ['"mtime":"1970-01-01T00:00:00Z"', '"mtime":"1969-02-29T00:00:00Z"', false],
    ['"mtime":"1970-01-01T00:00:00Z"', '"mtime":"1968-02-29T23:59:59+23:59"', true],
    ['"mtime":"1970-01-01T00:00:00Z"', '"mtime":null', false],
    ['"name":"a"', '"name":"a","name":"b"', false],
    ['"name":"a"', '"name":""', false],
    ['"name":"a"', '"name":"\\u0061"', false],
    ['"type":"file"', '"type":"dev"', false],
    ['}', ',"unknown":1}', false],
  ] as const
  for (const [from, to, isRead] of variants) {
    const bytes = written(node.replace(from, to))
    assert.notEqual(node.replace(from, to), node, from)
    const scanned = scanTree(bytes)
    assert.equal(scanned !== undefined, isRead, to)
    if (scanned) assert.deepEqual(scanned, parseTreeText(bytes), to)
  }
  assert.equal(scanTree(Buffer.from('{"nodes":[]}\n'))?.length, 0)
  for (const wrong of [
    '',
    '{"nodes":[]}',
    '{"nodes":[]}\n\n',
    '{"nodes":[,]}\n',
    '{"nodes":null}\n',
    `{"nodes":[${node},]}\n`,
  ]) {
    assert.equal(scanTree(Buffer.from(wrong)), undefined, wrong)
  }
})
