import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'

export const statusCommand: CommandModule = {
  name: 'status',
  register(program, context) {
    addCommand(program, {
      usage: 'status',
      topic: 'look',
      summary: 'show on one screen whether the application can be brought back',
      description:
        'Of each component the last good copy and what is proven of it; how much would be lost now, and how long a recovery takes, against the objectives; when the last backup, verify, check and drill were; what is wrong, and what to do about it. Works from the journal when the repository cannot be reached, and from the repository when the journal is gone, which it then writes anew.\n\n' +
        'Proof, weakest first: stored, checked (the structure is whole), re-read (every byte), restored, opened (databases and seals), running (the application answered).\n\n' +
        'The exit code is the state: 0 good; 3 something needs a look; 1 something is wrong: an objective is missed, a component has no good copy, the last backup failed, the repository cannot be reached.\n\n' +
        'With --json: one status object.',
      examples: [
        { run: 'holdfast status', does: 'In the folder of a protected application' },
        { run: 'holdfast status --json', does: 'For a monitor' },
      ],
      exits: ['incomplete'],
    }).action(context.action(status))
  },
}

const OUTCOMES = { good: 'succeeded', incomplete: 'incomplete', bad: 'failed' } as const

async function status(invocation: Invocation<object>): Promise<Outcome> {
  const { globals, io, screen, signal, style } = invocation
  const [{ gatherStatus }, { judgeStatus }, { repositoryAccess, requireConfig }, { statusJson, statusLines }] =
    await Promise.all([
      import('../../operations/status/gather-status.ts'),
      import('../../operations/status/judge-status.ts'),
      import('../repository-access.ts'),
      import('../status-text.ts'),
    ])
  const config = await requireConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const facts = await gatherStatus(config, access, { now: io.now(), signal })
  const report = judgeStatus(facts)
  if (globals.json) screen.json({ message_type: 'status', ...statusJson(facts, report) })
  else {
    const width = io.isTerminal('stdout') ? io.columns() : undefined
    screen.print(statusLines(facts, report, { style, width }).join('\n'))
  }
  return OUTCOMES[report.health]
}
