import { setTimeout as sleep } from 'node:timers/promises'

/** One look at how an application is. */
export interface ApplicationCheck {
  readonly check: 'health' | 'log' | 'metrics'
  /** The address, or the words that were looked for. */
  readonly subject: string
  readonly passed: boolean
  /** What was found, one line. */
  readonly detail: string
  readonly attempts: number
  readonly milliseconds: number
}

export interface CheckApplicationOptions {
  readonly health?: string | undefined
  readonly metrics?: string | undefined
  /** Words that must stand in the log, in whatever case. */
  readonly expectLog?: readonly string[]
  readonly readLog?: (signal: AbortSignal) => Promise<string>
  /** Why there is no point in asking again: the service has failed, say. Undefined: there is. */
  readonly givenUp?: (signal: AbortSignal) => Promise<string | undefined>
  /** How long the application may take until all is well. Default: one minute. */
  readonly withinMs?: number
  readonly onCheck?: (check: ApplicationCheck) => void
  readonly signal: AbortSignal
}

const WITHIN_MS = 60_000
/** Of one question. An application that needs longer than this for its health has none. */
const ANSWER_MS = 5_000
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 2_000
/** An answer is read no further than this. */
const ANSWER_LIMIT = 256 * 1024

/**
 * Asks for the application's health until it is healthy, then looks for the expected words in its log and asks for its
 * metrics, all within one time. Healthy: a status of 200 to 299 and, where the answer is a JSON object with a `status`, one
 * that does not say the contrary. Metrics: such a status, and something in it. Checks that are not asked for are not made.
 * That one does not pass is no error: who asks decides what follows.
 */
export async function checkApplication(options: CheckApplicationOptions): Promise<readonly ApplicationCheck[]> {
  const { health, metrics, expectLog = [], readLog, signal } = options
  const deadline = performance.now() + (options.withinMs ?? WITHIN_MS)
  const checks: ApplicationCheck[] = []
  const note = (check: ApplicationCheck) => {
    checks.push(check)
    options.onCheck?.(check)
  }
  if (health !== undefined) {
    note(
      await repeat({ check: 'health', subject: health }, () => ask(health, describeHealth, signal), deadline, options),
    )
  }
  if (readLog !== undefined) {
    for (const words of expectLog) {
      const look = async () => findWords(await readLog(signal), words)
      note(await repeat({ check: 'log', subject: words }, look, deadline, options))
    }
  }
  if (metrics !== undefined) {
    note(
      await repeat(
        { check: 'metrics', subject: metrics },
        () => ask(metrics, describeMetrics, signal),
        deadline,
        options,
      ),
    )
  }
  return checks
}

/** Whether anything answers there, be it to say that it is unwell. */
export async function isAnswering(url: string, signal: AbortSignal): Promise<boolean> {
  for (const address of addressesOf(new URL(url))) {
    try {
      const response = await request(address, new URL(url).host, signal)
      await response.body?.cancel()
      return true
    } catch {
      signal.throwIfAborted() // otherwise nobody is there
    }
  }
  return false
}

interface Look {
  readonly passed: boolean
  readonly detail: string
}

async function repeat(
  what: Pick<ApplicationCheck, 'check' | 'subject'>,
  look: () => Promise<Look>,
  deadline: number,
  { givenUp, signal }: CheckApplicationOptions,
): Promise<ApplicationCheck> {
  const begun = performance.now()
  const ended = (found: Look, attempts: number) => ({
    ...what,
    ...found,
    attempts,
    milliseconds: Math.round(performance.now() - begun),
  })
  let pause = FIRST_PAUSE_MS
  for (let attempts = 1; ; attempts++) {
    signal.throwIfAborted()
    const found = await look()
    if (found.passed) return ended(found, attempts)
    const why = await givenUp?.(signal)
    if (why !== undefined) return ended({ passed: false, detail: `${found.detail}; ${why}` }, attempts)
    if (performance.now() + pause > deadline) return ended(found, attempts)
    await sleep(pause, undefined, { signal })
    pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)
  }
}

async function ask(url: string, describe: (body: string) => Look, signal: AbortSignal): Promise<Look> {
  let look: Look = { passed: false, detail: 'nobody was asked' }
  for (const address of addressesOf(new URL(url))) {
    look = await askAt(address, new URL(url).host, describe, signal)
    if (look.passed) break
  }
  return look
}

/** Whether an address is one of this machine alone. */
export function isHere(url: string): boolean {
  return /^(localhost|127\.|\[::1\]|0\.0\.0\.0)/.test(new URL(url).hostname)
}

/** `localhost` is this machine (RFC 6761), also where no /etc/hosts says so; what listens there may do so on either loopback. */
function addressesOf(url: URL): readonly URL[] {
  if (url.hostname !== 'localhost') return [url]
  return ['[::1]', '127.0.0.1'].map((hostname) => Object.assign(new URL(url), { hostname }))
}

async function askAt(url: URL, host: string, describe: (body: string) => Look, signal: AbortSignal): Promise<Look> {
  try {
    const response = await request(url, host, signal)
    const body = await readBounded(response)
    if (!response.ok) return { passed: false, detail: `status ${response.status}${said(body)}` }
    return describe(body)
  } catch (error) {
    signal.throwIfAborted()
    return { passed: false, detail: reasonOf(error) }
  }
}

function request(url: URL, host: string, signal: AbortSignal): Promise<Response> {
  return fetch(url, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    headers: { host, 'user-agent': 'holdfast', connection: 'close' },
    redirect: 'manual',
  })
}

/** `fetch` hides why behind "fetch failed". */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `no answer within ${ANSWER_MS} ms`
  let cause = error
  while (cause.cause instanceof Error) cause = cause.cause
  if (cause instanceof AggregateError && cause.errors[0] instanceof Error) cause = cause.errors[0]
  return cause.message
}

async function readBounded(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of response.body ?? []) {
    parts.push(part)
    length += part.length
    if (length > ANSWER_LIMIT) break
  }
  return Buffer.concat(parts).toString('utf8')
}

const UNWELL =
  /^(un|not[ _-]?)(healthy|well|ok|available)$|^(down|fail(ed|ing|ure)?|err(or)?|critical|dead|stopped|starting)$/i

function describeHealth(body: string): Look {
  const status = statusIn(body)
  if (status === undefined) return { passed: true, detail: `it answers${said(body)}` }
  return { passed: !UNWELL.test(status), detail: `status "${oneLine(status)}"` }
}

function statusIn(body: string): string | undefined {
  try {
    const answer: unknown = JSON.parse(body)
    const status = (answer as { status?: unknown } | null)?.status
    return typeof status === 'string' ? status : undefined
  } catch {
    return undefined // plain text is as good an answer
  }
}

function describeMetrics(body: string): Look {
  const lines = body.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length
  return { passed: lines > 0, detail: lines === 0 ? 'an empty answer' : `${lines} ${lines === 1 ? 'line' : 'lines'}` }
}

function findWords(log: string, words: string): Look {
  const wanted = words.toLowerCase()
  const line = log.split('\n').findLast((each) => each.toLowerCase().includes(wanted))
  if (line !== undefined) return { passed: true, detail: oneLine(line) }
  const last = log.trim().split('\n').at(-1) ?? ''
  return { passed: false, detail: last === '' ? 'the log is empty' : `the log ends with: ${oneLine(last)}` }
}

function said(body: string): string {
  const line = oneLine(body)
  return line === '' ? '' : `: ${line}`
}

const LINE_LENGTH = 200

function oneLine(text: string): string {
  const line = text.trim().split('\n', 1)[0]!.trim()
  return line.length > LINE_LENGTH ? `${line.slice(0, LINE_LENGTH)}…` : line
}
