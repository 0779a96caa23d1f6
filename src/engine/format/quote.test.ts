import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { EngineError } from '../error.ts'
import { quoteName, unquoteName } from './quote.ts'

const isSurrogate = (codePoint: number) => codePoint >= 0xd800 && codePoint <= 0xdfff

test('unquoting gives back any bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (name) => {
      const bytes = Buffer.from(name)
      assert.deepEqual(unquoteName(quoteName(bytes)), bytes)
    }),
  )
})

test('unquoting gives back any text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 100 }), (name) => {
      assert.equal(unquoteName(quoteName(Buffer.from(name))).toString(), name.toWellFormed())
    }),
  )
})

for (const [what, name, quoted] of [
  ['a plain name', 'a name.txt', 'a name.txt'],
  ['quotes and backslashes', '"\\', '\\"\\\\'],
  ['what stays', "it's `ä` 😀 \ufffd", "it's `ä` 😀 \ufffd"],
  ['control characters with a letter of their own', '\x07\b\f\n\r\t\v', '\\a\\b\\f\\n\\r\\t\\v'],
  ['other control characters', '\x01\x1b\x1f\x7f', '\\x01\\x1b\\x1f\\x7f'],
  ['C1 control characters', '\x80\x9f', '\\u0080\\u009f'],
  ['white space other than the space', '\u00a0\u2028\u2029\u3000', '\\u00a0\\u2028\\u2029\\u3000'],
  ['what cannot be seen', '\u00ad\u200b\ufeff\ue000', '\\u00ad\\u200b\\ufeff\\ue000'],
  ['code points beyond the first plane', '\u{e0001}\u{10ffff}', '\\U000e0001\\U0010ffff'],
  ['what Unicode 15.0 did not have', '\u088f\u1c89\u{33479}\u{1fae9}', '\\u088f\\u1c89\\U00033479\\U0001fae9'],
] as const) {
  test(`${what} is quoted as Go does`, () => {
    assert.equal(quoteName(Buffer.from(name)), quoted)
    assert.equal(unquoteName(quoted).toString(), name)
  })
}

test('bytes that are no UTF-8 are quoted one by one, and what stands between them as text', () => {
  assert.equal(quoteName(Buffer.from('ff61c3a409eda080f09f98', 'hex')), '\\xffaä\\t\\xed\\xa0\\x80\\xf0\\x9f\\x98')
})

test('of all code points, those stay as they are that restic 0.19.1 leaves as they are', () => {
  let printable = ''
  for (let codePoint = 0; codePoint <= 0x10_ffff; codePoint++) {
    if (isSurrogate(codePoint)) continue
    const char = String.fromCodePoint(codePoint)
    printable += quoteName(Buffer.from(char)) === char ? '1' : '0'
  }
  // Of the names that restic gave to 17,937 files which held every code point but NUL and the slash among them.
  assert.equal(hash('sha256', printable), 'be45ae64d4975bcc6c379d5153164b14a1df31d66f0d5ff8e38fdc55b7cd79fb')
})

for (const [quoted, hex] of [
  ['\\x41\\xFf', '41ff'],
  ['\\101\\377\\000', '41ff00'],
  ['\\u00E4\\U0001f600', 'c3a4f09f9880'],
  ['\x01\t\x7f', '01097f'],
  ["'", '27'],
  ['', ''],
] as const) {
  test(`${JSON.stringify(quoted)} is read although nobody quotes so`, () => {
    assert.equal(unquoteName(quoted).toString('hex'), hex)
  })
}

for (const quoted of [
  'a"b',
  'a\nb',
  'a\\',
  "\\'",
  '\\e',
  '\\x4',
  '\\xg0',
  '\\400',
  '\\08',
  '\\8',
  '\\u123',
  '\\ud800',
  '\\udfff',
  '\\U00110000',
  '\\Uffffffff',
  '\\U0000d800',
  '\\u{41}',
]) {
  test(`${JSON.stringify(quoted)} is no quoted name`, () => {
    assert.throws(() => unquoteName(quoted), { name: 'EngineError', code: 'CORRUPT' })
  })
}

test('any text is either a quoted name or CORRUPT', () => {
  const unit = fc.constantFrom('\\', '"', 'x', 'u', 'U', '0', '1', '7', 'f', 'n', 'd', '8', 'ä', '😀', '\ud800', '\n')
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 24 }), (text) => {
      try {
        unquoteName(text)
      } catch (error) {
        assert.ok(error instanceof EngineError && error.code === 'CORRUPT')
      }
    }),
    { numRuns: 1000 },
  )
})
