import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { goMode, permissions } from './mode.ts'

for (const [what, unix, go] of [
  ['a directory', 0o040755, 2_147_484_141],
  ['a directory with the sticky bit', 0o041777, 2_148_532_735],
  ['a symbolic link', 0o120777, 134_218_239],
  ['a file', 0o100644, 420],
  ['a file with setuid', 0o104755, 8_389_101],
  ['a block device', 0o060640, 67_109_280],
  ['a character device', 0o020640, 69_206_432],
  ['a named pipe', 0o010640, 33_554_848],
  ['a socket', 0o140777, 16_777_727],
  ['a file without any permission', 0o100000, 0],
] as const) {
  test(`${what} has the mode that restic writes`, () => {
    assert.equal(goMode(unix), go)
    assert.equal(permissions(go), unix & 0o7777)
  })
}

test('permissions, setuid, setgid and sticky survive the way there and back', () => {
  const type = fc.constantFrom(0o010000, 0o020000, 0o040000, 0o060000, 0o100000, 0o120000, 0o140000)
  fc.assert(
    fc.property(type, fc.integer({ min: 0, max: 0o7777 }), (type, bits) => {
      const mode = goMode(type | bits)
      assert.ok(mode >= 0 && mode <= 0xffff_ffff)
      assert.equal(permissions(mode), bits)
    }),
  )
})

test('of a Unix mode in the place of a Go mode, the permissions hold', () => {
  assert.equal(permissions(0o104755), 0o755)
})
