import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import { OperationError } from '../error.ts'
import { readStepRecord, type StepRecord } from '../steps/step-record.ts'

/** Of recoveries, of the whole application or a part; and of rescues of a database. */
const RECORDS = ['recovery.json', 'rescue-database.json']

/** What replaces files of the application, was begun, and is not at its end. Rejects with `IN_USE` while it is at work. */
export async function unfinishedRun({
  stateDirectory,
}: Pick<Config, 'stateDirectory'>): Promise<StepRecord | undefined> {
  for (const name of RECORDS) {
    const record = await readStepRecord(posix.join(stateDirectory, name))
    if (record?.state === 'running' || record?.state === 'undoing') return record
  }
  return undefined
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
