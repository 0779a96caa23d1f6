import type { RunRecord } from '../application/journal/journal-record.ts'

/** A run of the journal, for programs. */
export function runJson(run: RunRecord): Record<string, unknown> {
  const { id, operation, subject, host, started, finished, state, milliseconds, errors, warnings } = run
  return { run: id, operation, subject, host, started, finished, outcome: state, milliseconds, errors, warnings }
}
