import type { BlobId } from '../../engine/format/id.ts'
import type { TreeNode } from '../../engine/format/tree-node.ts'
import { readBlob, readTree } from '../../engine/repository/read-blob.ts'
import type { RestoreUnit } from '../restore/plan-in-place.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { findNode } from '../snapshot-files.ts'

export interface ReadingSpeed {
  readonly bytes: number
  readonly milliseconds: number
}

/** Enough to tell a disk from a distant server, and no time that anybody notices. */
const SAMPLE_BYTES = 8 * 1024 * 1024
const SAMPLE_MILLISECONDS = 1000

/** Reads a little of what is to be restored, to tell how long the rest will take. Undefined when there is nothing to read. */
export async function measureReading(
  chosen: ChosenSnapshot,
  units: readonly RestoreUnit[],
  signal: AbortSignal,
): Promise<ReadingSpeed | undefined> {
  const begun = performance.now()
  let bytes = 0
  const largest = units.toSorted((a, b) => b.bytes - a.bytes)
  for (const { source } of largest) {
    const node = await findNode(chosen.repository, chosen.stored.snapshot.tree, source, signal)
    for await (const id of node === undefined ? [] : blobsOf(chosen, node, signal)) {
      bytes += (await readBlob(chosen.repository, 'data', id, signal)).length
      const milliseconds = performance.now() - begun
      if (bytes >= SAMPLE_BYTES || milliseconds >= SAMPLE_MILLISECONDS) return { bytes, milliseconds }
    }
  }
  return bytes === 0 ? undefined : { bytes, milliseconds: performance.now() - begun }
}

async function* blobsOf({ repository }: ChosenSnapshot, top: TreeNode, signal: AbortSignal): AsyncGenerator<BlobId> {
  const todo = [top]
  for (let node = todo.pop(); node; node = todo.pop()) {
    if (node.type === 'file') yield* node.content ?? []
    else if (node.subtree !== undefined) todo.push(...(await readTree(repository, node.subtree, signal)))
  }
}
