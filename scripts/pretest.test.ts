import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import test from 'node:test'

const pretest = join(import.meta.dirname, 'pretest.ts')

test('where nothing can be installed, the tests that will be skipped are named, and that is no failure', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [pretest], {
    env: { PATH: '/nonexistent' },
    encoding: 'utf8',
  })
  assert.deepEqual([status, stderr], [0, ''])
  assert.match(stdout, /^Tests that will be skipped:\n/m)
  assert.match(stdout, /^ {2}- sealing with GPG, signatures \(no gpg\): this system has no apt-get$/m)
})
