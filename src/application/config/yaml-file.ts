import {
  type Document,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
  type YAMLError,
  type YAMLMap,
} from 'yaml'
import type { ConfigProblem } from './config-problem.ts'

export type Path = readonly (string | number)[]

export interface Position {
  readonly line: number
  readonly column: number
}

export interface YamlFile {
  readonly value: unknown
  readonly problems: readonly ConfigProblem[]
  /**
   * Where the value or key at `path` begins. Where there is none, the place of what should hold it, which is the start
   * of the file at the last.
   */
  locate(path: Path, part: 'key' | 'value'): Position
}

/**
 * Reads YAML 1.2 in the way of a config file: one document, no key twice, no references. Never throws; where the text is
 * not understood, `value` is undefined and `problems` says why.
 */
export function readYaml(text: string): YamlFile {
  const lines = new LineCounter()
  const document = parse(text, lines)
  if (document === undefined) {
    const nested = { line: 1, column: 1, text: 'groups and lists stand in each other too deep, expected a few levels' }
    return { value: undefined, problems: [nested], locate: () => ({ line: 1, column: 1 }) }
  }
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(Math.min(offset, text.length))
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }
  const problems: ConfigProblem[] = []

  const control = /[\0-\x08\x0e-\x1f\x7f]/.exec(text)
  if (control !== null) {
    const code = control[0].charCodeAt(0).toString(16).padStart(2, '0')
    problems.push({
      ...at(control.index),
      text: `a control character (0x${code}) stands here, expected a text file in YAML`,
    })
    return { value: undefined, problems, locate: () => ({ line: 1, column: 1 }) }
  }

  const mistakes = [...document.errors, ...document.warnings]
  visit(document, {
    Map(_, { items }) {
      const seen = new Map<unknown, unknown>()
      for (const { key } of items) {
        if (!isScalar(key)) continue
        if (seen.has(key.value)) problems.push(duplicateKey(key, seen.get(key.value)))
        else seen.set(key.value, key)
      }
    },
  })
  // What follows the first mistake in the syntax is mostly its consequence.
  const first = mistakes.sort((a, b) => a.pos[0] - b.pos[0])[0]
  if (first !== undefined) {
    problems.push({ ...at(first.pos[0]), text: explain(first, text) })
    return { value: undefined, problems, locate: () => ({ line: 1, column: 1 }) }
  }

  let readable = true
  visit(document, {
    Scalar(_, node) {
      // No value of a config file is a number or a truth value, and as text it stays what was written: 0401234, 1e3, no.
      if (typeof node.value !== 'string' && node.value !== null && node.source !== undefined) node.value = node.source
    },
    Alias(_, node) {
      readable = false
      const source = `*${node.source}`
      problems.push({
        ...at(node.range?.[0] ?? 0),
        text: `${source} is a reference in YAML and refers to nothing here, expected quotes around it: ${JSON.stringify(source)}`,
      })
    },
    Pair(_, pair) {
      if (isScalar(pair.key)) return
      readable = false
      const key = pair.key as Node | null
      problems.push({ ...at(key?.range?.[0] ?? 0), text: 'a list or group stands here as a key, expected text' })
    },
  })
  return {
    value: readable ? document.toJS() : undefined,
    problems,
    locate: (path, part) => at(offsetOf(document.contents, path, part)),
  }

  function duplicateKey(key: Node, earlier: unknown): ConfigProblem {
    const { line } = at(startOf(earlier) ?? 0)
    const name = isScalar(key) ? key.value : ''
    return {
      ...at(startOf(key) ?? 0),
      text: `the key "${name}" stands here again, first on line ${line}, expected each key once`,
    }
  }
}

/** Undefined where the parser, which calls itself for each level, runs out of stack. */
function parse(text: string, lineCounter: LineCounter): Document.Parsed | undefined {
  try {
    // Keys that stand twice are found below: the parser compares each key with every other, which takes hours for a long file.
    return parseDocument(text, {
      lineCounter,
      prettyErrors: false,
      version: '1.2',
      logLevel: 'error',
      uniqueKeys: false,
    })
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

function offsetOf(contents: unknown, path: Path, part: 'key' | 'value'): number {
  let node = contents
  let offset = 0
  for (const [depth, step] of path.entries()) {
    const last = depth === path.length - 1
    if (isMap(node)) {
      const pair = pairsOf(node).get(String(step))
      if (pair === undefined) return offset
      const key = startOf(pair.key) ?? offset
      const value = isEmpty(pair.value) ? undefined : startOf(pair.value)
      if (last) return part === 'value' ? (value ?? key) : key
      offset = key
      node = pair.value
    } else if (isSeq(node)) {
      const item = node.items[Number(step)]
      const start = startOf(item)
      if (start === undefined) return offset
      offset = start
      node = item
    } else {
      return offset
    }
  }
  return offset
}

/** A file may have as many mistakes as keys, and each is looked for: going through all keys for each would take minutes. */
const pairsByMap = new WeakMap<YAMLMap, ReadonlyMap<string, Pair>>()

/** By key. The last of a key that stands there twice is the one that counts. */
function pairsOf(map: YAMLMap): ReadonlyMap<string, Pair> {
  let pairs = pairsByMap.get(map)
  if (pairs === undefined) {
    pairs = new Map(map.items.flatMap((pair) => (isScalar(pair.key) ? [[String(pair.key.value), pair] as const] : [])))
    pairsByMap.set(map, pairs)
  }
  return pairs
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0]
}

/** A key with nothing after its colon: its value has a place, but one that shows nothing. */
function isEmpty(node: unknown): boolean {
  return isScalar(node) && node.range !== undefined && node.range !== null && node.range[0] === node.range[1]
}

/** The parser's words name its own notions; an operator needs what to change. */
function explain({ code, message, pos }: YAMLError, text: string): string {
  const rest = text
    .slice(pos[0])
    .split(/[\r\n]/, 1)[0]!
    .trimEnd()
  const value = JSON.stringify(rest.split(/ #|[,\]}]/, 1)[0]!.trimEnd())
  switch (code) {
    case 'TAB_AS_INDENT':
      return 'a tab indents this line, expected spaces'
    case 'BAD_SCALAR_START':
      return `${rest[0]} cannot begin a value in YAML, expected quotes around it: ${value}`
    case 'BAD_ALIAS':
      return `* begins a reference in YAML, expected quotes around it: ${value}`
    case 'BLOCK_AS_IMPLICIT_KEY':
      return `a value with ": " in it stands here, expected quotes around it: ${JSON.stringify(rest)}`
    case 'MULTIPLE_DOCS':
      return 'a second document begins here, expected one'
    case 'TAG_RESOLVE_FAILED':
      return `the tag ${text.slice(...pos)} stands here, expected a value without one`
    case 'MULTILINE_IMPLICIT_KEY':
      return `${JSON.stringify(rest)} stands here, expected a key, a colon and a space`
    case 'BAD_DQ_ESCAPE':
      return `${JSON.stringify(rest.slice(0, 2))} means nothing between double quotes, expected single quotes or the backslash twice`
    case 'MISSING_CHAR':
      if (/quote$/.test(message)) return 'the file ends between quotes, expected the closing one'
      if (/map values$/.test(message)) return `${JSON.stringify(rest)} stands here, expected a key, a colon and a space`
      break
    case 'BAD_INDENT':
      if (message.startsWith('Flow')) break
      return 'this line is indented unlike those of the same group, expected the same number of spaces'
  }
  return `not YAML: ${message[0]?.toLowerCase()}${message.slice(1)}`
}
