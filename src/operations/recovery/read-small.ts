import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { findNode, readWhole } from '../snapshot-files.ts'

/** Units and sites are small; the repository may be hostile. */
const FILE_LIMIT = 1024 * 1024

/** The text of a small file of a snapshot; undefined for whatever else is at the path, and where it is sealed. */
export async function readSmall(
  { repository, stored }: ChosenSnapshot,
  path: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const node = await findNode(repository, stored.snapshot.tree, path, signal)
  if (node?.type !== 'file' || node.size > FILE_LIMIT) return undefined
  return (await readWhole(repository, node, FILE_LIMIT, signal)).toString('utf8')
}
