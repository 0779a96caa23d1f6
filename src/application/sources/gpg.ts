import { readFile, stat } from 'node:fs/promises'
import { ApplicationError, type ApplicationErrorCode } from '../error.ts'
import { minimalEnvironment, type ProgramEnd, type ProgramOptions, programFailure, runProgram } from '../program.ts'

/** No question, no terminal, no trust database work on the way; messages stay out of the locale's hands. */
export const GPG_BASE = ['--batch', '--no-tty', '--no-auto-check-trustdb', '--no-auto-key-retrieve'] as const
export const GPG_INSTALL_HINT = 'Install it: apt-get install gnupg'

/** gpg that neither reads nor writes for this long waits for something that will not come. */
const IDLE_LIMIT_MS = 60_000
/** An exported key with many signatures has some hundred kilobytes. */
const KEY_FILE_LIMIT = 4 * 1024 * 1024

export function gpgOptions(signal: AbortSignal | undefined, more: Partial<ProgramOptions> = {}): ProgramOptions {
  return { signal, env: minimalEnvironment(), idleLimitMs: IDLE_LIMIT_MS, installHint: GPG_INSTALL_HINT, ...more }
}

/** A key as `gpg --with-colons` lists it; times in seconds since the epoch. */
export interface GpgKey {
  readonly fingerprint: string
  /** First user ID, for people. */
  readonly userId: string
  readonly userIds: readonly { readonly usable: boolean; readonly text: string; readonly email: string }[]
  readonly state: 'usable' | 'revoked' | 'expired' | 'disabled' | 'invalid'
  readonly expires: number | undefined
  readonly isSecret: boolean
  /** Somebody has told this keyring that the key is that of whom it names. */
  readonly isTrusted: boolean
  readonly parts: readonly GpgKeyPart[]
}

/** The primary key or a subkey, by what it can do itself. */
export interface GpgKeyPart {
  readonly fingerprint: string
  readonly keyId: string
  readonly state: GpgKey['state']
  readonly expires: number | undefined
  readonly encrypts: boolean
  readonly signs: boolean
  /** The secret part is there (only in lists of secret keys). */
  readonly hasSecret: boolean
}

/** A key that was found usable, and how to name it to gpg. */
export interface ResolvedKey {
  readonly key: GpgKey
  /** The exported key, where it came from a file; gpg then reads it from there, not from the keyring. */
  readonly exported: Buffer | undefined
  /** Until when it can be used, seconds since the epoch. */
  readonly expires: number | undefined
}

/**
 * Resolves an e-mail address, a fingerprint, or the path of an exported public key to exactly one key that can be
 * used for the purpose at `now`. Throws `NO_KEY`, `KEY_EXPIRED`, `TOOL_MISSING`.
 *
 * `verify` accepts expired keys: what they signed before stays signed.
 */
export async function resolveKey(
  name: string,
  purpose: 'encrypt' | 'sign' | 'verify',
  options: { readonly now: Date; readonly signal?: AbortSignal | undefined },
): Promise<ResolvedKey> {
  const { signal } = options
  const now = Math.floor(options.now.getTime() / 1000)
  const isFile = name.includes('/') || /\.(asc|gpg|pgp|key)$/.test(name)
  const exported = isFile ? await readKeyFile(name) : undefined
  const wanted = isFile ? 'any' : wantedKey(name)
  const listed =
    exported === undefined
      ? await listKeys(purpose === 'sign' ? '--list-secret-keys' : '--list-keys', [wanted], now, signal)
      : await showKeys(exported, name, now, signal)
  const keys = wanted.startsWith('<') ? listed.filter((key) => hasEmail(key, name)) : listed
  if (keys.length === 0) throw noSuchKey(name, purpose, isFile)
  const judged = keys.map((key) => ({ key, ...judge(key, purpose) }))
  const usable = judged.filter(({ problem }) => problem === undefined)
  const [first, ...others] = usable
  if (first === undefined) throw unusable(name, judged as Unusable[])
  if (others.length > 0 || (exported !== undefined && keys.length > 1)) {
    const list = (exported === undefined ? usable : judged).map(({ key }) => describe(key))
    throw new ApplicationError('NO_KEY', `Cannot tell which key ${name} means: ${list.length} match, expected one`, {
      facts: { key: name, matches: list },
      hint: `Name one by its fingerprint: ${list.join('; ')}`,
    })
  }
  return { key: first.key, exported, expires: first.expires }
}

/** All keys of the ring whose secret part is there; empty where there are none. */
export async function listSecretKeys(now: Date, signal: AbortSignal | undefined): Promise<readonly GpgKey[]> {
  return listKeys('--list-secret-keys', [], Math.floor(now.getTime() / 1000), signal)
}

async function listKeys(
  command: '--list-keys' | '--list-secret-keys',
  names: readonly string[],
  now: number,
  signal: AbortSignal | undefined,
): Promise<readonly GpgKey[]> {
  const args = [...GPG_BASE, '--with-colons', '--fixed-list-mode', '--with-fingerprint', command, '--', ...names]
  const result = await runProgram('gpg', args, { ...gpgOptions(signal), maxOutput: 64 * 1024 * 1024 })
  const keys = parseKeyList(result.stdout.toString('utf8'), now)
  // Exit code 2 with an empty list is how gpg says "no such key"; anything else that fails says so on stderr only.
  if (keys.length === 0 && result.exitCode !== 0 && !/not found|No (public|secret) key/i.test(result.stderr)) {
    throw new ApplicationError('NO_KEY', 'Cannot list the keys of gpg', {
      cause: programFailure(result),
      hint: 'Run `gpg --list-keys` as the same user',
    })
  }
  return keys
}

async function showKeys(
  exported: Buffer,
  file: string,
  now: number,
  signal: AbortSignal | undefined,
): Promise<readonly GpgKey[]> {
  const args = [...GPG_BASE, '--with-colons', '--fixed-list-mode', '--with-fingerprint', '--show-keys']
  const result = await runProgram('gpg', args, { ...gpgOptions(signal), input: exported })
  const keys = parseKeyList(result.stdout.toString('utf8'), now)
  if (keys.length === 0) {
    throw new ApplicationError('NO_KEY', `Cannot use ${file} as a key: expected one exported OpenPGP public key`, {
      facts: { key: file },
      cause: programFailure(result),
      hint: `Export it: gpg --armor --export FINGERPRINT > ${file}`,
    })
  }
  if (keys.some(({ isSecret }) => isSecret)) {
    throw new ApplicationError('NO_KEY', `Cannot use ${file}: it holds a secret key, expected the public one`, {
      facts: { key: file },
      hint: 'Take the secret key off this machine, and export the public one: gpg --armor --export FINGERPRINT',
    })
  }
  return keys
}

async function readKeyFile(file: string): Promise<Buffer> {
  try {
    const { size } = await stat(file)
    if (size > KEY_FILE_LIMIT) throw new Error(`it has ${size} bytes, expected at most ${KEY_FILE_LIMIT}`)
    return await readFile(file)
  } catch (error) {
    throw new ApplicationError('NO_KEY', `Cannot read the key file ${file}: ${(error as Error).message}`, {
      facts: { key: file },
      cause: error,
      hint: `Export the public key: gpg --armor --export FINGERPRINT > ${file}`,
    })
  }
}

/** What gpg looks up: the whole fingerprint, or exactly this address. Anything vaguer could match another's key. */
function wantedKey(name: string): string {
  const digits = name.replace(/^0x/i, '').replaceAll(/[\s:]/g, '').toUpperCase()
  if (/^([0-9A-F]{40}|[0-9A-F]{64})$/.test(digits)) return digits
  if (/^[^\s@<>]+@[^\s@<>]+$/.test(name)) return `<${name}>`
  throw new ApplicationError(
    'NO_KEY',
    `Cannot use "${name}" as a GPG key: expected an e-mail address, a fingerprint of 40 digits, or a key file`,
    {
      facts: { key: name },
      hint: 'Run `gpg --list-keys --with-fingerprint`',
    },
  )
}

/** User IDs that were revoked do not name the key any more. */
function hasEmail(key: GpgKey, email: string): boolean {
  const wanted = email.toLowerCase()
  return key.userIds.some((id) => (id.usable || key.state !== 'usable') && id.email.toLowerCase() === wanted)
}

interface Unusable {
  readonly key: GpgKey
  readonly problem: string
  readonly code: ApplicationErrorCode
}

function judge(
  key: GpgKey,
  purpose: 'encrypt' | 'sign' | 'verify',
):
  | { problem: string; code: ApplicationErrorCode; expires?: undefined }
  | { problem?: undefined; expires: number | undefined } {
  if (key.state === 'expired' && purpose !== 'verify') {
    return { problem: `expired${key.expires === undefined ? '' : ` on ${date(key.expires)}`}`, code: 'KEY_EXPIRED' }
  }
  if (key.state !== 'usable' && key.state !== 'expired') return { problem: `is ${key.state}`, code: 'NO_KEY' }
  if (purpose === 'verify') return { expires: key.expires }
  const verb = purpose === 'encrypt' ? 'encryption' : 'signing'
  const parts = key.parts.filter((part) => (purpose === 'encrypt' ? part.encrypts : part.signs))
  if (parts.length === 0) return { problem: `has no ${verb} key`, code: 'NO_KEY' }
  const usable = parts.filter((part) => part.state === 'usable' && (purpose === 'encrypt' || part.hasSecret))
  if (usable.length > 0) {
    const ends = usable.map((part) => part.expires ?? Number.POSITIVE_INFINITY)
    const last = Math.min(Math.max(...ends), key.expires ?? Number.POSITIVE_INFINITY)
    return { expires: Number.isFinite(last) ? last : undefined }
  }
  const expired = parts.find(({ state }) => state === 'expired')
  if (expired !== undefined) {
    const when = expired.expires === undefined ? '' : ` on ${date(expired.expires)}`
    return { problem: `has a ${verb} key that expired${when}`, code: 'KEY_EXPIRED' }
  }
  const absent = parts.some(({ state }) => state === 'usable')
  const why = absent ? 'has no secret key here' : `has no usable ${verb} key: it is ${parts[0]?.state}`
  return { problem: why, code: 'NO_KEY' }
}

function unusable(name: string, judged: readonly Unusable[]): ApplicationError {
  const [first] = judged as [Unusable]
  const expired = judged.find(({ code }) => code === 'KEY_EXPIRED')
  const told = expired ?? first
  const hint =
    told.code === 'KEY_EXPIRED'
      ? `Extend it where the secret key is (gpg --quick-set-expire ${told.key.fingerprint} 2y, and once more with '*' behind it for its subkeys), then import the new public key here: gpg --import`
      : 'Import a public key that can be used: gpg --import'
  const others = judged.length > 1 ? ` (and ${judged.length - 1} more that cannot be used)` : ''
  return new ApplicationError(told.code, `Cannot use the key ${name}: ${describe(told.key)} ${told.problem}${others}`, {
    facts: { key: name, fingerprint: told.key.fingerprint, state: told.key.state, expires: told.key.expires },
    hint,
  })
}

function noSuchKey(name: string, purpose: string, isFile: boolean): ApplicationError {
  const what = purpose === 'sign' ? 'secret key' : 'public key'
  const where = isFile ? 'the file' : 'the keyring of this user'
  return new ApplicationError('NO_KEY', `Cannot find a ${what} for ${name} in ${where}`, {
    facts: { key: name },
    hint:
      purpose === 'sign'
        ? 'Make one on this machine: gpg --quick-generate-key NAME default sign'
        : 'Export it where it is (gpg --armor --export KEY > key.asc), and import it here: gpg --import key.asc',
  })
}

function describe(key: GpgKey): string {
  return `${key.fingerprint}${key.userId === '' ? '' : ` (${key.userId})`}`
}

function date(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 10)
}

/**
 * Reads `gpg --with-colons` (doc/DETAILS of GnuPG). Fields, from 1: 1 record type, 2 validity, 5 key ID, 7 expiry, 9 owner's trust,
 * 10 user ID or fingerprint, 12 capabilities, 15 `#` where the secret part is missing.
 */
export function parseKeyList(text: string, now: number): readonly GpgKey[] {
  interface Draft {
    fingerprint: string
    keyId: string
    readonly fields: readonly string[]
  }
  const drafts: { parts: [Draft, ...Draft[]]; userIds: GpgKey['userIds'][number][] }[] = []
  for (const line of text.split('\n')) {
    const fields = line.split(':')
    const [type] = fields
    const current = drafts.at(-1)
    if (type === 'pub' || type === 'sec') {
      drafts.push({ parts: [{ fingerprint: '', keyId: fields[4] ?? '', fields }], userIds: [] })
    } else if ((type === 'sub' || type === 'ssb') && current !== undefined) {
      current.parts.push({ fingerprint: '', keyId: fields[4] ?? '', fields })
    } else if (type === 'fpr') {
      const part = current?.parts.at(-1)
      if (part !== undefined && part.fingerprint === '') part.fingerprint = fields[9] ?? ''
    } else if (type === 'uid' && current !== undefined) {
      const text = plainText(fields[9] ?? '')
      const email = /<([^<>]*)>\s*$/.exec(text)?.[1] ?? text
      current.userIds.push({ usable: !/[reni]/.test(fields[1] ?? ''), text, email })
    }
  }
  return drafts.map(({ parts, userIds }) => {
    const [primary] = parts
    const expires = seconds(primary.fields[6])
    return {
      fingerprint: primary.fingerprint,
      userId: userIds[0]?.text ?? '',
      userIds,
      state: stateOf(primary.fields, now),
      expires,
      isSecret: primary.fields[0] === 'sec',
      // The validity of an ultimately trusted key stands there only after the trust database was worked on.
      isTrusted: /^[fu]/.test(primary.fields[1] ?? '') || primary.fields[8] === 'u',
      parts: parts.map(({ fingerprint, keyId, fields }) => ({
        fingerprint,
        keyId,
        state: stateOf(fields, now),
        expires: seconds(fields[6]),
        encrypts: (fields[11] ?? '').includes('e'),
        signs: (fields[11] ?? '').includes('s'),
        hasSecret: /^s(ec|sb)$/.test(fields[0] ?? '') && !(fields[14] ?? '').startsWith('#'),
      })),
    }
  })
}

function stateOf(fields: readonly string[], now: number): GpgKey['state'] {
  const validity = fields[1] ?? ''
  const expires = seconds(fields[6])
  if (validity.startsWith('r')) return 'revoked'
  if (validity.startsWith('e') || (expires !== undefined && expires <= now)) return 'expired'
  if (validity.startsWith('d') || (fields[11] ?? '').includes('D')) return 'disabled'
  return validity.startsWith('i') ? 'invalid' : 'usable'
}

function seconds(field: string | undefined): number | undefined {
  return field === undefined || !/^\d+$/.test(field) || field === '0' ? undefined : Number(field)
}

/** `\x3a` is a colon. */
function plainText(text: string): string {
  return text.replaceAll(/\\x([0-9a-f]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
}

/** The arguments of each `[GNUPG:] KEYWORD …` line. */
export function statusLines(end: ProgramEnd, keyword: string): readonly (readonly string[])[] {
  return end.status
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([prefix, word]) => prefix === '[GNUPG:]' && word === keyword)
    .map((words) => words.slice(2))
}
