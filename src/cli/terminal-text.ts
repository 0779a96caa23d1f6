import { isUtf8 } from 'node:buffer'

const INVISIBLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Co}\p{Cn}]|(?![\u200c\u200d])\p{Cf}/gu
const INVISIBLE_BUT_NEWLINE = new RegExp(`(?!\\n)(?:${INVISIBLE.source})`, 'gu')
/** Colours and nothing else: `ESC [ … m`. */
const SGR = /\x1b\[[0-9;]*m/g

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\t': '\\t', '\r': '\\r' }

function escapeCharacter(character: string): string {
  const short = SHORT[character]
  if (short !== undefined) return short
  const code = character.codePointAt(0)!
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\u{${code.toString(16)}}`
}

/**
 * Text from elsewhere (a file name, a message that quotes one) as it may be shown on a terminal, on one line: characters
 * that would move the cursor, set colours, reverse the direction or simply not be seen are written as escapes.
 */
export function escapeText(text: string): string {
  return text.replace(INVISIBLE, escapeCharacter)
}

/** Like `escapeText`, for text of several lines. */
export function escapeLines(text: string): string {
  return text.replace(INVISIBLE_BUT_NEWLINE, escapeCharacter)
}

/** The last net below text that we composed: our own colours pass, every other control sequence is made visible. */
export function escapeAllButColours(text: string): string {
  let escaped = ''
  let end = 0
  for (const { 0: colour, index } of text.matchAll(SGR)) {
    escaped += escapeLines(text.slice(end, index)) + colour
    end = index + colour.length
  }
  return escaped + escapeLines(text.slice(end))
}

/** JSON that means the same and can be shown on a terminal: it leaves DEL, C1 and direction marks in strings as they are. */
export function escapeJson(json: string): string {
  return json.replace(INVISIBLE, (character) =>
    Array.from(
      { length: character.length },
      (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`,
    ).join(''),
  )
}

/** A name as the file system has it: what is not UTF-8 is shown as `\xff`. */
export function escapeName(name: Buffer): string {
  if (isUtf8(name)) return escapeText(name.toString('utf8'))
  let text = ''
  for (let at = 0; at < name.length; ) {
    const lead = name[at]!
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
    const character = name.subarray(at, at + length)
    if (isUtf8(character)) {
      text += escapeText(character.toString('utf8'))
      at += length
    } else {
      text += `\\x${lead.toString(16).padStart(2, '0')}`
      at += 1
    }
  }
  return text
}

const ZERO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}]$/u
const EMOJI = /^\p{Emoji_Presentation}$/u

/** Blocks that terminals draw two columns wide: East Asian Width W and F (UAX #11), as ranges of code points. */
const WIDE = [
  0x1100, 0x115f, 0x2e80, 0x303e, 0x3041, 0x33ff, 0x3400, 0x4dbf, 0x4e00, 0x9fff, 0xa000, 0xa4cf, 0xa960, 0xa97f,
  0xac00, 0xd7a3, 0xf900, 0xfaff, 0xfe10, 0xfe19, 0xfe30, 0xfe6f, 0xff01, 0xff60, 0xffe0, 0xffe6, 0x16fe0, 0x18aff,
  0x1b000, 0x1b2ff, 0x20000, 0x2fffd, 0x30000, 0x3fffd,
]

function characterWidth(character: string): number {
  const code = character.codePointAt(0)!
  if (code < 0x300) return 1
  if (ZERO_WIDTH.test(character)) return 0
  for (let i = 0; i < WIDE.length; i += 2) if (code >= WIDE[i]! && code <= WIDE[i + 1]!) return 2
  return EMOJI.test(character) ? 2 : 1
}

/** Columns that text takes on a terminal; colours take none. Text with control characters must be escaped before. */
export function displayWidth(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length
  let width = 0
  for (const character of text.replace(SGR, '')) width += characterWidth(character)
  return width
}

export type Cut = 'end' | 'middle' | 'start'

/** Shortens text without colours to at most `width` columns; an ellipsis stands where something is missing. */
export function fit(text: string, width: number, cut: Cut = 'end'): string {
  if (displayWidth(text) <= width) return text
  if (width <= 0) return ''
  const characters = [...text]
  const room = width - 1
  const head = cut === 'end' ? room : cut === 'start' ? 0 : Math.ceil(room / 2)
  let left = ''
  let used = 0
  for (const character of characters) {
    const next = characterWidth(character)
    if (used + next > head) break
    left += character
    used += next
  }
  let right = ''
  let rightUsed = 0
  if (cut !== 'end') {
    for (let i = characters.length - 1; i >= 0; i--) {
      const next = characterWidth(characters[i]!)
      if (used + rightUsed + next > room) break
      right = characters[i]! + right
      rightUsed += next
    }
  }
  return `${left}…${right}`
}

export function pad(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const space = ' '.repeat(Math.max(0, width - displayWidth(text)))
  return align === 'left' ? text + space : space + text
}

/** Breaks text at white space so that no line is wider than `width`, where its words allow it. Line breaks are kept. */
export function wrap(text: string, width: number): string[] {
  return text.split('\n').flatMap((line) => {
    const indent = /^ */.exec(line)![0]
    const lines: string[] = []
    let current = indent
    for (const word of line.trim().split(/ +/)) {
      if (current.trim() !== '' && displayWidth(current) + 1 + displayWidth(word) > width) {
        lines.push(current)
        current = indent + word
      } else {
        current += current.trim() === '' ? word : ` ${word}`
      }
    }
    return [...lines, current]
  })
}

/** Text whose first line begins a list of such texts: wrapped, with all lines but the first indented. */
export function wrapHanging(text: string, width: number | undefined, indent: string): string {
  if (width === undefined || !Number.isFinite(width)) return text
  const [first, ...more] = wrap(text, width - indent.length)
  return [first, ...more.map((line) => (line.startsWith(' ') ? line : indent + line))].join('\n')
}
