import type { TreeNode } from '../../engine/format/tree-node.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { pathIn, walkPaths } from '../../engine/repository/walk-paths.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { chooseSnapshot, type SnapshotChoice } from '../restore/snapshot-choice.ts'
import { findNode, pathParts } from '../snapshot-files.ts'
import { findFolder, noPath } from './find-folder.ts'
import type { ListedFile } from './listed-file.ts'
import { type FileOrder, sortFiles } from './sort-files.ts'

export interface ListFilesOptions {
  readonly choice: SnapshotChoice
  /** Restic's `SNAPSHOT:/folder`: the folder is the root of what is listed. */
  readonly subfolder?: string | undefined
  /** Only what lies at or below these; by default everything. */
  readonly paths?: readonly string[]
  /** Go into the folders below `paths`; without paths everything is listed, as restic does. */
  readonly recursive?: boolean
  /** Sorted by this instead of in the order of a walk: all that is listed is collected first. */
  readonly sort?: FileOrder
  readonly reverse?: boolean
  readonly signal: AbortSignal
}

export interface FileListener {
  snapshot(stored: StoredSnapshot): void
  file(file: ListedFile): void
  /** A folder on the way to one of the paths, which is not listed itself. Not called when sorted, like `leave`. */
  passed?(file: ListedFile): void
  /** After all that is listed of a folder, or that was passed. */
  leave?(): void
}

/** Lists a snapshot in the order of a depth-first walk, as entries are found, so memory stays bounded. Rejects with `NO_PATH`. */
export async function listFiles(
  access: RepositoryAccess,
  options: ListFilesOptions,
  listener: FileListener,
): Promise<void> {
  const { choice, subfolder, sort = 'name', reverse = false } = options
  await withRepository(access, { lock: 'shared', signal: options.signal }, async (plain, lockSignal) => {
    const signal = lockSignal ?? options.signal
    const { repository, stored } = await chooseSnapshot(plain, choice, signal)
    const root = await findFolder(repository, stored, subfolder, signal)
    for (const path of options.paths ?? []) {
      if (pathParts(path).length > 0 && !(await findNode(repository, root, path, signal))) throw noPath(path, stored)
    }
    listener.snapshot(stored)
    const isCollected = sort !== 'name' || reverse
    const collected: ListedFile[] = []
    const list = isCollected
      ? // What a file consists of is not listed, and would be most of what is remembered.
        ({ path, node }: ListedFile) => void collected.push({ path, node: { ...node, content: undefined } })
      : (file: ListedFile) => listener.file(file)
    const leave = () => {
      if (!isCollected) listener.leave?.()
    }

    await walkPaths<Place>(
      repository,
      root,
      startingPlace(options),
      {
        node(node, folder) {
          const { isListed, place } = placeOf(node, folder.state, options)
          const isEntered = place.contents !== 'none' || place.ways.length > 0
          if (!isListed && !isEntered) return undefined
          const file = { path: pathIn(folder, node.name), node }
          if (isListed) list(file)
          else if (!isCollected) listener.passed?.(file)
          if (isEntered) return { state: place }
          if (node.type === 'dir') leave()
          return undefined
        },
        leave: ({ node }) => {
          if (node !== undefined) leave()
        },
      },
      signal,
    )
    for (const file of sortFiles(collected, sort, reverse)) listener.file(file)
  })
}

/** How a folder stands to the paths that are asked for. */
interface Place {
  /** What of its content is listed. */
  readonly contents: 'all' | 'direct' | 'none'
  /** What is left of the paths that lead on from here. */
  readonly ways: readonly (readonly Buffer[])[]
}

function startingPlace({ paths = [], recursive = false }: ListFilesOptions): Place {
  const ways = paths.map(pathParts)
  const isNamed = ways.some((way) => way.length === 0)
  const contents = paths.length === 0 || (isNamed && recursive) ? 'all' : isNamed ? 'direct' : 'none'
  return { contents, ways: ways.filter((way) => way.length > 0) }
}

function placeOf(
  { name, type }: TreeNode,
  folder: Place,
  { recursive = false }: ListFilesOptions,
): { readonly isListed: boolean; readonly place: Place } {
  const onward = folder.ways.filter(([next]) => next!.equals(name)).map((way) => way.slice(1))
  const isNamed = onward.some((way) => way.length === 0)
  const contents = folder.contents === 'all' || (isNamed && recursive) ? 'all' : isNamed ? 'direct' : 'none'
  const place: Place =
    type === 'dir' ? { contents, ways: onward.filter((way) => way.length > 0) } : { contents: 'none', ways: [] }
  return { isListed: isNamed || folder.contents !== 'none', place }
}
