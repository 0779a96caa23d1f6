import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { EngineError } from '../error.ts'
import { goJsonString, parseJson } from './json.ts'
import {
  asObject,
  base64Field,
  type JsonObject,
  type Place,
  textField,
  timeField,
  unexpected,
  unsignedField,
} from './json-fields.ts'
import { type MasterKey, seal, unseal } from './master-key.ts'
import { formatTimestamp, type Timestamp } from './timestamp.ts'

// A key file is JSON in the clear. The password and its parameters derive a key of their own, which seals the
// master key of the repository: a password can be changed without touching anything else, and there can be several.
//
//   created, username, hostname    who made it, for people
//   kdf, N, r, p, salt             "scrypt" and its parameters; the salt has 64 bytes
//   data                           sealed: {"mac":{"k":<16 bytes>,"r":<16 bytes>},"encrypt":<32 bytes>}
//
// Bytes are in base64 with padding. The file is read before anything is known about the repository, so
// whoever can write to the storage chooses what it says.

/** The cost of a guess at the password: memory is about `128 · N · r` bytes, time grows with `N · r · p`. */
export interface ScryptParameters {
  /** A power of two. */
  readonly N: number
  readonly r: number
  readonly p: number
}

export interface KeyFile {
  readonly created: Timestamp
  readonly username: string
  readonly hostname: string
  readonly kdf: ScryptParameters
  readonly salt: Buffer
  /** The master key, sealed under what the password derives. */
  readonly data: Buffer
}

/** What restic writes: 32 MiB of memory, and half a second on an ordinary processor. */
const DEFAULT_KDF: ScryptParameters = { N: 32768, r: 8, p: 5 }

/**
 * For a password of 128 random bits and more. Stretching makes guesses dear, and nobody guesses such a one: what it still costs
 * is paid by whoever opens the repository, at every command. These are the smallest that people have ever been advised to use
 * for passwords of their own (RFC 7914), in 16 MiB: about 35 ms.
 */
export const RANDOM_PASSWORD_KDF: ScryptParameters = { N: 16384, r: 8, p: 1 }

const SALT_SIZE = 64

/** restic writes 32 MiB, rustic 128 MiB; a server of 1 GiB must survive a key file that was planted. */
const MAX_MEMORY = 512 * 1024 * 1024
/** `N · r · p`, about 25 times that of restic and 32 times that of rustic: half a minute at most. */
const MAX_WORK = 2 ** 25

/** Reads a key file without the password. `CORRUPT` says that it is none, `HOSTILE` that its derivation costs too much. */
export function parseKeyFile(bytes: Buffer): KeyFile {
  const place: Place = { what: 'key file' }
  const fields = asObject(parseJson(bytes, place.what), place)
  const kdf = textField(fields, 'kdf', place)
  if (kdf !== 'scrypt') throw unexpected(place, 'kdf', kdf, '"scrypt"')
  const keyFile: KeyFile = {
    created: timeField(fields, 'created', place),
    username: textField(fields, 'username', place),
    hostname: textField(fields, 'hostname', place),
    kdf: readParameters(fields, place),
    salt: base64Field(fields, 'salt', place) ?? Buffer.alloc(0),
    data: base64Field(fields, 'data', place) ?? Buffer.alloc(0),
  }
  if (keyFile.salt.length !== SALT_SIZE) {
    throw unexpected(place, 'salt', `${keyFile.salt.length} bytes`, `${SALT_SIZE} bytes`)
  }
  return keyFile
}

/**
 * Writes a new key file for the master key. It has been opened again with the same password before it is
 * handed out, because nothing else could open the repository. The password is used as it is: no trimming, no
 * Unicode normalisation.
 */
export async function createKeyFile(options: {
  readonly password: Buffer
  readonly masterKey: MasterKey
  readonly username: string
  readonly hostname: string
  readonly created: Timestamp
  readonly kdf?: ScryptParameters
}): Promise<Buffer> {
  const { password, masterKey, username, hostname, created, kdf = DEFAULT_KDF } = options
  const salt = randomBytes(SALT_SIZE)
  const data = seal(await deriveKey(password, salt, kdf), encodeMasterKey(masterKey))
  const members = [
    `"created":"${formatTimestamp(created)}"`,
    `"username":${goJsonString(username)}`,
    `"hostname":${goJsonString(hostname)}`,
    `"kdf":"scrypt","N":${kdf.N},"r":${kdf.r},"p":${kdf.p}`,
    `"salt":"${salt.toString('base64')}"`,
    `"data":"${data.toString('base64')}"`,
  ]
  const bytes = Buffer.from(`{${members.join(',')}}`)
  const opened = await openKeyFile(bytes, password)
  if (opened === null || !timingSafeEqual(encodeMasterKey(opened), encodeMasterKey(masterKey))) {
    throw new EngineError(
      'SELF_CHECK',
      'Cannot create key file: what was just written does not give the master key back',
      {
        facts: { what: 'key file' },
        hint: 'The memory or processor of this machine is likely faulty: test it before the next try',
      },
    )
  }
  return bytes
}

/**
 * The master key, or `null` where the password is not the one of this key file: the next one may fit.
 * Throws as `parseKeyFile` does, and `CORRUPT` where the password fits and what it opens is no master key.
 */
export async function openKeyFile(bytes: Buffer, password: Buffer): Promise<MasterKey | null> {
  const { kdf, salt, data } = parseKeyFile(bytes)
  const key = await deriveKey(password, salt, kdf)
  let plaintext: Buffer
  try {
    plaintext = unseal(key, data)
  } catch (error) {
    if (error instanceof EngineError && error.code === 'UNAUTHENTIC') return null
    throw error
  }
  return parseMasterKey(plaintext)
}

/** The key that a password stands for. Takes hundreds of milliseconds of another thread, and the memory of the parameters. */
export async function deriveKey(password: Buffer, salt: Buffer, kdf: ScryptParameters): Promise<MasterKey> {
  const { N, r, p } = kdf
  const bytes = await new Promise<Buffer>((resolve, reject) => {
    // Node allows 32 MiB unless it is told otherwise, which is just too little for what restic writes.
    scrypt(password, salt, 64, { N, r, p, maxmem: memoryOf(kdf) }, (error, derived) => {
      if (error)
        reject(new EngineError('SYSTEM', `Cannot derive a key with scrypt N=${N} r=${r} p=${p}`, { cause: error }))
      else resolve(derived)
    })
  })
  return { encrypt: bytes.subarray(0, 32), macK: bytes.subarray(32, 48), macR: bytes.subarray(48, 64) }
}

function readParameters(fields: JsonObject, place: Place): ScryptParameters {
  const N = unsignedField(fields, 'N', place)
  const r = unsignedField(fields, 'r', place)
  const p = unsignedField(fields, 'p', place)
  if (N < 2 || !Number.isInteger(Math.log2(N))) throw unexpected(place, 'N', N, 'a power of two above 1')
  if (r < 1) throw unexpected(place, 'r', r, 'at least 1')
  if (p < 1) throw unexpected(place, 'p', p, 'at least 1')
  const kdf = { N, r, p }
  if (memoryOf(kdf) > MAX_MEMORY || N * r * p > MAX_WORK) {
    throw new EngineError(
      'HOSTILE',
      `Cannot use key file: its scrypt parameters N=${N} r=${r} p=${p} ask for ${Math.ceil(memoryOf(kdf) / 2 ** 20)} MiB of memory and ${N * r * p} steps, expected at most ${MAX_MEMORY / 2 ** 20} MiB and ${MAX_WORK}`,
      { facts: { what: place.what, N, r, p }, hint: 'Remove the key file, unless you made it on purpose' },
    )
  }
  return kdf
}

/** What OpenSSL takes, in bytes. */
function memoryOf({ N, r, p }: ScryptParameters): number {
  return 128 * r * (N + p + 2)
}

/** Its JSON, as a key file holds it sealed. It opens the repository: handle it as the password. */
export function encodeMasterKey({ encrypt, macK, macR }: MasterKey): Buffer {
  const [k, r, e] = [macK, macR, encrypt].map((part) => part.toString('base64'))
  return Buffer.from(`{"mac":{"k":"${k}","r":"${r}"},"encrypt":"${e}"}`)
}

// No message and no cause may show what was found here: it is the secret itself, if in a broken shape.
function parseMasterKey(json: Buffer): MasterKey {
  const { mac, encrypt } = membersOf(parseSecretJson(json))
  const { k, r } = membersOf(mac)
  return { encrypt: secretBytes(encrypt, 32), macK: secretBytes(k, 16), macR: secretBytes(r, 16) }
}

function parseSecretJson(json: Buffer): unknown {
  try {
    return JSON.parse(json.toString())
  } catch {
    throw brokenMasterKey()
  }
}

function membersOf(value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  throw brokenMasterKey()
}

function secretBytes(value: unknown, size: number): Buffer {
  const bytes = Buffer.from(typeof value === 'string' ? value : '', 'base64')
  if (bytes.length === size && bytes.toString('base64') === value && bytes.some((byte) => byte !== 0)) return bytes
  throw brokenMasterKey()
}

function brokenMasterKey(): EngineError {
  return new EngineError('CORRUPT', 'Cannot use key file: the password fits, but what it opens is no master key', {
    facts: { what: 'key file', where: 'data' },
  })
}
