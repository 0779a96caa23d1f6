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
  if (!first.isPassing) throw undelivered(first.problem)
  await delay(PAUSE_MS, undefined, { signal })
  const second = await attempt(url, request, signal)
  if (second !== undefined) throw undelivered(second.problem)
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
}

async function attempt(url: URL, request: RequestInit, signal: AbortSignal): Promise<Problem | undefined> {
  const timeout = AbortSignal.timeout(PATIENCE_MS)
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
    return { problem: code ?? 'no connection', isPassing: true }
  }
}

function undelivered(problem: string): ApplicationError {
  return new ApplicationError('NOTIFY', `the receiver did not take it: ${problem}`, { facts: { problem } })
}
