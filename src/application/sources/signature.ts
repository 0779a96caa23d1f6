import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ApplicationError } from '../error.ts'
import { minimalEnvironment, type ProgramOptions, programFailure, runProgram } from '../program.ts'
import { GPG_BASE, type GpgKey, gpgOptions, resolveKey, statusLines } from './gpg.ts'

/** SSHSIG's domain separation: a signature made for us is good for nothing else, and the other way round. */
const NAMESPACE = 'holdfast'
const SSH_LIMIT_MS = 60_000

export interface SignatureOptions {
  readonly signal?: AbortSignal | undefined
  readonly now?: () => Date
}

export interface Signer {
  readonly kind: 'gpg' | 'ssh'
  /** Whose signatures these are: the GPG fingerprint, or `SHA256:…` of the SSH key. */
  readonly by: string
  /** A detached, armored signature of the bytes. Throws `SIGNATURE`. */
  sign(bytes: Buffer, signal?: AbortSignal): Promise<Buffer>
}

/**
 * Finds the signing key of `gpg:EMAIL`, `gpg:FINGERPRINT` or `ssh:PATH` (of a private key). Asks for no passphrase: a
 * key that needs one is good only while an agent holds it. Throws `NO_KEY`, `KEY_EXPIRED`, `TOOL_MISSING`.
 */
export async function signerFor(spec: string, options: SignatureOptions = {}): Promise<Signer> {
  const [kind, value] = splitSpec(spec)
  return kind === 'gpg' ? gpgSigner(value, options) : sshSigner(value, options)
}

/**
 * Resolves when the signature of exactly these bytes is the key's; throws `SIGNATURE` otherwise. The key is a spec as
 * above (`ssh:` also of a public key), a line of an SSH public key, or an armored OpenPGP public key. What a GPG key signed
 * before it expired stays good; what a revoked key signed does not.
 */
export async function verifySignature(
  bytes: Buffer,
  signature: Buffer,
  key: string,
  options: SignatureOptions = {},
): Promise<{ readonly by: string }> {
  if (key.startsWith('-----BEGIN PGP PUBLIC KEY BLOCK-----')) {
    return withTemporaryFolder(async (folder) => {
      const file = join(folder, 'key.asc')
      await writeFile(file, key)
      return verifyGpg(bytes, signature, file, options)
    })
  }
  if (isSshPublicKey(key)) return verifySsh(bytes, signature, key, options)
  const [kind, value] = splitSpec(key)
  if (kind === 'gpg') return verifyGpg(bytes, signature, value, options)
  return verifySsh(bytes, signature, await sshPublicKey(value, options.signal), options)
}

function splitSpec(spec: string): readonly ['gpg' | 'ssh', string] {
  const match = /^(gpg|ssh):(.+)$/s.exec(spec)
  if (match === null) {
    throw new ApplicationError('CONFIG', `Cannot use "${spec}" as a signing key: expected gpg:KEY or ssh:PATH`, {
      facts: { key: spec },
    })
  }
  return [match[1] as 'gpg' | 'ssh', (match[2] as string).trim()]
}

async function gpgSigner(name: string, options: SignatureOptions): Promise<Signer> {
  const { key } = await resolveKey(name, 'sign', { now: now(options), signal: options.signal })
  const args = [...GPG_BASE, '--pinentry-mode', 'error', '--status-fd', '3', '--armor', '--local-user', key.fingerprint]
  return {
    kind: 'gpg',
    by: key.fingerprint,
    async sign(bytes, signal) {
      const result = await runProgram('gpg', [...args, '--output', '-', '--detach-sign'], {
        ...gpgOptions(signal),
        input: bytes,
      })
      if (result.exitCode === 0 && statusLines(result, 'SIG_CREATED').length === 1) return result.stdout
      const cause = programFailure(result)
      throw new ApplicationError('SIGNATURE', `Cannot sign with ${key.fingerprint}: ${cause.message}`, {
        facts: { key: key.fingerprint },
        cause,
        hint: 'If the key has a passphrase, the gpg-agent must hold it: sign something in a terminal first',
      })
    },
  }
}

async function verifyGpg(
  bytes: Buffer,
  signature: Buffer,
  name: string,
  options: SignatureOptions,
): Promise<{ readonly by: string }> {
  const { signal } = options
  const { key, exported } = await resolveKey(name, 'verify', { now: now(options), signal })
  return withTemporaryFolder(async (folder) => {
    const keyring = exported === undefined ? [] : await keyringOf(exported, folder, signal)
    const common = [
      ...GPG_BASE,
      ...keyring,
      '--trust-model',
      'always',
      '--status-fd',
      '3',
      '--enable-special-filenames',
    ]
    const result = await runProgram('gpg', [...common, '--verify', '--', '-&4', '-'], {
      ...gpgOptions(signal, { inputs: [signature] }),
      input: bytes,
    })
    const problem = signatureProblem(result, key)
    if (problem === undefined) return { by: key.fingerprint }
    throw new ApplicationError('SIGNATURE', `Cannot trust the signature: ${problem}`, {
      facts: { key: key.fingerprint },
      cause: programFailure(result),
    })
  })
}

function signatureProblem(end: Parameters<typeof statusLines>[0], key: GpgKey): string | undefined {
  const has = (keyword: string): boolean => statusLines(end, keyword).length > 0
  if (has('BADSIG')) return 'it was made for other bytes, or is damaged'
  if (has('NO_PUBKEY')) return `it is not from ${key.fingerprint}`
  if (has('REVKEYSIG')) return `the key ${key.fingerprint} is revoked`
  if (has('EXPSIG')) return 'the signature itself has expired'
  const valid = statusLines(end, 'VALIDSIG')
  const [details] = valid
  if (details === undefined || valid.length !== 1) return `expected one signature, found ${valid.length} valid ones`
  // VALIDSIG: fingerprint, date, time of signature, …, and at the end the fingerprint of the primary key.
  if (details.at(-1) !== key.fingerprint) return `it is from ${details.at(-1)}, expected ${key.fingerprint}`
  if (has('GOODSIG')) return undefined
  const made = Number(details[2])
  const part = key.parts.find(({ fingerprint }) => fingerprint === details[0])
  const until = Math.min(part?.expires ?? Number.POSITIVE_INFINITY, key.expires ?? Number.POSITIVE_INFINITY)
  if (has('EXPKEYSIG') && made < until) return undefined
  return has('EXPKEYSIG') ? 'it was made after its key had expired' : 'gpg does not call it good'
}

/** A keyring that holds one exported key and nothing else; public data, so a file does no harm. */
async function keyringOf(exported: Buffer, folder: string, signal: AbortSignal | undefined): Promise<string[]> {
  const isArmored = exported[0] !== undefined && (exported[0] & 0x80) === 0
  let keyring = exported
  if (isArmored) {
    const result = await runProgram('gpg', [...GPG_BASE, '--dearmor'], { ...gpgOptions(signal), input: exported })
    if (result.exitCode !== 0)
      throw new ApplicationError('NO_KEY', 'Cannot read the key', { cause: programFailure(result) })
    keyring = result.stdout
  }
  const file = join(folder, 'keyring.gpg')
  await writeFile(file, keyring)
  return ['--no-default-keyring', '--keyring', file]
}

async function sshSigner(path: string, options: SignatureOptions): Promise<Signer> {
  const publicKey = await sshPublicKey(path, options.signal)
  const by = sshFingerprint(publicKey)
  return {
    kind: 'ssh',
    by,
    async sign(bytes, signal) {
      const result = await runProgram('ssh-keygen', ['-Y', 'sign', '-n', NAMESPACE, '-f', path], {
        ...sshOptions(signal),
        input: bytes,
      })
      if (result.exitCode === 0 && result.stdout.includes('BEGIN SSH SIGNATURE')) return result.stdout
      const cause = programFailure(result)
      throw new ApplicationError('SIGNATURE', `Cannot sign with ${path}: ${cause.message}`, {
        facts: { key: path },
        cause,
        hint: 'If the key has a passphrase, add it to the ssh-agent: ssh-add',
      })
    },
  }
}

async function verifySsh(
  bytes: Buffer,
  signature: Buffer,
  publicKey: string,
  options: SignatureOptions,
): Promise<{ readonly by: string }> {
  const by = sshFingerprint(publicKey)
  return withTemporaryFolder(async (folder) => {
    const [signers, signatureFile] = [join(folder, 'signers'), join(folder, 'signature')]
    const [type, blob] = publicKey.trim().split(/\s+/)
    await writeFile(signers, `${NAMESPACE} namespaces="${NAMESPACE}" ${type} ${blob}\n`)
    await writeFile(signatureFile, signature)
    const args = ['-Y', 'verify', '-n', NAMESPACE, '-I', NAMESPACE, '-f', signers, '-s', signatureFile]
    const result = await runProgram('ssh-keygen', args, { ...sshOptions(options.signal), input: bytes })
    if (result.exitCode === 0) return { by }
    throw new ApplicationError('SIGNATURE', `Cannot trust the signature: it is not one of ${by} for these bytes`, {
      facts: { key: by },
      cause: programFailure(result),
    })
  })
}

/** From the file of a public key, or of a private one; where that has a passphrase, from the `.pub` beside it. */
async function sshPublicKey(path: string, signal: AbortSignal | undefined): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new ApplicationError('NO_KEY', `Cannot read the SSH key ${path}: ${(error as Error).message}`, {
      facts: { key: path },
      cause: error,
      hint: `Make one: ssh-keygen -t ed25519 -N '' -f ${path}`,
    })
  })
  if (isSshPublicKey(text)) return text.trim()
  const result = await runProgram('ssh-keygen', ['-y', '-P', '', '-f', path], sshOptions(signal))
  const derived = result.stdout.toString('utf8').trim()
  if (result.exitCode === 0 && isSshPublicKey(derived)) return derived
  const beside = await readFile(`${path}.pub`, 'utf8').catch(() => '') // the error below says what is wrong with the key itself
  if (/passphrase/i.test(result.stderr) && isSshPublicKey(beside)) return beside.trim()
  const cause = programFailure(result)
  throw new ApplicationError('NO_KEY', `Cannot use ${path} as an SSH key: ${cause.message}`, {
    facts: { key: path },
    cause,
    hint: /UNPROTECTED|permissions/i.test(result.stderr) ? `chmod 600 ${path}` : 'Expected a key made by ssh-keygen',
  })
}

function sshOptions(signal: AbortSignal | undefined): ProgramOptions {
  // The agent's socket is the one thing besides the usual: keys with a passphrase live there.
  const { SSH_AUTH_SOCK } = process.env
  const env = { SSH_ASKPASS_REQUIRE: 'never', ...(SSH_AUTH_SOCK === undefined ? {} : { SSH_AUTH_SOCK }) }
  return {
    signal,
    env: minimalEnvironment(env),
    idleLimitMs: SSH_LIMIT_MS,
    withoutTerminal: true,
    installHint: 'Install it: apt-get install openssh-client',
  }
}

function isSshPublicKey(text: string): boolean {
  return /^(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ +[A-Za-z0-9+/]+=*( [^\n]*)?\s*$/.test(text)
}

/** As `ssh-keygen -l` prints it. */
function sshFingerprint(publicKey: string): string {
  const blob = Buffer.from(publicKey.trim().split(/\s+/)[1] ?? '', 'base64')
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`
}

async function withTemporaryFolder<Result>(use: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-'))
  try {
    return await use(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function now(options: SignatureOptions): Date {
  return (options.now ?? (() => new Date()))()
}
