import type { Io, OutputName } from './io.ts'
import { jsonText } from './json-text.ts'
import { escapeAllButColours } from './terminal-text.ts'

export interface ScreenOptions {
  /** Standard output belongs to programs: what is written for people goes to standard error. */
  readonly json: boolean
  readonly quiet: boolean
}

/** The two output streams and the one live line at the bottom of a terminal, which other lines must not run into. */
export interface Screen extends Disposable {
  /** What was asked for. Text may have several lines and colours; other control characters are made visible. */
  print(text: string): void
  /** By the way: nothing with `--quiet`. */
  say(text: string): void
  /** Warnings and errors: standard error, always. */
  complain(text: string): void
  /** One JSON object, one line, on standard output. */
  json(message: JsonMessage): void
  /** From now on standard output carries data: text for people goes to standard error. */
  giveOutputToData(): void
  /** Shows, replaces or (with undefined) removes the live line. Ignored where there is none. */
  live(line: string | undefined): void
  /** Runs a task that uses the terminal itself, such as a question: the live line is gone until it ends. */
  withoutLive<R>(task: () => Promise<R>): Promise<R>
  /** Where a live line goes: undefined without a terminal, with `--quiet` and with `--json`. */
  readonly liveStream: OutputName | undefined
}

export interface JsonMessage {
  readonly message_type: string
  readonly [key: string]: unknown
}

export function createScreen(io: Io, { json, quiet }: ScreenOptions): Screen {
  // Standard error first: progress stays visible when the result is piped on.
  const terminal = io.isTerminal('stderr') ? 'stderr' : io.isTerminal('stdout') ? 'stdout' : undefined
  const liveStream = json || quiet ? undefined : terminal
  let textStream: OutputName = json ? 'stderr' : 'stdout'
  let shown: string | undefined
  let isHeld = false

  const erase = () => {
    if (shown !== undefined && liveStream !== undefined) io[liveStream].write('\r\x1b[K')
  }
  const draw = () => {
    if (shown !== undefined && liveStream !== undefined) io[liveStream].write(`\r${shown}\x1b[K`)
  }
  const write = (stream: OutputName, line: string) => {
    const onTerminal = io.isTerminal(stream)
    if (onTerminal) erase()
    io[stream].write(`${line}\n`)
    if (onTerminal) draw()
  }

  return {
    liveStream,
    print(text) {
      write(textStream, escapeAllButColours(text))
    },
    say(text) {
      if (!quiet) write(textStream, escapeAllButColours(text))
    },
    complain(text) {
      write('stderr', escapeAllButColours(text))
    },
    json(message) {
      write('stdout', jsonText(message))
    },
    giveOutputToData() {
      textStream = 'stderr'
    },
    live(line) {
      if (liveStream === undefined || line === shown || isHeld) return
      if (line === undefined) {
        erase()
        shown = undefined
      } else {
        shown = line
        draw()
      }
    },
    async withoutLive(task) {
      erase()
      shown = undefined
      isHeld = true
      try {
        return await task()
      } finally {
        isHeld = false
      }
    },
    [Symbol.dispose]() {
      erase()
      shown = undefined
    },
  }
}
