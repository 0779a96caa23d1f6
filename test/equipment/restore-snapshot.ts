import { loadIndex } from '../../src/engine/repository/load-index.ts'
import { readTree } from '../../src/engine/repository/read-blob.ts'
import type { Repository } from '../../src/engine/repository/repository.ts'
import { findSnapshot } from '../../src/engine/repository/snapshots.ts'
import { type RestoreOptions, type RestoreProblem, restore } from '../../src/engine/restorer/restore.ts'

/** Brings all of a snapshot back below the folder; answers with the problems that were reported. */
export async function restoreSnapshot(
  repository: Repository,
  snapshot: string,
  target: string,
  options: RestoreOptions = {},
): Promise<RestoreProblem[]> {
  const stored = await findSnapshot(repository, { name: snapshot })
  const indexed = await loadIndex(repository)
  const nodes = await readTree(indexed, stored.snapshot.tree)
  const items = nodes.map((node) => ({
    node,
    destination: Buffer.concat([Buffer.from(`${target}/`), node.name]),
  }))
  const problems: RestoreProblem[] = []
  const { problems: count } = await restore(indexed, items, {
    ...options,
    onProblem: (problem) => problems.push(problem),
  })
  if (count !== problems.length) throw new Error(`${count} problems were counted, ${problems.length} reported`)
  return problems
}
