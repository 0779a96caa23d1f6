import assert from 'node:assert/strict'
import { createCipheriv } from 'node:crypto'
import { test } from 'node:test'
import { releaseMemory } from './release-memory.ts'

test('what a cipher returned is given back at once', () => {
  const cipher = createCipheriv('aes-256-ctr', Buffer.alloc(32), Buffer.alloc(16))
  for (const length of [1, 100, 5000, 1_000_000]) {
    const bytes = cipher.update(Buffer.alloc(length))
    releaseMemory(bytes)
    assert.equal(bytes.length, 0)
  }
})

test('memory that is shared with others stays', () => {
  const pooled = Buffer.from('a few bytes of the pool')
  releaseMemory(pooled)
  assert.equal(pooled.toString(), 'a few bytes of the pool')
  const shared = Buffer.from(new SharedArrayBuffer(8))
  releaseMemory(shared)
  assert.equal(shared.length, 8)
})
