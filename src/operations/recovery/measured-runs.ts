import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import type { Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import { type Journal, readJournal } from '../../application/journal/journal.ts'
import type { RunRecord } from '../../application/journal/journal-record.ts'
import { makePrivateFolder } from '../../application/sources/private-folder.ts'
import { CodedError } from '../../engine/error.ts'
import { withJournalCopy } from '../journal/journal-copy-in-snapshot.ts'
import { journalOf } from '../journal/journal-of.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import type { MeasuredRun, RecoveryPhase } from './predict-recovery.ts'

/** So many of each kind at most: an older one may have measured what newer ones left out. */
const RUNS_READ = 20

/**
 * Drills and whole recoveries of an application that ended well, newest first, as the journal of this machine and the copy in the
 * snapshot know them. What cannot be read is told: how long it takes is then less known, and nothing else.
 */
export async function measuredRuns(
  chosen: ChosenSnapshot,
  config: Pick<Config, 'app' | 'stateDirectory'>,
  find: (finding: Finding) => void,
  signal: AbortSignal,
): Promise<readonly MeasuredRun[]> {
  const runs = new Map<number, MeasuredRun>()
  const take = (journal: Journal) => {
    for (const run of measuredIn(journal, config.app)) runs.set(run.at.getTime(), run)
  }
  const attempt = async (where: string, action: () => void | Promise<void>) => {
    try {
      await action()
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      find({
        severity: 'note',
        code: 'times-unknown',
        message: `How long earlier recoveries took is not known from ${where}: ${error.message}`,
      })
    }
  }
  await attempt('the journal in the snapshot', async () => {
    const folder = await makePrivateFolder(tmpdir(), 'holdfast-plan')
    try {
      const { repository, stored } = chosen
      await withJournalCopy(repository, stored, join(folder, 'journal.db'), take, signal)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
  await attempt('the journal of this machine', () => {
    using journal = readJournal(journalOf(config))
    if (journal !== undefined) take(journal)
  })
  return [...runs.values()].toSorted((a, b) => b.at.getTime() - a.at.getTime())
}

/** A recovery of a whole server, step by step. */
export function isFullRecovery({ operation, subject }: Pick<RunRecord, 'operation' | 'subject'>): boolean {
  return operation === 'restore' && subject.endsWith(' in full')
}

function measuredIn(journal: Journal, app: string): MeasuredRun[] {
  const state = ['succeeded', 'incomplete'] as const
  const drills = journal.runs({ operation: 'drill', state, limit: RUNS_READ }).filter(({ subject }) => subject === app)
  const recoveries = journal.runs({ operation: 'restore', state }).filter(isFullRecovery).slice(0, RUNS_READ)
  return [...drills.flatMap(drillRun), ...recoveries.flatMap((run) => recoveryRun(run, journal))]
}

// A copy comes out of the repository, so what stands in it is looked at twice.
const amount = z.number().finite().nonnegative()
const drillSummary = z.object({
  bytes_restored: amount,
  phases: z.array(z.object({ phase: z.string(), milliseconds: amount })),
})
const recoverySummary = z.object({ bytes_restored: amount })

function drillRun({ summary, host, started }: RunRecord): MeasuredRun[] {
  const parsed = drillSummary.safeParse(summary)
  if (!parsed.success) return []
  const { phases, bytes_restored: bytes } = parsed.data
  return [{ by: 'drill', at: started, host, bytes, phases: drillPhases(phases) }]
}

/** Its phases as those of a recovery, which opens databases before it puts them in place as a drill verifies them. */
export function drillPhases(
  phases: readonly { readonly phase: string; readonly milliseconds: number }[],
): MeasuredRun['phases'] {
  return sums(phases.map(({ phase, milliseconds }) => [DRILL_PHASES.get(phase), milliseconds]))
}

const DRILL_PHASES: ReadonlyMap<string, RecoveryPhase> = new Map([
  ['restore', 'restore'],
  ['verify', 'restore'],
  ['install', 'install'],
  ['build', 'build'],
  ['start', 'start'],
  ['health', 'health'],
])

function recoveryRun({ id, summary, host, started }: RunRecord, journal: Journal): MeasuredRun[] {
  const parsed = recoverySummary.safeParse(summary)
  if (!parsed.success) return []
  // Of one that went on with another, what was done in it.
  const steps = journal.steps(id).filter(({ outcome, facts }) => outcome === 'succeeded' && 'title' in facts)
  const phases = sums(steps.map(({ name, milliseconds = 0 }) => [phaseOfStep(name), milliseconds]))
  return [{ by: 'recovery', at: started, host, bytes: parsed.data.bytes_restored, phases }]
}

/** What a step of a recovery counts as. */
export function phaseOfStep(step: string): RecoveryPhase {
  if (step.startsWith('restore:')) return 'restore'
  if (step === 'check') return 'health'
  return step === 'install' || step === 'build' || step === 'start' ? step : 'rest'
}

function sums(parts: readonly (readonly [RecoveryPhase | undefined, number])[]): MeasuredRun['phases'] {
  const sum: Partial<Record<RecoveryPhase, number>> = {}
  for (const [phase, milliseconds] of parts) {
    if (phase !== undefined) sum[phase] = (sum[phase] ?? 0) + milliseconds
  }
  return sum
}
