import type { Finding } from '../application/finding.ts'
import type { SnapshotRecord } from '../application/journal/journal-record.ts'
import type { ProofLevel } from '../application/journal/proof-level.ts'

/** How an operation ended. `incomplete`: what is there is good, but part of what was asked for is not there. */
export type Outcome = 'succeeded' | 'incomplete' | 'failed' | 'interrupted'

export interface Progress {
  readonly files: number
  readonly bytes: number
}

/**
 * What an operation says while it runs: one `started`, then the rest in the order in which it happens, and one `finished`
 * at the end, however it ended. The terminal, `--json`, the log, the journal and the notifier observe the same events.
 */
export type OperationEvent =
  | {
      readonly type: 'started'
      readonly at: Date
      /** The verb: `backup`, `restore`, … */
      readonly operation: string
      /** The application or the repository. */
      readonly subject: string
      /** What is known beforehand and helps to understand the run later: for the journal. */
      readonly facts?: Facts
    }
  | {
      readonly type: 'phase'
      /** `survey`, `capture`, `seal`, `archive`, `publish`, `verify`, `restore`, `swap`, … */
      readonly phase: string
      readonly component?: string
    }
  | {
      readonly type: 'progress'
      readonly phase: string
      /** Since the beginning of the phase. */
      readonly done: Progress
      /** What the phase will come to, once it is known; it may still grow. */
      readonly total?: Progress
      /** What is being worked on: an untrusted name, any characters. */
      readonly current?: string
    }
  | { readonly type: 'finding'; readonly finding: Finding }
  | { readonly type: 'snapshot'; readonly news: SnapshotNews }
  | {
      /** Of an operation that goes on where it stopped, after it was cut off: each step as it begins and ends. */
      readonly type: 'step'
      /** Stable, for programs: `restore:data`, `start`, … */
      readonly step: string
      readonly title: string
      /** `skipped`: done by an earlier run; `undone`: taken back. */
      readonly state: 'begun' | 'done' | 'failed' | 'skipped' | 'undone'
      /** What came of it, one line; of a failed one the reason. */
      readonly result?: string
      /** Not of one that has just begun. */
      readonly milliseconds?: number
    }
  | {
      readonly type: 'finished'
      readonly at: Date
      readonly operation: string
      readonly outcome: Outcome
      readonly milliseconds: number
      /** Facts of the operation, plain JSON values in snake_case: they are printed with `--json` as they are. */
      readonly summary: Facts
    }

type Facts = Readonly<Record<string, unknown>>

/** What became known of a snapshot of the repository. */
export type SnapshotNews =
  | { readonly kind: 'saved'; readonly record: SnapshotRecord }
  | { readonly kind: 'forgotten'; readonly snapshot: string }
  /** The same with other tags. */
  | { readonly kind: 'renamed'; readonly snapshot: string; readonly to: string }
  /** Said only by what proved it. */
  | {
      readonly kind: 'proven'
      readonly snapshot: string
      readonly level: ProofLevel
      readonly at: Date
      readonly evidence: Facts
    }
  | { readonly kind: 'damaged'; readonly snapshot: string; readonly at: Date; readonly evidence: Facts }

/** Called synchronously, on the operation's way: it must be quick, and what it throws fails the operation. */
export type Observer = (event: OperationEvent) => void

/** Hands events on once `ready` has resolved, those before too: with the next one, or by `flush`. Never when it rejects. */
export function sayAfter(
  ready: Promise<void>,
  observe: Observer,
): { readonly say: Observer; readonly flush: () => void } {
  const held: OperationEvent[] = []
  let isReady = false
  ready.then(
    () => {
      isReady = true
    },
    () => {}, // whoever waits for it hears why not
  )
  const flush = () => {
    for (const event of held.splice(0)) observe(event)
  }
  const say = (event: OperationEvent) => {
    held.push(event)
    if (isReady) flush()
  }
  return { say, flush }
}

/** Each observer sees each event, also when another one threw; the first error is thrown on afterwards. */
export function combine(...observers: readonly Observer[]): Observer {
  return (event) => {
    const errors: unknown[] = []
    for (const observe of observers) {
      try {
        observe(event)
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors[0]
  }
}
