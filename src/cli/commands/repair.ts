import { resolve } from 'node:path'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type FinishedSummary, type Invocation } from '../command.ts'
import { counted } from '../format.ts'
import {
  addSnapshotFilterOptions,
  refuseFilteredIds,
  type SnapshotFilterOptions,
  snapshotFilter,
} from '../snapshot-filter-options.ts'

interface IndexOptions {
  readonly readAllPacks: boolean
  readonly dryRun: boolean
}

interface PacksOptions {
  readonly copiesTo: string
  readonly dryRun: boolean
}

interface SnapshotsOptions extends SnapshotFilterOptions {
  readonly forget: boolean
  readonly dryRun: boolean
}

const EXITS = ['incomplete', 'no-repository', 'locked', 'wrong-password'] as const

export const repairCommand: CommandModule = {
  name: 'repair',
  register(program, context) {
    const repair = addCommand(program, {
      usage: 'repair',
      topic: 'keep',
      summary: 'repair what check found damaged',
      description:
        'Best after the damaged files were brought back from a copy of the repository: what is repaired here does without them. In this order: index, packs, snapshots.',
      examples: [{ run: 'holdfast check --read-data', does: 'What is damaged, and what helps' }],
      exits: EXITS,
    })
    addCommand(repair, {
      usage: 'index',
      topic: 'keep',
      summary: 'make the index say what the packs hold',
      description:
        'Reads the headers of packs that are in no index or have another size than it says, forgets packs that are not there, and replaces index files that cannot be read. Exit code 3 says that packs are damaged.\n\nWith --json: a summary with index_files_damaged, packs_to_read, packs_missing, packs_listed_twice, packs_indexed, packs_unreadable, index_files_written, index_files_removed.',
      exits: EXITS,
    })
      .option('--read-all-packs', 'read the headers of all packs, and believe only them', false)
      .option('-n, --dry-run', 'only say what would be done', false)
      .action(context.action<IndexOptions>(repairIndex))
    addCommand(repair, {
      usage: 'packs <id...>',
      topic: 'keep',
      summary: 'salvage what is intact in damaged packs',
      description:
        'Stores the intact blobs of these packs in new ones, and removes the damaged packs. Before that, copies of them are written to a folder, as pack-ID. Exit code 3 says that something is lost: repair snapshots makes the snapshots do without it.\n\nWith --json: a summary with packs, salvaged, lost (type and id of each), packs_written, packs_removed, packs_left_behind.',
      arguments: { id: 'of the packs, in full, as check prints them' },
      exits: EXITS,
    })
      .option('--copies-to <dir>', 'where the copies of the damaged packs go', '.')
      .option('-n, --dry-run', 'only say what is intact', false)
      .action(context.action<PacksOptions>(repairPacks))
    const snapshots = addCommand(repair, {
      usage: 'snapshots [snapshot...]',
      topic: 'keep',
      summary: 'make snapshots do without what is lost',
      description:
        'Files lose what is missing of them, folders the entries that cannot be read; each is named. The repaired snapshots get the tag repaired and stand beside the damaged ones, or with --forget take their place. Run repair index and repair packs first, and with --forget only when nothing can be brought back any more.\n\nWith --json: a summary with examined, changed_snapshots, unreadable, repaired, removed.',
      arguments: { snapshot: 'the beginning of an ID, or latest; all without one' },
      exits: EXITS,
    })
      .option('--forget', 'remove the damaged snapshots afterwards', false)
      .option('-n, --dry-run', 'only say what would be done', false)
    addSnapshotFilterOptions(snapshots).action(context.action<SnapshotsOptions>(repairSnapshots))
  },
}

async function load(invocation: Invocation<object>) {
  const { findRepositoryConfig, repositoryAccess } = await import('../repository-access.ts')
  const config = await findRepositoryConfig(invocation)
  return { config, access: await repositoryAccess(invocation, config) }
}

const DRY_RUN = 'Nothing was changed: this was a dry run'

async function repairIndex(invocation: Invocation<IndexOptions>): Promise<Outcome> {
  const { options, signal } = invocation
  const operation = await import('../../operations/repository/repair-index.ts')
  const { config, access } = await load(invocation)
  const summarise = (summary: FinishedSummary) => {
    const { packs_to_read, packs_missing, packs_indexed, index_files_written, index_files_removed } = summary as Record<
      string,
      number
    >
    if (options.dryRun) {
      return [`Would read ${counted(packs_to_read!, 'pack')} and forget ${packs_missing} that are not there`, DRY_RUN]
    }
    return [
      `Read ${counted(packs_indexed!, 'pack')}, forgot ${packs_missing} that are not there`,
      `Index files: ${index_files_written} written, ${index_files_removed} removed`,
    ]
  }
  const observe = invocation.observe({ config, access, summarise })
  return (await operation.repairIndex(access, { ...options, observe, signal })).outcome
}

async function repairPacks(invocation: Invocation<PacksOptions>): Promise<Outcome> {
  const { io, operands, options, signal } = invocation
  const operation = await import('../../operations/repository/repair-packs.ts')
  const { config, access } = await load(invocation)
  const summarise = (summary: FinishedSummary) => {
    const { salvaged, lost, packs_removed } = summary as {
      readonly salvaged: number
      readonly lost: readonly unknown[]
      readonly packs_removed: number
    }
    const blobs = `${counted(salvaged, 'blob')}, ${lost.length} lost`
    if (options.dryRun) return [`Would salvage ${blobs}`, DRY_RUN]
    return [`Salvaged ${blobs}; removed ${counted(packs_removed, 'pack')}`]
  }
  const observe = invocation.observe({ config, access, summarise })
  const copiesTo = resolve(io.cwd, options.copiesTo)
  const { dryRun } = options
  return (await operation.repairPacks(access, { packs: operands, copiesTo, dryRun, observe, signal })).outcome
}

async function repairSnapshots(invocation: Invocation<SnapshotsOptions>): Promise<Outcome> {
  const { operands, options, signal } = invocation
  refuseFilteredIds(operands, options)
  const operation = await import('../../operations/repository/repair-snapshots.ts')
  const { config, access } = await load(invocation)
  const summarise = (summary: FinishedSummary) => {
    const { examined, changed_snapshots, repaired, removed } = summary as {
      readonly examined: number
      readonly changed_snapshots: number
      readonly repaired: readonly unknown[]
      readonly removed: readonly unknown[]
    }
    const of = `of ${counted(examined, 'snapshot')}`
    if (options.dryRun) return [`Would repair ${changed_snapshots} ${of}`, DRY_RUN]
    return [`Repaired ${repaired.length} ${of}, removed ${removed.length}`]
  }
  const observe = invocation.observe({ config, access, summarise })
  const { forget, dryRun } = options
  const filter = snapshotFilter(options)
  return (await operation.repairSnapshots(access, { names: operands, filter, forget, dryRun, observe, signal })).outcome
}
