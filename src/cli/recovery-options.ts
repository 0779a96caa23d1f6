import { type Command, InvalidArgumentError, Option } from 'commander'
import { collect } from './command.ts'
import { collectMap } from './map-option.ts'

/** @param only what the text of each begins with, where a command has them for one of its uses only */
export function addServerOptions(command: Command, only = ''): Command {
  return command
    .option('--app <name>', `${only}which application, where the repository holds several`)
    .option(
      '--map <what>',
      `${only}root=FOLDER, user=USER[:GROUP] or port=[OLD:]NEW is different here (repeatable)`,
      collectMap,
    )
    .option('--rewrite <path>', `${only}with --map: rewrite it in this file, too (repeatable)`, collect, [])
    .option('--create-user', `${only}make the user and group of the application where they are missing`, false)
    .option('--no-start', `${only}put all in place, and start nothing`)
}

/** Of whatever is done in steps that are noted, so that it can be cut off, gone on with and taken back. */
export function addStepsOptions(command: Command, only = ''): Command {
  return command
    .option('--rollback', `${only}when a step fails, put back what was there before`, false)
    .option('--anew', `${only}do not go on with what was cut off, begin anew`, false)
    .addOption(waitOption(only))
}

export function waitOption(only = ''): Option {
  return new Option('--wait <seconds>', `${only}how long the application may take until it is healthy`)
    .argParser(parseSeconds)
    .default(60)
}

function parseSeconds(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Expected a number of seconds')
}
