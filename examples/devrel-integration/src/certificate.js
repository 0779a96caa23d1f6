/**
 * A self-signed certificate with its key, made here rather than committed: a private key in a Git history sets off every
 * scanner, and a certificate in one expires some day. Node.js has no function for it and `openssl` is not on every
 * machine, so the few DER structures of RFC 5280 that it takes are written out.
 */
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'

const oid = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  subjectKeyIdentifier: '2.5.29.14',
  subjectAlternativeName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
}

/** PEM texts of a certificate for `host` and of its P-256 key, valid from an hour ago for the given days. */
export function selfSignedCertificate(host, days = 3650, now = new Date()) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const algorithm = sequence(objectIdentifier(oid.ecdsaWithSha256))
  const name = sequence(set(sequence(objectIdentifier(oid.commonName), tagged(0x0c, Buffer.from(host)))))
  const serial = randomBytes(16)
  serial[0] = 0x40 | (serial[0] & 0x3f) // positive, and no leading zero byte

  const toBeSigned = sequence(
    tagged(0xa0, tagged(0x02, Buffer.of(2))), // version 3
    tagged(0x02, serial),
    algorithm,
    name, // issuer
    sequence(time(new Date(now.getTime() - 3_600_000)), time(new Date(now.getTime() + days * 86_400_000))),
    name, // subject
    spki,
    tagged(
      0xa3,
      sequence(
        extension(oid.subjectKeyIdentifier, tagged(0x04, createHash('sha1').update(spki).digest())),
        extension(oid.subjectAlternativeName, sequence(tagged(0x82, Buffer.from(host)))),
        extension(oid.basicConstraints, sequence()),
      ),
    ),
  )
  const signature = sign('sha256', toBeSigned, privateKey)
  const certificate = sequence(toBeSigned, algorithm, tagged(0x03, Buffer.concat([Buffer.of(0), signature])))
  return { certificate: pem('CERTIFICATE', certificate), key: privateKey.export({ type: 'pkcs8', format: 'pem' }) }
}

function tagged(tag, content) {
  const { length } = content
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), content])
  if (length < 0x100) return Buffer.concat([Buffer.of(tag, 0x81, length), content])
  return Buffer.concat([Buffer.of(tag, 0x82, length >> 8, length & 0xff), content])
}

function sequence(...parts) {
  return tagged(0x30, Buffer.concat(parts))
}

function set(...parts) {
  return tagged(0x31, Buffer.concat(parts))
}

function objectIdentifier(dotted) {
  const [first, second, ...rest] = dotted.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const arc of rest) {
    const groups = [arc & 0x7f]
    for (let left = arc >> 7; left > 0; left >>= 7) groups.unshift(0x80 | (left & 0x7f))
    bytes.push(...groups)
  }
  return tagged(0x06, Buffer.from(bytes))
}

function extension(id, value) {
  return sequence(objectIdentifier(id), tagged(0x04, value))
}

/** Two-digit years until 2049, as RFC 5280 (4.1.2.5) demands, four digits from then on. */
function time(date) {
  const digits = date.toISOString().replace(/[-:T]|\.\d+/g, '')
  return date.getUTCFullYear() < 2050 ? tagged(0x17, Buffer.from(digits.slice(2))) : tagged(0x18, Buffer.from(digits))
}

function pem(label, der) {
  const lines = der.toString('base64').match(/.{1,64}/g)
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
