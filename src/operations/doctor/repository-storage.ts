import { randomBytes } from 'node:crypto'
import { open, rm, stat, statfs } from 'node:fs/promises'
import { posix } from 'node:path'
import { readJournal } from '../../application/journal/journal.ts'
import { CodedError } from '../../engine/error.ts'
import { journalOf } from '../journal/journal-of.ts'
import { command, type DoctorCheck, type DoctorContext, type DoctorFinding, holdfast } from './doctor-check.ts'

/** A clock that is off by less harms nothing. */
const TOLERATED_MS = 60_000
/** The disk should hold what backups of this time add. */
const DAYS_AHEAD = 30
const DAY = 86_400_000

/** A file written into the repository's folder: whether that works, what time the storage has, and how much room is left. */
export const repositoryStorage: DoctorCheck = {
  name: 'storage',
  title: 'The storage can be written to, has room, and the same time as this machine',
  async run(context) {
    const { config } = context
    const folder = config.repository
    if (!posix.isAbsolute(folder)) return []
    if ((await stat(folder).catch(() => undefined)) === undefined) return [] // the repository is looked for elsewhere
    const written = await writtenFile(folder)
    if (typeof written === 'string') {
      return [
        {
          severity: 'error',
          code: 'repository-not-writable',
          path: folder,
          message: `Cannot write to the repository at ${folder}: ${written}`,
          remedy: command(`sudo ${holdfast(context, 'backup')}`),
        },
      ]
    }
    return [
      ...clockFindings(written.mtimeMs, written.at),
      ...futureFindings(context),
      ...(await spaceFindings(context)),
    ]
  },
}

async function writtenFile(folder: string): Promise<{ readonly mtimeMs: number; readonly at: number } | string> {
  const path = posix.join(folder, `.holdfast-doctor-${randomBytes(6).toString('hex')}`)
  try {
    const handle = await open(path, 'wx', 0o600)
    try {
      await handle.write('x')
      const at = Date.now()
      return { mtimeMs: (await handle.stat()).mtimeMs, at }
    } finally {
      await handle.close()
      await rm(path, { force: true })
    }
  } catch (error) {
    return (error as Error).message
  }
}

/** @param stored what time the storage says it is, in ms */
export function clockFindings(stored: number, here: number): Omit<DoctorFinding, 'check'>[] {
  const off = stored - here
  if (Math.abs(off) <= TOLERATED_MS) return []
  const message = `The clock of this machine and that of the storage differ by ${Math.round(Math.abs(off) / 1000)} s: retention and locks go by them`
  return [{ severity: 'error', code: 'clock-off', message, remedy: command('timedatectl set-ntp true') }]
}

function futureFindings({ config, now }: DoctorContext): Omit<DoctorFinding, 'check'>[] {
  const newest = snapshotsKnown(config)?.at(-1)
  if (newest === undefined || newest.time.getTime() - now.getTime() <= TOLERATED_MS) return []
  const message = `Snapshot ${newest.id.slice(0, 8)} is of ${newest.time.toISOString()}, which is in the future: the clock has gone backwards, or was wrong then`
  return [{ severity: 'error', code: 'snapshot-in-future', message, remedy: command('timedatectl set-ntp true') }]
}

function snapshotsKnown(config: DoctorContext['config']) {
  try {
    using journal = readJournal(journalOf(config))
    return journal?.snapshots()
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return undefined // the check of the journal says so
  }
}

async function spaceFindings(context: DoctorContext): Promise<Omit<DoctorFinding, 'check'>[]> {
  const { config, now } = context
  const { bavail, bsize } = await statfs(config.repository)
  const free = bavail * bsize
  const needed = expectedGrowth(snapshotsKnown(config) ?? [], now)
  if (free >= needed.bytes) return []
  const path = config.repository
  const message = `${path} has ${mebibytes(free)} left, and ${needed.why} ${mebibytes(needed.bytes)}`
  return [
    {
      severity: free < needed.bytes / 10 ? 'error' : 'warning',
      code: 'space-short',
      path,
      message,
      remedy: command(
        `${holdfast(context, 'forget')} --keep-daily 30 --keep-weekly 13 --keep-monthly 12 --keep-yearly 7 --prune`,
      ),
    },
  ]
}

/** What the backups of the next 30 days will add, by what those of the last 30 did. */
export function expectedGrowth(
  snapshots: readonly { readonly time: Date; readonly added: number | undefined }[],
  now: Date,
): { readonly bytes: number; readonly why: string } {
  const recent = snapshots.filter(({ time }) => now.getTime() - time.getTime() < DAYS_AHEAD * DAY)
  const added = recent.reduce((sum, snapshot) => sum + (snapshot.added ?? 0), 0)
  const least = 64 * 1024 * 1024
  if (added <= least) return { bytes: least, why: 'a backup needs some room to work:' }
  const first = recent[0]?.time.getTime() ?? now.getTime()
  const days = Math.max(1, (now.getTime() - first) / DAY)
  return {
    bytes: Math.max(least, (added / days) * DAYS_AHEAD),
    why: `at the pace of late the next ${DAYS_AHEAD} days add`,
  }
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 1024 / 1024)} MiB`
}
