import type { Finding } from '../../application/finding.ts'
import type { Observer, Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type FinishedSummary, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { counted, formatBytes, formatCount } from '../format.ts'
import { optionValue } from '../option-value.ts'

interface Options {
  readonly readData: boolean
  readonly readDataSubset?: string
}

export const checkCommand: CommandModule = {
  name: 'check',
  register(program, context) {
    addCommand(program, {
      usage: 'check',
      topic: 'prove',
      summary: 'check the repository for damage',
      description:
        'Checks that keys, index, packs, snapshots and trees are there and fit together. With --read-data every byte is read again and held against its hash: it takes as long as reading the repository. --read-data-subset reads a part: the n-th of t parts (n/t), which after t runs is everything; or a share (2.5%) or a size (500M) of packs chosen by chance. The repository is locked meanwhile. Exit code 1 says that it is damaged.\n\n' +
        'With --json: a finding object for each defect, then a summary with num_errors, hints, snapshots, packs, blobs, bytes_read.',
      examples: [
        { run: 'holdfast check', does: 'The structure, quickly' },
        { run: 'holdfast check --read-data', does: 'Every byte' },
        { run: 'holdfast check --read-data-subset 1/7', does: 'Every byte in seven runs: 1/7, then 2/7 …' },
      ],
      exits: ['no-repository', 'locked', 'wrong-password'],
    })
      .option('--read-data', 'read every byte again', false)
      .option('--read-data-subset <subset>', 'read a part again: n/t, a share such as 2.5%, or a size such as 500M')
      .action(context.action<Options>(checkRepository))
  },
}

async function checkRepository(invocation: Invocation<Options>): Promise<Outcome> {
  const { globals, options, signal } = invocation
  if (options.readData && options.readDataSubset !== undefined) {
    throw new CliError('USAGE', 'Cannot use --read-data together with --read-data-subset')
  }
  const [{ parsePackSubset }, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
    import('../../engine/repository/pack-subset.ts'),
    import('../repository-access.ts'),
  ])
  const readDataSubset = optionValue(
    '--read-data-subset',
    options.readDataSubset,
    parsePackSubset,
    'n/t with t up to 256, a share up to 100%, or a size such as 500M',
  )
  const config = await findRepositoryConfig(invocation)
  const { openAhead } = await import('../../operations/access.ts')
  const access = await openAhead(await repositoryAccess(invocation, config), signal)
  const [{ check }, { formatTable }] = await Promise.all([
    import('../../operations/verify/check.ts'),
    import('../table.ts'),
  ])
  const findings: Finding[] = []
  const summarise = (summary: FinishedSummary) => [
    ...(findings.length === 0
      ? []
      : [
          '',
          formatTable(GROUP_COLUMNS, groupsOf(findings), { style: invocation.style }),
          '',
          ...hintsOf(findings).map(([codes, hint]) => `${codes}: ${hint}`),
          ...(hintsOf(findings).length > 0 ? [''] : []),
        ]),
    ...summaryLines(summary),
  ]
  const show = invocation.observe({ config, access, summarise })
  const observe: Observer = (event) => {
    if (event.type !== 'finding' || globals.json) return show(event)
    findings.push(event.finding)
    // A thousand damaged packs need one hint, not a thousand: it stands below the table.
    const { hint: _, ...finding } = event.finding
    show({ type: 'finding', finding })
  }
  return (await check(access, { readData: options.readData, readDataSubset, observe, signal })).outcome
}

const GROUP_COLUMNS = [{ title: 'Severity' }, { title: 'What' }, { title: 'Count', align: 'right' }] as const

function groupsOf(findings: readonly Finding[]): string[][] {
  return [...Map.groupBy(findings, ({ severity, code }) => `${severity} ${code}`).values()]
    .sort((a, b) => severityRank(a[0]!) - severityRank(b[0]!) || b.length - a.length)
    .map((group) => [group[0]!.severity, group[0]!.code, formatCount(group.length)])
}

function severityRank({ severity }: Finding): number {
  return severity === 'error' ? 0 : 1
}

/** Each hint once, with the codes that it is about. */
function hintsOf(findings: readonly Finding[]): [codes: string, hint: string][] {
  const codes = new Map<string, Set<string>>()
  for (const { code, hint } of findings) {
    if (hint === undefined) continue
    codes.set(hint, (codes.get(hint) ?? new Set()).add(code))
  }
  return [...codes].map(([hint, about]) => [[...about].join(', '), hint])
}

export function summaryLines(summary: FinishedSummary): string[] {
  const { snapshots, packs, blobs, bytes_read, read_data, num_errors } = summary as Record<string, number>
  const what = `${counted(snapshots!, 'snapshot')}, ${counted(packs!, 'pack')}, ${counted(blobs!, 'blob')}`
  return [
    `Checked ${what}${read_data ? `, ${formatBytes(bytes_read!)} read again` : ''}`,
    ...(num_errors! > 0 || read_data ? [] : ['The structure is sound; --read-data would read every byte besides']),
  ]
}
