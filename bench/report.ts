import type { EightYears } from './eight-years.ts'
import { OPERATIONS, type Result, type Run } from './measure-corpus.ts'

export interface CorpusReport {
  readonly title: string
  readonly rounds: number
  /** How many there were when half of them were forgotten. */
  readonly snapshots: number
  readonly results: readonly Result[]
}

export interface Facts {
  readonly machine: string
  readonly kernel: string
  readonly runtime: string
  readonly versions: readonly string[]
  readonly place: string
  readonly date: string
  /** Load of the machine before the benchmark: above some tenths, others were at work too. */
  readonly load: number
}

const PEER_TITLES = { holdfast: 'Holdfast', restic: 'restic', borg: 'borg', script: "runbook's script" } as const

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** One corpus as a Markdown table: a line for each operation and program, and what its figures are of Holdfast's. */
export function corpusTable({ title, rounds, snapshots, results }: CorpusReport): string {
  const lines = [
    `### ${title}`,
    '',
    `Medians of ${rounds} ${rounds === 1 ? 'round' : 'rounds'}; in brackets the fastest and the slowest. "÷" is the figure of the program divided by Holdfast's. Forgotten and pruned were the oldest ${snapshots / 2} of ${snapshots} snapshots, 1 % changed between each two.`,
    '',
    '| operation | program | wall s | CPU s | peak MB | together MB | stored MB | wall ÷ | CPU ÷ | peak ÷ | stored ÷ |',
    '|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|',
  ]
  for (const { name, title: operation } of OPERATIONS) {
    const ours = results.find(({ peer, operation: one }) => peer === 'holdfast' && one === name)
    for (const result of results.filter((one) => one.operation === name)) {
      if (result.runs.length === 0 && result.missing === undefined) continue
      const cells = result.missing === undefined ? figures(result, ours) : [gap(result)]
      lines.push(`| ${operation} | ${PEER_TITLES[result.peer]} | ${cells.join(' | ')} |`)
    }
  }
  return lines.join('\n')
}

function gap({ missing }: Result): string {
  const { kind, why } = missing!
  const said = kind === 'not available' ? `not available: ${why}` : `**${kind}**: ${why}`
  return `${said.replaceAll('|', '/').replaceAll('\n', ' ')} |`.concat(' |'.repeat(7))
}

function figures({ runs }: Result, ours: Result | undefined): string[] {
  const of = (figure: (run: Run) => number | undefined, among: readonly Run[] = runs) => {
    const values = among.map(figure).filter((value) => value !== undefined)
    return values.length === 0 ? undefined : median(values)
  }
  const walls = runs.map(({ wall }) => wall)
  const ratio = (figure: (run: Run) => number | undefined) => {
    const [theirs, mine] = [of(figure), ours?.missing === undefined ? of(figure, ours?.runs ?? []) : undefined]
    return theirs === undefined || mine === undefined || mine === 0 ? '' : (theirs / mine).toFixed(2)
  }
  const megabytes = (bytes: number | undefined) =>
    bytes === undefined ? '' : (bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)
  return [
    `${seconds(median(walls))} (${seconds(Math.min(...walls))}–${seconds(Math.max(...walls))})`,
    seconds(of(({ cpu }) => cpu)!),
    megabytes(of(({ peakProcess }) => peakProcess)),
    megabytes(of(({ peakTogether }) => peakTogether)),
    megabytes(of(({ stored }) => stored)),
    ratio(({ wall }) => wall),
    ratio(({ cpu }) => cpu),
    ratio(({ peakProcess }) => peakProcess),
    ratio(({ stored }) => stored),
  ]
}

function seconds(value: number): string {
  return value.toFixed(value < 1 ? 3 : 2)
}

/** How many times as fast Holdfast is, at a glance. */
export function summaryTable({ results }: CorpusReport): string {
  const peers = [...new Set(results.map(({ peer }) => peer))].filter((peer) => peer !== 'holdfast')
  const lines = [
    `| wall time ÷ Holdfast's | ${peers.map((peer) => PEER_TITLES[peer]).join(' | ')} |`,
    `|---|${'---:|'.repeat(peers.length)}`,
  ]
  for (const { name, title } of OPERATIONS) {
    const find = (peer: Result['peer']) =>
      results.find(
        (one) => one.peer === peer && one.operation === name && one.missing === undefined && one.runs.length > 0,
      )
    const ours = find('holdfast')
    if (ours === undefined) continue
    const mine = median(ours.runs.map(({ wall }) => wall))
    const cells = peers.map((peer) => {
      const theirs = find(peer)
      return theirs === undefined ? '–' : (median(theirs.runs.map(({ wall }) => wall)) / mine).toFixed(1)
    })
    lines.push(`| ${title} | ${cells.join(' | ')} |`)
  }
  return lines.join('\n')
}

const KINDS = {
  promised: 'the promised schedule: days for 30 days, weeks for 90, months for a year, years for seven',
  left: "what the script's commands leave: about 31 days, and nothing older",
  'off-site': 'its copies off-site, which it never removes',
} as const

export function storageTable({ days, source, storage, missing }: EightYears): string {
  const ours = storage.find(({ peer }) => peer === 'holdfast')
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)
  return [
    `### Storage after ${days} nights of the runbook's retention`,
    '',
    `An application that grows from ${megabytes(source[0])} to ${megabytes(source[1])} MB. Every night: the newest 0.5 % of the rows rewritten, 0.03 % added, 0.2 % of the files edited, a picture added.`,
    'Only the backups that are still there at the end are made, as if what was removed had been freed to the last byte. Of the script an archive a year was made, and the sizes between interpolated.',
    '',
    '| program | kept | backups | stored MB | ÷ Holdfast |',
    '|---|---|---:|---:|---:|',
    ...storage.map(
      ({ peer, kind, backups, bytes }) =>
        `| ${PEER_TITLES[peer]} | ${KINDS[kind]} | ${backups} | ${megabytes(bytes)} | ${ours === undefined ? '' : (bytes / ours.bytes).toFixed(1)} |`,
    ),
    ...missing.map(({ peer, kind, why }) => `| ${PEER_TITLES[peer]} | ${kind}: ${why.replaceAll('|', '/')} | | | |`),
  ].join('\n')
}

export function factsText({ machine, kernel, runtime, versions, place, date, load }: Facts): string {
  return [
    `- ${date}, ${machine}, Linux ${kernel}, ${runtime}; load before the start ${load.toFixed(1)}`,
    `- ${versions.join('; ')}`,
    `- repositories and sources on ${place}; sources in the page cache; all programs with their default compression (restic \`auto\`, borg \`lz4\`, gzip 6), encrypted except for the script's archives`,
  ].join('\n')
}

const BEGIN = '<!-- measured: written by `npm run bench -- --markdown` -->'
const END = '<!-- /measured -->'

/** The page with its measured part replaced; what people wrote around it stays. */
export function withMeasured(page: string, measured: string): string {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)]
  if (begin < 0 || end < begin)
    throw new Error(`docs/benchmarks.md has no place for figures: expected the lines ${BEGIN} and ${END}`)
  return `${page.slice(0, begin)}${BEGIN}\n\n${measured}\n\n${page.slice(end)}`
}
