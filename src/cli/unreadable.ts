import type { Finding } from '../application/finding.ts'

/** What commands that look at snapshots say of one, or of a part of one, that cannot be read. */
export function unreadable(message: string): Finding {
  return {
    severity: 'error',
    code: 'unreadable',
    message,
    hint: 'Run `holdfast check` to see what else is damaged',
  }
}
