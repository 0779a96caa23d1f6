import { constants } from 'node:buffer'
import { EngineError } from '../error.ts'

// ASCII without control characters and without what Go's encoder escapes: " & < > \
const PLAIN = /^[ !#-%'-;=?-[\]-~]*$/
const LONE_SURROGATE = /\p{Surrogate}/u
const HTML = /[<>&\u2028\u2029]/g

/**
 * The text as Go's JSON encoder writes it, quotes included: control characters as in `JSON.stringify`, and `<`, `>`, `&`, U+2028
 * and U+2029 as `\uXXXX`. A lone surrogate becomes the six characters `\ufffd`, as a byte that is no UTF-8 does in Go.
 */
export function goJsonString(text: string): string {
  return `"${escapeGoJson(text)}"`
}

/** What `goJsonString` puts between the quotes. */
export function escapeGoJson(text: string): string {
  if (PLAIN.test(text)) return text
  if (!text.isWellFormed()) return text.split(LONE_SURROGATE).map(escapeGoJson).join('\\ufffd')
  return JSON.stringify(text)
    .slice(1, -1)
    .replace(HTML, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** uint64 needs 20 digits. What is longer stays inexact and fails any check of range, instead of costing quadratic time here. */
const MAX_DIGITS = 20

// A member whose number JavaScript may not hold exactly, or that is no plain integer. In valid JSON `":` can only be the end of
// a key, or of a text and so no harm: then the slow way is taken for nothing.
const DELICATE_NUMBER = /"[ \t\r\n]*:[ \t\r\n]*-?(?:9\d{15}|\d{17}|\d+[.eE])/

/**
 * Parses untrusted JSON. `what` names it in messages. Integers beyond 2^53 come as `bigint`. A member written with a fraction or
 * an exponent comes as `NaN`: the format has no such number, restic refuses it, and no check of range accepts it.
 *
 * Throws `CORRUPT` for what is not JSON and `UNSUPPORTED` for a text longer than a JavaScript string can be (512 MiB).
 */
export function parseJson(bytes: Buffer, what: string): unknown {
  if (bytes.length > constants.MAX_STRING_LENGTH) {
    throw new EngineError(
      'UNSUPPORTED',
      `Cannot read ${what}: its ${bytes.length} bytes are more than ${constants.MAX_STRING_LENGTH}`,
      {
        facts: { what, bytes: bytes.length, limit: constants.MAX_STRING_LENGTH },
      },
    )
  }
  const text = bytes.toString('utf8')
  try {
    return DELICATE_NUMBER.test(text) ? JSON.parse(text, exactInteger) : JSON.parse(text)
  } catch (cause) {
    // Besides SyntaxError a RangeError: the reviver recurses, and hostile nesting ends the stack.
    if (!(cause instanceof SyntaxError || cause instanceof RangeError)) throw cause
    const reason = cause instanceof RangeError ? 'it is nested too deeply' : 'it is not valid JSON'
    throw new EngineError('CORRUPT', `Cannot read ${what}: ${reason}`, { facts: { what, bytes: bytes.length }, cause })
  }
}

function exactInteger(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== 'number') return value
  const source = context?.source
  if (source === undefined) {
    throw new EngineError(
      'UNSUPPORTED',
      'Cannot read whole numbers beyond 2^53: JSON.parse of this Node.js does not hand out the text',
      {
        hint: 'Use Node.js 22 or later',
      },
    )
  }
  if (!/^-?\d+$/.test(source)) return Number.NaN
  return Number.isSafeInteger(value) || source.length > MAX_DIGITS ? value : BigInt(source)
}
