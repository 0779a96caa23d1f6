import { EngineError } from '../engine/error.ts'
import type { Invocation } from './command.ts'
import { CliError } from './error.ts'

type Asker = Pick<Invocation<unknown>, 'io' | 'globals' | 'screen' | 'signal'>

/** Whether somebody is there to answer: questions go to standard error, so that the result can be piped on. */
export function canAsk({ io, globals }: Pick<Asker, 'io' | 'globals'>): boolean {
  return !globals.json && io.isTerminal('stdin') && io.isTerminal('stderr')
}

/** Throws `USAGE` where a question would have to be asked and cannot be. */
export function requireAnswers(asker: Asker, what: string, hint: string): void {
  if (canAsk(asker)) return
  const why = asker.globals.json ? 'with --json nothing is asked' : 'there is no terminal to ask on'
  throw new CliError('USAGE', `Cannot ask ${what}: ${why}`, { hint })
}

/**
 * Yes or no. Throws `INTERRUPTED` on Ctrl-C.
 *
 * @param initial what Enter means: no where something is lost by a yes too many
 */
export async function confirm(asker: Asker, message: string, initial: boolean): Promise<boolean> {
  const { confirm: ask } = await import('@clack/prompts')
  return answer(asker, (streams) => ask({ ...streams, message, initialValue: initial }))
}

export interface Question {
  readonly message: string
  /** What Enter means. */
  readonly initial?: string
  readonly placeholder?: string
  /** What is wrong with the answer. */
  readonly validate?: (value: string) => string | undefined
}

/** Throws `INTERRUPTED` on Ctrl-C. */
export async function askText(asker: Asker, { message, initial, placeholder, validate }: Question): Promise<string> {
  const { text } = await import('@clack/prompts')
  const value = await answer(asker, (streams) =>
    text({
      ...streams,
      message,
      ...(initial === undefined ? {} : { initialValue: initial }),
      ...(placeholder === undefined ? {} : { placeholder }),
      validate: (entered) => validate?.((entered ?? '').trim()),
    }),
  )
  return value.trim()
}

interface Streams {
  readonly input: Invocation<unknown>['io']['stdin']
  readonly output: Invocation<unknown>['io']['stderr']
  readonly signal: AbortSignal
}

async function answer<Value>(
  { io, screen, signal }: Asker,
  ask: (streams: Streams) => Promise<Value>,
): Promise<Exclude<Value, symbol>> {
  const { isCancel } = await import('@clack/prompts')
  signal.throwIfAborted()
  const value = await screen.withoutLive(() => ask({ input: io.stdin, output: io.stderr, signal }))
  signal.throwIfAborted()
  if (isCancel(value)) throw new EngineError('INTERRUPTED', 'Interrupted by Ctrl-C')
  return value as Exclude<Value, symbol>
}
