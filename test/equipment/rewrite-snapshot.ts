import { ContentStore } from '../../src/engine/archiver/store-content.ts'
import { type BlobId, hashId, type SnapshotId } from '../../src/engine/format/id.ts'
import type { Snapshot } from '../../src/engine/format/snapshot.ts'
import { encodeTree } from '../../src/engine/format/tree.ts'
import type { TreeNode } from '../../src/engine/format/tree-node.ts'
import { createChunker } from '../../src/engine/kernels/chunker.ts'
import { BlobWriter } from '../../src/engine/repository/blob-writer.ts'
import { readTree } from '../../src/engine/repository/read-blob.ts'
import type { IndexedRepository } from '../../src/engine/repository/repository.ts'
import { readSnapshot, writeSnapshot } from '../../src/engine/repository/snapshots.ts'
import { encodeManifest, MANIFEST, type Manifest, SELF } from '../../src/operations/manifest.ts'
import { findNode, readManifest, readWhole } from '../../src/operations/snapshot-files.ts'
import { treeNode } from './tree-node.ts'

export interface Rewrite {
  /** New content of files at absolute paths, which are made where they do not exist. */
  readonly files?: Readonly<Record<string, Buffer | string>>
  /** Told the manifest and the ID of the new tree without `.holdfast`; what it returns is stored, whatever it is. */
  readonly manifest?: (manifest: Manifest, tree: BlobId) => unknown
  /** Keep the old signature: a forger has no other. */
  readonly snapshot?: (snapshot: Snapshot) => Snapshot
}

/**
 * What somebody can do who has the repository's password: writes a snapshot like another one, with other content. Nothing
 * else about it is changed unless told so.
 */
export async function rewriteSnapshot(
  repository: IndexedRepository,
  id: SnapshotId,
  { files = {}, manifest, snapshot: change = (snapshot) => snapshot }: Rewrite,
): Promise<SnapshotId> {
  const snapshot = await readSnapshot(repository, id)
  await using writer = new BlobWriter(repository)
  const store = new ContentStore(writer, createChunker(repository.config.polynomial))

  const withFile = async (
    nodes: readonly TreeNode[],
    parts: readonly string[],
    content: Buffer,
  ): Promise<TreeNode[]> => {
    const [first, ...rest] = parts
    const known = nodes.find(({ name }) => name.toString() === first)
    const others = nodes.filter((node) => node !== known)
    let node: TreeNode
    if (rest.length === 0) {
      let position = 0
      const stored = await store.store((into) => {
        const count = content.copy(into, 0, position)
        position += count
        return count
      })
      node = { ...(known ?? treeNode(first!, 'file')), ...stored }
    } else {
      const children = known?.subtree === undefined ? [] : await readTree(repository, known.subtree)
      const { id: subtree } = await writer.save('tree', encodeTree(await withFile(children, rest, content)))
      node = { ...(known ?? treeNode(first!, 'dir')), subtree }
    }
    return [...others, node].sort((a, b) => Buffer.compare(a.name, b.name))
  }

  let nodes: readonly TreeNode[] = await readTree(repository, snapshot.tree)
  for (const [path, content] of Object.entries(files)) {
    nodes = await withFile(nodes, path.split('/').filter(Boolean), Buffer.from(content))
  }
  if (manifest) {
    const present = await readManifest(repository, { id, snapshot })
    const outer = hashId<BlobId>(encodeTree(nodes.filter(({ name }) => name.toString() !== SELF)))
    const encoded = encodeManifest(manifest(present!, outer) as Manifest)
    nodes = await withFile(nodes, [SELF, MANIFEST], encoded)
  }
  const { id: tree } = await writer.save('tree', encodeTree(nodes))
  await writer.finish()
  return writeSnapshot(repository, change({ ...snapshot, tree }))
}

/** The bytes of a file of a snapshot. */
export async function fileIn(repository: IndexedRepository, id: SnapshotId, path: string): Promise<Buffer> {
  const node = await findNode(repository, (await readSnapshot(repository, id)).tree, path)
  if (!node) throw new Error(`no ${path} in ${id}`)
  return readWhole(repository, node, 1 << 30)
}
