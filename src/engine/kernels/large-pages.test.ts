import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { PUBLIC_ONLY } from '../process-library.ts'
import { createKernels } from './kernels.ts'

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
  process.env[PUBLIC_ONLY] = '1'
  try {
    createKernels({ memoryBytes: LARGE })
  } finally {
    delete process.env[PUBLIC_ONLY]
  }
  assert.equal(marked(LARGE), before + 1)
  assert.equal(kernels.memory[kernels.memory.length - 1], 0)
})
