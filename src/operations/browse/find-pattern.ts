import { isUtf8 } from 'node:buffer'
import { posix } from 'node:path'
import { mapUtf8 } from '../../engine/format/map-utf8.ts'
import { OperationError } from '../error.ts'

// Patterns as restic takes them: parts between slashes, in each the wildcards of Go's `path.Match`.
//
//   *       any characters          [a-z] [^a-z]   one of a set, or none of it
//   ?       one character           \x             x itself
//   **      as a part of its own: any number of folders
//
// A pattern that begins with a slash is about the whole path, any other about a run of parts somewhere in it. What lies below a match
// matches as well.

type Token =
  | { readonly kind: 'text'; readonly character: string }
  | { readonly kind: 'any' | 'star' }
  | { readonly kind: 'set'; readonly negated: boolean; readonly ranges: readonly (readonly [string, string])[] }

/** A part that matches whatever its name is, or any number of them. */
type Part = readonly Token[] | 'folders'

export interface FindPattern {
  readonly isAbsolute: boolean
  readonly parts: readonly Part[]
}

/** Which parts of a pattern may come next below a folder, by number; `matched` once the folder itself or one above it matches. */
export type PatternState = readonly number[] | 'matched'

/** Throws `USAGE` for a pattern with an open bracket, an empty set or a backslash at its end. */
export function parseFindPattern(pattern: string): FindPattern {
  const [first = '', ...rest] = posix
    .normalize(pattern)
    .replace(/(?<=.)\/$/, '')
    .split('/')
  const isAbsolute = first === ''
  const texts = isAbsolute ? rest : [first, ...rest]
  return {
    isAbsolute,
    parts: texts.map((text) => (text === '**' || text === '' ? 'folders' : parsePart(text, pattern))),
  }
}

function parsePart(text: string, pattern: string): Token[] {
  const fail = (what: string) => {
    return new OperationError('USAGE', `Cannot use the pattern ${pattern}: ${what}`, {
      facts: { pattern },
      hint: 'Write \\[ for a bracket and \\\\ for a backslash',
    })
  }
  const characters = [...text]
  let at = 0
  const literal = (): string => {
    if (characters[at] === '\\') at++
    const character = characters[at++]
    if (character === undefined) throw fail('it ends where a character should come')
    return character
  }
  const tokens: Token[] = []
  while (at < characters.length) {
    const character = characters[at]!
    if (character === '*' || character === '?') {
      at++
      if (character === '?') tokens.push({ kind: 'any' })
      else if (tokens.at(-1)?.kind !== 'star') tokens.push({ kind: 'star' })
    } else if (character === '[') {
      at++
      const negated = characters[at] === '^'
      if (negated) at++
      const ranges: [string, string][] = []
      while (characters[at] !== ']' || ranges.length === 0) {
        if (characters[at] === '-' || characters[at] === ']')
          throw fail('a set of characters begins with - or is empty')
        const low = literal()
        let high = low
        if (characters[at] === '-') {
          at++
          if (characters[at] === '-' || characters[at] === ']') throw fail('a range of characters has no end')
          high = literal()
        }
        if (at >= characters.length) throw fail('a bracket is not closed')
        ranges.push([low, high])
      }
      at++
      tokens.push({ kind: 'set', negated, ranges })
    } else {
      tokens.push({ kind: 'text', character: literal() })
    }
  }
  return tokens
}

/** Where a walk begins. */
export function startOf(pattern: FindPattern): PatternState {
  return advance(pattern, [0])
}

/** What is left of the pattern at an entry of that name. Empty when nothing at it or below it can match. */
export function follow(pattern: FindPattern, state: PatternState, name: readonly string[]): PatternState {
  if (state === 'matched') return state
  const next = pattern.isAbsolute ? [] : [0]
  for (const part of state) {
    const tokens = pattern.parts[part]!
    if (tokens === 'folders') next.push(part)
    else if (matchesPart(tokens, name)) next.push(part + 1)
  }
  return advance(pattern, next)
}

/** Any number of folders may be none: with each place before them goes the one after them. */
function advance({ parts }: FindPattern, places: readonly number[]): PatternState {
  const all = new Set<number>()
  for (const place of places) {
    let at = place
    all.add(at)
    while (parts[at] === 'folders') all.add(++at)
    if (at === parts.length) return 'matched'
  }
  return [...all].sort((a, b) => a - b)
}

/** The last star takes as much as it must: so no pattern takes longer than its length times that of the name. */
function matchesPart(tokens: readonly Token[], name: readonly string[]): boolean {
  let token = 0
  let at = 0
  let star = -1
  let starAt = 0
  while (at < name.length) {
    const current = tokens[token]
    if (current?.kind === 'star') {
      star = token++
      starAt = at
    } else if (current !== undefined && matchesCharacter(current, name[at]!)) {
      token++
      at++
    } else if (star >= 0) {
      token = star + 1
      at = ++starAt
    } else {
      return false
    }
  }
  while (tokens[token]?.kind === 'star') token++
  return token === tokens.length
}

function matchesCharacter(token: Token, character: string): boolean {
  if (token.kind === 'text') return token.character === character
  if (token.kind !== 'set') return true
  const code = character.codePointAt(0)!
  const isIn = token.ranges.some(([low, high]) => low.codePointAt(0)! <= code && code <= high.codePointAt(0)!)
  return isIn !== token.negated
}

/** Bytes that are no text stand for themselves, as code points that no text has. */
const NOT_TEXT = 0xdc00

/** A name as patterns see it. */
export function charactersOf(name: Buffer): string[] {
  if (isUtf8(name)) return [...name.toString('utf8')]
  return [
    ...mapUtf8(
      name,
      (text) => text,
      (byte) => String.fromCharCode(NOT_TEXT + byte),
    ),
  ]
}

/** In lower case, each character for itself, so that it does not matter what stands beside it. */
export function lowered(characters: readonly string[]): string[] {
  return characters.map((character) => {
    const lower = character.toLowerCase()
    return lower.length > character.length ? String.fromCodePoint(lower.codePointAt(0)!) : lower
  })
}
