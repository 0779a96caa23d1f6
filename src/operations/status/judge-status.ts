import { after, approximateSeconds, type Duration } from '../../application/config/duration.ts'
import type { Finding } from '../../application/finding.ts'
import type { GoodCopy, RunRecord, SnapshotRecord } from '../../application/journal/journal-record.ts'
import { drillDue } from './drill-due.ts'
import type { StatusFacts } from './status-facts.ts'

/** `incomplete`: it could be brought back, but look at it; `bad`: it could not, or more would be lost than was promised. */
export type Health = 'good' | 'incomplete' | 'bad'

export interface StatusReport {
  readonly health: Health
  /** Worst first, each with what to do. */
  readonly findings: readonly Finding[]
  readonly rpo: {
    readonly target: Duration | undefined
    /** What would be lost now, in ms: since the last good copy of the component that has the oldest. */
    readonly now: number | undefined
    /** The longest time between two good snapshots of everything in the last 30 days, in ms. */
    readonly worst: number | undefined
  }
  readonly rto: {
    readonly target: Duration | undefined
    /** How long a recovery takes, in ms, as a drill or a recovery in full measured it. */
    readonly measured: number | undefined
    readonly by: RunRecord | undefined
  }
  /** When the next drill is due; undefined where none is configured or there is nothing to rehearse yet. */
  readonly drillDue: Date | undefined
}

const DAY = 86_400_000
const COMPARED_DAYS = 30
/** Something should have looked into the snapshots within this time. */
const VERIFIED_DAYS = 30
const RANKS = { error: 0, warning: 1, note: 2 } as const

/** Judges what is known. Reads nothing. */
export function judgeStatus(facts: StatusFacts): StatusReport {
  const { config, now, components, snapshots, recovery } = facts
  const ages = components.map(({ copy }) => copy && now.getTime() - copy.time.getTime())
  const current = ages.some((age) => age === undefined) ? undefined : Math.max(...(ages as number[]))
  const rpo = { target: config.objectives.rpo, now: current, worst: worstGap(facts) }
  const measured = recovery?.milliseconds
  const rto = { target: config.objectives.rto, measured, by: recovery }
  const due = drillDue(config.drill, facts.rehearsed?.started, snapshots[0]?.time)
  const found: Finding[] = [
    ...facts.findings,
    ...(snapshots.length === 0 && facts.sources.repository !== 'unavailable'
      ? [error('never-backed-up', 'Nothing was backed up yet', 'Run `holdfast backup`')]
      : [...copyFindings(facts), ...lossFindings(facts)]),
    ...backupFindings(facts),
    ...proofFindings(facts),
    ...drillFindings(facts, due),
    ...(rto.target && measured !== undefined && measured > milliseconds(rto.target)
      ? [
          error(
            'rto-missed',
            `A recovery takes longer than the objective of ${rto.target.text}`,
            'Speed it up, or promise less (`objectives.rto`)',
          ),
        ]
      : []),
  ]
  const findings = found.toSorted((a, b) => RANKS[a.severity] - RANKS[b.severity])
  const worst = findings[0]?.severity
  const health = worst === 'error' ? 'bad' : worst === 'warning' ? 'incomplete' : 'good'
  return { health, findings, rpo, rto, drillDue: due }
}

export function milliseconds(duration: Duration): number {
  return approximateSeconds(duration) * 1000
}

function copyFindings({ components }: StatusFacts): Finding[] {
  return components
    .filter(({ copy }) => copy === undefined)
    .map(({ name }) => ({
      ...error('no-good-copy', `There is no good copy of ${name}`, 'Run `holdfast backup`, and see what it says of it'),
      component: name,
    }))
}

/** Components that are older than they may be, those of the same age in one finding. */
function lossFindings({ components, config, now }: StatusFacts): Finding[] {
  const { rpo } = config.objectives
  if (rpo === undefined) return []
  const late = components.filter(({ copy }) => copy !== undefined && after(copy.time, rpo) < now)
  if (late.length === 0) return []
  const names = late.map(({ name }) => name).join(', ')
  const oldest = Math.min(...late.map(({ copy }) => copy!.time.getTime()))
  const message = `The last good copy of ${names} is of ${stamp(new Date(oldest))}, older than the objective of ${rpo.text} allows`
  return [error('rpo-missed', message, 'Run `holdfast backup`; `holdfast doctor` shows whether the schedule runs')]
}

function backupFindings({ last: { backup }, sources }: StatusFacts): Finding[] {
  if (backup === undefined || sources.journal === 'unavailable') return []
  const see = `See \`holdfast history ${backup.id}\`, then run \`holdfast backup\``
  switch (backup.state) {
    case 'failed':
      return [error('backup-failed', `The last backup failed${reasonOf(backup)}`, see)]
    case 'interrupted':
      return [warning('backup-interrupted', 'The last backup was cut off', 'Run `holdfast backup`')]
    case 'incomplete':
      return [warning('backup-incomplete', 'The last backup could not store everything', see)]
    case 'succeeded':
    case 'running':
      return []
  }
}

function proofFindings(facts: StatusFacts): Finding[] {
  const { components, damaged, snapshots, last, now } = facts
  const found: Finding[] = []
  const isThere = new Set(snapshots.map(({ id }) => id))
  const broken = damaged.filter((id) => isThere.has(id))
  if (broken.length > 0) {
    const which = broken.map((id) => id.slice(0, 8)).join(', ')
    const message = `${broken.length === 1 ? 'Snapshot' : 'Snapshots'} ${which} ${broken.length === 1 ? 'is' : 'are'} damaged`
    found.push(
      error(
        'snapshot-damaged',
        message,
        'Run `holdfast check --read-data`: it says what is damaged and what repairs it',
      ),
    )
  }
  for (const run of [last.verify, last.check]) {
    if (run?.state !== 'failed') continue
    // A snapshot that is no longer there, or proven since, is nothing to worry about.
    const since = run.operation === 'verify' ? last.check : last.verify
    if (since?.state === 'succeeded' && since.started > run.started) continue
    found.push(
      error(
        `${run.operation}-failed`,
        `The last ${run.operation} failed${reasonOf(run)}`,
        `See \`holdfast history ${run.id}\``,
      ),
    )
  }
  const unproven = components.filter(({ copy }) => copy !== undefined && copy.proof === undefined)
  if (unproven.length > 0) {
    const names = unproven.map(({ name }) => name).join(', ')
    found.push(warning('unproven', `Nothing is proven of the last copy of ${names}`, 'Run `holdfast verify`'))
  }
  const first = snapshots[0]?.time
  const looked = [last.verify, last.check].flatMap((run) => (run?.state === 'succeeded' ? [run.started] : []))
  const newest = Math.max(first?.getTime() ?? now.getTime(), ...looked.map((at) => at.getTime()))
  if (now.getTime() - newest > VERIFIED_DAYS * DAY) {
    const message = `No \`verify\` or \`check\` has succeeded for ${VERIFIED_DAYS} days`
    found.push(warning('verify-overdue', message, 'Run `holdfast verify --read-data`, and schedule it'))
  }
  return found
}

function drillFindings({ last: { drill }, now }: StatusFacts, due: Date | undefined): Finding[] {
  const found: Finding[] = []
  if (drill?.state === 'failed')
    found.push(error('drill-failed', `The last drill failed${reasonOf(drill)}`, `See \`holdfast history ${drill.id}\``))
  if (due !== undefined && due < now)
    found.push(warning('drill-overdue', `A drill was due on ${stamp(due).slice(0, 10)}`, 'Run `holdfast drill`'))
  return found
}

/** Between good snapshots of everything, and from the last one until now. */
function worstGap({ components, snapshots, now }: StatusFacts): number | undefined {
  const begin = now.getTime() - COMPARED_DAYS * DAY
  const times = snapshots.filter((snapshot) => isGood(snapshot, components)).map(({ time }) => time.getTime())
  const last = times.at(-1)
  if (last === undefined) return undefined
  const gaps = times.slice(1).map((time, at) => ({ time, gap: time - times[at]! }))
  return Math.max(now.getTime() - last, ...gaps.filter(({ time }) => time >= begin).map(({ gap }) => gap))
}

function isGood({ copies }: SnapshotRecord, components: StatusFacts['components']): boolean {
  // One that came into the config later could not be in it.
  const good = new Set(copies.filter(({ outcome }) => outcome === 'succeeded').map(({ component }) => component))
  const known = new Set(copies.map(({ component }) => component))
  return (
    components.some(({ name }) => good.has(name)) && components.every(({ name }) => !known.has(name) || good.has(name))
  )
}

export function proofOf(copy: GoodCopy): string {
  return copy.proof?.level ?? 'stored'
}

function reasonOf({ summary }: RunRecord): string {
  return typeof summary.error === 'string' ? `: ${summary.error}` : ''
}

/** `2026-11-01 02:00 UTC` */
function stamp(date: Date): string {
  return `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

function error(code: string, message: string, hint: string): Finding {
  return { severity: 'error', code, message, hint }
}

function warning(code: string, message: string, hint: string): Finding {
  return { severity: 'warning', code, message, hint }
}
