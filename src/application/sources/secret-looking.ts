// Which files look like secrets wherever they lie. A wrong "yes" costs little: the file is sealed instead of stored in
// the clear. A wrong "no" puts a credential in front of everyone who can read the repository.

const SAMPLE = /\.(example|sample|template|dist|defaults)$/
const ALWAYS = /^\.env|\.env$|\.(key|p12|pfx|jks|keystore)$/
const SSH_KEY = /^id_[^.]*$/
const MAYBE = /\.pem$|^id_.*\.(?!pub$)[^.]*$/

/**
 * Judges a file by its name. `by-content`: it is a secret when `holdsPrivateKey` says so (certificates and keys both come
 * as `*.pem`; `id_rsa.old` is a key, `id_map.json` is not).
 */
export function looksSecret(path: Buffer): 'yes' | 'by-content' | 'no' {
  const name = path
    .subarray(path.lastIndexOf(0x2f) + 1)
    .toString('latin1')
    .toLowerCase()
  if (ALWAYS.test(name) || SSH_KEY.test(name)) return SAMPLE.test(name) ? 'no' : 'yes'
  return MAYBE.test(name) ? 'by-content' : 'no'
}

/** The longest marker below, so that a search in pieces can overlap them. */
export const PRIVATE_KEY_MARKER_BYTES = 80

/**
 * Whether the bytes hold a private key in one of the textual forms: PEM (RFC 7468; PKCS #1, #8, SEC 1, encrypted or not),
 * OpenSSH, OpenPGP armor, PuTTY, age.
 */
export function holdsPrivateKey(bytes: Uint8Array): boolean {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  return /-----BEGIN (?:[A-Z0-9]{1,16} ){0,2}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d|AGE-SECRET-KEY-/.test(
    text,
  )
}
