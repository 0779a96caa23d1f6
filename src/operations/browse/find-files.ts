import type { BlobId } from '../../engine/format/id.ts'
import type { TreeNode } from '../../engine/format/tree-node.ts'
import { BlobMap } from '../../engine/repository/blob-map.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { pathIn, walkPaths } from '../../engine/repository/walk-paths.ts'
import type { RepositoryAccess } from '../access.ts'
import { OperationError } from '../error.ts'
import { charactersOf, follow, lowered, type PatternState, parseFindPattern, startOf } from './find-pattern.ts'
import { type SearchOptions, searchSnapshots } from './search-snapshots.ts'

export interface FindFilesOptions extends SearchOptions {
  /** As `parseFindPattern` takes them; an entry is found that fits one. */
  readonly patterns: readonly string[]
  readonly ignoreCase?: boolean
  /** Bounds of the modification time, ns since the epoch, both included. */
  readonly oldest?: bigint | undefined
  readonly newest?: bigint | undefined
}

export interface FoundFile {
  readonly stored: StoredSnapshot
  /** Absolute in the snapshot, raw bytes. */
  readonly path: Buffer
  readonly node: TreeNode
}

/**
 * Looks for entries by their names or paths. What is found is handed on at once, so memory stays bounded; a folder in which nothing was
 * found is not read again for the next snapshot that has it.
 */
export async function findFiles(
  access: RepositoryAccess,
  options: FindFilesOptions,
  onFile: (found: FoundFile) => void,
): Promise<void> {
  const { patterns: texts, ignoreCase = false, oldest, newest } = options
  if (oldest !== undefined && newest !== undefined && oldest > newest) {
    throw new OperationError('USAGE', 'Cannot find anything: the oldest time is later than the newest')
  }
  const patterns = texts.map((text) => parseFindPattern(ignoreCase ? lowered([...text]).join('') : text))
  await searchSnapshots(access, options, async (search) => {
    const barren = new BarrenTrees()
    for (const stored of search.snapshots) {
      let found = 0
      await walkPaths<SearchedFolder>(
        search.repository,
        stored.snapshot.tree,
        { states: patterns.map(startOf), foundBefore: 0 },
        {
          node(node, folder) {
            const characters = ignoreCase ? lowered(charactersOf(node.name)) : charactersOf(node.name)
            const states = folder.state.states.map((state, at) => follow(patterns[at]!, state, characters))
            const { ns } = node.mtime
            if (
              states.includes('matched') &&
              (oldest === undefined || ns >= oldest) &&
              (newest === undefined || ns <= newest)
            ) {
              found += 1
              onFile({ stored, path: pathIn(folder, node.name), node })
            }
            if (states.every((state) => state.length === 0)) return undefined
            if (node.subtree !== undefined && barren.has(node.subtree, states)) return undefined
            return { state: { states, foundBefore: found } }
          },
          leave({ tree, state }) {
            if (found === state.foundBefore) barren.add(tree, state.states)
          },
          unreadable(folder, error) {
            found += 1 // nobody knows what is in it: not to be passed by the next time
            search.unreadable(stored, folder, error)
          },
        },
        search.signal,
      )
    }
  })
}

interface SearchedFolder {
  readonly states: readonly PatternState[]
  readonly foundBefore: number
}

/** Folders in which nothing was found, and by which state of the patterns. */
class BarrenTrees {
  readonly #trees = new BlobMap()
  readonly #states = new Map<string, number>()

  has(tree: BlobId, states: readonly PatternState[]): boolean {
    return this.#trees.get('tree', tree) === this.#numberOf(states)
  }

  add(tree: BlobId, states: readonly PatternState[]): void {
    this.#trees.set('tree', tree, this.#numberOf(states))
  }

  #numberOf(states: readonly PatternState[]): number {
    const key = states.join(' ')
    const number = this.#states.get(key) ?? this.#states.size
    this.#states.set(key, number)
    return number
  }
}
