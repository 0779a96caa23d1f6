import { ApplicationError } from '../error.ts'
import { createFraming, type Framing, type Take } from './framing.ts'

// An encrypted OpenPGP message (RFC 9580, sections 4.2, 5.1, 5.13), as far as it can be read without a key:
//
//   one or more of   tag 1   session key, sealed for a public key (version 3)
//                    tag 3   session key, sealed by a passphrase
//   then one of      tag 18  data with integrity protection (version 1)
//                    tag 20  data with authenticated encryption (GnuPG's OCB)
//
// The data packet usually comes in pieces (partial lengths), each announced by one octet, so that a cut almost anywhere
// shows. Which bits of the encrypted bytes are right only the key can tell.

/** A session key for RSA with 16384 bits has 2 KiB; more than this is no session key. */
const SESSION_KEY_LIMIT = 16 * 1024
const SESSION_KEYS_LIMIT = 1000
const MARKER_TAG = 10
const PADDING_TAG = 21
/** SEIPD: version octet, block + 2 octets of random prefix, 22 octets of modification detection code. */
const SMALLEST_DATA = 1 + 10 + 22

export interface OpenPgpMessage {
  /** Of the keys that it is sealed for, 16 hex digits in upper case; zeros where the sender hid it. */
  readonly keyIds: readonly string[]
}

/** Checks binary and armored messages. Throws `SEAL`. */
export function openPgpFraming(): Framing<OpenPgpMessage> {
  return createFraming(function* (take) {
    const first = (yield* take.some()) as Buffer
    take.giveBack(first)
    return (first[0] as number) & 0x80 ? yield* message(take) : yield* armored(take)
  })
}

function* message(take: Take): Generator<undefined, OpenPgpMessage> {
  const keyIds: string[] = []
  for (let sessionKeys = 0; ; ) {
    const { tag, length } = yield* packetHeader(take)
    if (tag === MARKER_TAG || tag === PADDING_TAG) {
      yield* skipBody(take, length)
    } else if (tag === 1 || tag === 3) {
      if (++sessionKeys > SESSION_KEYS_LIMIT) throw broken(take, `more than ${SESSION_KEYS_LIMIT} session keys`)
      if (typeof length !== 'number' || length > SESSION_KEY_LIMIT) throw broken(take, 'a session key packet too long')
      const body = yield* take.exactly(length)
      if (tag === 1) keyIds.push(sessionKeyFor(take, body))
      else if (body[0] !== 4 && body[0] !== 5) throw broken(take, `a session key packet of version ${body[0]}`)
    } else if (tag === 18 || tag === 20) {
      if (sessionKeys === 0) throw broken(take, 'encrypted data without a session key')
      const version = yield* dataBody(take, length)
      if (version !== 1) throw broken(take, `an encrypted data packet of version ${version}, expected 1`)
      if (!(yield* take.atEnd())) throw broken(take, 'bytes after the encrypted data')
      return { keyIds }
    } else {
      throw broken(take, `a packet with tag ${tag}, expected a session key (1) or encrypted data (18)`)
    }
  }
}

type BodyLength = number | 'to-the-end' | { readonly partial: number }

function* packetHeader(take: Take): Generator<undefined, { tag: number; length: BodyLength }> {
  const octet = (yield* take.exactly(1))[0] as number
  if ((octet & 0x80) === 0) throw broken(take, 'no packet header')
  if (octet & 0x40) return { tag: octet & 0x3f, length: yield* newLength(take) }
  const tag = (octet >> 2) & 0x0f
  const lengthType = octet & 3
  if (lengthType === 3) return { tag, length: 'to-the-end' }
  const size = 1 << lengthType
  return { tag, length: (yield* take.exactly(size)).readUIntBE(0, size) }
}

function* newLength(take: Take): Generator<undefined, number | { readonly partial: number }> {
  const octet = (yield* take.exactly(1))[0] as number
  if (octet < 192) return octet
  if (octet < 224) return ((octet - 192) << 8) + ((yield* take.exactly(1))[0] as number) + 192
  if (octet === 255) return (yield* take.exactly(4)).readUInt32BE(0)
  return { partial: 1 << (octet & 0x1f) }
}

function* skipBody(take: Take, length: BodyLength): Generator<undefined, number> {
  let total = 0
  if (length === 'to-the-end') {
    while (!(yield* take.atEnd())) total += (yield* take.some()).length
    return total
  }
  for (let piece: number | { readonly partial: number } = length; ; piece = yield* newLength(take)) {
    const size = typeof piece === 'number' ? piece : piece.partial
    yield* take.skip(size)
    total += size
    if (typeof piece === 'number') return total
  }
}

/** Passes over the data and returns its version octet. */
function* dataBody(take: Take, length: BodyLength): Generator<undefined, number> {
  const first = typeof length === 'object' ? length.partial : length
  if (typeof length === 'object' && length.partial < 512) throw broken(take, 'a first piece of less than 512 octets')
  if (first === 0) throw broken(take, 'an empty encrypted data packet')
  const version = yield* take.exactly(1)
  take.giveBack(version)
  const total = yield* skipBody(take, length)
  if (total < SMALLEST_DATA) throw broken(take, `${total} octets of encrypted data, expected at least ${SMALLEST_DATA}`)
  return version[0] as number
}

/** Octets: 1 version, 8 key ID, 1 algorithm, then what the algorithm needs and nothing more. */
function sessionKeyFor(take: Take, body: Buffer): string {
  const algorithm = body[9]
  if (body[0] !== 3) throw broken(take, `a session key packet of version ${body[0]}, expected 3`)
  if (algorithm === undefined) throw broken(take, 'a session key packet cut short')
  if (!hasShape(body.subarray(10), algorithm))
    throw broken(take, `a session key packet unfit for algorithm ${algorithm}`)
  return body.toString('hex', 1, 9).toUpperCase()
}

function hasShape(fields: Buffer, algorithm: number): boolean {
  switch (algorithm) {
    case 1: // RSA: m^e
    case 2:
      return integers(fields, 1) === fields.length
    case 16: // Elgamal: g^k, m * y^k
      return integers(fields, 2) === fields.length
    case 18: // ECDH: point, then the wrapped key with its length in one octet
      return ends(fields, integers(fields, 1))
    case 25: // X25519, X448: the ephemeral key, then the same
      return ends(fields, 32)
    case 26:
      return ends(fields, 56)
    case 8: // GnuPG 2.5: Kyber with ECC; point, ciphertext with a length in four octets, the algorithm, the wrapped key
      return integers(fields, 1) > 0
    default:
      return false
  }
}

/** Where the multiprecision integers end, -1 when they do not fit. Each: bit count in two octets, then the value. */
function integers(fields: Buffer, count: number): number {
  let offset = 0
  for (let index = 0; index < count; index++) {
    if (offset + 2 > fields.length) return -1
    const bits = fields.readUInt16BE(offset)
    const size = (bits + 7) >> 3
    const top = fields[offset + 2]
    if (bits === 0 || top === undefined || offset + 2 + size > fields.length) return -1
    if (32 - Math.clz32(top) !== ((bits - 1) & 7) + 1) return -1
    offset += 2 + size
  }
  return offset
}

function ends(fields: Buffer, offset: number): boolean {
  const length = offset < 0 ? undefined : fields[offset]
  return length !== undefined && length > 0 && offset + 1 + length === fields.length
}

const BEGIN = '-----BEGIN PGP MESSAGE-----'
const END = '-----END PGP MESSAGE-----'
/** RFC 9580 allows 76 characters a line; header lines may be longer. */
const LINE_LIMIT = 1024

/** ASCII armor (RFC 9580, section 6): headers, an empty line, base64, an optional CRC-24 after `=`. */
function* armored(take: Take): Generator<undefined, OpenPgpMessage> {
  if ((yield* line(take)) !== BEGIN) throw broken(take, `no OpenPGP message: expected packets or "${BEGIN}"`)
  while ((yield* line(take)) !== '') if (yield* take.atEnd()) throw broken(take, 'the end inside the armor headers')
  const inner = createFraming(message)
  let checksum = 0xb704ce
  for (;;) {
    const text = yield* line(take)
    if (text === END) break
    if (text.startsWith('=')) {
      const stated = Buffer.from(text.slice(1), 'base64')
      if (stated.length !== 3 || stated.readUIntBE(0, 3) !== checksum) throw broken(take, 'a wrong armor checksum')
      if ((yield* line(take)) !== END) throw broken(take, 'no end of the armor after its checksum')
      break
    }
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.length % 4 !== 0) throw broken(take, 'a line that is not base64')
    const bytes = Buffer.from(text, 'base64')
    checksum = crc24(checksum, bytes)
    inner.push(bytes)
  }
  return inner.end()
}

function* line(take: Take): Generator<undefined, string> {
  let text = ''
  while (!(yield* take.atEnd())) {
    const octet = yield* take.exactly(1)
    if (octet[0] === 0x0a) return text.trimEnd()
    text += octet.toString('latin1')
    if (text.length > LINE_LIMIT) throw broken(take, `a line of more than ${LINE_LIMIT} characters`)
  }
  if (text === '') throw broken(take, 'the end inside the armor')
  return text.trimEnd()
}

function crc24(start: number, bytes: Buffer): number {
  let crc = start
  for (const octet of bytes) {
    crc ^= octet << 16
    for (let bit = 0; bit < 8; bit++) {
      crc <<= 1
      if (crc & 0x1000000) crc ^= 0x1864cfb
    }
  }
  return crc
}

function broken(take: Take, found: string): ApplicationError {
  return new ApplicationError('SEAL', `Cannot read the seal: at byte ${take.position()} there is ${found}`, {
    facts: { offset: take.position() },
  })
}
