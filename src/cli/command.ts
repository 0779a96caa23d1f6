import type { Command, CommanderError } from 'commander'
import type { Config } from '../application/config/config.ts'
import type { Finding } from '../application/finding.ts'
import type { RepositoryAccess } from '../operations/access.ts'
import type { Observer, OperationEvent, Outcome } from '../operations/event.ts'
import type { NotifyConfig } from '../operations/notify/notify.ts'
import { CliError } from './error.ts'
import type { ExitName } from './exit-code.ts'
import type { GlobalOptions } from './global-options.ts'
import type { Io } from './io.ts'
import type { Screen } from './screen.ts'
import type { Style } from './style.ts'

/**
 * One command: one file in `commands/`, listed in `commands.ts`. `register` describes the command and must stay light, for
 * help runs it of all; what the command needs to do its work is imported inside its action.
 */
export interface CommandModule {
  readonly name: string
  register(program: Command, context: CommandContext): void
}

export interface CommandContext {
  /** Makes what commander calls from what the command does. */
  action<Options = object>(run: Action<Options>): (...received: unknown[]) => Promise<void>
}

/** Resolves with the outcome, where nothing means `succeeded`; the exit code follows from it, or from what is thrown. */
// biome-ignore lint/suspicious/noConfusingVoidType: an action that returns nothing is the common case
export type Action<Options> = (invocation: Invocation<Options>) => Promise<Outcome | void>

/** One run of one command. All of it ends with the action: observers, live line and signal handlers are cleaned up. */
export interface Invocation<Options> {
  readonly io: Io
  readonly globals: GlobalOptions
  /** The command's own options, as its `.option()` calls define them. */
  readonly options: Options
  /** The arguments in order; how many there may be, commander has checked. */
  readonly operands: readonly string[]
  /** Aborted by SIGINT, SIGTERM and a reader of standard output that went away. */
  readonly signal: AbortSignal
  readonly screen: Screen
  /** Colours of standard output. */
  readonly style: Style
  /** Shows a warning on standard error, with `--json` as a `finding` on standard output. */
  warn(message: string, hint?: string): void
  /**
   * Shows a finding on standard error, also with `--json`: for commands whose standard output is one document, or data.
   *
   * @param facts further fields with `--json`
   */
  complain(finding: Finding, facts?: Readonly<Record<string, string>>): void
  /** Observer for an operation: text, progress line, JSON and log file, as the options want it. */
  observe(options?: ObserveOptions): Observer
}

export interface ObserveOptions {
  /** Of the application that is worked on: the operation goes into its log file and its journal, and to whom it names. */
  readonly config?: (Pick<Config, 'log' | 'repository'> & NotifyConfig) | undefined
  /** The repository that is worked on: news of its snapshots are for the journal when it is that of the config. */
  readonly access?: Pick<RepositoryAccess, 'location'> | undefined
  /** Lines about the result for people, from the summary of the `finished` event; not asked where the operation threw. */
  readonly summarise?: (summary: FinishedSummary) => readonly string[]
}

/** Facts about a result, by the names that `--json` prints them with. */
export type FinishedSummary = Extract<OperationEvent, { type: 'finished' }>['summary']

/** Headings of `holdfast --help`, in their order. */
export const TOPICS = {
  protect: 'Protect an application',
  look: 'See what is there',
  prove: 'Prove that it can be brought back',
  restore: 'Bring it back',
  keep: 'Look after the repository',
  automate: 'Let it run by itself',
  program: 'This program',
} as const

export type Topic = keyof typeof TOPICS

export interface CommandDescription {
  /** Name and arguments: `restore <snapshot> [path...]`. Arguments named `path`, `file` or `dir` are completed as such. */
  readonly usage: string
  readonly topic: Topic
  /** One line for the list of commands: an imperative, no full stop. */
  readonly summary: string
  /** Paragraphs for the command's own page; the summary stands above them. */
  readonly description?: string
  readonly examples?: readonly CommandExample[]
  /** Which exit codes it can have besides 0, 1 and 130. */
  readonly exits?: readonly ExitName[]
  /** Words for the arguments, by name. */
  readonly arguments?: Readonly<Record<string, string>>
}

export interface CommandExample {
  /** Without prompt: `holdfast backup --reason "before the upgrade"`. */
  readonly run: string
  readonly does: string
}

const descriptions = new WeakMap<Command, CommandDescription>()

export function descriptionOf(command: Command): CommandDescription | undefined {
  return descriptions.get(command)
}

/** Adds a command to the program, or a subcommand to a command (`key add`); options and action are chained to the result. */
export function addCommand(parent: Command, description: CommandDescription): Command {
  const command = parent
    .command(description.usage)
    .summary(description.summary)
    .description(description.summary)
    .helpGroup(TOPICS[description.topic])
  for (const argument of command.registeredArguments) {
    argument.description = description.arguments?.[argument.name()] ?? ''
  }
  descriptions.set(command, description)
  return command.exitOverride((error) => {
    throw usageError(error, command)
  })
}

/** What commander says about a wrong command line, as an error of ours; its wish to end after `--help` is handed on. */
export function usageError(error: CommanderError, command: Command): Error {
  if (error.exitCode === 0 || error.code === 'commander.help') return error
  const names: string[] = []
  for (let at: Command | null = command; at !== null; at = at.parent) names.unshift(at.name())
  const [message, ...suggestion] = error.message.replace(/^error: /, '').split('\n')
  return new CliError('USAGE', [message!, ...suggestion].join(' ').replace(/\.$/, ''), {
    hint: `Run ${names.join(' ')} --help`,
  })
}

/** For `.option('--tag <tag>', …, collect, [])`: an option that may be given several times. */
export function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value]
}
