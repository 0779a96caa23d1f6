import type { DatabaseFacts, DatabaseRescuePlan } from '../operations/rescue/database-plan.ts'
import { tableJson } from '../operations/rescue/rescue-database.ts'
import type { FinishedSummary } from './command.ts'
import { counted, formatDate, formatDuration, formatRelative, shortId } from './format.ts'
import type { Style } from './style.ts'
import { formatTable } from './table.ts'
import { escapeText } from './terminal-text.ts'

// For a frightened operator: short sentences. What is known, what will be done, what cannot be lost, what to do next.

/** What each trouble is, in words. */
const TROUBLES: Readonly<Record<DatabaseFacts['trouble'], string>> = {
  sound: 'The file is sound.',
  missing: 'The file is not there.',
  empty: 'The file is empty.',
  zeroed: 'The file was overwritten with zeros.',
  'another-file': 'Another file is in its place: this is no database.',
  header: 'Its first bytes are destroyed. What follows still looks like the database.',
  'page-size': 'Its header is wrong about the size of its pages.',
  truncated: 'Its end is missing.',
  index: 'Only its indexes are damaged. No row is.',
  freelist: 'Only its list of free pages is damaged. No row is.',
  pages: 'Pages that may hold rows are damaged.',
}

const WAYS: Readonly<Record<NonNullable<DatabaseFacts['way']>, string>> = {
  reindex: 'building its indexes anew',
  vacuum: 'copying it without the damaged list',
  header: 'giving it a sound header',
  'sqlite3 .recover': "SQLite's own program (.recover)",
  'built-in salvage': 'reading it page by page',
}

export interface RescueTextOptions {
  readonly style: Style
  readonly now: Date
  readonly width?: number | undefined
}

export function databasePlanLines(plan: DatabaseRescuePlan, { style, now, width }: RescueTextOptions): string[] {
  const { path, trouble, seen, lastWritten, snapshot, way, tables, others, steps, passedOver, resumes } = plan
  const when = (iso: string) => `${formatDate(new Date(iso))} (${formatRelative(new Date(iso), now)})`
  const state = plan.service?.state
  return [
    `${style.bold(escapeText(path))}${plan.service === undefined ? '' : style.dim(`   ${escapeText(plan.service.name)}${state === undefined ? '' : ` is ${state}`}`)}`,
    '',
    style.bold('What is known'),
    `  ${trouble === 'sound' ? style.green(TROUBLES.sound) : style.red(TROUBLES[trouble])}${trouble === 'sound' ? '' : style.dim(` (${escapeText(seen)})`)}`,
    ...(lastWritten === undefined ? [] : [`  Last written ${when(lastWritten)}.`]),
    snapshot === undefined
      ? style.yellow('  No snapshot has a sound copy of it.')
      : `  Newest sound copy: snapshot ${shortId(snapshot.id)}, as of ${when(snapshot.time)}.`,
    ...passedOver.map((line) => style.dim(`  Passed over: ${escapeText(line)}`)),
    ...(way === undefined ? [] : [`  Recovered a sound database from the file by ${WAYS[way]}, on a copy.`]),
    ...plan.notRecovered.map((line) => style.yellow(`  Not recovered: ${escapeText(line)}`)),
    ...others.map((each) => `  Also looked at: ${escapeText(each.path)}, ${each.trouble}.`),
    ...(tables.length === 0 ? [] : ['', ...tableLines(plan, style, width)]),
    '',
    ...(resumes === undefined
      ? []
      : [
          style.yellow(
            `A rescue that was begun ${when(resumes)} has replaced it already, and was cut off. This goes on with it.`,
          ),
          '',
        ]),
    style.bold('What is best'),
    `  ${escapeText(plan.why)}`,
    ...lossLines(plan, style).map((line) => `  ${line}`),
    ...(steps.length === 0
      ? ['', 'Nothing needs to be done.']
      : [
          '',
          style.bold('What will be done'),
          ...steps.map(
            ({ title, detail }, i) => `  ${i + 1}. ${escapeText(title)}${style.dim(`  ${escapeText(detail)}`)}`,
          ),
          ...(resumes !== undefined
            ? []
            : ['', 'Nothing is deleted. Until step 3 no file of the application is touched.']),
        ]),
  ]
}

function tableLines(
  { tables, trouble }: Pick<DatabaseFacts, 'tables' | 'trouble'>,
  style: Style,
  width: number | undefined,
) {
  const there = trouble === 'sound' ? 'In the file' : 'Recovered'
  const shown = (count: number | undefined) => (count === undefined ? '–' : String(count))
  const columns = [
    { title: 'Table', cut: 'end' as const },
    { title: 'In snapshot', align: 'right' as const },
    { title: there, align: 'right' as const },
    { title: 'Only in snapshot', align: 'right' as const },
    { title: trouble === 'sound' ? 'Only in file' : 'Only recovered', align: 'right' as const },
  ]
  const rows = tables.map(({ table, before, after, onlyBefore, onlyAfter }) => [
    table,
    shown(before),
    shown(after),
    shown(onlyBefore),
    shown(onlyAfter),
  ])
  return formatTable(columns, rows, { style, width })
    .split('\n')
    .map((line) => `  ${line}`)
}

function lossLines(
  {
    use,
    rowsLost,
    mayLoseMore,
    timeLost,
    trouble,
  }: Pick<DatabaseFacts, 'use' | 'rowsLost' | 'mayLoseMore' | 'timeLost' | 'trouble'>,
  style: Style,
) {
  if (use === 'nothing') return []
  if (rowsLost === 0 && !mayLoseMore && timeLost === undefined) return [style.green('Nothing is lost.')]
  const lines: string[] = []
  if (rowsLost > 0)
    lines.push(style.yellow(`Lost: ${counted(rowsLost, 'row')} that ${rowsLost === 1 ? 'is' : 'are'} known.`))
  if (timeLost !== undefined) {
    const { from, to } = timeLost
    const length = formatDuration(new Date(to).getTime() - new Date(from).getTime())
    lines.push(
      style.yellow(`Lost: what was written after ${formatDate(new Date(from))}, that is in the last ${length}.`),
    )
  }
  if (mayLoseMore && use === 'recovered')
    lines.push('Rows newer than the snapshot on pages that cannot be read are lost, too. Nobody can count them.')
  if (mayLoseMore && use === 'snapshot' && trouble !== 'missing')
    lines.push('The original is kept: an expert may still get more out of it.')
  return lines
}

export function databasePlanJson(plan: DatabaseRescuePlan) {
  const {
    app,
    path,
    trouble,
    seen,
    lastWritten,
    snapshot,
    passedOver,
    way,
    notRecovered,
    tables,
    use,
    why,
    rowsLost,
    mayLoseMore,
  } = plan
  return {
    message_type: 'plan',
    playbook: 'database',
    app,
    database: path,
    trouble,
    seen,
    last_written: lastWritten,
    snapshot_id: snapshot?.id,
    snapshot_time: snapshot?.time,
    passed_over: passedOver,
    recovered_by: way,
    not_recovered: notRecovered,
    tables: tables.map(tableJson),
    use,
    why,
    rows_lost: rowsLost,
    may_lose_more: mayLoseMore,
    time_lost: plan.timeLost,
    original: plan.aside,
    service: plan.service,
    resumes: plan.resumes,
    others: plan.others.map((each) => ({ database: each.path, trouble: each.trouble, seen: each.seen })),
    steps: plan.steps.map(({ id, title, detail }) => ({ step: id, title, detail })),
  }
}

export function rescuedDatabaseLines(summary: FinishedSummary): string[] {
  if (summary.declined === true) return ['Nothing was changed']
  const facts = summary as unknown as {
    database: string
    used: DatabaseFacts['use']
    rows_lost: number
    may_lose_more: boolean
    time_lost?: { from: string; to: string }
    original?: string
  }
  if (facts.used === 'nothing') return []
  const from =
    facts.time_lost === undefined ? [] : [`what was written after ${formatDate(new Date(facts.time_lost.from))}`]
  const rows = facts.rows_lost === 0 ? [] : [counted(facts.rows_lost, 'known row')]
  const lost = [...rows, ...from]
  return [
    '',
    `${escapeText(facts.database)} is ${facts.used === 'snapshot' ? 'back from the snapshot' : 'recovered'}`,
    `Lost: ${lost.length > 0 ? lost.join(', ') : facts.may_lose_more ? 'nothing that is known' : 'nothing'}`,
    ...(facts.original === undefined
      ? []
      : [
          `The original is kept: ${escapeText(facts.original)}`,
          'Next: look at the application. Then find out why: the disk (dmesg, smartctl), a crash, a copy over a database in use.',
        ]),
  ]
}
