import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import decodeQR from 'qr/decode.js'
import { openGpgHome, without } from '../../src/application/sources/gpg-home.test-fixture.ts'
import { RECOVERY_PROGRAM } from '../equipment/recovery-program.ts'
import { withoutRestic } from '../equipment/restic.ts'
import { expectClean } from '../equipment/restic-check.ts'
import { runCommand } from '../equipment/run-command.ts'
import { protectedApplication, type ScratchApplication } from '../equipment/scratch-application.ts'
import { type TemporaryFolder, temporaryFolder } from '../equipment/temporary-folder.ts'
import { PASSWORD } from '../equipment/test-repository.ts'

const password = PASSWORD.toString()

describe('the password, for when its file is lost', { skip: without('gpg') }, () => {
  let folder: TemporaryFolder
  let app: ScratchApplication
  let home: ReturnType<typeof openGpgHome>
  let key: string
  const beside = (name: string) => join(app.repository, name)

  before(async () => {
    home = openGpgHome()
    key = home.makeKey('Admin <admin@example.com>')
    folder = temporaryFolder()
    app = await protectedApplication(folder.path)
    assert.equal((await holdfast('backup')).code, 0)
  })
  after(() => {
    folder[Symbol.dispose]()
    home[Symbol.dispose]()
  })

  const holdfast = (...argv: string[]) => runCommand(app.root, argv)
  /** As on another machine: no config, no password file. */
  const elsewhere = (...argv: string[]) => runCommand(folder.path, ['-r', app.repository, ...argv])

  describe('key escrow', () => {
    it('seals it for the recipients of the secrets, beside the repository, where plain age opens it', async () => {
      const { code, out } = await holdfast('key', 'escrow')
      assert.equal(code, 0)
      assert.match(out, new RegExp(`password\\.age.*${app.recipient}`, 's'))
      assert.equal(statSync(beside('password.age')).mode & 0o777, 0o400)
      assert.ok(!readFileSync(beside('password.age')).includes(password))
      const opened = await elsewhere('--unseal-password', app.identity, 'snapshots')
      assert.deepEqual([opened.code, opened.out.includes('1 snapshot')], [0, true])
    })

    it('seals it for others, in the place of what lay there, where plain gpg opens it', async () => {
      const { code } = await holdfast('key', 'escrow', '--recipient', 'gpg:admin@example.com')
      assert.deepEqual([code, existsSync(beside('password.age'))], [0, false])
      assert.equal(
        execFileSync('gpg', ['--quiet', '--decrypt', beside('password.gpg')], { stdio: 'pipe' }).toString(),
        `${password}\n`,
      )
      const { out } = await elsewhere('key', 'escrow', '--list')
      assert.match(out, /^password\.gpg {2}sealed for key [0-9A-F]{16}$/m)
    })

    it('gives everything back with one private key: restore opens the repository and its secrets', async () => {
      await holdfast('key', 'escrow', '--recipient', `gpg:${key}`, '--recipient', `age:${app.recipient}`)
      const target = join(folder.path, 'restored')
      const argv = ['--unseal-password', app.identity, 'restore', '--target', target, '--identity', app.identity]
      assert.equal((await elsewhere(...argv)).code, 0)
      assert.deepEqual(
        readFileSync(join(target, app.root, 'secrets/.env')),
        readFileSync(join(app.root, 'secrets/.env')),
      )
      assert.equal((await elsewhere('--unseal-password', 'gpg', 'snapshots')).code, 0)
    })

    it('is no repository file: restic finds nothing wrong', { skip: withoutRestic('restic', 'restic-stable') }, () => {
      expectClean(app.repository, 'restic')
      expectClean(app.repository, 'restic-stable')
    })

    it('says what is wrong: no recipient, no key here, nothing there, two ways at once', async () => {
      const nobody = await elsewhere('-p', app.passwordFile, 'key', 'escrow')
      assert.equal(nobody.code, 1)
      assert.match(nobody.err, /nobody is named to seal it for.*--recipient/s)
      const stranger = join(folder.path, 'stranger.txt')
      writeFileSync(stranger, `${await (await import('age-encryption')).generateIdentity()}\n`)
      const locked = await elsewhere('--unseal-password', stranger, 'snapshots')
      assert.equal(locked.code, 1)
      assert.match(locked.err, /none of 1 age identities fits/)
      const both = await elsewhere('--unseal-password', 'gpg', '-p', app.passwordFile, 'snapshots')
      assert.match(both.err, /Cannot use --unseal-password/)
      const before = readFileSync(beside('password.gpg'))
      assert.equal((await holdfast('key', 'escrow', '--recipient', 'gpg:nobody@example.com')).code, 1)
      assert.deepEqual(readFileSync(beside('password.gpg')), before)
    })

    it('is out of date after a change of the password, which says so, and is taken away when told', async () => {
      const next = join(folder.path, 'next')
      writeFileSync(next, 'another password')
      const changed = await holdfast('key', 'passwd', '--new-password-file', next)
      assert.equal(changed.code, 0)
      assert.match(changed.err, /password\.gpg beside the repository holds the old password/)
      assert.equal((await elsewhere('--unseal-password', 'gpg', 'snapshots')).code, 12)
      writeFileSync(app.passwordFile, 'another password')
      assert.equal((await holdfast('key', 'escrow')).code, 0)
      assert.equal((await elsewhere('--unseal-password', app.identity, 'snapshots')).code, 0)
      assert.equal((await holdfast('key', 'escrow', '--remove')).code, 0)
      assert.deepEqual(
        readdirSync(app.repository).filter((name) => name.startsWith('password')),
        [],
      )
      const gone = await elsewhere('--unseal-password', 'gpg', 'snapshots')
      assert.match(gone.err, /No sealed password beside the repository/)
      writeFileSync(next, password)
      await holdfast('key', 'passwd', '--new-password-file', next)
      writeFileSync(app.passwordFile, password)
    })
  })

  describe('key paper', () => {
    it('says where everything is and how to get it back, and never the password', async () => {
      const { code, out, err } = await holdfast('key', 'paper')
      assert.equal(code, 0)
      const config = await elsewhere('-p', app.passwordFile, 'key', 'list')
      const id = /\*(\w{8})/.exec(config.out)![1]!
      const sha256 = execFileSync('sha256sum', [RECOVERY_PROGRAM]).toString().slice(0, 64)
      for (const part of [
        app.repository,
        id,
        app.recipient,
        sha256,
        'node recover.mjs list',
        'restic -r',
        app.passwordFile,
      ]) {
        assert.ok(out.includes(part), part)
      }
      assert.ok(out.split('\n').every((line) => line.length <= 120))
      for (const text of [out, err]) assert.ok(!text.includes(password))
    })

    it('as a page loads nothing, is for its owner alone, and its code says what a camera must read', async () => {
      const file = join(folder.path, 'sheet.html')
      assert.equal((await holdfast('key', 'paper', '--html', file)).code, 0)
      const page = readFileSync(file, 'utf8')
      assert.equal(statSync(file).mode & 0o777, 0o600)
      assert.doesNotMatch(page, /<script|src=|href=|url\(/)
      assert.ok(!page.includes(password))
      const codes = codesIn(page)
      assert.equal(codes.length, 1)
      assert.match(
        codes[0]!,
        new RegExp(
          `^Holdfast recovery\napp: scratch\nrepository: ${app.repository}\nid: [0-9a-f]{64}\nkey: [0-9a-f]{64}$`,
        ),
      )
    })

    it('holds the password when asked for it, also as a code', async () => {
      const file = join(folder.path, 'secret.html')
      const { out } = await holdfast('key', 'paper', '--html', file, '--with-password')
      assert.match(out, /The password is on it/)
      assert.deepEqual(codesIn(readFileSync(file, 'utf8'))[1], password)
      assert.ok((await holdfast('key', 'paper', '--with-password')).out.includes(`\n  ${password}\n`))
      const { messages } = await holdfast('key', 'paper', '--json')
      assert.equal(messages()[0]?.message_type, 'recovery_sheet')
      assert.ok(!('password' in messages()[0]!))
    })

    it('refuses a wrong password: the sheet names what is known to work', async () => {
      const wrong = join(folder.path, 'wrong')
      writeFileSync(wrong, 'wrong')
      const { code, out } = await elsewhere('-p', wrong, 'key', 'paper')
      assert.deepEqual([code, out], [12, ''])
    })
  })
})

/** What a camera reads in a page. */
function codesIn(page: string): string[] {
  return [...page.matchAll(/<svg viewBox="0 0 (\d+) \d+"[^>]*><path d="([^"]*)"/g)].map(([, modules, path]) => {
    const [size, scale] = [Number(modules), 6]
    const width = size * scale
    const data = new Uint8Array(width * width * 4).fill(255)
    for (const [, x, y, length] of path!.matchAll(/M(\d+) (\d+)h(\d+)v1h-\d+z/g)) {
      for (let row = Number(y) * scale; row < (Number(y) + 1) * scale; row++) {
        const from = (row * width + Number(x) * scale) * 4
        for (let at = from; at < from + Number(length) * scale * 4; at++) if (at % 4 !== 3) data[at] = 0
      }
    }
    return decodeQR({ width, height: width, data })
  })
}
