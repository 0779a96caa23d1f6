import { parseRecipient } from '../../application/config/recipient.ts'
import { installCommand } from '../../application/host/requirements.ts'
import { listSecretKeys, type ResolvedKey, resolveKey } from '../../application/sources/gpg.ts'
import { prepareSealers } from '../../application/sources/seal.ts'
import { CodedError } from '../../engine/error.ts'
import { privateKeysHere } from './age-keys-here.ts'
import { command, type DoctorCheck, type DoctorContext, edit, type Found, word } from './doctor-check.ts'

/** A key that expires sooner should be renewed now: the backup after that would leave the secrets out. */
const SOON_MS = 30 * 86_400_000

type KeyFinding = Found<'keys'>

/** Whom secrets are sealed for: their public keys are here and usable, their private ones are somewhere else. */
export const sealKeys: DoctorCheck<'keys'> = {
  name: 'keys',
  title: 'Secrets can be sealed, and this machine cannot unseal them',
  async run(context) {
    const { config } = context
    const found: KeyFinding[] = []
    for (const text of config.seal) found.push(...(await recipientFindings(text, context)))
    if (config.seal.length === 0 && config.components.some(({ kind }) => kind === 'secrets')) {
      found.push({
        severity: 'error',
        code: 'no-recipient',
        message: 'Nobody is named to seal the secrets for: they stay out of every backup',
        remedy: edit(`${config.file}: add \`seal: [gpg:admin@your-company.com]\``),
      })
    }
    for (const path of context.recovery ? [] : config.unsealIdentities) {
      found.push({
        severity: 'warning',
        code: 'private-key-here',
        path,
        message: `The identity ${path} opens the seals, and lies on the machine that they protect against`,
        remedy: edit(
          `${config.file}: keep the identity elsewhere and take \`unseal\` out; name it with --identity when it is needed`,
        ),
      })
    }
    return found
  },
}

async function recipientFindings(text: string, context: DoctorContext): Promise<KeyFinding[]> {
  const { signal, recovery } = context
  const now = context.now()
  const parsed = parseRecipient(text)
  if ('problem' in parsed) return [] // the config would not have been accepted
  try {
    if (parsed.tool === 'age') {
      const [sealer] = await prepareSealers([text], { signal })
      const here = recovery ? [] : await privateKeysHere(sealer?.recipients ?? [], context)
      return here.map((path) => identityHere(text, path))
    }
    const resolved = await resolveKey(parsed.value, 'encrypt', { now, signal })
    const secret = await secretOf(resolved, context)
    return [
      ...expiryFindings(text, resolved, now),
      ...(recovery || resolved.exported !== undefined || resolved.key.isTrusted
        ? []
        : trustFindings(parsed.value, resolved)),
      ...(recovery || !secret ? [] : [privateKeyHere(text, resolved)]),
      ...(recovery && !secret ? [noSecretKey(text, resolved)] : []),
    ]
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof CodedError)) throw error
    return [await unusable(text, parsed.value, error)]
  }
}

async function secretOf({ key }: ResolvedKey, { now, signal }: DoctorContext): Promise<boolean> {
  const secrets = await listSecretKeys(now(), signal)
  return secrets.some(
    ({ fingerprint, parts }) =>
      fingerprint === key.fingerprint && parts.some(({ hasSecret, encrypts }) => hasSecret && encrypts),
  )
}

function expiryFindings(text: string, { key, expires }: ResolvedKey, now: Date): KeyFinding[] {
  if (expires === undefined || expires * 1000 - now.getTime() > SOON_MS) return []
  const day = new Date(expires * 1000).toISOString().slice(0, 10)
  return [
    {
      severity: 'warning',
      code: 'key-expires',
      message: `The key of ${text} expires on ${day}: from then on the secrets stay out of every backup`,
      remedy: extended(key.fingerprint),
    },
  ]
}

/** First the key itself, then its subkeys, which do the sealing. */
function extended(fingerprint: string) {
  const extend = `gpg --quick-set-expire ${fingerprint} 2y`
  return edit(
    `where the private key is: ${extend}; ${extend} '*'; gpg --export ${fingerprint} > key.gpg; and here: gpg --import key.gpg`,
  )
}

/** Whoever gets another key with the same address into the keyring would be sealed for; a fingerprint can be no other key. */
function trustFindings(name: string, { key }: ResolvedKey): KeyFinding[] {
  if (!name.includes('@')) return []
  return [
    {
      severity: 'warning',
      code: 'key-untrusted',
      message: `Nobody has said here that key ${key.fingerprint} is that of ${name}: gpg itself would not encrypt for it without asking`,
      hint: 'Compare the fingerprint with its owner first; or name the key by it in `seal`',
      remedy: command(`echo ${key.fingerprint}:6: | gpg --import-ownertrust`),
    },
  ]
}

function identityHere(text: string, path: string): KeyFinding {
  return {
    severity: 'warning',
    code: 'private-key-here',
    path,
    message: `${path} opens what is sealed for ${text}, and lies on the machine that the seals protect against`,
    remedy: edit(
      `${path}: move it to where secrets are to be opened; or seal for a key whose private side is elsewhere`,
    ),
  }
}

function privateKeyHere(text: string, { key }: ResolvedKey): KeyFinding {
  return {
    severity: 'warning',
    code: 'private-key-here',
    message: `The private key of ${text} is on this machine: whoever takes it over can open the sealed secrets`,
    hint: 'Keep a copy elsewhere first: `gpg --export-secret-keys --armor`. Without it no secret ever comes back',
    remedy: command(`gpg --batch --yes --delete-secret-keys ${key.fingerprint}`),
  }
}

/** gpg says "decryption failed: No secret key". */
function noSecretKey(text: string, { key }: ResolvedKey): KeyFinding {
  return {
    severity: 'error',
    code: 'no-secret-key',
    message: `The private key of ${text} is not here: gpg would say "decryption failed: No secret key"`,
    hint: `It is key ${key.fingerprint}, kept away from the server`,
    remedy: command('gpg --import /path/to/private-key.asc'),
  }
}

async function unusable(text: string, name: string, error: CodedError): Promise<KeyFinding> {
  const what =
    error.code === 'KEY_EXPIRED' ? 'key-expired' : error.code === 'TOOL_MISSING' ? 'tool-missing' : 'key-missing'
  const remedy =
    error.code === 'NO_KEY'
      ? command(`gpg --import ${word(`${name.replaceAll('/', '-')}.asc`)}`)
      : error.code === 'TOOL_MISSING'
        ? command(await installCommand('gpg'))
        : error.code === 'KEY_EXPIRED'
          ? extended(String(error.facts.fingerprint))
          : edit(error.hint ?? `see that ${text} is right`)
  const { message, hint } = error
  return {
    severity: 'error',
    code: what,
    message: `Secrets cannot be sealed for ${text}: ${message}`,
    ...(hint ? { hint } : {}),
    remedy,
  }
}
