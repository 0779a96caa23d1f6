import type { Account } from '../../engine/os/accounts.ts'
import { ApplicationError } from '../error.ts'
import { filterThrough, noInput, type ProgramEnd } from '../program.ts'
import { asAccount, environmentOf } from './run-as.ts'

export interface ShellOptions {
  /** What the command is called in messages: `install`, `build`, … */
  readonly what: string
  readonly cwd: string
  /** Undefined: as whoever we are. */
  readonly account?: Account | undefined
  /** Default: an hour. */
  readonly limitMs?: number
  readonly signal?: AbortSignal | undefined
}

/** Building an application may take long; one that takes longer than this waits for an answer that nobody gives. */
const LIMIT_MS = 3_600_000
/** Of what a command prints, the end: there it says why it failed. */
const OUTPUT_KEPT = 16 * 1024

/**
 * Runs a shell command of the config to its end, as an account, in a session without terminal, with nothing of our environment
 * but the search path and the language. Resolves with the end of what it printed; it is for people, and may hold
 * anything. Rejects with `COMMAND` when it fails or takes too long, and with the signal's reason; whatever it started in
 * its session is ended then.
 */
export async function runShell(command: string, options: ShellOptions): Promise<string> {
  const { what, cwd, account, signal } = options
  const limit = AbortSignal.timeout(options.limitMs ?? LIMIT_MS)
  const [program, ...args] = asAccount(account, 'sh', ['-c', command])
  const printed = tail()
  let end: ProgramEnd | undefined
  try {
    const output = filterThrough(
      program,
      args,
      noInput(),
      {
        cwd,
        env: environmentOf(account),
        withoutTerminal: true,
        signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
      },
      (ended) => {
        end = ended
      },
    )
    for await (const chunk of output) printed.add(chunk)
  } catch (cause) {
    if (!limit.aborted || signal?.aborted) throw cause
    throw commandError(what, command, 'it did not end in time and was stopped', printed.text(), cause)
  }
  if (end?.exitCode === 0) return printed.text()
  const how = end?.exitCode == null ? 'it was stopped by a signal' : `it ended with exit code ${end.exitCode}`
  throw commandError(what, command, how, [printed.text(), end?.stderr ?? ''].join('\n').trim())
}

function commandError(what: string, command: string, how: string, said: string, cause?: unknown): ApplicationError {
  const last = said.trim().split('\n').slice(-10).join('\n')
  return new ApplicationError('COMMAND', `The ${what} command failed: ${how}`, {
    facts: { command, said: last },
    hint: `The command is \`${command}\`${last === '' ? '; it said nothing' : `; the last that it said:\n${last}`}`,
    cause,
  })
}

function tail() {
  let kept = ''
  return {
    add(chunk: Buffer): void {
      kept = (kept + chunk.toString('utf8')).slice(-OUTPUT_KEPT)
    },
    text: () => kept,
  }
}
