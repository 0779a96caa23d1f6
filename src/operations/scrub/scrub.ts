import type { PackId } from '../../engine/format/id.ts'
import { type CheckReport, checkRepository } from '../../engine/repository/check.ts'
import { planScrub, type ScrubRecord } from '../../engine/repository/plan-scrub.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import type { RepositoryAccess } from '../access.ts'
import { runInRepository, type Surroundings } from '../run-in-repository.ts'
import { checkFinding } from '../verify/check.ts'
import { loadScrubState, saveScrubState } from './scrub-state.ts'

export interface ScrubOptions extends Surroundings {
  /** Every pack is read again within this time, in ms, if a scrub runs often enough: several times in it. */
  readonly within: number
  /** Remembers when which pack was read. Its folder exists. */
  readonly stateFile: string
  /** ms since the epoch */
  readonly now?: () => number
}

export interface ScrubReport extends CheckReport {
  /** `failed`: the repository is damaged. */
  readonly outcome: 'succeeded' | 'failed'
  readonly packsRead: number
  /** Packs that are there but were not read since the state begins. */
  readonly packsUnread: number
  /** Packs that should have been read by now: the promise is broken for them. */
  readonly packsOverdue: number
  /** When the pack that has waited longest was last read, or first met; undefined for a repository without packs. */
  readonly oldest: Date | undefined
}

/** What was read is noted this often, so that a run that is cut short loses no more. */
const SAVE_MILLISECONDS = 30_000

/**
 * Reads a part of the repository again, the part that was not read for longest, so that run after run everything is read within the
 * time. Holds keys, index and snapshot files, which are few, against their hashes each time. A pack that is damaged is read again in
 * every run until it is repaired. Shares the lock: backups go on meanwhile.
 */
export async function scrub(access: RepositoryAccess, options: ScrubOptions): Promise<ScrubReport> {
  return runInRepository(
    access,
    { ...options, operation: 'scrub', lock: 'shared', uncached: true, changes: false },
    (repository, signal) => scrubRepository(repository, { ...options, signal }),
    ({ errors, packs, packsRead, bytesRead, packsUnread, packsOverdue, oldest }) => ({
      num_errors: errors,
      packs,
      packs_read: packsRead,
      bytes_read: bytesRead,
      packs_unread: packsUnread,
      packs_overdue: packsOverdue,
      oldest: oldest?.toISOString() ?? null,
    }),
  )
}

async function scrubRepository(repository: Repository, options: ScrubOptions): Promise<ScrubReport> {
  const { within, stateFile, observe, signal, now = Date.now } = options
  const begun = now()
  const { id } = repository.config
  const { state, unusable } = await loadScrubState(stateFile, id)
  if (unusable !== undefined) {
    const message = `${stateFile} is not used: ${unusable}; from today on everything is read within the time again`
    observe({ type: 'finding', finding: { severity: 'warning', code: 'scrub-state-lost', message, path: stateFile } })
  }
  let records = new Map<PackId, ScrubRecord>(state.packs)
  const save = (lastRun: number | undefined) => saveScrubState(stateFile, id, { lastRun, packs: new Map(records) })
  let packsRead = 0
  let savedAt = begun
  let saving: Promise<void> = Promise.resolve()
  let report: CheckReport
  try {
    report = await checkRepository(repository, {
      trees: false,
      readData: (packs) => {
        const plan = planScrub(packs, state, { within, now: begun })
        records = new Map(plan.records)
        return plan.read
      },
      onPackRead: (pack, sound) => {
        packsRead += 1
        if (sound) records.set(pack, { ...records.get(pack)!, read: now() })
        if (now() - savedAt < SAVE_MILLISECONDS) return
        savedAt = now()
        saving = saving.then(() => save(state.lastRun))
        saving.catch(() => {}) // thrown at the end, where it is waited for
      },
      onFinding: (finding) => observe({ type: 'finding', finding: checkFinding(finding) }),
      onProgress: (phase, done, total) => observe({ type: 'progress', phase, done, ...(total ? { total } : {}) }),
      signal,
    })
  } catch (error) {
    // What was read is read, however the run ended. That it cannot be noted as well is not what has to be known then.
    await Promise.allSettled([saving.then(() => save(state.lastRun))])
    throw error
  }
  await saving
  await save(begun)
  const waiting = [...records.values()].map(({ seen, read }) => read ?? seen)
  return {
    ...report,
    outcome: report.errors > 0 ? 'failed' : 'succeeded',
    packsRead,
    packsUnread: [...records.values()].filter(({ read }) => read === undefined).length,
    packsOverdue: waiting.filter((time) => time + within < now()).length,
    oldest: waiting.length === 0 ? undefined : new Date(Math.min(...waiting)),
  }
}
