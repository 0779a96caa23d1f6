import { rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import { type Journal, openJournal, readJournal } from '../../application/journal/journal.ts'
import { makePrivateFolder } from '../../application/sources/private-folder.ts'
import { CodedError } from '../../engine/error.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { journalOf } from '../journal/journal-of.ts'
import { type SyncReport, syncJournal } from '../journal/sync-journal.ts'
import { channelName, readChannelState } from '../notify/channel-state.ts'
import { deliveryFinding } from '../notify/notify.ts'
import { isFullRecovery } from '../recovery/measured-runs.ts'
import type { SourceState, StatusFacts } from './status-facts.ts'

export interface GatherOptions {
  readonly now?: Date
  /** Take over the past from the repository, whatever the journal knows. */
  readonly rebuild?: boolean
  readonly signal: AbortSignal
}

/** A run that says something about how long a recovery takes. */
const RECOVERIES = ['drill', 'restore']

/**
 * What is known of the state of an application: from its journal, and from the repository, which also tells what the journal has
 * lost. Either may be missing; that is a finding then. Rejects only when interrupted.
 */
export async function gatherStatus(
  config: Config,
  access: RepositoryAccess,
  { now = new Date(), rebuild = false, signal }: GatherOptions,
): Promise<StatusFacts & { readonly sync: SyncReport | undefined }> {
  const findings: Finding[] = []
  const find = (finding: Finding) => void findings.push(finding)
  await using open = await openForStatus(config, find)
  const { journal, folder } = open
  let repository: SourceState = 'used'
  let sync: SyncReport | undefined
  try {
    sync = await withRepository(access, { lock: 'none', signal }, (plain) =>
      syncJournal(plain, journal, { app: config.app, folder, rebuild: rebuild || open.isNew, find, signal }),
    )
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof CodedError)) throw error
    repository = 'unavailable'
    find({
      severity: 'error',
      code: 'repository-unreachable',
      message: `The repository cannot be asked, and what is shown here is what the journal knows: ${error.message}`,
      hint: error.hint ?? 'Run `holdfast doctor`: it looks for the cause',
    })
  }
  const hasPast = journal.snapshots().length > 0
  if (open.isNew && hasPast) {
    const where = open.isKept ? 'it is written anew' : 'it cannot be written anew'
    const message = `There was no journal at ${journalOf(config)}: what is shown comes from the repository; ${where}`
    find({ severity: 'warning', code: 'journal-missing', message })
  }
  for (const channel of config.notify) {
    const problem = readChannelState(journal, channel).last?.problem
    const hint = 'Run `holdfast doctor notify`: it looks for the cause'
    if (problem !== undefined) find(deliveryFinding({ channel: channelName(channel), problem, hint }))
  }
  const newest = (operation: string) => journal.runs({ operation, limit: 1 })[0]
  return {
    sync,
    config,
    components: config.components.map(({ name, kind }) => ({ name, kind, copy: journal.lastGood(name) })),
    snapshots: journal.snapshots(),
    damaged: journal.damages().map(({ snapshot }) => snapshot),
    last: {
      backup: newest('backup'),
      verify: newest('verify'),
      check: newest('check'),
      drill: newest('drill'),
    },
    rehearsed: journal.runs({ operation: 'drill', state: ['succeeded', 'incomplete'], limit: 1 })[0],
    recovery: journal
      .runs({ operation: RECOVERIES, state: ['succeeded', 'incomplete'] })
      .find((run) => run.operation === 'drill' || isFullRecovery(run)),
    sources: { journal: open.isNew ? (hasPast ? 'rebuilt' : 'unavailable') : 'used', repository },
    findings,
    now,
  }
}

interface OpenJournal extends AsyncDisposable {
  readonly journal: Journal
  readonly folder: string
  /** There was none that could be read. */
  readonly isNew: boolean
  /** What is written stays; otherwise it is a copy for the moment. */
  readonly isKept: boolean
}

async function openForStatus(config: Config, find: (finding: Finding) => void): Promise<OpenJournal> {
  const path = journalOf(config)
  const folder = await makePrivateFolder(tmpdir(), 'holdfast-status')
  const release = (journal: Journal) => async () => {
    journal[Symbol.dispose]()
    await rm(folder, { recursive: true, force: true })
  }
  const isThere = await stat(path).then(
    () => true,
    () => false, // for whatever reason: opening it says which
  )
  let isNew = !isThere
  try {
    const journal = openJournal(path, {
      onSetAside({ message }, aside) {
        isNew = true
        const text = `${message}; it is now ${aside}, and what the repository knows is in a new one`
        find({ severity: 'warning', code: 'journal-damaged', message: text })
      },
    })
    return { journal, folder, isNew, isKept: true, [Symbol.asyncDispose]: release(journal) }
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    const { message, hint = 'Run `holdfast doctor`: it looks for the cause' } = error
    find({ severity: 'warning', code: 'journal-unusable', message, hint })
  }
  const copy = join(folder, 'journal.db')
  const isCopied = await copyTo(path, copy)
  const journal = openJournal(copy)
  return { journal, folder, isNew: !isCopied, isKept: false, [Symbol.asyncDispose]: release(journal) }
}

/** What may not be written can perhaps be read. */
async function copyTo(path: string, copy: string): Promise<boolean> {
  try {
    using journal = readJournal(path)
    await journal?.copyTo(copy)
    return journal !== undefined
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return false // it has been said that it is unusable
  }
}
