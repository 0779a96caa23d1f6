import { randomBytes } from 'node:crypto'

// Polynomials over GF(2) as integers: bit i is the coefficient of x^i, addition is XOR.

/** The degree that the chunker's polynomial must have. */
export const CHUNKER_DEGREE = 53

/** The degree of the polynomial, -1 for zero. */
export function degree(f: bigint): number {
  return f === 0n ? -1 : f.toString(2).length - 1
}

/** The remainder of `a` divided by `f`, which must not be zero. */
export function mod(a: bigint, f: bigint): bigint {
  const n = degree(f)
  if (n < 0) throw new RangeError('Cannot divide a polynomial by zero')
  let rest = a
  for (let i = degree(rest); i >= n; i = degree(rest)) rest ^= f << BigInt(i - n)
  return rest
}

/** The product of `a` and `b` modulo `f`. */
export function multiplyMod(a: bigint, b: bigint, f: bigint): bigint {
  let product = 0n
  for (let shifted = a, left = b; left > 0n; left >>= 1n, shifted <<= 1n) {
    if (left & 1n) product ^= shifted
  }
  return mod(product, f)
}

/** The common divisor of highest degree; `gcd(a, 0)` is `a`. */
export function gcd(a: bigint, b: bigint): bigint {
  let [x, y] = [a, b]
  while (y !== 0n) [x, y] = [y, mod(x, y)]
  return x
}

/**
 * Whether no polynomial but itself and 1 divides `f`. x^(2^i) + x is the product of all irreducible
 * polynomials whose degree divides i, so a factor of `f` shows up in one of its first halves.
 */
export function isIrreducible(f: bigint): boolean {
  const n = degree(f)
  if (n < 1) return false
  const x = 2n
  let power = mod(x, f)
  for (let i = 1; i <= n / 2; i++) {
    power = multiplyMod(power, power, f)
    if (gcd(f, power ^ x) !== 1n) return false
  }
  return true
}

/** A random irreducible polynomial for a new repository. About one candidate in 27 is irreducible. */
export function randomPolynomial(random: (size: number) => Buffer = randomBytes): bigint {
  for (;;) {
    const candidate = BigInt.asUintN(CHUNKER_DEGREE, random(8).readBigUInt64LE()) | (1n << BigInt(CHUNKER_DEGREE)) | 1n
    if (isIrreducible(candidate)) return candidate
  }
}
