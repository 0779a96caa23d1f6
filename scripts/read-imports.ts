import { SyntaxKind } from 'typescript/unstable/ast'
import { createScanner } from 'typescript/unstable/ast/scanner'

export interface Import {
  /** What stands between the quotes; `undefined` when it is computed at run time. */
  readonly specifier: string | undefined
  readonly line: number
  /**
   * - `static`: `import … from`, `import type … from`, `import '…'`
   * - `re-export`: `export … from`
   * - `dynamic`: `import(…)`, as a value or as a type, `require(…)`, `import.meta.resolve(…)`
   * - `url`: `new URL('…', import.meta.url)`, which is how a worker names its file
   */
  readonly kind: 'static' | 're-export' | 'dynamic' | 'url'
}

interface Token {
  readonly kind: SyntaxKind
  readonly text: string
  readonly start: number
}

/** Every import of a TypeScript source, in order. Reads tokens, so comments and strings cannot look like imports. */
export function readImports(source: string): Import[] {
  const tokens = tokenize(source)
  const lineOf = lineCounter(source)
  const imports: Import[] = []
  const add = (token: Token, kind: Import['kind'], specifier: string | undefined) =>
    imports.push({ specifier, line: lineOf(token.start), kind })

  for (const [index, token] of tokens.entries()) {
    const at = (offset: number) => tokens[index + offset]
    if (at(-1)?.kind === SyntaxKind.DotToken || at(1)?.kind === SyntaxKind.ColonToken) continue // a property's name
    if (token.kind === SyntaxKind.ImportKeyword) {
      if (at(1)?.kind === SyntaxKind.OpenParenToken) add(token, 'dynamic', argument(at(2), at(3)))
      else if (at(1)?.kind === SyntaxKind.DotToken) {
        if (at(3)?.kind === SyntaxKind.DotToken && at(4)?.text === 'resolve')
          add(token, 'dynamic', argument(at(6), at(7)))
      } else {
        const from = tokens.slice(index + 1).find((next) => next.kind === SyntaxKind.StringLiteral)
        if (from !== undefined) add(from, 'static', literal(from))
      }
    } else if (token.kind === SyntaxKind.ExportKeyword) {
      const from = reExported(tokens, index)
      if (from !== undefined) add(from, 're-export', literal(from))
    } else if (token.text === 'require' && at(1)?.kind === SyntaxKind.OpenParenToken) {
      add(token, 'dynamic', argument(at(2), at(3)))
    } else if (token.text === 'URL' && at(1)?.kind === SyntaxKind.OpenParenToken) {
      if (literal(at(2)) !== undefined && at(4)?.kind === SyntaxKind.ImportKeyword) add(token, 'url', literal(at(2)))
    }
  }
  return imports
}

function literal(token: Token | undefined): string | undefined {
  const isText = token?.kind === SyntaxKind.StringLiteral || token?.kind === SyntaxKind.NoSubstitutionTemplateLiteral
  return isText ? token.text : undefined
}

/** The first argument of a call, when it is a literal and nothing else. */
function argument(token: Token | undefined, next: Token | undefined): string | undefined {
  const ends = next?.kind === SyntaxKind.CloseParenToken || next?.kind === SyntaxKind.CommaToken
  return ends ? literal(token) : undefined
}

/** The string of `export * from '…'`, `export * as x from '…'`, `export { … } from '…'` and their `type` forms. */
function reExported(tokens: readonly Token[], exportAt: number): Token | undefined {
  let at = exportAt + 1
  if (tokens[at]?.kind === SyntaxKind.TypeKeyword) at++
  if (tokens[at]?.kind === SyntaxKind.AsteriskToken) {
    at++
    if (tokens[at]?.kind === SyntaxKind.AsKeyword) at += 2
  } else if (tokens[at]?.kind === SyntaxKind.OpenBraceToken) {
    while (at < tokens.length && tokens[at]?.kind !== SyntaxKind.CloseBraceToken) at++
    at++
  } else return undefined
  return tokens[at]?.kind === SyntaxKind.FromKeyword ? tokens[at + 1] : undefined
}

function tokenize(source: string): Token[] {
  const scanner = createScanner(true)
  scanner.setText(source)
  const tokens: Token[] = []
  // One entry for each open brace: does its closing brace go on with a template (`…${ }…`)?
  const braces: boolean[] = []
  for (let kind = scanner.scan(); kind !== SyntaxKind.EndOfFile; kind = scanner.scan()) {
    if (isSlash(kind) && !endsOperand(tokens.at(-1))) kind = scanner.reScanSlashToken()
    if (kind === SyntaxKind.BacktickToken) kind = scanner.reScanTemplateHeadOrNoSubstitutionTemplate()
    if (kind === SyntaxKind.OpenBraceToken) braces.push(false)
    if (kind === SyntaxKind.TemplateHead) braces.push(true)
    if (kind === SyntaxKind.CloseBraceToken && braces.pop() === true) {
      kind = scanner.reScanTemplateToken(false)
      if (kind === SyntaxKind.TemplateMiddle) braces.push(true)
    }
    tokens.push({ kind, text: scanner.getTokenValue(), start: scanner.getTokenStart() })
  }
  return tokens
}

function isSlash(kind: SyntaxKind): boolean {
  return kind === SyntaxKind.SlashToken || kind === SyntaxKind.SlashEqualsToken
}

/** After an operand a slash divides; anywhere else it opens a regular expression. */
function endsOperand(token: Token | undefined): boolean {
  if (token === undefined) return false
  switch (token.kind) {
    case SyntaxKind.CloseParenToken:
    case SyntaxKind.CloseBracketToken:
    case SyntaxKind.CloseBraceToken:
    case SyntaxKind.NumericLiteral:
    case SyntaxKind.BigIntLiteral:
    case SyntaxKind.StringLiteral:
    case SyntaxKind.NoSubstitutionTemplateLiteral:
    case SyntaxKind.TemplateTail:
    case SyntaxKind.RegularExpressionLiteral:
    case SyntaxKind.ThisKeyword:
    case SyntaxKind.Identifier:
    case SyntaxKind.ExclamationToken: // `value! / 2`; no regular expression is ever negated
      return true
    default:
      return token.kind > SyntaxKind.LastReservedWord && token.kind <= SyntaxKind.LastKeyword // `of`, `type`… as names
  }
}

function lineCounter(source: string): (offset: number) => number {
  const starts = [0]
  for (let at = source.indexOf('\n'); at !== -1; at = source.indexOf('\n', at + 1)) starts.push(at + 1)
  return (offset) => {
    let low = 0
    let high = starts.length
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (starts[middle]! <= offset) low = middle
      else high = middle
    }
    return low + 1
  }
}
