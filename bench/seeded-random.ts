import { createCipheriv, createHash } from 'node:crypto'

/** Random numbers that a seed determines: the same corpus on every machine. */
export interface SeededRandom {
  /** In [0, 1). */
  next(): number
  /** Whole number in [0, limit). */
  below(limit: number): number
  /** Sizes as files have them: many small ones, few large. */
  logNormal(median: number, sigma: number): number
  /** Incompressible. */
  bytes(length: number): Buffer
}

export function seededRandom(seed: string): SeededRandom {
  const key = createHash('sha256').update(seed).digest()
  const stream = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  // sfc32, Chris Doty-Humphrey (PractRand)
  let a = key.readUInt32LE(0)
  let b = key.readUInt32LE(4)
  let c = key.readUInt32LE(8)
  let counter = 1
  const next = () => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + sum
    c |= 0
    return (sum >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return {
    next,
    below,
    logNormal: (median, sigma) =>
      median * Math.exp(sigma * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())),
    bytes: (length) => stream.update(Buffer.alloc(length)),
  }
}
