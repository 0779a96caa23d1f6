import { ApplicationError } from '../error.ts'

/** A simple directive (`block` absent) or a block one, with its arguments unquoted. */
export interface NginxDirective {
  readonly name: string
  readonly args: readonly string[]
  readonly block: readonly NginxDirective[] | undefined
  readonly line: number
}

/** Deeper nesting than this is no configuration that nginx would take. */
const DEPTH_LIMIT = 64

/**
 * Reads an nginx configuration file: words, quotes, comments and blocks, as `ngx_conf_read_token` does. Knows no
 * directive, apart from `…_by_lua_block`, whose content is Lua and is skipped. Throws `SOURCE`.
 */
export function parseNginxConfig(text: string, file: string): readonly NginxDirective[] {
  const reader = { text, file, offset: 0, line: 1 }
  return readBlock(reader, 0)
}

/** All directives, those inside blocks too, outer ones first. */
export function* allDirectives(directives: readonly NginxDirective[]): Generator<NginxDirective> {
  for (const directive of directives) {
    yield directive
    if (directive.block !== undefined) yield* allDirectives(directive.block)
  }
}

interface Reader {
  readonly text: string
  readonly file: string
  offset: number
  line: number
}

function readBlock(reader: Reader, depth: number): NginxDirective[] {
  if (depth > DEPTH_LIMIT) throw malformed(reader, `blocks nested deeper than ${DEPTH_LIMIT}`)
  const directives: NginxDirective[] = []
  let words: string[] = []
  let line = reader.line
  for (;;) {
    skipBlanks(reader)
    const character = reader.text[reader.offset]
    if (character === undefined) {
      if (words.length > 0) throw malformed(reader, 'the end of the file, expected ";" or "{"')
      if (depth > 0) throw malformed(reader, 'the end of the file, expected "}"')
      return directives
    }
    if (character === '}') {
      if (words.length > 0 || depth === 0) throw malformed(reader, 'an unexpected "}"')
      reader.offset++
      return directives
    }
    if (character === ';' || character === '{') {
      const [name, ...args] = words
      if (name === undefined) throw malformed(reader, `an unexpected "${character}"`)
      reader.offset++
      const lua = character === '{' && name.endsWith('_by_lua_block')
      if (lua) skipLua(reader)
      const block = character === ';' ? undefined : lua ? [] : readBlock(reader, depth + 1)
      directives.push({ name, args, block, line })
      words = []
      continue
    }
    if (words.length === 0) line = reader.line
    words.push(character === '"' || character === "'" ? readQuoted(reader, character) : readWord(reader))
  }
}

function skipBlanks(reader: Reader): void {
  for (;;) {
    const character = reader.text[reader.offset]
    if (character === '#') {
      const end = reader.text.indexOf('\n', reader.offset)
      reader.offset = end === -1 ? reader.text.length : end
    } else if (character === '\n') {
      reader.line++
      reader.offset++
    } else if (character === ' ' || character === '\t' || character === '\r') {
      reader.offset++
    } else {
      return
    }
  }
}

function readQuoted(reader: Reader, quote: string): string {
  let word = ''
  for (reader.offset++; ; reader.offset++) {
    const character = reader.text[reader.offset]
    if (character === undefined) throw malformed(reader, `the end of the file inside ${quote}…`)
    if (character === quote) break
    if (character === '\n') reader.line++
    word += character === '\\' ? escaped(reader) : character
  }
  reader.offset++
  return word
}

function readWord(reader: Reader): string {
  let word = ''
  for (; ; reader.offset++) {
    const character = reader.text[reader.offset]
    if (character === undefined || ' \t\r\n;'.includes(character)) return word
    if (character === '{') {
      if (!word.endsWith('$')) return word // `${name}` is a variable, anything else opens a block
      const end = reader.text.indexOf('}', reader.offset)
      if (end === -1) throw malformed(reader, 'an unfinished variable')
      word += reader.text.slice(reader.offset, end + 1)
      reader.offset = end
      continue
    }
    word += character === '\\' ? escaped(reader) : character
  }
}

/** Only quotes, backslash and white space are special after a backslash; `\.` in a pattern stays as it is. */
function escaped(reader: Reader): string {
  const next = reader.text[reader.offset + 1] ?? ''
  const plain = { '"': '"', "'": "'", '\\': '\\', t: '\t', r: '\r', n: '\n', ' ': ' ' }[next]
  if (plain === undefined) return '\\'
  reader.offset++
  return plain
}

/** What braces in Lua may stand in, and the braces. */
const LUA_TOKEN = /--\[\[|--[^\n]*|\[\[|["'{}\n]/g

function skipLua(reader: Reader): void {
  for (let depth = 1; depth > 0; ) {
    LUA_TOKEN.lastIndex = reader.offset
    const match = LUA_TOKEN.exec(reader.text)
    if (match === null) throw malformed(reader, 'the end of the file inside a Lua block')
    const [token] = match
    let end = match.index + token.length
    if (token.endsWith('[[')) end = endOfLong(reader, end)
    else if (token === '"' || token === "'") end = endOfLuaString(reader, end, token)
    else if (token === '{') depth++
    else if (token === '}') depth--
    for (let at = match.index; at < end; at++) if (reader.text[at] === '\n') reader.line++
    reader.offset = end
  }
}

function endOfLong(reader: Reader, start: number): number {
  const end = reader.text.indexOf(']]', start)
  if (end === -1) throw malformed(reader, 'the end of the file inside [[…')
  return end + 2
}

function endOfLuaString(reader: Reader, start: number, quote: string): number {
  for (let at = start; at < reader.text.length; at++) {
    if (reader.text[at] === '\\') at++
    else if (reader.text[at] === quote) return at + 1
  }
  throw malformed(reader, `the end of the file inside ${quote}…`)
}

function malformed(reader: Reader, found: string): ApplicationError {
  return new ApplicationError('SOURCE', `Cannot read ${reader.file}: line ${reader.line} has ${found}`, {
    facts: { file: reader.file, line: reader.line },
    hint: 'Run `nginx -t`',
  })
}
