import type { BlobId, SnapshotId } from '../format/id.ts'
import { plaintextLength } from '../format/pack-header.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { BlobMap } from './blob-map.ts'
import type { Report } from './check-finding.ts'
import { isFileProblem } from './file-problem.ts'
import type { IndexedRepository } from './repository.ts'
import { nodeDefects, type SoundTree, scanSoundTree } from './tree-defects.ts'
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
  const { index } = repository
  const lengthAt = (bytes: Buffer, at: number) => index.plaintextLengthAt('data', bytes, at)
  const lengthOf = (id: BlobId) => {
    const blob = index.find('data', id)
    return blob && plaintextLength(blob)
  }
  for (const { snapshot, tree: root } of roots) {
    const todo = [{ tree: root, path: '/' }]
    for (let next = todo.pop(); next; next = todo.pop()) {
      const { tree, path } = next
      if (!seen.add('tree', tree)) continue
      signal?.throwIfAborted()
      const where = `of snapshot ${snapshot.slice(0, 8)}`
      let read: SoundTree | readonly TreeNode[]
      try {
        read = await trees.read(tree, (bytes) => scanSoundTree(bytes, lengthAt))
      } catch (error) {
        if (!isFileProblem(error)) throw error
        const packs = index.findAll('tree', tree).map(({ pack }) => pack)
        const code = packs.length === 0 ? 'blob-missing' : 'tree-damaged'
        const facts = { snapshot, tree, path, packs }
        report('error', code, `Folder ${path} ${where} cannot be read: ${error.message}`, facts)
        continue
      }
      if ('folders' in read) {
        for (const { name, subtree } of read.folders) todo.push({ tree: subtree, path: `${path}${name}/` })
      } else {
        for (const [i, node] of read.entries()) {
          const nodePath = path + node.name.toString()
          for (const { code, found } of nodeDefects(node, read[i - 1], lengthOf)) {
            report('error', code, `${nodePath} ${where}: ${found}`, { snapshot, tree, path: nodePath })
          }
          if (node.type === 'dir' && node.subtree !== undefined) todo.push({ tree: node.subtree, path: `${nodePath}/` })
        }
      }
      onFolder({ files: seen.size, bytes: 0 })
    }
  }
}
