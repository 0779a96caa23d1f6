import type { Config } from '../application/config/config.ts'
import type { Observer, OperationEvent } from '../operations/event.ts'
import type { EventRecorder, RecordOptions } from '../operations/journal/record-events.ts'

export interface JournalRecorder {
  readonly observe: Observer
  /** Waits until everything is written that can be. */
  close(): Promise<void>
}

/**
 * Writes an operation into the journal of its application. What does that is loaded meanwhile, for most commands need no journal;
 * what is reported until then waits.
 */
export function recordInJournal(config: Pick<Config, 'stateDirectory'>, options: RecordOptions): JournalRecorder {
  const early: OperationEvent[] = []
  let recorder: EventRecorder | undefined
  const loading = Promise.all([
    import('../operations/journal/record-events.ts'),
    import('../operations/journal/journal-of.ts'),
  ]).then(([{ recordEvents }, { journalOf }]) => {
    recorder = recordEvents(journalOf(config), options)
    for (const event of early) recorder.observe(event)
  })
  loading.catch(() => {}) // thrown by `close`, where it is waited for
  return {
    observe(event) {
      if (recorder !== undefined) recorder.observe(event)
      else if (event.type !== 'progress') early.push(event)
    },
    async close() {
      try {
        await loading
      } finally {
        recorder?.[Symbol.dispose]()
      }
    },
  }
}
