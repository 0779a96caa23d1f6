import type { Finding } from '../../application/finding.ts'
import { processIdentity } from '../../engine/os/process-identity.ts'
import type { Observer } from '../event.ts'
import { type StepFacts, type StepRecord, type StepState, writeStepRecord } from './step-record.ts'

/** What a step has at hand. */
export interface StepTools {
  /** What it has noted so far; in an earlier run too, when that was cut off. */
  readonly facts: StepFacts
  /** Notes more; it is on disk when this resolves, so that it holds also for what follows a power cut. */
  readonly note: (facts: StepFacts) => Promise<void>
  /** What another step has noted. */
  readonly factsOf: (id: string) => StepFacts
  readonly signal: AbortSignal
}

/**
 * A part of an operation that is done once. It may be cut off at any moment, and is then run again from its beginning, with
 * what it had noted: so what it does must be right also when part of it has been done.
 */
export interface Step {
  /** Unique in its operation. */
  readonly id: string
  readonly title: string
  /** Resolves with what came of it, in one line. */
  readonly run: (tools: StepTools) => Promise<string>
  /** Puts back what was there before, also after a step that was cut off. Absent: there is nothing to put back. */
  readonly undo?: (tools: StepTools) => Promise<string>
}

export interface RunStepsOptions {
  /** Where the record lies. */
  readonly file: string
  readonly record: StepRecord
  /** Those of the record, in its order. */
  readonly steps: readonly Step[]
  readonly observe: Observer
  readonly signal: AbortSignal
}

/**
 * Runs the steps that have not been done, in order, and notes after each how far it came. A step that fails ends the run
 * with its error; another run begins at that step.
 */
export async function runSteps(options: RunStepsOptions): Promise<StepRecord> {
  const { steps, observe, signal } = options
  const keeper = new Keeper(options.file, { ...options.record, state: 'running', process: processIdentity() })
  for (const step of steps) {
    const { id, title } = step
    const before = keeper.of(id)
    if (before.state === 'done') {
      observe({ type: 'step', step: id, title, state: 'skipped', milliseconds: 0, ...resultOf(before) })
      continue
    }
    signal.throwIfAborted()
    observe({ type: 'step', step: id, title, state: 'begun' })
    const begun = performance.now()
    await keeper.set(id, { state: 'begun' })
    const spent = () => Math.round(performance.now() - begun)
    try {
      const result = await step.run(keeper.tools(id, signal))
      const milliseconds = spent()
      await keeper.set(id, { state: 'done', result, milliseconds: before.milliseconds + milliseconds })
      observe({ type: 'step', step: id, title, state: 'done', result, milliseconds })
    } catch (error) {
      const milliseconds = spent()
      const result = (error as Error).message
      // Whoever stopped it did so for a reason of their own: the step is cut off, and nothing is wrong with it.
      const state = signal.aborted ? 'begun' : 'failed'
      await keeper.set(id, { state, result, milliseconds: before.milliseconds + milliseconds })
      observe({ type: 'step', step: id, title, state: 'failed', result, milliseconds })
      if (signal.aborted) observe({ type: 'finding', finding: cutOff(title) })
      throw error
    }
  }
  return keeper.end('finished')
}

function cutOff(title: string): Finding {
  return {
    severity: 'warning',
    code: 'cut-off',
    message: `It was stopped in the middle of "${title}": what was done stays as it is`,
    hint: 'Run the same again, or `holdfast rescue`: it goes on',
  }
}

/** Takes back what has been done, the last step first. One that was cut off goes on where it stopped when run again. */
export async function undoSteps(options: RunStepsOptions): Promise<StepRecord> {
  const { steps, observe, signal } = options
  const keeper = new Keeper(options.file, { ...options.record, state: 'undoing', process: processIdentity() })
  for (const { id, title, undo } of steps.toReversed()) {
    const { state } = keeper.of(id)
    if (state === 'pending' || state === 'undone') continue
    if (undo === undefined) {
      await keeper.set(id, { state: 'undone' })
      continue
    }
    const begun = performance.now()
    const result = await undo(keeper.tools(id, signal))
    await keeper.set(id, { state: 'undone', result })
    observe({
      type: 'step',
      step: id,
      title,
      state: 'undone',
      result,
      milliseconds: Math.round(performance.now() - begun),
    })
  }
  return keeper.end('undone')
}

function resultOf({ result }: StepState): { readonly result?: string } {
  return result === undefined ? {} : { result }
}

/** Holds the record, and keeps the file like it. */
class Keeper {
  readonly #file: string
  #record: StepRecord

  constructor(file: string, record: StepRecord) {
    this.#file = file
    this.#record = record
  }

  of(id: string): StepState {
    return this.#record.steps.find((step) => step.id === id)!
  }

  #factsOf(id: string): StepFacts {
    return this.#record.steps.find((step) => step.id === id)?.facts ?? {}
  }

  async set(id: string, changes: Partial<StepState>): Promise<void> {
    const steps = this.#record.steps.map((step) => (step.id === id ? { ...step, ...changes } : step))
    await this.#write({ ...this.#record, steps })
  }

  tools(id: string, signal: AbortSignal): StepTools {
    const keeper = this
    return {
      get facts() {
        return keeper.of(id).facts
      },
      factsOf: (other) => keeper.#factsOf(other),
      note: (facts) => keeper.set(id, { facts: { ...keeper.of(id).facts, ...facts } }),
      signal,
    }
  }

  async end(state: StepRecord['state']): Promise<StepRecord> {
    await this.#write({ ...this.#record, state })
    return this.#record
  }

  async #write(record: StepRecord): Promise<void> {
    this.#record = record
    await writeStepRecord(this.#file, record)
  }
}
