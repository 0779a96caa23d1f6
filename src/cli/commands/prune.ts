import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { addPruneOptions, type PruneOptions, pruneChoices, pruneLines } from '../prune-options.ts'

interface Options extends PruneOptions {
  readonly dryRun: boolean
}

export const pruneCommand: CommandModule = {
  name: 'prune',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'prune',
      topic: 'keep',
      summary: 'remove what no snapshot needs',
      description:
        'Removes packs that no snapshot needs, and rewrites packs that are needed in part while more than --max-unused is unused. New packs and index are stored before an old file is removed. The repository is locked meanwhile. A pack that cannot be removed is reported, and the exit code is 3: the next prune removes it.\n\n' +
        'With --json: a summary with blobs, bytes and packfiles, each by what becomes of them.',
      examples: [
        { run: 'holdfast prune --dry-run', does: 'What would be removed' },
        { run: 'holdfast prune --max-unused 10%', does: 'Rewrite less, and leave more' },
        { run: 'holdfast prune --max-repack-size 10G', does: 'A bit each night' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
    addPruneOptions(command)
      .option('-n, --dry-run', 'only say what would be done', false)
      .action(context.action<Options>(pruneRepository))
  },
}

async function pruneRepository(invocation: Invocation<Options>): Promise<Outcome> {
  const { options, signal } = invocation
  const [{ prune }, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
    import('../../operations/retention/prune.ts'),
    import('../repository-access.ts'),
  ])
  const choices = await pruneChoices(options)
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const observe = invocation.observe({
    config,
    access,
    summarise: (summary) => [
      ...pruneLines(summary),
      ...(options.dryRun ? ['Nothing was changed: this was a dry run'] : []),
    ],
  })
  return (await prune(access, { ...choices, dryRun: options.dryRun, observe, signal })).outcome
}
