import { addCommand, type CommandModule } from '../command.ts'
import { counted } from '../format.ts'

export const unlockCommand: CommandModule = {
  name: 'unlock',
  register(program, context) {
    addCommand(program, {
      usage: 'unlock',
      topic: 'keep',
      summary: 'remove locks that nobody holds any more',
      description:
        'A lock is stale when it is older than 30 minutes, or when its process on this machine is gone. Programs that are at work refresh theirs every five minutes.\n\n' +
        'With --json: {"message_type":"unlocked","removed":N}.',
      examples: [{ run: 'holdfast unlock', does: 'After a crash or a power failure' }],
      exits: ['no-repository', 'wrong-password'],
    })
      .option('--remove-all', 'also locks that look alive: only when nothing works on the repository', false)
      .action(
        context.action<{ removeAll: boolean }>(async (invocation) => {
          const { globals, options, screen, signal } = invocation
          const [{ unlock }, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
            import('../../operations/unlock.ts'),
            import('../repository-access.ts'),
          ])
          const access = await repositoryAccess(invocation, await findRepositoryConfig(invocation))
          const removed = await unlock(access, { all: options.removeAll, signal })
          if (globals.json) screen.json({ message_type: 'unlocked', removed })
          else screen.say(removed === 0 ? 'No locks to remove' : `Removed ${counted(removed, 'lock')}`)
        }),
      )
  },
}
