const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a

/** A stretch of bytes: from `start`, up to but not including `end`. */
export interface Span {
  readonly start: number
  readonly end: number
}

/**
 * Yields the elements of the JSON list, or the members of the object, that fills the span, brackets and all, but for white space.
 * Nothing is validated: whether an element is JSON is found out by parsing it. Works on bytes, so that the length of a string is no limit.
 */
export function* elementSpans(bytes: Uint8Array, whole: Span): Generator<Span> {
  const { start: open, end: close } = trim(bytes, whole)
  let start = open + 1
  let depth = 0
  for (let at = start; at < close - 1; at++) {
    const byte = bytes[at]!
    if (byte === QUOTE) at = endOfString(bytes, at) - 1
    else if (byte === 0x5b || byte === 0x7b) depth += 1
    else if (byte === 0x5d || byte === 0x7d) depth -= 1
    else if (byte === COMMA && depth === 0) {
      yield trim(bytes, { start, end: at })
      start = at + 1
    }
  }
  const last = trim(bytes, { start, end: close - 1 })
  if (last.end > last.start) yield last
}

/** The value of a member of the object that fills the span, of several the last, as in `JSON.parse`. The JSON must be valid. */
export function memberSpan(bytes: Buffer, object: Span, key: string): Span | undefined {
  let found: Span | undefined
  for (const { start, end } of elementSpans(bytes, object)) {
    const keyEnd = endOfString(bytes, start)
    if (JSON.parse(bytes.toString('utf8', start, keyEnd)) === key) {
      found = trim(bytes, { start: bytes.indexOf(COLON, keyEnd) + 1, end })
    }
  }
  return found
}

function endOfString(bytes: Uint8Array, quote: number): number {
  let at = quote + 1
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1
  return at + 1
}

function trim(bytes: Uint8Array, { start, end }: Span): Span {
  let [first, last] = [start, end]
  while (first < last && isSpace(bytes[first]!)) first += 1
  while (last > first && isSpace(bytes[last - 1]!)) last -= 1
  return { start: first, end: last }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}
