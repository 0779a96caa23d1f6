import assert from 'node:assert/strict'
import test from 'node:test'
import { storeBlobs, testRepository } from '../../test/equipment/test-repository.ts'
import { folderNode, treeNode } from '../../test/equipment/tree-node.ts'
import type { BlobId } from '../engine/format/id.ts'
import { encodeTree } from '../engine/format/tree.ts'
import { loadIndex } from '../engine/repository/load-index.ts'
import { findNode, pathParts, readWhole } from './snapshot-files.ts'

async function withTree() {
  const repository = await testRepository()
  const { ids } = await storeBlobs(repository, [
    ['data', 'first '],
    ['data', 'second'],
  ])
  const file = treeNode(Buffer.from('caf\xe9', 'latin1'), 'file', { content: ids, size: 1 })
  const inner = await storeBlobs(repository, [['tree', encodeTree([file])]])
  const outer = await storeBlobs(repository, [['tree', encodeTree([folderNode('sub', inner.ids[0]!)])]])
  return { repository: await loadIndex(repository), tree: outer.ids[0] as BlobId, file }
}

test('a node is found by the bytes of its path, and what is not there is not', async () => {
  const { repository, tree } = await withTree()
  const path = Buffer.from('/sub/caf\xe9', 'latin1')
  assert.equal((await findNode(repository, tree, path))?.type, 'file')
  assert.equal((await findNode(repository, tree, '/sub'))?.type, 'dir')
  for (const absent of ['/', '/sub/x', '/sub/café', '/x/y', Buffer.concat([path, Buffer.from('/below')])]) {
    assert.equal(await findNode(repository, tree, absent), undefined, String(absent))
  }
})

test('empty and dot parts of a path mean nothing', () => {
  assert.deepEqual(pathParts('//a/./b/').map(String), ['a', 'b'])
  assert.deepEqual(pathParts('/'), [])
})

test('a file is read up to a limit, whatever it says of its own size', async () => {
  const { repository, file } = await withTree()
  assert.equal((await readWhole(repository, file, 12)).toString(), 'first second')
  await assert.rejects(readWhole(repository, file, 11), { code: 'MANIFEST', message: /found more than 11 bytes/ })
})
