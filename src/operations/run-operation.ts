import { CodedError } from '../engine/error.ts'
import type { Observer, Outcome } from './event.ts'

export interface OperationFrame {
  readonly operation: string
  /** The application or the repository. */
  readonly subject: string
  readonly observe: Observer
  readonly signal: AbortSignal
}

/** Frames an operation with `started` and `finished`, however it ends. What it throws is thrown on. */
export async function runOperation<R extends { readonly outcome: string }>(
  frame: OperationFrame,
  task: () => Promise<R>,
  summary: (report: R) => Readonly<Record<string, unknown>>,
): Promise<R> {
  const { operation, subject, observe, signal } = frame
  const begun = performance.now()
  observe({ type: 'started', at: new Date(), operation, subject })
  const finished = (outcome: Outcome, facts: Readonly<Record<string, unknown>>) =>
    observe({
      type: 'finished',
      at: new Date(),
      operation,
      outcome,
      milliseconds: Math.round(performance.now() - begun),
      summary: facts,
    })
  try {
    const report = await task()
    finished(outcomeOf(report.outcome), summary(report))
    return report
  } catch (error) {
    const code = error instanceof CodedError ? error.code : undefined
    finished(signal.aborted ? 'interrupted' : 'failed', {
      error: (error as Error).message,
      ...(code === undefined ? {} : { error_code: code }),
    })
    throw error
  }
}

/** An operator who declines what was planned has interrupted it. */
function outcomeOf(outcome: string): Outcome {
  if (outcome === 'incomplete' || outcome === 'failed') return outcome
  return outcome === 'declined' ? 'interrupted' : 'succeeded'
}
