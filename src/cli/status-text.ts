import { hostname } from 'node:os'
import type { RunRecord } from '../application/journal/journal-record.ts'
import { type Health, proofOf, type StatusReport } from '../operations/status/judge-status.ts'
import type { StatusFacts } from '../operations/status/status-facts.ts'
import { formatFinding } from './event-printer.ts'
import { formatBytes, formatDate, formatDuration, formatRelative, shortId } from './format.ts'
import { runJson } from './run-json.ts'
import type { Style } from './style.ts'
import { formatTable } from './table.ts'
import { escapeText } from './terminal-text.ts'

export interface StatusTextOptions {
  readonly style: Style
  readonly width: number | undefined
}

/** The state of an application on one screen. */
export function statusLines(facts: StatusFacts, report: StatusReport, options: StatusTextOptions): string[] {
  const { style, width } = options
  const { config, now } = facts
  return [
    `${style.bold(escapeText(config.app))}  ${config.environment} on ${escapeText(hostname())}  ${style.dim(minutes(now))}`,
    healthLine(report, style),
    '',
    formatTable(COPY_COLUMNS, copyRows(facts), { width, style }),
    '',
    formatTable(OBJECTIVE_COLUMNS, objectiveRows(report), { width, style }),
    '',
    formatTable(RUN_COLUMNS, runRows(facts, report), { width, style }),
    ...(report.findings.length === 0 ? [] : ['']),
    ...report.findings.map((finding) => formatFinding(finding, style, width)),
  ]
}

const HEALTH: Readonly<Record<Health, string>> = {
  good: 'can be brought back, as far as is known',
  incomplete: 'can be brought back, but something needs a look',
  bad: 'something is wrong',
}

function healthLine({ health }: StatusReport, style: Style): string {
  const paint = { good: style.green, incomplete: style.yellow, bad: style.red }[health]
  return `${paint(health)}: ${HEALTH[health]}`
}

const COPY_COLUMNS = [
  { title: 'Component', cut: 'end' },
  { title: 'Last good copy' },
  { title: 'Age' },
  { title: 'Snapshot' },
  { title: 'Size', align: 'right' },
  { title: 'Proof' },
  { title: 'Proven', cut: 'end' },
] as const

function copyRows({ components, now }: StatusFacts): string[][] {
  return components.map(({ name, copy }) => {
    if (copy === undefined) return [name, 'none', '', '', '', '', '']
    const { proof } = copy
    return [
      name,
      minutes(copy.time),
      age(now.getTime() - copy.time.getTime()),
      shortId(copy.snapshot),
      formatBytes(copy.bytes),
      proofOf(copy),
      proof === undefined ? '' : formatDate(proof.at).slice(0, 10),
    ]
  })
}

const OBJECTIVE_COLUMNS = [{ title: 'Objective' }, { title: 'Target' }, { title: 'Measured', cut: 'end' }] as const

function objectiveRows({ rpo, rto }: StatusReport): string[][] {
  const lost =
    rpo.now === undefined
      ? 'not yet'
      : `${age(rpo.now)} now${rpo.worst === undefined ? '' : `, at worst ${age(rpo.worst)} in 30 days`}`
  const taken =
    rto.measured === undefined || rto.by === undefined
      ? 'not yet: `holdfast drill` measures it'
      : `${formatDuration(rto.measured)}, by the ${rto.by.operation} of ${formatDate(rto.by.started).slice(0, 10)}`
  return [
    ['RPO', rpo.target?.text ?? 'none', lost],
    ['RTO', rto.target?.text ?? 'none', taken],
  ]
}

const RUN_COLUMNS = [{ title: 'Last' }, { title: 'When' }, { title: 'Outcome' }, { title: 'Took', cut: 'end' }] as const

function runRows({ last, now, snapshots, sources }: StatusFacts, { drillDue }: StatusReport): string[][] {
  const isKnown = sources.journal === 'used' || (snapshots.length === 0 && sources.repository === 'used')
  const unknown = isKnown ? 'never' : 'not known'
  return Object.entries(last).map(([operation, run]) => {
    if (run === undefined) {
      const due = operation === 'drill' && drillDue !== undefined ? `due ${formatDate(drillDue).slice(0, 10)}` : ''
      return [operation, unknown, due, '']
    }
    return [operation, formatRelative(run.started, now), run.state, tookOf(run)]
  })
}

function tookOf({ milliseconds }: RunRecord): string {
  return milliseconds === undefined ? '' : formatDuration(milliseconds)
}

/** `2026-11-01 02:00`, in the zone of the process. */
function minutes(date: Date): string {
  return formatDate(date).slice(0, 16)
}

/** In its largest unit or two: `35 min`, `6 h`, `3 d`. */
function age(milliseconds: number): string {
  const whole = Math.floor(milliseconds / 60_000)
  if (whole < 60) return `${Math.max(0, whole)} min`
  if (whole < 48 * 60) return `${Math.floor(whole / 60)} h`
  return `${Math.floor(whole / 1440)} d`
}

/** The same for programs. */
export function statusJson(facts: StatusFacts, report: StatusReport): Record<string, unknown> {
  const { config, components, last, sources, now } = facts
  const { rpo, rto, health, findings, drillDue } = report
  return {
    app: config.app,
    environment: config.environment,
    host: hostname(),
    time: now,
    health,
    components: components.map(({ name, kind, copy }) => ({
      name,
      kind,
      last_good: copy && {
        snapshot_id: copy.snapshot,
        time: copy.time,
        host: copy.host,
        files: copy.files,
        bytes: copy.bytes,
        proof_level: proofOf(copy),
        proven_at: copy.proof?.at,
      },
    })),
    rpo: { target: rpo.target?.text, seconds_now: seconds(rpo.now), seconds_worst: seconds(rpo.worst) },
    rto: { target: rto.target?.text, seconds: seconds(rto.measured), measured_by: rto.by?.id },
    last: Object.fromEntries(Object.entries(last).map(([operation, run]) => [operation, run && runJson(run)])),
    drill_due: drillDue,
    journal: sources.journal,
    repository: sources.repository,
    findings,
  }
}

function seconds(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : Math.round(milliseconds / 1000)
}
