/**
 * Something an operator should know. `error`: part of what was asked for is not there, the outcome is `incomplete`;
 * `warning`: complete, but look at it; `note`: for the record.
 */
export interface Finding {
  readonly severity: 'error' | 'warning' | 'note'
  /** Stable, for programs: `database-corrupt`, `secret-not-sealed`, … */
  readonly code: string
  readonly message: string
  readonly component?: string
  /** Absolute path, as text for people (invalid UTF-8 replaced). */
  readonly path?: string
  readonly hint?: string
}
