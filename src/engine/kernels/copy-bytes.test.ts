import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { copyBytes } from './copy-bytes.ts'

test('bytes are copied to the beginning of shared and other memory, each once, and nothing else is touched', () => {
  const memory = (shared: boolean, length: number) => (shared ? new SharedArrayBuffer(length) : new ArrayBuffer(length))
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 5000 }),
      fc.nat(50),
      fc.nat(50),
      fc.boolean(),
      fc.boolean(),
      (content, before, behind, fromShared, toShared) => {
        const source = new Uint8Array(memory(fromShared, before + content.length), before)
        source.set(content)
        const whole = Buffer.from(memory(toShared, before + content.length + behind)).fill(0xee)
        copyBytes(source, whole.subarray(before))
        assert.ok(whole.subarray(before, before + content.length).equals(content))
        assert.ok(whole.subarray(0, before).every((byte) => byte === 0xee))
        assert.ok(whole.subarray(before + content.length).every((byte) => byte === 0xee))
      },
    ),
  )
  assert.throws(() => copyBytes(new Uint8Array(3), new Uint8Array(2)), RangeError)
})
