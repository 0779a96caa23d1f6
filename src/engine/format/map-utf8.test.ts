import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { mapUtf8 } from './map-utf8.ts'

const marked = (bytes: Buffer) =>
  mapUtf8(
    bytes,
    (text) => text,
    (byte) => `<${byte.toString(16)}>`,
  )

for (const [what, hex, text] of [
  ['valid text', '61c3a4e282acf09f9880', 'aä€😀'],
  ['a truncated sequence, byte by byte', 'f09f9861', '<f0><9f><98>a'],
  ['a truncated sequence at the end', '61e282', 'a<e2><82>'],
  ['overlong forms', 'c080e08080f0808080', '<c0><80><e0><80><80><f0><80><80><80>'],
  ['a surrogate', 'eda080', '<ed><a0><80>'],
  ['a code point beyond the last', 'f4908080', '<f4><90><80><80>'],
  ['bytes that begin nothing', '80bff8ff', '<80><bf><f8><ff>'],
  ['text between invalid bytes', 'ffc3a4ff', '<ff>ä<ff>'],
  ['nothing', '', ''],
] as const) {
  test(`takes apart ${what}`, () => assert.equal(marked(Buffer.from(hex, 'hex')), text))
}

test('no byte is lost, and what is given as text is UTF-8', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const hex = mapUtf8(
        Buffer.from(bytes),
        (text) => Buffer.from(text, 'utf8').toString('hex'),
        (byte) => byte.toString(16).padStart(2, '0'),
      )
      assert.equal(hex, Buffer.from(bytes).toString('hex'))
    }),
  )
})
