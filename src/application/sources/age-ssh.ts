import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
} from 'node:crypto'
import { type Identity, type Recipient, Stanza } from 'age-encryption'
import { ApplicationError } from '../error.ts'

// age's recipients of SSH keys, which age-encryption does not have (C2SP age-ssh; filippo.io/age/agessh):
//
//   -> ssh-ed25519 TAG EPHEMERAL    body: file key, ChaCha20-Poly1305 with a zero nonce
//   -> ssh-rsa TAG                  body: file key, RSA-OAEP with SHA-256
//
// TAG is the first 4 octets of the SHA-256 of the public key in SSH wire format, base64 without padding. An Ed25519 key is
// used on Curve25519: the public key by its Montgomery coordinate, the private one by the hash of its seed.

const ED25519 = 'ssh-ed25519'
const RSA = 'ssh-rsa'
const LABEL = 'age-encryption.org/v1/'
const NO_NONCE = Buffer.alloc(12)
const FILE_KEY_SIZE = 16
const TAG_SIZE = 16
const SMALLEST_RSA_BITS = 2048
const CURVE_PRIME = 2n ** 255n - 19n

/** From a line of an SSH public key: `ssh-ed25519 AAAA…` or `ssh-rsa AAAA…`. Throws `NO_KEY`. */
export function sshRecipient(line: string): Recipient {
  const [type, base64 = ''] = line.trim().split(/\s+/)
  const wire = Buffer.from(base64, 'base64')
  const read = wireReader(wire)
  if (read.string().toString('latin1') !== type) throw unusable('its key is cut off or of another type than it says')
  const tag = tagOf(wire)
  if (type === ED25519) {
    const theirs = montgomery(read.string())
    return {
      wrapFileKey(fileKey) {
        const secret = randomBytes(32)
        const ephemeral = publicPoint(secret)
        const shared = multiply(tweak(wire), multiply(secret, theirs))
        const key = wrappingKey(shared, ephemeral, theirs)
        const cipher = createCipheriv('chacha20-poly1305', key, NO_NONCE, { authTagLength: TAG_SIZE })
        const body = Buffer.concat([cipher.update(fileKey), cipher.final(), cipher.getAuthTag()])
        return [new Stanza([ED25519, tag, unpadded(ephemeral)], body)]
      },
    }
  }
  if (type === RSA) {
    const [e, n] = [read.integer(), read.integer()]
    const jwk = { kty: 'RSA', e: e.toString('base64url'), n: n.toString('base64url') }
    const key = parsedBy(() => createPublicKey({ key: jwk, format: 'jwk' }))
    if (n.length * 8 < SMALLEST_RSA_BITS) throw unusable(`it has fewer than ${SMALLEST_RSA_BITS} bits`)
    return {
      wrapFileKey: (fileKey) => [
        new Stanza([RSA, tag], publicEncrypt({ key, oaepHash: 'sha256', oaepLabel: label(RSA) }, fileKey)),
      ],
    }
  }
  throw unusable(`keys of type ${type} cannot be sealed to`)
}

/** From an SSH private key file: OpenSSH's own format or PEM, without a passphrase. Throws `NO_KEY`. */
export function sshIdentity(text: string): Identity {
  const key = text.startsWith('-----BEGIN OPENSSH PRIVATE KEY-----') ? parseOpenSsh(text) : parsePem(text)
  const tag = tagOf(key.wire)
  return {
    unwrapFileKey(stanzas) {
      for (const { args, body } of stanzas) {
        if (args[0] !== key.type || args[1] !== tag) continue
        const fileKey = key.type === ED25519 ? openEd25519(key, args, body) : openRsa(key.privateKey, body)
        if (fileKey.length !== FILE_KEY_SIZE) throw new Error(`file key of ${fileKey.length} octets`)
        return fileKey
      }
      return null
    },
  }
}

type SshPrivateKey =
  | { readonly type: typeof ED25519; readonly wire: Buffer; readonly seed: Buffer }
  | { readonly type: typeof RSA; readonly wire: Buffer; readonly privateKey: KeyObject }

function openEd25519(key: SshPrivateKey & { type: typeof ED25519 }, args: readonly string[], body: Uint8Array): Buffer {
  const ephemeral = Buffer.from(args[2] ?? '', 'base64')
  if (args.length !== 3 || ephemeral.length !== 32 || body.length !== FILE_KEY_SIZE + TAG_SIZE) {
    throw new Error('malformed ssh-ed25519 stanza')
  }
  const secret = createHash('sha512').update(key.seed).digest().subarray(0, 32)
  const shared = multiply(tweak(key.wire), multiply(secret, ephemeral))
  const unwrapping = wrappingKey(shared, ephemeral, publicPoint(secret))
  const decipher = createDecipheriv('chacha20-poly1305', unwrapping, NO_NONCE, { authTagLength: TAG_SIZE })
  decipher.setAuthTag(body.subarray(FILE_KEY_SIZE))
  return Buffer.concat([decipher.update(body.subarray(0, FILE_KEY_SIZE)), decipher.final()])
}

function openRsa(key: KeyObject, body: Uint8Array): Buffer {
  return privateDecrypt({ key, oaepHash: 'sha256', oaepLabel: label(RSA) }, body)
}

// PROTOCOL.key of OpenSSH: "openssh-key-v1\0", cipher, key derivation, its options, the number of keys, the public key,
// and the private block: the same random number twice, type, the key's values, a comment, padding.
function parseOpenSsh(text: string): SshPrivateKey {
  const magic = 'openssh-key-v1\0'
  const bytes = Buffer.from(text.replaceAll(/-----[^-]*-----|\s/g, ''), 'base64')
  if (bytes.toString('latin1', 0, magic.length) !== magic) throw unusable('it is no OpenSSH private key')
  const outer = wireReader(bytes.subarray(magic.length))
  if (outer.string().toString('latin1') !== 'none') throw unusable('it is protected by a passphrase')
  outer.string()
  outer.string()
  if (outer.number() !== 1) throw unusable('it holds more than one key')
  const wire = outer.string()
  const inner = wireReader(outer.string())
  const [check, again] = [inner.number(), inner.number()]
  if (check !== again) throw unusable('it is damaged')
  const type = inner.string().toString('latin1')
  if (type === ED25519) {
    inner.string()
    return { type, wire, seed: inner.string().subarray(0, 32) }
  }
  if (type !== RSA) throw unusable(`keys of type ${type} cannot open a seal`)
  const [n, e, d, qi, p, q] = Array.from({ length: 6 }, () => inner.integer()) as [
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
  ]
  const reduced = (prime: Buffer): Buffer => {
    if (toBigInt(prime) < 2n) throw unusable('it is damaged')
    return fromBigInt(toBigInt(d) % (toBigInt(prime) - 1n))
  }
  const numbers = { n, e, d, p, q, qi, dp: reduced(p), dq: reduced(q) }
  const jwk = Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, value.toString('base64url')]))
  const privateKey = parsedBy(() => createPrivateKey({ key: { kty: 'RSA', ...jwk }, format: 'jwk' }))
  return { type, wire, privateKey }
}

function parsedBy(parse: () => KeyObject): KeyObject {
  try {
    return parse()
  } catch {
    throw unusable('it is damaged, or no key at all') // its reason may quote the key
  }
}

function parsePem(text: string): SshPrivateKey {
  if (text.includes('ENCRYPTED')) throw unusable('it is protected by a passphrase')
  const privateKey = parsedBy(() => createPrivateKey(text))
  if (privateKey.asymmetricKeyType !== 'rsa')
    throw unusable(`keys of type ${privateKey.asymmetricKeyType} cannot open a seal`)
  const { e = '', n = '' } = createPublicKey(privateKey).export({ format: 'jwk' })
  const wire = Buffer.concat(
    [Buffer.from(RSA), wireInteger(e), wireInteger(n)].map((part, index) => (index === 0 ? wireString(part) : part)),
  )
  return { type: RSA, wire, privateKey }
}

function wireReader(bytes: Buffer) {
  let offset = 0
  function number(): number {
    if (offset + 4 > bytes.length) throw unusable('it is cut off')
    offset += 4
    return bytes.readUInt32BE(offset - 4)
  }
  function string(): Buffer {
    const length = number()
    if (offset + length > bytes.length) throw unusable('it is cut off')
    offset += length
    return bytes.subarray(offset - length, offset)
  }
  /** A positive integer, without the zero octet that keeps it positive. */
  function integer(): Buffer {
    const value = string()
    return value[0] === 0 ? value.subarray(1) : value
  }
  return { number, string, integer }
}

function wireString(value: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(value.length)
  return Buffer.concat([length, value])
}

function wireInteger(base64url: string): Buffer {
  const value = Buffer.from(base64url, 'base64url')
  return wireString((value[0] as number) & 0x80 ? Buffer.concat([Buffer.of(0), value]) : value)
}

/** From an Edwards y to the Montgomery u: (1 + y) / (1 - y) (RFC 7748, 4.1). Little-endian; the top bit is the sign of x. */
function montgomery(point: Buffer): Buffer {
  if (point.length !== 32) throw unusable('its key is cut off')
  const y = toBigInt(Buffer.from(point).reverse()) & (2n ** 255n - 1n)
  const u = (1n + y) * power(1n - y, CURVE_PRIME - 2n)
  return fromBigInt(modulo(u), 32).reverse()
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n
  for (let square = modulo(base), left = exponent; left > 0n; left >>= 1n) {
    if (left & 1n) result = modulo(result * square)
    square = modulo(square * square)
  }
  return result
}

function modulo(value: bigint): bigint {
  return ((value % CURVE_PRIME) + CURVE_PRIME) % CURVE_PRIME
}

function toBigInt(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex') || '0'}`)
}

function fromBigInt(value: bigint, size = 0): Buffer {
  const digits = value.toString(16)
  return Buffer.from(digits.padStart(Math.max(size * 2, digits.length + (digits.length & 1)), '0'), 'hex')
}

// Node takes raw X25519 keys only in their DER wrapping (RFC 8410).
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex')
const PUBLIC_PREFIX = Buffer.from('302a300506032b656e032100', 'hex')

function x25519Private(scalar: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, scalar]), format: 'der', type: 'pkcs8' })
}

function multiply(scalar: Buffer, point: Buffer): Buffer {
  const publicKey = createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, point]), format: 'der', type: 'spki' })
  return diffieHellman({ privateKey: x25519Private(scalar), publicKey })
}

function publicPoint(scalar: Buffer): Buffer {
  return createPublicKey(x25519Private(scalar)).export({ format: 'der', type: 'spki' }).subarray(-32)
}

function tweak(wire: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', Buffer.alloc(0), wire, `${LABEL}${ED25519}`, 32))
}

function wrappingKey(shared: Buffer, ephemeral: Buffer, theirs: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', shared, Buffer.concat([ephemeral, theirs]), `${LABEL}${ED25519}`, 32))
}

function label(type: string): Buffer {
  return Buffer.from(`${LABEL}${type}`)
}

function tagOf(wire: Buffer): string {
  return unpadded(createHash('sha256').update(wire).digest().subarray(0, 4))
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '')
}

function unusable(why: string): ApplicationError {
  return new ApplicationError('NO_KEY', `Cannot use the SSH key: ${why}`)
}
