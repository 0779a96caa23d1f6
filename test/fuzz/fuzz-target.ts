import assert from 'node:assert/strict'
import { inspect, isDeepStrictEqual } from 'node:util'
import type { FuzzRandom } from './fuzz-random.ts'

/** What a parser may take for an input of so many bytes: `base + perByte * length`, garbage that it made included. */
export interface MemoryBound {
  readonly base: number
  readonly perByte: number
}

/** A parser of bytes from outside, and what makes inputs for it that are nearly right. */
export interface FuzzTarget {
  readonly name: string
  /** How valid inputs are changed: as bytes, as text, or by the grammar of JSON. */
  readonly shape: 'bytes' | 'text' | 'json'
  readonly samples: readonly Buffer[]
  /** What the parser takes for special, for `text`. */
  readonly words?: readonly string[]
  /**
   * Parses the input, and holds what must hold of the result: that it is written and read as the same again, that a plain twin says
   * the same. Throws a `CodedError` for what it refuses; anything else that it throws is a finding. Resolves with false for what
   * is refused without an error.
   */
  readonly parse: (input: Buffer, random: FuzzRandom) => unknown
  readonly memory: MemoryBound
  /** Its part of all inputs, beside those of the others: cheap parsers get more. */
  readonly share: number
}

/** Of parsers that make a value of a text of any length: some twenty times of what JSON itself makes of `[],[],[]…`. */
export const OF_VALUES: MemoryBound = { base: 1024 * 1024, perByte: 400 }

/** Fails unless both are the same, with what was compared in its message. */
export function assertSame(what: string, found: unknown, expected: unknown): void {
  if (isDeepStrictEqual(found, expected)) return
  assert.fail(
    `${what}: ${inspect(found, { depth: 6 }).slice(0, 600)}, expected ${inspect(expected, { depth: 6 }).slice(0, 600)}`,
  )
}

/** What a call answers or throws, for comparing two that must do the same. */
export function outcomeOf<T>(call: () => T): { readonly value?: T; readonly error?: unknown } {
  try {
    return { value: call() }
  } catch (error) {
    return { error }
  }
}
