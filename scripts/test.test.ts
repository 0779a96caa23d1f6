import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'

const scratch = mkdtempSync(join(tmpdir(), 'holdfast-test-runner-'))
after(() => rmSync(scratch, { recursive: true }))

/** Runs one test file with the runner of this project. */
function runTest(body: string, env: Readonly<Record<string, string>> = {}) {
  const file = join(scratch, 'sample.test.ts')
  writeFileSync(file, `import assert from 'node:assert/strict'\nimport test from 'node:test'\n${body}\n`)
  const result = spawnSync(process.execPath, [join(import.meta.dirname, 'test.ts'), file], {
    env: { PATH: process.env.PATH, ...env },
    encoding: 'utf8',
  })
  return { status: result.status, stdout: result.stdout, stderr: result.stderr }
}

test('tests that pass end with 0 and with the counts', () => {
  const { status, stdout } = runTest(`test('one', () => {})\ntest('two', () => {})`, { CI: 'true' })
  assert.equal(status, 0)
  assert.match(stdout, /tests 2\b.*pass 2\b.*fail 0\b/s)
})

test('a test that fails ends with 1', () => {
  assert.equal(runTest(`test('one', () => assert.equal(1, 2))`).status, 1)
})

test('a test file that does not load ends with 1', () => {
  assert.equal(runTest(`import './missing.ts'`).status, 1)
})

test('a skipped test is named, and with CI=true fails the run', () => {
  const body = `test('one', { skip: 'no restic here' }, () => {})\ntest('two', () => {})`
  const locally = runTest(body)
  assert.equal(locally.status, 0)
  assert.match(locally.stderr, /one: no restic here/)
  const inCi = runTest(body, { CI: 'true' })
  assert.equal(inCi.status, 1)
  assert.match(inCi.stderr, /must not be with CI=true:\n {2}- one: no restic here/)
})

test('a sweep that waits for its switch may be skipped anywhere', () => {
  const body = `test('one', { skip: 'only with HOLDFAST_FULL=1' }, () => {})`
  assert.equal(runTest(body, { CI: 'true' }).status, 0)
})

test('words that match no file are an error', () => {
  const { status, stderr } = spawnSync(process.execPath, [join(import.meta.dirname, 'test.ts'), 'no-such-test'], {
    encoding: 'utf8',
  })
  assert.equal(status, 1)
  assert.match(stderr, /No test file matches no-such-test/)
})
