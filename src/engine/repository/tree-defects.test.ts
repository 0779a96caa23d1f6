import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { node } from '../../../test/equipment/arbitrary-tree.ts'
import { type BlobId, idAt } from '../format/id.ts'
import { encodeNode, joinNodes, parseTreeText } from '../format/tree.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { nodeDefects, scanSoundTree } from './tree-defects.ts'

/** Every eighth blob is in no index. */
function lengthOf(id: BlobId): number | undefined {
  const digit = Number.parseInt(id[0]!, 16)
  return digit % 8 === 7 ? undefined : digit * 1000
}
const scan = (bytes: Buffer) => scanSoundTree(bytes, (text, at) => lengthOf(idAt(text, at)))

function lengthOfContent(content: readonly BlobId[]): number {
  return content.reduce((sum, id) => sum + (lengthOf(id) ?? 0), 0)
}

/** Written without anything that is escaped, most of them without a defect, some with each. */
const plainNode = fc
  .record({
    node,
    name: fc.oneof(
      { weight: 20, arbitrary: fc.constantFrom('a', 'ab', 'b c', "d'~.ts", '.e', '..f', '...') },
      fc.constantFrom('.', '..', 'a/b'),
    ),
    wrong: fc.oneof({ weight: 20, arbitrary: fc.constant('nothing') }, fc.constantFrom('size', 'content', 'more')),
  })
  .map(({ node: facts, name, wrong }): TreeNode => {
    const { content } = facts
    const fitting = content && lengthOfContent(content)
    return {
      ...facts,
      name: Buffer.from(name),
      user: facts.user === 'root' ? 'root' : '',
      group: '',
      size: wrong === 'size' ? 12_345 : (fitting ?? facts.size),
      linkTarget: wrong === 'content' ? undefined : facts.linkTarget && Buffer.from('../to/it'),
      extendedAttributes: [],
      content: wrong === 'content' ? undefined : wrong === 'more' ? [] : content,
      subtree: wrong === 'content' ? undefined : facts.subtree,
    }
  })

const plainNodes = fc
  .record({ nodes: fc.array(plainNode, { maxLength: 4 }), isSorted: fc.boolean() })
  .map(({ nodes, isSorted }) => (isSorted ? nodes.sort((a, b) => Buffer.compare(a.name, b.name)) : nodes))

function written(nodes: readonly TreeNode[]): Buffer {
  return joinNodes(
    nodes.map(encodeNode).map((bytes) => ({ length: bytes.length, copyTo: (tree, at) => void bytes.copy(tree, at) })),
  )
}

function defectsOf(nodes: readonly TreeNode[]): string[] {
  return nodes.flatMap((each, i) => [...nodeDefects(each, nodes[i - 1], lengthOf)].map(({ found }) => found))
}

function foldersOf(nodes: readonly TreeNode[]) {
  return nodes.flatMap(({ type, name, subtree }) => (type === 'dir' ? [{ name: name.toString(), subtree }] : []))
}

test('a plain tree is called sound when none of its nodes has a defect, and only then', () => {
  const seen = new Map<string, number>()
  fc.assert(
    fc.property(plainNodes, (nodes) => {
      const defects = defectsOf(nodes)
      for (const found of defects.length > 0 ? defects : ['']) {
        const kind = found.replaceAll(/\d+/g, 'n')
        seen.set(kind, (seen.get(kind) ?? 0) + 1)
      }
      assert.deepEqual(scan(written(nodes)), defects.length > 0 ? undefined : { folders: foldersOf(nodes) })
    }),
    { numRuns: 3000 },
  )
  // Sound ones, and eight kinds of defects.
  const kinds = [...seen.keys()].sort()
  assert.equal(kinds.length, 9, kinds.join('\n'))
})

test('whatever byte is altered, put in or left out, only what JSON reads as a sound tree is called one', () => {
  const byte = fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('{}[]",:\\/ 0-9.Ztnull')))
  const change = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), byte, kind: fc.constantFrom(0, 1, 2) })
  let sound = 0
  fc.assert(
    fc.property(plainNodes, fc.array(change, { minLength: 1, maxLength: 3 }), (nodes, changes) => {
      let bytes = written(nodes)
      for (const { at, byte: value, kind } of changes) {
        const place = Math.floor(at * bytes.length)
        const rest = bytes.subarray(kind === 0 ? place : place + 1)
        bytes = Buffer.concat([bytes.subarray(0, place), ...(kind === 2 ? [] : [Buffer.of(value)]), rest])
      }
      const scanned = scan(bytes)
      if (scanned === undefined) return
      sound++
      const read = parseTreeText(bytes)
      assert.deepEqual(defectsOf(read), [])
      assert.deepEqual(scanned, { folders: foldersOf(read) })
    }),
    { numRuns: 5000 },
  )
  assert.ok(sound > 50, `only ${sound} of the altered trees were called sound`)
})

test('what is written in another way is left to who reads all of it', () => {
  const text = written([]).toString()
  assert.deepEqual(scan(Buffer.from(text)), { folders: [] })
  for (const other of ['', '{"nodes":[]}', `${text}\n`, '{"nodes":[,]}\n', '{"nodes":null}\n', '{"nodes":[]']) {
    assert.equal(scan(Buffer.from(other)), undefined, other)
  }
})
