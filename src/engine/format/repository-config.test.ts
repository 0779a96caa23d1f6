import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { randomPolynomial } from '../kernels/polynomial.ts'
import { hashId } from './id.ts'
import { sealWithIv } from './master-key.ts'
import { encodeRepositoryConfig, parseRepositoryConfig, type RepositoryConfig } from './repository-config.ts'

const ID = '0'.repeat(64)
const POLYNOMIAL = 0x25b468838dcb75n

const text = (members: object) => Buffer.from(JSON.stringify(members))
const config = (changes: object) => text({ version: 2, id: ID, chunker_polynomial: '25b468838dcb75', ...changes })
const range = (from: number, size: number) => Buffer.from(Array.from({ length: size }, (_, i) => from + i))

test('a config file is byte for byte the one that restic opened', () => {
  const plaintext = encodeRepositoryConfig({ version: 2, id: ID, polynomial: POLYNOMIAL })
  const key = { encrypt: range(0x80, 32), macK: range(0xa0, 16), macR: range(0xb0, 16) }
  assert.equal(
    hashId(sealWithIv(key, range(0xd0, 16), plaintext)),
    '04a0bb7ba053d0fbc1b9a809c02b03c206165e826afea6cd1fa7db8d433f04c0',
  )
})

test('parsing inverts encoding', () => {
  const id = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'))
  fc.assert(
    fc.property(fc.constantFrom<1 | 2>(1, 2), id, (version, id) => {
      const config: RepositoryConfig = { version, id, polynomial: randomPolynomial() }
      assert.deepEqual(parseRepositoryConfig(encodeRepositoryConfig(config)), config)
    }),
    { numRuns: 10 },
  )
})

test('members of other programs and upper-case digits of the polynomial are read over', () => {
  const plaintext = config({ chunker_polynomial: '25B468838DCB75', append_only: true, chunker: 'rabin' })
  assert.deepEqual(parseRepositoryConfig(plaintext), { version: 2, id: ID, polynomial: POLYNOMIAL })
})

for (const [what, code, plaintext] of [
  ['an empty file', 'CORRUPT', Buffer.alloc(0)],
  ['a list', 'CORRUPT', text([])],
  ['a version of tomorrow', 'UNSUPPORTED', config({ version: 3 })],
  ['no version', 'UNSUPPORTED', config({ version: undefined })],
  ['a version as text', 'CORRUPT', config({ version: '2' })],
  ['an ID that is a path', 'CORRUPT', config({ id: '../../etc' })],
  ['no ID', 'CORRUPT', config({ id: undefined })],
  ['a polynomial with 0x', 'CORRUPT', config({ chunker_polynomial: '0x25b468838dcb75' })],
  ['a polynomial as a number', 'CORRUPT', config({ chunker_polynomial: 7 })],
  ['no polynomial', 'CORRUPT', config({ chunker_polynomial: undefined })],
  ['a polynomial of a megabyte', 'CORRUPT', config({ chunker_polynomial: 'f'.repeat(2 ** 20) })],
  ['a polynomial of degree 2', 'UNSUPPORTED', config({ chunker_polynomial: '7' })],
  ['a polynomial of degree 54', 'UNSUPPORTED', config({ chunker_polynomial: '40000000000047' })],
  ['a polynomial that is a product', 'UNSUPPORTED', config({ chunker_polynomial: '25b468838dcb74' })],
] as const) {
  test(`a config with ${what} is ${code === 'CORRUPT' ? 'corrupt' : 'not supported'}`, () => {
    assert.throws(() => parseRepositoryConfig(plaintext), { name: 'EngineError', code })
  })
}

test('a config that nobody could open is not written', () => {
  assert.throws(() => encodeRepositoryConfig({ version: 2, id: ID, polynomial: POLYNOMIAL ^ 1n }), {
    code: 'UNSUPPORTED',
  })
  assert.throws(() => encodeRepositoryConfig({ version: 2, id: 'x', polynomial: POLYNOMIAL }), { code: 'CORRUPT' })
})
