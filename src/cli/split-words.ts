import { CliError } from './error.ts'

/**
 * A command line split into words as a shell does, with quotes and backslashes, and without anything else of a shell: no
 * variables, no globs, no pipes. Throws `USAGE` for an open quote or a line without words.
 */
export function splitWords(line: string, what: string): string[] {
  const words: string[] = []
  let word: string | undefined
  let quote: '"' | "'" | undefined
  for (let i = 0; i < line.length; i++) {
    const character = line[i]!
    if (quote === "'") {
      if (character === "'") quote = undefined
      else word += character
    } else if (character === '\\') {
      const next = line[i + 1]
      if (next === undefined) throw new CliError('USAGE', `Cannot split ${what} into words: it ends with a backslash`)
      // Between double quotes a backslash is itself unless it protects one of these.
      word = (word ?? '') + (quote === '"' && !'"\\$`'.includes(next) ? `\\${next}` : next)
      i += 1
    } else if (quote === '"') {
      if (character === '"') quote = undefined
      else word += character
    } else if (character === '"' || character === "'") {
      quote = character
      word ??= ''
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else {
      word = (word ?? '') + character
    }
  }
  if (quote !== undefined) throw new CliError('USAGE', `Cannot split ${what} into words: a ${quote} is not closed`)
  if (word !== undefined) words.push(word)
  if (words.length === 0) throw new CliError('USAGE', `Cannot use ${what}: it is empty`)
  return words
}
