import { closeSync, constants, openSync, readSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { EngineError } from '../error.ts'
import { EntryStats } from '../os/entry-stats.ts'
import { errnoOf } from '../os/errno.ts'

/**
 * Time stamps of files come from a clock that ticks every 1 to 10 ms. A write in the same tick as the one before leaves no
 * trace in them, so what is read of a file within a tick of its last change may be taken for unchanged for ever.
 */
const TICK_MILLISECONDS = 20

/** A regular file, opened without following a link and without waiting for a FIFO that took its place. */
export class OpenedFile implements Disposable {
  readonly fd: number
  readonly #isLent: boolean
  #stats: EntryStats

  /**
   * Throws the system's own error when the file cannot be opened, `SOURCE` when it is no regular file any more. A
   * `descriptor` of the file is used instead of opening it, and stays open.
   */
  constructor(path: Buffer, descriptor?: number) {
    this.#isLent = descriptor !== undefined
    this.fd = descriptor ?? openWithoutAccessTime(path)
    try {
      this.#stats = EntryStats.ofDescriptor(this.fd)
      if (!this.#stats.isFile()) throw notRegular(path)
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
  }

  /** As of the opening, or of the end of `settle`: never younger than the content that is read. */
  get stats(): EntryStats {
    return this.#stats
  }

  /** Lets the tick of the last change pass, once: a file that is written to all the time never settles. */
  async settle(): Promise<void> {
    if (!isInLastTick(this.#stats)) return
    await sleep(TICK_MILLISECONDS)
    this.#stats = EntryStats.ofDescriptor(this.fd)
  }

  /** Reads at most as much as the file has now, so that a file that keeps growing comes to an end. */
  reader(): (into: Buffer) => number {
    let limit = this.#stats.size
    let position = 0
    return (into) => {
      // Files of /proc say that they have 0 bytes, whatever they hold: those are read to their end.
      const length = limit === 0 ? into.length : Math.min(into.length, limit - position)
      if (length === 0) return 0
      let count = readSync(this.fd, into, 0, length, position)
      if (limit === 0 && count > 0) {
        limit = EntryStats.ofDescriptor(this.fd).size // was empty, and has begun to grow
        if (limit > 0) count = Math.min(count, limit)
      }
      position += count
      return count
    }
  }

  /** Whether the file was written to since it was in a state, as far as size and times tell. */
  hasChanged(before: EntryStats = this.#stats): boolean {
    const after = EntryStats.ofDescriptor(this.fd)
    return (
      after.mtimeSeconds !== before.mtimeSeconds ||
      after.mtimeNanoseconds !== before.mtimeNanoseconds ||
      after.size !== before.size
    )
  }

  [Symbol.dispose](): void {
    if (!this.#isLent) closeSync(this.fd)
  }
}

/** Whether the file was changed so lately that a further change may have left the same times. */
export function isInLastTick({ ctimeSeconds, ctimeNanoseconds }: EntryStats): boolean {
  const age = Date.now() - (ctimeSeconds * 1000 + ctimeNanoseconds / 1e6)
  return age >= 0 && age < TICK_MILLISECONDS // not from the future: another machine's clock, which waiting does not change
}

/** A descriptor of the file. Throws the system's own error, `SOURCE` when it is a link or a socket. */
export function openWithoutAccessTime(path: Buffer): number {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  try {
    return openSync(path, flags | constants.O_NOATIME)
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ELOOP' || errno === 'ENXIO') throw notRegular(path, error) // a symbolic link; a socket
    if (errno !== 'EPERM') throw error // only a file's owner may leave its access time alone
    return openSync(path, flags)
  }
}

function notRegular(path: Buffer, cause?: unknown): EngineError {
  return new EngineError('SOURCE', `Cannot read ${path}: something else than a regular file has taken its place`, {
    facts: { path: path.toString() },
    cause,
  })
}
