import type { Problem } from './problem.ts'

/**
 * Who can open a seal.
 *
 * - `gpg`, `key`: an e-mail address, or a fingerprint of 40 or 64 hex digits in upper case
 * - `age`, `key`: `age1…`, or a line of an SSH public key
 * - `file`: an exported GPG public key, or a file with one age recipient a line; the path as written
 */
export interface Recipient {
  readonly tool: 'gpg' | 'age'
  readonly by: 'key' | 'file'
  readonly value: string
}

/** What is right, for messages. */
export const recipientSyntax = 'gpg:EMAIL, gpg:FINGERPRINT, gpg:FILE.asc, age:age1… or age:FILE'

/** Parses `gpg:…` and `age:…`. Never repeats a secret key in its answer. */
export function parseRecipient(text: string): Recipient | Problem {
  // Anywhere in the text: whoever pastes a secret key here pastes it in one of many ways, and errors end up in logs.
  if (/AGE-SECRET-KEY-|PRIVATE KEY/i.test(text)) {
    return {
      problem:
        'a secret key stands here, expected the public one: take the key out of this file and replace it, it is no longer secret',
    }
  }
  const [, tool, value = ''] = /^(gpg|age):(.*)$/s.exec(text) ?? []
  if (tool === 'gpg') return parseGpg(value.trim())
  if (tool === 'age') return parseAge(value.trim())
  const prefix = /^[a-z]+:/i.exec(text)?.[0]
  if (prefix !== undefined) return { problem: `"${text}" begins with "${prefix}", expected gpg: or age:` }
  if (/^age1|^ssh-/.test(text)) return { problem: `"${text}" does not say for which program it is, write age:${text}` }
  if (isEmail(text) || isFingerprint(text))
    return { problem: `"${text}" does not say for which program it is, write gpg:${text}` }
  return { problem: `"${text}" is not a recipient, expected ${recipientSyntax}` }
}

function parseGpg(value: string): Recipient | Problem {
  if (isPath(value) || /\.(asc|gpg|pgp|key)$/.test(value)) return { tool: 'gpg', by: 'file', value }
  if (isFingerprint(value)) return { tool: 'gpg', by: 'key', value: value.replaceAll(/[ :]|^0x/gi, '').toUpperCase() }
  if (isEmail(value)) return { tool: 'gpg', by: 'key', value }
  if (/^(0x)?([0-9A-F]{8}|[0-9A-F]{16})$/i.test(value)) {
    return {
      problem: `"gpg:${value}" is a key ID, which others can forge, expected the fingerprint of 40 digits that "gpg --fingerprint ${value}" prints`,
    }
  }
  return {
    problem: `"gpg:${value}" names no key, expected an e-mail address, a fingerprint of 40 digits or a path to a key file`,
  }
}

function parseAge(value: string): Recipient | Problem {
  if (/^age1[0-9a-z]*$/i.test(value)) {
    const broken = bech32Problem(value)
    if (broken === undefined) return { tool: 'age', by: 'key', value }
    return { problem: `"age:${value}" is mistyped, ${broken}` }
  }
  if (value.startsWith('ssh-')) {
    const [type = '', blob = ''] = value.split(/\s+/)
    if (type !== 'ssh-ed25519' && type !== 'ssh-rsa') {
      return { problem: `"age:${type}" is a kind of key that cannot be sealed to, expected ssh-ed25519 or ssh-rsa` }
    }
    // RFC 4253, 6.6: the blob repeats the type, after its length.
    const bytes = Buffer.from(blob, 'base64')
    const named = bytes.length > 4 ? bytes.subarray(4, 4 + bytes.readUInt32BE(0)).toString('latin1') : ''
    if (named === type) return { tool: 'age', by: 'key', value: `${type} ${blob}` }
    return { problem: `"age:${type} …" is cut off or mistyped, expected the whole line of the .pub file` }
  }
  if (isPath(value) || /\.(txt|pub|age)$/.test(value)) return { tool: 'age', by: 'file', value }
  return {
    problem: `"age:${value}" names no key, expected age1…, a line of an SSH public key or a path to a file of recipients`,
  }
}

function isPath(value: string): boolean {
  return value.includes('/')
}

function isEmail(value: string): boolean {
  return /^[^\s@<>:]+@[^\s@<>:]+$/.test(value)
}

/** With the spaces that `gpg --fingerprint` prints, or without. */
function isFingerprint(value: string): boolean {
  return /^([0-9A-F]{40}|[0-9A-F]{64})$/i.test(value.replaceAll(/[ :]|^0x/gi, ''))
}

const BECH32_ALPHABET = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
const BECH32_GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3]

/** Checks the checksum of BIP 173, which age's recipients end with; their length is not limited to BIP 173's 90. */
function bech32Problem(text: string): string | undefined {
  if (text !== text.toLowerCase()) return 'expected lower case'
  const separator = text.lastIndexOf('1')
  const prefix = text.slice(0, separator)
  const data = [...text.slice(separator + 1)]
  const wrong = data.find((letter) => !BECH32_ALPHABET.includes(letter))
  if (wrong !== undefined) return `"${wrong}" does not occur in such keys`
  const values = [
    ...[...prefix].map((letter) => letter.charCodeAt(0) >> 5),
    0,
    ...[...prefix].map((letter) => letter.charCodeAt(0) & 31),
    ...data.map((letter) => BECH32_ALPHABET.indexOf(letter)),
  ]
  let checksum = 1
  for (const value of values) {
    const top = checksum >>> 25
    checksum = ((checksum & 0x1ffffff) << 5) ^ value
    for (const [bit, generator] of BECH32_GENERATOR.entries()) if ((top >>> bit) & 1) checksum ^= generator
  }
  return checksum === 1 && data.length > 6 ? undefined : 'its checksum is wrong: letters are missing or changed'
}
