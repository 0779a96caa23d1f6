import { CodedError } from '../engine/error.ts'
import { causeChain, EXIT, exitCodeOfError } from './exit-code.ts'
import type { Style } from './style.ts'
import { escapeLines, wrapHanging } from './terminal-text.ts'
import { bugsAddress, versionText } from './version.ts'

export interface ErrorPrinterOptions {
  readonly style: Style
  /** From 2 on also the stack of errors that were thrown on purpose. */
  readonly verbose: number
  /** Columns to wrap at, on a terminal. */
  readonly width?: number | undefined
}

/** What failed, why, and what to do next. A defect comes with its stack and a word on where to report it. */
export function formatError(error: unknown, { style, verbose, width }: ErrorPrinterOptions): string {
  if (exitCodeOfError(error) === EXIT.interrupted.code) return formatInterruption(interruptionIn(error), style)
  if (!(error instanceof CodedError)) return formatDefect(error, style)
  const lines = [`${style.red('error:')} ${indent(error.message)}`, ...formatCauses(error, style)]
  const hint = hintOf(error)
  if (hint !== undefined) lines.push(`${style.cyan('hint:')} ${indent(hint)}`)
  const wrapped = lines.map((line) => wrapHanging(line, width, line.startsWith(' ') ? '    ' : '  '))
  if (verbose >= 2) wrapped.push(style.dim(escapeLines(error.stack ?? '')))
  return wrapped.join('\n')
}

function formatCauses(error: unknown, style: Style): string[] {
  const lines: string[] = []
  let said = messageOf(error)
  for (const cause of causeChain(error).slice(1)) {
    const message = messageOf(cause)
    // Many messages already end with what their cause says.
    if (said.includes(message)) continue
    said += message
    lines.push(`  ${style.dim('because:')} ${indent(message)}`)
  }
  return lines
}

/** Causes are shown too: what goes wrong while an operation stops (a lock that stays) must not be lost. */
function formatInterruption(error: unknown, style: Style): string {
  return [style.yellow(indent(messageOf(error))), ...formatCauses(error, style)].join('\n')
}

/** The same for programs; the shape is restic's, with the stable code of the error and the hint in addition. */
export function errorMessage(error: unknown): {
  message_type: 'exit_error'
  code: number
  message: string
  error_code: string
  hint: string | undefined
  causes: string[] | undefined
  stack?: string | undefined
} {
  const causes = causeChain(error)
    .slice(1)
    .map((cause) => messageOf(cause))
  const interrupted = exitCodeOfError(error) === EXIT.interrupted.code
  const shared = {
    message_type: 'exit_error',
    code: exitCodeOfError(error),
    message: messageOf(interrupted ? interruptionIn(error) : error),
    causes: causes.length === 0 ? undefined : causes,
  } as const
  if (error instanceof CodedError) return { ...shared, error_code: error.code, hint: hintOf(error) }
  if (interrupted) return { ...shared, error_code: 'INTERRUPTED', hint: undefined }
  return {
    ...shared,
    error_code: 'DEFECT',
    hint: whereToReport(),
    stack: error instanceof Error ? error.stack : undefined,
  }
}

/** On one line, for a log: the message and what caused it. */
export function describeError(error: unknown): string {
  const interrupted = exitCodeOfError(error) === EXIT.interrupted.code
  return (interrupted ? [interruptionIn(error)] : causeChain(error)).map(messageOf).join('; because: ')
}

function formatDefect(error: unknown, style: Style): string {
  const described = error instanceof Error ? (error.stack ?? `${error.name}: ${error.message}`) : String(error)
  const causes = causeChain(error)
    .slice(1)
    .map((cause) => `  because: ${indent(cause instanceof Error ? (cause.stack ?? cause.message) : String(cause))}`)
  return [
    `${style.red('error:')} something went wrong that nobody foresaw`,
    escapeLines(described),
    ...causes,
    `${style.cyan('hint:')} ${whereToReport()}`,
  ].join('\n')
}

function whereToReport(): string {
  const bugs = bugsAddress()
  const to = bugs === undefined ? 'to the maintainers of Holdfast' : `at ${bugs}`
  return `This is a defect in Holdfast: please report it ${to}, with the lines above and "${versionText()}"`
}

/** The nearest hint: an error that wraps another seldom knows better than the one it wraps. */
function hintOf(error: CodedError): string | undefined {
  for (const link of causeChain(error)) if (link instanceof CodedError && link.hint !== undefined) return link.hint
  return undefined
}

/** Who interrupted, where the chain knows; an `AbortError` of Node says only that somebody did. */
function interruptionIn(error: unknown): unknown {
  return causeChain(error).find((link) => link instanceof CodedError && link.code === 'INTERRUPTED') ?? error
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** A message of several lines, or one that quotes a name with a line break, cannot pass for several messages. */
function indent(text: string): string {
  return escapeLines(text).replaceAll('\n', '\n  ')
}
