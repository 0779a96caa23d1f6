import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { currentUser } from './current-user.ts'

test('the account that this process runs under', () => {
  const { username, uid, gid } = userInfo()
  assert.deepEqual(currentUser(), { username, uid, gid })
})

test('a user without an account is a number without a name', {
  skip: process.geteuid?.() !== 0 && 'needs root',
}, () => {
  const module = JSON.stringify(join(import.meta.dirname, 'current-user.ts'))
  const program = `
    const { currentUser } = await import(${module})
    process.setgid(54322)
    process.setuid(54321)
    console.log(JSON.stringify(currentUser()))`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  assert.equal(stderr, '')
  assert.deepEqual(JSON.parse(stdout), { username: '', uid: 54321, gid: 54322 })
})
