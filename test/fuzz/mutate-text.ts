import type { FuzzRandom } from './fuzz-random.ts'
import { MAX_INPUT, mutateBytes } from './mutate-bytes.ts'

/** What separates things somewhere, and what some reader takes for special. */
const PIECES = [
  ...' \t\n\r\0\v\f"\'`\\/#;:,.=+-*?![]{}()<>&|%$@~^_0159aAzZeEé\u0085\u00a0\u2028\u202e\ufeff\ufffd😀',
  '\r\n',
  '\n\n',
  '---',
  '...',
  '**',
  '../',
  '//',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the text of a variable, not one
  '${x}',
  '\\x00',
  '\\u0000',
  '\\ud800',
  '0x1F',
  '1e999',
  '-1',
  '99999999999999999999',
  'null',
  'true',
  '__proto__',
  'constructor',
  'toString',
]

type Mutation = (text: string, random: FuzzRandom, others: readonly Buffer[], words: readonly string[]) => string

function cut(text: string, random: FuzzRandom): readonly [start: number, end: number] {
  const start = random.below(text.length + 1)
  return [start, Math.min(text.length, start + 1 + random.small(text.length))]
}

/** Between words, as often as anywhere. */
function border(text: string, random: FuzzRandom): number {
  const at = random.below(text.length + 1)
  if (random.oneIn(2)) return at
  const next = /[^\w-]|$/g
  next.lastIndex = at
  return next.exec(text)!.index
}

function lines(text: string, random: FuzzRandom, change: (lines: string[], at: number) => void): string {
  const all = text.split('\n')
  change(all, random.below(all.length))
  return all.join('\n')
}

const piece = (random: FuzzRandom, words: readonly string[]) =>
  words.length > 0 && random.oneIn(2) ? random.pick(words) : random.pick(PIECES)

const MUTATIONS: readonly Mutation[] = [
  (text, random, _, words) => {
    const at = border(text, random)
    return text.slice(0, at) + piece(random, words) + text.slice(at)
  },
  (text, random, _, words) => {
    const [start, end] = cut(text, random)
    return text.slice(0, start) + piece(random, words) + text.slice(end)
  },
  (text, random) => {
    const [start, end] = cut(text, random)
    return text.slice(0, start) + text.slice(end)
  },
  (text, random, others) => {
    const other = random.pick(others).toString('utf8')
    return text.slice(0, border(text, random)) + other.slice(border(other, random))
  },
  (text, random) =>
    lines(text, random, (all, at) => {
      all.splice(random.below(all.length), 0, all[at]!)
    }),
  (text, random) =>
    lines(text, random, (all, at) => {
      all.splice(at, 1)
    }),
  (text, random) =>
    lines(text, random, (all, at) => {
      all[at] = `${' '.repeat(random.below(6))}${all[at]!.trimStart()}`
    }),
  (text, random, _, words) => {
    // Regular expressions that try every way to cut a text show themselves here.
    const unit = random.oneIn(2) ? piece(random, words) : text.slice(...cut(text, random))
    const limit = random.oneIn(40) ? MAX_INPUT / 4 : 500
    const at = border(text, random)
    return (
      text.slice(0, at) + unit.repeat(1 + random.below(Math.max(1, limit / Math.max(1, unit.length)))) + text.slice(at)
    )
  },
  (text, random) => {
    const [open, close] = random.pick(['[]', '{}', '()', '""', "''"])!
    const depth = random.oneIn(50) ? 20_000 : 1 + random.small(100)
    const at = border(text, random)
    return text.slice(0, at) + open!.repeat(depth) + (random.oneIn(2) ? close!.repeat(depth) : '') + text.slice(at)
  },
]

export function mutateText(
  bytes: Buffer,
  random: FuzzRandom,
  others: readonly Buffer[],
  words: readonly string[],
): Buffer {
  let text = bytes.toString('utf8')
  for (let left = 1 + random.small(6); left > 0; left--) {
    text = random.pick(MUTATIONS)(text, random, others, words)
    if (text.length > MAX_INPUT) text = text.slice(0, MAX_INPUT)
  }
  const mutated = Buffer.from(text, 'utf8')
  return random.oneIn(12) ? mutateBytes(mutated, random, others) : mutated
}
