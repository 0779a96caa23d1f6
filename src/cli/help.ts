import { type Argument, type Command, Help, type Option } from 'commander'
import { type CommandExample, descriptionOf, TOPICS } from './command.ts'
import { EXIT, type ExitName } from './exit-code.ts'
import type { Style } from './style.ts'
import { displayWidth, pad, wrap } from './terminal-text.ts'

/** Beyond this, lines are hard to read. */
const WIDEST = 100
/** With less room than this beside its term, a description goes below it. */
const NARROWEST_DESCRIPTION = 28
const INDENT = '  '

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['HOLDFAST_CONFIG', 'as --config'],
  ['HOLDFAST_REPOSITORY, HOLDFAST_REPOSITORY_FILE', 'as --repo and --repository-file'],
  ['HOLDFAST_PASSWORD', 'the password of the repository, verbatim; a file is safer'],
  ['HOLDFAST_PASSWORD_FILE, HOLDFAST_PASSWORD_COMMAND', 'as --password-file and --password-command'],
  ['RESTIC_REPOSITORY, RESTIC_PASSWORD, …', 'the same, asked after those of Holdfast'],
  ['NO_COLOR, FORCE_COLOR', 'never, or always, use colours'],
]

const ROOT_EXAMPLES = [
  { run: 'holdfast protect /opt/my-app', does: 'Find what the application is made of and back it up' },
  { run: 'holdfast -r /srv/backup snapshots', does: "Look into a repository, restic's too, without a config file" },
  { run: 'holdfast restore latest --target /tmp/out', does: 'Bring the newest snapshot back into a folder' },
]

interface Item {
  readonly term: string
  readonly text: string
}

interface Section {
  readonly title?: string
  readonly lines: readonly string[]
}

/** The page that `--help` shows: synopsis, description, arguments, options, examples, exit codes. */
export function formatHelp(command: Command, columns: number, style: Style): string {
  const width = Math.max(20, Math.min(columns, WIDEST))
  const sections = command.parent === null ? programSections(command, width) : commandSections(command, width)
  return sections
    .filter(({ lines }) => lines.length > 0)
    .map(({ title, lines }) => [...(title === undefined ? [] : [style.bold(title)]), ...lines].join('\n'))
    .join('\n\n')
    .concat('\n')
}

function programSections(program: Command, width: number): Section[] {
  return [
    { lines: prose(`holdfast: ${program.description()}`, width) },
    { title: 'Usage', lines: prose('holdfast [options] <command> [arguments]', width, INDENT) },
    ...commandLists(program, width),
    { title: 'Options, before or after the command', lines: list(visibleOptions(program), width) },
    {
      title: 'Environment',
      lines: list(
        ENVIRONMENT.map(([term, text]) => ({ term, text })),
        width,
      ),
    },
    { title: 'Examples', lines: exampleLines(ROOT_EXAMPLES, width) },
    { title: 'Exit codes', lines: list(exitItems(Object.keys(EXIT) as ExitName[]), width) },
    { lines: prose('Run "holdfast <command> --help" for the page of a command.', width) },
  ]
}

function commandSections(command: Command, width: number): Section[] {
  const description = descriptionOf(command)
  const program = programOf(command)
  return [
    { lines: prose(`${fullName(command)}: ${description?.summary ?? command.description()}`, width) },
    { title: 'Usage', lines: prose(usage(command), width, INDENT) },
    { title: 'Description', lines: prose(description?.description ?? '', width, INDENT) },
    ...commandLists(command, width),
    { title: 'Arguments', lines: list(command.registeredArguments.map(argumentItem), width) },
    ...optionLists(command, width),
    {
      title: 'Options of every command',
      lines: list(
        visibleOptions(program).filter(({ term }) => !/--(version|help)$/.test(term)),
        width,
      ),
    },
    { title: 'Examples', lines: exampleLines(description?.examples ?? [], width) },
    {
      title: 'Exit codes',
      lines: list(exitItems(['succeeded', 'failed', ...(description?.exits ?? []), 'interrupted']), width),
    },
  ]
}

function programOf(command: Command): Command {
  return command.parent === null ? command : programOf(command.parent)
}

function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`
}

function usage(command: Command): string {
  const operands = command.registeredArguments.map(operandTerm)
  return [fullName(command), '[options]', ...(command.commands.length > 0 ? ['<command>'] : []), ...operands].join(' ')
}

function operandTerm(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? '…' : ''}`
  return argument.required ? `<${name}>` : `[${name}]`
}

/** One list per topic for the program, one for the subcommands of a command. */
function commandLists(command: Command, width: number): Section[] {
  const commands = command.commands.filter((sub) => descriptionOf(sub) !== undefined)
  const items = (subs: readonly Command[]) =>
    list(
      subs.map((sub) => ({
        term: [sub.name(), ...sub.registeredArguments.map(operandTerm)].join(' '),
        text: sub.summary(),
      })),
      width,
    )
  if (command.parent !== null) return [{ title: 'Commands', lines: items(commands) }]
  return Object.values(TOPICS).map((title) => ({
    title,
    lines: items(commands.filter((sub) => sub.helpGroup() === title)),
  }))
}

function visibleOptions(command: Command): Item[] {
  return new Help().visibleOptions(command).map(optionItem)
}

/** One list for each heading that a command gives its options; those without one stand first. */
function optionLists(command: Command, width: number): Section[] {
  const groups = Map.groupBy(new Help().visibleOptions(command), ({ helpGroupHeading }) => helpGroupHeading)
  const ungrouped = groups.get(undefined) ?? []
  groups.delete(undefined)
  return [
    { title: 'Options', lines: list(ungrouped.map(optionItem), width) },
    ...[...groups].map(([title, options]) => ({ title: title!, lines: list(options.map(optionItem), width) })),
  ]
}

function optionItem(option: Option): Item {
  const value = option.required || option.optional
  const facts = [
    ...(option.argChoices === undefined ? [] : [option.argChoices.join(', ')]),
    ...(value && option.defaultValue !== undefined && !isEmptyList(option.defaultValue)
      ? [`default: ${option.defaultValueDescription ?? String(option.defaultValue)}`]
      : []),
  ]
  const text = facts.length === 0 ? option.description : `${option.description} (${facts.join('; ')})`
  // Long names stand below each other, also of options without a short one.
  return { term: option.short === undefined ? `    ${option.flags}` : option.flags, text }
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0
}

function argumentItem(argument: Argument): Item {
  const choices = argument.argChoices === undefined ? '' : ` (${argument.argChoices.join(', ')})`
  return { term: operandTerm(argument), text: `${argument.description}${choices}` }
}

function exitItems(names: readonly ExitName[]): Item[] {
  return [...new Set(names)]
    .map((name) => EXIT[name])
    .sort((a, b) => a.code - b.code)
    .map(({ code, meaning }) => ({ term: String(code), text: meaning }))
}

function exampleLines(examples: readonly CommandExample[], width: number): string[] {
  // A command line is never wrapped: it could not be copied.
  return examples.flatMap(({ run, does }) => [...prose(`${does}:`, width, INDENT), `${INDENT}${INDENT}${run}`])
}

function prose(text: string, width: number, indent = ''): string[] {
  if (text === '') return []
  return wrap(text.trim(), width - indent.length).map((line) => (line === '' ? '' : indent + line))
}

function list(items: readonly Item[], width: number): string[] {
  const termWidth = items.reduce((widest, { term }) => Math.max(widest, displayWidth(term)), 0)
  const beside = width - INDENT.length - termWidth - INDENT.length
  return items.flatMap(({ term, text }) => {
    if (text === '') return [INDENT + term]
    if (beside < NARROWEST_DESCRIPTION) {
      const below = INDENT.repeat(4)
      return [INDENT + term.trim(), ...wrap(text, width - below.length).map((line) => below + line)]
    }
    return wrap(text, beside).map((line, i) => `${INDENT}${pad(i === 0 ? term : '', termWidth)}${INDENT}${line}`)
  })
}
