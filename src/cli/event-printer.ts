import type { Finding } from '../application/finding.ts'
import type { Observer, OperationEvent, Outcome } from '../operations/event.ts'
import { counted, formatDuration } from './format.ts'
import type { Io, OutputName } from './io.ts'
import type { Screen } from './screen.ts'
import { type Style, styleFor } from './style.ts'
import { escapeLines, escapeText, wrapHanging } from './terminal-text.ts'

export interface EventPrinterOptions {
  /** 0 as usual; from 1 on also phases and notes. */
  readonly verbose: number
  /** Lines about the result, printed before the last line; their untrusted parts escaped. */
  readonly summarise?: ((summary: Readonly<Record<string, unknown>>) => readonly string[]) | undefined
}

/** What an operation reports, as text: findings to standard error, the rest to standard output unless `--quiet`. */
export function printEvents(io: Io, screen: Screen, { verbose, summarise }: EventPrinterOptions): Observer {
  const style = styleFor(io.colour('stdout'))
  const complaint = styleFor(io.colour('stderr'))
  const widthOf = (stream: OutputName) => (io.isTerminal(stream) ? io.columns() : undefined)
  let errors = 0
  let warnings = 0
  return (event) => {
    switch (event.type) {
      case 'started':
        errors = 0
        warnings = 0
        screen.say(style.bold(escapeText(`${event.operation} ${event.subject}`)))
        break
      case 'phase':
        if (verbose > 0) screen.say(style.dim(escapeText(`${event.phase} ${event.component ?? ''}`.trimEnd())))
        break
      case 'progress':
        break
      case 'finding':
        if (event.finding.severity === 'error') errors += 1
        if (event.finding.severity === 'warning') warnings += 1
        if (event.finding.severity !== 'note')
          screen.complain(formatFinding(event.finding, complaint, widthOf('stderr')))
        else if (verbose > 0) screen.say(formatFinding(event.finding, style, widthOf('stdout')))
        break
      case 'step':
        for (const line of stepLines(event, style)) screen.say(line)
        break
      case 'finished': {
        // What an operation throws is printed as an error, and says more.
        if (event.summary.error !== undefined) break
        const details = summarise?.(event.summary) ?? []
        for (const line of details) screen.say(line)
        const counts = [
          ...(errors > 0 ? [counted(errors, 'error')] : []),
          ...(warnings > 0 ? [counted(warnings, 'warning')] : []),
        ].join(', ')
        screen.say(
          `${escapeText(event.operation)} ${paintOutcome(event.outcome, style)} after ${formatDuration(event.milliseconds)}` +
            (counts === '' ? '' : `: ${counts}`),
        )
        break
      }
    }
  }
}

/** A step that begins is not told of: the line about its end says the same, and how long it took. */
function stepLines(
  { state, title, result = '', milliseconds }: Extract<OperationEvent, { type: 'step' }>,
  style: Style,
): string[] {
  if (state === 'begun') return []
  const mark = { done: style.green('✓'), failed: style.red('✗'), skipped: style.dim('–'), undone: style.yellow('↩') }[
    state
  ]
  const took = state === 'skipped' ? (milliseconds === undefined ? 'not done' : 'done before') : ''
  const spent = took === '' && milliseconds !== undefined ? formatDuration(milliseconds) : took
  return [
    `${mark} ${style.bold(escapeText(title))}${spent === '' ? '' : `  ${style.dim(spent)}`}`,
    ...(result === '' ? [] : [`  ${escapeText(result)}`]),
  ]
}

export function paintOutcome(outcome: Outcome, style: Style): string {
  switch (outcome) {
    case 'succeeded':
      return style.green(outcome)
    case 'incomplete':
      return style.yellow(outcome)
    case 'failed':
    case 'interrupted':
      return style.red(outcome)
  }
}

/**
 * `warning: [data] /srv/app/data/auth.db: message`, and a hint on a line of its own.
 *
 * @param width columns to wrap at, on a terminal
 */
export function formatFinding(
  { severity, component, path, message, hint }: Finding,
  style: Style,
  width = Number.POSITIVE_INFINITY,
): string {
  const paint = severity === 'error' ? style.red : severity === 'warning' ? style.yellow : style.dim
  // A message usually names the file itself; the path is added only where it does not.
  const where = [
    ...(component === undefined ? [] : [`[${escapeText(component)}]`]),
    ...(path === undefined || message.includes(path) ? [] : [`${escapeText(path)}:`]),
  ]
  const text = wrapHanging([paint(`${severity}:`), ...where, indentMore(escapeLines(message))].join(' '), width, '  ')
  if (hint === undefined) return text
  return `${text}\n  ${wrapHanging(`${style.cyan('hint:')} ${indentMore(escapeLines(hint))}`, width - 2, '    ')}`
}

/** A message of several lines cannot pass for several messages. */
function indentMore(text: string): string {
  return text.replaceAll('\n', '\n  ')
}
