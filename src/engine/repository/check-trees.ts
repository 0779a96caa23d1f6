import type { BlobId, SnapshotId } from '../format/id.ts'
import { nameDefect } from '../format/node-name.ts'
import { plaintextLength } from '../format/pack-header.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { BlobMap } from './blob-map.ts'
import type { CheckCode, Report } from './check-finding.ts'
import { isFileProblem } from './file-problem.ts'
import type { IndexedRepository } from './repository.ts'
import { TreeReader } from './tree-reader.ts'

/** A snapshot and where its content begins. */
export interface SnapshotRoot {
  readonly snapshot: SnapshotId
  readonly tree: BlobId
}

/**
 * Walks every tree once, however many snapshots share it, so damage is reported for the first snapshot that has it.
 * Depth first: the list of what is to do stays short.
 */
export async function checkTrees(
  repository: IndexedRepository,
  roots: readonly SnapshotRoot[],
  report: Report,
  options: {
    readonly onFolder: (done: { readonly files: number; readonly bytes: number }) => void
    readonly signal: AbortSignal | undefined
  },
): Promise<void> {
  const { signal, onFolder } = options
  const seen = new BlobMap()
  const trees = new TreeReader(repository, signal)
  for (const { snapshot, tree: root } of roots) {
    const todo = [{ tree: root, path: '/' }]
    for (let next = todo.pop(); next; next = todo.pop()) {
      const { tree, path } = next
      if (!seen.add('tree', tree)) continue
      signal?.throwIfAborted()
      const where = `of snapshot ${snapshot.slice(0, 8)}`
      let nodes: readonly TreeNode[]
      try {
        nodes = await trees.nodes(tree)
      } catch (error) {
        if (!isFileProblem(error)) throw error
        const packs = repository.index.findAll('tree', tree).map(({ pack }) => pack)
        const code = packs.length === 0 ? 'blob-missing' : 'tree-damaged'
        const facts = { snapshot, tree, path, packs }
        report('error', code, `Folder ${path} ${where} cannot be read: ${error.message}`, facts)
        continue
      }
      for (const [index, node] of nodes.entries()) {
        const nodePath = path + node.name.toString()
        for (const { code, found } of nodeDefects(repository, node, nodes[index - 1])) {
          report('error', code, `${nodePath} ${where}: ${found}`, { snapshot, tree, path: nodePath })
        }
        if (node.type === 'dir' && node.subtree !== undefined) todo.push({ tree: node.subtree, path: `${nodePath}/` })
      }
      onFolder({ files: seen.size, bytes: 0 })
    }
  }
}

interface Defect {
  readonly code: CheckCode
  readonly found: string
}

function* nodeDefects(
  repository: IndexedRepository,
  node: TreeNode,
  previous: TreeNode | undefined,
): Generator<Defect> {
  const damaged = (found: string): Defect => ({ code: 'node-damaged', found })
  const nameIsBad = nameDefect(node.name)
  if (nameIsBad) yield damaged(nameIsBad)
  if (previous && Buffer.compare(previous.name, node.name) >= 0) {
    yield damaged('its folder lists it twice or out of order')
  }
  if (node.type === 'dir' && node.subtree === undefined) yield damaged('a folder without a tree')
  if (node.type === 'symlink' && node.linkTarget === undefined) yield damaged('a symbolic link to nothing')
  if (node.type === 'file') {
    if (node.content === undefined) yield damaged('a file without a list of content')
    else yield* contentDefects(repository, node, node.content)
  }
}

function* contentDefects(repository: IndexedRepository, node: TreeNode, content: readonly BlobId[]): Generator<Defect> {
  let bytes = 0
  let missing = 0
  for (const id of content) {
    const blob = repository.index.find('data', id)
    if (blob) bytes += plaintextLength(blob)
    else missing += 1
  }
  if (missing > 0) {
    yield { code: 'blob-missing', found: `${missing} of its ${content.length} data blobs are in no index` }
  } else if (bytes !== node.size) {
    yield { code: 'node-damaged', found: `its content has ${bytes} bytes, its size says ${node.size}` }
  }
}
