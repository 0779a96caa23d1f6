import type { Finding } from '../application/finding.ts'
import type { Observer, OperationEvent } from '../operations/event.ts'
import type { Happened } from '../operations/notify/notify.ts'

/** More of them are not read in a message; `holdfast history` has them all. */
const FINDINGS_TOLD = 5

/** Gathers from the events of an operation what is worth telling when it has ended. */
export function watchOutcome(): { readonly observe: Observer; readonly outcome: () => Happened | undefined } {
  let depth = 0
  let findings: Finding[] = []
  let happened: Happened | undefined
  return {
    observe(event) {
      if (event.type === 'started') {
        depth += 1
        if (depth === 1) findings = []
      } else if (event.type === 'finding' && event.finding.severity === 'error') findings.push(event.finding)
      else if (event.type === 'finished') {
        depth -= 1
        if (depth === 0) happened = happenedIn(event, findings)
      }
    },
    outcome: () => happened,
  }
}

/** Undefined for what was only planned, or stopped by whoever started it. */
function happenedIn(
  { operation, outcome, summary }: Extract<OperationEvent, { type: 'finished' }>,
  findings: readonly Finding[],
): Happened | undefined {
  if (outcome === 'interrupted' || summary.dry_run === true || summary.declined === true) return undefined
  if (outcome === 'succeeded') return { operation, outcome, details: [] }
  const more = findings.length - FINDINGS_TOLD
  const details = [
    ...(typeof summary.error === 'string' ? [summary.error] : []),
    ...findings.slice(0, FINDINGS_TOLD).map(({ message }) => message),
    ...(more > 0 ? [`and ${more} more`] : []),
    'See `holdfast history` and `holdfast status`',
  ]
  return { operation, outcome, details }
}
