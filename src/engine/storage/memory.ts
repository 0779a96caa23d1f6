import { EngineError } from '../error.ts'
import { resolveRange } from './byte-range.ts'
import { describeName, pathBeside, pathOf } from './layout.ts'
import type { FileName, Storage } from './storage.ts'

/** A repository that is gone with the process: for tests and rehearsals. It exists from the start. */
export function memoryStorage(location = 'memory'): Storage {
  const files = new Map<string, { name: FileName; content: Buffer }>()
  const beside = new Map<string, Buffer>()

  function find(name: FileName): Buffer {
    const file = files.get(pathOf(name))
    if (file !== undefined) return file.content
    throw new EngineError('NOT_FOUND', `Cannot find ${describeName(name)} in ${location}: it does not exist`, {
      facts: { type: name.type, id: name.id, location },
    })
  }

  return {
    location,

    beside: {
      async read(name, signal) {
        signal?.throwIfAborted()
        const content = beside.get(pathBeside(name))
        return content && Buffer.from(content)
      },
      async write(name, content, signal) {
        signal?.throwIfAborted()
        beside.set(pathBeside(name), Buffer.from(content))
      },
      async remove(name, signal) {
        signal?.throwIfAborted()
        beside.delete(pathBeside(name))
      },
    },

    async *list(type, signal) {
      signal?.throwIfAborted()
      for (const { name, content } of [...files.values()]) {
        if (name.type !== type) continue
        yield { name, size: content.length }
        signal?.throwIfAborted()
      }
    },

    async read(name, range, signal) {
      signal?.throwIfAborted()
      const content = find(name)
      const { offset, length } = resolveRange(name, range, content.length, location)
      return Buffer.from(content.subarray(offset, offset + length))
    },

    async size(name, signal) {
      signal?.throwIfAborted()
      return find(name).length
    },

    async create() {},

    async write(name, content, signal) {
      signal?.throwIfAborted()
      const path = pathOf(name)
      if (files.has(path)) {
        throw new EngineError('EXISTS', `Cannot write ${describeName(name)} in ${location}: it exists already`, {
          facts: { type: name.type, id: name.id, location },
        })
      }
      files.set(path, {
        name: { type: name.type, id: name.id },
        content: Buffer.isBuffer(content) ? Buffer.from(content) : Buffer.concat(content),
      })
    },

    async remove(name, signal) {
      signal?.throwIfAborted()
      files.delete(pathOf(name))
    },
  }
}
