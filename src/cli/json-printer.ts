import type { Observer, OperationEvent, Progress } from '../operations/event.ts'
import { throttleProgress } from '../operations/throttle-progress.ts'
import type { Io } from './io.ts'
import type { JsonMessage, Screen } from './screen.ts'

const STATUS_MILLISECONDS = 1000

/**
 * What an operation reports, for programs: one object per line on standard output, told apart by `message_type`: `started`,
 * `phase`, `step`, `status` (at most one a second), `finding`, `summary`. Keys of `status` and `summary` are restic's where restic
 * has them.
 */
export function printJsonEvents(io: Io, screen: Screen): Observer {
  let began: number | undefined
  return throttleProgress(
    (event) => {
      if (event.type === 'started' || event.type === 'phase') began = io.now().getTime()
      const elapsed = began === undefined ? 0 : io.now().getTime() - began
      const message = toMessage(event, Math.floor(elapsed / 1000))
      if (message !== undefined) screen.json(message)
    },
    STATUS_MILLISECONDS,
    () => io.now().getTime(),
  )
}

function toMessage(event: OperationEvent, secondsElapsed: number): JsonMessage | undefined {
  switch (event.type) {
    case 'started':
      return { message_type: 'started', time: event.at, operation: event.operation, subject: event.subject }
    case 'phase':
      return { message_type: 'phase', phase: event.phase, component: event.component }
    case 'progress':
      return {
        message_type: 'status',
        phase: event.phase,
        seconds_elapsed: secondsElapsed,
        percent_done: fractionDone(event.done, event.total),
        files_done: event.done.files,
        bytes_done: event.done.bytes,
        total_files: event.total?.files,
        total_bytes: event.total?.bytes,
        current_files: event.current === undefined ? undefined : [event.current],
      }
    case 'finding':
      return { message_type: 'finding', ...event.finding }
    case 'step': {
      const { step, title, state, result, milliseconds } = event
      return { message_type: 'step', step, title, state, result, milliseconds }
    }
    case 'snapshot':
      return undefined // for the journal; what a program wants to know of it is in the summary
    case 'finished':
      return {
        message_type: 'summary',
        ...withoutMessageType(event.summary),
        operation: event.operation,
        outcome: event.outcome,
        time: event.at,
        total_duration: event.milliseconds / 1000,
      }
  }
}

function withoutMessageType({ message_type: _, ...facts }: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return facts
}

/** From 0 to 1, as restic has it. */
function fractionDone(done: Progress, total: Progress | undefined): number | undefined {
  if (total === undefined) return undefined
  const [part, whole] = total.bytes > 0 ? [done.bytes, total.bytes] : [done.files, total.files]
  return whole > 0 ? Math.min(1, part / whole) : undefined
}
