import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { degree, gcd, isIrreducible, mod, multiplyMod, randomPolynomial } from './polynomial.ts'

const polynomial = (max = 1n << 70n) => fc.bigInt(0n, max)

function multiply(a: bigint, b: bigint): bigint {
  let product = 0n
  for (let i = 0n; i <= BigInt(degree(b)); i++) if ((b >> i) & 1n) product ^= a << i
  return product
}

test('degrees', () => {
  assert.deepEqual([0n, 1n, 2n, 3n, 0x25b468838dcb75n].map(degree), [-1, 0, 1, 1, 53])
})

test('a remainder is below the divisor and differs by a multiple of it', () => {
  fc.assert(
    fc.property(polynomial(), polynomial(1n << 30n), polynomial(), (quotient, divisor, a) => {
      fc.pre(divisor !== 0n)
      const rest = mod(a, divisor)
      assert.ok(degree(rest) < degree(divisor))
      assert.equal(mod(multiply(quotient, divisor) ^ rest, divisor), rest)
    }),
  )
})

test('the product modulo a polynomial is the remainder of the product', () => {
  fc.assert(
    fc.property(polynomial(), polynomial(), polynomial(), (a, b, f) => {
      fc.pre(f !== 0n)
      assert.equal(multiplyMod(a, b, f), mod(multiply(a, b), f))
    }),
  )
})

test('a common factor divides the greatest common divisor', () => {
  fc.assert(
    fc.property(polynomial(), polynomial(), polynomial(1n << 20n), (a, b, factor) => {
      fc.pre(a !== 0n && b !== 0n && factor !== 0n)
      assert.equal(mod(gcd(multiply(a, factor), multiply(b, factor)), factor), 0n)
      assert.equal(mod(a, gcd(a, b)), 0n)
      assert.equal(mod(b, gcd(a, b)), 0n)
    }),
  )
  assert.equal(gcd(5n, 0n), 5n)
})

test('the test for irreducibility agrees with trial division up to degree 9', () => {
  for (let f = 0n; f < 1024n; f++) {
    let factors = 0
    for (let divisor = 2n; degree(divisor) < degree(f); divisor++) if (mod(f, divisor) === 0n) factors++
    assert.equal(isIrreducible(f), degree(f) >= 1 && factors === 0, `0x${f.toString(16)}`)
  }
})

test('products of any two factors are reducible, polynomials that restic generated are not', () => {
  fc.assert(
    fc.property(fc.bigInt(2n, 1n << 30n), fc.bigInt(2n, 1n << 30n), (a, b) => !isIrreducible(multiply(a, b))),
    { numRuns: 50 },
  )
  for (const f of [0x25b468838dcb75n, 0x35c4f953029b59n]) assert.ok(isIrreducible(f))
})

test('a random polynomial is irreducible, of degree 53, and follows the random bytes', () => {
  const fixed = () => Buffer.from('75cb8d8368b42500', 'hex')
  assert.equal(randomPolynomial(fixed), 0x25b468838dcb75n)
  const one = randomPolynomial()
  assert.equal(degree(one), 53)
  assert.ok(isIrreducible(one))
  assert.notEqual(randomPolynomial(), one)
})
