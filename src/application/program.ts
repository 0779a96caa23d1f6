import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { stripVTControlCharacters } from 'node:util'
import { ApplicationError } from './error.ts'

/** More of a program's messages than this helps nobody; the last part is kept, where the reason stands. */
const STDERR_KEPT = 16 * 1024
/** Status lines of gpg are short; a program that writes more than this is not talking to us. */
const STATUS_LIMIT = 1024 * 1024
const TERMINATION_GRACE_MS = 2000

export interface ProgramOptions {
  readonly signal?: AbortSignal | undefined
  /** The whole environment of the program; see `minimalEnvironment`. */
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  /** A session of its own, so that the program finds no terminal to ask on. */
  readonly withoutTerminal?: boolean
  /** Bytes that the program can read from descriptor 4, 5, … */
  readonly inputs?: readonly Buffer[]
  /** The program is stopped when it neither reads nor writes for this long. */
  readonly idleLimitMs?: number
  /** What to say when the program is not installed. */
  readonly installHint?: string
}

/** What a program left behind. `status` is what it wrote to descriptor 3. */
export interface ProgramEnd {
  readonly program: string
  /** `null` when a signal ended it. */
  readonly exitCode: number | null
  readonly stderr: string
  readonly status: string
}

export interface ProgramResult extends ProgramEnd {
  readonly stdout: Buffer
}

/**
 * The variables that system programs need and nothing else: what stands in our own environment (tokens, passwords)
 * is nobody's business. `LC_ALL=C` because the messages become part of errors.
 */
export function minimalEnvironment(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const kept: NodeJS.ProcessEnv = { LANG: 'C', LC_ALL: 'C' }
  for (const name of ['PATH', 'HOME', 'GNUPGHOME', 'TMPDIR']) {
    if (process.env[name] !== undefined) kept[name] = process.env[name]
  }
  return { ...kept, ...extra }
}

/** An error whose message is what the program wrote to its standard error: the cause of ours. */
export function programFailure(end: ProgramEnd): Error {
  const text = stripVTControlCharacters(end.stderr).trim() // some colour it, terminal or not
  const how = end.exitCode === null ? 'was stopped by a signal' : `ended with exit code ${end.exitCode}`
  return new Error(text === '' ? `${end.program} ${how}` : `${end.program} ${how}: ${text}`)
}

/**
 * Runs a program to its end, whatever its exit code, and returns what it wrote (at most `maxOutput` bytes).
 * Throws `TOOL_MISSING` when it is not installed, `SOURCE` when it cannot be started, and the signal's reason when
 * aborted; the process has ended whenever this settles.
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: ProgramOptions & { readonly input?: AsyncIterable<Uint8Array> | Buffer; readonly maxOutput?: number } = {},
): Promise<ProgramResult> {
  const maxOutput = options.maxOutput ?? 4 * 1024 * 1024
  const chunks: Buffer[] = []
  let length = 0
  let end: ProgramEnd | undefined
  const input = Buffer.isBuffer(options.input) ? only(options.input) : (options.input ?? noInput())
  const output = filterThrough(program, args, input, options, (ended) => {
    end = ended
  })
  for await (const chunk of output) {
    length += chunk.length
    if (length > maxOutput) {
      throw new ApplicationError('SOURCE', `Cannot use the output of ${program}: expected at most ${maxOutput} bytes`, {
        facts: { program, maxOutput },
      })
    }
    chunks.push(chunk)
  }
  return { ...(end as ProgramEnd), stdout: Buffer.concat(chunks) }
}

/**
 * Pipes bytes through a program. Memory stays bounded: input is read as the program takes it, output as the consumer
 * pulls it. `onEnd` sees the exit code after the last byte of output and throws when it means failure; an error of
 * `input` goes before it. The program is killed and awaited when the consumer stops early, the input fails, or the
 * signal fires.
 */
export async function* filterThrough(
  program: string,
  args: readonly string[],
  input: AsyncIterable<Uint8Array>,
  options: ProgramOptions,
  onEnd: (end: ProgramEnd) => void,
): AsyncGenerator<Buffer, void, undefined> {
  const { signal } = options
  signal?.throwIfAborted()
  const inputs = options.inputs ?? []
  const child = spawn(program, args, {
    env: options.env ?? minimalEnvironment(),
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', ...inputs.map(() => 'pipe' as const)],
    windowsHide: true,
    detached: options.withoutTerminal ?? false,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  })
  const ended = endOf(child, program, options)
  if (!Array.isArray(child.stdio)) await ended // no descriptors left for the pipes: the error event follows
  const [stdin, stdout, stderr, status] = child.stdio as unknown as [Writable, Readable, Readable, Readable]
  const stderrText = collect(stderr, (text) => (text.length > STDERR_KEPT ? text.slice(-STDERR_KEPT) : text))
  const statusText = collect(status, (text) => (text.length > STATUS_LIMIT ? text.slice(0, STATUS_LIMIT) : text))
  inputs.forEach((bytes, index) => {
    const pipe = child.stdio[index + 4] as Writable
    pipe.on('error', () => {}) // EPIPE: the program did not want it all, its exit code says whether that is a failure
    pipe.end(bytes)
  })

  const stop = (): void => {
    terminate(child, options.withoutTerminal ?? false)
    // What the program started may live on and hold the pipes open.
    child.once('exit', () => stdout.destroy())
  }
  child.once('exit', () => {
    const timer = setTimeout(() => [stderr, status].map((stream) => stream.destroy()), TERMINATION_GRACE_MS)
    child.once('close', () => clearTimeout(timer))
  })
  signal?.addEventListener('abort', stop, { once: true })
  const idle = watchIdle(options.idleLimitMs, stop)
  const feeding = feed(stdin, input, idle.progress)
  const inputFailure = feeding.then(
    () => undefined,
    (error: unknown) => {
      stop()
      return { error }
    },
  )
  let finished = false
  try {
    let outputFailure: { readonly error: unknown } | undefined
    try {
      for await (const chunk of stdout as AsyncIterable<Buffer>) {
        idle.pause()
        yield chunk
        idle.progress()
      }
    } catch (error) {
      outputFailure = { error } // mostly a pipe cut by `stop`, for one of the reasons below
    }
    const exitCode = await ended
    finished = true
    signal?.throwIfAborted()
    // A source that has nothing to say any more is not waited for when the program has ended.
    const failure = await Promise.race([inputFailure, undefined])
    if (failure !== undefined) throw failure.error
    if (idle.expired()) {
      throw new ApplicationError('SOURCE', `${program} did nothing for ${options.idleLimitMs} ms and was stopped`, {
        facts: { program },
        cause: new Error((await stderrText).trim()),
      })
    }
    if (outputFailure !== undefined) throw outputFailure.error
    onEnd({ program, exitCode, stderr: await stderrText, status: await statusText })
  } finally {
    idle.stop()
    signal?.removeEventListener('abort', stop)
    if (!finished) {
      stop()
      stdout.destroy()
      await ended.catch(() => {}) // the error that brought us here is the one to report
    }
    stdin.destroy()
  }
}

function endOf(child: ChildProcess, program: string, options: ProgramOptions): Promise<number | null> {
  const { cwd, installHint } = options
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('close', (code) => resolve(code))
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (child.pid !== undefined) return // a failed kill; `close` follows
      reject(
        isMissing(program, cwd, error.code)
          ? new ApplicationError('TOOL_MISSING', `Cannot run ${program}: expected it in PATH, found no such program`, {
              facts: { program },
              cause: error,
              hint: installHint ?? `Install ${program}`,
            })
          : new ApplicationError('SOURCE', `Cannot run ${program}: ${error.message}`, {
              facts: { program },
              cause: error,
            }),
      )
    })
  })
  ended.catch(() => {}) // may reject before somebody awaits it
  return ended
}

/** EACCES: a folder in PATH is closed to this user, and no other has the program. ENOENT may also be the working folder. */
function isMissing(program: string, cwd: string | undefined, code: string | undefined): boolean {
  if (cwd !== undefined && !existsSync(cwd)) return false
  return code === 'ENOENT' || (code === 'EACCES' && !program.includes('/'))
}

/** With its whole session when it has one of its own. */
function terminate(child: ChildProcess, session: boolean): void {
  const { pid } = child
  if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const send = (signal: 'SIGTERM' | 'SIGKILL'): void => {
    if (!session) child.kill(signal)
    else if (child.exitCode === null && child.signalCode === null) process.kill(-pid, signal)
  }
  send('SIGTERM')
  const timer = setTimeout(() => send('SIGKILL'), TERMINATION_GRACE_MS)
  child.once('close', () => clearTimeout(timer))
}

async function feed(stdin: Writable, input: AsyncIterable<Uint8Array>, progress: () => void): Promise<void> {
  let closed = false
  let wake = (): void => {}
  const close = (): void => {
    closed = true
    wake()
  }
  // EPIPE and the like mean that the program stopped reading; its exit code says whether that is a failure.
  stdin.on('error', close)
  stdin.on('close', close)
  stdin.on('drain', () => wake())
  for await (const chunk of input) {
    if (closed) break
    if (!stdin.write(chunk)) {
      await new Promise<void>((resolve) => {
        wake = resolve
        if (closed || !stdin.writableNeedDrain) resolve()
      })
    }
    progress()
  }
  if (!closed) stdin.end()
}

function collect(stream: Readable, bound: (text: string) => string): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    stream.setEncoding('utf8')
    stream.on('data', (part: string) => {
      text = bound(text + part)
    })
    stream.on('error', () => resolve(text)) // the pipe broke with the program; what came through still counts
    stream.on('close', () => resolve(text))
  })
}

function watchIdle(limitMs: number | undefined, onIdle: () => void) {
  let timer: NodeJS.Timeout | undefined
  let expired = false
  let over = false
  const pause = (): void => clearTimeout(timer)
  const progress = (): void => {
    pause()
    if (limitMs === undefined || over) return
    timer = setTimeout(() => {
      expired = true
      onIdle()
    }, limitMs)
  }
  const stop = (): void => {
    over = true
    pause()
  }
  progress()
  return { pause, progress, stop, expired: () => expired }
}

/** For a program that reads nothing. */
export async function* noInput(): AsyncGenerator<Buffer> {}

async function* only(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}
