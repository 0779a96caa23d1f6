import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { createKernels } from './kernels.ts'
import { giveBackPages, lengthForLargePages } from './large-pages.ts'

/** Mappings of this process that are marked for large pages (proc(5): `hg`), and are as large as that. */
function marked(bytes: number): number {
  let size = 0
  let count = 0
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    size = Number(/^Size: +(\d+) kB$/.exec(line)?.[1] ?? size)
    if (/^VmFlags:.* hg\b/.test(line) && size * 1024 >= bytes) count++
  }
  return count
}

const LARGE = 48 * 1024 * 1024
const skip = existsSync('/sys/kernel/mm/transparent_hugepage') ? false : 'this system has no large pages'

test('large pages are asked for under the memory of kernels, where it is worth it', { skip }, () => {
  const before = marked(LARGE)
  const kernels = createKernels({ memoryBytes: LARGE })
  assert.equal(marked(LARGE), before + 1)
  createKernels({ memoryBytes: 100_000 })
  assert.equal(marked(LARGE), before + 1)
  assert.equal(kernels.memory[kernels.memory.length - 1], 0)
})

const MIB = 1024 * 1024

test('pages of memory are given back, those that lie within alone, and can be written to again', () => {
  const kernels = createKernels({ memoryBytes: LARGE })
  const { memory } = kernels
  const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024
  const [start, length] = [5 * MIB, 30 * MIB]
  memory.fill(0xa5, 4 * MIB, 40 * MIB)
  const before = resident()
  giveBackPages(memory.buffer, start, length)
  assert.ok(before - resident() > 20 * MIB, 'the memory is still taken')
  // From 6 to 34 MiB: what is around may be part of something else.
  assert.ok(memory.subarray(4 * MIB, 6 * MIB).every((byte) => byte === 0xa5))
  assert.ok(memory.subarray(34 * MIB, 40 * MIB).every((byte) => byte === 0xa5))
  memory.fill(0x5a, start, start + length)
  assert.ok(memory.subarray(start, start + length).every((byte) => byte === 0x5a))

  giveBackPages(memory.buffer, 5 * MIB, 2 * MIB) // no large page lies within
  assert.ok(memory.subarray(start, start + length).every((byte) => byte === 0x5a))
})

test('memory that is allocated for large pages is large enough, and is a whole number of them with what the C library adds', () => {
  for (const length of [0, 1, 1000, MIB - 1, MIB, 2 * MIB - 64, 2 * MIB - 63, 2 * MIB, 7 * MIB + 5]) {
    const room = lengthForLargePages(length)
    assert.ok(room >= length && room < length + 2 * MIB, `${room} for ${length}`)
    assert.equal((room + 64) % (2 * MIB) === 0, length >= MIB)
  }
  assert.equal(lengthForLargePages(1000), 1000)
})
