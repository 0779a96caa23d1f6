import { setTimeout as sleep } from 'node:timers/promises'
import { EngineError } from '../error.ts'
import { describeName } from './layout.ts'
import type { FileName, FileType, Storage, StoredFile } from './storage.ts'

export type StorageMethod = 'create' | 'list' | 'read' | 'size' | 'write' | 'remove'

/** Something that goes wrong in calls of one method. */
export interface Fault {
  readonly on: StorageMethod
  /** Only for files of this type; otherwise for all of them. */
  readonly type?: FileType
  /** Only in the nth call that fits, from 1; otherwise in each. */
  readonly nth?: number
  /**
   * - `fail`: rejects, and nothing has happened
   * - `lose-answer`: happens, and rejects all the same, as when a connection breaks too late
   * - `short`: the second half is missing of what is read, written or listed, without an error
   * - `flip`: one bit in the middle of what is read or written is wrong, without an error
   * - `late`: happens after a pause, while whatever else is under way goes on
   * - `duplicate`: happens twice, as when a connection breaks and the request is repeated: the answer is the second one, so
   *   that a write says the name exists; a listing names every file twice
   *
   * What a method has nothing to do with (`flip` of a size) is refused by `withFaults`.
   */
  readonly effect: 'fail' | 'lose-answer' | 'short' | 'flip' | 'late' | 'duplicate'
  /** What `fail` and `lose-answer` reject with; otherwise an error with code `STORAGE`. */
  readonly error?: Error
}

export interface FaultyStorage extends Storage {
  /** How often each fault of the plan has happened, in its order: a test that never saw its fault shows nothing. */
  readonly fired: readonly number[]
}

/** Milliseconds; longer than everything else that goes on in memory. */
const PAUSE = 50

const SILENT: Readonly<Record<'short' | 'flip', readonly StorageMethod[]>> = {
  short: ['list', 'read', 'write'],
  flip: ['read', 'write'],
}

/** The storage, with faults for tests. Of several faults that fit a call the first of the plan happens. */
export function withFaults(storage: Storage, plan: readonly Fault[]): FaultyStorage {
  for (const { on, effect } of plan) {
    if ((effect === 'short' || effect === 'flip') && !SILENT[effect].includes(on)) {
      throw new TypeError(`Cannot inject \`${effect}\` into \`${on}\`: it has no content`)
    }
  }
  const seen = plan.map(() => 0)
  const fired = plan.map(() => 0)

  /** The fault for one call; counts the call with every fault it fits. */
  function next(on: StorageMethod, type?: FileType): Fault | undefined {
    let due: Fault | undefined
    for (const [index, fault] of plan.entries()) {
      if (fault.on !== on || (fault.type !== undefined && fault.type !== type)) continue
      seen[index]!++
      if (due !== undefined || (fault.nth !== undefined && fault.nth !== seen[index])) continue
      fired[index]!++
      due = fault
    }
    return due
  }

  /** One call with its fault, unless that is one of content. */
  async function call<T>(fault: Fault | undefined, what: string, work: () => Promise<T>): Promise<T> {
    if (fault?.effect === 'fail') throw injected(fault, what)
    if (fault?.effect === 'late') await sleep(PAUSE)
    if (fault?.effect === 'duplicate') await work()
    const result = await work()
    if (fault?.effect === 'lose-answer') throw injected(fault, what)
    return result
  }

  return {
    location: storage.location,
    fired,
    ...(storage.beside === undefined ? {} : { beside: storage.beside }), // nothing depends on what lies there

    async *list(type, signal) {
      const fault = next('list', type)
      if (fault?.effect === 'fail') throw injected(fault, `list ${type}`)
      if (fault?.effect === 'short') {
        const all: StoredFile[] = []
        for await (const file of storage.list(type, signal)) all.push(file)
        yield* all.slice(0, all.length >> 1)
        return
      }
      if (fault?.effect === 'late') await sleep(PAUSE)
      if (fault?.effect === 'duplicate') yield* storage.list(type, signal)
      yield* storage.list(type, signal)
      if (fault?.effect === 'lose-answer') throw injected(fault, `list ${type}`)
    },

    async read(name, range, signal) {
      const fault = next('read', name.type)
      const bytes = await call(fault, `read ${describeName(name)}`, () => storage.read(name, range, signal))
      return damage(bytes, fault)
    },

    async size(name, signal) {
      return call(next('size', name.type), `size ${describeName(name)}`, () => storage.size(name, signal))
    },

    async create() {
      await call(next('create'), 'create', () => storage.create())
    },

    async write(name: FileName, content, signal) {
      const fault = next('write', name.type)
      const bytes = fault === undefined ? content : damage(Buffer.concat([content].flat()), fault)
      await call(fault, `write ${describeName(name)}`, () => storage.write(name, bytes, signal))
    },

    async remove(name, signal) {
      await call(next('remove', name.type), `remove ${describeName(name)}`, () => storage.remove(name, signal))
    },
  }
}

/** Bytes of the caller's own to spoil: a copy is made. */
function damage(bytes: Buffer, fault: Fault | undefined): Buffer {
  if (fault?.effect === 'short') return Buffer.from(bytes.subarray(0, bytes.length >> 1))
  if (fault?.effect !== 'flip' || bytes.length === 0) return bytes
  const damaged = Buffer.from(bytes)
  damaged[damaged.length >> 1]! ^= 1
  return damaged
}

function injected(fault: Fault, what: string): Error {
  return fault.error ?? new EngineError('STORAGE', `Cannot ${what}: a fault was injected`)
}
