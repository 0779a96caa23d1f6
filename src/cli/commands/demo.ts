import type { Observer, Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { formatFinding } from '../event-printer.ts'
import { formatDuration } from '../format.ts'
import { styleFor } from '../style.ts'
import { escapeText } from '../terminal-text.ts'

export const demoCommand: CommandModule = {
  name: 'demo',
  register(program, context) {
    addCommand(program, {
      usage: 'demo',
      topic: 'prove',
      summary: 'show the whole job on the bundled example, in a temporary folder',
      description:
        'Starts the example application, backs it up while it writes to its database, kills it and removes it with its service files, restores it from the repository alone, starts it again, asks for its health, and counts the rows. For real, and without touching anything outside of a temporary folder. Exit code 1 if a row is missing or the application is not healthy.\n\n' +
        'With --json: a demo_step object when a step ends, then a summary with steps, committed_before, rows_after, missing, health.',
      examples: [
        { run: 'holdfast demo', does: 'Watch it' },
        { run: 'holdfast demo --keep', does: 'And look around in its folder afterwards' },
      ],
    })
      .option('--keep', 'leave the folder of the demo for a look around', false)
      .action(context.action<{ keep: boolean }>(demo))
  },
}

async function demo(invocation: Invocation<{ keep: boolean }>): Promise<Outcome> {
  const { globals, io, options, screen, signal, style } = invocation
  const { runDemo } = await import('../../operations/demo/run-demo.ts')
  const begun = performance.now()
  const complaint = styleFor(io.colour('stderr'))
  // Its operations are steps of one story here: only what goes wrong in them is told.
  const observe: Observer = (event) => {
    if (event.type !== 'finding' || event.finding.severity === 'note') return
    // The database of the demo grows as fast as it can.
    if (event.finding.code === 'size-unusual') return
    if (globals.json) screen.json({ message_type: 'finding', ...event.finding })
    else screen.complain(formatFinding(event.finding, complaint))
  }
  const report = await runDemo({
    keep: options.keep,
    onBegin: (step) => screen.live(`… ${escapeText(step)}`),
    onStep: ({ step, result, milliseconds }) => {
      screen.live(undefined)
      if (globals.json) screen.json({ message_type: 'demo_step', step, result, milliseconds })
      else screen.say(`${style.green('✓')} ${style.bold(escapeText(step))}\n  ${escapeText(result)}`)
    },
    observe,
    signal,
  })
  const { outcome, steps, committedBefore, rowsAfter, missing, health, folder } = report
  if (globals.json) {
    screen.json({
      message_type: 'summary',
      operation: 'demo',
      outcome,
      steps,
      committed_before: committedBefore,
      rows_after: rowsAfter,
      missing,
      health,
      folder,
      total_duration: (performance.now() - begun) / 1000,
    })
    return outcome
  }
  const { formatTable } = await import('../table.ts')
  const table = formatTable(
    [
      { title: 'Step', cut: 'end' },
      { title: 'Took', align: 'right' },
    ],
    steps.map(({ step, milliseconds }) => [step, formatDuration(milliseconds)]),
    { style, width: io.isTerminal('stdout') ? io.columns() : undefined },
  )
  screen.say(`\n${table}\n`)
  const verdict =
    outcome === 'succeeded'
      ? style.green(`It came back: ${health}, and every one of ${committedBefore} committed rows is there`)
      : style.red(`It did not come back whole: ${health}, ${missing} of ${committedBefore} committed rows are missing`)
  screen.print(verdict)
  screen.say(`The whole demo took ${formatDuration(performance.now() - begun)}`)
  if (folder !== undefined) screen.say(`Its folder: ${escapeText(folder)}`)
  return outcome
}
