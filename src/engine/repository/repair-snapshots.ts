import { EngineError } from '../error.ts'
import { type BlobId, hashId, type IndexId, type SnapshotId } from '../format/id.ts'
import { plaintextLength } from '../format/pack-header.ts'
import type { Snapshot } from '../format/snapshot.ts'
import { encodeTree } from '../format/tree.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { BlobWriter } from './blob-writer.ts'
import { isDamage } from './file-problem.ts'
import { listIds } from './list-ids.ts'
import type { LoadedRepository } from './load-index.ts'
import { readBlob, readTree } from './read-blob.ts'
import { readTwice } from './read-twice.ts'
import type { IndexedRepository, Repository } from './repository.ts'
import { type SalvagedTree, salvageTree } from './salvage-tree.ts'
import {
  byTime,
  findSnapshot,
  fitsFilter,
  readSnapshots,
  type SnapshotFilter,
  type SnapshotResult,
  type StoredSnapshot,
  writeSnapshot,
} from './snapshots.ts'

/** Marks a snapshot that stands beside the damaged one that it was made of; restic's word. */
export const REPAIRED_TAG = 'repaired'

export type TreeChange =
  | 'content-lost' // parts of a file are in no index: it ends up shorter
  | 'size-corrected' // a file's size was not that of its content
  | 'folder-emptied' // what was in the folder cannot be read
  | 'entries-dropped' // some entries of a folder cannot be read, or mean nothing
  | 'root-lost' // nothing of the snapshot can be read

export interface SnapshotRepair {
  readonly before: StoredSnapshot
  /** Undefined when nothing is left of it. */
  readonly after: Snapshot | undefined
  /** What the repaired snapshot has no longer; a folder that several snapshots share is named with the first of them. */
  readonly changes: readonly { readonly path: string; readonly change: TreeChange }[]
}

export interface RepairSnapshotsPlan {
  /** Snapshots that something is missing of. */
  readonly repairs: readonly SnapshotRepair[]
  /** Trees that the repaired snapshots need. */
  readonly trees: readonly { readonly id: BlobId; readonly bytes: Buffer }[]
  /** Snapshot files that cannot be read. They are removed when they are named and the damaged ones are to be forgotten. */
  readonly unreadable: readonly { readonly id: SnapshotId; readonly error: EngineError }[]
  /** Files that are removed at the end. */
  readonly remove: readonly SnapshotId[]
  /** Snapshots that were looked at. */
  readonly examined: number
}

export interface RepairSnapshotsOptions {
  /** IDs or their beginnings; all that fit the filter, unless some are given. */
  readonly names?: readonly string[] | undefined
  readonly filter?: SnapshotFilter | undefined
  /** Remove the damaged snapshots once the repaired ones are stored, instead of keeping both. */
  readonly forget?: boolean | undefined
  readonly signal?: AbortSignal | undefined
  readonly onSnapshot?: (done: number, total: number) => void
}

/**
 * What is left of snapshots that something is missing of. Lost is what the index does not know, or what is damaged for good;
 * rejects when the storage does not hand out what may be intact. That the data of files is intact is not looked at: what
 * `check --read-data` finds damaged, `repair packs` takes out of the index.
 */
export async function planRepairSnapshots(
  repository: LoadedRepository,
  options: RepairSnapshotsOptions = {},
): Promise<RepairSnapshotsPlan> {
  const { names = [], filter = {}, forget = false, signal, onSnapshot } = options
  const { snapshots, unreadable } = await chooseSnapshots(repository, names, filter, signal)
  const repairer = new TreeRepairer(repository, signal)
  const repairs: SnapshotRepair[] = []
  for (const [number, before] of snapshots.entries()) {
    signal?.throwIfAborted()
    const changes: { path: string; change: TreeChange }[] = []
    const tree = await repairer.repair(before.snapshot.tree, '/', (path, change) => changes.push({ path, change }))
    if (tree !== before.snapshot.tree)
      repairs.push({ before, after: tree && replacement(before, tree, forget), changes })
    onSnapshot?.(number + 1, snapshots.length)
  }
  if (repairs.length > 0) await assertIndexWhole(repository, signal)
  const remaining = repairs.filter(
    ({ before, after }) => forget || !after || !isRepairedAlready(snapshots, before, after),
  )
  const damaged = names.length > 0 ? unreadable.map(({ id }) => id) : []
  const remove = forget ? [...remaining.map(({ before }) => before.id), ...damaged] : []
  return { repairs: remaining, trees: repairer.trees, unreadable, remove, examined: snapshots.length }
}

/** What is in an index file that the storage left out of its list is not lost. */
async function assertIndexWhole(repository: LoadedRepository, signal: AbortSignal | undefined): Promise<void> {
  const loaded = new Set(repository.indexFiles)
  const others = (await listIds<IndexId>(repository, 'index', signal)).filter((id) => !loaded.has(id))
  if (others.length === 0) return
  throw new EngineError(
    'REFUSED',
    `Cannot tell what snapshots miss: ${others.length} index files are there now that were not when the index was read`,
    {
      facts: { files: others },
      hint: 'Nothing was changed. Something writes to the repository in spite of the lock, or the storage lists it incompletely; run the repair again',
    },
  )
}

async function chooseSnapshots(
  repository: IndexedRepository,
  names: readonly string[],
  filter: SnapshotFilter,
  signal: AbortSignal | undefined,
): Promise<{ snapshots: StoredSnapshot[]; unreadable: { id: SnapshotId; error: EngineError }[] }> {
  const ids: SnapshotId[] = []
  for (const name of names) ids.push(await resolve(repository, name, filter, signal))
  const snapshots: StoredSnapshot[] = []
  const unreadable: { id: SnapshotId; error: EngineError }[] = []
  const seen = new Set<SnapshotId>()
  for await (const first of readSnapshots(repository, signal, names.length > 0 ? new Set(ids) : undefined)) {
    if (seen.has(first.id)) continue
    seen.add(first.id)
    const result = 'error' in first ? await readAgain(repository, first, signal) : first
    if ('error' in result) {
      unreadable.push(result)
    } else if (names.length > 0 || fitsFilter(result.snapshot, filter)) snapshots.push(result)
  }
  return { snapshots: snapshots.sort(byTime), unreadable }
}

/** Before it is called damaged: the fault may lie with the line, not with what is stored. */
async function readAgain(
  repository: Repository,
  { id, error }: { readonly id: SnapshotId; readonly error: EngineError },
  signal: AbortSignal | undefined,
): Promise<SnapshotResult> {
  if (!isDamage(error)) throw error
  for await (const result of readSnapshots(repository, signal, [id])) {
    if ('error' in result && !isDamage(result.error)) throw result.error
    return result
  }
  return { id, error }
}

/** The ID that is meant, also of a snapshot that cannot be read. */
async function resolve(
  repository: IndexedRepository,
  name: string,
  filter: SnapshotFilter,
  signal: AbortSignal | undefined,
): Promise<SnapshotId> {
  try {
    return (await findSnapshot(repository, { name, ...filter }, signal)).id
  } catch (error) {
    if (!isDamage(error) || error.code === 'NOT_FOUND' || name === 'latest') throw error
    for await (const { name: file } of repository.storage.list('snapshot', signal)) {
      if (file.id.startsWith(name)) return file.id as SnapshotId
    }
    throw error
  }
}

function replacement({ id, snapshot }: StoredSnapshot, tree: BlobId, forget: boolean): Snapshot {
  const tags = forget || snapshot.tags.includes(REPAIRED_TAG) ? snapshot.tags : [...snapshot.tags, REPAIRED_TAG]
  return { ...snapshot, tree, original: id, tags }
}

/** A repair that kept the damaged snapshot is not done again and again. */
function isRepairedAlready(snapshots: readonly StoredSnapshot[], { id }: StoredSnapshot, { tree }: Snapshot): boolean {
  return snapshots.some(({ snapshot }) => snapshot.original === id && snapshot.tree === tree)
}

type Note = (path: string, change: TreeChange) => void

class TreeRepairer {
  /** Trees that are not stored yet. */
  readonly trees: { readonly id: BlobId; readonly bytes: Buffer }[] = []
  readonly #repository: IndexedRepository
  readonly #signal: AbortSignal | undefined
  /** What became of each tree, for there are many snapshots of the same. */
  readonly #repaired = new Map<BlobId, BlobId>()

  constructor(repository: IndexedRepository, signal: AbortSignal | undefined) {
    this.#repository = repository
    this.#signal = signal
  }

  /** The ID of the same tree with what is lost left out; undefined for a root of which nothing can be read. */
  async repair(tree: BlobId, path: string, note: Note): Promise<BlobId | undefined> {
    const known = this.#repaired.get(tree)
    if (known !== undefined) return known
    this.#signal?.throwIfAborted()
    const salvaged = await this.#read(tree)
    if (salvaged === undefined) {
      note(path, path === '/' ? 'root-lost' : 'folder-emptied')
      if (path === '/') return undefined
      return this.#remember(tree, this.#store([]))
    }
    const nodes = await this.#repairNodes(salvaged, path, note)
    const isSame =
      salvaged.unreadable === 0 &&
      nodes.length === salvaged.nodes.length &&
      nodes.every((node, i) => node === salvaged.nodes[i])
    return this.#remember(tree, isSame ? tree : this.#store(nodes))
  }

  async #repairNodes({ nodes, unreadable }: SalvagedTree, path: string, note: Note): Promise<TreeNode[]> {
    const repaired: TreeNode[] = []
    for (const node of nodes) {
      const nodePath = `${path}${node.name}`
      if (node.type === 'file') repaired.push(this.#repairFile(node, nodePath, note))
      else if (node.type === 'dir') repaired.push(await this.#repairFolder(node, `${nodePath}/`, note))
      else if (node.type !== 'symlink' || node.linkTarget !== undefined) repaired.push(node)
    }
    repaired.sort((a, b) => Buffer.compare(a.name, b.name))
    const distinct = repaired.filter((node, i) => i === 0 || !node.name.equals(repaired[i - 1]!.name))
    if (unreadable > 0 || distinct.length < nodes.length) note(path, 'entries-dropped')
    return distinct
  }

  #repairFile(node: TreeNode, path: string, note: Note): TreeNode {
    const content: BlobId[] = []
    let size = 0
    for (const id of node.content ?? []) {
      const blob = this.#repository.index.find('data', id)
      if (blob === undefined) continue
      content.push(id)
      size += plaintextLength(blob)
    }
    if (node.content !== undefined && content.length === node.content.length && size === node.size) return node
    note(path, content.length === node.content?.length ? 'size-corrected' : 'content-lost')
    return { ...node, content, size }
  }

  async #repairFolder(node: TreeNode, path: string, note: Note): Promise<TreeNode> {
    if (node.subtree === undefined) {
      note(path, 'folder-emptied')
      return { ...node, subtree: this.#store([]) }
    }
    const subtree = await this.repair(node.subtree, path, note)
    return subtree === node.subtree ? node : { ...node, subtree }
  }

  /** Undefined when nothing of the tree can be read for good. */
  async #read(tree: BlobId): Promise<SalvagedTree | undefined> {
    try {
      const nodes = await readTwice(() => readTree(this.#repository, tree, this.#signal))
      return { nodes, unreadable: 0 }
    } catch (error) {
      if (!isDamage(error)) throw error
    }
    try {
      return salvageTree(await readBlob(this.#repository, 'tree', tree, this.#signal))
    } catch (error) {
      if (!isDamage(error)) throw error
      return undefined
    }
  }

  #store(nodes: readonly TreeNode[]): BlobId {
    const bytes = encodeTree(nodes)
    const id = hashId<BlobId>(bytes)
    const isThere = this.#repository.index.has('tree', id) || this.trees.some((tree) => tree.id === id)
    if (!isThere) this.trees.push({ id, bytes })
    return id
  }

  #remember(tree: BlobId, repaired: BlobId): BlobId {
    this.#repaired.set(tree, repaired)
    return repaired
  }
}

export interface RepairSnapshotsReport {
  readonly repaired: readonly { readonly from: SnapshotId; readonly to: SnapshotId }[]
  readonly removed: readonly SnapshotId[]
}

/** Stores trees, then snapshots, then removes what is to be forgotten. Needs the exclusive lock. */
export async function applyRepairSnapshots(
  repository: IndexedRepository,
  plan: RepairSnapshotsPlan,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<RepairSnapshotsReport> {
  const { signal } = options
  await using writer = new BlobWriter(repository, { verify: true, signal })
  for (const { bytes } of plan.trees) await writer.save('tree', bytes)
  await writer.finish()
  const repaired: { from: SnapshotId; to: SnapshotId }[] = []
  for (const { before, after } of plan.repairs) {
    if (after) repaired.push({ from: before.id, to: await writeSnapshot(repository, after, signal) })
  }
  for (const id of plan.remove) await repository.storage.remove({ type: 'snapshot', id }, signal)
  return { repaired, removed: plan.remove }
}
