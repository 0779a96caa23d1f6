import { join } from 'node:path'
import type { Config } from '../../application/config/config.ts'

/** The name of the journal in `state-dir`, and of its copy in `/.holdfast` of a snapshot. */
export const JOURNAL = 'journal.db'

/** Where the journal of an application lies. */
export function journalOf({ stateDirectory }: Pick<Config, 'stateDirectory'>): string {
  return join(stateDirectory, JOURNAL)
}
