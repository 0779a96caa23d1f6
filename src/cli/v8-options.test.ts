import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'

/** What is printed by a program of its own, for V8 has its options for a whole process. */
function printed(options: string | undefined): string {
  const module = JSON.stringify(new URL('./v8-options.ts', import.meta.url).href)
  const program = `
    import { once } from 'node:events'
    import { cachedDataVersionTag } from 'node:v8'
    import { Worker } from 'node:worker_threads'
    import { setV8OptionsWithThreads } from ${module}
    const before = cachedDataVersionTag()
    setV8OptionsWithThreads(process.env)
    const isInEnvironment = 'HOLDFAST_V8_OPTIONS' in process.env
    const isUntouched = cachedDataVersionTag() === before
    const threads = [1, 2].map(() => new Worker('setTimeout(() => {}, 50)', { eval: true }))
    const isUntouchedByStart = cachedDataVersionTag() === before
    await Promise.all(threads.map((thread) => once(thread, 'exit')))
    console.log(isInEnvironment, isUntouched, isUntouchedByStart, cachedDataVersionTag() === before)
  `
  const env = options === undefined ? {} : { HOLDFAST_V8_OPTIONS: options }
  const args = ['--input-type=module', '--eval', program]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' })
  assert.deepEqual([status, stderr], [0, ''])
  return stdout
}

test('options that the launcher left are gone from the environment at once, and set when threads run', () => {
  const options = '--heap-growing-percent=80 --invocation-count-for-osr=10000'
  assert.equal(printed(options), 'false true true false\n')
})

test('without the launcher V8 is left as it is', () => {
  assert.equal(printed(undefined), 'false true true true\n')
  assert.equal(printed(''), 'false true true true\n')
})
