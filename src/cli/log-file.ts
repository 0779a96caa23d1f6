import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Observer, OperationEvent } from '../operations/event.ts'
import { formatDuration } from './format.ts'
import { escapeText } from './terminal-text.ts'

export interface LogFile extends Disposable {
  readonly observe: Observer
  /** A line that comes from no event, such as the error that ended an operation. */
  write(level: LogLevel, text: string): void
}

export type LogLevel = 'info' | 'warning' | 'error'

export interface LogFileOptions {
  readonly now: () => Date
  /** Called at most once: a log that cannot be written never stops an operation. */
  readonly warn: (message: string) => void
}

/**
 * A log beside the console: one line per event except progress, appended, with a UTC time stamp. A new file is for its owner
 * alone, and so is its folder. Rotation is logrotate's business: the file is opened anew by each run, and in append mode, so
 * both `create` and `copytruncate` work.
 */
export function openLogFile(path: string, { now, warn }: LogFileOptions): LogFile {
  let descriptor: number | undefined
  let broken = false

  const attempt = (action: () => void) => {
    if (broken) return
    try {
      action()
    } catch (error) {
      // Any reason will do (full disk, folder gone, read-only): the operation matters more than its log.
      broken = true
      warn(`Cannot write log file ${escapeText(path)}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  attempt(() => {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    descriptor = openSync(path, 'a', 0o600)
  })
  const write = (level: LogLevel, text: string) =>
    attempt(() => {
      if (descriptor === undefined) return
      // One write per line: lines of two processes do not mix in append mode.
      const line = Buffer.from(`${now().toISOString()} [${process.pid}] ${level} ${escapeText(text)}\n`)
      const written = writeSync(descriptor, line)
      if (written < line.length) throw new Error(`only ${written} of ${line.length} bytes fitted`)
    })

  return {
    write,
    observe(event) {
      const line = describe(event)
      if (line !== undefined) write(line.level, line.text)
    },
    [Symbol.dispose]() {
      if (descriptor === undefined) return
      const open = descriptor
      descriptor = undefined
      attempt(() => closeSync(open))
    },
  }
}

function describe(event: OperationEvent): { level: LogLevel; text: string } | undefined {
  switch (event.type) {
    case 'started':
      return { level: 'info', text: `${event.operation} started: ${event.subject}` }
    case 'phase':
      return {
        level: 'info',
        text: `phase ${event.phase}${event.component === undefined ? '' : ` ${event.component}`}`,
      }
    case 'progress':
    case 'snapshot':
      return undefined
    case 'finding': {
      const { severity, code, component, path, message, hint } = event.finding
      const facts = [
        code,
        ...(component === undefined ? [] : [`component=${component}`]),
        ...(path === undefined ? [] : [`path=${JSON.stringify(path)}`]),
      ].join(' ')
      return {
        level: severity === 'note' ? 'info' : severity,
        text: `${facts}: ${message}${hint === undefined ? '' : ` (hint: ${hint})`}`,
      }
    }
    case 'step': {
      const { title, state, result, milliseconds } = event
      const took = milliseconds === undefined ? '' : ` after ${formatDuration(milliseconds)}`
      const text = `step "${title}" ${state}${took}${result === undefined ? '' : `: ${result}`}`
      return { level: state === 'failed' ? 'error' : 'info', text }
    }
    case 'finished':
      return {
        level: event.outcome === 'succeeded' ? 'info' : event.outcome === 'incomplete' ? 'warning' : 'error',
        text: `${event.operation} ${event.outcome} after ${formatDuration(event.milliseconds)}`,
      }
  }
}
