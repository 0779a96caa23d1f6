import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { EngineError } from '../error.ts'
import { createKeyFile, deriveKey, openKeyFile, parseKeyFile } from './key-file.ts'
import { generateMasterKey, type MasterKey, sealWithIv } from './master-key.ts'
import { formatTimestamp, parseTimestamp } from './timestamp.ts'

const range = (from: number, size: number) => Buffer.from(Array.from({ length: size }, (_, i) => from + i))

const PASSWORD = Buffer.from('restic-vector')
const SALT = range(0, 64)
const MASTER_KEY: MasterKey = { encrypt: range(0x80, 32), macK: range(0xa0, 16), macR: range(0xb0, 16) }
const DATA =
  'wMHCw8TFxsfIycrLzM3Oz2fat9h+xMcVCnjYPVpriNqanXRkUNUIV2loPpHlzmFlKLN7Cphssdmh2ghrh3nLp+wrGGHz2VfkWJ+rwIQJG8n7fahV1gLJ5gxxw3lZjBvARrBP50KkNdCbEBoq4uJGWL50nPdKzx+deBOn+ALfqR+gflmrtG9u3b/d+CFgL8QP0VzVQSBkiRVKh9FIAuAxgg=='
const FIELDS = {
  created: '2026-01-02T03:04:05.678901234+01:00',
  username: 'u',
  hostname: 'h',
  kdf: 'scrypt',
  N: 1024,
  r: 8,
  p: 1,
  salt: SALT.toString('base64'),
  data: DATA,
}

const file = (changes: object = {}) => Buffer.from(JSON.stringify({ ...FIELDS, ...changes }))

/** A key file that fits the password and seals this text in place of a master key. */
async function fileWith(masterKeyText: string): Promise<Buffer> {
  const key = await deriveKey(PASSWORD, SALT, { N: 2, r: 1, p: 1 })
  const data = sealWithIv(key, range(1, 16), Buffer.from(masterKeyText)).toString('base64')
  return file({ N: 2, r: 1, p: 1, data })
}

test('the password derives the key that restic derives', async () => {
  assert.deepEqual(await deriveKey(PASSWORD, SALT, { N: 1024, r: 8, p: 1 }), {
    encrypt: Buffer.from('8c69a6574ec755129a47165891352ec521e1b59cd7073a07f485dc1c8d54b08d', 'hex'),
    macK: Buffer.from('ae4e3cb474f8af4464adf7a334c6a77f', 'hex'),
    macR: Buffer.from('05ae7847e3df41607387840d3421750c', 'hex'),
  })
})

test('a key file that restic opened gives its master key, and sealing that gives its bytes', async () => {
  assert.deepEqual(await openKeyFile(file(), PASSWORD), MASTER_KEY)
  const json =
    '{"mac":{"k":"oKGio6SlpqeoqaqrrK2urw==","r":"sLGys7S1tre4ubq7vL2+vw=="},"encrypt":"gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXmJmam5ydnp8="}'
  assert.equal(json.length, 128)
  const key = await deriveKey(PASSWORD, SALT, { N: 1024, r: 8, p: 1 })
  assert.equal(sealWithIv(key, range(0xc0, 16), Buffer.from(json)).toString('base64'), DATA)
})

test('another password opens nothing', async () => {
  for (const password of ['', 'restic-Vector', 'restic-vector\n', ' restic-vector']) {
    assert.equal(await openKeyFile(file(), Buffer.from(password)), null)
  }
})

test('who made a key file is known without the password', () => {
  const { created, username, hostname, kdf, salt, data } = parseKeyFile(file())
  assert.equal(formatTimestamp(created), FIELDS.created)
  assert.deepEqual({ username, hostname, kdf }, { username: 'u', hostname: 'h', kdf: { N: 1024, r: 8, p: 1 } })
  assert.deepEqual([salt.toString('base64'), data.toString('base64')], [FIELDS.salt, DATA])
})

test('a created key file opens with its password only, and says what it was told in the order of restic', async () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 40 }), text, text, async (password, username, hostname) => {
      const masterKey = generateMasterKey()
      const created = parseTimestamp(FIELDS.created)
      const kdf = { N: 4, r: 2, p: 3 }
      const bytes = await createKeyFile({
        password: Buffer.from(password),
        masterKey,
        username,
        hostname,
        created,
        kdf,
      })
      assert.deepEqual(await openKeyFile(bytes, Buffer.from(password)), masterKey)
      assert.equal(await openKeyFile(bytes, Buffer.concat([password, Buffer.of(1)])), null)
      const parsed = JSON.parse(bytes.toString())
      assert.deepEqual(Object.keys(parsed), Object.keys(FIELDS))
      const { salt, data, ...facts } = parsed
      assert.deepEqual(facts, { created: FIELDS.created, username, hostname, kdf: 'scrypt', ...kdf })
      assert.deepEqual([Buffer.from(salt, 'base64').length, Buffer.from(data, 'base64').length], [64, 160])
    }),
    { numRuns: 30 },
  )
})

test('unless told otherwise, a guess costs what it costs with restic', async () => {
  const bytes = await createKeyFile({
    password: PASSWORD,
    masterKey: MASTER_KEY,
    username: '',
    hostname: '',
    created: parseTimestamp(FIELDS.created),
  })
  assert.deepEqual(parseKeyFile(bytes).kdf, { N: 32768, r: 8, p: 5 })
})

test('members that are only information may be absent', async () => {
  const bytes = file({ created: undefined, username: undefined, hostname: undefined })
  assert.deepEqual(await openKeyFile(bytes, PASSWORD), MASTER_KEY)
})

for (const [what, changes] of [
  ['another derivation', { kdf: 'argon2id' }],
  ['no derivation', { kdf: undefined }],
  ['an empty time', { created: '' }],
  ['a name that is no text', { username: 7 }],
  ['no N', { N: undefined }],
  ['N that is no power of two', { N: 1025 }],
  ['N of 1', { N: 1 }],
  ['N below zero', { N: -1024 }],
  ['N as a text', { N: '1024' }],
  ['r of 0', { r: 0 }],
  ['p of 0', { p: 0 }],
  ['p with a fraction', { p: 1.5 }],
  ['no salt', { salt: undefined }],
  ['a salt of 63 bytes', { salt: SALT.subarray(1).toString('base64') }],
  ['a salt of 65 bytes', { salt: Buffer.alloc(65).toString('base64') }],
  ['a salt in URL-safe base64', { salt: Buffer.alloc(64, 0xff).toString('base64url') }],
  ['data without padding', { data: DATA.replaceAll('=', '') }],
  ['no data', { data: undefined }],
  ['data too short to be sealed', { data: 'AAAA' }],
] as const) {
  test(`a key file with ${what} is corrupt, which is not a wrong password`, async () => {
    await assert.rejects(openKeyFile(file(changes), PASSWORD), { code: 'CORRUPT' })
  })
}

test('bytes that are no object of JSON are corrupt', () => {
  for (const text of ['', 'null', '[]', '"scrypt"', '{', `${file()}x`]) {
    assert.throws(() => parseKeyFile(Buffer.from(text)), { code: 'CORRUPT' })
  }
})

test('parameters that would exhaust memory or time are refused before they cost any', async () => {
  for (const [N, r, p] of [
    [2 ** 20, 8, 1],
    [2 ** 40, 8, 1],
    [2 ** 52, 2 ** 40, 2 ** 52],
    [2, 2 ** 28, 1],
    [2, 2 ** 10, 2 ** 15],
    [2, 1, 2 ** 30],
    [2, 1, Number.MAX_SAFE_INTEGER],
    [2 ** 15, 8, 1000],
    [2 ** 18, 8, 17],
  ] as const) {
    const before = process.memoryUsage().rss
    const start = performance.now()
    await assert.rejects(openKeyFile(file({ N, r, p }), PASSWORD), { code: 'HOSTILE' })
    assert.ok(performance.now() - start < 50, `N=${N} r=${r} p=${p} took time`)
    assert.ok(process.memoryUsage().rss - before < 32 * 2 ** 20, `N=${N} r=${r} p=${p} took memory`)
  }
})

test('what restic and rustic write is not refused', () => {
  for (const [N, r, p] of [
    [2 ** 15, 8, 1],
    [2 ** 15, 8, 30],
    [2 ** 17, 8, 1],
    [2 ** 18, 8, 1],
  ] as const) {
    assert.deepEqual(parseKeyFile(file({ N, r, p })).kdf, { N, r, p })
  }
})

test('a broken master key is reported without showing any of it', async () => {
  const [k, encrypt] = ['oKGio6SlpqeoqaqrrK2urw==', 'gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXmJmam5ydnp8=']
  const zeros = Buffer.alloc(16).toString('base64')
  for (const text of [
    `{"mac":{"k":"${k}","r":"${k}"},"encrypt":"${encrypt}"`,
    `"${encrypt}"`,
    'null',
    `{"mac":null,"encrypt":"${encrypt}"}`,
    `{"mac":{"k":"${k}"},"encrypt":"${encrypt}"}`,
    `{"mac":{"k":"${k}","r":"${k}"},"encrypt":"${k}"}`,
    `{"mac":{"k":"${k}","r":"${zeros}"},"encrypt":"${encrypt}"}`,
    `{"mac":{"k":"${k}","r":"${k.replaceAll('=', '')}"},"encrypt":"${encrypt}"}`,
    `{"mac":{"k":["${k}"],"r":"${k}"},"encrypt":"${encrypt}"}`,
  ]) {
    const bytes = await fileWith(text)
    await assert.rejects(openKeyFile(bytes, PASSWORD), (error: EngineError) => {
      assert.equal(error.code, 'CORRUPT')
      assert.equal(error.cause, undefined)
      const shown = JSON.stringify([error.message, error.facts])
      for (const secret of [k, encrypt]) assert.ok(!shown.includes(secret.slice(0, 8)))
      return true
    })
  }
})
