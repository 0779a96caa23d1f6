import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { ApplicationError } from './error.ts'
import { filterThrough, minimalEnvironment, type ProgramEnd, programFailure, runProgram } from './program.ts'

const shell = (script: string, options: Parameters<typeof runProgram>[2] = {}) =>
  runProgram('sh', ['-c', script], options)

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) yield Buffer.alloc(65536)
}

test('output, messages, status and exit code come back', async () => {
  const input = Buffer.from('in')
  const end = await shell('cat; echo oops >&2; echo state >&3; cat <&4; exit 7', {
    input,
    inputs: [Buffer.from('four')],
  })
  assert.deepEqual(end, {
    program: 'sh',
    exitCode: 7,
    stderr: 'oops\n',
    status: 'state\n',
    stdout: Buffer.from('infour'),
  })
  assert.equal(programFailure(end).message, 'sh ended with exit code 7: oops')
})

test('the environment is what programs need, and nothing of ours', async () => {
  process.env.HOLDFAST_TEST_SECRET = 'x'
  const { stdout } = await shell('env')
  delete process.env.HOLDFAST_TEST_SECRET
  assert.ok(!stdout.includes('HOLDFAST_TEST_SECRET'))
  assert.ok(stdout.includes('LC_ALL=C\n'))
  assert.equal(minimalEnvironment({ A: 'b' }).A, 'b')
})

test('a program that is not there is a missing tool, one that cannot be run an error', async () => {
  await assert.rejects(runProgram('holdfast-no-such-program', []), (error: ApplicationError) => {
    assert.equal(error.code, 'TOOL_MISSING')
    assert.equal(error.hint, 'Install holdfast-no-such-program')
    return true
  })
  await assert.rejects(shell('true', { cwd: '/no/such/folder' }), (error: ApplicationError) => error.code === 'SOURCE')
  await assert.rejects(runProgram(import.meta.filename, []), (error: ApplicationError) => error.code === 'SOURCE')
})

test('input that the program does not want is no failure', async () => {
  const end = await shell('head -c 5', { input: endless() })
  assert.deepEqual([end.exitCode, end.stdout.length], [0, 5])
})

test('a program that does nothing is stopped, one whose reader is slow is not', { timeout: 20_000 }, async () => {
  await assert.rejects(shell('sleep 60', { idleLimitMs: 100 }), (error: ApplicationError) => {
    assert.equal(error.code, 'SOURCE')
    assert.match(error.message, /did nothing for 100 ms/)
    return true
  })
  let end: ProgramEnd | undefined
  const options = { env: minimalEnvironment(), idleLimitMs: 300 }
  const slow = filterThrough(
    'sh',
    ['-c', 'echo a; cat >/dev/null; echo b'],
    (async function* () {})(),
    options,
    (ended) => {
      end = ended
    },
  )
  for await (const _ of slow) await new Promise((resolve) => setTimeout(resolve, 500))
  assert.equal(end?.exitCode, 0)
})

test('an abort kills the program, even one that ignores SIGTERM, and waits for its end', {
  timeout: 20_000,
}, async () => {
  const controller = new AbortController()
  const reason = new Error('stop')
  const script = "trap '' TERM; echo $$; while :; do sleep 0.05; done"
  let pid = ''
  const running = (async () => {
    for await (const chunk of filterThrough('sh', ['-c', script], endless(), { signal: controller.signal }, () => {})) {
      pid += chunk
      controller.abort(reason)
    }
  })()
  await assert.rejects(running, reason)
  assert.throws(() => readFileSync(`/proc/${pid.trim()}/stat`), /ENOENT|ESRCH/)
  await assert.rejects(shell('true', { signal: AbortSignal.abort(reason) }), reason)
})

test('more output than agreed is refused', async () => {
  await assert.rejects(shell('yes', { maxOutput: 100_000 }), (error: ApplicationError) => {
    assert.match(error.message, /at most 100000 bytes/)
    return true
  })
})

test('of long messages the end is kept, where the reason stands', async () => {
  const { stderr } = await shell('seq 100000 >&2; echo the reason >&2')
  assert.ok(stderr.length <= 16 * 1024 && stderr.endsWith('the reason\n'))
})
