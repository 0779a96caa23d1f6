import type { Readable, Writable } from 'node:stream'
import { CliError } from './error.ts'

export type StreamName = 'stdin' | 'stdout' | 'stderr'
export type OutputName = Exclude<StreamName, 'stdin'>

/** Standard input; on a terminal it can be read key by key, without echo. */
export interface Input extends Readable {
  setRawMode?(raw: boolean): unknown
}

/** The process, as far as signals go. */
export interface SignalSource {
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown
  /** Ends the process at once, by this signal and whatever runs in it. */
  die(signal: NodeJS.Signals): void
}

/** The world as a command sees it. Commands never touch `process`, so that tests run them in the test's own process. */
export interface Io {
  readonly stdin: Input
  readonly stdout: Writable
  readonly stderr: Writable
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** Whether a person sits there: a terminal that understands cursor movement. */
  isTerminal(stream: StreamName): boolean
  /** Width of the terminal now, for it may change; 80 where there is none. */
  columns(): number
  colour(stream: OutputName): boolean
  now(): Date
  readonly signals: SignalSource | undefined
  /** Aborted once nobody reads standard output any more. */
  readonly outputClosed: AbortSignal | undefined
}

/** https://no-color.org: any value but the empty one; `FORCE_COLOR` is for those who pipe through a pager. */
export function wantsColour(env: Io['env'], terminal: boolean): boolean {
  if (env.NO_COLOR !== undefined && env.NO_COLOR !== '') return false
  const force = env.FORCE_COLOR
  if (force !== undefined && force !== '') return force !== '0' && force !== 'false'
  return terminal
}

export function withoutColour(io: Io): Io {
  return { ...io, colour: () => false }
}

export const processSignals: SignalSource = {
  on: (signal, listener) => process.on(signal, listener),
  off: (signal, listener) => process.off(signal, listener),
  // Not `process.exit`: it ends threads one by one and waits for them, and one inside a native module aborts the process.
  die: (signal) => {
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  },
}

/** The real one. Call it once: it listens to the errors of the output streams for the life of the process. */
export function processIo(): Io {
  const { stdin, stdout, stderr, env } = process
  const closed = new AbortController()
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') closed.abort(new CliError('OUTPUT_CLOSED', 'Cannot write output: nobody reads it'))
    else if (!isLostTerminal(error)) throw error
  })
  stderr.on('error', (error: NodeJS.ErrnoException) => {
    // Nobody listens to complaints any more; the work itself can still be finished.
    if (error.code !== 'EPIPE' && !isLostTerminal(error)) throw error
  })
  const streams = { stdin, stdout, stderr }
  const isTerminal = (stream: StreamName) => streams[stream].isTTY === true && env.TERM !== 'dumb'
  return {
    stdin,
    stdout,
    stderr,
    env,
    cwd: process.cwd(),
    isTerminal,
    columns: () => stdout.columns || stderr.columns || 80,
    colour: (stream) => wantsColour(env, isTerminal(stream)),
    now: () => new Date(),
    signals: processSignals,
    outputClosed: closed.signal,
  }
}

/** A dropped SSH session takes the terminal away; a backup that runs in it goes on all the same. */
function isLostTerminal(error: NodeJS.ErrnoException): boolean {
  return error.code === 'EIO'
}
