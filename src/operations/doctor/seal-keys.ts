import { parseRecipient } from '../../application/config/recipient.ts'
import { listSecretKeys, type ResolvedKey, resolveKey } from '../../application/sources/gpg.ts'
import { prepareSealers } from '../../application/sources/seal.ts'
import { CodedError } from '../../engine/error.ts'
import { command, type DoctorCheck, type DoctorContext, type DoctorFinding, edit, word } from './doctor-check.ts'

/** A key that expires sooner should be renewed now: the backup after that would leave the secrets out. */
const SOON_MS = 30 * 86_400_000

type Found = Omit<DoctorFinding, 'check'>

/** Whom secrets are sealed for: their public keys are here and usable, their private ones are somewhere else. */
export const sealKeys: DoctorCheck = {
  name: 'keys',
  title: 'Secrets can be sealed, and this machine cannot unseal them',
  async run(context) {
    const { config } = context
    const found: Found[] = []
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

async function recipientFindings(text: string, context: DoctorContext): Promise<Found[]> {
  const { signal, now, recovery } = context
  const parsed = parseRecipient(text)
  if ('problem' in parsed) return [] // the config would not have been accepted
  try {
    if (parsed.tool === 'age') {
      await prepareSealers([text], { signal })
      return []
    }
    const resolved = await resolveKey(parsed.value, 'encrypt', { now, signal })
    const secret = await secretOf(resolved, context)
    return [
      ...expiryFindings(text, resolved, now),
      ...(recovery || !secret ? [] : [privateKeyHere(text, resolved)]),
      ...(recovery && !secret ? [noSecretKey(text, resolved)] : []),
    ]
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof CodedError)) throw error
    return [unusable(text, parsed.value, error)]
  }
}

async function secretOf({ key }: ResolvedKey, { now, signal }: DoctorContext): Promise<boolean> {
  const secrets = await listSecretKeys(now, signal)
  return secrets.some(
    ({ fingerprint, parts }) =>
      fingerprint === key.fingerprint && parts.some(({ hasSecret, encrypts }) => hasSecret && encrypts),
  )
}

function expiryFindings(text: string, { key, expires }: ResolvedKey, now: Date): Found[] {
  if (expires === undefined || expires * 1000 - now.getTime() > SOON_MS) return []
  const day = new Date(expires * 1000).toISOString().slice(0, 10)
  return [
    {
      severity: 'warning',
      code: 'key-expires',
      message: `The key of ${text} expires on ${day}: from then on the secrets stay out of every backup`,
      remedy: edit(
        `where the private key is: gpg --quick-set-expire ${key.fingerprint} 2y '*', then gpg --export ${key.fingerprint} and gpg --import here`,
      ),
    },
  ]
}

function privateKeyHere(text: string, { key }: ResolvedKey): Found {
  return {
    severity: 'warning',
    code: 'private-key-here',
    message: `The private key of ${text} is on this machine: whoever takes it over can open the sealed secrets`,
    hint: 'Keep a copy elsewhere first: `gpg --export-secret-keys --armor`. Without it no secret ever comes back',
    remedy: command(`gpg --batch --yes --delete-secret-keys ${key.fingerprint}`),
  }
}

/** gpg says "decryption failed: No secret key". */
function noSecretKey(text: string, { key }: ResolvedKey): Found {
  return {
    severity: 'error',
    code: 'no-secret-key',
    message: `The private key of ${text} is not here: gpg would say "decryption failed: No secret key"`,
    hint: `It is key ${key.fingerprint}, kept away from the server`,
    remedy: command('gpg --import /path/to/private-key.asc'),
  }
}

function unusable(text: string, name: string, error: CodedError): Found {
  const what =
    error.code === 'KEY_EXPIRED' ? 'key-expired' : error.code === 'TOOL_MISSING' ? 'tool-missing' : 'key-missing'
  const remedy =
    error.code === 'NO_KEY'
      ? command(`gpg --import ${word(`${name.replaceAll('/', '-')}.asc`)}`)
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
