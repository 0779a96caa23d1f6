import { lstat, readdir, readFile, rename, rm, unlink } from 'node:fs/promises'
import { posix } from 'node:path'
import { z } from 'zod'
import { identifiedLives } from '../../engine/os/process-identity.ts'
import { processLives } from '../../engine/os/process-lives.ts'
import { synchronizeFolder, writeFileDurably } from '../../engine/os/write-file-durably.ts'
import { OperationError } from '../error.ts'

// A restore in place stages each unit in a folder beside it:
//
//   .holdfast-restore-20261101-020000-4711-0/    time, process, number of the unit
//     restore.json                               this record
//     staged                                     what is to take the place of the live entry
//
// `staged` and the live entry change places in one step, after which `staged` is what was there; it then becomes
// `NAME.before-TIME`. A process that is killed leaves the folder behind. The record notes which of the two is which, by
// device and inode, just before the first of them is moved: so the next restore can tell how far the killed one came.

export const STAGE_PREFIX = '.holdfast-restore-'
const RECORD = 'restore.json'
const STAGED = 'staged'

const record = z.object({
  format: z.literal(1),
  /** The live entry. */
  path: z.string(),
  /** Where it goes. */
  before: z.string(),
  /** Entries of the live folder that move over into the new one. */
  kept: z.array(z.string()),
  /** `-wal` and the like of a live database, which go where it goes. */
  sidecars: z.array(z.string()),
  /** As `processIdentity` names it. */
  process: z.string(),
  /** Absent as long as nothing was moved: device and inode of what was staged, and of what was there. */
  identities: z.object({ staged: z.string(), live: z.string().optional() }).optional(),
})

export type RestoreRecord = z.infer<typeof record>

export function stagedIn(stage: string): string {
  return `${stage}/${STAGED}`
}

export async function writeRecord(stage: string, value: RestoreRecord): Promise<void> {
  await writeFileDurably(`${stage}/${RECORD}`, Buffer.from(`${JSON.stringify(value)}\n`), { mode: 0o600 })
}

/** Stages that this process is at work in. One of its own that is not among them was left by an earlier restore. */
export const activeStages = new Set<string>()

/** Device and inode of an entry, a link not followed; undefined when nothing is there. */
export async function identityOf(path: string): Promise<string | undefined> {
  const stats = await lstat(path, { bigint: true }).catch(ignoreMissing)
  return stats && `${stats.dev}:${stats.ino}`
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'ESRCH') return undefined
  throw error
}

/** What a restore that did not come to its end left in a folder. */
export interface InterruptedRestore {
  readonly stage: string
  /** Undefined when it was killed before it had written one: then it had staged nothing. */
  readonly record: RestoreRecord | undefined
}

/**
 * The leftovers in some folders. Reads only. Rejects with `IN_USE` when the restore that they belong to is still running.
 * What looks like one but belongs to somebody else, or is no record of ours, is left alone.
 */
export async function findInterrupted(folders: Iterable<string>): Promise<InterruptedRestore[]> {
  const found: InterruptedRestore[] = []
  for (const folder of new Set(folders)) {
    for (const name of ((await readdir(folder).catch(ignoreMissing)) ?? []).sort()) {
      const pid = new RegExp(`^${STAGE_PREFIX.replace('.', '\\.')}\\d{8}-\\d{6}-(\\d+)-\\d+$`).exec(name)?.[1]
      if (pid === undefined) continue
      const stage = posix.join(folder, name)
      const stats = await lstat(stage).catch(ignoreMissing)
      if (!stats?.isDirectory() || stats.uid !== process.geteuid?.()) continue
      const leftover = await readLeftover(stage)
      if (leftover === undefined) continue
      const isOfEarlier = Number(pid) === process.pid && !activeStages.has(stage)
      const owner = leftover.record?.process
      const lives = owner === undefined ? processLives(Number(pid)) : identifiedLives(owner)
      if (lives && !isOfEarlier) throw stillRunning(stage, Number(pid))
      found.push(leftover)
    }
  }
  return found
}

async function readLeftover(stage: string): Promise<InterruptedRestore | undefined> {
  const bytes = await readFile(`${stage}/${RECORD}`).catch(ignoreMissing)
  if (bytes === undefined) {
    const isOurs = (await readdir(stage)).every((name) => name.startsWith(`${RECORD}-tmp-`))
    return isOurs ? { stage, record: undefined } : undefined
  }
  const parsed = parseRecord(bytes, stage)
  return parsed && { stage, record: parsed }
}

/** Undefined for anything that was not written by us about this stage. */
export function parseRecord(bytes: Buffer, stage: string): RestoreRecord | undefined {
  const parsed = record.safeParse(parseJson(bytes))
  // A record speaks of entries beside its own folder.
  if (!parsed.success || posix.dirname(parsed.data.path) !== posix.dirname(stage)) return undefined
  return posix.dirname(parsed.data.before) === posix.dirname(stage) ? parsed.data : undefined
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined // no record of ours: those are written whole or not at all
  }
}

function stillRunning(stage: string, pid: number): OperationError {
  return new OperationError('IN_USE', `Cannot restore beside ${stage}: process ${pid} is restoring there`, {
    facts: { path: stage, pid },
    hint: 'Wait for it to end',
  })
}

/**
 * Ends what a killed restore began with one unit: what had not changed places yet is taken back, what had is completed. No
 * content is removed but what was staged from a snapshot. May be called again after it was itself interrupted.
 */
export async function settleInterrupted({ stage, record }: InterruptedRestore): Promise<'taken-back' | 'completed'> {
  const swapped = record?.identities === undefined ? false : await settleUnit(stage, record, record.identities)
  await rm(stage, { recursive: true, force: true })
  if (record) await synchronizeFolder(posix.dirname(record.path))
  return swapped ? 'completed' : 'taken-back'
}

async function settleUnit(
  stage: string,
  { path, before, kept, sidecars }: RestoreRecord,
  { staged, live }: NonNullable<RestoreRecord['identities']>,
): Promise<boolean> {
  const inStage = await identityOf(stagedIn(stage))
  const inPlace = await identityOf(path)
  const aside = await identityOf(before)
  if (inStage === staged) {
    // Not in its place yet. What was there may have been moved aside already.
    if (live !== undefined && aside === live) {
      if (inPlace === undefined) await rename(before, path)
      else if (inPlace === live) await unlink(before) // a second name of the same file
    }
    for (const sidecar of sidecars) await moveIfAbsent(before + sidecar.slice(path.length), sidecar)
    return false
  }
  const old = inStage !== undefined && inStage === live ? stagedIn(stage) : before
  if (inPlace === staged) {
    for (const entry of kept) await moveIfAbsent(old + entry.slice(path.length), entry)
  }
  // Whatever is in the stage now is not what was staged, so nobody else has it.
  if (inStage !== undefined) await rename(stagedIn(stage), aside === undefined ? before : `${before}-1`)
  return true
}

async function moveIfAbsent(from: string, to: string): Promise<void> {
  if ((await identityOf(to)) !== undefined) return
  await rename(from, to).catch(ignoreMissing)
}
