import { ApplicationError } from '../../application/error.ts'
import { type Journal, type JournalRun, type JournalStep, openJournal } from '../../application/journal/journal.ts'
import type { Observer, OperationEvent, SnapshotNews } from '../event.ts'

/** Events are gathered this long before they are written: a short operation costs two writes, however much it has to say. */
const GATHER_MS = 1000

/** What cannot be written is kept to be tried again, up to this many events. */
const KEPT = 5000

export interface RecordOptions {
  /** Whether the operation works on the repository that the journal is about: news of snapshots elsewhere are not its business. */
  readonly ownRepository: boolean
  /** Called for each reason once: a journal that cannot be written never stops an operation. */
  readonly warn: (message: string, hint: string | undefined) => void
  readonly now?: () => number
}

export interface EventRecorder extends Disposable {
  readonly observe: Observer
}

/**
 * Writes into the journal at `path` what an operation reports. The file is opened when an operation starts; what goes wrong with it
 * is a warning, and tried again at the end. Operations inside of another are steps of it.
 */
export function recordEvents(path: string, options: RecordOptions): EventRecorder {
  const recorder = new Recorder(path, options)
  return { observe: (event) => recorder.observe(event), [Symbol.dispose]: () => recorder.release() }
}

type StepEvent = Extract<OperationEvent, { type: 'step' }>

const STEP_OUTCOMES = { done: 'succeeded', failed: 'failed', skipped: 'skipped', undone: 'undone' } as const

type Kept = Exclude<OperationEvent, { type: 'progress' }>

class Recorder {
  readonly #path: string
  readonly #options: Required<RecordOptions>
  readonly #warned = new Set<string>()
  #journal: Journal | undefined
  #started: Extract<OperationEvent, { type: 'started' }> | undefined
  #run: JournalRun | undefined
  readonly #steps = new Map<string, JournalStep>()
  #phase: { readonly step: JournalStep; readonly begun: number } | undefined
  /** How many operations are going on, one inside the other. */
  #depth = 0
  /** Not written yet, with the time of each by the clock and by one that does not jump. */
  #waiting: { readonly event: Kept; readonly at: Date; readonly clock: number }[] = []
  #lastWrite = Number.NEGATIVE_INFINITY
  /** It could not be written: the next attempt is the last event of the operation, so that nobody waits for it each time. */
  #late = false

  constructor(path: string, options: RecordOptions) {
    this.#path = path
    this.#options = { now: () => performance.now(), ...options }
  }

  observe(event: OperationEvent): void {
    if (event.type === 'progress') return
    if (event.type === 'started') {
      this.#depth += 1
      if (this.#depth === 1) this.#started = event
    } else if (this.#depth === 0) return
    if (event.type === 'finished') this.#depth -= 1
    const clock = this.#options.now()
    if (this.#waiting.length < KEPT || event.type === 'finished')
      this.#waiting.push({ event: inside(event, this.#depth), at: new Date(), clock })
    const isOver = event.type === 'finished' && this.#depth === 0
    if (isOver || (!this.#late && this.#isDue(event, clock))) this.#write(clock)
    if (isOver) this.release()
  }

  #isDue(event: Kept, clock: number): boolean {
    if (event.type === 'started' || event.type === 'step') return true
    return clock - this.#lastWrite >= GATHER_MS
  }

  #write(clock: number): void {
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        this.#journal ??= this.#open()
        const journal = this.#journal
        journal.transaction(() => {
          for (const { event, at, clock } of this.#waiting) this.#record(journal, event, at, clock)
        })
        this.#waiting = []
        this.#lastWrite = clock
        this.#late = false
        return
      } catch (error) {
        if (!(error instanceof ApplicationError)) throw error
        this.#late = true
        const isDamaged = error.code === 'JOURNAL_DAMAGED'
        // What the damaged one held of this run is lost with it; the rest goes into a new one.
        if (isDamaged) this.release()
        if (isDamaged && attempt === 0) continue
        this.#warn(error)
        return
      }
    }
  }

  #open(): Journal {
    const journal = openJournal(this.#path, {
      onSetAside: (problem, aside) => {
        this.#options.warn(
          `${problem.message}; it is now ${aside}, and a new one is begun`,
          'Run `holdfast history --rebuild`: it brings back what the repository knows',
        )
      },
    })
    journal.tidy()
    return journal
  }

  #warn({ message, hint }: ApplicationError): void {
    if (this.#warned.has(message)) return
    this.#warned.add(message)
    this.#options.warn(`Not in the journal: ${message}`, hint)
  }

  #record(journal: Journal, event: Kept, at: Date, clock: number): void {
    switch (event.type) {
      case 'started':
        this.#run = undefined
        this.#runIn(journal)
        return
      case 'phase':
        this.#endPhase('succeeded', at, clock)
        this.#phase = { step: this.#runIn(journal).step(event.phase, { component: event.component, at }), begun: clock }
        return
      case 'finding':
        this.#runIn(journal).find(event.finding, at)
        return
      case 'step':
        this.#endPhase('succeeded', at, clock)
        this.#recordStep(this.#runIn(journal), event, at)
        return
      case 'snapshot':
        if (this.#options.ownRepository) applyNews(journal, event.news)
        return
      case 'finished': {
        const { outcome, summary, milliseconds } = event
        const run = this.#runIn(journal)
        this.#endPhase(outcome === 'incomplete' ? 'succeeded' : outcome, at, clock)
        if (summary.dry_run === true || summary.declined === true) run.discard()
        else run.finish(outcome, summary, { at: event.at, milliseconds })
        return
      }
    }
  }

  #endPhase(outcome: 'succeeded' | 'failed' | 'interrupted', at: Date, clock: number): void {
    if (this.#phase === undefined) return
    const { step, begun } = this.#phase
    this.#phase = undefined
    step.finish(outcome, {}, { at, milliseconds: clock - begun })
  }

  /** Begun a second time where its beginning was in a journal that turned out to be damaged. */
  #runIn(journal: Journal): JournalRun {
    if (this.#run !== undefined) return this.#run
    const { operation, subject, facts, at } = this.#started!
    this.#run = journal.begin(operation, subject, facts, at)
    return this.#run
  }

  #recordStep(run: JournalRun, { step: name, title, state, result, milliseconds }: StepEvent, at: Date): void {
    const step = (state === 'begun' ? undefined : this.#steps.get(name)) ?? run.step(name, { facts: { title }, at })
    if (state === 'begun') this.#steps.set(name, step)
    else {
      step.finish(STEP_OUTCOMES[state], { title, ...(result === undefined ? {} : { result }) }, { at, milliseconds })
      this.#steps.delete(name) // when it is taken back later, that is a step of its own
    }
  }

  release(): void {
    this.#run = undefined
    this.#phase = undefined
    this.#steps.clear()
    this.#journal?.[Symbol.dispose]()
    this.#journal = undefined
  }
}

/** An operation inside of another one is a step of that. */
function inside(event: Kept, depth: number): Kept {
  if (event.type === 'started' && depth > 1) {
    const { operation, subject } = event
    return { type: 'step', step: operation, title: `${operation} ${subject}`, state: 'begun' }
  }
  if (event.type === 'finished' && depth > 0) {
    const { operation, outcome, milliseconds } = event
    const state = outcome === 'failed' || outcome === 'interrupted' ? 'failed' : 'done'
    return { type: 'step', step: operation, title: operation, state, result: outcome, milliseconds }
  }
  return event
}

function applyNews(journal: Journal, news: SnapshotNews): void {
  switch (news.kind) {
    case 'saved':
      journal.saveSnapshot(news.record)
      break
    case 'forgotten':
      journal.forgetSnapshots([news.snapshot])
      break
    case 'renamed':
      journal.renameSnapshot(news.snapshot, news.to)
      break
    case 'proven':
      journal.setProof(news.snapshot, news.level, news.at, news.evidence)
      break
    case 'damaged':
      journal.setDamage(news.snapshot, news.at, news.evidence)
      break
  }
}
