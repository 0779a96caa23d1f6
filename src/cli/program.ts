import { Command } from 'commander'
import { type CommandContext, type CommandModule, usageError } from './command.ts'
import { addGlobalOptions } from './global-options.ts'
import { formatHelp } from './help.ts'
import type { Io } from './io.ts'
import { styleFor } from './style.ts'
import { versionText } from './version.ts'

/**
 * The program with its commands, ready to parse. It neither prints errors nor ends the process: what it throws is a
 * `CliError` with code `USAGE`, a `CommanderError` with exit code 0 after help or version, or what an action threw.
 */
export function createProgram(io: Io, context: CommandContext, modules: readonly CommandModule[]): Command {
  const program = new Command('holdfast')
  program
    .description('backups you can prove, in the repository format of restic')
    .version(versionText(), '-V, --version', 'show the version and the runtime')
    .helpOption('-h, --help', 'show this page')
    .helpCommand('help [command]', 'show the page of a command')
    .showSuggestionAfterError()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      // Errors come as exceptions and are printed with all others.
      outputError: () => {},
      getOutHelpWidth: () => io.columns(),
      getErrHelpWidth: () => io.columns(),
      getOutHasColors: () => io.colour('stdout'),
      getErrHasColors: () => io.colour('stderr'),
    })
    .configureHelp({
      formatHelp: (command) => formatHelp(command, io.columns(), styleFor(io.colour('stdout'))),
    })
    .exitOverride((error) => {
      throw usageError(error, program)
    })
  addGlobalOptions(program)
  for (const module of modules) module.register(program, context)
  return program
}
