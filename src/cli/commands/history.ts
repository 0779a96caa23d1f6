import { InvalidArgumentError } from 'commander'
import type { Config } from '../../application/config/config.ts'
import type { Journal } from '../../application/journal/journal.ts'
import type { RunRecord, RunState } from '../../application/journal/journal-record.ts'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { formatFinding } from '../event-printer.ts'
import { counted, formatDate, formatDuration } from '../format.ts'
import { parseAt, parseTime } from '../moment.ts'
import { runJson } from '../run-json.ts'
import { collectList } from '../snapshot-options.ts'
import { formatTable } from '../table.ts'
import { escapeText } from '../terminal-text.ts'

interface Options {
  readonly operation: readonly string[]
  readonly outcome: readonly string[]
  readonly since?: bigint
  readonly until?: bigint
  readonly last: number
  readonly rebuild: boolean
}

const STATES: readonly string[] = ['succeeded', 'incomplete', 'failed', 'interrupted', 'running']

export const historyCommand: CommandModule = {
  name: 'history',
  register(program, context) {
    addCommand(program, {
      usage: 'history [run]',
      topic: 'look',
      summary: 'list what was done with the application, or show one run with its steps and findings',
      description:
        'From the journal in `state-dir`, newest first. Each snapshot holds a copy of the journal: after the loss of the machine --rebuild takes over what the repository knows.\n\n' +
        'A run that was cut off (killed, or the power failed) is interrupted, and its steps show how far it came.\n\n' +
        'With --json: one run object for each; of one run also facts, summary, steps and findings.',
      arguments: { run: 'the ID of a run, as the list shows it, or latest' },
      examples: [
        { run: 'holdfast history', does: 'The last 20 runs' },
        { run: 'holdfast history latest', does: 'The last one, step by step' },
        { run: 'holdfast history --operation backup --outcome failed,incomplete --since 2026-11-01', does: 'A choice' },
        { run: 'holdfast history --rebuild', does: 'After the journal was lost' },
      ],
    })
      .option('--operation <names>', 'only these: backup, verify, restore … (repeatable)', collectList, [])
      .option('--outcome <outcomes>', `only these: ${STATES.join(', ')} (repeatable)`, collectList, [])
      .option('--since <date>', 'only runs that began then or later, as in 2026-11-01', parseTime)
      .option('--until <date>', 'only runs that began then or earlier', parseAt)
      .option('-n, --last <count>', 'at most so many; 0 shows all', parseCount, 20)
      .option('--rebuild', 'first take over what the repository and the copies in its snapshots know', false)
      .action(context.action<Options>(history))
  },
}

function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a number, as in 50.')
  return Number(text)
}

async function history(invocation: Invocation<Options>): Promise<Outcome> {
  const { operands, options } = invocation
  const wrong = options.outcome.find((outcome) => !STATES.includes(outcome))
  if (wrong !== undefined) {
    throw new CliError('USAGE', `Cannot look for the outcome ${escapeText(wrong)}: there is no such one`, {
      hint: `Choose among ${STATES.join(', ')}`,
    })
  }
  const [{ readJournal }, { journalOf }, { requireConfig }] = await Promise.all([
    import('../../application/journal/journal.ts'),
    import('../../operations/journal/journal-of.ts'),
    import('../repository-access.ts'),
  ])
  const config = await requireConfig(invocation)
  const outcome = options.rebuild ? await rebuild(invocation, config) : 'succeeded'
  using journal = readJournal(journalOf(config))
  const [name] = operands
  if (name !== undefined) showRun(invocation, journal, name)
  else list(invocation, config, journal)
  return outcome
}

async function rebuild(invocation: Invocation<Options>, config: Config): Promise<Outcome> {
  const { globals, screen, signal } = invocation
  const [{ gatherStatus }, { repositoryAccess }] = await Promise.all([
    import('../../operations/status/gather-status.ts'),
    import('../repository-access.ts'),
  ])
  const { sync, findings } = await gatherStatus(config, await repositoryAccess(invocation, config), {
    rebuild: true,
    signal,
  })
  for (const finding of findings) invocation.complain(finding)
  if (sync === undefined) return 'failed'
  if (globals.json) screen.json({ message_type: 'rebuilt', ...sync })
  else {
    const { snapshots, added, runs } = sync
    screen.say(
      `The journal knows ${counted(snapshots, 'snapshot')}, ${added} of them anew, and ${counted(runs, 'run')} more`,
    )
  }
  return findings.some(({ severity }) => severity === 'error') ? 'incomplete' : 'succeeded'
}

function list(
  { globals, io, options, screen, style }: Invocation<Options>,
  config: Config,
  journal: Journal | undefined,
): void {
  const date = (ns: bigint | undefined) => (ns === undefined ? undefined : new Date(Number(ns / 1_000_000n)))
  const until = date(options.until)
  const runs =
    journal?.runs({
      operation: options.operation,
      ...(options.outcome.length > 0 ? { state: options.outcome as RunState[] } : {}),
      since: date(options.since),
      before: until && new Date(until.getTime() + 1),
      ...(options.last > 0 ? { limit: options.last } : {}),
    }) ?? []
  if (globals.json) {
    for (const run of runs) screen.json({ message_type: 'run', ...runJson(run) })
    return
  }
  if (runs.length === 0) {
    screen.say(
      journal === undefined
        ? `There is no journal of ${escapeText(config.app)} yet; \`holdfast history --rebuild\` asks the repository`
        : 'No such run',
    )
    return
  }
  const width = io.isTerminal('stdout') ? io.columns() : undefined
  screen.print(formatTable(COLUMNS, runs.map(rowOf), { width, style }))
}

const COLUMNS = [
  { title: 'Run' },
  { title: 'Began' },
  { title: 'Operation' },
  { title: 'Outcome' },
  { title: 'Took', align: 'right' },
  { title: 'Subject', cut: 'middle' },
  { title: 'Findings', cut: 'end' },
] as const

function rowOf(run: RunRecord): string[] {
  const { id, started, operation, state, milliseconds, subject } = run
  const took = milliseconds === undefined ? '' : formatDuration(milliseconds)
  return [id, formatDate(started).slice(0, 16), operation, state, took, subject, countsOf(run)]
}

function countsOf({ errors, warnings }: RunRecord): string {
  return [
    ...(errors > 0 ? [counted(errors, 'error')] : []),
    ...(warnings > 0 ? [counted(warnings, 'warning')] : []),
  ].join(', ')
}

function showRun(
  { globals, io, options, screen, style }: Invocation<Options>,
  journal: Journal | undefined,
  name: string,
): void {
  const run = name === 'latest' ? journal?.runs({ operation: options.operation, limit: 1 })[0] : journal?.run(name)
  if (journal === undefined || run === undefined) {
    throw new CliError('USAGE', `Cannot show run ${escapeText(name)}: the journal has no such one`, {
      hint: 'See `holdfast history`',
    })
  }
  const steps = journal.steps(run.id)
  const findings = journal.findings(run.id)
  if (globals.json) {
    const { facts, summary } = run
    screen.json({ message_type: 'run', ...runJson(run), facts, summary, steps, findings })
    return
  }
  const width = io.isTerminal('stdout') ? io.columns() : undefined
  const took = run.milliseconds === undefined ? '' : ` after ${formatDuration(run.milliseconds)}`
  screen.print(style.bold(escapeText(`${run.operation} ${run.subject}`)))
  screen.print(`Run ${run.id} on ${escapeText(run.host)}, began ${formatDate(run.started)}, ${run.state}${took}`)
  if (typeof run.summary.error === 'string') screen.print(`Ended with: ${escapeText(run.summary.error)}`)
  if (steps.length > 0) {
    const rows = steps.map(({ name, component, outcome, milliseconds, facts }) => [
      typeof facts.title === 'string' ? facts.title : name,
      component ?? '',
      outcome ?? (run.state === 'running' ? 'running' : 'cut off'),
      milliseconds === undefined ? '' : formatDuration(milliseconds),
      typeof facts.result === 'string' ? facts.result : '',
    ])
    const isUsed = (column: number) => column === 0 || rows.some((row) => row[column] !== '')
    const columns = STEP_COLUMNS.filter((_, at) => isUsed(at))
    screen.print('')
    screen.print(
      formatTable(
        columns,
        rows.map((row) => row.filter((_, at) => isUsed(at))),
        { width, style },
      ),
    )
  }
  if (findings.length > 0) screen.print('')
  for (const finding of findings) screen.print(formatFinding(finding, style, width))
  const left = run.errors + run.warnings - findings.filter(({ severity }) => severity !== 'note').length
  if (left > 0) screen.print(`${counted(left, 'more finding')} of this run were not kept`)
}

const STEP_COLUMNS = [
  { title: 'Step', cut: 'end' },
  { title: 'Component' },
  { title: 'Outcome' },
  { title: 'Took', align: 'right' },
  { title: 'Result', cut: 'end' },
] as const
