import { isMap, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument, visit, type YAMLError } from 'yaml'
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
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: '1.2', logLevel: 'error' })
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
  for (const mistake of mistakes.filter(({ code }) => code === 'DUPLICATE_KEY')) {
    problems.push({
      ...at(mistake.pos[0]),
      text: duplicateKey(document.contents, mistake.pos[0], (offset) => at(offset).line),
    })
  }
  // What follows the first mistake in the syntax is mostly its consequence.
  const first = mistakes.filter(({ code }) => code !== 'DUPLICATE_KEY').sort((a, b) => a.pos[0] - b.pos[0])[0]
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
}

function offsetOf(contents: unknown, path: Path, part: 'key' | 'value'): number {
  let node = contents
  let offset = 0
  for (const [depth, step] of path.entries()) {
    const last = depth === path.length - 1
    if (isMap(node)) {
      // The last of a key that stands there twice is the one that counts.
      const pair = node.items.findLast((item) => isScalar(item.key) && String(item.key.value) === String(step))
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

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0]
}

/** A key with nothing after its colon: its value has a place, but one that shows nothing. */
function isEmpty(node: unknown): boolean {
  return isScalar(node) && node.range !== undefined && node.range !== null && node.range[0] === node.range[1]
}

function duplicateKey(contents: unknown, offset: number, lineAt: (offset: number) => number): string {
  let text = 'the same key stands here twice, expected each key once'
  visit(contents as Node, {
    Map(_, map) {
      const index = map.items.findIndex(({ key }) => startOf(key) === offset)
      const key = map.items[index]?.key
      if (!isScalar(key)) return
      const earlier = map.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === key.value)
      const line = lineAt(startOf(earlier?.key) ?? 0)
      text = `the key "${key.value}" stands here again, first on line ${line}, expected each key once`
    },
  })
  return text
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
