import { mkdir, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { identifiedLives, processIdentity } from '../../engine/os/process-identity.ts'
import { writeFileDurably } from '../../engine/os/write-file-durably.ts'
import { OperationError } from '../error.ts'

/** What a step notes about itself, for the case that it is cut off or taken back; plain JSON. */
export type StepFacts = Readonly<Record<string, unknown>>

const step = z.object({
  id: z.string(),
  title: z.string(),
  /** `begun` is what a step stays that was cut off. */
  state: z.enum(['pending', 'begun', 'done', 'failed', 'undone']),
  result: z.string().optional(),
  /** All attempts together. */
  milliseconds: z.number(),
  facts: z.record(z.string(), z.unknown()),
})

const record = z.object({
  format: z.literal(1),
  operation: z.string(),
  subject: z.string(),
  /** ISO 8601, UTC: when the first run began. */
  begun: z.string(),
  /** What was asked for. Another run goes on with this one only when it asks for the same. */
  request: z.record(z.string(), z.unknown()),
  /** What else it was begun with, for whoever goes on with it. */
  surroundings: z.record(z.string(), z.unknown()).default({}),
  /** As `processIdentity` names it. */
  process: z.string(),
  state: z.enum(['running', 'finished', 'undoing', 'undone']),
  steps: z.array(step),
})

export type StepState = z.infer<typeof step>
export type StepRecord = z.infer<typeof record>

/** An honest one has some kilobytes. */
const RECORD_LIMIT = 16 * 1024 * 1024

/**
 * The record of the last run of an operation in steps; undefined when there is none. Rejects with `IN_USE` while that run is
 * still at work, and with `RESUME` when the file is no record.
 */
export async function readStepRecord(file: string): Promise<StepRecord | undefined> {
  const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
    throw error
  })
  if (bytes === undefined) return undefined
  const parsed = record.safeParse(bytes.length > RECORD_LIMIT ? undefined : parseJson(bytes))
  if (!parsed.success) {
    throw new OperationError('RESUME', `Cannot read ${file}, which says how far an earlier run came`, {
      facts: { file },
      hint: 'Remove it to begin anew: what is in place by then is kept beside the new, as NAME.before-TIME',
      cause: parsed.error,
    })
  }
  const { state, process: owner, operation } = parsed.data
  const isActive = state === 'running' || state === 'undoing'
  if (isActive && owner !== processIdentity() && identifiedLives(owner)) {
    const [, pid] = owner.split(':')
    throw new OperationError('IN_USE', `Cannot ${operation}: process ${pid} is at it`, {
      facts: { file, pid },
      hint: 'Wait for it to end',
    })
  }
  return parsed.data
}

/** Whether an unfinished run has put all in place, and only the application did not start or is not well. */
export function isInPlace({ state, steps }: StepRecord): boolean {
  return (
    state === 'running' && steps.every(({ id, state: each }) => id === 'start' || id === 'check' || each === 'done')
  )
}

/** A new record, with all steps before it; it is on disk when this resolves. */
export async function beginStepRecord(
  file: string,
  run: Pick<StepRecord, 'operation' | 'subject' | 'request'> & {
    readonly surroundings?: StepRecord['surroundings']
    readonly steps: readonly Pick<StepState, 'id' | 'title'>[]
  },
): Promise<StepRecord> {
  const begun: StepRecord = {
    format: 1,
    operation: run.operation,
    subject: run.subject,
    begun: new Date().toISOString(),
    request: run.request,
    surroundings: run.surroundings ?? {},
    process: processIdentity(),
    state: 'running',
    steps: run.steps.map(({ id, title }) => ({ id, title, state: 'pending', milliseconds: 0, facts: {} })),
  }
  await writeStepRecord(file, begun)
  return begun
}

/** The whole record each time: it is small, and a power cut leaves the one before. */
export async function writeStepRecord(file: string, value: StepRecord): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  await writeFileDurably(file, Buffer.from(`${JSON.stringify(value, null, 2)}\n`), { mode: 0o600 })
}

export async function removeStepRecord(file: string): Promise<void> {
  await rm(file, { force: true })
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined // no record: those are written whole or not at all
  }
}
