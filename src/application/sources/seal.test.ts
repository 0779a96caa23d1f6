import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import type { ApplicationError } from '../error.ts'
import { openGpgHome, without } from './gpg-home.test-fixture.ts'
import { checkSeal, prepareSealers, type Sealer, type SealKind, unseal } from './seal.ts'
import { captureSecrets, secretsArchive } from './secrets.ts'

const MARKER = 'PLAINTEXT-7f3a9c'
const noGpg = without('gpg')
const noAge = without('age', 'age-keygen')
const full = process.env.HOLDFAST_FULL === '1'

let folder: string
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-seal-'))
})
after(() => rmSync(folder, { recursive: true, force: true }))

async function* pieces(bytes: Buffer, size = 1000): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < bytes.length; offset += size) yield bytes.subarray(offset, offset + size)
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(stream))
}

async function onlySealer(...recipients: string[]): Promise<Sealer> {
  const sealers = await prepareSealers(recipients)
  assert.equal(sealers.length, 1)
  return sealers[0] as Sealer
}

function fails(code: string, message: RegExp) {
  return (error: ApplicationError) => {
    assert.equal(error.code, code, error.stack)
    assert.match(error.message, message)
    return true
  }
}

/** A secrets folder with what tar can hold. */
async function someSecrets(name: string): Promise<{ root: string; paths: readonly Buffer[] }> {
  const root = join(folder, name)
  mkdirSync(join(root, 'keys'), { recursive: true, mode: 0o700 })
  writeFileSync(join(root, '.env.production'), `TOKEN=${MARKER}\n`, { mode: 0o600 })
  writeFileSync(join(root, 'keys', 'größe.key'), Buffer.alloc(300_000, 'k'), { mode: 0o440 })
  writeFileSync(join(root, 'keys', 'n'.repeat(180)), '', { mode: 0o400 })
  symlinkSync('../.env.production', join(root, 'keys', 'current'))
  utimesSync(join(root, '.env.production'), 1_500_000_000, 1_500_000_000.123)
  utimesSync(join(root, 'keys'), 1_600_000_000, 1_600_000_000)
  await using capture = await captureSecrets({ name: 'secrets', paths: [root] })
  return { root, paths: capture.secrets }
}

/** Path → what must be equal after a round trip. */
function listing(root: string): Record<string, unknown> {
  const names = ['', ...readdirSync(root, { recursive: true, encoding: 'utf8' })].sort()
  return Object.fromEntries(
    names.map((name) => {
      const path = join(root, name)
      const { mode, uid, gid, mtimeNs } = lstatSync(path, { bigint: true })
      const isLink = (mode & 0o170000n) === 0o120000n
      const isFile = (mode & 0o170000n) === 0o100000n
      const content = isLink ? readlinkSync(path) : isFile ? readFileSync(path).toString('base64') : ''
      return [name, { mode, uid, gid, content, mtimeNs: isLink ? 0n : mtimeNs }] // tar sets no time of a link everywhere
    }),
  )
}

suite('gpg', { skip: noGpg }, () => {
  let home: ReturnType<typeof openGpgHome>
  let admin: string
  let other: string
  before(() => {
    home = openGpgHome()
    admin = home.makeKey('Admin <admin@example.com>')
    other = home.makeKey('Other <other@example.com>')
  })
  after(() => home[Symbol.dispose]())

  test('a key is found by e-mail, by fingerprint and in an exported file', async () => {
    const file = join(folder, 'admin.asc')
    writeFileSync(file, home.exported(admin))
    const spaced = admin.replaceAll(/(.{4})/g, '$1 ').toLowerCase()
    for (const recipient of [
      'gpg:admin@example.com',
      'gpg:ADMIN@example.com',
      `gpg:${admin}`,
      `gpg:${spaced}`,
      `gpg:${file}`,
    ]) {
      const sealer = await onlySealer(recipient)
      assert.deepEqual(sealer.recipients, [admin])
      assert.equal(sealer.extension, 'gpg')
      const sealed = await collect(sealer.seal(pieces(gzipSync(Buffer.alloc(1024)))))
      assert.equal((await checkSeal('gpg', pieces(sealed))).decrypts, 'yes')
    }
  })

  test('an exported file need not be in the keyring, and cannot be swapped after it was looked at', async () => {
    const file = join(folder, 'stranger.asc')
    {
      using stranger = openGpgHome()
      stranger.makeKey('Stranger <stranger@example.com>')
      writeFileSync(file, stranger.exported('stranger@example.com'))
    }
    const sealer = await onlySealer(`gpg:${file}`)
    writeFileSync(file, home.exported(admin))
    const sealed = await collect(sealer.seal(pieces(Buffer.from('x'))))
    assert.deepEqual(await checkSeal('gpg', pieces(sealed)), { packets: true, decrypts: 'no-key' })
  })

  test('unknown keys, names that could match many, and files that hold no key are refused with a hint', async () => {
    await assert.rejects(prepareSealers(['gpg:nobody@example.com']), (error: ApplicationError) => {
      assert.match(error.hint ?? '', /gpg --import/)
      return fails('NO_KEY', /Cannot find a public key for nobody@example\.com/)(error)
    })
    await assert.rejects(prepareSealers([`gpg:${'0'.repeat(40)}`]), fails('NO_KEY', /Cannot find/))
    for (const vague of ['Admin', 'example', '--homedir', admin.slice(-16), '@example.com']) {
      await assert.rejects(prepareSealers([`gpg:${vague}`]), fails('NO_KEY', /Cannot use/))
    }
    const empty = join(folder, 'empty.asc')
    writeFileSync(empty, 'nothing')
    await assert.rejects(prepareSealers([`gpg:${empty}`]), fails('NO_KEY', /expected one exported OpenPGP public key/))
    await assert.rejects(prepareSealers([`gpg:${folder}/absent.asc`]), fails('NO_KEY', /ENOENT/))
  })

  test('a secret key in place of a public one is refused', async () => {
    const file = join(folder, 'secret.asc')
    writeFileSync(file, home.gpg(['--armor', '--export-secret-keys', admin]))
    await assert.rejects(prepareSealers([`gpg:${file}`]), fails('NO_KEY', /holds a secret key/))
  })

  test('an expired key is refused with the day, also in a file', async () => {
    const fingerprint = home.makeKey('Old <old@example.com>', { madeOn: '20200101T000000', expires: '20210101T000000' })
    await assert.rejects(prepareSealers(['gpg:old@example.com']), (error: ApplicationError) => {
      assert.match(error.hint ?? '', /--quick-set-expire/)
      return fails('KEY_EXPIRED', /expired on 2021-01-01/)(error)
    })
    const file = join(folder, 'old.asc')
    writeFileSync(file, home.exported(fingerprint))
    await assert.rejects(prepareSealers([`gpg:${file}`]), fails('KEY_EXPIRED', /expired on 2021-01-01/))
  })

  test('a key that has expired by the given clock is refused; before, the sealer says when it will', async () => {
    const year = new Date().getUTCFullYear() + 1
    home.makeKey('Soon <soon@example.com>', { expires: `${year}0601T000000` })
    const expires = new Date(Date.UTC(year, 5, 1))
    const [sealer] = await prepareSealers(['gpg:soon@example.com', 'gpg:admin@example.com'])
    assert.deepEqual(sealer?.expires, expires)
    const late = () => new Date(expires.getTime() + 1000)
    await assert.rejects(prepareSealers(['gpg:soon@example.com'], { now: late }), fails('KEY_EXPIRED', /expired on/))
  })

  test('a revoked key is refused, also in a file', async () => {
    const fingerprint = home.makeKey('Gone <gone@example.com>')
    home.revoke(fingerprint)
    await assert.rejects(prepareSealers(['gpg:gone@example.com']), fails('NO_KEY', /is revoked/))
    const file = join(folder, 'gone.asc')
    writeFileSync(file, home.exported(fingerprint))
    await assert.rejects(prepareSealers([`gpg:${file}`]), fails('NO_KEY', /is revoked/))
  })

  test('a key without an encryption subkey is refused, and one whose only such subkey has expired', async () => {
    const fingerprint = home.makeKey('Signer <signer@example.com>', { signOnly: true })
    await assert.rejects(prepareSealers(['gpg:signer@example.com']), fails('NO_KEY', /has no encryption key/))
    const past = ['--faked-system-time', '20200101T000000!', '--pinentry-mode', 'loopback', '--passphrase', '']
    const primary = home.makeKey('Half <half@example.com>', { signOnly: true, madeOn: '20191231T000000' })
    home.gpg([...past, '--quick-add-key', primary, 'cv25519', 'encr', '1d'])
    await assert.rejects(
      prepareSealers(['gpg:half@example.com']),
      fails('KEY_EXPIRED', /encryption key that expired on 2020-01-02/),
    )
    assert.ok(fingerprint)
  })

  test('two usable keys for one e-mail are an error that lists both; an unusable one does not count', async () => {
    const first = home.makeKey('Twin <twin@example.com>')
    const second = home.makeKey('Twin the other <twin@example.com>')
    await assert.rejects(prepareSealers(['gpg:twin@example.com']), (error: ApplicationError) => {
      assert.match(error.hint ?? '', new RegExp(first))
      assert.match(error.hint ?? '', new RegExp(second))
      return fails('NO_KEY', /2 match, expected one/)(error)
    })
    home.revoke(first)
    assert.deepEqual((await onlySealer('gpg:twin@example.com')).recipients, [second])
    const both = join(folder, 'both.asc')
    writeFileSync(both, home.gpg(['--armor', '--export', admin, other]))
    await assert.rejects(prepareSealers([`gpg:${both}`]), fails('NO_KEY', /2 match, expected one/))
  })

  test('each of several recipients can open the seal, with no other key at hand', async () => {
    const sealer = await onlySealer(`gpg:${other}`, 'gpg:admin@example.com', `gpg:${admin}`)
    assert.deepEqual(sealer.recipients, [admin, other].sort())
    const sealed = await collect(sealer.seal(pieces(Buffer.from('for both'))))
    for (const fingerprint of [admin, other]) {
      const secret = home.gpg(['--export-secret-keys', fingerprint])
      using alone = openGpgHome()
      alone.gpg(['--import'], secret)
      assert.equal((await collect(unseal('gpg', pieces(sealed)))).toString(), 'for both')
    }
  })

  test('options of the user cannot add a recipient or armor', async () => {
    const options = join(home.directory, 'gpg.conf')
    writeFileSync(options, `encrypt-to ${other}\narmor\nthrow-keyids\n`)
    try {
      const sealed = await collect((await onlySealer(`gpg:${admin}`)).seal(pieces(Buffer.from('x'))))
      assert.ok((sealed[0] as number) & 0x80)
      const { stdout } = spawnSync('gpg', ['--batch', '--list-packets'], { input: sealed })
      assert.equal(stdout.toString().match(/:pubkey enc packet/g)?.length, 1)
    } finally {
      rmSync(options)
    }
  })

  test('gpg --decrypt | tar -xz alone gives equal files, modes and times', async () => {
    const { root, paths } = await someSecrets('by-hand-gpg')
    const sealed = join(folder, 'secrets.tar.gz.gpg')
    writeFileSync(sealed, await collect((await onlySealer(`gpg:${admin}`)).seal(secretsArchive(paths))))
    const target = join(folder, 'opened-gpg')
    mkdirSync(target)
    execFileSync('sh', ['-c', `gpg --quiet --decrypt ${sealed} | tar -xzp -C ${target}`])
    assert.deepEqual(listing(join(target, root)), listing(root))
    const { files, ...check } = await checkSeal('gpg', pieces(readFileSync(sealed)))
    assert.deepEqual(check, { packets: true, decrypts: 'yes' })
    assert.deepEqual(files, paths.map(String))
  })

  test('a seal that a person made by hand is checked too, armored as the runbook has it', async () => {
    const { root } = await someSecrets('armored')
    const command = `tar -czf - -C ${folder} armored | gpg --batch --trust-model always --encrypt --armor --recipient ${admin}`
    const sealed = execFileSync('sh', ['-c', command])
    const { decrypts, files } = await checkSeal('gpg', pieces(sealed))
    assert.equal(decrypts, 'yes')
    assert.ok(files?.includes('/armored/.env.production'))
    const damaged = Buffer.from(sealed)
    damaged[200] = damaged[200] === 0x41 ? 0x42 : 0x41
    using _stranger = openGpgHome()
    await assert.rejects(checkSeal('gpg', pieces(damaged)), fails('SEAL', /armor checksum|session key/))
    await assert.rejects(checkSeal('gpg', pieces(sealed.subarray(0, 600))), fails('SEAL', /./))
    assert.ok(existsSync(root))
  })

  test('nothing but pipes ever holds the plaintext: no argument, no variable, no file', async () => {
    process.env.HOLDFAST_TEST_TOKEN = MARKER
    const temporary = mkdtempSync(join(tmpdir(), 'hft-'))
    const tmpdirBefore = process.env.TMPDIR
    process.env.TMPDIR = temporary
    try {
      let looked = 0
      async function* plaintext(): AsyncGenerator<Buffer> {
        for (let index = 0; index < 40; index++) {
          yield Buffer.from(`${MARKER} `.repeat(4096))
          if (index % 10 === 9) looked += lookAtChildren(temporary)
        }
      }
      const filesBefore = filesUnder(home.directory)
      const sealed = await collect((await onlySealer(`gpg:${admin}`)).seal(plaintext()))
      assert.ok(looked > 0, 'gpg was seen while it ran')
      assert.ok(!sealed.includes(MARKER))
      assert.deepEqual(filesUnder(home.directory), filesBefore)
    } finally {
      if (tmpdirBefore === undefined) delete process.env.TMPDIR
      else process.env.TMPDIR = tmpdirBefore
      delete process.env.HOLDFAST_TEST_TOKEN
      rmSync(temporary, { recursive: true })
    }
  })

  test('every bit of the structure is looked at without a key: most flips, every cut, emptiness', async () => {
    const sealed = await collect((await onlySealer(`gpg:${admin}`)).seal(pieces(gzipSync(Buffer.alloc(1024)))))
    using _stranger = openGpgHome()
    assert.deepEqual(await checkSeal('gpg', pieces(sealed)), { packets: true, decrypts: 'no-key' })
    await assert.rejects(checkSeal('gpg', pieces(Buffer.alloc(0))), fails('SEAL', /ends after 0 bytes/))
    for (let length = 1; length < sealed.length; length += full ? 1 : 13) {
      await assert.rejects(
        checkSeal('gpg', pieces(sealed.subarray(0, length))),
        fails('SEAL', /ends|there is/),
        `${length}`,
      )
    }
    await assert.rejects(
      checkSeal('gpg', pieces(Buffer.concat([sealed, Buffer.from('x')]))),
      fails('SEAL', /after the encrypted/),
    )
    for (const foreign of ['plain text', '\x1f\x8b gzip', 'age-encryption.org/v1\n']) {
      await assert.rejects(
        checkSeal('gpg', pieces(Buffer.from(foreign))),
        fails('SEAL', /there is no OpenPGP message|ends/),
      )
    }
  })

  test('with a key every damage is found: flips anywhere, cuts anywhere', { timeout: 180_000 }, async () => {
    const sealed = await collect((await onlySealer(`gpg:${admin}`)).seal(pieces(gzipSync(Buffer.alloc(1024)))))
    const undetected: number[] = []
    for (let offset = 0; offset < sealed.length; offset += full ? 1 : 5) {
      const damaged = Buffer.from(sealed)
      damaged[offset] = (damaged[offset] as number) ^ (1 << (offset % 8))
      try {
        const { decrypts } = await checkSeal('gpg', pieces(damaged))
        undetected.push(offset)
        assert.equal(decrypts, 'no-key')
      } catch (error) {
        assert.equal((error as ApplicationError).code, 'SEAL', `offset ${offset}: ${(error as Error).stack}`)
      }
    }
    assert.deepEqual(undetected, [])
    for (let length = 0; length < sealed.length; length += full ? 7 : 60) {
      await assert.rejects(checkSeal('gpg', pieces(sealed.subarray(0, length))), fails('SEAL', /./))
    }
  })

  test('a damaged large seal is found, and says nothing before its end that could be taken for proven', async () => {
    const content = Buffer.alloc(3_000_000)
    for (let index = 0; index < content.length; index += 4) content.writeUInt32LE((index * 2654435761) >>> 0, index)
    const sealed = await collect((await onlySealer(`gpg:${admin}`)).seal(pieces(content, 65536)))
    sealed[sealed.length - 500] = (sealed[sealed.length - 500] as number) ^ 1
    await assert.rejects(collect(unseal('gpg', pieces(sealed, 65536))), fails('SEAL', /damaged/))
  })

  test('what is sealed must be a whole tar.gz', async () => {
    const sealer = await onlySealer(`gpg:${admin}`)
    for (const content of [
      Buffer.from('no gzip'),
      gzipSync(Buffer.from('no tar'.repeat(200))),
      gzipSync(Buffer.alloc(5000)).subarray(0, 20),
    ]) {
      const sealed = await collect(sealer.seal(pieces(content)))
      await assert.rejects(checkSeal('gpg', pieces(sealed)), fails('SEAL', /Cannot read/))
    }
    const padded = await collect(
      sealer.seal(pieces(Buffer.concat([gzipSync(Buffer.alloc(10240)), Buffer.alloc(5000)]))),
    )
    assert.equal((await checkSeal('gpg', pieces(padded))).decrypts, 'yes')
  })

  test('a key locked by a passphrase answers "no-key" at once and asks nobody', { timeout: 60_000 }, async () => {
    const fingerprint = home.makeKey('Locked <locked@example.com>', { passphrase: 'correct horse' })
    const sealed = await collect((await onlySealer(`gpg:${fingerprint}`)).seal(pieces(gzipSync(Buffer.alloc(1024)))))
    home.forget()
    assert.deepEqual(await checkSeal('gpg', pieces(sealed)), { packets: true, decrypts: 'no-key' })
    await assert.rejects(collect(unseal('gpg', pieces(sealed))), (error: ApplicationError) => {
      assert.equal(error.facts.locked, true)
      assert.match((error.cause as Error).message, /No pinentry/)
      return fails('NO_KEY', /locked by a passphrase/)(error)
    })
    home.gpg(['--pinentry-mode', 'loopback', '--passphrase', 'correct horse', '--decrypt'], sealed)
    assert.equal((await checkSeal('gpg', pieces(sealed))).decrypts, 'yes', 'the agent holds the passphrase now')
  })

  test('without gpg the error says what to install', async () => {
    const sealer = await onlySealer(`gpg:${admin}`)
    const path = process.env.PATH
    process.env.PATH = join(folder, 'nothing-here')
    try {
      const missing = (error: ApplicationError) => {
        assert.match(error.hint ?? '', /apt-get install gnupg/)
        return fails('TOOL_MISSING', /Cannot run gpg/)(error)
      }
      await assert.rejects(prepareSealers([`gpg:${admin}`]), missing)
      await assert.rejects(collect(sealer.seal(pieces(Buffer.from('x')))), missing)
      await assert.rejects(checkSeal('gpg', pieces(Buffer.from('x'))), fails('SEAL', /no OpenPGP message/))
    } finally {
      process.env.PATH = path
    }
  })

  test('an abort ends gpg and gives its reason; a failing source gives its error', async () => {
    const sealer = await onlySealer(`gpg:${admin}`)
    const reason = new Error('stop now')
    const controller = new AbortController()
    async function* endless(): AsyncGenerator<Buffer> {
      for (let index = 0; ; index++) {
        if (index === 50) controller.abort(reason)
        yield Buffer.alloc(65536)
      }
    }
    await assert.rejects(collect(sealer.seal(endless(), controller.signal)), reason)
    assert.deepEqual(childrenOfThis('gpg'), [])

    const broken = new Error('disk on fire')
    async function* failing(): AsyncGenerator<Buffer> {
      yield Buffer.alloc(100_000)
      throw broken
    }
    await assert.rejects(collect(sealer.seal(failing())), broken)
    for await (const _ of sealer.seal(endless())) break
    assert.deepEqual(childrenOfThis('gpg'), [])
  })

  test('memory stays bounded while the consumer is slow', async () => {
    const sealer = await onlySealer(`gpg:${admin}`)
    let produced = 0
    async function* plaintext(): AsyncGenerator<Buffer> {
      for (let index = 0; index < 1000; index++) {
        produced += 65536
        yield Buffer.alloc(65536, index)
      }
    }
    const iterator = sealer.seal(plaintext())[Symbol.asyncIterator]()
    await iterator.next()
    await new Promise((resolve) => setTimeout(resolve, 300))
    assert.ok(produced < 8_000_000, `${produced} bytes were taken while nobody read`)
    await iterator.return?.()
  })
})

suite('age', () => {
  let identity: string
  let recipient: string
  before(() => {
    if (noAge) return
    identity = join(folder, 'identity.txt')
    execFileSync('age-keygen', ['-o', identity], { stdio: 'pipe' })
    recipient = execFileSync('age-keygen', ['-y', identity]).toString().trim()
  })

  test('age -d | tar -xz alone gives equal files, modes and times', { skip: noAge }, async () => {
    const { root, paths } = await someSecrets('by-hand-age')
    const sealed = join(folder, 'secrets.tar.gz.age')
    writeFileSync(sealed, await collect((await onlySealer(`age:${recipient}`)).seal(secretsArchive(paths))))
    const target = join(folder, 'opened-age')
    mkdirSync(target)
    execFileSync('sh', ['-c', `age -d -i ${identity} ${sealed} | tar -xzp -C ${target}`])
    assert.deepEqual(listing(join(target, root)), listing(root))
    const check = await checkSeal('age', pieces(readFileSync(sealed)), { identities: [identity] })
    assert.deepEqual(check, { packets: true, decrypts: 'yes', files: paths.map(String) })
  })

  test('recipients come from files too, SSH keys among them; all of them open the seal', {
    skip: noAge || without('ssh-keygen'),
  }, async () => {
    const keys = ['ed25519', 'rsa'].map((type) => {
      const file = join(folder, `id_${type}`)
      execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', 'a comment', '-f', file])
      return file
    })
    const file = join(folder, 'recipients.txt')
    const publicKeys = keys.map((key) => readFileSync(`${key}.pub`, 'utf8'))
    writeFileSync(file, `# who\n${recipient}\n\n${publicKeys.join('')}`)
    const sealer = await onlySealer(`age:${file}`, `age:${recipient}`)
    assert.equal(sealer.recipients.length, 3)
    const sealed = join(folder, 'several.age')
    writeFileSync(sealed, await collect(sealer.seal(pieces(Buffer.from(MARKER)))))
    for (const key of [identity, ...keys]) {
      assert.equal(execFileSync('age', ['-d', '-i', key, sealed]).toString(), MARKER)
      const opened = await collect(unseal('age', pieces(readFileSync(sealed)), { identities: [key] }))
      assert.equal(opened.toString(), MARKER)
    }
    const byAge = execFileSync('age', ['-R', file], { input: MARKER })
    for (const key of keys) {
      assert.equal((await collect(unseal('age', pieces(byAge), { identities: [key] }))).toString(), MARKER)
    }
  })

  test('wrong recipients and identities are refused, and a secret key is never repeated', { skip: noAge }, async () => {
    const secret = readFileSync(identity, 'utf8')
      .split('\n')
      .find((line) => line.startsWith('AGE-SECRET')) as string
    const silent = (error: ApplicationError) => {
      assert.ok(
        !JSON.stringify([error.message, error.facts, error.hint, String(error.cause)]).includes(secret.slice(20)),
      )
      return fails('NO_KEY', /secret key/)(error)
    }
    await assert.rejects(prepareSealers([`age:${identity}`]), silent)
    await assert.rejects(
      prepareSealers([`age:${recipient.slice(0, -1)}${recipient.endsWith('q') ? 'p' : 'q'}`]),
      fails('NO_KEY', /as an age recipient/),
    )
    await assert.rejects(prepareSealers(['age:/absent.txt']), fails('NO_KEY', /ENOENT/))
    await assert.rejects(prepareSealers(['rot13:me']), fails('CONFIG', /expected gpg/))
    const sealed = await collect((await onlySealer(`age:${recipient}`)).seal(pieces(Buffer.from('x'))))
    const stranger = join(folder, 'stranger.txt')
    execFileSync('age-keygen', ['-o', stranger], { stdio: 'pipe' })
    assert.deepEqual(await checkSeal('age', pieces(sealed), { identities: [stranger] }), {
      packets: true,
      decrypts: 'no-key',
    })
    assert.deepEqual(await checkSeal('age', pieces(sealed)), { packets: true, decrypts: 'no-key' })
    await assert.rejects(collect(unseal('age', pieces(sealed))), fails('NO_KEY', /no age identity is given/))
    const broken = join(folder, 'broken.txt')
    writeFileSync(broken, `${secret.slice(0, -2)}\n`)
    await assert.rejects(
      checkSeal('age', pieces(sealed), { identities: [broken] }).then(() =>
        collect(unseal('age', pieces(sealed), { identities: [broken] })),
      ),
      (error: ApplicationError) => {
        assert.ok(!JSON.stringify([error.message, error.facts, String(error.cause)]).includes(secret.slice(20, 40)))
        return fails('NO_KEY', /age identity/)(error)
      },
    )
  })

  test('damage is found: cuts anywhere, the header by its form, the content with a key', { skip: noAge }, async () => {
    const content = gzipSync(Buffer.alloc(1024))
    const sealed = await collect((await onlySealer(`age:${recipient}`)).seal(pieces(content)))
    // Without a key a cut of the only chunk looks like a shorter chunk, as long as its tag could still be there.
    const structure = sealed.length - content.length
    for (let length = 0; length < sealed.length; length += 3) {
      const cut = sealed.subarray(0, length)
      const broken = fails('SEAL', /ends|there is|damaged|Cannot read what/)
      if (length < structure) await assert.rejects(checkSeal('age', pieces(cut)), broken, `${length}`)
      await assert.rejects(checkSeal('age', pieces(cut), { identities: [identity] }), broken, `${length} with a key`)
    }
    const header = sealed.indexOf('\n---')
    for (let offset = 0; offset < sealed.length; offset++) {
      const damaged = Buffer.from(sealed)
      damaged[offset] = (damaged[offset] as number) ^ 1
      try {
        // age seals name nobody, so damage to our own stanza looks like a seal for somebody else.
        const { decrypts } = await checkSeal('age', pieces(damaged), { identities: [identity] })
        assert.ok(decrypts === 'no-key' && offset < header, `offset ${offset}`)
      } catch (error) {
        assert.equal((error as ApplicationError).code, 'SEAL', `offset ${offset}: ${(error as Error).stack}`)
      }
    }
  })

  test('several chunks go through, and an abort stops them', { skip: noAge }, async () => {
    const sealer = await onlySealer(`age:${recipient}`)
    const content = Buffer.alloc(300_000, 'abc')
    const sealed = await collect(sealer.seal(pieces(content)))
    assert.deepEqual(execFileSync('age', ['-d', '-i', identity], { input: sealed }), content)
    assert.deepEqual(await collect(unseal('age', pieces(sealed), { identities: [identity] })), content)
    const controller = new AbortController()
    const reason = new Error('enough')
    async function* endless(): AsyncGenerator<Buffer> {
      for (let index = 0; ; index++) {
        if (index === 20) controller.abort(reason)
        yield Buffer.alloc(65536)
      }
    }
    await assert.rejects(collect(sealer.seal(endless(), controller.signal)), reason)
  })
})

test('gpg and age recipients give one sealer each', { skip: noGpg || noAge }, async () => {
  using home = openGpgHome()
  home.makeKey('Admin <admin@example.com>')
  const identity = join(folder, 'both.txt')
  execFileSync('age-keygen', ['-o', identity], { stdio: 'pipe' })
  const recipient = execFileSync('age-keygen', ['-y', identity]).toString().trim()
  const sealers = await prepareSealers([`age:${recipient}`, 'gpg:admin@example.com'])
  assert.deepEqual(
    sealers.map(({ extension }): SealKind => extension),
    ['gpg', 'age'],
  )
  assert.deepEqual(await prepareSealers([]), [])
})

function childrenOfThis(name: string): string[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter((pid) => pid !== '' && readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === name)
}

/** How many gpg processes were looked at. */
function lookAtChildren(temporary: string): number {
  const pids = childrenOfThis('gpg')
  for (const pid of pids) {
    for (const part of ['cmdline', 'environ']) {
      const text = readFileSync(`/proc/${pid}/${part}`, 'utf8')
      assert.ok(!text.includes(MARKER), part)
      if (part === 'environ') assert.ok(!text.includes('HOLDFAST_TEST_TOKEN'))
    }
    for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
      const target = readlinkSync(`/proc/${pid}/fd/${descriptor}`)
      const flags = /flags:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8'))?.[1] ?? '0'
      const writes = (Number.parseInt(flags, 8) & 3) !== 0
      assert.ok(!writes || /^(pipe|socket|anon_inode):|^\/dev\/null$/.test(target), `writes to ${target}`)
    }
  }
  assert.deepEqual(readdirSync(temporary), [])
  return pids.length
}

function filesUnder(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => !/(^|\/)(S\.|\.#|random_seed)|lock$/.test(name))
    .sort()
}
