import { EngineError } from '../error.ts'
import { parseId } from '../format/id.ts'
import type { FileName, FileType } from './storage.ts'

// Paths within a repository, the same in every kind of storage (format section "Layout"):
//
//   config                      keys/<id>   locks/<id>   snapshots/<id>   index/<id>
//   data/<first 2 digits>/<id>  packs
const FOLDERS: Readonly<Record<Exclude<FileType, 'config'>, string>> = {
  key: 'keys',
  lock: 'locks',
  snapshot: 'snapshots',
  index: 'index',
  pack: 'data',
}

/** The folders at the top of a repository. */
export const TYPE_FOLDERS: readonly string[] = Object.values(FOLDERS)

/** The folders that packs are spread over, below one of those. */
export const PACK_FOLDERS: readonly string[] = Array.from(
  { length: 256 },
  (_, byte) => `${FOLDERS.pack}/${byte.toString(16).padStart(2, '0')}`,
)

/** The folder all files of a type are in, packs one level further down; `''` for `config`. */
export function folderOf(type: FileType): string {
  return type === 'config' ? '' : FOLDERS[type]
}

/** The path of a file, with `/`. Throws `INVALID_ID` for a name that is none, so that no path can lead out of a repository. */
export function pathOf({ type, id }: FileName): string {
  if (type === 'config') {
    if (id === '') return 'config'
    throw new EngineError('INVALID_ID', `Cannot use ${JSON.stringify(id)} as the ID of config: it has none`)
  }
  parseId(id)
  return type === 'pack' ? `${FOLDERS.pack}/${id.slice(0, 2)}/${id}` : `${FOLDERS[type]}/${id}`
}

/** The path of a file that lies beside a repository's own. Throws `INVALID_ID` for a name that could be taken for one of those. */
export function pathBeside(name: string): string {
  if (/^[A-Za-z0-9][\w.-]{0,99}$/.test(name) && name !== 'config' && !TYPE_FOLDERS.includes(name)) return name
  throw new EngineError('INVALID_ID', `Cannot use ${JSON.stringify(name)} as the name of a file beside a repository`)
}

/** More than any file beside a repository has, in bytes. */
export const BESIDE_LIMIT = 1024 * 1024

/** For messages: `config`, `pack 3f2a…` with all digits. */
export function describeName({ type, id }: FileName): string {
  return type === 'config' ? 'config' : `${type} ${id}`
}
