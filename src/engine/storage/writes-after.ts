import { readsFilesOf } from './local.ts'
import type { Storage } from './storage.ts'

/** The storage, where nothing is changed before `ready` has resolved. What is to change it rejects as `ready` does. */
export function writesAfter(storage: Storage, ready: Promise<void>): Storage {
  const { beside } = storage
  const waiting: Storage = {
    ...storage,
    ...(beside && {
      beside: {
        ...beside,
        async write(name, content, signal) {
          await ready
          return beside.write(name, content, signal)
        },
        async remove(name, signal) {
          await ready
          return beside.remove(name, signal)
        },
      },
    }),
    async create() {
      await ready
      return storage.create()
    },
    async write(name, content, signal, onTaken) {
      await ready
      return storage.write(name, content, signal, onTaken)
    },
    async remove(name, signal) {
      await ready
      return storage.remove(name, signal)
    },
  }
  return readsFilesOf(waiting, storage)
}
