import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { EngineError } from '../error.ts'
import { goJsonString, parseJson } from './json.ts'

const parse = (text: string) => parseJson(Buffer.from(text), 'test')

for (const [what, text, json] of [
  ['plain text', 'plain text', '"plain text"'],
  ['quotes and backslashes', '"\\', '"\\"\\\\"'],
  ['what HTML would read', '<a href="b">&amp;', '"\\u003ca href=\\"b\\"\\u003e\\u0026amp;"'],
  ['the separators that JavaScript once ended lines at', '\u2028\u2029', '"\\u2028\\u2029"'],
  ['control characters', '\b\f\n\r\t\0\x1f\v', '"\\b\\f\\n\\r\\t\\u0000\\u001f\\u000b"'],
  ['what stays', "ä😀\x7f\u0080\ufffd\u00a0/'`", '"ä😀\x7f\u0080\ufffd\u00a0/\'`"'],
  ['lone surrogates', 'a\ud800<\udfffb😀', '"a\\ufffd\\u003c\\ufffdb😀"'],
  ['nothing', '', '""'],
] as const) {
  test(`${what} is encoded as Go does`, () => assert.equal(goJsonString(text), json))
}

test('any text is read as it was', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) =>
      assert.equal(JSON.parse(goJsonString(text)), text.toWellFormed()),
    ),
  )
})

test('no byte is left that Go would have escaped', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) =>
      assert.doesNotMatch(goJsonString(text), /[\0-\x1f<>&\u2028\u2029\p{Surrogate}]/u),
    ),
  )
})

test('whole numbers are exact, however large', () => {
  assert.deepEqual(
    parse('{"a":18446744073709551615,"b": -9223372036854775808,"c":9007199254740991,"d":9007199254740993,"e":5}'),
    {
      a: 18446744073709551615n,
      b: -9223372036854775808n,
      c: 9007199254740991,
      d: 9007199254740993n,
      e: 5,
    },
  )
})

test('any uint64 is read as it was written', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
      const { inode } = parse(`{"name":"x","inode":${value}}`) as { inode: number | bigint }
      assert.equal(BigInt(inode), value)
    }),
  )
})

for (const number of ['1.0', '1e3', '1E3', '0.5', '-1.5', '1.8446744073709551615e19']) {
  test(`${number} is not a whole number`, () => assert.deepEqual(parse(`{"a":${number}}`), { a: Number.NaN }))
}

test('a number with more digits than any integer of the format is not turned into one', () => {
  assert.deepEqual(parse(`{"a":${'9'.repeat(400)}}`), { a: Number.POSITIVE_INFINITY })
})

test('digits in text stay text', () => {
  const text = '{"a":"\\":18446744073709551615","b":"18446744073709551615","c":{"":9}}'
  assert.deepEqual(parse(text), JSON.parse(text))
})

for (const [what, text] of [
  ['the empty file', ''],
  ['half an object', '{"a":'],
  ['bytes after the end', '{} {}'],
  ['a byte order mark', '\ufeff{}'],
  ['a comment', '{}//'],
  ['leading zeros', '{"a":01}'],
  ['a bare control character', '{"a":"\n"}'],
  ['hostile nesting with a long number', `{"a":12345678901234567,"b":${'['.repeat(200_000)}${']'.repeat(200_000)}}`],
] as const) {
  test(`${what} is CORRUPT`, () => assert.throws(() => parse(text), { name: 'EngineError', code: 'CORRUPT' }))
}

test('any bytes are either JSON or CORRUPT', () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string()), fc.nat(), fc.nat(255), (text, at, byte) => {
      const bytes = Buffer.from(text)
      if (bytes.length > 0) bytes[at % bytes.length] = byte
      try {
        parseJson(bytes, 'test')
      } catch (error) {
        assert.ok(error instanceof EngineError && error.code === 'CORRUPT')
      }
    }),
  )
})
