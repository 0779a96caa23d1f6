import { createHash } from 'node:crypto'
import type { DatabaseRecord } from '../../application/sources/capture.ts'
import { CodedError } from '../../engine/error.ts'
import type { TreeNode } from '../../engine/format/tree-node.ts'
import type { IndexedRepository } from '../../engine/repository/repository.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { PARTIAL } from '../app-snapshots.ts'
import { type Manifest, SELF } from '../manifest.ts'
import { findNode, readContent } from '../snapshot-files.ts'
import type { PreviousSeal, SealedArchive } from './seal-secrets.ts'

/** The snapshot that a backup compares with. */
export interface PreviousSnapshot {
  readonly stored: StoredSnapshot
  /** Undefined when it does not describe itself. */
  readonly manifest: Manifest | undefined
}

/** The newest of this host that holds the whole application: of one that does not, the rest would be read afresh. */
export function newestWhole(snapshots: readonly StoredSnapshot[], host: string): StoredSnapshot | undefined {
  return snapshots.findLast(({ snapshot }) => snapshot.hostname === host && !snapshot.tags.includes(PARTIAL))
}

/** Those databases whose copy the snapshot still has: only they need not be copied again. */
export async function previousDatabases(
  repository: IndexedRepository,
  { stored, manifest }: PreviousSnapshot,
  signal: AbortSignal,
): Promise<DatabaseRecord[]> {
  const held: DatabaseRecord[] = []
  for (const record of manifest?.databases ?? []) {
    if (record.integrity !== 'ok') continue
    const node = await intactNode(repository, stored, record.path, signal)
    if (node?.content?.every((id) => repository.index.has('data', id))) held.push(record)
  }
  return held
}

/** The seals that the snapshot still has, whole: every byte of them is read, for nobody else would notice a loss. */
export async function previousSeal(
  repository: IndexedRepository,
  { stored, manifest }: PreviousSnapshot,
  signal: AbortSignal,
): Promise<PreviousSeal | undefined> {
  if (!manifest?.secrets) return undefined
  const archives = new Map<string, SealedArchive>()
  for (const name of manifest.secrets.archives) {
    const node = await intactNode(repository, stored, `/${SELF}/${name}`, signal)
    const sha256 = manifest.self[name]?.sha256
    if (!node?.content || sha256 === undefined || !(await isWhole(repository, node, sha256, signal))) continue
    archives.set(name, { name, content: node.content, size: node.size, sha256 })
  }
  return { manifest: manifest.secrets, archives }
}

/** Undefined also where a damaged tree is in the way: then there is nothing to take over. */
async function intactNode(
  repository: IndexedRepository,
  { snapshot }: StoredSnapshot,
  path: string,
  signal: AbortSignal,
): Promise<TreeNode | undefined> {
  try {
    return await findNode(repository, snapshot.tree, path, signal)
  } catch (error) {
    if (isDamage(error)) return undefined
    throw error
  }
}

async function isWhole(
  repository: IndexedRepository,
  node: TreeNode,
  sha256: string,
  signal: AbortSignal,
): Promise<boolean> {
  const digest = createHash('sha256')
  try {
    for await (const bytes of readContent(repository, node, signal)) digest.update(bytes)
  } catch (error) {
    if (isDamage(error)) return false
    throw error
  }
  return digest.digest('hex') === sha256
}

function isDamage(error: unknown): boolean {
  return error instanceof CodedError && (error.code === 'CORRUPT' || error.code === 'NOT_FOUND')
}
