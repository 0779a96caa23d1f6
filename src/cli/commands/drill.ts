import { resolve } from 'node:path'
import type { DrillPlan } from '../../operations/drill/run-drill.ts'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, collect, type FinishedSummary, type Invocation } from '../command.ts'
import { formatBytes, formatDate, formatDuration, formatRelative, shortId } from '../format.ts'
import { SNAPSHOT_ARGUMENT } from '../snapshot-options.ts'
import { escapeText } from '../terminal-text.ts'

interface Options {
  readonly identity: readonly string[]
  readonly start: boolean
  readonly dryRun: boolean
}

export const drillCommand: CommandModule = {
  name: 'drill',
  register(program, context) {
    addCommand(program, {
      usage: 'drill [snapshot]',
      topic: 'prove',
      summary: 'rehearse a recovery, and write a report about it',
      description:
        'Restores a snapshot into a private folder, reads everything again, opens its databases and seals, and then starts the application from what was restored: at its own paths and on its own port, but in a place of its own (Linux namespaces, as root), where it sees the restored files and nothing that it writes or sends reaches the live system. There it is asked for its health, its log and its metrics, and your own checks (`drill.checks` of the config) are run. Every phase is timed and held against the promised time (`objectives.rto`).\n\n' +
        'Without a snapshot one is taken by chance, of the age that the config says (`drill.pick`; 14 to 21 days). Where no place of its own can be made, all but the start is done, and the report says so.\n\n' +
        'The report (Markdown, HTML, JSON; signed where the config names a key) lies in state-dir/drills.\n\n' +
        'With --json: finding objects, then a summary with snapshot_id, proof_level, checks_passed, checks_failed, checks_skipped, phases, predicted_recovery_ms, not_predicted, objective_ms, next_test_due, reports.',
      arguments: { snapshot: SNAPSHOT_ARGUMENT },
      examples: [
        { run: 'holdfast drill', does: 'A snapshot by chance, of the configured age' },
        { run: 'holdfast drill --dry-run', does: 'What would be done' },
        { run: 'holdfast drill latest --no-start', does: 'Restore and verify the newest, start nothing' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
      .option('--identity <file>', 'a file with an age identity that opens the secrets (repeatable)', collect, [])
      .option('--no-start', 'restore and verify only; do not start the application')
      .option('-n, --dry-run', 'only say what would be done', false)
      .action(context.action<Options>(drill))
  },
}

async function drill(invocation: Invocation<Options>): Promise<Outcome> {
  const { io, operands, options, signal } = invocation
  const [{ runDrill }, { repositoryAccess, requireConfig }] = await Promise.all([
    import('../../operations/drill/run-drill.ts'),
    import('../repository-access.ts'),
  ])
  const config = await requireConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const confirm = async (plan: DrillPlan) => {
    showPlan(invocation, plan)
    return false
  }
  const result = await runDrill(access, {
    config,
    snapshot: operands[0],
    start: options.start,
    identities: [...options.identity.map((file) => resolve(io.cwd, file)), ...config.unsealIdentities],
    ...(options.dryRun ? { confirm } : {}),
    observe: options.dryRun ? () => {} : invocation.observe({ config, access, summarise }),
    signal,
  })
  return result.outcome === 'declined' ? 'succeeded' : result.outcome
}

function showPlan({ screen, style, globals, io }: Invocation<Options>, plan: DrillPlan): void {
  const { snapshot, time, note, bytes, steps, noStart } = plan
  if (globals.json) {
    screen.json({
      message_type: 'plan',
      snapshot_id: snapshot,
      snapshot_time: time.toISOString(),
      bytes,
      steps,
      ...(note === undefined ? {} : { note }),
      ...(noStart === undefined ? {} : { not_started: noStart }),
    })
    return
  }
  const lines = [
    style.bold(`Snapshot ${shortId(snapshot)}`),
    `${formatDate(time)} (${formatRelative(time, io.now())}), ${formatBytes(bytes)}`,
    ...(note === undefined ? [] : [style.yellow(escapeText(note))]),
    '',
    ...steps.map((step, i) => `${String(i + 1).padStart(2)}. ${escapeText(step)}`),
    ...(noStart === undefined ? [] : ['', style.yellow(`The application is not started: ${escapeText(noStart)}`)]),
    '',
    'Nothing was done: this was a dry run',
  ]
  screen.print(`${lines.join('\n')}\n`)
}

function summarise(summary: FinishedSummary): string[] {
  const {
    snapshot_id,
    snapshot_time,
    proof_level,
    phases = [],
    predicted_recovery_ms,
    not_predicted = [],
    objective_ms,
    next_test_due,
    reports = [],
  } = summary as {
    snapshot_id: string
    snapshot_time: string
    proof_level: string
    phases?: readonly { phase: string; milliseconds: number }[]
    predicted_recovery_ms?: number
    not_predicted?: readonly string[]
    objective_ms?: number
    next_test_due?: string
    reports?: readonly string[]
  }
  const seconds = (milliseconds: number) => formatDuration(milliseconds)
  const promised = objective_ms === undefined ? '' : `, promised ${seconds(objective_ms)}`
  const more = not_predicted.length === 0 ? '' : ` and what was not measured (${not_predicted.join(', ')})`
  return [
    `Snapshot   ${shortId(snapshot_id)} of ${formatDate(new Date(snapshot_time))}`,
    `Proven     ${proof_level}`,
    `Phases     ${phases.map(({ phase, milliseconds }) => `${phase} ${seconds(milliseconds)}`).join(', ')}`,
    ...(predicted_recovery_ms === undefined
      ? []
      : [`Recovery   would take ${seconds(predicted_recovery_ms)}${more}${promised}`]),
    `Next due   ${next_test_due ?? 'no drills are configured'}`,
    ...reports.filter((path) => path.endsWith('.html')).map((path) => `Report     ${path}`),
  ]
}
