import type { Storage } from './storage.ts'

/** What knows which packs hold trees tells a storage that can make use of it. */
export interface TreePackListener {
  /** All that there are: others are dropped from the cache. */
  setTreePacks(packs: ReadonlySet<string>): Promise<void>
  /** One more, about to be written. */
  addTreePack(pack: string): void
  /** The storage itself: for who must know what lies there. */
  readonly uncached: Storage
}

export function listensForTreePacks(storage: Storage): storage is Storage & TreePackListener {
  return 'setTreePacks' in storage
}

/** The storage itself, where it is one that keeps files elsewhere. */
export function withoutCache(storage: Storage): Storage {
  return listensForTreePacks(storage) ? storage.uncached : storage
}
