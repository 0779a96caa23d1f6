import assert from 'node:assert/strict'
import { test } from 'node:test'
import { shown } from './shown.ts'

for (const [what, value, text] of [
  ['a text', 'a "b"', '"a \\"b\\""'],
  ['what moves the cursor', '\x1b[2J\x9b\x7f', '"\\u001b[2J\\u009b\\u007f"'],
  ['what turns the direction of text', 'a\u202eb\u2066', '"a\\u202eb\\u2066"'],
  ['a large number', 2n ** 64n, '18446744073709551616'],
  ['a list', [1, 2], 'a list'],
  ['an object', {}, 'an object'],
  ['null', null, 'nothing'],
  ['what is missing', undefined, 'nothing'],
] as const) {
  test(`${what} is shown in one harmless line`, () => assert.equal(shown(value), text))
}

test('a long text is cut', () => assert.equal(shown('x'.repeat(1e6)).length, 63))
