import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { counted } from '../format.ts'
import { escapeText } from '../terminal-text.ts'

export const notifyCommand: CommandModule = {
  name: 'notify',
  register(program, context) {
    const notify = addCommand(program, {
      usage: 'notify',
      topic: 'automate',
      summary: 'see whether those who are told of trouble can be',
      description:
        'Whom `notify` in the config names is told by itself: when an operation fails or is incomplete, when a drill is overdue, and when that is over; once for each change.',
      examples: [{ run: 'holdfast notify test', does: 'A message to each of them' }],
    })
    addCommand(notify, {
      usage: 'test',
      topic: 'automate',
      summary: 'send a message to each of them',
      description:
        'By every channel in `notify` of the config, whatever it hears of otherwise. What does not arrive is remembered as a failed delivery, and forgotten when the next one arrives.\n\nExit code 3: some did not arrive; 1: none did.\n\nWith --json: a delivery object for each channel (channel, delivered, problem).',
      examples: [{ run: 'holdfast notify test', does: 'In the folder of a protected application' }],
      exits: ['incomplete'],
    }).action(context.action(testNotices))
  },
}

async function testNotices(invocation: Invocation<object>): Promise<Outcome> {
  const { globals, io, screen, signal, style } = invocation
  const [{ testChannels }, { requireConfig }] = await Promise.all([
    import('../../operations/notify/notify.ts'),
    import('../repository-access.ts'),
  ])
  const config = await requireConfig(invocation)
  if (config.notify.length === 0) {
    throw new CliError('USAGE', `Cannot send a test: ${config.file} names nobody in notify`, {
      hint: 'Add for example notify: [{ mail: ops@example.com }]',
    })
  }
  const warn = () => {} // each delivery is shown below
  const deliveries = await testChannels(config, { env: io.env, now: io.now, signal, warn })
  for (const { channel, problem, hint } of deliveries) {
    if (globals.json) {
      screen.json({ message_type: 'delivery', channel, delivered: problem === undefined, problem })
      continue
    }
    const mark = problem === undefined ? style.green('✓') : style.red('✗')
    screen.print(`${mark} ${escapeText(channel)}${problem === undefined ? '' : `: ${escapeText(problem)}`}`)
    if (hint !== undefined) screen.print(`  ${style.cyan('hint:')} ${escapeText(hint)}`)
  }
  const failed = deliveries.filter(({ problem }) => problem !== undefined).length
  if (!globals.json)
    screen.say(
      failed === 0
        ? `${counted(deliveries.length, 'message')} delivered`
        : `${failed} of ${counted(deliveries.length, 'message')} not delivered`,
    )
  return failed === 0 ? 'succeeded' : failed < deliveries.length ? 'incomplete' : 'failed'
}
