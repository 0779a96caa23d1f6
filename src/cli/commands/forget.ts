import type { ForgetGroup, ForgetPlan } from '../../engine/repository/forget.ts'
import type { RetentionPolicy } from '../../engine/repository/retention-policy.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import type { Observer, Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type FinishedSummary, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { counted, formatDate, shortId } from '../format.ts'
import { optionValue } from '../option-value.ts'
import { addPruneOptions, type PruneOptions, pruneChoices, pruneLines, prunePartsGiven } from '../prune-options.ts'
import {
  addSnapshotFilterOptions,
  refuseFilteredIds,
  type SnapshotFilterOptions,
  snapshotFilter,
} from '../snapshot-filter-options.ts'
import { collectTags } from '../snapshot-options.ts'
import { escapeJson, escapeText } from '../terminal-text.ts'

interface Options extends SnapshotFilterOptions, PruneOptions, KeepOptions {
  readonly groupBy?: string
  readonly unsafeAllowRemoveAll: boolean
  readonly prune: boolean
  readonly dryRun: boolean
}

interface KeepOptions {
  readonly keepLast?: string
  readonly keepHourly?: string
  readonly keepDaily?: string
  readonly keepWeekly?: string
  readonly keepMonthly?: string
  readonly keepYearly?: string
  readonly keepWithin?: string
  readonly keepWithinHourly?: string
  readonly keepWithinDaily?: string
  readonly keepWithinWeekly?: string
  readonly keepWithinMonthly?: string
  readonly keepWithinYearly?: string
  readonly keepTag: readonly (readonly string[])[]
}

export const forgetCommand: CommandModule = {
  name: 'forget',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'forget [snapshot...]',
      topic: 'keep',
      summary: 'forget snapshots, by ID or by what is to be kept',
      description:
        'With IDs, those snapshots go. Otherwise the --keep options say which stay, in each group of the same host and paths: a snapshot stays when one of them wants it. A policy that would leave nothing of a group is refused. --prune then removes what only those snapshots needed; without it the space is not freed yet.\n\n' +
        'Periods are years, months, days and hours, as in 1y5m7d2h, counted back from the newest snapshot of the group. Counts may be unlimited.\n\n' +
        "With --json: one array of groups with restic's keys (tags, host, paths, keep, remove, reasons); with IDs, and after the array with --prune, a summary. Findings are on standard error.",
      arguments: { snapshot: 'the beginning of an ID, or latest' },
      examples: [
        {
          run: 'holdfast forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run',
          does: 'What a policy would keep, and why',
        },
        { run: 'holdfast forget --keep-last 30 --prune', does: 'Forget, and free the space' },
        { run: 'holdfast forget 40244c04', does: 'One snapshot' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
      .option('-l, --keep-last <n>', 'keep the last n')
      .option('-H, --keep-hourly <n>', 'keep the newest of each of the last n hours that have any')
      .option('-d, --keep-daily <n>', 'the same of days')
      .option('-w, --keep-weekly <n>', 'the same of weeks')
      .option('-m, --keep-monthly <n>', 'the same of months')
      .option('-y, --keep-yearly <n>', 'the same of years')
      .option('--keep-within <period>', 'keep all of this period')
      .option('--keep-within-hourly <period>', 'keep the newest of each hour of this period')
      .option('--keep-within-daily <period>', 'the same of days')
      .option('--keep-within-weekly <period>', 'the same of weeks')
      .option('--keep-within-monthly <period>', 'the same of months')
      .option('--keep-within-yearly <period>', 'the same of years')
      .option('--keep-tag <tag>', 'keep those with this tag, or all of a comma list (repeatable)', collectTags, [])
      .option('-g, --group-by <names>', "host, paths and tags, with commas; '' for one group (default: host,paths)")
      .option('--unsafe-allow-remove-all', 'without a policy: forget all that fit --host, --tag and --path', false)
    addSnapshotFilterOptions(command, '--host <host>')
      .option('-n, --dry-run', 'only say what would be forgotten', false)
      .option('--prune', 'then remove what only the forgotten needed', false)
    addPruneOptions(command).action(context.action<Options>(forgetSnapshots))
  },
}

async function forgetSnapshots(invocation: Invocation<Options>): Promise<Outcome> {
  const { globals, io, operands, options, screen, signal } = invocation
  refuseMisplaced(operands, options)
  const [{ forget }, { findRepositoryConfig, repositoryAccess }, { parseGrouping }, { dateOf, snapshotJson }] =
    await Promise.all([
      import('../../operations/retention/forget.ts'),
      import('../repository-access.ts'),
      import('../../engine/repository/snapshot-groups.ts'),
      import('../snapshot-json.ts'),
    ])
  const { formatTable } = await import('../table.ts')
  const policy = await retentionPolicy(options)
  const grouping = optionValue('--group-by', options.groupBy, parseGrouping, 'host, paths and tags, with commas')
  const prune = options.prune ? await pruneChoices(options) : undefined
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)

  const showPlan = (plan: ForgetPlan) => {
    screen.live(undefined)
    if (globals.json) {
      const json = (stored: StoredSnapshot) => snapshotJson(stored.id, stored.snapshot)
      const groups = plan.groups.map(({ tags, host, paths, keep, remove }) => ({
        tags: tags.length === 0 ? null : tags,
        host,
        paths: paths.length === 0 ? null : paths,
        keep: keep.map(json),
        remove: remove.length === 0 ? null : remove.map(json),
        reasons: keep.map((stored) => ({ snapshot: json(stored), matches: stored.reasons })),
      }))
      if (operands.length === 0) io.stdout.write(`${escapeJson(JSON.stringify(groups))}\n`)
      return
    }
    const width = io.isTerminal('stdout') ? io.columns() : undefined
    const table = (snapshots: readonly (StoredSnapshot & { readonly reasons?: readonly string[] })[]) => {
      const columns = COLUMNS.filter(({ title }) => title !== 'Reasons' || snapshots[0]?.reasons !== undefined)
      // Oldest first, as in other lists.
      const rows = snapshots
        .toReversed()
        .map((stored) => [
          shortId(stored.id),
          formatDate(dateOf(stored.snapshot.time)),
          stored.snapshot.hostname,
          stored.snapshot.tags.join(', '),
          ...(stored.reasons === undefined ? [] : [stored.reasons.join(', ')]),
          stored.snapshot.paths.join(', '),
        ])
      screen.print(`${formatTable(columns, rows, { width, style: invocation.style })}\n`)
    }
    for (const group of plan.groups) {
      screen.print(invocation.style.bold(groupTitle(group)))
      if (group.keep.length > 0) {
        screen.print(`Keep ${counted(group.keep.length, 'snapshot')}:`)
        table(group.keep)
      }
      if (group.remove.length > 0) {
        screen.print(`Forget ${counted(group.remove.length, 'snapshot')}:`)
        table(group.remove)
      }
    }
    if (operands.length > 0) {
      screen.print(`Forget ${counted(plan.remove.length, 'snapshot')}:`)
      table(plan.remove)
    }
  }

  const summarise = (summary: FinishedSummary) => forgetLines(summary)
  const show: Observer = globals.json
    ? jsonObserver(invocation, operands.length > 0 || options.prune)
    : invocation.observe({ config, access, summarise })
  const { outcome } = await forget(access, {
    names: operands,
    filter: snapshotFilter(options),
    policy,
    grouping,
    removeAll: options.unsafeAllowRemoveAll,
    dryRun: options.dryRun,
    prune,
    onPlan: showPlan,
    observe: show,
    signal,
  })
  return outcome
}

const COLUMNS = [
  { title: 'ID' },
  { title: 'Time' },
  { title: 'Host', cut: 'end' },
  { title: 'Tags', cut: 'end' },
  { title: 'Reasons', cut: 'end' },
  { title: 'Paths', cut: 'middle' },
] as const

function groupTitle({ host, paths, tags }: ForgetGroup): string {
  const parts = [
    ...(host === '' ? [] : [`host ${escapeText(host)}`]),
    ...(paths.length === 0 ? [] : [`paths ${paths.map(escapeText).join(', ')}`]),
    ...(tags.length === 0 ? [] : [`tags ${tags.map(escapeText).join(', ')}`]),
  ]
  return parts.length === 0 ? 'All snapshots' : `Snapshots of ${parts.join(', ')}`
}

/** One document for programs that know restic's: findings go elsewhere. */
function jsonObserver({ io, screen }: Invocation<Options>, withSummary: boolean): Observer {
  return (event) => {
    if (event.type === 'finding') {
      io.stderr.write(`${escapeJson(JSON.stringify({ message_type: 'finding', ...event.finding }))}\n`)
    } else if (event.type === 'finished' && withSummary && event.summary.error === undefined) {
      const { operation, outcome, at, milliseconds, summary } = event
      screen.json({
        message_type: 'summary',
        ...summary,
        operation,
        outcome,
        time: at,
        total_duration: milliseconds / 1000,
      })
    }
  }
}

function forgetLines(summary: FinishedSummary): string[] {
  const { dry_run, kept, removed, would_remove, prune } = summary as {
    readonly dry_run: boolean
    readonly kept: number
    readonly removed: readonly string[]
    readonly would_remove?: readonly string[]
    readonly prune?: FinishedSummary
  }
  const keeps = kept > 0 ? `, kept ${kept}` : ''
  return [
    dry_run
      ? `Would forget ${counted(would_remove?.length ?? 0, 'snapshot')}${keeps}`
      : `Forgot ${counted(removed.length, 'snapshot')}${keeps}`,
    ...(prune === undefined ? [] : pruneLines(prune)),
    ...(dry_run ? ['Nothing was changed: this was a dry run'] : []),
    ...(!dry_run && removed.length > 0 && prune === undefined ? ['The space is freed by: holdfast prune'] : []),
  ]
}

async function retentionPolicy(options: KeepOptions): Promise<RetentionPolicy> {
  const [{ parseKeepCount }, { parsePeriod }] = await Promise.all([
    import('../../engine/repository/retention-policy.ts'),
    import('../../engine/repository/calendar-period.ts'),
  ])
  const count = (name: string, text: string | undefined) =>
    optionValue(name, text, parseKeepCount, 'a whole number, or unlimited')
  const period = (name: string, text: string | undefined) =>
    optionValue(name, text, parsePeriod, 'a period such as 7d or 1y5m7d2h')
  return {
    last: count('--keep-last', options.keepLast),
    hourly: count('--keep-hourly', options.keepHourly),
    daily: count('--keep-daily', options.keepDaily),
    weekly: count('--keep-weekly', options.keepWeekly),
    monthly: count('--keep-monthly', options.keepMonthly),
    yearly: count('--keep-yearly', options.keepYearly),
    within: period('--keep-within', options.keepWithin),
    withinPeriods: {
      hourly: period('--keep-within-hourly', options.keepWithinHourly),
      daily: period('--keep-within-daily', options.keepWithinDaily),
      weekly: period('--keep-within-weekly', options.keepWithinWeekly),
      monthly: period('--keep-within-monthly', options.keepWithinMonthly),
      yearly: period('--keep-within-yearly', options.keepWithinYearly),
    },
    tags: options.keepTag,
  }
}

/** Options that would be passed over in silence. */
function refuseMisplaced(names: readonly string[], options: Options): void {
  const hasPolicy = Object.entries(options).some(
    ([name, value]) => name.startsWith('keep') && (Array.isArray(value) ? value.length > 0 : value !== undefined),
  )
  if (names.length > 0 && (hasPolicy || options.groupBy !== undefined || options.unsafeAllowRemoveAll)) {
    throw new CliError('USAGE', 'Cannot apply a policy to snapshots that are named', {
      hint: 'Leave out the IDs, or the --keep options, --group-by and --unsafe-allow-remove-all',
    })
  }
  refuseFilteredIds(names, options)
  const given = prunePartsGiven(options)
  if (!options.prune && given.length > 0) {
    throw new CliError('USAGE', `Cannot use ${given.join(', ')} without --prune`)
  }
}
