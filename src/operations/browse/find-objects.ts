import { EngineError } from '../../engine/error.ts'
import { type BlobId, isId, type PackId } from '../../engine/format/id.ts'
import type { BlobType, PackedBlob } from '../../engine/format/pack-header.ts'
import { BlobMap } from '../../engine/repository/blob-map.ts'
import { readPackHeader } from '../../engine/repository/read-pack-header.ts'
import type { IndexedRepository } from '../../engine/repository/repository.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { pathIn, walkPaths } from '../../engine/repository/walk-paths.ts'
import type { RepositoryAccess } from '../access.ts'
import { OperationError } from '../error.ts'
import { type SearchOptions, searchSnapshots } from './search-snapshots.ts'

export interface FindObjectsOptions extends SearchOptions {
  /** Of what the IDs are: of content, of folders, or of packs, which stand for all that is in them. */
  readonly kind: 'blob' | 'tree' | 'pack'
  /** IDs or their beginnings. */
  readonly ids: readonly string[]
}

export interface FoundObject {
  readonly stored: StoredSnapshot
  readonly type: 'blob' | 'tree'
  readonly id: BlobId
  /** Of the file that needs the blob, or of the folder. */
  readonly path: Buffer
  /** Of a blob: the tree that lists the file. */
  readonly parentTree: BlobId | undefined
  /** Those that hold a copy, as the index says. */
  readonly packs: readonly PackId[]
}

/** Looks where in snapshots blobs, trees or the content of packs are used: what is lost when one of them is damaged. */
export async function findObjects(
  access: RepositoryAccess,
  options: FindObjectsOptions,
  onObject: (found: FoundObject) => void,
): Promise<void> {
  const wrong = options.ids.find((id) => !/^[0-9a-f]{1,64}$/.test(id))
  if (wrong !== undefined) {
    throw new OperationError('USAGE', `Cannot look for ${wrong}: it is no beginning of an ID`, {
      hint: 'IDs have 64 digits, 0-9 and a-f; some of the first are enough',
    })
  }
  await searchSnapshots(access, options, async (search) => {
    const { repository, signal } = search
    const wanted = await wantedObjects(repository, options, signal)
    const packsOf = (type: BlobType, id: BlobId) => repository.index.findAll(type, id).map(({ pack }) => pack)
    const barren = new BlobMap()
    for (const stored of search.snapshots) {
      let found = 0
      const report = (type: 'blob' | 'tree', id: BlobId, path: Buffer, parentTree?: BlobId) => {
        found += 1
        onObject({ stored, type, id, path, parentTree, packs: packsOf(type === 'tree' ? 'tree' : 'data', id) })
      }
      const root = stored.snapshot.tree
      if (wanted.tree(root)) report('tree', root, Buffer.from('/'))
      await walkPaths<{ readonly foundBefore: number }>(
        repository,
        root,
        { foundBefore: found },
        {
          node(node, folder) {
            for (const id of new Set(node.content)) {
              if (wanted.data(id)) report('blob', id, pathIn(folder, node.name), folder.tree)
            }
            if (node.subtree === undefined) return undefined
            if (wanted.tree(node.subtree)) report('tree', node.subtree, pathIn(folder, node.name))
            return barren.has('tree', node.subtree) ? undefined : { state: { foundBefore: found } }
          },
          leave({ tree, state }) {
            if (found === state.foundBefore) barren.set('tree', tree, 0)
          },
          unreadable(folder, error) {
            found += 1
            search.unreadable(stored, folder, error)
          },
        },
        signal,
      )
    }
  })
}

interface Wanted {
  data(id: BlobId): boolean
  tree(id: BlobId): boolean
}

async function wantedObjects(
  repository: IndexedRepository,
  { kind, ids }: FindObjectsOptions,
  signal: AbortSignal,
): Promise<Wanted> {
  const none = () => false
  if (kind !== 'pack') {
    const fits = beginsWithOne(ids)
    return kind === 'blob' ? { data: fits, tree: none } : { data: none, tree: fits }
  }
  const blobs = new BlobMap()
  for (const blob of await packContents(repository, ids, signal)) blobs.set(blob.type, blob.id, 0)
  return { data: (id) => blobs.has('data', id), tree: (id) => blobs.has('tree', id) }
}

function beginsWithOne(ids: readonly string[]): (id: BlobId) => boolean {
  const whole = new Set(ids.filter(isId))
  const beginnings = ids.filter((id) => !isId(id))
  return (id) => whole.has(id) || beginnings.some((beginning) => id.startsWith(beginning))
}

/** What the index lists of the packs, also when they are gone; of a pack that no index names, what it says itself. */
async function packContents(
  repository: IndexedRepository,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<PackedBlob[]> {
  const sizes = new Map<PackId, number | undefined>()
  for (const { id } of repository.index.packs()) if (ids.some((start) => id.startsWith(start))) sizes.set(id, undefined)
  for await (const { name, size } of repository.storage.list('pack', signal)) {
    if (ids.some((start) => name.id.startsWith(start))) sizes.set(name.id as PackId, size)
  }
  const unknown = ids.find((start) => ![...sizes.keys()].some((id) => id.startsWith(start)))
  if (unknown !== undefined) {
    throw new EngineError('NOT_FOUND', `No pack ${unknown} in the repository at ${repository.storage.location}`, {
      facts: { pack: unknown },
    })
  }
  const contents: PackedBlob[][] = []
  for (const [id, size = 0] of sizes) {
    const read = (offset: number, length: number) =>
      repository.storage.read({ type: 'pack', id }, { offset, length }, signal)
    contents.push(repository.index.packBlobs(id) ?? (await readPackHeader(repository.masterKey, { size, read })))
  }
  return contents.flat()
}
