import { isId } from '../../src/engine/format/id.ts'
import { pathOf } from '../../src/engine/storage/layout.ts'
import { memoryStorage } from '../../src/engine/storage/memory.ts'
import type { FileName, FileType, Storage, StorageReader } from '../../src/engine/storage/storage.ts'
import type { FolderContent } from './power-cut/folder-content.ts'

const TYPES: Readonly<Record<string, FileType>> = {
  keys: 'key',
  locks: 'lock',
  snapshots: 'snapshot',
  index: 'index',
  data: 'pack',
}
const ALL_TYPES: readonly FileType[] = ['config', ...Object.values(TYPES)]

/** Undefined for what is no file of a repository: a temporary name, a folder. */
function nameOf(path: string): FileName | undefined {
  if (path === 'config') return { type: 'config', id: '' }
  const [folder = '', ...rest] = path.split('/')
  const type = TYPES[folder]
  const id = rest.at(-1) ?? ''
  if (type === undefined || !isId(id)) return undefined
  const name = { type, id }
  return pathOf(name) === path ? name : undefined
}

/** A repository in memory with the files of a folder. */
export async function storageOf(content: FolderContent, location?: string): Promise<Storage> {
  const storage = memoryStorage(location)
  for (const [path, bytes] of content) {
    const name = nameOf(path)
    if (name && bytes) await storage.write(name, bytes)
  }
  return storage
}

/** Everything that a storage holds, as a folder would. */
export async function contentOfStorage(storage: StorageReader): Promise<FolderContent> {
  const content = new Map<string, Buffer | null>()
  for (const type of ALL_TYPES) {
    for await (const { name } of storage.list(type)) {
      const path = pathOf(name)
      const folders = path.split('/').slice(0, -1)
      for (const depth of folders.keys()) content.set(folders.slice(0, depth + 1).join('/'), null)
      content.set(path, await storage.read(name))
    }
  }
  for (const folder of Object.keys(TYPES)) content.set(folder, null)
  return content
}
