import { setTimeout as delay } from 'node:timers/promises'
import { ApplicationError } from '../error.ts'

/** Whoever takes longer to answer holds up the operation that has something to tell. */
const PATIENCE_MS = 10_000
/** A receiver that restarts just now is back after this. */
const PAUSE_MS = 1000

/**
 * Posts JSON, or nothing, to an address; asked once more when the receiver cannot be reached or has trouble of its own. Throws
 * `NOTIFY`. The address is a secret, so no error repeats any part of it; neither does what the receiver answers.
 */
export async function post(address: string, body: unknown, signal: AbortSignal): Promise<void> {
  const { url, headers } = parseAddress(address)
  const json = body === undefined ? {} : { body: JSON.stringify(body) }
  const request = { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, ...json }
  const first = await attempt(url, request, signal)
  if (first === undefined) return
  if (!first.isPassing) throw undelivered(first)
  await delay(PAUSE_MS, undefined, { signal })
  const second = await attempt(url, request, signal)
  if (second !== undefined) throw undelivered(second)
}

/** Throws `NOTIFY` for what is no address of a web server. */
export function parseAddress(address: string): { readonly url: URL; readonly headers: Record<string, string> } {
  const url = URL.parse(address)
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new ApplicationError('NOTIFY', 'what stands there is no address, expected one that begins with https://')
  }
  const { username, password } = url
  if (username === '' && password === '') return { url, headers: {} }
  url.username = ''
  url.password = ''
  const credentials = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`)
  return { url, headers: { authorization: `Basic ${credentials.toString('base64')}` } }
}

interface Problem {
  readonly problem: string
  /** It may be otherwise in a moment. */
  readonly isPassing: boolean
  readonly hint?: string
}

/** For a receiver of one's own, with a certificate of one's own authority. */
export const TRUST_HINT =
  'Let this machine trust whoever has signed it: put the certificate of that authority, its name ending in .crt, into /usr/local/share/ca-certificates and run update-ca-certificates'

const UNTRUSTED: Omit<Problem, 'isPassing'> = {
  problem: 'its certificate is signed by nobody whom this machine trusts',
  hint: TRUST_HINT,
}

/** As OpenSSL (x509_vfy.h) and Node (https://nodejs.org/api/errors.html) name what is wrong with a connection by TLS. */
const TLS_PROBLEMS: ReadonlyMap<string, Omit<Problem, 'isPassing'>> = new Map([
  ['DEPTH_ZERO_SELF_SIGNED_CERT', UNTRUSTED],
  ['SELF_SIGNED_CERT_IN_CHAIN', UNTRUSTED],
  ['UNABLE_TO_GET_ISSUER_CERT', UNTRUSTED],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', UNTRUSTED],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', UNTRUSTED],
  [
    'ERR_TLS_CERT_ALTNAME_INVALID',
    {
      problem: 'its certificate is for another name than the one in the address',
      hint: 'Address it by a name that its certificate has; `openssl s_client -connect HOST:PORT | openssl x509 -noout -ext subjectAltName` shows them',
    },
  ],
  ['CERT_HAS_EXPIRED', { problem: 'its certificate has expired', hint: 'Have it renewed where the receiver runs' }],
  [
    'CERT_NOT_YET_VALID',
    { problem: 'its certificate is not valid yet', hint: 'See that the clock of this machine is right: `date`' },
  ],
  [
    'ERR_SSL_WRONG_VERSION_NUMBER',
    {
      problem: 'it does not speak TLS, which https:// asks for',
      hint: 'See that port and protocol of the address are right',
    },
  ],
])

let trustsMachine = false

/** Node knows the authorities that it came with; whom this machine trusts besides is for its administrator to say. */
function trustMachine(): void {
  if (trustsMachine) return
  trustsMachine = true
  // Of the first releases of Node.js 24 it is not known: there NODE_EXTRA_CA_CERTS says it.
  const { getCACertificates, setDefaultCACertificates } = process.getBuiltinModule('node:tls')
  setDefaultCACertificates?.([...new Set([...getCACertificates('default'), ...getCACertificates('system')])])
}

async function attempt(url: URL, request: RequestInit, signal: AbortSignal): Promise<Problem | undefined> {
  const timeout = AbortSignal.timeout(PATIENCE_MS)
  if (url.protocol === 'https:') trustMachine()
  try {
    // A redirection would take the message, and what is secret in the address, to who knows where.
    const response = await fetch(url, { ...request, redirect: 'manual', signal: AbortSignal.any([signal, timeout]) })
    await response.body?.cancel()
    if (response.ok) return undefined
    return { problem: `HTTP status ${response.status}`, isPassing: response.status >= 500 || response.status === 429 }
  } catch (error) {
    signal.throwIfAborted()
    if (timeout.aborted) return { problem: `no answer within ${PATIENCE_MS / 1000} s`, isPassing: false }
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException
    const tls = TLS_PROBLEMS.get(code ?? '')
    if (tls !== undefined) return { ...tls, problem: `${tls.problem} (${code})`, isPassing: false }
    return { problem: code ?? 'no connection', isPassing: true }
  }
}

function undelivered({ problem, hint }: Problem): ApplicationError {
  return new ApplicationError('NOTIFY', `the receiver did not take it: ${problem}`, { facts: { problem }, hint })
}
