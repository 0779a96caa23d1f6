/** Numbers for one input: the same for the same seed, target and number of the input, whatever came before. */
export class FuzzRandom {
  #a = 0
  #b = 0
  #c = 0
  #counter = 1

  /** Three whole numbers below 2^32. */
  restart(seed: number, target: number, input: number): void {
    this.#a = seed | 0
    this.#b = target | 0
    this.#c = input | 0
    this.#counter = 1
    for (let i = 0; i < 10; i++) this.word()
  }

  /** sfc32. */
  word(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    return sum >>> 0
  }

  /** A whole number from 0 up to, not including, the one given. */
  below(limit: number): number {
    return Math.floor((this.word() / 2 ** 32) * limit)
  }

  /** True once in so many times. */
  oneIn(times: number): boolean {
    return this.below(times) === 0
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }

  /** Small numbers far more often than large ones, up to, not including, the limit. */
  small(limit: number): number {
    return this.below(1 + this.below(1 + this.below(limit)))
  }
}

/** FNV-1a of the text, for a seed. */
export function textHash(text: string): number {
  let hash = 0x811c9dc5
  for (const char of text) hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193)
  return hash >>> 0
}
