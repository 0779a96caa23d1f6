import type { Storage } from '../../src/engine/storage/storage.ts'

/** The storage, with a record of what was asked of it: `read pack`, `list index`. */
export function countingStorage(storage: Storage): Storage & { readonly asked: string[] } {
  const asked: string[] = []
  return {
    ...storage,
    asked,
    list(type, signal) {
      asked.push(`list ${type}`)
      return storage.list(type, signal)
    },
    async read(name, range, signal) {
      asked.push(`read ${name.type}`)
      return storage.read(name, range, signal)
    },
    async write(name, content, signal) {
      asked.push(`write ${name.type}`)
      return storage.write(name, content, signal)
    },
    async size(name, signal) {
      asked.push(`size ${name.type}`)
      return storage.size(name, signal)
    },
  }
}
