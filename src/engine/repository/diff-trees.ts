import type { EngineError } from '../error.ts'
import type { BlobId } from '../format/id.ts'
import { plaintextLength } from '../format/pack-header.ts'
import type { ExtendedAttribute, TreeNode } from '../format/tree-node.ts'
import { BlobMap } from './blob-map.ts'
import { isFileProblem } from './file-problem.ts'
import { readTree } from './read-blob.ts'
import type { IndexedRepository } from './repository.ts'
import { walkTrees } from './walk-trees.ts'

/** What became of an entry: `+` added, `-` removed, `T` another type, `M` other content, `U` other metadata; of `M?` below. */
export interface TreeChange {
  /** Raw bytes, with a slash at the end of a folder's. */
  readonly path: Buffer
  /** `M?`: other content while nothing else changed, not even the inode's change time. The disk of the source may lose bits. */
  readonly modifier: '+' | '-' | 'T' | 'M' | 'M?' | 'U' | 'TU'
}

export interface DiffCounts {
  files: number
  dirs: number
  others: number
  dataBlobs: number
  treeBlobs: number
  /** Plaintext of the blobs. */
  bytes: number
}

export interface TreeDiff {
  readonly changedFiles: number
  /** Blobs count as added or removed when the other side has them nowhere, not even in a folder that did not change. */
  readonly added: Readonly<DiffCounts>
  readonly removed: Readonly<DiffCounts>
  /** What could not be read, and so not be compared. */
  readonly problems: number
}

export interface DiffOptions {
  /** Also entries whose metadata alone changed. */
  readonly metadata?: boolean
  readonly onChange: (change: TreeChange) => void
  /** Of a folder below the first ones. */
  readonly onUnreadable: (path: Buffer, error: EngineError) => void
  readonly signal?: AbortSignal | undefined
}

const BEFORE = 1
const AFTER = 2

/**
 * Compares two trees entry by entry, by name. A folder whose tree is the same on both sides is not gone into. What is in a folder
 * that became something else, or was something else, is not listed. Rejects when one of the two trees cannot be read.
 */
export async function diffTrees(
  repository: IndexedRepository,
  before: BlobId,
  after: BlobId,
  options: DiffOptions,
): Promise<TreeDiff> {
  const comparison = new Comparison(repository, options)
  await comparison.compare(before, after)
  return comparison.result()
}

class Comparison {
  readonly #repository: IndexedRepository
  readonly #options: DiffOptions
  /** On which sides the blobs of the folders that differ are. */
  readonly #sides = new BlobMap()
  readonly #unchanged: BlobId[] = []
  readonly #added = noCounts()
  readonly #removed = noCounts()
  #changedFiles = 0
  #problems = 0

  constructor(repository: IndexedRepository, options: DiffOptions) {
    this.#repository = repository
    this.#options = options
  }

  async compare(before: BlobId, after: BlobId): Promise<void> {
    this.#note('tree', before, BEFORE)
    this.#note('tree', after, AFTER)
    if (before === after) this.#unchanged.push(before)
    else await this.#diff(Buffer.from('/'), before, after)
  }

  async result(): Promise<TreeDiff> {
    await this.#forgetUnchanged()
    for (const { type, id } of this.#sides.blobs()) {
      const side = this.#sides.get(type, id)
      const counts = side === BEFORE ? this.#removed : side === AFTER ? this.#added : undefined
      if (counts === undefined) continue
      counts[type === 'tree' ? 'treeBlobs' : 'dataBlobs'] += 1
      const location = this.#repository.index.find(type, id)
      if (location) counts.bytes += plaintextLength(location)
    }
    return {
      changedFiles: this.#changedFiles,
      added: this.#added,
      removed: this.#removed,
      problems: this.#problems,
    }
  }

  async #diff(prefix: Buffer, before: BlobId, after: BlobId): Promise<void> {
    const { onChange, metadata = false, signal } = this.#options
    signal?.throwIfAborted()
    const [old, young] = [
      await readTree(this.#repository, before, signal),
      await readTree(this.#repository, after, signal),
    ]
    for (const [one, other] of pairs(old, young)) {
      if (one) this.#noteNode(one, BEFORE)
      if (other) this.#noteNode(other, AFTER)
      if (!one || !other) {
        if (one) await this.#list('-', prefix, one)
        if (other) await this.#list('+', prefix, other)
        continue
      }
      const path = pathOf(prefix, other)
      const modifier = this.#compareNodes(one, other, metadata)
      if (modifier !== undefined) onChange({ path, modifier })
      if (one.subtree === undefined || other.subtree === undefined) continue
      const [from, to] = [one.subtree, other.subtree]
      if (from === to) this.#unchanged.push(from)
      else await this.#attempt(path, () => this.#diff(path, from, to))
    }
  }

  #compareNodes(one: TreeNode, other: TreeNode, metadata: boolean): TreeChange['modifier'] | undefined {
    if (one.type === 'file' && other.type === 'file' && !sameContent(one, other)) {
      this.#changedFiles += 1
      return sameMetadata(one, other) ? 'M?' : 'M'
    }
    const isUpdated =
      metadata && !(sameMetadata(one, other) && sameContent(one, other) && one.subtree === other.subtree)
    if (one.type !== other.type) return isUpdated ? 'TU' : 'T'
    return isUpdated ? 'U' : undefined
  }

  /** An entry that is on one side only, with all that is in it. */
  async #list(modifier: '+' | '-', prefix: Buffer, node: TreeNode): Promise<void> {
    const counts = modifier === '+' ? this.#added : this.#removed
    const path = pathOf(prefix, node)
    this.#options.onChange({ path, modifier })
    counts[node.type === 'file' ? 'files' : node.type === 'dir' ? 'dirs' : 'others'] += 1
    const { subtree } = node
    if (subtree === undefined) return
    await this.#attempt(path, async () => {
      this.#options.signal?.throwIfAborted()
      for (const child of await readTree(this.#repository, subtree, this.#options.signal)) {
        this.#noteNode(child, modifier === '+' ? AFTER : BEFORE)
        await this.#list(modifier, path, child)
      }
    })
  }

  async #attempt(path: Buffer, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!isFileProblem(error)) throw error
      this.#problems += 1
      this.#options.onUnreadable(path, error)
    }
  }

  #noteNode(node: TreeNode, side: number): void {
    for (const id of node.content ?? []) this.#note('data', id, side)
    if (node.subtree !== undefined) this.#note('tree', node.subtree, side)
  }

  #note(type: 'data' | 'tree', id: BlobId, side: number): void {
    this.#sides.set(type, id, (this.#sides.get(type, id) ?? 0) | side)
  }

  /** A blob that moved here from a folder that did not change is no new one. Those folders are read only if anything is in question. */
  async #forgetUnchanged(): Promise<void> {
    const { signal } = this.#options
    let isOpen = false
    for (const { type, id } of this.#sides.blobs()) if (this.#sides.get(type, id) !== (BEFORE | AFTER)) isOpen = true
    if (!isOpen || this.#unchanged.length === 0) return
    const both = (type: 'data' | 'tree', id: BlobId) => {
      if (this.#sides.has(type, id)) this.#sides.set(type, id, BEFORE | AFTER)
    }
    const seen = new BlobMap()
    for (const tree of new Set(this.#unchanged)) {
      await this.#attempt(Buffer.from(`/ (tree ${tree})`), () =>
        walkTrees(
          this.#repository,
          [tree],
          seen,
          (_, nodes) => {
            for (const { content, subtree } of nodes) {
              for (const id of content ?? []) both('data', id)
              if (subtree !== undefined) both('tree', subtree)
            }
          },
          signal,
        ),
      )
    }
  }
}

function noCounts(): DiffCounts {
  return { files: 0, dirs: 0, others: 0, dataBlobs: 0, treeBlobs: 0, bytes: 0 }
}

function pathOf(prefix: Buffer, { name, type }: TreeNode): Buffer {
  return Buffer.concat([prefix, name, Buffer.from(type === 'dir' ? '/' : '')])
}

/** The nodes of both, those of one name together. Both lists are in the order of their names, as every tree that is not damaged. */
function* pairs(
  one: readonly TreeNode[],
  other: readonly TreeNode[],
): Generator<[TreeNode | undefined, TreeNode | undefined]> {
  for (let i = 0, j = 0; i < one.length || j < other.length; ) {
    const order = i === one.length ? 1 : j === other.length ? -1 : Buffer.compare(one[i]!.name, other[j]!.name)
    yield [order <= 0 ? one[i++] : undefined, order >= 0 ? other[j++] : undefined]
  }
}

function sameContent(one: TreeNode, other: TreeNode): boolean {
  const [a, b] = [one.content, other.content]
  if (a === undefined || b === undefined) return a === b
  return a.length === b.length && a.every((id, at) => id === b[at])
}

/** All but content and subtree. */
function sameMetadata(one: TreeNode, other: TreeNode): boolean {
  return (
    one.type === other.type &&
    one.mode === other.mode &&
    one.mtime.ns === other.mtime.ns &&
    one.atime.ns === other.atime.ns &&
    one.ctime.ns === other.ctime.ns &&
    one.uid === other.uid &&
    one.gid === other.gid &&
    one.user === other.user &&
    one.group === other.group &&
    one.inode === other.inode &&
    one.deviceId === other.deviceId &&
    one.size === other.size &&
    one.links === other.links &&
    one.device === other.device &&
    one.genericAttributes === other.genericAttributes &&
    Buffer.compare(one.linkTarget ?? EMPTY, other.linkTarget ?? EMPTY) === 0 &&
    sameAttributes(one.extendedAttributes, other.extendedAttributes)
  )
}

const EMPTY = Buffer.alloc(0)

/** The order is that of the file system, and says nothing. */
function sameAttributes(one: readonly ExtendedAttribute[], other: readonly ExtendedAttribute[]): boolean {
  if (one.length !== other.length) return false
  return one.every(({ name, value }) => other.some((each) => each.name === name && each.value.equals(value)))
}
