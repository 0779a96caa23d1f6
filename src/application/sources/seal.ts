import { readFile } from 'node:fs/promises'
import { createGunzip } from 'node:zlib'
import { Decrypter, Encrypter } from 'age-encryption'
import { ApplicationError } from '../error.ts'
import { filterThrough, type ProgramEnd, programFailure } from '../program.ts'
import { ageFraming } from './age-framing.ts'
import { sshIdentity, sshRecipient } from './age-ssh.ts'
import { throughTransform } from './byte-stream.ts'
import type { Framing } from './framing.ts'
import { GPG_BASE, gpgOptions, listSecretKeys, type ResolvedKey, resolveKey, statusLines } from './gpg.ts'
import { openPgpFraming } from './openpgp-framing.ts'
import { unpackTar } from './tar.ts'

export type SealKind = 'gpg' | 'age'

/** Seals for a fixed set of recipients, all of which were found usable. */
export interface Sealer {
  readonly extension: SealKind
  /** Fingerprints, or age recipients; sorted. */
  readonly recipients: readonly string[]
  /** When the first of the keys expires; `undefined` when none does. */
  readonly expires: Date | undefined
  /**
   * Encrypts as it is read, in bounded memory; the plaintext goes through pipes only. Throws `SEAL`; nothing that came out
   * before an error is a seal.
   */
  seal(plaintext: AsyncIterable<Uint8Array>, signal?: AbortSignal): AsyncIterable<Buffer>
}

export interface SealCheck {
  /** The structure is whole, as far as it can be seen without a key. Always true: otherwise `SEAL` is thrown. */
  readonly packets: true
  /** `yes`: decrypted, decompressed and read to the end. `no-key`: no key here opens it, or only with a passphrase. */
  readonly decrypts: 'yes' | 'no-key'
  /** All entries, folders too, as absolute paths; only when it could be decrypted. */
  readonly files?: readonly string[]
}

export interface UnsealOptions {
  /** Paths of age identity files (`AGE-SECRET-KEY-1…`, or unencrypted SSH private keys). gpg has its keyring. */
  readonly identities?: readonly string[]
  readonly signal?: AbortSignal | undefined
}

/** More entries than this are no set of secrets. */
const FILES_LIMIT = 100_000
/** A recipients or identity file. */
const KEY_FILE_LIMIT = 1024 * 1024
/** Enough of a seal to hold its session keys. */
const HEAD_LIMIT = 256 * 1024

/**
 * Finds the keys for `gpg:EMAIL`, `gpg:FINGERPRINT`, `gpg:FILE`, `age:age1…`, `age:ssh-…` and `age:FILE`, and returns at
 * most one sealer a kind. All recipients must be usable: throws `NO_KEY`, `KEY_EXPIRED`, `TOOL_MISSING` otherwise.
 */
export async function prepareSealers(
  recipients: readonly string[],
  options: { readonly signal?: AbortSignal | undefined; readonly now?: () => Date } = {},
): Promise<Sealer[]> {
  const now = (options.now ?? (() => new Date()))()
  const keys: ResolvedKey[] = []
  const age = new Set<string>()
  for (const recipient of recipients) {
    const [, kind, value = ''] = /^(gpg|age):(.+)$/s.exec(recipient) ?? []
    if (kind === 'gpg') keys.push(await resolveKey(value.trim(), 'encrypt', { now, signal: options.signal }))
    else if (kind === 'age') for (const one of await ageRecipients(value.trim())) age.add(one)
    else {
      throw new ApplicationError('CONFIG', `Cannot seal for "${recipient}": expected gpg:… or age:…`, {
        facts: { recipient },
      })
    }
  }
  const sealers: Sealer[] = []
  if (keys.length > 0) sealers.push(gpgSealer(keys))
  if (age.size > 0) sealers.push(ageSealer([...age].sort()))
  return sealers
}

function gpgSealer(keys: readonly ResolvedKey[]): Sealer {
  const byFingerprint = new Map(keys.map((key) => [key.key.fingerprint, key]))
  const distinct = [...byFingerprint.values()]
  const inputs: Buffer[] = []
  // Each recipient was resolved to one fingerprint, or to the bytes of one exported key, which gpg reads from a pipe:
  // so what is sealed for is what was looked at. Trust is decided by that, not by gpg's web of it.
  const recipients = distinct.flatMap(({ key, exported }) => {
    if (exported === undefined) return ['--recipient', key.fingerprint]
    inputs.push(exported)
    return ['--recipient-file', `-&${inputs.length + 3}`]
  })
  const args = [
    ...GPG_BASE,
    ...['--trust-model', 'always', '--no-encrypt-to', '--no-armor', '--no-throw-keyids', '--enable-special-filenames'],
    // Compressed already; and one layer less lets the modification detection see every bit.
    ...['--compress-algo', 'none', '--status-fd', '3', ...recipients, '--output', '-', '--encrypt'],
  ]
  const ends = distinct.flatMap(({ expires }) => (expires === undefined ? [] : [expires]))
  return {
    extension: 'gpg',
    recipients: [...byFingerprint.keys()].sort(),
    expires: ends.length === 0 ? undefined : new Date(Math.min(...ends) * 1000),
    seal: (plaintext, signal) =>
      filterThrough('gpg', args, plaintext, gpgOptions(signal, { inputs }), (end) => {
        if (end.exitCode === 0 && statusLines(end, 'END_ENCRYPTION').length === 1) return
        const unusable = statusLines(end, 'INV_RECP').map(([, key]) => key)
        throw new ApplicationError('SEAL', `Cannot seal with gpg: ${programFailure(end).message}`, {
          cause: programFailure(end),
          ...(unusable.length === 0 ? {} : { facts: { unusable: unusable.map(String) } }),
        })
      }),
  }
}

function ageSealer(recipients: readonly string[]): Sealer {
  return {
    extension: 'age',
    recipients,
    expires: undefined,
    async *seal(plaintext, signal) {
      signal?.throwIfAborted()
      const encrypter = ageEncrypter(recipients)
      const sealed = await encrypter.encrypt(ReadableStream.from(honouring(plaintext, signal)))
      for await (const chunk of sealed) yield asBuffer(chunk)
      signal?.throwIfAborted()
    },
  }
}

function ageEncrypter(recipients: readonly string[]): Encrypter {
  const encrypter = new Encrypter()
  for (const recipient of recipients) {
    encrypter.addRecipient(recipient.startsWith('ssh-') ? sshRecipient(recipient) : recipient)
  }
  return encrypter
}

async function ageRecipients(value: string): Promise<readonly string[]> {
  if (/^(age1[^/.]*|ssh-\S+\s.*)$/.test(value)) return [usableAgeRecipient(value, value)]
  const lines = (await readKeyLines(value, 'recipients')).map((line) => usableAgeRecipient(line, value))
  if (lines.length === 0) {
    throw new ApplicationError('NO_KEY', `Cannot use ${value}: it holds no age recipient, expected one a line`, {
      facts: { key: value },
      hint: 'Write the public key there: age-keygen -y IDENTITY_FILE',
    })
  }
  return lines
}

function usableAgeRecipient(line: string, from: string): string {
  // Whatever is wrong with it, a line that may be a secret key is not repeated.
  if (/AGE-SECRET-KEY-|PRIVATE KEY/i.test(line)) {
    throw new ApplicationError(
      'NO_KEY',
      `Cannot use ${line === from ? 'the recipient' : from}: it is a secret key, expected the public one`,
      {
        hint: 'Take the secret key off this machine, and use the public one: age-keygen -y IDENTITY_FILE',
      },
    )
  }
  const recipient = line.startsWith('ssh-') ? line.split(/\s+/).slice(0, 2).join(' ') : line
  try {
    ageEncrypter([recipient])
    return recipient
  } catch (error) {
    throw new ApplicationError('NO_KEY', `Cannot use "${recipient}" as an age recipient: ${(error as Error).message}`, {
      facts: { key: from },
      cause: error,
      hint: 'Expected age1…, or a line of an ssh-ed25519 or ssh-rsa public key',
    })
  }
}

/** Reads to the end of the seal; with a key it is decrypted, decompressed and walked through, and nothing is written. */
export async function checkSeal(
  kind: SealKind,
  sealed: AsyncIterable<Uint8Array>,
  options: UnsealOptions = {},
): Promise<SealCheck> {
  const framing: Framing<unknown> = kind === 'gpg' ? openPgpFraming() : ageFraming()
  const watched = watch(sealed, framing)
  try {
    const files = await namesIn(unseal(kind, watched.bytes, options), options.signal)
    await watched.finish()
    return { packets: true, decrypts: 'yes', files }
  } catch (error) {
    if (!(error instanceof ApplicationError) || (error.code !== 'NO_KEY' && error.code !== 'TOOL_MISSING')) throw error
    await watched.finish()
    if (error.code === 'TOOL_MISSING') throw error
    if (kind === 'gpg' && !error.facts.locked) await refuseStrayKeyIds(watched.head(), options.signal)
    return { packets: true, decrypts: 'no-key' }
  } finally {
    await watched.release()
  }
}

/**
 * Decrypts. The bytes are proven only when the last one has come: gpg hands them out before it has checked them, so nobody
 * may act on them before the end. Throws `NO_KEY` (also when only a passphrase is missing), `SEAL`, `TOOL_MISSING`.
 */
export function unseal(
  kind: SealKind,
  sealed: AsyncIterable<Uint8Array>,
  options: UnsealOptions = {},
): AsyncIterable<Buffer> {
  return kind === 'gpg' ? unsealGpg(sealed, options.signal) : unsealAge(sealed, options)
}

function unsealGpg(sealed: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncIterable<Buffer> {
  // `error`: what is not in the agent's cache is not asked for. A prompt would wait for ever where nobody sits.
  const args = [...GPG_BASE, '--pinentry-mode', 'error', '--status-fd', '3', '--output', '-', '--decrypt']
  return filterThrough('gpg', args, sealed, gpgOptions(signal), refuseUnlessDecrypted)
}

function refuseUnlessDecrypted(end: ProgramEnd): void {
  if (end.exitCode === 0 && statusLines(end, 'DECRYPTION_OKAY').length === 1) return
  const cause = programFailure(end)
  const opened = statusLines(end, 'DECRYPTION_KEY').length > 0 || statusLines(end, 'DECRYPTION_INFO').length > 0
  const keyIds = statusLines(end, 'ENC_TO').map(([keyId]) => String(keyId))
  if (!opened && keyIds.length > 0) {
    const codes = statusLines(end, 'ERROR').flatMap(([where, code]) =>
      where === 'pkdecrypt_failed' ? [Number(code)] : [],
    )
    const locked = codes.some((code) => LOCKED.has(code & 0xffff))
    const damaged = codes.some((code) => !LOCKED.has(code & 0xffff))
    if (locked) {
      throw new ApplicationError('NO_KEY', 'Cannot open the seal: the secret key is locked by a passphrase', {
        facts: { keyIds, locked: true },
        cause,
        hint: 'Unlock it in a terminal (any `gpg --decrypt` asks for the passphrase), then try again',
      })
    }
    if (!damaged) {
      throw new ApplicationError('NO_KEY', `Cannot open the seal: no secret key for ${keyIds.join(', ')} here`, {
        facts: { keyIds },
        cause,
        hint: 'Import the secret key from where it is kept: gpg --import',
      })
    }
  }
  throw new ApplicationError('SEAL', `Cannot open the seal, it is damaged: ${cause.message}`, { cause })
}

/** libgpg-error: BAD_PASSPHRASE, TIMEOUT, NO_AGENT, AGENT, NO_PIN_ENTRY, CANCELED, FULLY_CANCELED, NO_PASSPHRASE. */
const LOCKED = new Set([11, 62, 77, 78, 85, 99, 177, 198])

/**
 * gpg believes the key ID in a seal, so one flipped bit there looks like a seal for somebody else. Where we have secret
 * keys, they are tried on its head whatever it says: if one of them fits, the key ID is what is damaged.
 */
async function refuseStrayKeyIds(head: Buffer, signal: AbortSignal | undefined): Promise<void> {
  const keys = await listSecretKeys(new Date(), signal)
  if (!keys.some(({ parts }) => parts.some((part) => part.encrypts && part.hasSecret))) return
  const args = [...GPG_BASE, '--pinentry-mode', 'error', '--try-all-secrets', '--status-fd', '3']
  let fits = false
  const output = filterThrough(
    'gpg',
    [...args, '--output', '-', '--decrypt'],
    only(head),
    gpgOptions(signal),
    (end) => {
      fits = statusLines(end, 'DECRYPTION_INFO').length > 0
    },
  )
  await exhaust(output) // as much as the head holds
  if (fits) {
    throw new ApplicationError(
      'SEAL',
      'Cannot open the seal, it is damaged: a key here opens it, but it names another',
      {
        hint: 'Open it by hand: gpg --try-all-secrets --decrypt',
      },
    )
  }
}

async function* unsealAge(sealed: AsyncIterable<Uint8Array>, options: UnsealOptions): AsyncGenerator<Buffer> {
  const { signal } = options
  signal?.throwIfAborted()
  const decrypter = new Decrypter()
  let tried = 0
  let fitted = true
  for (const file of options.identities ?? []) tried += await addIdentities(decrypter, file)
  // Identities are asked one after the other until one fits, so this is asked when none did.
  decrypter.addIdentity({
    unwrapFileKey() {
      fitted = false
      return null
    },
  })
  try {
    const plaintext = await decrypter.decrypt(ReadableStream.from(honouring(sealed, signal)))
    for await (const chunk of plaintext) yield asBuffer(chunk)
  } catch (error) {
    signal?.throwIfAborted()
    if (error instanceof ApplicationError) throw error
    if (!fitted) {
      const found = tried === 0 ? 'no age identity is given' : `none of ${tried} age identities fits`
      throw new ApplicationError('NO_KEY', `Cannot open the seal: ${found}`, {
        facts: { identities: tried },
        cause: error,
        hint: 'Give the identity file with --identity, or name it in the config file: unseal: /path/to/identity.txt',
      })
    }
    throw new ApplicationError('SEAL', `Cannot open the seal, it is damaged: ${(error as Error).message}`, {
      cause: error,
    })
  }
  signal?.throwIfAborted()
}

async function addIdentities(decrypter: Decrypter, file: string): Promise<number> {
  const lines = await readKeyLines(file, 'identity')
  try {
    if (lines[0]?.startsWith('-----BEGIN ')) {
      decrypter.addIdentity(sshIdentity(`${lines.join('\n')}\n`))
      return 1
    }
    for (const line of lines) decrypter.addIdentity(line)
  } catch (error) {
    // The cause of a parser may quote the key, so it stays out.
    const reason = error instanceof ApplicationError ? `: ${error.message}` : ''
    throw new ApplicationError('NO_KEY', `Cannot use ${file} as an age identity${reason}`, {
      facts: { key: file },
      hint: 'Expected a file made by age-keygen, or an SSH private key without a passphrase',
    })
  }
  return lines.length
}

async function readKeyLines(file: string, what: string): Promise<string[]> {
  let text: string
  try {
    const content = await readFile(file)
    if (content.length > KEY_FILE_LIMIT) throw new Error(`it has ${content.length} bytes`)
    text = content.toString('utf8')
  } catch (error) {
    throw new ApplicationError('NO_KEY', `Cannot read the ${what} file ${file}: ${(error as Error).message}`, {
      facts: { key: file },
      cause: error,
    })
  }
  return text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
}

async function namesIn(plaintext: AsyncIterable<Buffer>, signal: AbortSignal | undefined): Promise<string[]> {
  const files: string[] = []
  let proven = false
  const source = (async function* () {
    yield* plaintext
    proven = true
  })()
  try {
    for await (const [entry] of unpackTar(throughTransform(source, createGunzip(), signal))) {
      files.push(`/${entry.name.toString('utf8')}`)
      if (files.length > FILES_LIMIT) throw new Error(`it holds more than ${FILES_LIMIT} entries`)
    }
    // What follows the archive (padding, garbage) is part of the seal all the same.
    await exhaust(source)
    if (!proven) throw new Error('its content ends before the seal does')
  } catch (error) {
    signal?.throwIfAborted()
    if (error instanceof ApplicationError) throw error
    throw new ApplicationError('SEAL', `Cannot read what is sealed: ${(error as Error).message}`, {
      cause: error,
      hint: 'It opens, but holds no tar.gz archive, or a damaged one',
    })
  }
  return files
}

interface Watched {
  readonly bytes: AsyncIterable<Uint8Array>
  head(): Buffer
  /** Reads what the decryption left over, and says whether the whole is well-formed. */
  finish(): Promise<void>
  release(): Promise<void>
}

/** Shows the bytes to a framing check on their way, and lets the consumer stop without stopping the check. */
function watch(sealed: AsyncIterable<Uint8Array>, framing: Framing<unknown>): Watched {
  const head: Buffer[] = []
  let headSize = 0
  let malformed: { readonly error: unknown } | undefined
  function look(step: () => void): void {
    try {
      step()
    } catch (error) {
      malformed = { error }
      throw error
    }
  }
  const checked = (async function* () {
    for await (const chunk of sealed) {
      look(() => framing.push(chunk))
      if (headSize < HEAD_LIMIT) {
        head.push(Buffer.from(chunk))
        headSize += chunk.length
      }
      yield chunk
    }
    look(() => framing.end())
  })()
  return {
    bytes: { [Symbol.asyncIterator]: () => ({ next: () => checked.next() }) },
    head: () => Buffer.concat(head),
    async finish() {
      await exhaust(checked)
      if (malformed !== undefined) throw malformed.error // found while the consumer failed for a reason of its own
    },
    async release() {
      await checked.return()
    },
  }
}

/** Web streams know no abort signal: the reason goes in through the source. */
async function* honouring(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    signal?.throwIfAborted()
    yield chunk
  }
}

async function exhaust(stream: AsyncIterable<unknown>): Promise<void> {
  const iterator = stream[Symbol.asyncIterator]()
  while (!(await iterator.next()).done);
}

async function* only(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
