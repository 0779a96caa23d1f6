import { homedir } from 'node:os'
import { CodedError } from '../../engine/error.ts'
import type { DoctorFinding } from '../../operations/doctor/doctor-check.ts'
import type { CheckResult } from '../../operations/doctor/run-doctor.ts'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { formatFinding } from '../event-printer.ts'
import { counted } from '../format.ts'
import { PROGRAM } from '../next-steps.ts'
import { escapeText } from '../terminal-text.ts'

interface Options {
  readonly fix: boolean
  readonly recovery: boolean
  readonly hostRoot?: string
}

/** Written out, for help loads nothing; a test holds it against the checks. */
const CHECKS_NAMED =
  'config, repository, storage, locks, permissions, folders, journal, components, coverage, databases, keys, schedule, notify, off-site, tools, sqlite'

export const doctorCommand: CommandModule = {
  name: 'doctor',
  register(program, context) {
    addCommand(program, {
      usage: 'doctor [check...]',
      topic: 'look',
      summary: 'look for whatever would keep a backup or a recovery from succeeding',
      description:
        'Config, repository and password, storage (writable, room, clock), locks, permissions, folders, the journal, components that protect nothing, parts of the application that no component holds, the integrity of databases, keys that secrets are sealed with, the schedule, whoever is to be told of trouble, credentials of off-site copies, programs, known bugs of SQLite; or only the checks that are named. Each finding comes with a command or an edit that puts it right. Nothing is changed, but for a small file in the repository that is written and removed again.\n\n' +
        'With --fix what is safe is done: modes of files, missing folders, locks of processes that are gone. What is done is shown first.\n\n' +
        'Exit code 1: an error was found; 3: warnings only.\n\n' +
        'With --json: a check object for each check with its findings and their remedy, then a summary.',
      arguments: { check: CHECKS_NAMED },
      examples: [
        { run: 'holdfast doctor', does: 'Look' },
        { run: 'holdfast doctor keys schedule', does: 'Look at these again, after something was put right' },
        { run: 'holdfast doctor --fix', does: 'And put right what is safe' },
        { run: 'holdfast doctor --recovery', does: 'On a machine that is to bring the application back' },
      ],
      exits: ['incomplete'],
    })
      .option('--fix', 'put right what is safe', false)
      .option('--recovery', 'this machine is to recover: the private key is wanted here', false)
      .option('--host-root <dir>', "where the host's own files begin (default: /)")
      .action(context.action<Options>(doctor))
  },
}

async function doctor(invocation: Invocation<Options>): Promise<Outcome> {
  const { globals, io, operands, options, screen, signal, style } = invocation
  const [{ applyFix, CHECKS, runDoctor }, { CHECK_NAMES, command, word }, { repositoryAccess, requireConfig }] =
    await Promise.all([
      import('../../operations/doctor/run-doctor.ts'),
      import('../../operations/doctor/doctor-check.ts'),
      import('../repository-access.ts'),
    ])
  const unknown = operands.find((name) => !CHECK_NAMES.some((known) => known === name))
  if (unknown !== undefined) {
    throw new CliError('USAGE', `Cannot run the check "${unknown}": there is none of that name`, {
      hint: `The checks are ${CHECK_NAMES.join(', ')}`,
    })
  }
  const width = io.isTerminal('stdout') ? io.columns() : undefined
  const show = ({ name, title, findings }: CheckResult) => {
    if (globals.json) {
      screen.json({ message_type: 'check', check: name, title, findings })
      return
    }
    const worst = findings.some(({ severity }) => severity === 'error')
      ? 'error'
      : findings.length > 0
        ? 'warning'
        : 'good'
    const mark = { error: style.red('✗'), warning: style.yellow('!'), good: style.green('✓') }[worst]
    screen.say(`${mark} ${title}`)
    for (const finding of findings) for (const line of findingLines(finding, invocation, width)) screen.print(line)
  }
  const config = await requireConfig(invocation).catch((error: unknown) => {
    if (!(error instanceof CodedError) || error.code !== 'CONFIG') throw error
    const isClosed = (error.cause as NodeJS.ErrnoException | undefined)?.code === 'EACCES'
    const finding: DoctorFinding = {
      severity: 'error',
      code: isClosed ? 'permission-denied' : 'config-invalid',
      message: error.message,
      check: 'config',
      remedy: isClosed
        ? command(`sudo ${word(PROGRAM)} doctor --config ${word(String(error.facts.file))}`)
        : remedyOf(error, word),
    }
    show({ name: 'config', title: 'The config file is right', findings: [finding] })
    return undefined
  })
  if (config === undefined) return 'failed'
  show({ name: 'config', title: 'The config file is right', findings: [] })
  const access = await repositoryAccess(invocation, config)
  const doctorContext = {
    config,
    access,
    env: io.env,
    home: io.env.HOME ?? homedir(),
    hostRoot: options.hostRoot ?? '/',
    now: io.now,
    program: word(PROGRAM),
    recovery: options.recovery,
    signal,
  }
  const checks = CHECKS.filter(({ name }) => operands.length === 0 || operands.includes(name))
  let results = await runDoctor(doctorContext, show, checks)
  if (options.fix) {
    const fixable = results.flatMap(({ findings }) => findings.filter(({ fix }) => fix !== undefined))
    const done = new Set<string>()
    for (const { fix, remedy } of fixable) {
      if (done.has(remedy.text)) continue
      done.add(remedy.text)
      if (globals.json) screen.json({ message_type: 'fix', command: remedy.text })
      else screen.print(`${style.cyan('fix:')} ${escapeText(remedy.text)}`)
      await applyFix(fix!, doctorContext)
    }
    if (done.size > 0) {
      if (!globals.json) screen.say('')
      results = await runDoctor(doctorContext, show, checks)
    }
  }
  return summarise(invocation, results)
}

/** What is wrong with the config is said with line and column; a mode is put right by the command that the hint begins with. */
function remedyOf({ facts, hint, message }: CodedError, word: (text: string) => string): DoctorFinding['remedy'] {
  const chmod = facts.mode === undefined ? undefined : /^Run (chmod \S+) /.exec(hint ?? '')?.[1]
  return chmod === undefined
    ? { kind: 'edit', text: hint ?? `what is named above: ${message.split('\n')[0]}` }
    : { kind: 'command', text: `${chmod} ${word(String(facts.file))}` }
}

function summarise({ globals, screen }: Invocation<Options>, results: readonly CheckResult[]): Outcome {
  const findings = results.flatMap((result) => result.findings)
  const count = (severity: DoctorFinding['severity']) =>
    findings.filter((finding) => finding.severity === severity).length
  const [errors, warnings, notes] = [count('error'), count('warning'), count('note')]
  if (globals.json)
    screen.json({ message_type: 'summary', operation: 'doctor', checks: results.length, errors, warnings, notes })
  else {
    screen.say('')
    screen.say(
      errors + warnings === 0
        ? 'Nothing is wrong that could be seen from here'
        : `${counted(errors, 'error')}, ${counted(warnings, 'warning')}`,
    )
  }
  return errors > 0 ? 'failed' : warnings > 0 ? 'incomplete' : 'succeeded'
}

/** The remedy stands on a line of its own and is never wrapped: it is to be copied. */
function findingLines(
  { remedy, ...finding }: DoctorFinding,
  { style }: Invocation<Options>,
  width: number | undefined,
): string[] {
  const label = remedy.kind === 'command' ? 'run:' : 'edit:'
  return [
    ...formatFinding(finding, style, width === undefined ? undefined : width - 2)
      .split('\n')
      .map((line) => `  ${line}`),
    `    ${style.cyan(label)} ${escapeText(remedy.text)}`,
  ]
}
