import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  displayWidth,
  escapeAllButColours,
  escapeJson,
  escapeLines,
  escapeName,
  escapeText,
  fit,
  pad,
  wrap,
} from './terminal-text.ts'

test('characters that drive a terminal or cannot be seen are written out', () => {
  assert.equal(escapeText('\x1b[2Jgone\x07'), '\\x1b[2Jgone\\x07')
  assert.equal(escapeText('a\nb\tc\rd\x7f\x9b'), 'a\\nb\\tc\\rd\\x7f\\x9b')
  assert.equal(escapeText('invoice\u202egnp.exe'), 'invoice\\u202egnp.exe')
  assert.equal(escapeText('a\u200bb\u2028c\ufeff'), 'a\\u200bb\\u2028c\\ufeff')
  assert.equal(escapeText('\ud800'), '\\ud800')
  assert.equal(escapeText('\u{e0001}'), '\\u{e0001}')
})

test('what people write in their languages stays as it is', () => {
  for (const text of ['Grüße', '文件', 'файл', 'a\\nb', 'می‌خواهم', '👩‍💻', 'e\u0301'])
    assert.equal(escapeText(text), text)
})

test('no text, whatever it holds, keeps a control character', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.doesNotMatch(escapeText(text), /[\p{Cc}\u202a-\u202e\u2066-\u2069]/u)
      assert.doesNotMatch(escapeLines(text).replaceAll('\n', ''), /\p{Cc}/u)
      assert.doesNotMatch(escapeAllButColours(text).replace(/\x1b\[[0-9;]*m|\n/g, ''), /\p{Cc}/u)
    }),
  )
})

test('JSON escaped for a terminal says the same', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const escaped = escapeJson(JSON.stringify(text))
      assert.equal(JSON.parse(escaped), text)
      assert.doesNotMatch(escaped, /\p{Cc}/u)
    }),
  )
})

test('the net below our own text lets colours pass and nothing else', () => {
  assert.equal(
    escapeAllButColours('\x1b[1mbold\x1b[22m\n\x1b[2J\x1b]0;title\x07'),
    '\x1b[1mbold\x1b[22m\n\\x1b[2J\\x1b]0;title\\x07',
  )
})

test('bytes of a name that are no UTF-8 are shown as bytes', () => {
  assert.equal(escapeName(Buffer.from([0x61, 0xff, 0xc3, 0xbc, 0xe2, 0x82, 0x0a])), 'a\\xffü\\xe2\\x82\\n')
  assert.equal(escapeName(Buffer.from('plain ü')), 'plain ü')
  assert.equal(escapeName(Buffer.from([0xc3])), '\\xc3')
})

test('width counts columns, not characters', () => {
  assert.equal(displayWidth('abc'), 3)
  assert.equal(displayWidth('文件'), 4)
  assert.equal(displayWidth('e\u0301'), 1)
  assert.equal(displayWidth('🚀'), 2)
  assert.equal(displayWidth('\x1b[31mred\x1b[39m'), 3)
})

test('text is cut at the end asked for, and never to more than the width', () => {
  assert.equal(fit('abcdefghij', 5), 'abcd…')
  assert.equal(fit('abcdefghij', 5, 'start'), '…ghij')
  assert.equal(fit('abcdefghij', 5, 'middle'), 'ab…ij')
  assert.equal(fit('abc', 3), 'abc')
  assert.equal(fit('abc', 1), '…')
  assert.equal(fit('abc', 0), '')
  assert.equal(fit('文件文件', 4), '文…')
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme' }),
      fc.nat(20),
      fc.constantFrom('end', 'middle', 'start' as const),
      (text, width, cut) => {
        assert.ok(displayWidth(fit(escapeText(text), width, cut as 'end')) <= width)
      },
    ),
  )
})

test('padding aligns wide text', () => {
  assert.equal(pad('文', 4), '文  ')
  assert.equal(pad('7', 3, 'right'), '  7')
})

test('wrapping breaks at blanks, keeps line breaks and indents, and leaves long words whole', () => {
  assert.deepEqual(wrap('one two three', 8), ['one two', 'three'])
  assert.deepEqual(wrap('one\n  two three', 8), ['one', '  two', '  three'])
  assert.deepEqual(wrap('averylongword x', 5), ['averylongword', 'x'])
  assert.deepEqual(wrap('a\n\nb', 5), ['a', '', 'b'])
})
