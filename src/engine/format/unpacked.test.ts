import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeUnpacked, encodeUnpacked } from './unpacked.ts'
import { compress } from './zstd.ts'

const json = fc
  .oneof(fc.array(fc.jsonValue()), fc.dictionary(fc.string(), fc.jsonValue()))
  .map((value) => Buffer.from(JSON.stringify(value)))

test('decoding inverts encoding in both versions', () => {
  fc.assert(
    fc.property(fc.constantFrom<1 | 2>(1, 2), json, (version, json) => {
      const plaintext = encodeUnpacked(version, json)
      assert.deepEqual(decodeUnpacked(version, plaintext), json)
      assert.equal(plaintext[0], version === 1 ? json[0] : 0x02)
    }),
  )
})

test('version 2 reads what version 1 wrote', () => {
  for (const text of ['{"packs":[]}\n', '[]']) assert.equal(decodeUnpacked(2, Buffer.from(text)).toString(), text)
})

test('version 1 does not understand compression', () => {
  assert.throws(() => decodeUnpacked(1, encodeUnpacked(2, Buffer.from('{}'))), { code: 'CORRUPT' })
})

for (const [what, plaintext] of [
  ['nothing', Buffer.alloc(0)],
  ['white space before the JSON', Buffer.from(' {}')],
  ['an encoding of tomorrow', Buffer.concat([Buffer.of(3), compress(Buffer.from('{}'))])],
  ['a frame without the byte for it', compress(Buffer.from('{}'))],
  ['the byte for compression alone', Buffer.of(2)],
  ['a cut-off frame', encodeUnpacked(2, Buffer.from('{}')).subarray(0, -1)],
  ['bytes after the frame', Buffer.concat([encodeUnpacked(2, Buffer.from('{}')), Buffer.of(0x0a)])],
] as const) {
  test(`${what} is corrupt in version 2`, () => {
    assert.throws(() => decodeUnpacked(2, plaintext), { name: 'EngineError', code: 'CORRUPT' })
  })
}
