import type { FuzzRandom } from './fuzz-random.ts'
import { MAX_INPUT, mutateBytes } from './mutate-bytes.ts'

// Mutations of the grammar: what comes out is mostly JSON, with something in it that no honest writer puts there.

const NUMBERS = [
  '0', '-0', '1', '-1', '2', '3', '53', '255', '256', '65535', '2147483647', '2147483648', '4294967295', '4294967296',
  '9007199254740991', '9007199254740992', '9007199254740993', '9223372036854775807', '9223372036854775808',
  '18446744073709551615', '18446744073709551616', '99999999999999999999', '1.0', '1.5', '0.1', '1e2', '1E400', '-1e400',
  '1e-400', '9'.repeat(400), '00', '01', '+1', '.5', '1.', '0x10', 'NaN', '-', '1e',
] // biome-ignore format: a table
const TEXTS = [
  '""', '"a"', '" "', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\\\x00"', '"\\\\xff\\\\x"', '"\\\\u12"',
  '"\\\\U0010ffff"', '"\\\\U00110000"', '"\\n"', '"\\"', '"\\x"', '"\\u12"', '"..\\/..\\/etc\\/passwd"', '".."', '"."', '"/"',
  '"__proto__"', '"constructor"', '"toString"', '"length"', '"\u2028"', '"\ufeff"', '"😀"', '"0001-01-01T00:00:00Z"',
  '"9999-12-31T23:59:59.999999999-23:59"', '"2026-02-29T00:00:00Z"', '"2026-01-01T24:00:00Z"', '"AAAA"', '"AAA="', '"AA"', '"====" ',
  `"${'ab'.repeat(32)}"`, `"${'AB'.repeat(32)}"`, `"${'ab'.repeat(31)}"`, `"${'a'.repeat(5000)}"`, `"${'\\\\'.repeat(3000)}"`,
] // biome-ignore format: a table
const OTHERS = ['null', 'true', 'false', '[]', '{}', '[[]]', '[null]', '{"a":1}', '{"":{}}', '[1,2,3]', 'undefined', '']
const KEYS = ['"__proto__"', '"constructor"', '"toString"', '"hasOwnProperty"', '""', '"a"', '"0"']

const TOKEN = /"(?:[^"\\]|\\[\s\S])*"?|[{}[\],:]|[^\s{}[\],:"]+|\s+/g

export function jsonTokens(text: string): readonly string[] {
  return (text.match(TOKEN) ?? []).filter((token) => !/^\s+$/.test(token))
}

function scalar(random: FuzzRandom): string {
  const kind = random.below(8)
  if (kind < 3) return random.pick(NUMBERS)
  if (kind < 6) return random.pick(TEXTS)
  if (kind < 7) return random.pick(OTHERS)
  const depth = random.oneIn(20) ? 20_000 : 1 + random.small(300)
  const [open, close] = random.pick([
    ['[', ']'],
    ['{"a":', '}'],
  ] as const)
  return open.repeat(depth) + (random.oneIn(3) ? '' : '1') + close.repeat(depth)
}

/** Where the value that begins at a token ends, brackets and all. */
function endOfValue(tokens: readonly string[], at: number): number {
  let depth = 0
  for (let end = at; end < tokens.length; end++) {
    const token = tokens[end]!
    if (token === '{' || token === '[') depth += 1
    else if (token === '}' || token === ']') depth -= 1
    if (depth <= 0) return end + 1
  }
  return tokens.length
}

function isKey(tokens: readonly string[], at: number): boolean {
  return tokens[at + 1] === ':' && tokens[at]!.startsWith('"')
}

/** Some token of which this holds, near to a random one; -1 where there is none. */
function find(tokens: readonly string[], random: FuzzRandom, holds: (at: number) => boolean): number {
  const start = random.below(tokens.length)
  for (let step = 0; step < tokens.length; step++) {
    const at = (start + step) % tokens.length
    if (holds(at)) return at
  }
  return -1
}

type Mutation = (tokens: string[], random: FuzzRandom, other: readonly string[]) => void

const isValue = (tokens: readonly string[], at: number) => !/^[}\],:]$/.test(tokens[at]!) && !isKey(tokens, at)

const MUTATIONS: readonly Mutation[] = [
  // A value becomes another, three times as often as anything else.
  ...Array.from(
    { length: 3 },
    (): Mutation => (tokens, random) => {
      const at = find(tokens, random, (i) => isValue(tokens, i) && tokens[i] !== '{' && tokens[i] !== '[')
      if (at >= 0) tokens[at] = scalar(random)
    },
  ),
  (tokens, random) => {
    const at = find(tokens, random, (i) => isValue(tokens, i))
    if (at >= 0) tokens.splice(at, endOfValue(tokens, at) - at, scalar(random))
  },
  // A member goes, comes twice, comes twice with another value, or is called differently.
  (tokens, random) => {
    const at = find(tokens, random, (i) => isKey(tokens, i))
    if (at < 0) return
    const end = endOfValue(tokens, at + 2)
    tokens.splice(at, end - at + (tokens[end] === ',' ? 1 : 0))
  },
  (tokens, random) => {
    const at = find(tokens, random, (i) => isKey(tokens, i))
    if (at < 0) return
    const member = tokens.slice(at, endOfValue(tokens, at + 2))
    if (random.oneIn(2)) member.splice(2, member.length, scalar(random))
    tokens.splice(
      random.oneIn(2) ? at : at + endOfValue(tokens, at + 2) - at,
      0,
      ...(random.oneIn(2) ? [...member, ','] : [',', ...member]),
    )
  },
  (tokens, random, other) => {
    const at = find(tokens, random, (i) => isKey(tokens, i))
    const from = find(other, random, (i) => isKey(other, i))
    if (at >= 0) tokens[at] = from >= 0 && random.oneIn(2) ? other[from]! : random.pick(KEYS)
  },
  (tokens, random) => {
    const at = find(tokens, random, (i) => isKey(tokens, i))
    // Upper case: Go would take it for the same key.
    if (at >= 0) tokens[at] = tokens[at]!.replace(/[a-z]/, (letter) => letter.toUpperCase())
  },
  // A value of another text of the kind, anywhere.
  (tokens, random, other) => {
    const at = find(tokens, random, (i) => isValue(tokens, i))
    const from = find(other, random, (i) => isValue(other, i))
    if (at < 0 || from < 0) return
    tokens.splice(at, endOfValue(tokens, at) - at, ...other.slice(from, endOfValue(other, from)))
  },
  // Elements again and again.
  (tokens, random) => {
    const at = find(tokens, random, (i) => isValue(tokens, i) && (tokens[i - 1] === '[' || tokens[i - 1] === ','))
    if (at < 0) return
    const element = tokens.slice(at, endOfValue(tokens, at)).join('')
    const limit = random.oneIn(40) ? MAX_INPUT / 2 : 2000
    tokens.splice(at, 0, `${element},`.repeat(1 + random.below(Math.max(1, limit / (element.length + 1)))))
  },
  // The text of a string.
  (tokens, random) => {
    const at = find(tokens, random, (i) => tokens[i]!.startsWith('"') && tokens[i]!.length > 2)
    if (at < 0) return
    const text = tokens[at]!
    const place = 1 + random.below(text.length - 1)
    const piece = random.pick([
      '',
      'x',
      '0',
      '\\',
      '\\\\',
      '\\n',
      '\\u0000',
      '\\ud800',
      '\ufffd',
      'é',
      '/',
      '..',
      '\x01',
      '-',
      'Z',
      '=',
    ])
    tokens[at] = text.slice(0, place) + piece + text.slice(place + random.below(3))
  },
  // No JSON at all.
  (tokens, random) => {
    tokens.splice(
      random.below(tokens.length),
      random.below(3),
      random.pick(['{', '}', '[', ']', ',', ':', '"', ' ', '\n', scalar(random)]),
    )
  },
]

export function mutateJson(bytes: Buffer, random: FuzzRandom, others: readonly Buffer[]): Buffer {
  const tokens = [...jsonTokens(bytes.toString('utf8'))]
  if (tokens.length === 0) return mutateBytes(bytes, random, others)
  const other = jsonTokens(random.pick(others).toString('utf8'))
  for (let left = 1 + random.small(4); left > 0 && tokens.length > 0; left--)
    random.pick(MUTATIONS)(tokens, random, other)
  let text = tokens.join(random.oneIn(8) ? random.pick([' ', '\n', '\t', '\r\n ', '\v']) : '')
  if (bytes.at(-1) === 0x0a && !random.oneIn(8)) text += '\n'
  const mutated = Buffer.from(text.length > MAX_INPUT ? text.slice(0, MAX_INPUT) : text, 'utf8')
  return random.oneIn(10) ? mutateBytes(mutated, random, others) : mutated
}
