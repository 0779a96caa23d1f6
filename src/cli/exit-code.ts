import { CodedError } from '../engine/error.ts'
import type { Outcome } from '../operations/event.ts'

/** The only table of exit codes: restic's where restic has one, so that scripts for either work with both. */
export const EXIT = {
  succeeded: { code: 0, meaning: 'everything that was asked for was done' },
  failed: { code: 1, meaning: 'the command failed, or the command line is wrong' },
  incomplete: { code: 3, meaning: 'done, but part of what was asked for is missing' },
  'no-repository': { code: 10, meaning: 'there is no repository at the location' },
  locked: { code: 11, meaning: 'the repository is locked' },
  'wrong-password': { code: 12, meaning: 'the password is wrong' },
  interrupted: { code: 130, meaning: 'interrupted by a signal' },
  // What a shell reports of a program that SIGPIPE ended, as it would end any other program in a pipe.
  'output-closed': { code: 141, meaning: 'nobody reads the output any more' },
} as const

export type ExitName = keyof typeof EXIT

const BY_ERROR_CODE: ReadonlyMap<string, ExitName> = new Map([
  ['NO_REPOSITORY', 'no-repository'],
  ['LOCKED', 'locked'],
  ['WRONG_PASSWORD', 'wrong-password'],
  ['INTERRUPTED', 'interrupted'],
  ['OUTPUT_CLOSED', 'output-closed'],
])

export function exitCodeOfOutcome(outcome: Outcome): number {
  return EXIT[outcome].code
}

/** An error that wraps another keeps the other's exit code, unless it has one of its own. */
export function exitCodeOfError(error: unknown): number {
  const chain = causeChain(error)
  for (const link of chain) {
    const name = link instanceof CodedError ? BY_ERROR_CODE.get(link.code) : undefined
    if (name !== undefined) return EXIT[name].code
  }
  // Node's own functions say only that somebody aborted; where no reason of ours is given, it was a signal.
  const aborted = chain.some(isAbortError) && !chain.some((link) => link instanceof CodedError)
  return aborted ? EXIT.interrupted.code : EXIT.failed.code
}

/** What Node's functions throw on an abort wraps its reason, and that is what an operator wants to know. */
export function unwrapAbort(error: unknown): unknown {
  return isAbortError(error) && error.cause instanceof CodedError ? error.cause : error
}

function isAbortError(error: unknown): error is Error {
  return error instanceof Error && error.name === 'AbortError'
}

/** The error, its cause, that one's cause…; ends where a cause repeats. */
export function causeChain(error: unknown): unknown[] {
  const chain: unknown[] = []
  for (let link = error; link !== undefined && link !== null && !chain.includes(link); ) {
    chain.push(link)
    link = link instanceof Error ? link.cause : undefined
  }
  return chain
}
