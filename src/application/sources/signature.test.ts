import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import type { ApplicationError } from '../error.ts'
import { openGpgHome, without } from './gpg-home.test-fixture.ts'
import { signerFor, verifySignature } from './signature.ts'

const noGpg = without('gpg')
const bytes = Buffer.from('{"manifest":true}\n')
let folder: string
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-sign-'))
})
after(() => rmSync(folder, { recursive: true, force: true }))

function fails(code: string, message: RegExp) {
  return (error: ApplicationError) => {
    assert.equal(error.code, code, error.stack)
    assert.match(error.message, message)
    return true
  }
}

suite('gpg', { skip: noGpg }, () => {
  let home: ReturnType<typeof openGpgHome>
  let key: string
  before(() => {
    home = openGpgHome()
    key = home.makeKey('Signer <sign@example.com>')
  })
  after(() => home[Symbol.dispose]())

  test('a signature holds for its bytes and its key, however the key is named', async () => {
    const signer = await signerFor('gpg:sign@example.com')
    assert.deepEqual([signer.kind, signer.by], ['gpg', key])
    const signature = await signer.sign(bytes)
    const exported = home.exported(key).toString()
    const file = join(folder, 'signer.asc')
    writeFileSync(file, exported)
    for (const spec of [`gpg:${key}`, 'gpg:sign@example.com', `gpg:${file}`, exported]) {
      assert.deepEqual(await verifySignature(bytes, signature, spec), { by: key })
    }
    const data = join(folder, 'data')
    writeFileSync(data, bytes)
    home.gpg(['--verify', '-', data], signature) // by hand
    using _elsewhere = openGpgHome()
    assert.deepEqual(await verifySignature(bytes, signature, exported), { by: key })
    await assert.rejects(verifySignature(bytes, signature, `gpg:${key}`), fails('NO_KEY', /Cannot find/))
  })

  test('other bytes, another key, a damaged or empty signature are refused', async () => {
    const signature = await (await signerFor(`gpg:${key}`)).sign(bytes)
    const other = home.makeKey('Other <other-signer@example.com>')
    await assert.rejects(verifySignature(Buffer.from('x'), signature, `gpg:${key}`), fails('SIGNATURE', /other bytes/))
    await assert.rejects(
      verifySignature(bytes, signature, `gpg:${other}`),
      fails('SIGNATURE', new RegExp(`expected ${other}`)),
    )
    await assert.rejects(
      verifySignature(bytes, signature, home.exported(other).toString()),
      fails('SIGNATURE', /is not from/),
    )
    await assert.rejects(verifySignature(bytes, Buffer.alloc(0), `gpg:${key}`), fails('SIGNATURE', /found 0 valid/))
    const twice = Buffer.concat([signature, await (await signerFor(`gpg:${other}`)).sign(bytes)])
    await assert.rejects(verifySignature(bytes, twice, `gpg:${other}`), fails('SIGNATURE', /./))
    // A clear-signed text brings its own bytes along; they are not ours.
    const attached = home.gpg(['--clear-sign', '--local-user', key], 'something else')
    await assert.rejects(verifySignature(bytes, attached, `gpg:${key}`), fails('SIGNATURE', /./))
  })

  test('what was signed before the key expired stays good, what a revoked key signed does not', async () => {
    const old = home.makeKey('Old <old@example.com>', { madeOn: '20200101T000000', expires: '20210101T000000' })
    const at = (time: string) => ['--faked-system-time', time, '--local-user', old, '--armor', '--detach-sign']
    const inTime = home.gpg(at('20200601T000000!'), bytes)
    assert.deepEqual(await verifySignature(bytes, inTime, `gpg:${old}`), { by: old })
    await assert.rejects(signerFor(`gpg:${old}`), fails('KEY_EXPIRED', /expired on 2021-01-01/))
    home.revoke(old)
    await assert.rejects(verifySignature(bytes, inTime, `gpg:${old}`), fails('NO_KEY', /is revoked/))
  })

  test('without the secret key nothing is signed', async () => {
    const exported = home.exported(key)
    using elsewhere = openGpgHome()
    elsewhere.gpg(['--import'], exported)
    await assert.rejects(signerFor(`gpg:${key}`), fails('NO_KEY', /Cannot find a secret key/))
  })

  test('a key locked by a passphrase fails at once and asks nobody', { timeout: 30_000 }, async () => {
    const locked = home.makeKey('Locked <locked@example.com>', { passphrase: 'pass phrase' })
    home.forget()
    const signer = await signerFor(`gpg:${locked}`)
    await assert.rejects(signer.sign(bytes), fails('SIGNATURE', /No pinentry/))
  })

  test('no temporary file is left behind', async () => {
    const before = temporaryFolders()
    const signature = await (await signerFor(`gpg:${key}`)).sign(bytes)
    await verifySignature(bytes, signature, home.exported(key).toString())
    assert.deepEqual(temporaryFolders(), before)
  })
})

suite('ssh', { skip: without('ssh-keygen') }, () => {
  const make = (name: string, type = 'ed25519', passphrase = '') => {
    const file = join(folder, name)
    execFileSync('ssh-keygen', ['-q', '-t', type, '-N', passphrase, '-C', 'root@server', '-f', file])
    return file
  }

  test('a signature holds for its bytes and its key, however the key is named', async () => {
    for (const type of ['ed25519', 'rsa', 'ecdsa']) {
      const file = make(`id_${type}`, type)
      const signer = await signerFor(`ssh:${file}`)
      const listed = execFileSync('ssh-keygen', ['-l', '-f', file]).toString()
      assert.equal(signer.by, listed.split(' ')[1])
      const signature = await signer.sign(bytes)
      for (const spec of [`ssh:${file}`, `ssh:${file}.pub`, readFileSync(`${file}.pub`, 'utf8')]) {
        assert.deepEqual(await verifySignature(bytes, signature, spec), { by: signer.by }, spec)
      }
    }
  })

  test('other bytes, another key, another purpose, a damaged signature are refused', async () => {
    const [file, other] = [make('one'), make('two')]
    const signature = await (await signerFor(`ssh:${file}`)).sign(bytes)
    const refused = fails('SIGNATURE', /Cannot trust the signature/)
    await assert.rejects(verifySignature(Buffer.from('x'), signature, `ssh:${file}`), refused)
    await assert.rejects(verifySignature(bytes, signature, `ssh:${other}`), refused)
    await assert.rejects(verifySignature(bytes, Buffer.from('nothing'), `ssh:${file}`), refused)
    const git = execFileSync('ssh-keygen', ['-Y', 'sign', '-n', 'git', '-f', file], {
      input: bytes,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    await assert.rejects(verifySignature(bytes, git, `ssh:${file}`), refused)
  })

  test('a missing key, one open to others, one locked by a passphrase, and no key at all say so', {
    timeout: 30_000,
  }, async () => {
    await assert.rejects(signerFor(`ssh:${folder}/absent`), fails('NO_KEY', /ENOENT/))
    const open = make('open')
    chmodSync(open, 0o644)
    await assert.rejects(signerFor(`ssh:${open}`), (error: ApplicationError) => {
      assert.equal(error.hint, `chmod 600 ${open}`)
      return fails('NO_KEY', /Cannot use/)(error)
    })
    const locked = make('locked', 'ed25519', 'pass phrase')
    const signer = await signerFor(`ssh:${locked}`)
    await assert.rejects(signer.sign(bytes), fails('SIGNATURE', /Cannot sign/))
    rmSync(`${locked}.pub`)
    await assert.rejects(signerFor(`ssh:${locked}`), fails('NO_KEY', /passphrase/))
    await assert.rejects(signerFor('rot13:x'), fails('CONFIG', /expected gpg:KEY or ssh:PATH/))
  })
})

function temporaryFolders(): string[] {
  return readdirSync(tmpdir()).filter((name) => /^holdfast-[A-Za-z0-9]{6}$/.test(name))
}
