import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { node } from '../../../test/equipment/arbitrary-tree.ts'
import { factsOf } from '../../../test/equipment/node-facts-of.ts'
import { encodeNode } from './tree.ts'
import type { TreeNode } from './tree-node.ts'
import { type Content, nodeRoom, writeNode } from './write-node.ts'

function contentOf({ content, subtree }: TreeNode): Content {
  return content === undefined ? subtree : Buffer.from(content.join(''), 'hex')
}

function written(one: TreeNode, from = 0): Buffer {
  const facts = factsOf(one)
  const content = contentOf(one)
  const room = nodeRoom(one.name, facts, content)
  const into = Buffer.alloc(from + room + 1, 0xa5)
  const end = writeNode(into, from, one.name, facts, content)
  assert.ok(end <= from + room, `${end - from} bytes in a room of ${room}`)
  assert.ok(into.subarray(end).every((byte) => byte === 0xa5))
  return into.subarray(from, end)
}

test('a node is written as it is encoded, whatever its name, times, numbers, owner, attributes and content', () => {
  fc.assert(
    fc.property(node, fc.nat(50), (one, from) => {
      assert.equal(written(one, from).toString('latin1'), encodeNode(one).toString('latin1'))
    }),
    { numRuns: 2000 },
  )
})

test('times of any year, of any fraction and zone, one after the other, are written as they are encoded', () => {
  const [first] = fc.sample(
    node.filter(({ type }) => type === 'file'),
    1,
  )
  const anyTime = fc.record({
    ns: fc.oneof(
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      fc.bigInt({ min: -70_000_000_000n, max: 260_000_000_000n }).map((seconds) => seconds * 1_000_000_000n),
      fc.bigInt({ min: 0n, max: 4n * 86_400n }).map((seconds) => seconds * 1_000_000_000n + 120_000_000n),
    ),
    offset: fc.oneof(fc.constantFrom(0, 60, -210, 845), fc.integer({ min: -1439, max: 1439 })),
  })
  fc.assert(
    fc.property(anyTime, anyTime, (mtime, ctime) => {
      const one = { ...first!, mtime, atime: mtime, ctime }
      assert.equal(written(one).toString('latin1'), encodeNode(one).toString('latin1'))
    }),
    { numRuns: 5000 },
  )
})

test('the longest of everything fits the room', () => {
  const [first] = fc.sample(
    node.filter(({ type }) => type === 'file'),
    1,
  )
  const offset = -1439
  const longest = { ns: -61_999_999_999_000_000_001n, offset }
  for (const byte of [0x3c, 0xff, 0x01, 0x22, 0x61]) {
    const one: TreeNode = {
      ...first!,
      name: Buffer.alloc(255, byte),
      mode: 2 ** 32 - 1,
      mtime: longest,
      atime: longest,
      ctime: longest,
      uid: 2 ** 32 - 1,
      gid: 2 ** 32 - 1,
      inode: 2n ** 53n - 1n,
      deviceId: 2n ** 53n - 1n,
      size: 2 ** 53 - 1,
      links: 2 ** 32 - 1,
    }
    assert.equal(written(one).toString('latin1'), encodeNode(one).toString('latin1'))
  }
})
