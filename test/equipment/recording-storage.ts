import { pathOf } from '../../src/engine/storage/layout.ts'
import type { FileName, Storage } from '../../src/engine/storage/storage.ts'

export interface Recorded extends Storage {
  /** `write index/3f2a…`, in the order in which the calls came to their end. */
  readonly done: readonly string[]
}

/** The storage, with a record of what was changed in it. */
export function recordingStorage(storage: Storage): Recorded {
  const done: string[] = []
  const note = (verb: string, name: FileName) => done.push(`${verb} ${pathOf(name)}`)
  return {
    ...storage,
    done,
    async write(name, content, signal) {
      await storage.write(name, content, signal)
      note('write', name)
    },
    async remove(name, signal) {
      await storage.remove(name, signal)
      note('remove', name)
    },
  }
}
