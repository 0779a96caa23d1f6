import type { BlobSink } from '../../src/engine/archiver/blob-sink.ts'
import { type BlobId, hashId, idAt } from '../../src/engine/format/id.ts'
import type { BlobType } from '../../src/engine/format/pack-header.ts'
import { parseTree } from '../../src/engine/format/tree.ts'
import type { TreeNode } from '../../src/engine/format/tree-node.ts'

export interface CollectingSink extends BlobSink {
  blob(type: BlobType, id: BlobId): Buffer
  tree(id: BlobId): TreeNode[]
  /** The node at a path below these, each name as `latin1` text of its bytes; fails when there is none. */
  find(nodes: readonly TreeNode[], path: string): TreeNode
  /** Every path below these nodes, in order, folders with a slash at their end. */
  paths(nodes: readonly TreeNode[]): string[]
  content(node: TreeNode): Buffer
  /** How many blobs were offered, new or not. */
  readonly offered: Readonly<Record<BlobType, number>>
}

/** Keeps blobs as they are: a repository without one. */
export function collectingSink(): CollectingSink {
  const blobs = new Map<string, Buffer>()
  const offered = { data: 0, tree: 0 }
  const sink: CollectingSink = {
    offered,
    has: (type, id) => blobs.has(type + id),
    hasAt: (type, text, at) => blobs.has(type + idAt(text, at)),
    async save(type, plaintext) {
      offered[type] += 1
      const id = hashId<BlobId>(plaintext)
      const isNew = !blobs.has(type + id)
      if (isNew) blobs.set(type + id, Buffer.from(plaintext))
      return { id, isNew }
    },
    blob(type, id) {
      const blob = blobs.get(type + id)
      if (!blob) throw new Error(`no ${type} blob ${id}`)
      return blob
    },
    tree: (id) => parseTree(sink.blob('tree', id)),
    find(nodes, path) {
      const [first, ...rest] = path.split('/').filter((part) => part !== '')
      const node = nodes.find(({ name }) => name.toString('latin1') === first)
      if (!node) throw new Error(`no ${first} among ${nodes.map(({ name }) => name.toString('latin1')).join(', ')}`)
      return rest.length === 0 ? node : sink.find(sink.tree(node.subtree!), rest.join('/'))
    },
    paths: (nodes) =>
      nodes.flatMap((node) => {
        const name = node.name.toString('latin1')
        if (node.type !== 'dir') return [name]
        return [`${name}/`, ...sink.paths(sink.tree(node.subtree!)).map((path) => `${name}/${path}`)]
      }),
    content: (node) => Buffer.concat(node.content!.map((id) => sink.blob('data', id))),
  }
  return sink
}
