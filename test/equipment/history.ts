import assert from 'node:assert/strict'
import type { BlobId, SnapshotId } from '../../src/engine/format/id.ts'
import { encodeTree } from '../../src/engine/format/tree.ts'
import type { TreeNode } from '../../src/engine/format/tree-node.ts'
import { BlobWriter } from '../../src/engine/repository/blob-writer.ts'
import { checkRepository } from '../../src/engine/repository/check.ts'
import { loadIndex } from '../../src/engine/repository/load-index.ts'
import { readBlob, readTree } from '../../src/engine/repository/read-blob.ts'
import type { Repository } from '../../src/engine/repository/repository.ts'
import { readSnapshots, type StoredSnapshot, writeSnapshot } from '../../src/engine/repository/snapshots.ts'
import { randomBytes } from './random-bytes.ts'
import { snapshotOf } from './test-repository.ts'
import { folderNode, treeNode } from './tree-node.ts'

/** What the files of a snapshot hold, by path: the hashes of their blobs, which have been read. */
export type Content = Readonly<Record<string, readonly BlobId[]>>

export interface HistoryOptions {
  readonly snapshots?: number
  readonly seed?: string
  /** Small, so that few bytes make many packs. */
  readonly packSize?: number
}

/** A file of several blobs; one version differs from the next in one of them. */
function fileBlobs(seed: string, name: string, version: number): Buffer[] {
  return [0, 1, 2].map((part) => {
    const changed = part === version % 3 ? version : 0
    return randomBytes(700 + 300 * part, `${seed} ${name} ${part} ${changed}`)
  })
}

/**
 * Snapshots of two folders whose files come, change and go, each published in packs of its own as a backup does. Resolves with
 * them, oldest first.
 */
export async function makeHistory(repository: Repository, options: HistoryOptions = {}): Promise<StoredSnapshot[]> {
  const { snapshots = 6, seed = 'history', packSize = 6000 } = options
  const made: StoredSnapshot[] = []
  for (let number = 0; number < snapshots; number++) {
    const indexed = await loadIndex(repository)
    await using writer = new BlobWriter(indexed, { packSize })
    const saveFile = async (name: string, version: number): Promise<TreeNode> => {
      const content: BlobId[] = []
      let size = 0
      for (const blob of fileBlobs(seed, name, version)) {
        content.push((await writer.save('data', blob)).id)
        size += blob.length
      }
      return treeNode(name, 'file', { content, size })
    }
    const data = [
      await saveFile('always', 0),
      await saveFile('changes', number),
      await saveFile(`only-${String(number).padStart(3, '0')}`, 0),
    ]
    const config = [await saveFile('app.conf', number >> 1)]
    const { id: dataTree } = await writer.save('tree', encodeTree(data))
    const { id: configTree } = await writer.save('tree', encodeTree(config))
    const root = [
      folderNode('config', configTree),
      folderNode('data', dataTree),
      treeNode('link', 'symlink', { linkTarget: Buffer.from('data') }),
    ]
    const { id: tree } = await writer.save('tree', encodeTree(root))
    await writer.finish()
    const snapshot = snapshotOf(tree, { time: { ns: BigInt(Date.UTC(2024, 0, 1 + number)) * 1_000_000n, offset: 0 } })
    made.push({ id: await writeSnapshot(repository, snapshot), snapshot })
  }
  return made
}

/** What the files of the tree hold, each read blob by blob. */
export async function contentOf(repository: Repository, root: BlobId): Promise<Content> {
  const indexed = await loadIndex(repository)
  const content: Record<string, readonly BlobId[]> = {}
  const walk = async (tree: BlobId, path: string): Promise<void> => {
    for (const node of await readTree(indexed, tree)) {
      const at = `${path}/${node.name}`
      if (node.subtree) await walk(node.subtree, at)
      if (!node.content) continue
      for (const id of node.content) await readBlob(indexed, 'data', id)
      content[at] = node.content
    }
  }
  await walk(root, '')
  return content
}

export async function contents(
  repository: Repository,
  snapshots: readonly StoredSnapshot[],
): Promise<Map<SnapshotId, Content>> {
  const all = new Map<SnapshotId, Content>()
  for (const { id, snapshot } of snapshots) all.set(id, await contentOf(repository, snapshot.tree))
  return all
}

/** Rejects at one that cannot be read, unless such are to be passed over. */
export async function snapshotsOf(
  repository: Repository,
  { passOver = false }: { readonly passOver?: boolean } = {},
): Promise<StoredSnapshot[]> {
  const found: StoredSnapshot[] = []
  for await (const result of readSnapshots(repository)) {
    if (!('error' in result)) found.push(result)
    else if (!passOver) throw result.error
  }
  return found
}

/** Holds that each of the snapshots is there and gives back what it held. */
export async function expectUnchanged(
  repository: Repository,
  expected: ReadonlyMap<SnapshotId, Content>,
): Promise<void> {
  const there = new Map((await snapshotsOf(repository)).map((stored) => [stored.id, stored]))
  for (const [id, content] of expected) {
    const stored = there.get(id)
    assert.ok(stored, `snapshot ${id} is gone`)
    assert.deepEqual(await contentOf(repository, stored.snapshot.tree), content)
  }
}

/** Holds that a check that reads everything finds nothing, but for what is expected. */
export async function expectSound(repository: Repository, but: readonly string[] = []): Promise<void> {
  const { findings } = await checkRepository(repository, { readData: true })
  assert.deepEqual(
    findings.filter(({ code }) => !but.includes(code)),
    [],
  )
}
