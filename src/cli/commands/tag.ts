import type { Observer, Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { counted } from '../format.ts'
import {
  addSnapshotFilterOptions,
  refuseFilteredIds,
  type SnapshotFilterOptions,
  snapshotFilter,
} from '../snapshot-filter-options.ts'

interface Options extends SnapshotFilterOptions {
  readonly set: readonly string[]
  readonly add: readonly string[]
  readonly remove: readonly string[]
  readonly dryRun: boolean
}

export const tagCommand: CommandModule = {
  name: 'tag',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'tag [snapshot...]',
      topic: 'keep',
      summary: 'change the tags of snapshots',
      description:
        "Of the snapshots that are named or fit --host, --tag and --path; of all without either. A snapshot with other tags has another ID; the first of its IDs stays noted as original. The tag app:NAME makes a snapshot that of an application: without it the application's restore does not find it.\n\n" +
        'With --json: a changed object with old_snapshot_id and new_snapshot_id for each, then a summary with changed_snapshots.',
      arguments: { snapshot: 'the beginning of an ID, or latest' },
      examples: [
        { run: 'holdfast tag --add keep latest', does: 'Mark the newest snapshot' },
        { run: "holdfast tag --set '' 40244c04", does: 'Remove all tags of one' },
      ],
      exits: ['no-repository', 'locked', 'wrong-password'],
    })
      .option('--set <tags>', "the tags that they shall have, with commas; '' for none (repeatable)", collectNames, [])
      .option('--add <tags>', 'tags to add, with commas (repeatable)', collectNames, [])
      .option('--remove <tags>', 'tags to remove, with commas (repeatable)', collectNames, [])
    addSnapshotFilterOptions(command)
      .option('-n, --dry-run', 'only say how many would change', false)
      .action(context.action<Options>(tagSnapshots))
  },
}

/** Keeps the empty name: it stands for having no tags. */
function collectNames(value: string, previous: readonly string[]): string[] {
  return [...previous, ...value.split(',').map((name) => name.trim())]
}

async function tagSnapshots(invocation: Invocation<Options>): Promise<Outcome> {
  const { globals, operands, options, screen, signal } = invocation
  const { set, add, remove, dryRun } = options
  if (set.length > 0 && add.length + remove.length > 0) {
    throw new CliError('USAGE', 'Cannot use --set together with --add or --remove')
  }
  if (set.length + add.length + remove.length === 0) {
    throw new CliError('USAGE', 'Cannot change tags: nobody said which', { hint: 'Give --set, --add or --remove' })
  }
  refuseFilteredIds(operands, options)
  const [{ tag }, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
    import('../../operations/repository/tag.ts'),
    import('../repository-access.ts'),
  ])
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const show = invocation.observe({
    config,
    access,
    summarise: ({ changed_snapshots }) => [
      `${dryRun ? 'Would change' : 'Changed'} the tags of ${counted(Number(changed_snapshots), 'snapshot')}`,
    ],
  })
  const observe: Observer = (event) => {
    if (globals.json && event.type === 'finished') {
      const { changed = [] } = event.summary as { readonly changed?: readonly { from: string; to: string }[] }
      for (const { from, to } of changed) {
        screen.json({ message_type: 'changed', old_snapshot_id: from, new_snapshot_id: to })
      }
      const { changed: _, ...summary } = event.summary
      show({ ...event, summary })
    } else show(event)
  }
  const change = set.length > 0 ? { set } : { add, remove }
  const filter = snapshotFilter(options)
  return (await tag(access, { names: operands, filter, change, dryRun, observe, signal })).outcome
}
