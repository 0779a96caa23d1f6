import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type FinishedSummary, type Invocation } from '../command.ts'
import { counted, formatBytes } from '../format.ts'
import {
  addSnapshotFilterOptions,
  refuseFilteredIds,
  type SnapshotFilterOptions,
  snapshotFilter,
} from '../snapshot-filter-options.ts'
import { addSourceOptions, type SourceOptions } from '../source-options.ts'

interface Options extends SnapshotFilterOptions, SourceOptions {
  readonly dryRun: boolean
}

export const copyCommand: CommandModule = {
  name: 'copy',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'copy [snapshot...]',
      topic: 'keep',
      summary: 'copy snapshots from another repository into this one',
      description:
        'From --from-repo into --repo: the snapshots that are named or fit --host, --tag and --path; all without either. Those that are there already, and blobs that are, are not copied again. Blobs are copied as they are stored, without compressing them anew. What an interrupted copy had published is not copied again when it is run again.\n\n' +
        'For what is copied and what is backed up into this repository to be stored once, make it with init --copy-chunker-params.\n\n' +
        'With --json: a summary with copied (from and to of each), present, to_copy, blobs, bytes, same_key, same_chunker.',
      arguments: { snapshot: 'of the other repository: the beginning of an ID, or latest' },
      examples: [
        {
          run: 'holdfast -r /mnt/copy -p /root/copy-password copy --from-repo /srv/backup --from-password-file /root/password',
          does: 'All that is not there yet',
        },
      ],
      exits: ['no-repository', 'locked', 'wrong-password'],
    })
    addSourceOptions(command)
    addSnapshotFilterOptions(command)
      .option('-n, --dry-run', 'only say what would be copied', false)
      .action(context.action<Options>(copySnapshots))
  },
}

async function copySnapshots(invocation: Invocation<Options>): Promise<Outcome> {
  const { operands, options, signal } = invocation
  refuseFilteredIds(operands, options)
  const [{ copy }, { findRepositoryConfig, repositoryAccess, sourceAccess }] = await Promise.all([
    import('../../operations/repository/copy.ts'),
    import('../repository-access.ts'),
  ])
  const config = await findRepositoryConfig(invocation)
  const from = await sourceAccess(invocation, config)
  const to = await repositoryAccess(invocation, config)
  const observe = invocation.observe({ config, access: to, summarise: copyLines })
  const filter = snapshotFilter(options)
  return (await copy(from, to, { names: operands, filter, dryRun: options.dryRun, observe, signal })).outcome
}

function copyLines(summary: FinishedSummary): string[] {
  const { dry_run, to_copy, present, blobs, bytes, same_chunker } = summary as {
    readonly dry_run: boolean
    readonly to_copy: readonly string[]
    readonly present: number
    readonly blobs: number
    readonly bytes: number
    readonly same_chunker: boolean
  }
  return [
    `${dry_run ? 'Would copy' : 'Copied'} ${counted(to_copy.length, 'snapshot')}: ${counted(blobs, 'blob')}, ${formatBytes(bytes)}`,
    ...(present > 0 ? [`${counted(present, 'snapshot')} there already`] : []),
    ...(same_chunker
      ? []
      : [
          'The two cut files differently: what is backed up into both is stored twice (see init --copy-chunker-params)',
        ]),
    ...(dry_run ? ['Nothing was changed: this was a dry run'] : []),
  ]
}
