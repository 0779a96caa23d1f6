import { CommanderError } from 'commander'
import type { Outcome } from '../operations/event.ts'
import type { CommandModule } from './command.ts'
import { commandsFor } from './commands.ts'
import { errorMessage, formatError } from './error-printer.ts'
import { EXIT, exitCodeOfError, exitCodeOfOutcome, unwrapAbort } from './exit-code.ts'
import { normaliseArguments, readEarlyOptions } from './global-options.ts'
import { createContext } from './invocation.ts'
import { type Io, processIo, withoutColour } from './io.ts'
import { forgetLargePages } from './large-pages.ts'
import { createProgram } from './program.ts'
import { createScreen } from './screen.ts'
import { styleFor } from './style.ts'
import { escapeJson } from './terminal-text.ts'
import { setV8OptionsWithThreads } from './v8-options.ts'

/**
 * Runs one command line, without `node` and the script's name, and resolves with its exit code. Never rejects: what fails is
 * printed. Does not end the process and leaves nothing of it changed.
 */
export async function run(argv: readonly string[], realIo: Io, modules?: readonly CommandModule[]): Promise<number> {
  const { json, colour, verbose } = readEarlyOptions(argv)
  const io = colour ? realIo : withoutColour(realIo)
  let outcome: Outcome = 'succeeded'
  const context = createContext(io, (result) => {
    outcome = result
  })
  try {
    const line = argv.length === 0 ? ['--help'] : normaliseArguments(argv)
    const program = createProgram(io, context, modules ?? (await commandsFor(line)))
    await program.parseAsync(line, { from: 'user' })
    return exitCodeOfOutcome(outcome)
  } catch (caught) {
    const error = unwrapAbort(caught)
    // Help and version have been printed.
    if (error instanceof CommanderError) return error.exitCode
    if (io.outputClosed?.aborted) return EXIT['output-closed'].code
    if (json) io.stderr.write(`${escapeJson(JSON.stringify(errorMessage(error)))}\n`)
    else {
      using screen = createScreen(io, { json, quiet: false })
      const width = io.isTerminal('stderr') ? io.columns() : undefined
      screen.complain(formatError(error, { style: styleFor(io.colour('stderr')), verbose, width }))
    }
    return exitCodeOfError(error)
  }
}

/** The program as the operating system runs it. */
export async function main(): Promise<void> {
  forgetLargePages(process.env)
  setV8OptionsWithThreads(process.env)
  // Not `process.exit` here: what has been written to a pipe may not have arrived yet. Once nothing is under way any more it spares
  // the runtime taking itself apart, 8 ms. Not before the end is known: what waits for nothing must not look like success.
  process.exitCode = await run(process.argv.slice(2), processIo())
  process.once('beforeExit', () => process.exit())
}

if (import.meta.main) await main()
