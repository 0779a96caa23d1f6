import assert from 'node:assert/strict'
import { test } from 'node:test'
import { storeBlobs, testRepository } from '../../../test/equipment/test-repository.ts'
import { folderNode, treeNode } from '../../../test/equipment/tree-node.ts'
import { type BlobId, hashId } from '../../engine/format/id.ts'
import { encodeTree } from '../../engine/format/tree.ts'
import { diffTrees, type TreeChange } from '../../engine/repository/diff-trees.ts'
import { walkPaths } from '../../engine/repository/walk-paths.ts'
import { charactersOf, follow, parseFindPattern, startOf } from './find-pattern.ts'

const LOST = hashId<BlobId>(Buffer.from('nobody has this'))

test('a folder that cannot be read is reported by its path, and the rest is compared', async () => {
  const inner = encodeTree([treeNode('file', 'file', { content: [] })])
  const one = encodeTree([folderNode('intact', hashId(inner)), folderNode('lost', LOST)])
  const other = encodeTree([folderNode('lost', hashId(inner)), treeNode('new', 'file', { content: [] })])
  const { repository, ids } = await storeBlobs(await testRepository(), [
    ['tree', inner],
    ['tree', one],
    ['tree', other],
  ])
  const changes: TreeChange[] = []
  const lost: string[] = []
  const diff = await diffTrees(repository, ids[1]!, ids[2]!, {
    onChange: (change) => changes.push(change),
    onUnreadable: (path) => lost.push(path.toString()),
  })
  assert.deepEqual(
    changes.map(({ modifier, path }) => `${modifier} ${path}`),
    ['- /intact/', '- /intact/file', '+ /new'],
  )
  assert.deepEqual([lost, diff.problems], [['/lost/'], 1])
})

test('a walk goes on after a folder that cannot be read only if it is told to', async () => {
  const root = encodeTree([folderNode('lost', LOST), treeNode('there', 'file', { content: [] })])
  const { repository, ids } = await storeBlobs(await testRepository(), [['tree', root]])
  const seen: string[] = []
  const node = ({ name }: { readonly name: Buffer }) => {
    seen.push(name.toString())
    return { state: undefined }
  }
  await assert.rejects(walkPaths(repository, ids[0]!, undefined, { node }), { code: 'NOT_FOUND' })
  seen.length = 0
  let unreadable = 0
  await walkPaths(repository, ids[0]!, undefined, {
    node,
    unreadable: () => {
      unreadable += 1
    },
  })
  assert.deepEqual([seen, unreadable], [['lost', 'there'], 1])
})

test('a pattern that cannot be understood is refused, also where nothing would come to it', () => {
  for (const pattern of ['[', '[]', '[a-', 'a/[b', 'x\\', '[a-]', '[-a]']) {
    assert.throws(() => parseFindPattern(pattern), { code: 'USAGE' }, pattern)
  }
})

test('a pattern of many stars takes no longer for a name that almost fits', () => {
  const pattern = parseFindPattern(`${'*a'.repeat(40)}*b`)
  const name = charactersOf(Buffer.from('a'.repeat(4000)))
  assert.deepEqual(follow(pattern, startOf(pattern), name), [0])
})
