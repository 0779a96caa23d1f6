import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { hasProgram, installCommand, portUser } from './requirements.ts'

test('a program is found on the search path, and nothing but a program', async () => {
  assert.ok(await hasProgram('sh'))
  assert.ok(!(await hasProgram('no-such-program')))
  assert.ok(!(await hasProgram('passwd', '/etc')))
})

test('what is missing comes with the command that installs it', async () => {
  assert.match(await installCommand('gpg'), /^(apt-get install -y gnupg|dnf|apk|pacman)/)
  assert.match(await installCommand('nginx'), / nginx$/)
  assert.equal(await installCommand('pm2'), 'npm install --global pm2')
})

test('a port is free, or it is said who listens on it', {
  skip: process.platform !== 'linux' && 'needs Linux',
}, async () => {
  for (const host of ['127.0.0.1', '::1', undefined]) {
    const server = createServer()
    try {
      await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, host, resolve))
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'EADDRNOTAVAIL') // a machine without IPv6
      continue
    }
    const { port } = server.address() as AddressInfo
    assert.deepEqual(await portUser(port), { pid: process.pid, command: 'node' })
    await new Promise((resolve) => server.close(resolve))
    assert.equal(await portUser(port), undefined)
  }
})
