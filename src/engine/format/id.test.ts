import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { type BlobId, hashId, isId, parseId } from './id.ts'

const EMPTY_DIRECTORY = 'ac08ce34ba4f8123618661bef2425f7028ffb9ac740578a3ee88684d2523fee8'

test('the ID of an empty directory is the one restic gives it', () => {
  assert.equal(hashId<BlobId>(Buffer.from('{"nodes":[]}\n')), EMPTY_DIRECTORY)
})

test('an ID is the SHA-256 of the bytes, whatever view they come in', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(20), (bytes, skip) => {
      const view = bytes.subarray(Math.min(skip, bytes.length))
      const id = hashId<BlobId>(view)
      assert.equal(id, createHash('sha256').update(view).digest('hex'))
      assert.equal(parseId<BlobId>(id), id)
    }),
  )
})

for (const [what, text] of [
  ['the empty string', ''],
  ['63 digits', EMPTY_DIRECTORY.slice(1)],
  ['65 digits', `${EMPTY_DIRECTORY}0`],
  ['upper case', EMPTY_DIRECTORY.toUpperCase()],
  ['another letter', `${EMPTY_DIRECTORY.slice(0, 63)}g`],
  ['a line feed at the end', `${EMPTY_DIRECTORY}\n`],
  ['a path', `../${EMPTY_DIRECTORY.slice(3)}`],
] as const) {
  test(`${what} is not an ID`, () => {
    assert.equal(isId(text), false)
    assert.throws(() => parseId(text), { name: 'EngineError', code: 'INVALID_ID' })
  })
}

test('the message about an invalid ID shows it quoted and cut', () => {
  assert.throws(
    () => parseId(`\u001b[2J${'x'.repeat(1000)}`),
    (error: Error) => {
      assert.ok(!error.message.includes('\u001b'))
      assert.ok(error.message.length < 200)
      return true
    },
  )
})
