import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { parseRecipient } from './recipient.ts'

const fingerprint = '0123456789ABCDEF0123456789ABCDEF01234567'

suite('recipients', () => {
  const right: [string, ReturnType<typeof parseRecipient>][] = [
    ['gpg:admin@your-company.com', { tool: 'gpg', by: 'key', value: 'admin@your-company.com' }],
    [`gpg:${fingerprint.toLowerCase()}`, { tool: 'gpg', by: 'key', value: fingerprint }],
    ['gpg:0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567', { tool: 'gpg', by: 'key', value: fingerprint }],
    ['gpg:keys/ops.asc', { tool: 'gpg', by: 'file', value: 'keys/ops.asc' }],
    ['gpg:ops.asc', { tool: 'gpg', by: 'file', value: 'ops.asc' }],
    ['age:/etc/holdfast/recipients', { tool: 'age', by: 'file', value: '/etc/holdfast/recipients' }],
    [
      'age:ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1 ops@example.com',
      { tool: 'age', by: 'key', value: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1' },
    ],
  ]
  for (const [text, recipient] of right) {
    test(`"${text}" is understood`, () => assert.deepEqual(parseRecipient(text), recipient))
  }

  test('what age makes is accepted, and with any letter changed it is not', async () => {
    const recipient = await identityToRecipient(await generateX25519Identity())
    assert.deepEqual(parseRecipient(`age:${recipient}`), { tool: 'age', by: 'key', value: recipient })
    for (let at = 4; at < recipient.length; at++) {
      const other = recipient[at] === 'q' ? 'p' : 'q'
      const mistyped = recipient.slice(0, at) + other + recipient.slice(at + 1)
      assert.deepEqual(parseRecipient(`age:${mistyped}`), {
        problem: `"age:${mistyped}" is mistyped, its checksum is wrong: letters are missing or changed`,
      })
    }
  })

  test('a secret key is refused without being repeated', async () => {
    const identity = await generateX25519Identity()
    for (const text of [identity, `age:${identity}`, `gpg:${identity.toLowerCase()}`]) {
      const parsed = parseRecipient(text)
      assert.deepEqual(parsed, {
        problem:
          'a secret key stands here, expected the public one: take the key out of this file and replace it, it is no longer secret',
      })
    }
  })

  const wrong: [string, string][] = [
    [
      'admin@your-company.com',
      '"admin@your-company.com" does not say for which program it is, write gpg:admin@your-company.com',
    ],
    [fingerprint, `"${fingerprint}" does not say for which program it is, write gpg:${fingerprint}`],
    ['age1abc', '"age1abc" does not say for which program it is, write age:age1abc'],
    ['pgp:admin@your-company.com', '"pgp:admin@your-company.com" begins with "pgp:", expected gpg: or age:'],
    [
      'gpg:89ABCDEF',
      '"gpg:89ABCDEF" is a key ID, which others can forge, expected the fingerprint of 40 digits that "gpg --fingerprint 89ABCDEF" prints',
    ],
    [
      'gpg:Jane',
      '"gpg:Jane" names no key, expected an e-mail address, a fingerprint of 40 digits or a path to a key file',
    ],
    ['age:AGE1X', '"age:AGE1X" is mistyped, expected lower case'],
    ['age:age1b', '"age:age1b" is mistyped, "b" does not occur in such keys'],
    ['age:ssh-dss AAAA', '"age:ssh-dss" is a kind of key that cannot be sealed to, expected ssh-ed25519 or ssh-rsa'],
    ['age:ssh-ed25519 AAAA', '"age:ssh-ed25519 …" is cut off or mistyped, expected the whole line of the .pub file'],
    [
      'age:jane',
      '"age:jane" names no key, expected age1…, a line of an SSH public key or a path to a file of recipients',
    ],
    ['Jane', '"Jane" is not a recipient, expected gpg:EMAIL, gpg:FINGERPRINT, gpg:FILE.asc, age:age1… or age:FILE'],
  ]
  for (const [text, problem] of wrong) {
    test(`"${text}" is refused with what would be right`, () => assert.deepEqual(parseRecipient(text), { problem }))
  }
})
