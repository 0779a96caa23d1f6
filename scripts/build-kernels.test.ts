import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildKernels } from './build-kernels.ts'

test('kernels-module.ts is what the sources compile to', () => {
  const file = join(import.meta.dirname, '../src/engine/kernels/kernels-module.ts')
  // Not `equal`: 20 kB of base64 on the screen help nobody.
  assert.ok(
    readFileSync(file, 'utf8') === buildKernels(),
    'src/engine/kernels/kernels-module.ts is out of date: run `node scripts/build-kernels.ts`',
  )
})
