import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'

/** What is printed by a program of its own, for V8 has its options for a whole process. */
function printed(program: string, options: string | undefined): string {
  const module = JSON.stringify(new URL('./v8-options.ts', import.meta.url).href)
  const env = options === undefined ? {} : { HOLDFAST_V8_OPTIONS: options }
  const args = ['--input-type=module', '--eval', `import { setV8Options, takeV8Options } from ${module}\n${program}`]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' })
  assert.deepEqual([status, stderr], [0, ''])
  return stdout
}

const PROGRAM = `
  import { cachedDataVersionTag } from 'node:v8'
  const before = cachedDataVersionTag()
  takeV8Options(process.env)
  const isUntouched = cachedDataVersionTag() === before
  setV8Options()
  console.log('HOLDFAST_V8_OPTIONS' in process.env, isUntouched, cachedDataVersionTag() === before)
`

test('options that the launcher left are gone from the environment at once, and set when they are asked for', () => {
  assert.equal(printed(PROGRAM, '--heap-growing-percent=80 --invocation-count-for-osr=10000'), 'false true false\n')
})

test('without the launcher V8 is left as it is', () => {
  assert.equal(printed(PROGRAM, undefined), 'false true true\n')
  assert.equal(printed(PROGRAM, ''), 'false true true\n')
})
