// One line of gitignore(5), matched as git's wildmatch.c does with WM_PATHNAME. All text here is bytes, one character
// each (latin1): git compares bytes, and a name on disk need not be UTF-8.
//
//   !p     takes back what an earlier pattern left out
//   p/     folders only
//   /p a/b a slash anywhere but at the end: anchored at the folder that the pattern belongs to
//   *  ?   any run of bytes, any byte; never a slash
//   **/p  a/**/b  a/**   any number of folders in front, in between, everything inside
//   [a-c] [!a] [[:digit:]]   one byte of a set, never a slash
//   \c     c itself

export interface IgnorePattern {
  readonly takesBack: boolean
  readonly foldersOnly: boolean
  /** Without a slash, a pattern is compared with the last part of a path alone. */
  readonly anchored: boolean
  /** Given the last part of a path, or all of it when anchored; without slashes at the ends. */
  matches(text: string): boolean
}

/** Undefined for what is no pattern: an empty line, a comment, or one that git matches nothing with. */
export function parseIgnorePattern(line: string): IgnorePattern | undefined {
  if (line.startsWith('#')) return undefined
  const takesBack = line.startsWith('!')
  let body = withoutTrailingSpaces(takesBack ? line.slice(1) : line)
  const foldersOnly = body.endsWith('/')
  if (foldersOnly) body = body.slice(0, -1)
  const anchored = body.includes('/')
  if (body.startsWith('/')) body = body.slice(1)
  if (body === '') return undefined
  const matches = matcher(body, anchored)
  return matches === undefined ? undefined : { takesBack, foldersOnly, anchored, matches }
}

/** A space at the end counts only behind a backslash that is not itself behind one. */
function withoutTrailingSpaces(text: string): string {
  const end = text.search(/ *$/)
  let backslashes = 0
  while (text[end - 1 - backslashes] === '\\') backslashes += 1
  return backslashes % 2 === 1 && end < text.length ? text.slice(0, end + 1) : text.slice(0, end)
}

function matcher(body: string, anchored: boolean): ((text: string) => boolean) | undefined {
  // Most patterns are a name or an ending, which need no regular expression.
  if (!/[*?[\\]/.test(body)) return (text) => text === body
  const ending = body.slice(1)
  if (body.startsWith('*') && !anchored && !/[*?[\\]/.test(ending)) return (text) => text.endsWith(ending)
  const source = regularExpression(body, anchored)
  if (source === undefined) return undefined
  const expression = new RegExp(`^${source}$`)
  return (text) => expression.test(text)
}

/** `*`, a double star in front of a slash, a slash; anything else is the source of what matches one character or the end. */
type Token = string | typeof STAR | typeof FOLDERS
const STAR = Symbol('*')
const FOLDERS = Symbol('**/')
const SLASH = literal('/')

function regularExpression(body: string, anchored: boolean): string | undefined {
  const tokens: Token[] = []
  for (let at = 0; at < body.length; ) {
    const character = body[at]!
    if (character === '\\') {
      const escaped = body[at + 1]
      if (escaped === undefined) return undefined
      tokens.push(literal(escaped))
      at += 2
    } else if (character === '*') {
      let end = at + 1
      while (body[end] === '*') end += 1
      const isWhole = end - at > 1 && anchored && (at === 0 || body[at - 1] === '/')
      if (isWhole && body[end] === '/') {
        tokens.push(FOLDERS)
        at = end + 1
      } else if (isWhole && body.startsWith('\\/', end)) {
        // wildmatch.c lets the asterisks run over slashes here too, but not stand for no folder at all.
        tokens.push(STAR, SLASH, FOLDERS)
        at = end + 2
      } else if (isWhole && end === body.length) {
        tokens.push('[\\s\\S]*')
        at = end
      } else {
        tokens.push(STAR)
        at = end
      }
    } else if (character === '?') {
      tokens.push('[^/]')
      at += 1
    } else if (character === '[') {
      const set = parseSet(body, at)
      if (set === undefined) return undefined
      tokens.push(set.source)
      at = set.end
    } else {
      tokens.push(literal(character))
      at += 1
    }
  }
  return join(tokens)
}

// A run of anything that another such run follows later need never be longer than up to the first place where what stands between
// them fits: the later one takes the rest. So that place is never given up again (a look-ahead is not entered a second time), or
// `*a*a*a*a*b` tries all ways to place each `a`, which takes for ever.

function join(tokens: readonly Token[]): string {
  let groups = 0
  const settled = (source: string) => {
    groups += 1
    return `(?=(?<g${groups}>${source}))\\k<g${groups}>`
  }
  const [first, ...parts] = split(tokens, FOLDERS).map((part) => joinStars(part, settled))
  return parts.reduce(
    (source, part, index) =>
      source + (index === parts.length - 1 ? `(?:[\\s\\S]*/)?${part}` : settled(`(?:[\\s\\S]*?/)??${part}`)),
    first!,
  )
}

function joinStars(tokens: readonly Token[], settled: (source: string) => string): string {
  const [first, ...parts] = split(tokens, STAR).map((part) => part.join(''))
  return parts.reduce((source, part, index) => {
    // Behind a slash another name begins, to which the next run belongs.
    const isLast = index === parts.length - 1 || part.includes(SLASH)
    return source + (isLast ? `[^/]*${part}` : settled(`[^/]*?${part}`))
  }, first!)
}

function split(tokens: readonly Token[], separator: Token): Token[][] {
  const parts: Token[][] = [[]]
  for (const token of tokens) {
    if (token === separator) parts.push([])
    else parts.at(-1)!.push(token)
  }
  return parts
}

function literal(character: string): string {
  return character.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&')
}

/** git's own, ASCII only (`sane-ctype.h`); unlike C's, its `space` knows no vertical tab and no form feed. */
const classes: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  blank: ' \\t',
  cntrl: '\\x00-\\x1f\\x7f',
  digit: '0-9',
  graph: '!-~',
  lower: 'a-z',
  print: ' -~',
  punct: '!-\\/:-@\\[-`{-~',
  space: ' \\t\\n\\r',
  upper: 'A-Z',
  xdigit: '0-9A-Fa-f',
}

/** A set that is not closed, or names an unknown class, makes the whole pattern match nothing. */
function parseSet(body: string, start: number): { source: string; end: number } | undefined {
  let at = start + 1
  const negated = body[at] === '!' || body[at] === '^'
  if (negated) at += 1
  let members = ''
  // What a range can begin with: the member before, unless that was a range or class itself.
  let previous: string | undefined
  // A closing bracket that comes first is a member.
  for (let first = true; first || body[at] !== ']'; first = false) {
    const character = body[at]
    if (character === undefined) return undefined
    if (character === '[' && body[at + 1] === ':') {
      const close = body.indexOf(']', at + 2)
      if (close === -1) return undefined
      if (body[close - 1] === ':' && close - 1 >= at + 2) {
        const named = classes[body.slice(at + 2, close - 1)]
        if (named === undefined) return undefined
        members += named
        previous = undefined
        at = close + 1
        continue
      }
    }
    if (character === '-' && previous !== undefined && body[at + 1] !== undefined && body[at + 1] !== ']') {
      at += body[at + 1] === '\\' ? 2 : 1
      const last = body[at]
      if (last === undefined) return undefined
      // Backwards it holds nothing but its first member, which already stands.
      if (previous <= last) members += `-${literal(last)}`
      previous = undefined
    } else {
      if (character === '\\') at += 1
      const member = body[at]
      if (member === undefined) return undefined
      members += literal(member)
      previous = member
    }
    at += 1
  }
  return { source: negated ? `[^/${members}]` : `(?!/)[${members}]`, end: at + 1 }
}
