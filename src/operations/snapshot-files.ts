import type { BlobId } from '../engine/format/id.ts'
import type { TreeNode } from '../engine/format/tree-node.ts'
import { readBlob, readTree } from '../engine/repository/read-blob.ts'
import type { IndexedRepository } from '../engine/repository/repository.ts'
import type { StoredSnapshot } from '../engine/repository/snapshots.ts'
import { OperationError } from './error.ts'
import { MANIFEST, MANIFEST_LIMIT, type Manifest, SELF } from './manifest.ts'

/** Parts of a path as bytes; `/` and the empty path have none. */
export function pathParts(path: string | Buffer): Buffer[] {
  const text = Buffer.isBuffer(path) ? path.toString('latin1') : Buffer.from(path).toString('latin1')
  return text
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .map((part) => Buffer.from(part, 'latin1'))
}

/** The node at a path of a tree, or undefined. The root itself has no node. */
export async function findNode(
  repository: IndexedRepository,
  tree: BlobId,
  path: string | Buffer,
  signal?: AbortSignal,
): Promise<TreeNode | undefined> {
  const parts = pathParts(path)
  let current: BlobId | undefined = tree
  for (const [depth, part] of parts.entries()) {
    if (current === undefined) return undefined
    const node: TreeNode | undefined = (await readTree(repository, current, signal)).find(({ name }) =>
      name.equals(part),
    )
    if (!node || depth === parts.length - 1) return node
    current = node.subtree
  }
  return undefined
}

/** The content of a file of a snapshot, blob by blob, each held against its hash. */
export async function* readContent(
  repository: IndexedRepository,
  node: TreeNode,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  for (const id of node.content ?? []) yield await readBlob(repository, 'data', id, signal)
}

/** The whole content of a file that is small if it is honest: rejects with `MANIFEST` when it has more bytes than `limit`. */
export async function readWhole(
  repository: IndexedRepository,
  node: TreeNode,
  limit: number,
  signal?: AbortSignal,
): Promise<Buffer> {
  const pieces: Buffer[] = []
  let bytes = 0
  // What the node says of its size proves nothing about the blobs that it lists.
  for await (const piece of readContent(repository, node, signal)) {
    bytes += piece.length
    if (bytes > limit) {
      throw new OperationError('MANIFEST', `Cannot read ${node.name}: found more than ${limit} bytes`, {
        facts: { file: String(node.name), limit },
        hint: 'Nobody honest writes such a snapshot: find out who can write to the repository',
      })
    }
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

/** The manifest of a snapshot; undefined when there is none, as in snapshots of restic. Rejects with `MANIFEST` when it is broken. */
export async function readManifest(
  repository: IndexedRepository,
  { id, snapshot }: StoredSnapshot,
  signal?: AbortSignal,
): Promise<Manifest | undefined> {
  const node = await findNode(repository, snapshot.tree, `/${SELF}/${MANIFEST}`, signal)
  if (!node) return undefined
  // zod: who reads snapshots without a manifest does not wait for it.
  const { parseManifest } = await import('./parse-manifest.ts')
  return parseManifest(await readWhole(repository, node, MANIFEST_LIMIT, signal), id)
}
