import { CodedError } from '../../src/engine/error.ts'
import type { FuzzRandom } from './fuzz-random.ts'
import type { FuzzTarget } from './fuzz-target.ts'
import { mutateBytes } from './mutate-bytes.ts'
import { mutateJson } from './mutate-json.ts'
import { mutateText } from './mutate-text.ts'

/** Inputs that led somewhere new are kept as samples, as many as this. */
const MOST_KEPT = 300
/** A long input is no better as a sample, and costs every input that is made of it. */
const LONGEST_KEPT = 4096

/** Makes inputs out of the samples of a target, and out of those inputs that were refused, or taken, for a new reason. */
export class InputMaker {
  readonly #target: FuzzTarget
  readonly #samples: Buffer[]
  readonly #reasons = new Set<string>()

  constructor(target: FuzzTarget) {
    this.#target = target
    this.#samples = [...target.samples]
  }

  make(random: FuzzRandom): Buffer {
    const { shape, words = [] } = this.#target
    const sample = random.pick(this.#samples)
    if (random.oneIn(100)) return sample
    if (shape === 'bytes') return mutateBytes(sample, random, this.#samples)
    if (shape === 'text') return mutateText(sample, random, this.#samples, words)
    return mutateJson(sample, random, this.#samples)
  }

  /** How many reasons there were so far. */
  get reasons(): number {
    return this.#reasons.size
  }

  /** The message of an error says which check of the parser it was: as good as a look at which of its branches were taken. */
  notice(input: Buffer, outcome: unknown): void {
    const reason = outcome instanceof CodedError ? shapeOf(outcome) : String(outcome === false)
    if (this.#reasons.has(reason) || this.#reasons.size > 5000) return
    this.#reasons.add(reason)
    if (input.length > LONGEST_KEPT) return
    if (this.#samples.length < this.#target.samples.length + MOST_KEPT) this.#samples.push(Buffer.from(input))
  }
}

/** The message without what stood in the input. */
function shapeOf({ code, message }: CodedError): string {
  return `${code} ${message
    .slice(0, 400)
    .replace(/"(?:[^"\\]|\\.)*"?/g, '"')
    .replace(/\d+/g, '0')
    .slice(0, 120)}`
}
