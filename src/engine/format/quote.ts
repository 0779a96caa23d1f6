import { EngineError } from '../error.ts'
import { mapUtf8 } from './map-utf8.ts'
import { shown } from './shown.ts'

// Names in trees are the inside of a Go string literal: strconv.Quote and strconv.Unquote of the raw bytes, without the outer
// quotes. Printable for Go are the categories L, M, N, P and S, and of white space U+0020 alone.

/**
 * Code points, in hex, that are printable in Unicode 17 but were unassigned in Unicode 15.0, whose tables restic 0.19 is built
 * with. On a Node.js with older tables they are unassigned anyway. A Node.js with newer ones needs a longer list: the test of
 * all code points says so.
 */
const NOT_YET_ASSIGNED =
  '88f 897 c5c cdc 1acf-1add 1ae0-1aeb 1b4e-1b4f 1b7f 1c89-1c8a 20c1 2427-2429 2b96 2ffc-2fff 31e4-31e5 31ef a7cb-a7cf a7d2 a7d4 ' +
  'a7da-a7dc a7f1 fbc3-fbd2 fd90-fd91 fdc8-fdce 105c0-105f3 10940-10959 10d40-10d65 10d69-10d85 10d8e-10d8f 10ec2-10ec7 10ed0-10ed8 ' +
  '10efa-10efc 11380-11389 1138b 1138e 11390-113b5 113b7-113c0 113c2 113c5 113c7-113ca 113cc-113d5 113d7-113d8 113e1-113e2 116d0-116e3 ' +
  '11b60-11b67 11bc0-11be1 11bf0-11bf9 11db0-11ddb 11de0-11de9 11f5a 13460-143fa 16100-16139 16d40-16d79 16ea0-16eb8 16ebb-16ed3 ' +
  '16ff2-16ff6 187f8-187ff 18cff 18d09-18d1e 18d80-18df2 1cc00-1ccfc 1cd00-1ceb3 1ceba-1ced0 1cee0-1cef0 1e5d0-1e5fa 1e5ff 1e6c0-1e6de ' +
  '1e6e0-1e6f5 1e6fe-1e6ff 1f6d8 1f777-1f77a 1f8b2-1f8bb 1f8c0-1f8c1 1f8d0-1f8d8 1fa54-1fa57 1fa89-1fa8a 1fa8e-1fa8f 1fabe 1fac6 1fac8 ' +
  '1facd 1fadc 1fadf 1fae9-1faea 1faef 1fbcb-1fbef 1fbfa 2b73a-2b73f 2cea2-2cead 2ebf0-2ee5d 323b0-33479'

const PRINTABLE = `[ \\p{L}\\p{M}\\p{N}\\p{P}\\p{S}]--[${NOT_YET_ASSIGNED.replace(/[0-9a-f]+/g, '\\u{$&}').replaceAll(' ', '')}]`
const ALL_PRINTABLE = new RegExp(`^[${PRINTABLE}]*$`, 'v')
const ALL_PLAIN = new RegExp(`^[[${PRINTABLE}]--["\\\\]]*$`, 'v')

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
}

/** The name as it stands in a tree before it is written as a JSON string. */
export function quoteName(name: Buffer): string {
  if (isPlainAscii(name)) return name.toString('latin1')
  return mapUtf8(name, quoteText, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`)
}

function isPlainAscii(bytes: Buffer): boolean {
  for (const byte of bytes) {
    if (byte < 0x20 || byte > 0x7e || byte === 0x22 || byte === 0x5c) return false
  }
  return true
}

function quoteText(text: string): string {
  if (ALL_PLAIN.test(text)) return text
  let quoted = ''
  for (const char of text)
    quoted += ESCAPES[char] ?? (ALL_PRINTABLE.test(char) ? char : escapeCodePoint(char.codePointAt(0)!))
  return quoted
}

function escapeCodePoint(codePoint: number): string {
  const hex = codePoint.toString(16)
  if (codePoint < 0x80) return `\\x${hex.padStart(2, '0')}`
  return codePoint <= 0xffff ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`
}

const SIMPLE_ESCAPES: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  '\\': 0x5c,
  '"': 0x22,
}
// After the backslash. Octal has no letter: its first digit is tried.
const LONG_ESCAPE = /x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})/y

/**
 * The bytes that a quoted name stands for. Throws `CORRUPT` where Go's Unquote fails: a bare quote or line feed, an unknown or
 * short escape, a code point that is none. Other control characters may stand bare.
 */
export function unquoteName(text: string): Buffer {
  if (!/["\\\n]/.test(text)) return Buffer.from(text, 'utf8')
  // No escape is shorter than what it stands for.
  const bytes = Buffer.alloc(Buffer.byteLength(text, 'utf8'))
  let length = 0
  for (let at = 0; at < text.length; ) {
    const char = text[at]!
    if (char === '"' || char === '\n') throw malformed(text, at)
    if (char !== '\\') {
      const end = nextSpecial(text, at)
      length += bytes.write(text.slice(at, end), length, 'utf8')
      at = end
      continue
    }
    const simple = SIMPLE_ESCAPES[text[at + 1] ?? '']
    if (simple !== undefined) {
      bytes[length++] = simple
      at += 2
      continue
    }
    LONG_ESCAPE.lastIndex = at + 1
    const [whole, hexByte, short, long, octal] = LONG_ESCAPE.exec(text) ?? []
    if (whole === undefined) throw malformed(text, at)
    if (hexByte !== undefined || octal !== undefined) {
      const value = hexByte === undefined ? Number.parseInt(octal!, 8) : Number.parseInt(hexByte, 16)
      if (value > 0xff) throw malformed(text, at)
      bytes[length++] = value
    } else {
      const codePoint = Number.parseInt(short ?? long!, 16)
      if (codePoint > 0x10_ffff || (codePoint >= 0xd800 && codePoint <= 0xdfff)) throw malformed(text, at)
      length += bytes.write(String.fromCodePoint(codePoint), length, 'utf8')
    }
    at += 1 + whole.length
  }
  return Buffer.from(bytes.subarray(0, length))
}

const SPECIAL = /["\\\n]/g

function nextSpecial(text: string, from: number): number {
  SPECIAL.lastIndex = from
  return SPECIAL.exec(text)?.index ?? text.length
}

function malformed(text: string, at: number): EngineError {
  return new EngineError('CORRUPT', `Cannot read name ${shown(text)}: no valid quoting at character ${at}`, {
    facts: { what: 'name', where: `character ${at}` },
  })
}
