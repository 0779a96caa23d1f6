/**
 * Maps with at most `limit` calls under way; yields in input order. The first failure ends the iteration, after the
 * calls that were under way have settled, so that nothing runs on behind the caller's back.
 */
export async function* mapConcurrent<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  map: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const underWay: Promise<R>[] = []
  const start = (item: T) => {
    const promise = map(item)
    promise.catch(() => {}) // reported when its turn comes; until then it must not count as unhandled
    underWay.push(promise)
  }
  try {
    for await (const item of items) {
      start(item)
      if (underWay.length >= limit) yield await underWay.shift()!
    }
    while (underWay.length > 0) yield await underWay.shift()!
  } finally {
    await Promise.allSettled(underWay)
  }
}

/** Admits at most `limit` holders at a time, in order of arrival. */
export class Semaphore {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(limit: number) {
    this.#free = limit
  }

  async run<R>(task: () => Promise<R>): Promise<R> {
    if (this.#free > 0) this.#free -= 1
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await task()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free += 1
    }
  }
}
