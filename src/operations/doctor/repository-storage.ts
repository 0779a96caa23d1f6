import { randomBytes } from 'node:crypto'
import { open, realpath, rm, stat, statfs } from 'node:fs/promises'
import { posix } from 'node:path'
import { readJournal } from '../../application/journal/journal.ts'
import { CodedError } from '../../engine/error.ts'
import { journalOf } from '../journal/journal-of.ts'
import { command, type DoctorCheck, type DoctorContext, type Found, holdfast, mebibytes, word } from './doctor-check.ts'

/** A clock that is off by less harms nothing. */
const TOLERATED_MS = 60_000
const SET_CLOCK = command('timedatectl set-ntp true')
/** The disk should hold what backups of this time add. */
const DAYS_AHEAD = 30
const DAY = 86_400_000

/** A file written into the repository's folder: whether that works, what time the storage has, and how much room is left. */
export const repositoryStorage: DoctorCheck<'storage'> = {
  name: 'storage',
  title: 'The storage can be written to, has room, and the same time as this machine',
  async run(context) {
    const folder = context.config.repository
    if (!posix.isAbsolute(folder)) return []
    if ((await stat(folder).catch(() => undefined)) === undefined) return [] // the repository is looked for elsewhere
    const written = await writtenFile(folder, context.now)
    const found = written instanceof Error ? await refusedFindings(written, context) : clockFindings(written)
    return [...found, ...futureFindings(context), ...(await spaceFindings(context))]
  },
}

interface Written {
  /** What time the storage says it is, in ms. */
  readonly stored: number
  /** And this machine. */
  readonly here: number
}

async function writtenFile(folder: string, now: () => Date): Promise<Written | NodeJS.ErrnoException> {
  const path = posix.join(folder, `.holdfast-doctor-${randomBytes(6).toString('hex')}`)
  try {
    const handle = await open(path, 'wx', 0o600)
    try {
      await handle.write('x')
      const here = now().getTime()
      return { stored: (await handle.stat()).mtimeMs, here }
    } finally {
      await handle.close()
      await rm(path, { force: true })
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error
    return error as NodeJS.ErrnoException
  }
}

async function refusedFindings(error: NodeJS.ErrnoException, context: DoctorContext): Promise<Found<'storage'>[]> {
  if (error.code === 'ENOSPC' || error.code === 'EDQUOT') return [] // that there is no room is found below
  const path = context.config.repository
  const message = `Cannot write to the repository at ${path}: ${error.message}`
  const remedy =
    error.code === 'EROFS'
      ? command(`mount -o remount,rw ${word(await mountPointOf(path))}`)
      : command(`sudo ${holdfast(context, 'backup')}`)
  const hint = error.code === 'EROFS' ? 'A disk with errors is mounted read-only by the kernel: see `dmesg` first' : ''
  return [{ severity: 'error', code: 'repository-not-writable', path, message, ...(hint && { hint }), remedy }]
}

async function mountPointOf(path: string): Promise<string> {
  const { dev } = await stat(path)
  let top = await realpath(path)
  while (top !== '/' && (await stat(posix.dirname(top))).dev === dev) top = posix.dirname(top)
  return top
}

export function clockFindings({ stored, here }: Written): Found<'storage'>[] {
  const off = Math.abs(stored - here)
  if (off <= TOLERATED_MS) return []
  const message = `The clock of this machine and that of the storage differ by ${Math.round(off / 1000)} s: retention and locks go by them`
  return [{ severity: 'error', code: 'clock-off', message, remedy: SET_CLOCK }]
}

function futureFindings({ config, now }: DoctorContext): Found<'storage'>[] {
  const newest = snapshotsKnown(config)?.at(-1)
  if (newest === undefined || newest.time.getTime() - now().getTime() <= TOLERATED_MS) return []
  const message = `Snapshot ${newest.id.slice(0, 8)} is of ${newest.time.toISOString()}, which is in the future: the clock has gone backwards, or was wrong then`
  return [{ severity: 'error', code: 'snapshot-in-future', message, remedy: SET_CLOCK }]
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

async function spaceFindings(context: DoctorContext): Promise<Found<'storage'>[]> {
  const { config, now } = context
  const { bavail, bsize } = await statfs(config.repository)
  const free = bavail * bsize
  const needed = expectedGrowth(snapshotsKnown(config) ?? [], now())
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
