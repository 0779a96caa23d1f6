import { EventEmitter } from 'node:events'
import { PassThrough, Writable } from 'node:stream'
import { type Io, type SignalSource, type StreamName, wantsColour } from '../../src/cli/io.ts'

export interface FakeIoOptions {
  readonly env?: Record<string, string>
  readonly cwd?: string
  /** Which streams are terminals. */
  readonly terminal?: readonly StreamName[]
  readonly columns?: number
  /** What stands on standard input; it ends after that unless `keepInputOpen`. */
  readonly input?: string | Buffer
  readonly keepInputOpen?: boolean
  readonly now?: Date
}

export interface FakeIo extends Io {
  readonly stdin: PassThrough & { setRawMode(raw: boolean): void; readonly rawModes: boolean[] }
  readonly out: () => string
  readonly err: () => string
  /** Standard output as JSON lines. */
  readonly messages: () => Record<string, unknown>[]
  advance(milliseconds: number): void
  resize(columns: number): void
  readonly process: FakeProcess
  closeOutput(reason: unknown): void
}

export interface FakeProcess extends SignalSource {
  send(signal: NodeJS.Signals): void
  readonly deaths: NodeJS.Signals[]
  listenerCount(signal: NodeJS.Signals): number
}

/** A world for commands in the test's own process, with a clock that stands still until told otherwise. */
export function fakeIo(options: FakeIoOptions = {}): FakeIo {
  const { env = {}, cwd = '/', terminal = [], input, keepInputOpen = false } = options
  let time = (options.now ?? new Date('2026-11-01T02:00:00Z')).getTime()
  let columns = options.columns ?? 80
  const closed = new AbortController()
  const stdout = collector()
  const stderr = collector()
  const rawModes: boolean[] = []
  const stdin = Object.assign(new PassThrough(), { rawModes, setRawMode: (raw: boolean) => void rawModes.push(raw) })
  if (input !== undefined) stdin.write(input)
  if (!keepInputOpen) stdin.end()
  const fakeProcess = fakeSignals()
  return {
    stdin,
    stdout: stdout.stream,
    stderr: stderr.stream,
    out: stdout.text,
    err: stderr.text,
    messages: () =>
      stdout
        .text()
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    env,
    cwd,
    isTerminal: (stream) => terminal.includes(stream),
    columns: () => columns,
    colour: (stream) => wantsColour(env, terminal.includes(stream)),
    now: () => new Date(time),
    advance(milliseconds) {
      time += milliseconds
    },
    resize(width) {
      columns = width
    },
    process: fakeProcess,
    signals: fakeProcess,
    outputClosed: closed.signal,
    closeOutput: (reason) => closed.abort(reason),
  }
}

function collector() {
  const chunks: Buffer[] = []
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      chunks.push(chunk)
      done()
    },
  })
  return { stream, text: () => Buffer.concat(chunks).toString('utf8') }
}

function fakeSignals(): FakeProcess {
  const emitter = new EventEmitter()
  const deaths: NodeJS.Signals[] = []
  return {
    on: (signal, listener) => emitter.on(signal, listener),
    off: (signal, listener) => emitter.off(signal, listener),
    die: (signal) => void deaths.push(signal),
    deaths,
    send: (signal) => void emitter.emit(signal, signal),
    listenerCount: (signal) => emitter.listenerCount(signal),
  }
}
