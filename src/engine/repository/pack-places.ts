import { EngineError } from '../error.ts'

/** One pack is filled while the one before is stored. */
export const PACK_PLACES = 2

/** The place that is used where storage keeps up. */
const FIRST = 0

/**
 * How long to wait for the first place. Storing a pack of 16 MB in memory or on a fast disk takes less, and meanwhile the processor
 * has that to do.
 */
const PATIENCE_MILLISECONDS = 100

/** Packs for which nobody waits after one was waited for in vain: storage is slower than that. */
const IMPATIENT_PACKS = 4

const [FREE, TAKEN, CLOSED] = [0, 1, 2]

/** Counts what was released, so that each wakes whoever waits. */
const RELEASED = PACK_PLACES

/** Which packs of an assembler still need their bytes, to be stored. The buffer may be given to other threads. */
export class PackPlaces {
  readonly buffer: SharedArrayBuffer
  readonly #words: Int32Array<SharedArrayBuffer>
  /** Packs for which the first place is not waited for. */
  #impatient = 0

  constructor(buffer = new SharedArrayBuffer(4 * (PACK_PLACES + 1))) {
    this.buffer = buffer
    this.#words = new Int32Array(buffer)
  }

  /**
   * Takes a place: the first one if it is free or soon will be, so that the same memory is written again; otherwise any, and while
   * there is none this blocks the thread. `INTERRUPTED` once closed.
   */
  take(): number {
    if (this.#impatient > 0) this.#impatient -= 1
    else if (this.#waitForFirst()) return FIRST
    else this.#impatient = IMPATIENT_PACKS
    for (;;) {
      const released = Atomics.load(this.#words, RELEASED)
      for (let place = 0; place < PACK_PLACES; place++) if (this.#obtain(place)) return place
      Atomics.wait(this.#words, RELEASED, released)
    }
  }

  /** Whether the other places are not used, and will not be if storage goes on as it does. */
  get isFirstEnough(): boolean {
    if (this.#impatient > 0) return false
    for (let place = FIRST + 1; place < PACK_PLACES; place++)
      if (Atomics.load(this.#words, place) !== FREE) return false
    return true
  }

  /** The pack in this place needs its bytes no more. Once for each time that it was taken. */
  release(place: number): void {
    Atomics.compareExchange(this.#words, place, TAKEN, FREE)
    this.#wake()
  }

  /** Wakes who waits for a place: there will be none any more. */
  close(): void {
    for (let place = 0; place < PACK_PLACES; place++) Atomics.store(this.#words, place, CLOSED)
    this.#wake()
  }

  #waitForFirst(): boolean {
    const end = performance.now() + PATIENCE_MILLISECONDS
    for (;;) {
      const released = Atomics.load(this.#words, RELEASED)
      if (this.#obtain(FIRST)) return true
      const left = end - performance.now()
      if (left <= 0) return false
      Atomics.wait(this.#words, RELEASED, released, left)
    }
  }

  #obtain(place: number): boolean {
    const found = Atomics.compareExchange(this.#words, place, FREE, TAKEN)
    if (found === CLOSED) throw new EngineError('INTERRUPTED', 'Cannot fill another pack: nobody stores them any more')
    return found === FREE
  }

  #wake(): void {
    Atomics.add(this.#words, RELEASED, 1)
    Atomics.notify(this.#words, RELEASED)
  }
}
