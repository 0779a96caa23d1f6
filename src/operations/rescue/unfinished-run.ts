import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import { OperationError } from '../error.ts'
import { isInPlace, readStepRecord, type StepRecord } from '../steps/step-record.ts'

/** Of recoveries, of the whole application or a part; and of rescues of a database. */
const RECORDS = ['recovery.json', 'rescue-database.json']
const SERVICE_RECORD = 'rescue-service.json'

/** Where the last restart of an application by a rescue is told of. */
export function serviceRecordOf({ stateDirectory }: Pick<Config, 'stateDirectory'>): string {
  return posix.join(stateDirectory, SERVICE_RECORD)
}

/** What replaces files of the application, was begun, and has not put all in place. Rejects with `IN_USE` while it is at work. */
export async function unfinishedRun({
  stateDirectory,
}: Pick<Config, 'stateDirectory'>): Promise<StepRecord | undefined> {
  for (const name of RECORDS) {
    const record = await readStepRecord(posix.join(stateDirectory, name))
    if (record?.state !== 'running' && record?.state !== 'undoing') continue
    if (!isInPlace(record)) return record
  }
  return undefined
}

/** The newest start of the application by a rescue or recovery after which it was not well; undefined where it was since. */
export async function lastStartInVain({
  stateDirectory,
}: Pick<Config, 'stateDirectory'>): Promise<{ readonly at: string; readonly why: string } | undefined> {
  const starts: { at: string; why: string | undefined }[] = []
  for (const name of [...RECORDS, SERVICE_RECORD]) {
    const record = await readStepRecord(posix.join(stateDirectory, name))
    const step = record?.steps.find(({ id }) => id === 'check') ?? record?.steps.find(({ id }) => id === 'start')
    if (record === undefined || step === undefined || step.state === 'pending' || step.state === 'undone') continue
    const failed = record.steps.find(({ id, state }) => state === 'failed' && (id === 'start' || id === 'check'))
    starts.push({ at: record.begun, why: failed && (failed.result ?? failed.title) })
  }
  const last = starts.toSorted((a, b) => (a.at < b.at ? 1 : -1)).at(0)
  return last?.why === undefined ? undefined : { at: last.at, why: last.why }
}

/** What must not be started: it may be half replaced. Rejects with `IN_USE` and `RESUME`. */
export async function refuseUnfinished(config: Pick<Config, 'stateDirectory'>): Promise<void> {
  const record = await unfinishedRun(config)
  if (record === undefined) return
  const { operation, begun } = record
  throw new OperationError(
    'RESUME',
    `\`${operation}\` was begun at ${begun} and not brought to its end: what would be started may be half replaced`,
    {
      facts: { operation, begun },
      hint: `Run \`holdfast ${operation}\` again: it goes on. --anew starts what is there`,
    },
  )
}
