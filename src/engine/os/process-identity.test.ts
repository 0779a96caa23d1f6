import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test from 'node:test'
import { identifiedLives, processIdentity } from './process-identity.ts'

test('a process is known by its identity as long as it lives, and another with its number is not taken for it', async () => {
  const own = processIdentity()
  assert.equal(identifiedLives(own), true)
  const [boot, pid, start] = own.split(':')
  assert.equal(identifiedLives(`${boot}:${pid}:${Number(start) + 1}`), false)
  assert.equal(identifiedLives(`00000000-0000-0000-0000-000000000000:${pid}:${start}`), false)
  for (const text of ['', 'x', '::', `${pid}`, `${boot}:-1:`, `${boot}:0:`]) assert.equal(identifiedLives(text), false)

  const child = spawn('sleep', ['60'])
  const identity = processIdentity(child.pid)
  assert.equal(identifiedLives(identity), true)
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert.equal(identifiedLives(identity), false)
})
