/** Numbers that look random and are the same for the same seed. */
export interface SeededRandom {
  /** From 0 up to, not including, 1. */
  next(): number
  /** A whole number from 0 up to, not including, the one given, which is at most 2^32. */
  below(limit: number): number
  pick<T>(items: readonly T[]): T
}

/** sfc32, seeded by the hash of the text (FNV-1a); a few nanoseconds a number, and good enough to spread tests. */
export function seededRandom(seed: string | number): SeededRandom {
  let hash = 0x811c9dc5
  for (const char of String(seed)) hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193)
  let [a, b, c, counter] = [hash, hash ^ 0x9e3779b9, 0x6a09e667, 1]
  const word = (): number => {
    const sum = (a + b + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + sum
    return sum >>> 0
  }
  for (let i = 0; i < 12; i++) word()
  const next = () => word() / 2 ** 32
  const below = (limit: number) => Math.floor(next() * limit)
  return { next, below, pick: (items) => items[below(items.length)]! }
}
