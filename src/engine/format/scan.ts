import { daysFromCivil, daysInMonth } from './civil-date.ts'

// Reads JSON that is written in one way only, byte by byte and without objects in between. Each function takes the place where
// something must begin and returns where it ends, or `NONE` when it is not there in just that form, or when the place is `NONE`.

export const NONE = -1
const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const ZERO = 0x30

export function literal(bytes: Uint8Array, at: number, expected: Uint8Array): number {
  if (at === NONE || at + expected.length > bytes.length) return NONE
  for (let i = 0; i < expected.length; i++) if (bytes[at + i] !== expected[i]) return NONE
  return at + expected.length
}

/** Behind the bytes at `at`, when they are those from `start` to `end` of the same text; otherwise `NONE`. */
export function repeated(bytes: Uint8Array, at: number, start: number, end: number): number {
  if (at === NONE) return NONE
  for (let i = start; i < end; i++) if (bytes[at + i - start] !== bytes[i]) return NONE
  return at + end - start
}

export interface ScannedNumber {
  value: number
}

/** A whole number from 0 to 2^53 - 1 in as few digits as it takes. */
export function scanNumber(bytes: Uint8Array, at: number, into: ScannedNumber): number {
  if (at === NONE) return NONE
  let end = at
  let value = 0
  for (let digit = bytes[end]! - ZERO; digit >= 0 && digit <= 9 && end - at < 17; digit = bytes[++end]! - ZERO) {
    value = value * 10 + digit
  }
  if (end === at || (bytes[at] === ZERO && end > at + 1) || value > Number.MAX_SAFE_INTEGER) return NONE
  into.value = value
  return end
}

export interface ScannedTime {
  /** Since the epoch, and nanoseconds after them. */
  seconds: number
  nanoseconds: number
  /** In minutes, that it is written with. */
  offset: number
}

const FRACTION_AT = '2006-01-02T15:04:05'.length

/** A time as `formatTimestamp` writes it. */
export function scanTime(bytes: Uint8Array, at: number, into: ScannedTime): number {
  if (at === NONE) return NONE
  const year = digits(bytes, at, 4)
  const month = digits(bytes, at + 5, 2)
  const day = digits(bytes, at + 8, 2)
  const hour = digits(bytes, at + 11, 2)
  const minute = digits(bytes, at + 14, 2)
  const second = digits(bytes, at + 17, 2)
  const isTime =
    year >= 0 &&
    month >= 1 &&
    month <= 12 &&
    day >= 1 &&
    day <= daysInMonth(year, month) &&
    hour >= 0 &&
    hour <= 23 &&
    minute >= 0 &&
    minute <= 59 &&
    second >= 0 &&
    second <= 59 &&
    bytes[at + 4] === 0x2d &&
    bytes[at + 7] === 0x2d &&
    bytes[at + 10] === 0x54 &&
    bytes[at + 13] === 0x3a &&
    bytes[at + 16] === 0x3a
  if (!isTime) return NONE
  let end = at + FRACTION_AT
  let nanoseconds = 0
  if (bytes[end] === 0x2e) {
    let unit = 100_000_000
    end++
    const first = end
    for (let digit = bytes[end]! - ZERO; digit >= 0 && digit <= 9 && unit >= 1; digit = bytes[++end]! - ZERO) {
      nanoseconds += digit * unit
      unit /= 10
    }
    if (end === first || bytes[end - 1] === ZERO) return NONE
  }
  const sign = bytes[end]
  let offset = 0
  if (sign === 0x5a) end += 1
  else {
    const hours = digits(bytes, end + 1, 2)
    const minutes = digits(bytes, end + 4, 2)
    const isZone = (sign === 0x2b || sign === 0x2d) && hours >= 0 && hours <= 23 && minutes >= 0 && minutes <= 59
    if (!isZone || bytes[end + 3] !== 0x3a || hours + minutes === 0) return NONE
    offset = sign === 0x2d ? -(60 * hours + minutes) : 60 * hours + minutes
    end += 6
  }
  into.seconds = daysFromCivil(year, month, day) * 86_400 + (hour * 60 + minute - offset) * 60 + second
  into.nanoseconds = nanoseconds
  into.offset = offset
  return end
}

/** The number that so many digits make; negative when one is none. */
function digits(bytes: Uint8Array, at: number, count: number): number {
  let value = 0
  for (let i = at; i < at + count; i++) {
    const digit = bytes[i]! - ZERO
    if (!(digit >= 0 && digit <= 9)) return NONE
    value = value * 10 + digit
  }
  return value
}

/** The inside of a string that says what it holds: printable ASCII, and nothing that JSON, or Go in it, escapes with a backslash. */
export function scanPlain(bytes: Uint8Array, at: number): number {
  if (at === NONE) return NONE
  let end = at
  for (let byte = bytes[end]!; byte >= 0x20 && byte <= 0x7e && byte !== QUOTE && byte !== BACKSLASH; )
    byte = bytes[++end]!
  return end
}

/** 64 hex digits in lower case. */
export function isIdAt(bytes: Uint8Array, at: number): boolean {
  if (at === NONE || at + 64 > bytes.length) return false
  for (let i = at; i < at + 64; i++) {
    const byte = bytes[i]!
    if (!((byte >= ZERO && byte <= 0x39) || (byte >= 0x61 && byte <= 0x66))) return false
  }
  return true
}

/** The rest of a list of IDs behind its bracket; `use` is told where each begins, and refuses with false. */
export function scanIds(bytes: Uint8Array, from: number, use: (at: number) => boolean): number {
  if (from === NONE) return NONE
  if (bytes[from] === 0x5d) return from + 1
  for (let at = from; ; at += 1) {
    if (bytes[at] !== QUOTE || !isIdAt(bytes, at + 1) || bytes[at + 65] !== QUOTE || !use(at + 1)) return NONE
    at += 66
    if (bytes[at] === 0x5d) return at + 1
    if (bytes[at] !== COMMA) return NONE
  }
}
