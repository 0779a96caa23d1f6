import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { name, node, tree } from '../../../test/equipment/arbitrary-tree.ts'
import { factsOf } from '../../../test/equipment/node-facts-of.ts'
import { EngineError } from '../error.ts'
import { idAt } from './id.ts'
import { encodeNode, encodeTree, joinNodes, parseTree } from './tree.ts'
import { TreeCursor } from './tree-cursor.ts'
import type { TreeNode } from './tree-node.ts'

const key = (one: TreeNode) => one.name.toString('latin1')
const always = () => true

test('a node that was written for the same facts fits, with its bytes, and every other node is found beside it', () => {
  fc.assert(
    fc.property(tree, (nodes) => {
      const encoded = encodeTree(nodes)
      const cursor = new TreeCursor(encoded)
      for (const one of nodes) {
        assert.ok(cursor.seek(key(one)))
        const fitting = cursor.fitting(key(one), factsOf(one), always)
        assert.ok(fitting, encodeNode(one).toString())
        assert.deepEqual(encoded.subarray(fitting.start, fitting.end), encodeNode(one))
        assert.equal(fitting.subtree, one.subtree)
        assert.deepEqual(cursor.node(key(one)), one)
      }
    }),
    { numRuns: 300 },
  )
})

test('a node fits exactly when encoding the facts with its content gives its bytes', () => {
  fc.assert(
    fc.property(
      node,
      node,
      fc.constantFrom('mode', 'mtime', 'ctime', 'uid', 'user', 'inode', 'size', 'links', 'all'),
      (a, b, what) => {
        // The facts are those of `a`, in one respect those of `b`.
        const mixed =
          what === 'all' || b.type !== a.type ? { ...b, name: a.name } : { ...a, [what]: b[what as keyof TreeNode] }
        if (what === 'mtime') Object.assign(mixed, { atime: mixed.mtime })
        const cursor = new TreeCursor(encodeTree([a]))
        assert.ok(cursor.seek(key(a)))
        const asWritten = encodeNode({ ...mixed, content: a.content, subtree: a.subtree })
        const isSame = mixed.type === a.type && asWritten.equals(encodeNode(a))
        assert.equal(cursor.fitting(key(a), factsOf(mixed), always) !== undefined, isSame)
      },
    ),
    { numRuns: 500 },
  )
})

test('what fits with flipped bytes is still what would be encoded, and nothing but CORRUPT is thrown', () => {
  fc.assert(
    fc.property(
      tree.filter((nodes) => nodes.length > 0),
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 3 }),
      (nodes, flips) => {
        const damaged = encodeTree(nodes)
        for (const [at, bits] of flips) damaged[at % damaged.length]! ^= bits
        try {
          const cursor = new TreeCursor(damaged)
          for (const one of nodes) {
            if (!cursor.seek(key(one))) continue
            const fitting = cursor.fitting(key(one), factsOf(one), always)
            const found = cursor.node(key(one))
            if (fitting === undefined || found === undefined) continue
            const { content, subtree } = found
            assert.deepEqual(damaged.subarray(fitting.start, fitting.end), encodeNode({ ...one, content, subtree }))
          }
        } catch (error) {
          assert.ok(error instanceof EngineError && error.code === 'CORRUPT', String(error))
        }
      },
    ),
    { numRuns: 1000 },
  )
})

test('a file does not fit when one of its blobs is not stored', () => {
  const [one] = fc.sample(
    node.filter(({ content }) => content !== undefined && content.length > 1),
    1,
  )
  const cursor = new TreeCursor(encodeTree([one!]))
  assert.ok(cursor.seek(key(one!)))
  assert.equal(
    cursor.fitting(key(one!), factsOf(one!), (text, at) => idAt(text, at) !== one!.content!.at(-1)),
    undefined,
  )
})

test('names that are not there are not found, those after them are', () => {
  fc.assert(
    fc.property(tree, fc.uniqueArray(name, { maxLength: 6 }), (nodes, others) => {
      const cursor = new TreeCursor(encodeTree(nodes))
      const wanted = [...new Set([...nodes.map(key), ...others.map((other) => other.toString('latin1'))])].sort()
      for (const one of wanted)
        assert.equal(
          cursor.seek(one),
          nodes.some((known) => key(known) === one),
        )
    }),
  )
})

test('trees of other writers are read, and nothing in them fits', () => {
  const [one] = fc.sample(node, 1)
  const usual = encodeTree([one!]).toString()
  const variants = [
    usual.replace('{"nodes":[', '{ "nodes":['),
    usual.replace(']}\n', ']}'),
    usual.replace(',"uid":', ', "uid":'),
    usual.replace('{"name"', '{"future":[{"]":1}],"name"'),
    usual.replace(/\}\]\}\n$/, ',"unknown":true}]}\n'),
  ]
  for (const variant of variants) {
    const cursor = new TreeCursor(Buffer.from(variant))
    assert.ok(cursor.seek(key(one!)), variant)
    assert.equal(cursor.fitting(key(one!), factsOf(one!), always), undefined, variant)
    assert.deepEqual(cursor.node(key(one!)), one)
  }
})

test('nodes that are joined make the tree that encoding them makes', () => {
  fc.assert(
    fc.property(tree, (nodes) => {
      const joined = joinNodes(
        nodes.map(encodeNode).map((bytes) => ({ length: bytes.length, copyTo: (to, at) => to.set(bytes, at) })),
      )
      assert.deepEqual(joined, encodeTree(nodes))
      assert.equal(parseTree(joined).length, nodes.length)
    }),
  )
})
