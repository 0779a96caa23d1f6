import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { userInfo } from 'node:os'
import { describe, it } from 'node:test'
import { findAccount, forgetAccounts, groupId, groupName, userId, userName } from './accounts.ts'

describe('accounts', { skip: process.platform !== 'linux' && 'needs Linux' }, () => {
  it('every user and group of this machine is known both ways', () => {
    for (const [database, nameOf, idOf] of [
      ['passwd', userName, userId],
      ['group', groupName, groupId],
    ] as const) {
      const entries = execFileSync('getent', [database], { encoding: 'utf8' }).trim().split('\n')
      assert.ok(entries.length > 3)
      const names = new Map<number, string>()
      for (const entry of entries) {
        const [name, , id] = entry.split(':')
        assert.equal(idOf(name!), Number(id))
        if (!names.has(Number(id))) names.set(Number(id), name!)
      }
      for (const [id, name] of names) assert.equal(nameOf(id), name)
    }
    assert.equal(userName(userInfo().uid), userInfo().username)
  })

  it('a user is found with group and home, as the system itself knows it', () => {
    for (const entry of execFileSync('getent', ['passwd'], { encoding: 'utf8' }).trim().split('\n')) {
      const [name, , uid, gid, , home] = entry.split(':')
      assert.deepEqual(findAccount(name!), { name, uid: Number(uid), gid: Number(gid), home })
    }
    assert.equal(findAccount('no-such-user'), undefined)
    forgetAccounts()
    assert.equal(userName(0), 'root')
  })

  it('what nobody has is empty', () => {
    assert.equal(userName(4_123_456_789), '')
    assert.equal(groupName(4_123_456_789), '')
    assert.equal(userName(0xffff_ffff), '')
    assert.equal(userId('no-such-user'), undefined)
    assert.equal(groupId('no-such-group'), undefined)
  })

  it('what can be no name finds nobody', () => {
    for (const name of ['', 'root\0x', '\0', 'ro\not', 'ö'.repeat(5000)]) {
      assert.equal(userId(name), undefined)
      assert.equal(groupId(name), undefined)
    }
  })

  it('names are remembered: a million questions are quick', () => {
    const start = performance.now()
    for (let count = 0; count < 1_000_000; count++) userName(count & 1)
    assert.ok(performance.now() - start < 2000)
  })
})
